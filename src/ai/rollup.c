/* rollup.c - per channel and window class: a list of runs and one timer.
 *
 * While the timer of a class is set, its appends wait as runs: one message, a range of positions without a hole. Two open
 * messages, a and b, window 40 ms:
 *
 *      appends    a4 a5 a6   b7 b8   a9        commit order
 *      runs      [a  4..6] [b 7..8] [a 9..9]   three frames, posted together at the deadline
 *
 * Anything sent sets the timer again, so that a steady stream leaves at a fixed cadence; a deadline with nothing pending
 * lets it rest, and the next append leaves at once. Whatever cannot wait (the first append of a message, a terminal one, any
 * other message) first empties the lists of all classes: nothing overtakes. Price: streams that interleave save writes, not
 * frames.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "ai/rollup.h"
#include "ai/full_text.h"
#include "ai/runs.h"
#include "ai/streams.h"
#include "base/mem.h"
#include "base/pack.h"
#include "channel/channel.h"
#include "channel/remote.h"
#include <stdlib.h>

struct run {
    struct list link;
    struct message_id message;
    uint64_t first, last;  /* delivery positions, both inclusive, no hole between */
    uint32_t appends;
    uint64_t oldest_ns;    /* when its first fragment came to the owner */
    uint64_t newest_ns;    /* when its last fragment came to the server */
    int64_t version_at_ms;
    size_t full_size;      /* bytes of the message's whole text up to `last`; SIZE_MAX = not held */
    struct buf body;       /* joined fragments, escaped */
    struct arena arena;    /* of the newest append's texts: */
    struct str name, user_id, tags, extras, stream_id;
    size_t cost;           /* memory, as the cap of the shard counts it */
    bool foreign;          /* of another node: not for the bus */
    uint64_t history;      /* the channel's newest, for the bus; so are these three */
    uint64_t message_bytes;
    int64_t created_ms;
    uint32_t appends_total;
    enum stream_status status;
    struct buf lengths;    /* packed: of each fragment; empty unless another node wants it */
};

struct window_class {
    struct channel *ch;
    unsigned window;       /* index; its lanes are delta and full with this window */
    struct timer timer;    /* set = something was sent less than a window ago */
    struct list runs;
    unsigned runs_count;
    size_t bytes;          /* of text in them */
};

struct rollup {
    struct window_class *classes[WINDOWS]; /* made when first used */
    bool foreign;                          /* the newest operation came from another node */
};

static uint32_t delta_lane(unsigned window)
{
    return 1u << lane_of(LANE_DELTA, window);
}

static uint32_t full_lane(unsigned window)
{
    return 1u << lane_of(LANE_FULL, window);
}

static struct rollup *rollup_of(struct channel *ch)
{
    if (ch->rollup == NULL)
        ch->rollup = mem_new(struct rollup);
    return ch->rollup;
}

/* ---- runs ---- */

static bool same(struct str a, struct str b)
{
    return str_eq(a, b) && (a.p == NULL) == (b.p == NULL);
}

/* The texts of one append are mostly those of the append before. */
static void run_describe(struct run *run, const struct channel *ch, const struct publish *p)
{
    const struct store_written *w = &p->op.written;
    const struct str user_id = p->op.write.client_id.p != NULL ? p->op.write.client_id : w->user_id;
    const struct str stream_id = str_of(p->op.head.stream_id);
    bool known = run->appends > 0 && same(run->extras, w->extras) && same(run->name, w->name) && same(run->tags, w->tags) &&
                 same(run->user_id, user_id) && same(run->stream_id, stream_id);
    if (!known) {
        arena_free(&run->arena);
        run->name = arena_copy(&run->arena, w->name);
        run->tags = arena_copy(&run->arena, w->tags);
        run->extras = arena_copy(&run->arena, w->extras);
        run->user_id = arena_copy(&run->arena, user_id);
        run->stream_id = arena_copy(&run->arena, stream_id);
    }
    run->version_at_ms = w->at_ms;
    run->last = w->delivery;
    run->newest_ns = p->arrived_ns;
    run->appends++;
    run->full_size = full_text_size(ch->texts, &w->message);
    run->cost = sizeof(*run) + run->body.n + run->name.n + run->tags.n + run->extras.n + run->user_id.n + run->stream_id.n;
}

/* What another node needs to take the run apart again. */
static void run_note(struct run *run, const struct channel *ch, const struct publish *p, size_t n)
{
    const struct store_written *w = &p->op.written;
    run->foreign = p->foreign;
    if (p->foreign || ch->bus_window == BUS_NOBODY)
        return;
    run->history = p->op.head.history;
    run->message_bytes = w->message_bytes;
    run->created_ms = w->created_ms;
    run->appends_total = w->appends;
    run->status = w->status;
    pack_u64(&run->lengths, n);
}

static size_t run_append(struct run *run, const struct channel *ch, const struct publish *p)
{
    struct str fragment = p->op.write.data;
    size_t n = fragment.n >= 2 ? fragment.n - 2 : 0;
    if (n > 0)
        buf_put(&run->body, fragment.p + 1, n);
    run_describe(run, ch, p);
    run_note(run, ch, p, n);
    return n;
}

static struct run *run_new(const struct publish *p)
{
    struct run *run = mem_new(struct run);
    run->message = p->op.written.message;
    run->first = p->op.written.delivery;
    run->oldest_ns = p->submitted_ns;
    return run;
}

static void run_free(struct run *run)
{
    buf_free(&run->body);
    buf_free(&run->lengths);
    arena_free(&run->arena);
    free(run);
}

static bool run_goes_on(const struct run *run, const struct publish *p)
{
    const struct store_written *w = &p->op.written;
    return run->message.history == w->message.history && run->last + 1 == w->delivery;
}

/* ---- leaving ---- */

static struct frame *run_frame(const struct run *run, struct envelope *e, struct str body)
{
    e->data_body = body;
    return envelope_frame(e, WIRE_V2);
}

static void run_goes_out(struct channel *ch, const struct run *run)
{
    channel_send_remote(ch, &(struct remote){
        .app_id = ch->app->id, .channel = ch->name, .stream_id = run->stream_id, .action = ACTION_APPEND, .status = run->status,
        .stored = true, .versioned = true, .message = run->message, .first = run->first, .window = (unsigned)ch->bus_window, .count = run->appends,
        .history = run->history, .at_ms = run->version_at_ms, .created_ms = run->created_ms, .appends = run->appends_total,
        .message_bytes = run->message_bytes, .event_name = run->name, .data = buf_view(&run->body), .extras = run->extras,
        .tags = run->tags, .user_id = run->user_id, .lengths = run->appends > 1 ? buf_view(&run->lengths) : STR_NONE,
    });
}

static void run_leaves(struct channel *ch, const struct run *run, uint32_t lanes)
{
    char version[SERIAL_SIZE + 1];
    struct runtime_headers headers = {ACTION_APPEND, run->message, run->last, run->version_at_ms};
    struct envelope e = {.event = action_event(ACTION_APPEND), .channel = ch->name, .name = run->name,
                         .user_id = run->user_id, .tags = run->tags, .stream_id = run->stream_id, .serial = run->last,
                         .extras = run->extras, .headers = &headers};
    struct delivery d = {.first = run->first, .last = run->last, .lanes = lanes, .event_name = e.event, .tags = run->tags,
                         .arrived_ns = run->newest_ns, .append = true};
    serial_print(version, run->last, run->message.stream8, run->message.history);
    e.message_id = str_make(version, SERIAL_SIZE);
    if (!run->foreign && channel_bus_wants(ch, lanes))
        run_goes_out(ch, run);
    if (channel_lanes_count(ch, lanes & ~lanes_of_mode(LANE_FULL)) > 0)
        d.frames[LANE_DELTA] = run_frame(run, &e, buf_view(&run->body));
    if (channel_lanes_count(ch, lanes & lanes_of_mode(LANE_FULL)) > 0 && run->full_size != SIZE_MAX)
        d.frames[LANE_FULL] = run_frame(run, &e, full_text(ch->texts, &run->message, run->full_size));
    channel_deliver(ch, &d);
}

static void count_left(const struct channel *ch, const struct run *run, unsigned window)
{
    double ms = (double)(clock_mono_ns(ch->env->clock) - run->oldest_ns) / 1e6;
    metrics_count(ch->env, ch->app, appends_delivered, 1);
    metrics_observe(ch->env, ch->app, rollup_ratio, (double)run->appends);
    metrics_observe(ch->env, ch->app, flush_latency, ms);
    if (ms > windows_ms[window] + FLUSH_LATE_MS)
        metrics_count(ch->env, ch->app, flush_late, 1);
}

static void count_pending(const struct channel *ch, int64_t change)
{
    ch->env->rollup_pending += (uint64_t)change;
    metrics_gauge(ch->env, ch->app, rollup_pending, change);
}

static void class_empties(struct window_class *c)
{
    struct channel *ch = c->ch;
    channel_watchers_now(ch);
    for (struct list *link; (link = list_take(&c->runs)) != NULL;) {
        struct run *run = list_of(link, struct run, link);
        count_left(ch, run, c->window);
        run_leaves(ch, run, delta_lane(c->window) | full_lane(c->window));
        count_pending(ch, -(int64_t)run->cost);
        run_free(run);
    }
    c->bytes = 0;
    c->runs_count = 0;
}

static void class_arms(struct window_class *c)
{
    if (!timer_is_set(&c->timer))
        metrics_gauge(c->ch->env, c->ch->app, rollup_states, 1);
    wheel_set(c->ch->env->wheel, &c->timer, env_now_ms(c->ch->env) + windows_ms[c->window]);
}

static void class_deadline(struct timer *timer)
{
    struct window_class *c = list_of(timer, struct window_class, timer);
    metrics_gauge(c->ch->env, c->ch->app, rollup_states, -1);
    if (list_empty(&c->runs))
        return; /* at rest */
    class_empties(c);
    class_arms(c);
}

void rollup_flush(struct channel *ch)
{
    for (unsigned w = 0; ch->rollup != NULL && w < WINDOWS; w++) {
        struct window_class *c = ch->rollup->classes[w];
        if (c == NULL || list_empty(&c->runs))
            continue;
        class_empties(c);
        class_arms(c);
    }
}

/* ---- arriving ---- */

static struct window_class *class_of(struct channel *ch, unsigned window)
{
    struct window_class **slot = &rollup_of(ch)->classes[window];
    if (*slot == NULL) {
        *slot = mem_new(struct window_class);
        (*slot)->ch = ch;
        (*slot)->window = window;
        (*slot)->timer.fire = class_deadline;
        list_init(&(*slot)->runs);
    }
    return *slot;
}

static void class_takes(struct window_class *c, const struct publish *p)
{
    struct run *run = list_empty(&c->runs) ? NULL : list_of(c->runs.prev, struct run, link);
    if (run == NULL || !run_goes_on(run, p)) {
        run = run_new(p);
        list_append(&c->runs, &run->link);
        c->runs_count++;
    }
    size_t before = run->cost;
    c->bytes += run_append(run, c->ch, p);
    count_pending(c->ch, (int64_t)(run->cost - before));
    metrics_count(c->ch->env, c->ch->app, appends_received, 1);
    if (c->bytes < c->ch->app->global->ai.rollup.max_pending_bytes && c->runs_count < ROLLUP_RUNS_MAX)
        return;
    class_empties(c);
    class_arms(c);
}

static bool is_rolled(const struct channel *ch, const struct publish *p)
{
    return ch->policy.ai && p->stored && p->versioned && ch->app->global->ai.rollup.enabled;
}

/* A first or terminal append, and everything that is no append, leaves at once. */
static bool can_wait(const struct publish *p)
{
    const struct store_written *w = &p->op.written;
    return p->op.write.action == ACTION_APPEND && w->appends > 1 && w->status != STREAM_COMPLETE &&
           w->status != STREAM_CANCELLED;
}

static uint32_t lanes_in_use(const struct channel *ch)
{
    uint32_t lanes = 0;
    for (unsigned lane = 1; lane < LANES; lane++)
        if (channel_lanes_count(ch, 1u << lane) > 0)
            lanes |= 1u << lane;
    return lanes;
}

/* One append for the given lanes, as a run of its own. */
static void leave_alone(struct channel *ch, const struct publish *p, uint32_t lanes)
{
    struct run *run = run_new(p);
    run_append(run, ch, p);
    metrics_count(ch->env, ch->app, appends_received, 1);
    count_left(ch, run, 0);
    run_leaves(ch, run, lanes);
    run_free(run);
}

/* What another node has rolled up with such a window already leaves as it came, in one piece. */
static bool takes_as_it_came(struct window_class *c, const struct publish *p)
{
    if (!p->foreign || c->window > p->rolled)
        return false;
    class_takes(c, p);
    if (!p->more)
        class_empties(c);
    if (!timer_is_set(&c->timer))
        class_arms(c); /* should the rest not come */
    return true;
}

static void append_arrives(struct channel *ch, const struct publish *p)
{
    uint32_t used = lanes_in_use(ch), now = 0;
    for (unsigned w = 0; w < WINDOWS; w++) {
        uint32_t lanes = used & (delta_lane(w) | full_lane(w));
        if (lanes == 0)
            continue;
        struct window_class *c = class_of(ch, w);
        if (takes_as_it_came(c, p))
            continue;
        if (windows_ms[w] > 0 && timer_is_set(&c->timer)) {
            class_takes(c, p);
            continue;
        }
        now |= lanes;
        if (windows_ms[w] > 0)
            class_arms(c);
    }
    if (now != 0)
        leave_alone(ch, p, now);
}

static void arm_all(struct channel *ch)
{
    uint32_t used = lanes_in_use(ch);
    for (unsigned w = 1; w < WINDOWS; w++)
        if (used & (delta_lane(w) | full_lane(w)))
            class_arms(class_of(ch, w));
}

/* Behind what is pending. */
static void append_leaves_now(struct channel *ch, const struct publish *p)
{
    uint32_t used = lanes_in_use(ch);
    rollup_flush(ch);
    if (used != 0)
        leave_alone(ch, p, used);
}

static bool has_room(const struct channel *ch, const struct publish *p)
{
    uint64_t max = ch->app->global->ai.rollup.max_shard_pending_bytes;
    if (ch->env->rollup_pending + p->op.write.data.n <= max)
        return true;
    metrics_count(ch->env, ch->app, rollup_bypassed, 1);
    return false;
}

static bool wants_full(const struct channel *ch, const struct publish *p)
{
    return p->op.write.action == ACTION_APPEND && channel_lanes_count(ch, lanes_of_mode(LANE_FULL)) > 0;
}

static void forget_texts(struct channel *ch, const struct publish *p)
{
    const struct store_written *w = &p->op.written;
    if (ch->texts == NULL)
        return;
    if (channel_lanes_count(ch, lanes_of_mode(LANE_FULL)) == 0) {
        full_texts_free(ch->texts);
        ch->texts = NULL;
    } else if (p->op.write.action != ACTION_APPEND || w->status == STREAM_COMPLETE || w->status == STREAM_CANCELLED) {
        full_text_drop(ch->texts, &w->message);
    }
}

/* A run is of one origin: what other nodes wait for must not wait behind what they have sent. */
static void change_origin(struct channel *ch, const struct publish *p)
{
    if (ch->rollup == NULL || ch->rollup->foreign == p->foreign)
        return;
    rollup_flush(ch);
    ch->rollup->foreign = p->foreign;
}

static void committed(struct channel *ch, struct publish *p)
{
    if (p->stored)
        full_texts_see(ch->texts, p->op.written.delivery);
    bool append = p->op.write.action == ACTION_APPEND;
    change_origin(ch, p);
    if (wants_full(ch, p))
        full_text_append(ch->texts, p);
    if (is_rolled(ch, p) && can_wait(p) && has_room(ch, p)) {
        append_arrives(ch, p);
    } else {
        if (append && p->stored) {
            append_leaves_now(ch, p);
        } else {
            rollup_flush(ch);
            channel_deliver_publish(ch, p, ALL_LANES);
        }
        if (is_rolled(ch, p))
            arm_all(ch);
    }
    if (p->stored && p->versioned)
        forget_texts(ch, p);
}

/* Full subscribers need the text that came before: it is read once, and the channel waits for it. */
static bool ready(struct channel *ch, struct publish *p)
{
    if (p->stored && full_texts_miss(ch->texts, p->op.written.delivery)) {
        rollup_flush(ch);
        full_texts_bypassed(ch->texts);
    }
    if (!wants_full(ch, p))
        return true;
    if (ch->texts == NULL)
        ch->texts = full_texts_new(ch);
    return full_text_ready(ch->texts, p);
}

static void closed(struct channel *ch)
{
    struct rollup *r = ch->rollup;
    full_texts_free(ch->texts);
    if (r == NULL)
        return;
    for (unsigned w = 0; w < WINDOWS; w++) {
        if (r->classes[w] == NULL)
            continue;
        class_empties(r->classes[w]);
        if (timer_is_set(&r->classes[w]->timer))
            metrics_gauge(ch->env, ch->app, rollup_states, -1);
        wheel_cancel(ch->env->wheel, &r->classes[w]->timer);
        free(r->classes[w]);
    }
    free(r);
    ch->rollup = NULL;
}

static void bypassed(struct channel *ch)
{
    full_texts_bypassed(ch->texts);
}

/* Figures and webhooks are those of the node that committed. */
static void noted(struct channel *ch, const struct publish *p)
{
    if (!ch->policy.ai)
        return;
    if (p->ai_event && !p->foreign)
        ai_event_committed(ch->env, p);
    if (p->stored && p->versioned && p->foreign)
        streams_heard(ch, p);
    else if (p->stored && p->versioned)
        streams_committed(ch, p);
}

static void doubted(struct channel *ch)
{
    if (ch->policy.ai && ch->policy.versioned)
        streams_find_again(ch->env);
}

static const struct egress egress_rollup = {
    .committed = committed,
    .noted = noted,
    .ready = ready,
    .admit = streams_admit,
    .flush = rollup_flush,
    .closed = closed,
    .bypassed = bypassed,
    .doubted = doubted,
    .forgotten = streams_doubt,
};

void rollup_install(struct hub *hub)
{
    hub_set_egress(hub, &egress_rollup);
}
