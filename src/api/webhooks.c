/* webhooks.c - the dead letters of an app's webhooks: looked at, and sent again (ours; chapter 2, 2.23).
 *
 *      GET  /apps/{id}/webhooks/dead_letters?limit=50&after=<id>     {"dead_letters":[{"id":...}],"next":<id or null>}
 *      POST /apps/{id}/webhooks/dead_letters/replay                  {"id":<one>} or {"limit":100}, or nothing
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/handlers.h"

#include "api/body.h"
#include "api/lookup.h"
#include "api/serials.h"
#include "webhook/webhook.h"

enum { PAGE_DEFAULT = 50, PAGE_MAX = 100 };

static bool is_id(struct str id)
{
    for (size_t i = 0; i < id.n; i++)
        if (id.p[i] == 0 || strchr("0123456789abcdef", id.p[i]) == NULL)
            return false;
    return id.n == DEAD_ID_SIZE;
}

/* ---- the list ---- */

static void put_page(struct buf *body, const struct store_notes *page)
{
    buf_lit(body, "{\"dead_letters\":[");
    for (size_t i = 0; i < page->found_count; i++) {
        buf_str(body, i > 0 ? STR(",") : STR(""));
        buf_str(body, page->found[i].value);
    }
    buf_lit(body, "],\"next\":");
    struct str last = page->more && page->found_count > 0 ? page->found[page->found_count - 1].key : STR_NONE;
    if (last.p != NULL)
        buf_json(body, str_from(last, last.n - DEAD_ID_SIZE));
    else
        buf_lit(body, "null");
    buf_char(body, '}');
}

static void page_found(struct lookup *lookup)
{
    struct call *c = lookup->call;
    struct failure refused = lookup_failure(lookup);
    if (!refused.status)
        put_page(call_body(c), &lookup->op.notes);
    lookup_end(lookup);
    if (refused.status)
        call_refuse(c, refused);
    else
        call_ok(c);
}

void serve_dead_letters(struct call *c)
{
    struct number limit;
    struct str after = query_get(c->request->query, STR("after"), call_arena(c));
    struct failure refused = query_u64(c, "limit", &limit);
    if (!refused.status && limit.given && limit.u == 0)
        refused = fail_input(STR("limit must be greater than 0"));
    if (!refused.status && after.p != NULL && !is_id(after))
        refused = fail_input(STR("after must be the id of a dead letter"));
    if (refused.status) {
        call_refuse(c, refused);
        return;
    }
    struct buf key = {0};
    struct lookup *lookup = lookup_new(c, STORE_NOTE_SCAN, STR_NONE, page_found);
    struct store_notes *page = &lookup->op.notes;
    dead_letter_prefix(c->app->id, &key);
    page->prefix = arena_copy(call_arena(c), buf_view(&key));
    buf_str(&key, after);
    page->after = after.p != NULL ? arena_copy(call_arena(c), buf_view(&key)) : STR_NONE;
    page->limit = !limit.given ? PAGE_DEFAULT : limit.u < PAGE_MAX ? (uint32_t)limit.u : PAGE_MAX;
    buf_free(&key);
    lookup_start(lookup);
}

/* ---- replay ---- */

struct order {
    struct webhooks_replay replay;
    struct call *call;
    struct str id;
    struct number limit;
};
static const struct field fields[] = {
    {"id", FIELD_TEXT, false, offsetof(struct order, id)},
    {"limit", FIELD_U64, false, offsetof(struct order, limit)},
};

static struct failure read_order(struct call *c, struct order *o)
{
    struct str object;
    if (c->request->body.n == 0)
        return NO_FAILURE;
    struct failure refused = body_object(c, &object);
    if (!refused.status)
        refused = body_read(c, object, fields, sizeof fields / sizeof *fields, o);
    if (!refused.status && o->id.p != NULL && !is_id(o->id))
        refused = fail_input(STR("id must be the id of a dead letter"));
    if (!refused.status && o->limit.given && (o->limit.u == 0 || o->limit.u > REPLAY_MAX))
        refused = fail_fmt(c, 400, "invalid_input", "limit must be from 1 to %d", REPLAY_MAX);
    return refused;
}

static void replayed(struct webhooks_replay *replay)
{
    struct order *o = list_of(replay, struct order, replay);
    struct call *c = o->call;
    if (replay->failed && replay->replayed == 0) {
        call_refuse(c, fail_busy(STR("The webhook queue takes nothing now, try again")));
        return;
    }
    if (o->id.p != NULL && replay->replayed == 0) {
        call_refuse(c, fail(404, "not_found", STR("No dead letter has this id, or its body is not kept")));
        return;
    }
    struct buf *body = call_body(c);
    buf_char(body, '{');
    put_u64(body, "replayed", replay->replayed);
    put_u64(body, "left", replay->left);
    buf_char(body, '}');
    call_ok(c);
}

void serve_dead_letters_replay(struct call *c)
{
    struct webhooks *hooks = c->api->shared->webhooks;
    struct order *o = arena_zalloc(call_arena(c), sizeof *o);
    struct failure refused = read_order(c, o);
    if (!refused.status && hooks == NULL)
        refused = fail(422, "feature_disabled", STR("This server has no webhooks"));
    if (refused.status) {
        call_refuse(c, refused);
        return;
    }
    o->call = c;
    o->replay = (struct webhooks_replay){.from = c->env,
                                         .app = c->app,
                                         .id = o->id,
                                         .limit = o->id.p != NULL ? 1 : o->limit.given ? (uint32_t)o->limit.u : REPLAY_MAX,
                                         .done = replayed};
    if (!webhooks_replay(hooks, &o->replay))
        call_refuse(c, fail_busy(STR("The webhook queue takes nothing now, try again")));
}
