/* presence_event.c - see presence_event.h
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "message/presence_event.h"
#include "base/json.h"
#include "base/json_put.h"
#include "base/map.h"
#include "base/mem.h"
#include <stdlib.h>

static const struct str words[] = {STR("member_added"), STR("member_updated"), STR("member_removed")};

struct str presence_event_word(enum transition event)
{
    return words[event];
}

void presence_event_json(struct buf *out, struct str channel, const struct presence_event *e)
{
    buf_char(out, '{');
    put_text(out, "channel", channel);
    put_text(out, "event", words[e->event]);
    put_text(out, "cause", e->cause);
    put_text(out, "user_id", e->user_id);
    put_text(out, "connection_id", e->connection_id);
    put_text(out, "dead_node_id", e->dead_node_id);
    put_text(out, "node_id", e->node_id);
    put_i64(out, "published_at_ms", e->at_ms);
    put_u64(out, "members", e->members);
    put_json(out, "user_info", e->user_info);
    buf_char(out, '}');
}

static bool read_word(struct str word, enum transition *out)
{
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++)
        if (str_eq(word, words[i])) {
            *out = (enum transition)i;
            return true;
        }
    return false;
}

bool presence_event_read(struct str json, struct arena *arena, struct presence_event *out)
{
    *out = (struct presence_event){
        .cause = json_text_in(json_get(json, STR("cause")), arena),
        .user_id = json_text_in(json_get(json, STR("user_id")), arena),
        .connection_id = json_text_in(json_get(json, STR("connection_id")), arena),
        .dead_node_id = json_text_in(json_get(json, STR("dead_node_id")), arena),
        .node_id = json_text_in(json_get(json, STR("node_id")), arena),
        .user_info = json_get(json, STR("user_info")),
    };
    json_i64(json_get(json, STR("published_at_ms")), &out->at_ms);
    json_u64(json_get(json, STR("members")), &out->members);
    return out->user_id.p != NULL && read_word(json_text_in(json_get(json, STR("event")), arena), &out->event);
}

struct str presence_history_channel(struct arena *arena, struct str channel)
{
    return arena_join(arena, STR("[presence-history]"), channel);
}

/* ---- folding ---- */

struct presence_fold {
    struct map users; /* struct folded, in the arena */
    struct arena arena;
};

const char presence_fold_full[] = "too many users";

struct presence_fold *presence_fold_new(void)
{
    return mem_new(struct presence_fold);
}

void presence_fold_free(struct presence_fold *f)
{
    if (f == NULL)
        return;
    map_free(&f->users);
    arena_free(&f->arena);
    free(f);
}

static const char *impossible(const struct folded *before, enum transition event)
{
    bool there = before != NULL && before->last != MEMBER_REMOVED_EVENT;
    switch (event) {
    case MEMBER_ADDED_EVENT:
        return there ? "duplicate_member_added" : NULL;
    case MEMBER_UPDATED_EVENT:
        return there ? NULL : "member_updated_without_join";
    default:
        return there ? NULL : "member_removed_without_join";
    }
}

const char *presence_fold_add(struct presence_fold *f, const struct store_item *row)
{
    struct arena arena = {0};
    struct presence_event e;
    const char *wrong = NULL;
    if (presence_event_read(row->data, &arena, &e)) {
        struct folded *user = map_get(&f->users, e.user_id);
        wrong = impossible(user, e.event);
        if (user == NULL && f->users.count >= FOLD_USERS_MAX) {
            arena_free(&arena);
            return presence_fold_full;
        }
        if (user == NULL) {
            user = arena_zalloc(&f->arena, sizeof *user);
            user->user_id = arena_copy(&f->arena, e.user_id);
            map_put(&f->users, user->user_id, user);
        }
        user->last = e.event;
        user->serial = row->message.history;
        user->at_ms = row->published_at_ms;
    }
    arena_free(&arena);
    return wrong;
}

static int by_user(const void *a, const void *b)
{
    return str_cmp(((const struct folded *)a)->user_id, ((const struct folded *)b)->user_id);
}

struct folded *presence_fold_members(struct presence_fold *f, struct arena *arena, size_t *count)
{
    struct folded *members = arena_alloc(arena, (f->users.count + 1) * sizeof *members);
    size_t at = 0;
    *count = 0;
    for (struct folded *user; (user = map_next(&f->users, &at)) != NULL;)
        if (user->last != MEMBER_REMOVED_EVENT)
            members[(*count)++] = *user;
    qsort(members, *count, sizeof *members, by_user);
    return members;
}
