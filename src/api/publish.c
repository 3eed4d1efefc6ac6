/* publish.c - one operation per channel, a window of them at a time.
 *
 *      next ->  [answered][answered][in flight][in flight][not yet]          done() when nothing is in flight
 * and nothing left
 *
 * The receipt of a key lies in the store with the message where the channel has history; elsewhere in the
 * replay cache, as
 *
 *      offset  size  meaning
 *      0       16    fingerprint of the payload, struct hash128
 *      16            the channel's answer, a JSON object
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/publish.h"

#include "ai/headers.h"
#include "api/claim.h"
#include "message/metrics.h"
#include "session/actor.h"
#include "session/directory.h"
#include "wire/codes.h"

enum { TWIN_WAIT_MS = 25, TWIN_TRIES = 40 };

struct run {
    struct call *call;
    struct event *event;
    void (*done)(void *user, struct failure failure);
    void *user;
    size_t next, in_flight;
    size_t failed_at; /* target of `failure` */
    struct failure failure;
    struct hash128 key, fingerprint; /* if the event has a key */
};

/* One channel on its way. */
struct step {
    struct run *run;
    struct target *target;
    struct publish *publish; /* done, while the counts are asked for */
    struct claim claim; /* channels without history, with a key */
    bool claimed;
};

static void launch(struct run *run);

const char *publish_result_word(enum publish_result result)
{
    switch (result) {
    case PUBLISH_OK:
        return "applied";
    case PUBLISH_DUPLICATE:
        return "duplicate";
    case PUBLISH_CONFLICT:
        return "conflict";
    case PUBLISH_BUSY:
    case PUBLISH_FAILED:
    case PUBLISH_UNHEALTHY:
        return "error";
    default:
        return "rejected";
    }
}

struct failure publish_failure(struct call *c, enum publish_result result, bool mutation)
{
    const struct config *config = c->env->config;
    struct ai_failure limit;
    switch (result) {
    case PUBLISH_OK:
    case PUBLISH_DUPLICATE:
        return NO_FAILURE;
    case PUBLISH_CONFLICT: {
        struct failure f = fail_input(STR("idempotency key was already used with a different payload"));
        f.ai_code = mutation ? CODE_AI_OP_CONFLICT : 0;
        return f;
    }
    case PUBLISH_TERMINAL:
        return fail_input(STR("cannot append to a terminal message"));
    case PUBLISH_NOT_STRING:
        return fail_input(STR("append requires string message data"));
    case PUBLISH_CHANGED:
        return fail_busy(STR("Somebody else appends to this message, or has changed it: continue behind what is stored"));
    case PUBLISH_APPENDS_MAX:
        ai_limit_failure(config, AI_LIMIT_APPENDS, &limit);
        break;
    case PUBLISH_BYTES_MAX:
        ai_limit_failure(config, AI_LIMIT_BYTES, &limit);
        break;
    case PUBLISH_OPEN_MAX:
        ai_limit_failure(config, AI_LIMIT_OPEN, &limit);
        break;
    case PUBLISH_APP_OPEN_MAX:
        ai_limit_failure(config, AI_LIMIT_APP_OPEN, &limit);
        break;
    case PUBLISH_FRAGMENT_MAX:
        ai_limit_failure(config, AI_LIMIT_FRAGMENT, &limit);
        break;
    case PUBLISH_TOO_OLD:
        ai_limit_failure(config, AI_LIMIT_DURATION, &limit);
        break;
    case PUBLISH_NOT_FOUND:
        return fail(404, "not_found", STR("Message was not found"));
    case PUBLISH_BUSY:
        return fail_busy(STR("Over capacity: too many operations are waiting, retry with the same key"));
    case PUBLISH_FAILED:
        return fail_busy(
            STR("The message store failed: nothing is known to be stored, retry with the same key"));
    case PUBLISH_UNHEALTHY:
        return fail(503, "service_unavailable",
                    STR("The channel's history stream is not healthy: it needs a reset"));
    }
    metrics_ai_rejected(c->env, c->app, limit.code);
    return fail_ai(limit.http_status, limit.code, arena_copy(call_arena(c), str_of(limit.text)));
}

/* ---- the answer of one channel ---- */

static void put_serial_text(struct buf *out, uint64_t delivery, const struct store_written *w)
{
    char text[SERIAL_SIZE + 1];
    serial_print(text, delivery, w->message.stream8, w->message.history);
    buf_char(out, '"');
    buf_put(out, text, SERIAL_SIZE);
    buf_char(out, '"');
}

/* A stored message without an id of its publisher's is acknowledged by its position: a duplicate finds the
 * same. */
static void put_acknowledgement(struct buf *out, const struct event *e, const struct publish *p)
{
    const struct store_written *w = &p->op.written;
    put_key(out, "acknowledgement_id");
    if (p->versioned)
        put_serial_text(out, w->message.create_delivery, w);
    else if (e->message_id.p || !p->stored)
        buf_json(out, p->op.write.message_id);
    else
        put_serial_text(out, w->delivery, w);
}

static void put_positions(struct buf *out, const struct store_written *w)
{
    put_key(out, "message_serial");
    put_serial_text(out, w->message.create_delivery, w);
    put_u64(out, "history_serial", w->history);
    put_u64(out, "delivery_serial", w->delivery);
    put_key(out, "version_serial");
    put_serial_text(out, w->delivery, w);
}

/* q: NULL unless the event wants counts. */
static struct str answer_of(struct call *c, const struct event *e, const struct target *t,
                            const struct publish *p, const struct query *q)
{
    struct buf *out = &c->api->scratch;
    buf_clear(out);
    buf_char(out, '{');
    put_acknowledgement(out, e, p);
    if (p->versioned)
        put_positions(out, &p->op.written);
    if (q && (e->counts & INFO_USER_COUNT) && t->name.kind == CHANNEL_PRESENCE)
        put_u64(out, "user_count", q->user_count);
    if (q && (e->counts & INFO_SUBSCRIPTION_COUNT))
        put_u64(out, "subscription_count", q->subscription_count);
    buf_char(out, '}');
    return arena_copy(call_arena(c), buf_view(out));
}

void event_answer(struct buf *out, const struct event *e)
{
    if (!e->detailed) {
        buf_lit(out, "{\"ok\":true}");
        return;
    }
    buf_lit(out, "{\"channels\":{");
    for (size_t i = 0; i < e->targets_count; i++) {
        if (i > 0)
            buf_char(out, ',');
        buf_json(out, e->targets[i].channel);
        buf_char(out, ':');
        buf_str(out, e->targets[i].answer);
    }
    buf_lit(out, "}}");
}

/* ---- the way of one channel ---- */

static void step_ends(struct step *step, struct failure failure)
{
    struct run *run = step->run;
    size_t index = (size_t)(step->target - run->event->targets);
    if (failure.status && (!run->failure.status || index < run->failed_at)) {
        run->failure = failure;
        run->failed_at = index;
    }
    run->in_flight--;
    launch(run);
}

static void keep_receipt(struct step *step)
{
    const struct run *run = step->run;
    struct buf *receipt = &run->call->api->scratch;
    buf_clear(receipt);
    buf_put(receipt, &run->fingerprint, sizeof run->fingerprint);
    buf_str(receipt, step->target->answer);
    claim_complete(&step->claim, buf_view(receipt));
}

static void answered(struct step *step, struct publish *p, const struct query *q)
{
    struct run *run = step->run;
    struct failure failure = publish_failure(run->call, p->result, false);
    if (!failure.status && (run->event->detailed || step->claimed || run->event->slot_key.p))
        step->target->answer = answer_of(run->call, run->event, step->target, p, q);
    publish_free(p);
    if (step->claimed && failure.status)
        claim_release(&step->claim);
    else if (step->claimed)
        keep_receipt(step);
    claim_end(&step->claim);
    step_ends(step, failure);
}

static void counted(struct query *q)
{
    struct step *step = q->user;
    answered(step, step->publish, q);
    query_free(q);
}

/* Of all nodes, as GET tells them. */
static void ask_counts(struct step *step, struct publish *p)
{
    struct call *c = step->run->call;
    struct query *q = query_new(c->env, QUERY_CHANNEL, c->app, counted);
    step->publish = p;
    q->user = step;
    q->channel = arena_copy(&q->arena, step->target->channel);
    hub_ask(c->env, q);
}

static void published(struct publish *p)
{
    struct step *step = p->user;
    struct call *c = step->run->call;
    step->target->duplicate = p->result == PUBLISH_DUPLICATE;
    if (p->result == PUBLISH_DUPLICATE)
        metrics_count(c->env, c->app, idempotency_duplicates, 1);
    if (p->versioned)
        metrics_mutation(c->env, c->app, "message.create", publish_result_word(p->result));
    if (step->run->event->counts != 0 && (p->result == PUBLISH_OK || p->result == PUBLISH_DUPLICATE))
        ask_counts(step, p);
    else
        answered(step, p, NULL);
}

/* The last event of a cache channel, as a later subscriber and `info=cache` get it. */
static struct str cache_event(struct call *c, const struct event *e, const struct target *t)
{
    struct buf *out = &c->api->scratch;
    if (!t->name.cache)
        return STR_NONE;
    buf_clear(out);
    buf_char(out, '{');
    put_text(out, "event", e->name);
    put_text(out, "channel", t->channel);
    put_json(out, "data", e->json);
    buf_char(out, '}');
    return arena_copy(call_arena(c), buf_view(out));
}

static struct str fresh_id(struct call *c)
{
    char *text = arena_alloc(call_arena(c), 37);
    random_uuid(&c->env->random, text);
    return str_make(text, 36);
}

static void fill_write(const struct step *step, struct store_write *w)
{
    const struct run *run = step->run;
    const struct event *e = run->event;
    w->action = ACTION_CREATE;
    w->event_name = e->name;
    w->data = e->json;
    w->extras = e->extras;
    w->tags = e->tags;
    w->user_id = e->creator.p ? e->creator : e->client_id;
    w->client_id = e->client_id.p ? e->client_id : e->creator;
    w->message_id = e->message_id.p ? e->message_id : fresh_id(run->call);
    w->status = e->facts.status;
    if (e->dedupe_key.p && step->target->policy.history) {
        w->receipt_key = run->key;
        w->fingerprint = run->fingerprint;
        w->receipt_ttl_ms = step->target->policy.idempotency_ttl_ms;
        if (w->receipt_ttl_ms < e->receipt_ttl_min_ms)
            w->receipt_ttl_ms = e->receipt_ttl_min_ms;
    }
}

static void submit(struct step *step)
{
    struct call *c = step->run->call;
    const struct event *e = step->run->event;
    struct target *t = step->target;
    struct publish *p = publish_new(c->env, c->app, published);
    p->user = step;
    p->op.channel = t->channel;
    p->name = t->name;
    p->extras = e->facts;
    p->ai_event = e->ai_event;
    p->except = e->except;
    p->cache_event = cache_event(c, e, t);
    p->arrived_ns = c->request->arrived_ns;
    fill_write(step, &p->op.write);
    hub_publish(c->env, p);
}

/* ---- channels without history: the receipt is in the cache ---- */

static void take_receipt(struct step *step)
{
    struct run *run = step->run;
    struct call *c = run->call;
    struct str receipt = buf_view(&step->claim.answer);
    struct failure failure = NO_FAILURE;
    if (memcmp(receipt.p, &run->fingerprint, sizeof run->fingerprint) == 0)
        step->target->answer = arena_copy(call_arena(c), str_from(receipt, sizeof run->fingerprint));
    else
        failure = publish_failure(c, PUBLISH_CONFLICT, false);
    metrics_count(c->env, c->app, idempotency_duplicates, 1);
    claim_end(&step->claim);
    step_ends(step, failure);
}

static void claimed(struct claim *claim)
{
    struct step *step = claim->user;
    switch (claim->result) {
    case REPLAY_CLAIMED:
        step->claimed = true;
        submit(step);
        break;
    case REPLAY_ANSWER:
        take_receipt(step);
        break;
    case REPLAY_PENDING:
        claim_end(claim);
        step_ends(step, fail_busy(STR("idempotent publish is still in progress")));
        break;
    case REPLAY_FULL:
        claim_end(claim);
        step_ends(step, fail(503, "service_unavailable",
                             STR("Idempotency coordination is temporarily unavailable")));
        break;
    }
}

static void claim_first(struct step *step)
{
    const struct run *run = step->run;
    struct buf *key = &run->call->api->scratch;
    unsigned char scope[SHA256_SIZE];
    buf_clear(key);
    buf_str(key, run->call->app->id);
    buf_char(key, '\0');
    buf_str(key, step->target->channel);
    buf_char(key, '\0');
    buf_str(key, run->event->dedupe_key);
    sha256(buf_view(key), scope);
    buf_clear(key);
    buf_lit(key, "idempotency:publish:v1:");
    hex_put(key, scope, sizeof scope);
    step->claim = (struct claim){.key = arena_copy(call_arena(run->call), buf_view(key)),
                                 .ttl_ms = step->target->policy.idempotency_ttl_ms,
                                 .wait_ms = TWIN_WAIT_MS,
                                 .tries = TWIN_TRIES,
                                 .done = claimed,
                                 .user = step};
    claim_start(run->call->api, &step->claim);
}

/* ---- all channels ---- */

static void start_step(struct run *run, struct target *t)
{
    struct step *step = arena_zalloc(call_arena(run->call), sizeof *step);
    step->run = run;
    step->target = t;
    run->in_flight++;
    if (run->event->facts.ephemeral)
        metrics_count(run->call->env, run->call->app, ephemeral, 1);
    bool stored = t->policy.history && !run->event->facts.ephemeral;
    if (run->event->dedupe_key.p && !stored)
        claim_first(step);
    else
        submit(step);
}

static void launch(struct run *run)
{
    const struct event *e = run->event;
    while (run->next < e->targets_count && run->in_flight < API_CHANNELS_AT_ONCE && !run->failure.status)
        start_step(run, &e->targets[run->next++]);
    if (run->in_flight == 0)
        run->done(run->user, run->failure);
}

/* ---- whose it is ---- */

static void creator_known(struct actor *actor)
{
    struct run *run = actor->user;
    if (actor->identity.p)
        run->event->creator = arena_copy(call_arena(run->call), actor->identity);
    arena_free(&actor->arena);
    launch(run);
}

/* A message belongs to the user of the socket that publishes it (chapter 3, 1.8). Only a socket of V2 can ever mutate it, so publishes
 * on behalf of V1 are not kept waiting for an answer. */
static bool asks_creator(struct run *run)
{
    struct call *c = run->call;
    struct directory *directory = c->api->shared->directory;
    struct socket_id socket = run->event->except;
    struct directory_entry entry;
    bool named = directory && (socket.a | socket.b) != 0;
    if (!named || !directory_find(directory, socket, &entry) || entry.protocol != WIRE_V2)
        return false;
    struct actor *actor = arena_zalloc(call_arena(c), sizeof *actor);
    actor->app = c->app;
    actor->socket = socket;
    actor->done = creator_known;
    actor->user = run;
    actor_ask(directory, c->env, actor);
    return true;
}

void event_publish(struct call *c, struct event *e, void (*done)(void *user, struct failure failure),
                   void *user)
{
    struct run *run = arena_zalloc(call_arena(c), sizeof *run);
    run->call = c;
    run->event = e;
    run->done = done;
    run->user = user;
    if (e->dedupe_key.p) {
        run->key = hash128(e->dedupe_key);
        run->fingerprint = event_fingerprint(e, &c->api->scratch);
        metrics_count(c->env, c->app, idempotency_publish, e->targets_count);
    }
    if (!asks_creator(run))
        launch(run);
}
