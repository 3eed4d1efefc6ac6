/* queue_test.c - a job is stored, tried, tried again, and ends once; no target can hold up another.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

#define HOOK(host, more) "{url='http://" host "/x', event_types=['cache_miss']" more "}"
#define ONE_BY_ONE "webhooks.batching.enabled=false"

static void miss(struct fixture *f, const char *channel)
{
    happens(f, NOTICE_CACHE_MISS, channel);
    settle(f);
}

/* ---- the schedule ---- */

static void back_off_doubles_up_to_its_cap_and_ends_with_the_budget(void **state)
{
    struct retry r = {true, 0, 300000, 1000, 60000};
    assert_int_equal(retry_delay_ms(&r, 1, 0), 1000);
    assert_int_equal(retry_delay_ms(&r, 2, 1000), 2000);
    assert_int_equal(retry_delay_ms(&r, 6, 31000), 32000);
    assert_int_equal(retry_delay_ms(&r, 7, 63000), 60000);
    assert_int_equal(retry_delay_ms(&r, 1000000, 240000), 60000);
    assert_true(retry_delay_ms(&r, 8, 240001) == RETRY_NEVER);
    r.attempts_max = 3;
    assert_int_equal(retry_delay_ms(&r, 2, 0), 2000);
    assert_true(retry_delay_ms(&r, 3, 0) == RETRY_NEVER);
    r.enabled = false;
    assert_true(retry_delay_ms(&r, 1, 0) == RETRY_NEVER);
}

static void only_some_failures_are_tried_again(void **state)
{
    static const int again[] = {0, 408, 409, 425, 429, 500, 502, 599}, never[] = {301, 307, 400, 401, 404, 410, 422};
    for (size_t i = 0; i < sizeof again / sizeof *again; i++)
        assert_int_equal(verdict_of(again[i]), VERDICT_RETRY);
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        assert_int_equal(verdict_of(never[i]), VERDICT_PERMANENT);
    assert_int_equal(verdict_of(200), VERDICT_DELIVERED);
    assert_int_equal(verdict_of(299), VERDICT_DELIVERED);
}

/* 2.22, case 38. */
static void after_500_and_500_the_third_request_is_the_same(void **state)
{
    struct fixture *f = set_up(HOOK("h", ""), ONE_BY_ONE);
    miss(f, "a");
    answer(f, 0, 500);
    advance_ms(f, 999);
    assert_int_equal(f->count, 1);
    advance_ms(f, 102); /* jitter is at most a tenth, and never too early */
    answer(f, 1, 500);
    advance_ms(f, 1999);
    assert_int_equal(f->count, 2);
    advance_ms(f, 202);
    answer(f, 2, 200);
    advance_ms(f, 60000);
    assert_int_equal(f->count, 3);
    assert_string_equal(f->sent[0].body, f->sent[1].body);
    assert_string_equal(f->sent[0].body, f->sent[2].body);
    assert_int_equal(figure(f, retried), 2);
    assert_int_equal(figure(f, delivered), 1);
    assert_int_equal(figure(f, depth), 0);
    tear_down(f);
}

static void a_webhook_has_its_own_budget(void **state)
{
    struct fixture *f = set_up(HOOK("a", ",retry={max_attempts=2,initial_backoff_ms=10}") "," HOOK("b", ",retry={enabled=false}"),
                               ONE_BY_ONE "\nwebhooks.retry.max_attempts=9");
    miss(f, "c");
    answer(f, 0, 503);
    answer(f, 1, 503);
    advance_ms(f, 12);
    assert_int_equal(f->count, 3);
    answer(f, 2, 0);
    advance_ms(f, 100000);
    assert_int_equal(f->count, 3);
    assert_int_equal(figure(f, dead), 2);
    assert_int_equal(f->w->targets[0].retry.elapsed_max_ms, 300000); /* field by field: the rest is global */
    tear_down(f);
}

/* ---- durability ---- */

static void a_job_is_stored_before_its_first_attempt_and_gone_after_the_answer(void **state)
{
    struct fixture *f = set_up(HOOK("h", ""), ONE_BY_ONE);
    happens(f, NOTICE_CACHE_MISS, "a");
    webhooks_turn(f->w); /* asked the store, which has not answered */
    webhooks_turn(f->w);
    assert_int_equal(f->count, 0);
    settle(f);
    assert_int_equal(f->count, 1);
    assert_int_equal(count_notes(f, "webhook/"), 1);
    answer(f, 0, 200);
    assert_int_equal(count_notes(f, "webhook/"), 0);
    tear_down(f);
}

static void no_note_holds_a_secret(void **state)
{
    struct fixture *f = set_up("{url='https://user:pass@h:8443/t0ken?k=v', event_types=['cache_miss'], headers={X='hidden'}}", ONE_BY_ONE);
    struct buf all = {0};
    miss(f, "a");
    miss(f, "b");
    answer(f, 0, 410);
    notes(f, "webhook/", &all);
    notes(f, "dead", &all);
    static const char *const secrets[] = {"s3cr3t", "user", "pass", "t0ken", "k=v", "hidden"};
    for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++)
        if (str_find(buf_view(&all), str_of(secrets[i])) >= 0)
            fail_msg("%s is in %.*s", secrets[i], STR_ARG(buf_view(&all)));
    assert_true(str_find(buf_view(&all), STR("https://h:8443\"")) >= 0);
    buf_free(&all);
    tear_down(f);
}

static void what_kill_9_interrupts_is_delivered_by_the_next_process(void **state)
{
    struct fixture *f = set_up(HOOK("h", ""), ONE_BY_ONE);
    miss(f, "a"); /* under way */
    miss(f, "b"); /* behind it */
    end(f);
    begin(f);
    miss(f, "c"); /* its sequence number must not be one of theirs */
    assert_int_equal(count_notes(f, "webhook/"), 3);
    answer(f, 0, 200);
    answer(f, 1, 200);
    answer(f, 2, 200);
    assert_str(channels_of(f, 0), "a");
    assert_str(channels_of(f, 1), "b");
    assert_str(channels_of(f, 2), "c");
    assert_int_equal(count_notes(f, "webhook/"), 0);
    tear_down(f);
}

static void events_wait_until_the_old_jobs_are_read(void **state)
{
    struct fixture *f = set_up(HOOK("h", ""), ONE_BY_ONE);
    miss(f, "a");
    end(f);
    f->store_fails = true;
    begin(f);
    miss(f, "b");
    assert_int_equal(f->count, 0);
    f->store_fails = false;
    advance_ms(f, 1100);
    answer(f, 0, 200);
    assert_str(channels_of(f, 0), "a");
    advance_ms(f, 50);
    assert_str(channels_of(f, 1), "b");
    tear_down(f);
}

static void a_store_that_fails_stops_no_delivery(void **state)
{
    struct fixture *f = set_up(HOOK("h", ""), ONE_BY_ONE);
    f->store_fails = true;
    miss(f, "a");
    assert_int_equal(f->count, 1);
    assert_false(webhooks_is_healthy(f->w));
    answer(f, 0, 410); /* a dead letter waits until it can be written */
    advance_ms(f, 5000);
    f->store_fails = false;
    advance_ms(f, 1100);
    assert_true(webhooks_is_healthy(f->w));
    assert_int_equal(count_notes(f, "deadletter/"), 1);
    assert_true(metric_value(f->w->store_failures) >= 1);
    tear_down(f);
}

static void bodies_beyond_the_limit_of_memory_are_read_again(void **state)
{
    struct fixture *f = set_up(HOOK("h", ""), ONE_BY_ONE);
    f->w->bodies_bytes_max = 10;
    miss(f, "a");
    miss(f, "b");
    assert_true(f->w->bodies_bytes <= 200);
    answer(f, 0, 500); /* dropped while it waits */
    assert_str(channels_of(f, 1), "b");
    answer(f, 1, 200);
    assert_int_equal(f->w->bodies_bytes, 0);
    advance_ms(f, 1101);
    assert_str(channels_of(f, 2), "a");
    answer(f, 2, 200);
    assert_int_equal(figure(f, delivered), 2);
    tear_down(f);
}

/* ---- limits ---- */

static void a_full_inbox_drops_and_says_so(void **state)
{
    struct fixture *f = set_up(HOOK("h", ""), "");
    for (unsigned i = 0; i < INBOX_EVENTS_MAX + 5; i++)
        happens(f, NOTICE_CACHE_MISS, "a");
    assert_int_equal(figure(f, dropped_full), 5);
    assert_false(webhooks_is_healthy(f->w));
    advance_ms(f, 100);
    for (unsigned i = 0; i < f->count; i++) {
        answer(f, i, 200);
        advance_ms(f, 1);
    }
    assert_int_equal(figure(f, events), INBOX_EVENTS_MAX);
    assert_int_equal(f->w->inbox_events, 0);
    assert_int_equal(f->w->inbox_bytes, 0);
    f->now_ms += 60001;
    assert_true(webhooks_is_healthy(f->w));
    tear_down(f);
}

/* One app's flood is its own affair. */
static void an_app_gets_its_share_of_the_inbox_and_no_more(void **state)
{
    struct fixture *f = set_up(HOOK("h", ""), "");
    f->w->app_events_max = 3;
    for (unsigned i = 0; i < 5; i++)
        happens(f, NOTICE_CACHE_MISS, "a");
    assert_int_equal(figure(f, dropped_full), 2);
    assert_int_equal(f->w->inbox_events, 3);
    advance_ms(f, 51);
    assert_int_equal(f->w->buckets[0].inbox_events, 0);
    assert_int_equal(f->w->buckets[0].inbox_bytes, 0);
    tear_down(f);
}

static void a_full_queue_of_one_target_touches_no_other(void **state)
{
    struct fixture *f = set_up(HOOK("dead", "") "," HOOK("fine", ""), ONE_BY_ONE "\nqueue.reliability.memory_capacity=8");
    assert_int_equal(f->w->target_jobs_max, 4);
    for (unsigned i = 0, at = 0; i < 10; i++) {
        miss(f, "a");
        for (; at < f->count; at++)
            if (f->sent[at].target == 1)
                answer(f, at, 200);
    }
    assert_int_equal(figure(f, delivered), 10);
    assert_int_equal(figure(f, dead), 6); /* four wait */
    assert_int_equal(count_notes(f, "deadletter/"), 6);
    assert_int_equal(f->w->targets[0].jobs, 4);
    assert_false(webhooks_is_healthy(f->w));
    tear_down(f);
}

/* ---- fairness ---- */

static struct buf many_hooks(unsigned count)
{
    struct buf out = {0};
    for (unsigned i = 0; i < count; i++)
        buf_fmt(&out, "%s{url='http://h%u', event_types=['cache_miss'], filter={channel_suffix='-%u'}}", i ? "," : "", i, i);
    buf_char(&out, 0);
    return out;
}

static unsigned requests_to(const struct fixture *f, unsigned target)
{
    unsigned count = 0;
    for (unsigned i = 0; i < f->count; i++)
        count += f->sent[i].target == target;
    return count;
}

/* 60 endpoints hang from the start: each gets a slot for a second, then the next ones; the last one is not forgotten. */
static void endpoints_that_hang_give_their_slots_back(void **state)
{
    struct buf hooks = many_hooks(61);
    struct fixture *f = set_up(hooks.p, ONE_BY_ONE);
    char channel[16];
    for (unsigned i = 0; i < 60; i++)
        for (unsigned k = 0; k < 3; k++) {
            snprintf(channel, sizeof channel, "c-%u", i);
            miss(f, channel);
        }
    assert_int_equal(f->count, SLOTS_UNTRUSTED);
    miss(f, "c-60");
    advance_ms(f, 7000);
    assert_int_equal(requests_to(f, 60), 1);
    for (unsigned i = 0; i < 60; i++)
        assert_int_equal(requests_to(f, i), 1); /* none gets a second one while the first hangs */
    assert_true(f->w->slow >= 50 && f->w->slow <= SLOW_MAX);
    buf_free(&hooks);
    tear_down(f);
}

static void an_endpoint_that_answers_does_not_wait_for_those_that_do_not(void **state)
{
    struct buf hooks = many_hooks(41);
    struct fixture *f = set_up(hooks.p, ONE_BY_ONE);
    char channel[16];
    miss(f, "c-40");
    answer(f, 0, 200); /* it is known to answer */
    for (unsigned i = 0; i < 40; i++) {
        snprintf(channel, sizeof channel, "c-%u", i);
        miss(f, channel);
    }
    unsigned before = f->count;
    miss(f, "c-40");
    assert_int_equal(f->count, before + 1); /* at once */
    assert_int_equal(f->sent[before].target, 40);
    buf_free(&hooks);
    tear_down(f);
}

static void slots_are_counted_right_whatever_happens(void **state)
{
    struct buf hooks = many_hooks(30);
    struct fixture *f = set_up(hooks.p, ONE_BY_ONE "\nwebhooks.retry.max_attempts=3");
    struct random r;
    char channel[16];
    random_from_seed(&r, 42);
    for (unsigned step = 0; step < 3000; step++) {
        snprintf(channel, sizeof channel, "c-%u", (unsigned)random_below(&r, 30));
        if (f->count < REQUESTS_MAX - 100 && random_below(&r, 3) == 0)
            miss(f, channel);
        advance_ms(f, random_below(&r, 300));
        for (unsigned i = 0; i < f->count; i++)
            if (f->sent[i].job != NULL && random_below(&r, 4) == 0)
                answer(f, i, random_below(&r, 2) ? 200 : random_below(&r, 2) ? 0 : 503);
    }
    for (unsigned i = 0; i < f->count; i++)
        if (f->sent[i].job != NULL)
            answer(f, i, 200);
    for (unsigned i = 0; i < f->count; advance_ms(f, 2500))
        for (; i < f->count; i++)
            if (f->sent[i].job != NULL)
                answer(f, i, 200);
    assert_int_equal(f->w->running, 0);
    assert_int_equal(f->w->slow, 0);
    assert_int_equal(f->w->untrusted, 0);
    assert_int_equal(f->w->depth, 0);
    assert_int_equal(f->w->bodies_bytes, 0);
    assert_int_equal(count_notes(f, "webhook/"), 0);
    buf_free(&hooks);
    tear_down(f);
}

static void a_backlog_gets_more_requests_at_a_time(void **state)
{
    struct fixture *f = set_up(HOOK("h", ""), ONE_BY_ONE);
    for (unsigned i = 0; i < 41; i++)
        happens(f, NOTICE_CACHE_MISS, "a");
    settle(f);
    assert_int_equal(f->count, 1); /* not known to answer yet */
    answer(f, 0, 200);
    assert_int_equal(f->w->running, 5);
    tear_down(f);
}

/* An endpoint that is slower than the windows come gets fewer, fuller requests, in order; a crash meanwhile loses nothing. */
static void what_waits_is_merged_up_to_the_size_of_a_batch(void **state)
{
    struct fixture *f = set_up(HOOK("h", ""), "webhooks.batching.size=3\nwebhooks.batching.duration=10");
    for (char name[2] = "a"; name[0] <= 'g'; name[0]++) {
        miss(f, name);
        advance_ms(f, 11); /* a window each */
    }
    assert_int_equal(f->count, 1);
    answer(f, 0, 200);
    assert_str(channels_of(f, 1), "b c d");
    assert_string_equal(f->sent[1].body, "{\"time_ms\":1700000000011,\"events\":[{\"name\":\"cache_miss\",\"channel\":\"b\"},{\"name\":"
                                         "\"cache_miss\",\"channel\":\"c\"},{\"name\":\"cache_miss\",\"channel\":\"d\"}]}");
    assert_int_equal(count_notes(f, "webhook/"), 6);
    end(f);
    begin(f);
    assert_str(channels_of(f, 0), "b c d");
    answer(f, 0, 410);
    assert_int_equal(count_notes(f, "webhook/"), 3);
    assert_int_equal(count_notes(f, "deadletter/"), 1);
    answer(f, 1, 200);
    assert_str(channels_of(f, 1), "e f g");
    assert_int_equal(count_notes(f, "webhook/"), 0);
    assert_int_equal(figure(f, depth), 0);
    tear_down(f);
}

static void ai_events_are_not_merged(void **state)
{
    struct fixture *f = set_up("{url='http://h', event_types=['ai_run_started','cache_miss']}", "");
    miss(f, "a");
    happens(f, NOTICE_AI_RUN_STARTED, "b");
    happens(f, NOTICE_AI_RUN_STARTED, "c");
    advance_ms(f, 51);
    answer(f, 0, 200);
    answer(f, 1, 200);
    assert_str(channels_of(f, 0), "a");
    assert_str(channels_of(f, 1), "b");
    assert_str(channels_of(f, 2), "c");
    tear_down(f);
}

static void an_endpoint_that_answers_late_still_gets_several_at_a_time(void **state)
{
    struct fixture *f = set_up(HOOK("h", ""), ONE_BY_ONE);
    miss(f, "a");
    advance_ms(f, 1500);
    answer(f, 0, 200);
    for (unsigned i = 0; i < 60; i++)
        miss(f, "a");
    assert_int_equal(f->count, 1 + TARGET_SLOW_MAX);
    advance_ms(f, 1500);
    assert_int_equal(f->w->slow, TARGET_SLOW_MAX);
    assert_int_equal(f->w->running, 0);
    for (unsigned i = 1; i <= TARGET_SLOW_MAX; i++)
        answer(f, i, 0); /* a time-out: one at a time from here on */
    unsigned running = 0;
    for (unsigned i = 0; i < f->count; i++)
        running += f->sent[i].job != NULL;
    assert_int_equal(running, f->w->targets[0].running);
    tear_down(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(back_off_doubles_up_to_its_cap_and_ends_with_the_budget),
        cmocka_unit_test(only_some_failures_are_tried_again),
        cmocka_unit_test(after_500_and_500_the_third_request_is_the_same),
        cmocka_unit_test(a_webhook_has_its_own_budget),
        cmocka_unit_test(a_job_is_stored_before_its_first_attempt_and_gone_after_the_answer),
        cmocka_unit_test(no_note_holds_a_secret),
        cmocka_unit_test(what_kill_9_interrupts_is_delivered_by_the_next_process),
        cmocka_unit_test(events_wait_until_the_old_jobs_are_read),
        cmocka_unit_test(a_store_that_fails_stops_no_delivery),
        cmocka_unit_test(bodies_beyond_the_limit_of_memory_are_read_again),
        cmocka_unit_test(a_full_inbox_drops_and_says_so),
        cmocka_unit_test(an_app_gets_its_share_of_the_inbox_and_no_more),
        cmocka_unit_test(a_full_queue_of_one_target_touches_no_other),
        cmocka_unit_test(endpoints_that_hang_give_their_slots_back),
        cmocka_unit_test(an_endpoint_that_answers_does_not_wait_for_those_that_do_not),
        cmocka_unit_test(slots_are_counted_right_whatever_happens),
        cmocka_unit_test(what_waits_is_merged_up_to_the_size_of_a_batch),
        cmocka_unit_test(ai_events_are_not_merged),
        cmocka_unit_test(an_endpoint_that_answers_late_still_gets_several_at_a_time),
        cmocka_unit_test(a_backlog_gets_more_requests_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
