/* presence_event.h - a recorded transition of a presence channel: its stored form, and what many of them add up to
 * (chapter 3, section 6).
 *
 * The log of channel c is the internal channel "[presence-history]c" of the store: an ordinary row per transition, named
 * after the event, whose data is
 *
 *   {"channel":"presence-a","event":"member_added","cause":"join","user_id":"u","connection_id":"1.2","dead_node_id":null,
 *    "node_id":"n","published_at_ms":1,"members":3,"user_info":{}}
 *
 * members: how many there are after it, so that the newest row tells whether anybody is left.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "store/store.h"

enum transition { MEMBER_ADDED_EVENT, MEMBER_UPDATED_EVENT, MEMBER_REMOVED_EVENT };
struct presence_event {
    enum transition event;
    struct str cause;         /* "join", "disconnect", "timeout", "orphan_cleanup" */
    struct str user_id;
    struct str connection_id; /* absent = none, as the next three */
    struct str dead_node_id, node_id;
    struct str user_info;     /* JSON text */
    int64_t at_ms;
    uint64_t members;
};
struct str presence_event_word(enum transition event);
void presence_event_json(struct buf *out, struct str channel, const struct presence_event *e);
/* False: not one of ours. Texts are views of json, or in the arena. */
bool presence_event_read(struct str json, struct arena *arena, struct presence_event *out);
/* "[presence-history]" + channel, in the arena. */
struct str presence_history_channel(struct arena *arena, struct str channel);

/* ---- folding: rows, oldest first, become the members as of the last one ---- */

enum { FOLD_USERS_MAX = 100000 };
struct folded {
    struct str user_id;
    enum transition last;
    uint64_t serial;
    int64_t at_ms;
};
struct presence_fold;
struct presence_fold *presence_fold_new(void);
void presence_fold_free(struct presence_fold *f);
/* NULL; or what is impossible about it: "duplicate_member_added", "member_updated_without_join",
 * "member_removed_without_join" (it is folded all the same); or presence_fold_full. */
extern const char presence_fold_full[];
const char *presence_fold_add(struct presence_fold *f, const struct store_item *row);
/* Those who are there, sorted by user id; in the arena, with texts that live as long as the fold. */
struct folded *presence_fold_members(struct presence_fold *f, struct arena *arena, size_t *count);
