/* events.c - POST /events and /batch_events (chapter 2, 2.5 to 2.7).
 *
 *      /events        read and check -> claim the key -> publish -> answer, which is kept for the key
 *      /batch_events  read and check all -> claim the header's key -> one item after the other, each: claim
 * its key -> publish
 *
 * A claim is taken only once nothing cheap can refuse the request any more, and given back if it fails
 * afterwards.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/handlers.h"

#include "api/claim.h"
#include "api/publish.h"
#include "base/json.h"
#include "message/metrics.h"

enum { REPLAY_WAIT_MS = 50, REPLAY_TRIES = 6 };

static struct str request_key(const struct call *c)
{
    if (!idempotency_is_on(c->app))
        return STR_NONE;
    return http_get_header(c->request, STR("x-idempotency-key"));
}

/* Too many keys are kept, or the cache of all nodes does not answer. */
static struct failure no_coordination(struct call *c)
{
    metrics_count(c->env, c->app, idempotency_refused, 1);
    return fail(503, "service_unavailable", STR("Idempotency coordination is temporarily unavailable"));
}

static struct claim claim_of(struct call *c, struct str key, unsigned tries)
{
    return (struct claim){
        .key = key, .ttl_ms = idempotency_ttl_ms(c->app), .wait_ms = REPLAY_WAIT_MS, .tries = tries};
}

/* ---- /events ---- */

struct single {
    struct call *call;
    struct event event;
    struct claim claim;
    bool claimed;
};

static void single_published(void *user, struct failure failure)
{
    struct single *s = user;
    struct call *c = s->call;
    if (failure.status) {
        if (s->claimed)
            claim_release(&s->claim);
        call_refuse(c, failure);
        return;
    }
    struct buf *body = call_body(c);
    event_answer(body, &s->event);
    if (s->claimed)
        claim_complete(&s->claim, buf_view(body));
    call_ok(c);
}

static void single_claimed(struct claim *claim)
{
    struct single *s = claim->user;
    struct call *c = s->call;
    struct buf *body = call_body(c);
    switch (claim->result) {
    case REPLAY_CLAIMED:
        s->claimed = true;
        event_publish(c, &s->event, single_published, s);
        break;
    case REPLAY_ANSWER:
        metrics_count(c->env, c->app, idempotency_duplicates, 1);
        buf_str(body, buf_view(&claim->answer));
        claim_end(claim);
        call_ok(c);
        break;
    case REPLAY_PENDING:
        call_refuse(c, fail_busy(STR("Idempotent publish is still in progress")));
        break;
    case REPLAY_FULL:
        call_refuse(c, no_coordination(c));
        break;
    }
}

void serve_events(struct call *c)
{
    struct str object;
    struct failure refused = body_object(c, &object);
    if (refused.status) {
        call_refuse(c, refused);
        return;
    }
    struct single *s = arena_zalloc(call_arena(c), sizeof *s);
    s->call = c;
    refused = event_read(c, object, request_key(c), -1, &s->event);
    if (refused.status) {
        call_refuse(c, refused);
        return;
    }
    if (!s->event.slot_key.p) {
        event_publish(c, &s->event, single_published, s);
        return;
    }
    s->claim = claim_of(c, s->event.slot_key, REPLAY_TRIES);
    s->claim.done = single_claimed;
    s->claim.user = s;
    claim_start(c->api, &s->claim);
}

/* ---- /batch_events ---- */

struct batch {
    struct call *call;
    struct event *events;
    struct str *answers; /* JSON object of each item */
    size_t count, at;
    bool detailed;
    bool claimed, item_claimed;
    struct claim claim, item;
};

static void next_item(struct batch *b);

static void batch_fails(struct batch *b, struct failure failure)
{
    if (b->item_claimed)
        claim_release(&b->item);
    if (b->claimed)
        claim_release(&b->claim);
    call_refuse(b->call, failure);
}

static void batch_ends(struct batch *b)
{
    struct buf *body = call_body(b->call);
    buf_char(body, '{');
    if (b->detailed) {
        buf_lit(body, "\"batch\":[");
        for (size_t i = 0; i < b->count; i++) {
            if (i > 0)
                buf_char(body, ',');
            buf_str(body, b->answers[i]);
        }
        buf_char(body, ']');
    }
    buf_char(body, '}');
    if (b->claimed)
        claim_complete(&b->claim, buf_view(body));
    call_ok(b->call);
}

static void item_published(void *user, struct failure failure)
{
    struct batch *b = user;
    const struct event *e = &b->events[b->at];
    if (failure.status) {
        batch_fails(b, failure);
        return;
    }
    if (b->item_claimed) {
        struct buf *body = call_body(b->call);
        event_answer(body, e);
        claim_complete(&b->item, buf_view(body));
        b->item_claimed = false;
    }
    if (e->detailed)
        b->answers[b->at] = e->targets[0].answer;
    b->at++;
    next_item(b);
}

static void item_claimed(struct claim *claim)
{
    struct batch *b = claim->user;
    struct call *c = b->call;
    enum replay_result result = claim->result;
    claim_end(claim);
    if (result == REPLAY_CLAIMED) {
        b->item_claimed = true;
        event_publish(c, &b->events[b->at], item_published, b);
    } else if (result == REPLAY_FULL) {
        batch_fails(b, no_coordination(b->call));
    } else { /* done or under way elsewhere: skipped */
        metrics_count(c->env, c->app, idempotency_duplicates, 1);
        b->at++;
        next_item(b);
    }
}

static void next_item(struct batch *b)
{
    if (b->at == b->count) {
        batch_ends(b);
        return;
    }
    struct event *e = &b->events[b->at];
    if (!e->slot_key.p) {
        event_publish(b->call, e, item_published, b);
        return;
    }
    b->item = claim_of(b->call, e->slot_key, 0);
    b->item.done = item_claimed;
    b->item.user = b;
    claim_start(b->call->api, &b->item);
}

static void batch_claimed(struct claim *claim)
{
    struct batch *b = claim->user;
    struct buf *body = call_body(b->call);
    switch (claim->result) {
    case REPLAY_CLAIMED:
        b->claimed = true;
        next_item(b);
        break;
    case REPLAY_ANSWER:
        metrics_count(b->call->env, b->call->app, idempotency_duplicates, 1);
        buf_str(body, buf_view(&claim->answer));
        claim_end(claim);
        call_ok(b->call);
        break;
    case REPLAY_PENDING:
        call_refuse(b->call, fail_busy(STR("Idempotent batch publish is still in progress")));
        break;
    case REPLAY_FULL:
        call_refuse(b->call, no_coordination(b->call));
        break;
    }
}

static size_t count_events(struct str list)
{
    size_t n = 0;
    struct str item;
    for (struct json_iter it = json_iter(list); json_next_item(&it, &item);)
        n++;
    return n;
}

static struct failure read_items(struct call *c, struct str list, struct batch *b)
{
    uint32_t max = c->app->config->max_event_batch_size;
    size_t n = count_events(list);
    if (max && n > max)
        return fail_fmt(c, 400, "limit_exceeded", "Batch size (%zu) exceeds limit (%u)", n, max);
    struct str key = request_key(c), item;
    if (key.p) {
        struct failure refused = idempotency_check(c, key);
        if (refused.status)
            return refused;
    }
    b->events = arena_alloc(call_arena(c), (n + 1) * sizeof *b->events);
    b->answers = arena_alloc(call_arena(c), (n + 1) * sizeof *b->answers);
    for (struct json_iter it = json_iter(list); json_next_item(&it, &item); b->count++) {
        struct failure refused = event_read(c, item, key, (int)b->count, &b->events[b->count]);
        if (refused.status)
            return refused;
        b->answers[b->count] = STR("{}");
        b->detailed |= b->events[b->count].detailed;
    }
    return NO_FAILURE;
}

static struct failure read_batch(struct call *c, struct batch *b)
{
    static const struct field fields[] = {{"batch", FIELD_ARRAY, true, 0}};
    struct str object, list = STR_NONE;
    struct failure refused = body_object(c, &object);
    if (refused.status)
        return refused;
    refused = body_read(c, object, fields, 1, &list);
    return refused.status ? refused : read_items(c, list, b);
}

static struct str batch_slot_key(struct call *c)
{
    struct buf *slot = &c->api->scratch;
    buf_clear(slot);
    buf_lit(slot, "app:");
    buf_str(slot, c->app->id);
    buf_lit(slot, ":batch-idempotency:");
    buf_str(slot, request_key(c));
    return arena_copy(call_arena(c), buf_view(slot));
}

void serve_batch_events(struct call *c)
{
    struct batch *b = arena_zalloc(call_arena(c), sizeof *b);
    b->call = c;
    struct failure refused = read_batch(c, b);
    if (refused.status) {
        call_refuse(c, refused);
        return;
    }
    if (!request_key(c).p) {
        next_item(b);
        return;
    }
    b->claim = claim_of(c, batch_slot_key(c), REPLAY_TRIES);
    b->claim.done = batch_claimed;
    b->claim.user = b;
    claim_start(c->api, &b->claim);
}
