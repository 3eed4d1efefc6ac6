/* streams_test.c - who is open, what is counted, and how silent streams end (chapter 4, 5.3 to 5.5).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "streams_fixture.h"

/* ---- the janitor ---- */

/* [4.32] */
static void silent_stream_is_cancelled_once_with_its_text(void **state)
{
    struct fixture *f = *state;
    char expected[160], serial[SERIAL_SIZE + 1];
    subscribe(f, "ai-chat");
    create(f, 0);
    append(f, 0, NULL);
    sink_forget(f->sink);
    told(f);
    advance(f, TTL_MS - 1);
    assert_int_equal(open_now(f), 1);
    assert_int_equal(f->sink->frames, 0);

    advance(f, 2);

    assert_int_equal(open_now(f), 0);
    assert_int_equal(figure(f, orphans_closed), 1);
    assert_int_equal(f->sink->frames, 1);
    assert_true(str_find(buf_view(&f->sink->got), STR("\"event\":\"sockudo:message.update\"")) >= 0);
    assert_true(str_find(buf_view(&f->sink->got), STR("\"data\":\"abc\"")) >= 0);
    assert_string_equal(latest(f, 0),
                        "\"abc\" {\"ai\":{\"transport\":{\"run-id\":\"r1\",\"status\":\"cancelled\",\"error-code\":\"orphan_timeout\","
                        "\"error-message\":\"stream cancelled after orphan timeout\"}}} AI stream orphan timeout "
                        "{\"system\":\"ai_transport_orphan_janitor\",\"reason\":\"orphan_timeout\"}");
    assert_null(f->item.client_id.p);
    serial_print(serial, f->messages[0].create_delivery, f->messages[0].stream8, f->messages[0].history);
    snprintf(expected, sizeof expected, "ai_stream_orphaned(ai-chat) \"message_serial\":\"%s\",\"reason\":\"orphan_timeout\"", serial);
    assert_string_equal(told(f), expected);
    assert_int_equal(append(f, 0, NULL), PUBLISH_TERMINAL);
    advance(f, 3 * TTL_MS);
    assert_int_equal(f->sink->frames, 1);
}

static void each_commit_counts_the_silence_anew(void **state)
{
    struct fixture *f = *state;
    create(f, 0);
    for (int i = 0; i < 4; i++) {
        advance(f, TTL_MS - 1);
        assert_int_equal(append(f, 0, NULL), PUBLISH_OK);
    }
    advance(f, TTL_MS - 1);
    assert_int_equal(open_now(f), 1);
    advance(f, 2);
    assert_int_equal(open_now(f), 0);
}

/* [4.33] The append is on its way when the janitor reads: it wins, or it is refused, at each moment. */
static void append_at_the_instant_of_closing_wins_or_is_refused(void **state)
{
    struct fixture *f = *state;
    unsigned won = 0, refused = 0;
    for (int late_ns = -3; late_ns < 4; late_ns++) {
        create(f, 0);
        advance(f, TTL_MS - 1);
        struct publish *p = mutation(f, ACTION_APPEND, 0, "\"x\"", NULL);
        f->core->now_ns += 1000000;
        if (late_ns < 0) { /* the append is submitted first, the janitor wakes before it is stored */
            hub_publish(&f->core->env, p);
            wheel_turn(f->core->env.wheel, f->core->now_ns / 1000000);
        } else { /* the janitor has asked, and so many steps later the append comes */
            wheel_turn(f->core->env.wheel, f->core->now_ns / 1000000);
            for (int i = 0; i < late_ns; i++)
                core_step(f->core);
            hub_publish(&f->core->env, p);
        }
        core_settle(f->core);
        latest(f, 0);
        if (f->result == PUBLISH_OK) {
            won++;
            assert_int_equal(f->item.status, STREAM_OPEN);
            assert_true(str_find(buf_view(&f->item_text), STR("\"x\"")) >= 0);
            assert_int_equal(open_now(f), 1);
            append(f, 0, STATUS("complete"));
        } else {
            refused++;
            assert_int_equal(f->result, PUBLISH_TERMINAL);
            assert_int_equal(f->item.status, STREAM_CANCELLED);
        }
        assert_int_equal(open_now(f), 0);
    }
    assert_true(won > 0);
    assert_true(refused > 0);
}

/* [4.34] A crash forgets nothing: the next process finds what is open, and counts from then. */
static void open_streams_of_an_earlier_process_are_closed(void **state)
{
    struct fixture *f = *state;
    struct env *env = &f->core->env;
    char channel[32];
    for (unsigned i = 0; i < 3 * STREAM_PAGE; i++) {
        snprintf(channel, sizeof channel, "ai-%u", i);
        create_in(f, i == 0 ? "ai-chat" : channel, i == 0 ? 0 : 1);
    }
    streams_stop(env);
    streams_close(env);
    metrics_gauge(env, f->core->app, active_streams, -3 * STREAM_PAGE); /* it is of the process */
    streams_open(env);
    streams_find(env, STORE_OF_THIS_NODE);
    core_settle(f->core);
    assert_int_equal(open_now(f), 3 * STREAM_PAGE);

    advance(f, TTL_MS + 1);

    assert_int_equal(open_now(f), 0);
    assert_int_equal(figure(f, orphans_closed), 3 * STREAM_PAGE);
}

/* How long it has been open says the store, and a node whose clock is wrong goes by that. */
static void age_of_a_found_stream_is_by_the_stores_clock(void **state)
{
    struct fixture *f = *state;
    struct env *env = &f->core->env;
    core_wall_is_ahead(f->core, 3600000);
    create(f, 0);
    create(f, 1);
    advance(f, 20000);
    streams_stop(env);
    streams_close(env);
    metrics_gauge(env, f->core->app, active_streams, -2);
    streams_open(env);
    streams_find(env, STORE_OF_THIS_NODE);
    core_settle(f->core);
    f->core->config->ai.max_stream_duration_ms = 30000;
    advance(f, 10000);
    assert_int_equal(append(f, 0, NULL), PUBLISH_OK);
    advance(f, 1);
    assert_int_equal(append(f, 0, NULL), PUBLISH_TOO_OLD);
    latest(f, 0);
    assert_int_equal(f->item.published_at_ms + 30001, clock_wall_ms(&f->core->clock));
}

/* What ended while the list was on its way must not come back as open. */
static void stream_that_ended_before_the_list_came_is_not_open(void **state)
{
    struct fixture *f = *state;
    struct env *env = &f->core->env;
    create(f, 0);
    create(f, 1);
    streams_stop(env);
    streams_close(env);
    metrics_gauge(env, f->core->app, active_streams, -2);
    streams_open(env);
    streams_find(env, STORE_OF_THIS_NODE);
    store_step(env->store); /* the page is read */
    hub_publish(env, mutation(f, ACTION_APPEND, 0, "\"!\"", STATUS("complete")));
    core_settle(f->core);

    assert_int_equal(open_now(f), 1);
    assert_int_equal(append(f, 1, STATUS("complete")), PUBLISH_OK);
    assert_int_equal(open_now(f), 0);
}

/* The store has read the page: its last stream shall not have been readable. */
static void spoil_page(struct fixture *f)
{
    struct store_op *op = f->core->home_first;
    assert_non_null(op);
    assert_int_equal(op->kind, STORE_OPEN);
    op->result = STORE_FAILED;
    op->found.count--;
    op->found.more = false; /* open_next is that stream's */
}

static void find_with_failures(struct fixture *f, unsigned failures)
{
    struct env *env = &f->core->env;
    streams_stop(env);
    streams_close(env);
    metrics_gauge(env, f->core->app, active_streams, -figure(f, active_streams));
    streams_open(env);
    streams_find(env, STORE_OF_THIS_NODE);
    for (unsigned i = 0; i < failures; i++) {
        store_step(env->store);
        spoil_page(f);
        core_settle(f->core);
        f->core->now_ns += 1000000u * (uint64_t)STREAM_RETRY_MS;
        wheel_turn(env->wheel, f->core->now_ns / 1000000u);
    }
    core_settle(f->core);
}

static void page_that_fails_is_asked_for_again_and_at_last_without_what_fails(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 3; i++)
        create(f, i);
    find_with_failures(f, STREAM_PAGE_TRIES - 1);
    assert_int_equal(open_now(f), 3);
    find_with_failures(f, STREAM_PAGE_TRIES);
    assert_int_equal(open_now(f), 2);
}

/* Found by the simulation: the create "failed", was stored, and its publisher never asked again. */
static void stream_whose_create_failed_and_was_stored_is_found(void **state)
{
    struct fixture *f = *state;
    struct publish *p = publish_make(f, "ai-chat", ACTION_CREATE, "ai-output", STATUS("streaming"));
    p->op.write.data = STR("\"\"");
    hub_publish(&f->core->env, p);
    core_step(f->core);
    store_step(f->core->env.store);
    f->core->home_first->result = STORE_FAILED; /* it is in the store all the same */
    core_settle(f->core);
    assert_int_equal(f->result, PUBLISH_FAILED);
    assert_int_equal(open_now(f), 0);
    advance(f, STREAM_DOUBT_MS + 1);
    assert_int_equal(open_now(f), 1);
    advance(f, TTL_MS + 1);
    assert_int_equal(open_now(f), 0);
    assert_int_equal(figure(f, orphans_closed), 1);
}

/* [4.36] */
static void deleted_stream_is_not_open_and_an_append_revives_it(void **state)
{
    struct fixture *f = *state;
    create(f, 0);
    assert_int_equal(mutate(f, ACTION_DELETE, 0, NULL, NULL), PUBLISH_OK);
    assert_int_equal(open_now(f), 0);
    advance(f, 2 * TTL_MS);
    assert_int_equal(figure(f, orphans_closed), 0);
    assert_int_equal(append(f, 0, NULL), PUBLISH_OK);
    assert_int_equal(open_now(f), 1);
}

/* [4.43] */
static void clearing_the_extras_ends_a_stream(void **state)
{
    struct fixture *f = *state;
    create(f, 0);
    struct publish *p = mutation(f, ACTION_UPDATE, 0, "\"x\"", NULL);
    p->op.write.clear = CLEAR_EXTRAS;
    hub_publish(&f->core->env, p);
    core_settle(f->core);
    assert_int_equal(open_now(f), 0);
    assert_int_equal(mutate(f, ACTION_UPDATE, 0, NULL, STATUS("streaming")), PUBLISH_OK);
    assert_int_equal(open_now(f), 1);
}

static void replaced_extras_without_status_end_a_stream(void **state)
{
    struct fixture *f = *state;
    create(f, 0);
    append(f, 0, "{\"ai\":{\"transport\":{\"run-id\":\"r\"}}}");
    assert_int_equal(open_now(f), 0);
    create(f, 1);
    mutate(f, ACTION_UPDATE, 1, "\"x\"", NULL);
    assert_int_equal(open_now(f), 1);
}

static void reset_done(struct store_op *op)
{
    assert_int_equal(op->result, STORE_OK);
    store_op_free(op);
}

static void streams_of_a_reset_channel_are_forgotten(void **state)
{
    struct fixture *f = *state;
    create(f, 0);
    create(f, 1);
    struct store_op *op = store_op_new(STORE_RESET, 0, reset_done);
    op->app_id = f->core->app->id;
    op->channel = STR("ai-chat");
    store_submit(f->core->env.store, op);
    core_settle(f->core);
    hub_forget(&f->core->env, f->core->app, STR("ai-chat"));
    core_settle(f->core);
    assert_int_equal(open_now(f), 0);
    create(f, 0);
    assert_int_equal(open_now(f), 1);
}

/* Many at once: a few at a time, and appends are not kept waiting behind all of them. */
static void many_orphans_are_closed_a_few_at_a_time(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < MESSAGES; i++)
        create(f, i);
    advance(f, TTL_MS - 1);
    f->core->now_ns += 2000000;
    wheel_turn(f->core->env.wheel, f->core->now_ns / 1000000);
    streams_check(f->core->env.streams);
    core_settle(f->core);
    assert_int_equal(open_now(f), 0);
    assert_int_equal(figure(f, orphans_closed), MESSAGES);
}

static void limits_lowered_since_do_not_keep_a_stream_open(void **state)
{
    struct fixture *f = *state;
    create(f, 0);
    append(f, 0, NULL);
    f->core->config->ai.max_accumulated_message_bytes = 1;
    advance(f, TTL_MS + 1);
    assert_int_equal(open_now(f), 0);
}

/* ---- a store that others write to ---- */

static void foreign_done(struct store_op *op)
{
    assert_int_not_equal(op->result, STORE_FAILED);
}

/* As another node does it: this owner does not see it. */
static void elsewhere(struct fixture *f, enum store_action action, const char *extras)
{
    struct publish *p = publish_make(f, "ai-chat", action, "ai-output", extras);
    p->op.write.data = STR("\"x\"");
    p->op.write.target = f->messages[0];
    struct store_op op = {.kind = STORE_WRITE, .done = foreign_done, .app_id = f->core->app->id, .channel = p->op.channel, .write = p->op.write};
    store_submit(f->core->env.store, &op);
    core_settle(f->core);
    assert_int_equal(op.result, STORE_OK);
    if (action == ACTION_CREATE)
        f->messages[0] = op.written.message;
    arena_free(&op.arena);
    publish_free(p);
}

/* [4.32] [4.35] */
static void silent_stream_of_a_dead_node_is_closed_by_the_stores_clock(void **state)
{
    struct fixture *f = *state;
    streams_find(&f->core->env, STORE_SHARED);
    elsewhere(f, ACTION_CREATE, STATUS("streaming"));
    advance(f, TTL_MS - 10);
    elsewhere(f, ACTION_APPEND, NULL);
    advance(f, TTL_MS - 10);
    assert_int_equal(figure(f, orphans_closed), 0);
    assert_int_equal(open_now(f), 0); /* it is the other node's */
    advance(f, 2000);
    assert_int_equal(figure(f, orphans_closed), 1);
    assert_int_equal(open_now(f), 0);
    latest(f, 0);
    assert_int_equal(f->item.status, STREAM_CANCELLED);
    advance(f, 2 * TTL_MS);
    assert_int_equal(figure(f, orphans_closed), 1);
}

static void stream_opened_here_and_continued_elsewhere_lives(void **state)
{
    struct fixture *f = *state;
    streams_find(&f->core->env, STORE_SHARED);
    create(f, 0);
    for (int i = 0; i < 4; i++) {
        advance(f, TTL_MS - 2000);
        elsewhere(f, ACTION_APPEND, NULL);
    }
    assert_int_equal(figure(f, orphans_closed), 0);
    elsewhere(f, ACTION_APPEND, STATUS("complete"));
    advance(f, TTL_MS + 2000); /* at the latest then it is not counted here any more */
    assert_int_equal(open_now(f), 0);
    assert_int_equal(figure(f, orphans_closed), 0);
}

static void append_to_the_stream_of_another_node_does_not_count_it_twice(void **state)
{
    struct fixture *f = *state;
    streams_find(&f->core->env, STORE_SHARED);
    elsewhere(f, ACTION_CREATE, STATUS("streaming"));
    assert_int_equal(append(f, 0, NULL), PUBLISH_OK);
    assert_int_equal(open_now(f), 0);
    assert_int_equal(append(f, 0, STATUS("complete")), PUBLISH_OK);
    assert_int_equal(open_now(f), 0);
}

/* What the bus brings of a stream that was opened here. */
static void hear(struct fixture *f, enum store_action action, enum stream_status status, uint64_t delivery)
{
    struct channel ch = {.env = &f->core->env, .app = f->core->app, .key = STR("app-id\0ai-chat")};
    struct publish *p = publish_new(&f->core->env, f->core->app, NULL);
    p->op.write.action = action;
    p->op.written = (struct store_written){.message = f->messages[0], .delivery = delivery, .status = status};
    streams_heard(&ch, p);
    publish_free(p);
    streams_check(f->core->env.streams);
}

static void stream_opened_here_is_counted_here_until_another_node_ends_it(void **state)
{
    struct fixture *f = *state;
    streams_find(&f->core->env, STORE_SHARED);
    create(f, 0);
    advance(f, TTL_MS - 1000);
    hear(f, ACTION_APPEND, STREAM_OPEN, 2);
    assert_int_equal(open_now(f), 1);
    hear(f, ACTION_APPEND, STREAM_COMPLETE, 3);
    assert_int_equal(open_now(f), 0);
    hear(f, ACTION_UPDATE, STREAM_OPEN, 4); /* another node opened it anew: it is counted there */
    assert_int_equal(open_now(f), 0);
}

/* ---- caps ---- */

static enum publish_result open_another(struct fixture *f, const char *channel, const char *key)
{
    struct publish *p = publish_make(f, channel, ACTION_CREATE, "ai-output", STATUS("streaming"));
    p->op.write.data = STR("\"\"");
    p->op.write.receipt_key = hash128(str_of(key));
    p->op.write.fingerprint = hash128(STR("same"));
    p->op.write.receipt_ttl_ms = 120000;
    hub_publish(&f->core->env, p);
    core_settle(f->core);
    streams_check(f->core->env.streams);
    return f->result;
}

static void app_has_so_many_open_streams_over_all_channels(void **state)
{
    struct fixture *f = *state;
    f->core->config->ai.max_open_streams_per_app = 2;
    assert_int_equal(open_another(f, "ai-chat", "a"), PUBLISH_OK);
    f->messages[0] = f->id;
    assert_int_equal(open_another(f, "ai-1", "b"), PUBLISH_OK);
    assert_int_equal(open_another(f, "ai-2", "c"), PUBLISH_APP_OPEN_MAX);
    assert_int_equal(open_another(f, "ai-1", "b"), PUBLISH_DUPLICATE); /* a retry is no new stream */
    event(f, "ai-input", NULL);                                        /* nor is what does not stream */
    assert_int_equal(append(f, 0, NULL), PUBLISH_OK);
    assert_int_equal(append(f, 0, STATUS("streaming")), PUBLISH_OK);
    assert_int_equal(append(f, 0, STATUS("complete")), PUBLISH_OK);
    assert_int_equal(open_another(f, "ai-2", "c"), PUBLISH_OK);
    assert_int_equal(mutate(f, ACTION_UPDATE, 0, NULL, STATUS("streaming")), PUBLISH_APP_OPEN_MAX);
    assert_int_equal(open_now(f), 2);
    assert_int_equal(atomic_load(&f->core->app->open_streams), 2);
    advance(f, TTL_MS + 1); /* the janitor makes room */
    assert_int_equal(atomic_load(&f->core->app->open_streams), 0);
    assert_int_equal(open_another(f, "ai-2", "d"), PUBLISH_OK);
}

static void what_is_under_way_counts_for_the_app(void **state)
{
    struct fixture *f = *state;
    f->core->config->ai.max_open_streams_per_app = 3;
    unsigned opened = 0;
    for (unsigned i = 0; i < 8; i++) {
        struct publish *p = publish_make(f, i % 2 ? "ai-chat" : "ai-1", ACTION_CREATE, "ai-output", STATUS("streaming"));
        p->op.write.data = STR("\"\"");
        hub_publish(&f->core->env, p);
    }
    core_settle(f->core);
    opened = (unsigned)open_now(f);
    assert_int_equal(opened, 3);
    assert_int_equal(atomic_load(&f->core->app->open_streams), 3);
}

static void fragment_may_be_so_long_and_no_longer(void **state)
{
    struct fixture *f = *state;
    create(f, 0);
    f->core->config->ai.max_append_bytes = 3;
    assert_int_equal(mutate(f, ACTION_APPEND, 0, "\"a\\nb\"", NULL), PUBLISH_OK);
    assert_int_equal(mutate(f, ACTION_APPEND, 0, "\"abcd\"", NULL), PUBLISH_FRAGMENT_MAX);
    assert_int_equal(mutate(f, ACTION_UPDATE, 0, "\"abcd\"", NULL), PUBLISH_OK);
    assert_int_equal(f->delivery, 3);
}

/* ---- figures ---- */

static void bytes_and_duration_are_of_fragments_and_of_the_stream(void **state)
{
    struct fixture *f = *state;
    create(f, 0);
    mutate(f, ACTION_APPEND, 0, "\"a\\nb\"", NULL);
    advance(f, 1500);
    append(f, 0, STATUS("complete"));
    assert_int_equal(figure(f, stream_bytes), 6);
    assert_int_equal(figure(f, stream_duration), 1);
    struct buf text = {0};
    metric_render(f->core->env.metrics->registry, STR(""), &text);
    ptrdiff_t at = str_find(buf_view(&text), STR("ai_stream_duration_seconds_sum"));
    assert_true(at >= 0);
    assert_true(str_starts(str_from(buf_view(&text), (size_t)str_index(str_from(buf_view(&text), (size_t)at), ' ') + (size_t)at), STR(" 1.5\n")));
    buf_free(&text);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(silent_stream_is_cancelled_once_with_its_text),
        T(each_commit_counts_the_silence_anew),
        T(append_at_the_instant_of_closing_wins_or_is_refused),
        T(open_streams_of_an_earlier_process_are_closed),
        T(age_of_a_found_stream_is_by_the_stores_clock),
        T(stream_that_ended_before_the_list_came_is_not_open),
        T(page_that_fails_is_asked_for_again_and_at_last_without_what_fails),
        T(stream_whose_create_failed_and_was_stored_is_found),
        T(deleted_stream_is_not_open_and_an_append_revives_it),
        T(clearing_the_extras_ends_a_stream),
        T(replaced_extras_without_status_end_a_stream),
        T(streams_of_a_reset_channel_are_forgotten),
        T(many_orphans_are_closed_a_few_at_a_time),
        T(limits_lowered_since_do_not_keep_a_stream_open),
        T(silent_stream_of_a_dead_node_is_closed_by_the_stores_clock),
        T(stream_opened_here_and_continued_elsewhere_lives),
        T(append_to_the_stream_of_another_node_does_not_count_it_twice),
        T(stream_opened_here_is_counted_here_until_another_node_ends_it),
        T(app_has_so_many_open_streams_over_all_channels),
        T(what_is_under_way_counts_for_the_app),
        T(fragment_may_be_so_long_and_no_longer),
        T(bytes_and_duration_are_of_fragments_and_of_the_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
