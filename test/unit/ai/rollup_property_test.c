/* rollup_property_test.c - whatever the window, the mode and the limits: the same state at the end (chapter 3, S72; chapter 4,
 * edge case 29).
 *
 * A seed makes a history of creates, appends, updates, deletes and pauses over a few messages of one channel. Ten subscribers, one
 * per window and mode, reduce what they get. After each frame the joined fragments of the delta subscriber are the text of the full
 * one; positions rise; at the end all hold what the model holds.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "../support/core.h"
#include "base/json.h"
#include "base/mem.h"
#include <stdio.h>
#include <stdlib.h>

enum { MESSAGES = 3, OPERATIONS = 150, SEEDS = 150, SUBSCRIBERS = 2 * WINDOWS };

struct reader {
    struct sink *sink;
    struct subscription *sub;
    bool full;
    uint64_t serial;
    struct buf texts[OPERATIONS]; /* by history position */
    uint64_t histories;
};

struct fixture {
    struct core *core;
    struct random random;
    struct reader readers[SUBSCRIBERS];
    struct message_id messages[MESSAGES];
    bool known[MESSAGES];
    struct buf model[OPERATIONS];
    uint64_t created, appends;
    enum publish_result result;
    struct message_id id;
};

static const char channel[] = "ai-chat";

static uint64_t pick(struct fixture *f, uint64_t n)
{
    return random_below(&f->random, n);
}

/* ---- subscribers ---- */

static void opens_at_once(void *user, struct subscription *s, const struct attached *attached)
{
    uint64_t last = 0;
    subscription_open(user, s, attached->head.delivery, &last);
}

static void subscribe(struct fixture *f, unsigned i)
{
    struct reader *r = &f->readers[i];
    struct attach_request request = {.app = f->core->app, .channel = STR(channel), .attached = opens_at_once,
                                     .user = &f->core->env, .socket = {1, i + 1}};
    struct arena arena = {0};
    r->full = i % 2;
    channel_name_check(f->core->app, request.channel, &request.name, &arena);
    request.sink = r->sink = sink_new(f->core);
    request.lane = lane_of(r->full ? LANE_FULL : LANE_DELTA, i / 2);
    r->sub = hub_attach(&f->core->env, &request);
    core_settle(f->core);
    arena_free(&arena);
}

static void reduce(struct reader *r, struct str frame)
{
    struct buf a = {0}, b = {0};
    uint64_t serial = 0, history = 0;
    struct str event = json_text(json_get(frame, STR("event")), &a), data = json_text(json_get(frame, STR("data")), &b);
    struct str headers = json_get(json_get(frame, STR("extras")), STR("headers"));
    assert_true(json_u64(json_get(frame, STR("serial")), &serial));
    assert_true(json_u64(json_get(headers, STR("sockudo_history_serial")), &history));
    assert_true(serial > r->serial);
    assert_true(history < OPERATIONS);
    r->serial = serial;
    if (r->full || !str_eq(event, STR("sockudo:message.append")))
        buf_clear(&r->texts[history]);
    buf_str(&r->texts[history], data);
    r->histories = history > r->histories ? history : r->histories;
    buf_free(&a);
    buf_free(&b);
}

/* Both of a window get the same frames; after each they show the same. */
static void read_pair(struct reader *delta, struct reader *full)
{
    struct str a = buf_view(&delta->sink->got), b = buf_view(&full->sink->got);
    while (a.n > 0) {
        reduce(delta, str_split(&a, '\n'));
        assert_true(b.n > 0);
        reduce(full, str_split(&b, '\n'));
        assert_int_equal(delta->serial, full->serial);
        for (uint64_t h = 1; h <= delta->histories; h++)
            assert_true(str_eq(buf_view(&delta->texts[h]), buf_view(&full->texts[h])));
    }
    assert_int_equal(b.n, 0);
    sink_forget(delta->sink);
    sink_forget(full->sink);
}

static void read_all(struct fixture *f)
{
    for (unsigned w = 0; w < WINDOWS; w++)
        read_pair(&f->readers[2 * w], &f->readers[2 * w + 1]);
}

/* ---- the history ---- */

static void published(struct publish *p)
{
    struct fixture *f = p->user;
    f->result = p->result;
    f->id = p->op.written.message;
    publish_free(p);
}

static void publish(struct fixture *f, enum store_action action, unsigned message, struct str data, const char *status)
{
    struct publish *p = publish_new(&f->core->env, f->core->app, published);
    struct store_write *w = &p->op.write;
    char text[100];
    p->user = f;
    p->op.channel = STR(channel);
    channel_name_check(f->core->app, p->op.channel, &p->name, &p->op.arena);
    w->action = action;
    w->data = arena_copy(&p->op.arena, data);
    if (status != NULL) {
        snprintf(text, sizeof text, "{\"ai\":{\"transport\":{\"status\":\"%s\"}}}", status);
        w->extras = arena_copy(&p->op.arena, str_of(text));
        extras_read(w->extras, &p->op.arena, &p->extras);
        w->status = p->extras.status;
    }
    w->target = f->messages[message];
    w->event_name = action == ACTION_CREATE ? STR("ai-output") : STR_NONE;
    p->ai_event = action == ACTION_CREATE;
    hub_publish(&f->core->env, p);
    if (pick(f, 3) > 0)
        core_settle(f->core); /* else it is still under way when the next comes */
}

static void settle(struct fixture *f)
{
    core_settle(f->core);
    read_all(f);
}

static void create(struct fixture *f, unsigned message)
{
    publish(f, ACTION_CREATE, message, STR("\"\""), "streaming");
    core_settle(f->core);
    assert_int_equal(f->result, PUBLISH_OK);
    f->messages[message] = f->id;
    f->known[message] = true;
    f->created++;
}

static void append(struct fixture *f, unsigned message, bool last)
{
    char text[32];
    int n = snprintf(text, sizeof text, "\"%c%llu\\n\"", 'a' + (int)pick(f, 26), (unsigned long long)f->appends++);
    publish(f, ACTION_APPEND, message, str_make(text, (size_t)n), last ? "complete" : pick(f, 2) ? "streaming" : NULL);
    struct buf *model = &f->model[f->messages[message].history];
    buf_put(model, text + 1, (size_t)n - 4);
    buf_char(model, '\n');
    if (last)
        f->known[message] = false; /* a new one takes its place */
}

static void change(struct fixture *f, unsigned message, enum store_action action)
{
    struct buf *model = &f->model[f->messages[message].history];
    bool given = pick(f, 2);
    publish(f, action, message, given ? STR("\"new \"") : STR_NONE, NULL);
    if (given) {
        buf_clear(model);
        buf_lit(model, "new ");
    }
}

static void operation(struct fixture *f)
{
    unsigned message = (unsigned)pick(f, MESSAGES);
    uint64_t kind = pick(f, 100);
    if (!f->known[message])
        create(f, message);
    else if (kind < 70)
        append(f, message, false);
    else if (kind < 74)
        append(f, message, true);
    else if (kind < 78)
        change(f, message, ACTION_UPDATE);
    else if (kind < 80)
        change(f, message, ACTION_DELETE);
    else
        core_advance_ms(f->core, (unsigned)pick(f, kind < 82 ? 600 : 30));
}

/* ---- one seed ---- */

static double figure_sum(struct fixture *f, const char *name)
{
    struct buf text = {0};
    metric_render(f->core->env.metrics->registry, STR(""), &text);
    buf_char(&text, '\0');
    const char *at = strstr(text.p, name);
    assert_non_null(at);
    double sum = strtod(strchr(at, ' '), NULL);
    buf_free(&text);
    return sum;
}

static void judge(struct fixture *f)
{
    const struct app_metrics *m = metrics_of(&f->core->env, f->core->app);
    for (unsigned i = 0; i < SUBSCRIBERS; i++) {
        assert_int_equal(f->readers[i].histories, f->created);
        for (uint64_t h = 1; h <= f->created; h++)
            assert_true(str_eq(buf_view(&f->readers[i].texts[h]), buf_view(&f->model[h])));
    }
    assert_int_equal(f->core->env.rollup_pending, 0);
    assert_int_equal(metric_value(m->rollup_states), 0);
    assert_int_equal(metric_value(m->rollup_pending), 0);
    assert_int_equal(metric_value(m->appends_received), (int64_t)figure_sum(f, "rollup_ratio_sum"));
    assert_int_equal(metric_value(m->appends_delivered), metric_value(m->rollup_ratio));
}

static void run_seed(uint64_t seed)
{
    struct fixture *f = mem_new(struct fixture);
    f->core = core_new();
    random_from_seed(&f->random, seed);
    if (pick(f, 3) == 0)
        f->core->config->ai.rollup.max_pending_bytes = 5 + pick(f, 20);
    if (pick(f, 3) == 0)
        f->core->config->ai.rollup.max_shard_pending_bytes = 300 + pick(f, 4000);
    if (pick(f, 3) == 0)
        f->core->config->ai.rollup.max_full_text_bytes = 1 + pick(f, 40);
    if (pick(f, 10) == 0)
        f->core->config->ai.rollup.enabled = false;
    for (unsigned i = 0; i < SUBSCRIBERS; i++)
        subscribe(f, i);
    for (unsigned i = 0; i < OPERATIONS; i++) {
        operation(f);
        if (pick(f, 8) == 0)
            settle(f);
    }
    core_advance_ms(f->core, 1100); /* the longest window, and once more with nothing in it */
    settle(f);
    judge(f);
    for (unsigned i = 0; i < SUBSCRIBERS; i++)
        hub_detach(&f->core->env, f->readers[i].sub, 0);
    core_free(f->core);
    for (unsigned i = 0; i < SUBSCRIBERS; i++) {
        sink_free(f->readers[i].sink);
        for (unsigned h = 0; h < OPERATIONS; h++)
            buf_free(&f->readers[i].texts[h]);
    }
    for (unsigned h = 0; h < OPERATIONS; h++)
        buf_free(&f->model[h]);
    free(f);
}

static void rolled_and_unrolled_streams_reduce_to_the_same_state(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        run_seed(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(rolled_and_unrolled_streams_reduce_to_the_same_state)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
