/* rollup_test.c - what subscribers see of streams, and when.
 *
 * State is shown as text: "@5:lo" is an append frame at position 5 with the text "lo", "=5:Hello" one that carries the whole,
 * "+3:ai-output" a create, "!6:all" an update.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "../support/core.h"
#include "base/json.h"
#include "base/mem.h"
#include "channel/internal.h"
#include <stdio.h>
#include <stdlib.h>

struct fixture {
    struct core *core;
    struct sink *sinks[4];
    struct subscription *subs[4];
    unsigned subscribers;
    struct message_id messages[4]; /* "m0" ... */
    struct buf text;
    enum publish_result result;
    struct message_id id;
};

static const char channel_name[] = "ai-chat";

static int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    f->core = core_new();
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < f->subscribers; i++)
        hub_detach(&f->core->env, f->subs[i], 0);
    core_settle(f->core);
    core_free(f->core);
    for (unsigned i = 0; i < f->subscribers; i++)
        sink_free(f->sinks[i]);
    buf_free(&f->text);
    free(f);
    return 0;
}

static void opens_at_once(void *user, struct subscription *s, const struct attached *attached)
{
    uint64_t last = 0;
    assert_int_equal(attached->code, 0);
    subscription_open(user, s, attached->head.delivery, &last);
}

static void subscribe(struct fixture *f, enum lane_mode mode, unsigned window_ms)
{
    struct attach_request r = {.app = f->core->app, .channel = STR(channel_name), .attached = opens_at_once,
                               .user = &f->core->env, .socket = {1, f->subscribers + 1}};
    struct arena arena = {0};
    assert_null(channel_name_check(f->core->app, r.channel, &r.name, &arena));
    r.sink = f->sinks[f->subscribers] = sink_new(f->core);
    r.lane = lane_of(mode, (unsigned)window_index(window_ms));
    f->subs[f->subscribers++] = hub_attach(&f->core->env, &r);
    core_settle(f->core);
    arena_free(&arena);
}

static void published(struct publish *p)
{
    struct fixture *f = p->user;
    f->result = p->result;
    f->id = p->op.written.message;
    publish_free(p);
}

static void begin_publish(struct fixture *f, enum store_action action, unsigned message, const char *data, const char *status)
{
    struct publish *p = publish_new(&f->core->env, f->core->app, published);
    struct store_write *w = &p->op.write;
    char text[100];
    p->user = f;
    p->op.channel = STR(channel_name);
    channel_name_check(f->core->app, p->op.channel, &p->name, &p->op.arena);
    snprintf(text, sizeof(text), "\"%s\"", data);
    w->action = action;
    w->data = arena_copy(&p->op.arena, str_of(text));
    snprintf(text, sizeof(text), "{\"ai\":{\"transport\":{\"status\":\"%s\"}}}", status);
    w->extras = arena_copy(&p->op.arena, str_of(text));
    extras_read(w->extras, &p->op.arena, &p->extras);
    w->status = p->extras.status;
    w->target = f->messages[message];
    if (action == ACTION_CREATE) {
        p->ai_event = true;
        w->event_name = STR("ai-output");
    }
    hub_publish(&f->core->env, p);
}

static void publish(struct fixture *f, enum store_action action, unsigned message, const char *data, const char *status)
{
    begin_publish(f, action, message, data, status);
    core_settle(f->core);
    assert_int_equal(f->result, PUBLISH_OK);
    if (action == ACTION_CREATE)
        f->messages[message] = f->id;
}

static void create(struct fixture *f, unsigned message)
{
    publish(f, ACTION_CREATE, message, "", "streaming");
}

/* A delta subscriber, then so many streams. */
static void streams_begin(struct fixture *f, unsigned count, unsigned window_ms)
{
    subscribe(f, LANE_DELTA, window_ms);
    for (unsigned i = 0; i < count; i++)
        create(f, i);
}

static void append(struct fixture *f, unsigned message, const char *text)
{
    publish(f, ACTION_APPEND, message, text, "streaming");
}

static void append_last(struct fixture *f, unsigned message, const char *text)
{
    publish(f, ACTION_APPEND, message, text, "complete");
}

static void advance_ms(struct fixture *f, unsigned ms)
{
    core_advance_ms(f->core, ms);
}

static void show_frame(struct fixture *f, struct str line)
{
    struct buf a = {0}, b = {0};
    uint64_t serial = 0;
    struct str event = json_text(json_get(line, STR("event")), &a);
    struct str data = json_text(json_get(line, STR("data")), &b);
    json_u64(json_get(line, STR("serial")), &serial);
    if (f->text.n > 0)
        buf_char(&f->text, ' ');
    if (str_eq(event, STR("sockudo:message.append")))
        buf_fmt(&f->text, "@%llu:%.*s", (unsigned long long)serial, STR_ARG(data));
    else if (str_eq(event, STR("sockudo:message.update")))
        buf_fmt(&f->text, "!%llu:%.*s", (unsigned long long)serial, STR_ARG(data));
    else
        buf_fmt(&f->text, "+%llu:%.*s", (unsigned long long)serial, STR_ARG(event));
    buf_free(&a);
    buf_free(&b);
}

/* All frames that subscriber i has got since the last call. */
static const char *sent(struct fixture *f, unsigned i)
{
    struct str rest = buf_view(&f->sinks[i]->got);
    buf_clear(&f->text);
    while (rest.n > 0)
        show_frame(f, str_split(&rest, '\n'));
    sink_forget(f->sinks[i]);
    buf_char(&f->text, '\0');
    return f->text.p;
}

/* A reader waits for the first word least. */
static void first_append_leaves_at_once(void **state)
{
    struct fixture *f = *state;
    streams_begin(f, 1, 40);

    append(f, 0, "Hel");

    assert_string_equal(sent(f, 0), "+1:ai-output @2:Hel");
}

static void appends_within_the_window_leave_as_one_frame_at_its_end(void **state)
{
    struct fixture *f = *state;
    streams_begin(f, 1, 40);
    append(f, 0, "a");
    sent(f, 0);
    advance_ms(f, 10);
    append(f, 0, "b");
    advance_ms(f, 10);
    append(f, 0, "c");
    assert_string_equal(sent(f, 0), "");

    advance_ms(f, 19);
    assert_string_equal(sent(f, 0), "");
    advance_ms(f, 1);

    assert_string_equal(sent(f, 0), "@4:bc");
}

/* A follower must not see the end of a message before its middle. */
static void terminal_append_leaves_after_the_pending_run(void **state)
{
    struct fixture *f = *state;
    streams_begin(f, 1, 40);
    append(f, 0, "Hel");
    sent(f, 0);
    advance_ms(f, 10);
    append(f, 0, "lo");

    append_last(f, 0, "!");

    assert_string_equal(sent(f, 0), "@3:lo @4:!");
}

static void steady_stream_leaves_at_a_fixed_cadence(void **state)
{
    struct fixture *f = *state;
    streams_begin(f, 1, 40);
    append(f, 0, "x");
    size_t before = f->sinks[0]->frames;

    for (int i = 0; i < 100; i++) {
        advance_ms(f, 10);
        append(f, 0, "y");
    }

    assert_in_range(f->sinks[0]->frames - before, 24, 26);
}

static void window_that_passed_in_silence_lets_the_next_append_leave_at_once(void **state)
{
    struct fixture *f = *state;
    streams_begin(f, 1, 40);
    append(f, 0, "a");
    advance_ms(f, 41);
    sent(f, 0);

    append(f, 0, "b");

    assert_string_equal(sent(f, 0), "@3:b");
}

static void update_leaves_after_the_pending_run(void **state)
{
    struct fixture *f = *state;
    streams_begin(f, 1, 40);
    append(f, 0, "a");
    sent(f, 0);
    append(f, 0, "b");

    publish(f, ACTION_UPDATE, 0, "all", "streaming");

    assert_string_equal(sent(f, 0), "@3:b !4:all");
}

/* Positions must only rise on a connection, or resume would lose what was overtaken. */
static void first_append_of_another_message_empties_the_list_first(void **state)
{
    struct fixture *f = *state;
    streams_begin(f, 2, 40);
    append(f, 0, "a");
    sent(f, 0);
    append(f, 0, "b");

    append(f, 1, "X");

    assert_string_equal(sent(f, 0), "@4:b @5:X");
}

static void interleaved_appends_leave_in_commit_order_with_one_frame_a_run(void **state)
{
    struct fixture *f = *state;
    streams_begin(f, 2, 40);
    append(f, 0, "a");
    append(f, 1, "x");
    sent(f, 0);
    append(f, 0, "b");
    append(f, 0, "c");
    append(f, 1, "y");
    append(f, 0, "d");

    advance_ms(f, 40);

    assert_string_equal(sent(f, 0), "@6:bc @7:y @8:d");
}

static void each_connection_has_the_window_that_it_asked_for(void **state)
{
    struct fixture *f = *state;
    subscribe(f, LANE_DELTA, 0);
    subscribe(f, LANE_DELTA, 20);
    streams_begin(f, 1, 100);
    append(f, 0, "a");
    for (int i = 0; i < 3; i++)
        sent(f, (unsigned)i);
    append(f, 0, "b");
    append(f, 0, "c");

    assert_string_equal(sent(f, 0), "@3:b @4:c");
    advance_ms(f, 20);
    assert_string_equal(sent(f, 1), "@4:bc");
    assert_string_equal(sent(f, 2), "");
    advance_ms(f, 80);
    assert_string_equal(sent(f, 2), "@4:bc");
}

static void full_subscriber_gets_the_whole_text_and_delta_the_fragments(void **state)
{
    struct fixture *f = *state;
    create(f, 0);
    append(f, 0, "Hel");
    subscribe(f, LANE_FULL, 0);
    subscribe(f, LANE_DELTA, 0);

    append(f, 0, "lo");
    append(f, 0, "!");

    assert_string_equal(sent(f, 0), "@3:Hello @4:Hello!");
    assert_string_equal(sent(f, 1), "@3:lo @4:!");
}

static void v1_subscriber_sees_the_create_and_nothing_of_the_stream(void **state)
{
    struct fixture *f = *state;
    subscribe(f, LANE_V1, 0);
    create(f, 0);
    append(f, 0, "a");
    append_last(f, 0, "b");

    advance_ms(f, 100);

    assert_string_equal(sent(f, 0), "+0:ai-output");
}

/* What is pending when somebody comes lies at or below the position that he is told. */
static void newcomer_gets_nothing_of_a_run_that_was_pending(void **state)
{
    struct fixture *f = *state;
    streams_begin(f, 1, 500);
    append(f, 0, "a");
    append(f, 0, "b");
    sent(f, 0);

    subscribe(f, LANE_DELTA, 500);
    append(f, 0, "c");
    advance_ms(f, 500);

    assert_string_equal(sent(f, 1), "@4:c");
}

static void pending_text_leaves_early_when_it_grows_too_large(void **state)
{
    struct fixture *f = *state;
    f->core->config->ai.rollup.max_pending_bytes = 10;
    streams_begin(f, 1, 500);
    append(f, 0, "a");
    sent(f, 0);
    append(f, 0, "12345");
    assert_string_equal(sent(f, 0), "");

    append(f, 0, "67890");

    assert_string_equal(sent(f, 0), "@4:1234567890");
}

/* A shard full of pending text still delivers in order, at once. */
static void without_room_on_the_shard_appends_leave_at_once_behind_the_rest(void **state)
{
    struct fixture *f = *state;
    streams_begin(f, 1, 500);
    append(f, 0, "a");
    append(f, 0, "b");
    sent(f, 0);
    f->core->config->ai.rollup.max_shard_pending_bytes = f->core->env.rollup_pending;

    append(f, 0, "c");

    assert_string_equal(sent(f, 0), "@3:b @4:c");
    assert_int_equal(metric_value(metrics_of(&f->core->env, f->core->app)->rollup_bypassed), 1);
    assert_int_equal(f->core->env.rollup_pending, 0);
    append(f, 0, "d");
    assert_string_equal(sent(f, 0), "");
    advance_ms(f, 500);
    assert_string_equal(sent(f, 0), "@5:d");
}

/* Interleaved streams make a run of each append: there are at most so many. */
static void runs_of_a_channel_are_bounded(void **state)
{
    struct fixture *f = *state;
    streams_begin(f, 2, 500);
    append(f, 0, "a");
    append(f, 1, "a");
    sent(f, 0);
    for (unsigned i = 0; i < ROLLUP_RUNS_MAX - 1; i++)
        append(f, i % 2, "b");
    assert_string_equal(sent(f, 0), "");

    append(f, 1, "b");

    sent(f, 0);
    assert_int_equal(f->core->env.rollup_pending, 0);
}

static void latency_counts_from_the_arrival_at_the_owner(void **state)
{
    struct fixture *f = *state;
    struct app_metrics *m = metrics_of(&f->core->env, f->core->app);
    streams_begin(f, 1, 40);
    append(f, 0, "a");
    append(f, 0, "b");
    advance_ms(f, 40);
    struct buf text = {0};
    metric_render(f->core->env.metrics->registry, STR(""), &text);
    assert_int_equal(metric_value(m->flush_latency), 2);
    assert_true(str_find(buf_view(&text), STR("flush_latency_sum{app_id=\"app-id\",port=\"9601\"} 40\n")) >= 0);
    buf_free(&text);
}

/* An alert on it must not depend on which windows the clients have chosen. */
static void what_leaves_behind_its_window_is_late(void **state)
{
    struct fixture *f = *state;
    struct app_metrics *m = metrics_of(&f->core->env, f->core->app);
    streams_begin(f, 1, 500);
    append(f, 0, "a");
    append(f, 0, "b");
    advance_ms(f, 500);
    assert_int_equal(metric_value(m->flush_late), 0);

    append(f, 0, "c");
    f->core->now_ns += (500 + FLUSH_LATE_MS + 1) * 1000000ull;
    advance_ms(f, 1);

    assert_int_equal(metric_value(m->flush_late), 1);
}

/* The text of one message makes room for that of another while a run of the first still waits. */
static void full_texts_are_bounded_and_stay_whole(void **state)
{
    struct fixture *f = *state;
    f->core->config->ai.rollup.max_full_text_bytes = 1;
    subscribe(f, LANE_FULL, 40);
    create(f, 0);
    create(f, 1);
    append(f, 0, "a");
    append(f, 0, "b"); /* waits */
    sent(f, 0);
    append(f, 1, "x"); /* its text is read: that of the first goes */
    append(f, 0, "c");
    append(f, 1, "y");
    advance_ms(f, 40);
    assert_string_equal(sent(f, 0), "@4:ab @5:x @6:abc @7:xy");
    assert_true(f->core->env.full_text_bytes <= 3);
    append_last(f, 0, "!");
    append_last(f, 1, "!");
    assert_string_equal(sent(f, 0), "@8:abc! @9:xy!");
    assert_int_equal(f->core->env.full_text_bytes, 0);
    assert_int_equal(metric_value(metrics_of(&f->core->env, f->core->app)->full_text_bytes), 0);
}

/* A node read a text that it lacked while a repair delivered past it: the answer met a table that was gone, and the node died. */
static void a_text_that_is_read_while_a_repair_goes_by_is_read_again(void **state)
{
    struct fixture *f = *state;
    struct channel_name kind;
    struct arena arena = {0};
    create(f, 0);
    append(f, 0, "Hel");
    subscribe(f, LANE_FULL, 0);
    assert_null(channel_name_check(f->core->app, STR(channel_name), &kind, &arena));
    struct channel *ch = owner_channel(&f->core->env, f->core->app, STR(channel_name), &kind);

    begin_publish(f, ACTION_APPEND, 0, "lo", "streaming");
    for (unsigned steps = 0; ch->texts == NULL && steps < 100; steps++)
        core_step(f->core);
    assert_non_null(ch->texts);
    f->core->env.hub->egress->bypassed(ch);
    core_settle(f->core);

    assert_string_equal(sent(f, 0), "@3:Hello");
    arena_free(&arena);
}

static void drain_sends_what_is_pending(void **state)
{
    struct fixture *f = *state;
    streams_begin(f, 1, 500);
    append(f, 0, "a");
    append(f, 0, "b");
    sent(f, 0);

    hub_flush(&f->core->env);
    core_settle(f->core);

    assert_string_equal(sent(f, 0), "@3:b");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(first_append_leaves_at_once),
        T(appends_within_the_window_leave_as_one_frame_at_its_end),
        T(terminal_append_leaves_after_the_pending_run),
        T(steady_stream_leaves_at_a_fixed_cadence),
        T(window_that_passed_in_silence_lets_the_next_append_leave_at_once),
        T(update_leaves_after_the_pending_run),
        T(first_append_of_another_message_empties_the_list_first),
        T(interleaved_appends_leave_in_commit_order_with_one_frame_a_run),
        T(each_connection_has_the_window_that_it_asked_for),
        T(full_subscriber_gets_the_whole_text_and_delta_the_fragments),
        T(v1_subscriber_sees_the_create_and_nothing_of_the_stream),
        T(newcomer_gets_nothing_of_a_run_that_was_pending),
        T(pending_text_leaves_early_when_it_grows_too_large),
        T(without_room_on_the_shard_appends_leave_at_once_behind_the_rest),
        T(runs_of_a_channel_are_bounded),
        T(latency_counts_from_the_arrival_at_the_owner),
        T(what_leaves_behind_its_window_is_late),
        T(full_texts_are_bounded_and_stay_whole),
        T(a_text_that_is_read_while_a_repair_goes_by_is_read_again),
        T(drain_sends_what_is_pending),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
