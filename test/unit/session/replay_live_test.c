/* replay_live_test.c - what is published while a replay is under way (chapter 3, 4.6; edge cases 32 and 36).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "recovery_fixture.h"

/* Publishes and does not wait: what was told before is still under way. */
static void meanwhile(struct fixture *f, const char *channel, enum store_action action, const char *data, bool ephemeral)
{
    begin_write(f, channel, action, "e", data, ephemeral ? "{\"ephemeral\":true}" : NULL);
}

/* Edge case 32: whatever is published while a replay is under way comes behind it, once, in order. */
static void what_is_published_during_a_replay_comes_behind_it(void **state)
{
    struct fixture *f = *state;
    publish_many(f, "news", 3);
    const char *id = stream_id(f, "news");
    struct client *c = v2(f);
    tell_subscribe(f, c, "news", "");
    tell_resume(c, "news", id, 1);
    for (int step = 0; step < 6; step++) {
        meanwhile(f, "news", ACTION_CREATE, "\"live\"", false);
        core_step(f->core);
    }
    core_settle(f->core);
    const char *text = heard(c);
    const char *replayed = strstr(text, "e(news)@2=2 e(news)@3=3 "), *end = strstr(text, "resume_success");
    assert_true(replayed != NULL && end > replayed);
    unsigned next = 4;
    for (const char *at = replayed; (at = strstr(at, "=\"live\"")) != NULL; at++) {
        char expected[48];
        int n = snprintf(expected, sizeof expected, "e(news)@%u", next++);
        assert_memory_equal(at - n, expected, n); /* ascending, none twice, none missing */
    }
    assert_int_equal(next, 10);
}

/* The same where the newest appends wait in a rollup window of half a second. */
static void what_waits_in_a_window_is_neither_replayed_twice_nor_lost(void **state)
{
    struct fixture *f = *state;
    publish(f, "ai-a", "\"a\"");
    const char *id = stream_id(f, "ai-a");
    struct client *slow = connect_as(f, "protocol=2&append_rollup_window=500"), *c = connect_as(f, "protocol=2&append_rollup_window=500");
    subscribe(f, slow, "ai-a");
    append(f, "ai-a", "\"b\""); /* leaves at once */
    append(f, "ai-a", "\"c\""); /* waits */
    append(f, "ai-a", "\"d\"");
    tell_subscribe(f, c, "ai-a", "");
    tell_resume(c, "ai-a", id, 1);
    meanwhile(f, "ai-a", ACTION_APPEND, "\"e\"", false);
    core_settle(f->core);
    append(f, "ai-a", "\"f\"");
    core_advance_ms(f->core, 600);
    struct str rest;
    char joined[16] = "";
    heard(c);
    rest = buf_view(&c->raw);
    for (ptrdiff_t at; (at = str_find(rest, STR("\"data\":\""))) >= 0;) {
        rest = str_from(rest, (size_t)at + 8);
        struct str data = str_first(rest, (size_t)str_index(rest, '"'));
        if (data.n < 6 && str_index(data, '{') < 0)
            strncat(joined, data.p, data.n);
    }
    assert_string_equal(joined, "bcdef");
    assert_true(recovered_from(c, is_cold(f) ? "cold" : "hot", 1) || recovered_from(c, is_cold(f) ? "cold" : "hot", 2));
}

/* Edge case 36. */
static void ephemeral_message_is_not_replayed(void **state)
{
    struct fixture *f = *state;
    publish(f, "news", "1");
    const char *id = stream_id(f, "news");
    meanwhile(f, "news", ACTION_CREATE, "\"gone\"", true);
    core_settle(f->core);
    publish(f, "news", "2");
    assert_string_equal(come_back(f, v2(f), "news", id, 1), "subscription_succeeded(news)@1 e(news)@2=2 resume_success");
    app_config(f)->history.enabled = 0; /* nor from a buffer alone */
    struct client *c = v2(f);
    if (is_cold(f))
        return;
    subscribe(f, c, "fleeting");
    char own[STREAM_ID_SIZE + 1];
    memcpy(own, stream_of(c), sizeof own);
    meanwhile(f, "fleeting", ACTION_CREATE, "\"gone\"", true);
    core_settle(f->core);
    publish(f, "fleeting", "1");
    assert_string_equal(heard(c), "e(fleeting)=\"gone\" e(fleeting)@1=1");
    assert_string_equal(come_back(f, v2(f), "fleeting", own, 0), "subscription_succeeded(fleeting)@0 e(fleeting)@1=1 resume_success");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(what_is_published_during_a_replay_comes_behind_it),
        T(what_waits_in_a_window_is_neither_replayed_twice_nor_lost),
        T(ephemeral_message_is_not_replayed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
