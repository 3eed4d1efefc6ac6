/* annotation_test.c - types, serials, stored form and summaries of annotations (chapter 3, section 7; edge cases 41 to 43).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "message/annotation.h"

#include <stdlib.h>

#include "../support/unit.h"

static const struct message_id message = {41, 12, 0x9f3c01ab};

/* ---- types ---- */

static void types_of_every_summarizer_are_read(void **state)
{
    static const struct {
        struct str type;
        enum summarizer kind;
    } good[] = {{STR("a:total.v1"), SUMMARIZE_TOTAL},
                {STR("a:flag.v1"), SUMMARIZE_FLAG},
                {STR("reactions:distinct.v1"), SUMMARIZE_DISTINCT},
                {STR("a.v2:unique.v1"), SUMMARIZE_UNIQUE},
                {STR("a:multiple.v1"), SUMMARIZE_MULTIPLE}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        enum summarizer kind;
        assert_null(annotation_type_read(good[i].type, &kind));
        assert_int_equal(kind, good[i].kind);
    }
}

static void bad_types_are_refused(void **state)
{
    static const struct str bad[] = {STR(""),         STR("flag.v1"),       STR("a:flag.v2"),  STR("a:sum.v1"),
                                     STR("a:flag"),   STR("a:b:flag.v1"),   STR("a: flag.v1"), STR(":flag.v1"),
                                     STR("a:.v1"),    STR("a:flag.v1.v2")};
    enum summarizer kind;
    char big[ANNOTATION_TYPE_MAX + 9];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_non_null(annotation_type_read(bad[i], &kind));
    memset(big, 'a', sizeof big);
    memcpy(big + sizeof big - 8, ":flag.v1", 8);
    assert_non_null(annotation_type_read(str_make(big, sizeof big), &kind));
    assert_null(annotation_type_read(str_make(big + 9, ANNOTATION_TYPE_MAX), &kind));
}

static void what_a_summarizer_needs_is_asked_for(void **state)
{
    assert_non_null(annotation_lacks(SUMMARIZE_FLAG, STR_NONE, STR_NONE));
    assert_null(annotation_lacks(SUMMARIZE_FLAG, STR_NONE, STR("u")));
    assert_non_null(annotation_lacks(SUMMARIZE_DISTINCT, STR_NONE, STR("u")));
    assert_non_null(annotation_lacks(SUMMARIZE_UNIQUE, STR("n"), STR_NONE));
    assert_null(annotation_lacks(SUMMARIZE_MULTIPLE, STR("n"), STR_NONE));
    assert_null(annotation_lacks(SUMMARIZE_TOTAL, STR_NONE, STR_NONE));
}

static void serials_are_printed_and_read(void **state)
{
    char text[ANNOTATION_SERIAL_SIZE + 1];
    uint64_t serial;
    annotation_serial_print(text, 42);
    assert_string_equal(text, "ann:00000000000000000042");
    assert_true(annotation_serial_parse(str_of(text), &serial));
    assert_int_equal(serial, 42);
    assert_false(annotation_serial_parse(STR("ann:42"), &serial));
    assert_false(annotation_serial_parse(STR("ANN:00000000000000000042"), &serial));
}

static void an_event_survives_its_stored_form(void **state)
{
    struct arena arena = {0};
    struct buf json = {0};
    struct annotation back;
    struct annotation a = {.deletes = true, .serial = 7, .target = 3, .message = message, .id = STR("A"), .type = STR("a:multiple.v1"),
                           .name = STR("li\"ke"), .client_id = STR("u1"), .count = 5, .at_ms = 1767225600000};
    annotation_json(&json, &a);
    assert_true(annotation_parse(buf_view(&json), &arena, &back));
    assert_true(back.deletes && back.target == 3 && back.count == 5 && back.at_ms == 1767225600000);
    assert_int_equal(back.message.history, 12);
    assert_true(str_eq(back.name, a.name) && str_eq(back.client_id, a.client_id) && str_eq(back.id, a.id));
    assert_false(annotation_parse(STR("{\"action\":\"annotation.create\"}"), &arena, &back));
    assert_false(annotation_parse(STR("[]"), &arena, &back));
    buf_free(&json);
    arena_free(&arena);
}

/* ---- summaries ---- */

static struct annotation made(const char *name, const char *client, uint64_t count)
{
    return (struct annotation){.name = name ? str_of(name) : STR_NONE, .client_id = client ? str_of(client) : STR_NONE, .count = count};
}

static void add(struct summary *s, const char *name, const char *client, uint64_t count)
{
    struct annotation a = made(name, client, count);
    summary_add(s, &a);
}

static void take_back(struct summary *s, const char *name, const char *client)
{
    struct annotation a = made(name, client, 0);
    a.deletes = true;
    summary_add(s, &a);
}

static void assert_summary(const struct summary *s, size_t max, const char *wanted)
{
    struct buf json = {0};
    bool clipped;
    summary_json(&json, s, max, &clipped);
    buf_char(&json, '\0');
    assert_string_equal(json.p, wanted);
    buf_free(&json);
}

static void total_counts_creates_minus_deletes(void **state)
{
    struct summary *s = summary_new(SUMMARIZE_TOTAL);
    add(s, NULL, NULL, 5);
    assert_summary(s, SIZE_MAX, "{\"total\":1}");
    take_back(s, NULL, NULL);
    take_back(s, NULL, NULL);
    assert_summary(s, SIZE_MAX, "{\"total\":0}");
    summary_free(s);
}

static void flag_is_a_set_of_clients(void **state)
{
    struct summary *s = summary_new(SUMMARIZE_FLAG);
    assert_summary(s, SIZE_MAX, "{\"total\":0,\"clientIds\":[],\"clipped\":false}");
    add(s, NULL, "u2", 0);
    add(s, NULL, "u1", 0);
    add(s, NULL, "u1", 0);
    assert_summary(s, SIZE_MAX, "{\"total\":2,\"clientIds\":[\"u1\",\"u2\"],\"clipped\":false}");
    assert_summary(s, 1, "{\"total\":2,\"clientIds\":[\"u1\"],\"clipped\":true}");
    take_back(s, NULL, "u1"); /* one of two creates: the client is gone */
    assert_summary(s, SIZE_MAX, "{\"total\":1,\"clientIds\":[\"u2\"],\"clipped\":false}");
    summary_free(s);
}

static void distinct_keeps_a_set_per_name(void **state)
{
    struct summary *s = summary_new(SUMMARIZE_DISTINCT);
    add(s, "love", "u1", 0);
    add(s, "like", "u1", 0);
    assert_summary(s, SIZE_MAX, "{\"like\":{\"total\":1,\"clientIds\":[\"u1\"],\"clipped\":false},\"love\":{\"total\":1,\"clientIds\":[\"u1\"],"
                                "\"clipped\":false}}");
    take_back(s, "like", "u1");
    take_back(s, "love", "u1");
    assert_summary(s, SIZE_MAX, "{}");
    summary_free(s);
}

static void unique_lets_a_client_hold_one_name(void **state)
{
    struct summary *s = summary_new(SUMMARIZE_UNIQUE);
    add(s, "like", "u1", 0);
    add(s, "love", "u1", 0);
    assert_summary(s, SIZE_MAX, "{\"love\":{\"total\":1,\"clientIds\":[\"u1\"],\"clipped\":false}}");
    take_back(s, "like", "u1"); /* frees whatever it holds */
    assert_summary(s, SIZE_MAX, "{}");
    summary_free(s);
}

static void multiple_sums_counts_and_keeps_empty_names(void **state)
{
    struct summary *s = summary_new(SUMMARIZE_MULTIPLE);
    add(s, "clap", "u1", 3);
    add(s, "clap", "u1", 2);
    add(s, "clap", NULL, 4);
    assert_summary(s, SIZE_MAX, "{\"clap\":{\"total\":9,\"clientCounts\":{\"u1\":5},\"totalUnidentified\":4,\"clipped\":false,\"totalClientIds\":1}}");
    take_back(s, "clap", "u1");
    assert_summary(s, SIZE_MAX, "{\"clap\":{\"total\":4,\"clientCounts\":{},\"totalUnidentified\":4,\"clipped\":false,\"totalClientIds\":0}}");
    summary_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_of_every_summarizer_are_read),
        cmocka_unit_test(bad_types_are_refused),
        cmocka_unit_test(what_a_summarizer_needs_is_asked_for),
        cmocka_unit_test(serials_are_printed_and_read),
        cmocka_unit_test(an_event_survives_its_stored_form),
        cmocka_unit_test(total_counts_creates_minus_deletes),
        cmocka_unit_test(flag_is_a_set_of_clients),
        cmocka_unit_test(distinct_keeps_a_set_per_name),
        cmocka_unit_test(unique_lets_a_client_hold_one_name),
        cmocka_unit_test(multiple_sums_counts_and_keeps_empty_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
