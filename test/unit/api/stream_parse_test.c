/* SPDX-License-Identifier: Apache-2.0 */
#include "api/stream_parse.h"
#include "../support/unit.h"

#include "base/json.h"

static struct buf shown;

static void show(const struct stream_record *r)
{
    static const char ends[] = {[STREAM_NONE] = '\0', [STREAM_OPEN] = '+', [STREAM_COMPLETE] = '.', [STREAM_CANCELLED] = '!'};
    struct buf scratch = {0};
    buf_char(&shown, '[');
    buf_str(&shown, json_text(r->data, &scratch));
    buf_char(&shown, ']');
    if (r->extras.p)
        buf_str(&shown, r->extras);
    if (r->op_id.p)
        buf_str(&shown, r->op_id);
    if (r->failed.p) {
        buf_char(&shown, '#');
        buf_str(&shown, r->failed);
    }
    if (ends[r->status])
        buf_char(&shown, ends[r->status]);
    buf_free(&scratch);
}

/* Records as "[text]..."; "?why" where it is malformed. The body comes `step` bytes at a time. */
static const char *parse(enum stream_format format, const char *body, size_t step, bool whole)
{
    struct stream_parser p = {.format = format};
    struct str left = str_of(body);
    struct stream_record record;
    enum parse_result result = PARSE_MORE;
    buf_clear(&shown);
    for (bool ended = false; result != PARSE_WRONG && !ended;) {
        size_t n = step < left.n ? step : left.n;
        ended = n == 0;
        if (ended && whole)
            stream_parser_end(&p);
        stream_parser_put(&p, str_first(left, n));
        left = str_from(left, n);
        while ((result = stream_parser_next(&p, &record)) == PARSE_RECORD)
            show(&record);
    }
    if (result == PARSE_WRONG) {
        buf_char(&shown, '?');
        buf_str(&shown, str_of(p.why));
    }
    buf_char(&shown, '\0');
    stream_parser_free(&p);
    return shown.p;
}

static void assert_parsed(enum stream_format format, const char *body, const char *expected)
{
    for (size_t step = 1; step <= strlen(body) + 1; step++)
        assert_string_equal(parse(format, body, step, true), expected);
}

/* ---- ndjson ---- */

static void a_line_is_a_record_whatever_the_cuts(void **state)
{
    assert_parsed(STREAM_NDJSON, "{\"data\":\"Hel\"}\n\n{\"data\":\"l\\u006f\"}\r\n{\"data\":\"!\",\"status\":\"complete\"}\n",
                  "[Hel][lo][!].");
}

static void the_last_line_needs_no_end_once_the_body_has_ended(void **state)
{
    assert_parsed(STREAM_NDJSON, "{\"data\":\"a\"}\n{\"data\":\"b\"}", "[a][b]");
    assert_string_equal(parse(STREAM_NDJSON, "{\"data\":\"a\"}\n{\"data\":\"b\"}", 5, false), "[a]");
}

static void members_of_a_record_are_read(void **state)
{
    assert_parsed(STREAM_NDJSON, "{\"op_id\":\"o1\",\"extras\":{\"a\":1},\"data\":\"x\",\"new\":[],\"client_id\":null}\n",
                  "[x]{\"a\":1}\"o1\"");
    assert_parsed(STREAM_NDJSON, "{\"data\":\"x\",\"status\":\"streaming\"}\n{\"status\":\"cancelled\"}\n", "[x]+[]!");
}

static void nothing_comes_behind_the_last_record(void **state)
{
    assert_parsed(STREAM_NDJSON, "{\"status\":\"complete\"}\n{\"data\":\"late\"}\nnonsense\n", "[].");
}

static void malformed_lines_are_refused_by_name(void **state)
{
    assert_parsed(STREAM_NDJSON, "{\"data\":\"a\"}\nx\n", "[a]?a line is not JSON");
    assert_parsed(STREAM_NDJSON, "[]\n", "?a line is not a JSON object");
    assert_parsed(STREAM_NDJSON, "{\"data\":1}\n", "?'data' must be a string");
    assert_parsed(STREAM_NDJSON, "{\"extras\":\"x\"}\n", "?'extras' must be an object");
    assert_parsed(STREAM_NDJSON, "{\"status\":\"done\"}\n", "?'status' must be \"streaming\", \"complete\" or \"cancelled\"");
}

static void an_endless_line_is_refused(void **state)
{
    struct stream_parser p = {.format = STREAM_NDJSON};
    struct stream_record record;
    char *much = test_calloc(1, 65536);
    enum parse_result result = PARSE_MORE;
    memset(much, 'x', 65536);
    for (int i = 0; i < 16; i++) {
        stream_parser_put(&p, str_make(much, 65536));
        assert_int_equal(result = stream_parser_next(&p, &record), PARSE_MORE);
    }
    stream_parser_put(&p, STR("x"));
    assert_int_equal(stream_parser_next(&p, &record), PARSE_WRONG);
    assert_string_equal(p.why, "a record is longer than 1 MiB");
    stream_parser_free(&p);
    test_free(much);
}

/* ---- text ---- */

static void a_read_of_text_is_a_record_and_no_character_is_cut(void **state)
{
    assert_string_equal(parse(STREAM_TEXT, "one two", 4, true), "[one ][two]");
    assert_string_equal(parse(STREAM_TEXT, "a\xc3\xa9" "b", 2, true), "[a][\xc3\xa9" "b]");
    assert_string_equal(parse(STREAM_TEXT, "\xf0\x9f\x8c\x8d!", 1, true), "[\xf0\x9f\x8c\x8d][!]");
    assert_string_equal(parse(STREAM_TEXT, "\"\n\\\x01", 9, true), "[\"\n\\\x01]");
}

static void text_that_is_not_utf8_is_refused(void **state)
{
    assert_string_equal(parse(STREAM_TEXT, "a\xff", 9, true), "[a]?the text is not UTF-8");
    assert_string_equal(parse(STREAM_TEXT, "a\xc3", 9, true), "[a]?the text is not UTF-8");
    assert_string_equal(parse(STREAM_TEXT, "\x80\x80\x80\x80", 9, true), "?the text is not UTF-8");
}

/* ---- events of providers ---- */

static void openai_chat_completions(void **state)
{
    assert_parsed(STREAM_SSE,
                  "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n"
                  "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"},\"finish_reason\":null}]}\n\n"
                  "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"other\"}}]}\n\n"
                  "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"!\"},\"finish_reason\":\"stop\"}]}\n\n"
                  "data: {\"choices\":[],\"usage\":{\"total_tokens\":7}}\n\n"
                  "data: [DONE]\n\n",
                  "[Hi][!][].");
}

/* Some proxies leave [DONE] out: what the provider has said decides, not how the body ends. */
static void a_chat_without_done_is_complete_if_it_has_said_why_it_stops(void **state)
{
    assert_parsed(STREAM_SSE, "data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"length\"}]}\n\n", "[a][].");
    assert_parsed(STREAM_SSE, "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n", "[a]");
}

static void openai_responses(void **state)
{
    assert_parsed(STREAM_SSE,
                  "event: response.created\ndata: {\"type\":\"response.created\"}\n\n"
                  "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"Hi\"}\n\n"
                  "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"output\":[]}}\n\n",
                  "[Hi][].");
    assert_parsed(STREAM_SSE, "data: {\"type\":\"response.cancelled\"}\n\n", "[]!");
    assert_parsed(STREAM_SSE, "data: {\"type\":\"response.failed\",\"response\":{\"error\":{\"message\":\"no\"}}}\n\n", "[]#\"no\".");
}

static void anthropic_messages(void **state)
{
    assert_parsed(STREAM_SSE,
                  "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"content\":[]}}\n\n"
                  "event: ping\ndata: {\"type\": \"ping\"}\n\n"
                  "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"hm\"}}\n\n"
                  "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\n"
                  "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
                  "[Hi][].");
    assert_parsed(STREAM_SSE, "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n",
                  "[]#\"Overloaded\".");
}

/* WHATWG HTML, 9.2.6: CR, LF and CRLF end lines, comments and unknown fields are skipped, data lines are joined. */
static void any_event_stream_that_a_browser_reads_is_read(void **state)
{
    assert_parsed(STREAM_SSE, ": hello\r\n\r\ndata:{\"type\":\"response.output_text.delta\",\r\ndata: \"delta\":\"a\"}\r\nid: 1\r\nretry: 5\r\n\r\n",
                  "[a]");
    assert_parsed(STREAM_SSE, "data: {\"type\":\"response.output_text.delta\",\"delta\":\"a\"}\r\rdata\n\ndata: [DONE]\n\n", "[a]?the data of an event is neither JSON nor [DONE]");
    assert_parsed(STREAM_SSE, "data: [DONE]", "[].");
}

static void data_that_is_no_json_is_refused(void **state)
{
    assert_parsed(STREAM_SSE, "data: <html>\n\n", "?the data of an event is neither JSON nor [DONE]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_a_record_whatever_the_cuts),
        cmocka_unit_test(the_last_line_needs_no_end_once_the_body_has_ended),
        cmocka_unit_test(members_of_a_record_are_read),
        cmocka_unit_test(nothing_comes_behind_the_last_record),
        cmocka_unit_test(malformed_lines_are_refused_by_name),
        cmocka_unit_test(an_endless_line_is_refused),
        cmocka_unit_test(a_read_of_text_is_a_record_and_no_character_is_cut),
        cmocka_unit_test(text_that_is_not_utf8_is_refused),
        cmocka_unit_test(openai_chat_completions),
        cmocka_unit_test(a_chat_without_done_is_complete_if_it_has_said_why_it_stops),
        cmocka_unit_test(openai_responses),
        cmocka_unit_test(anthropic_messages),
        cmocka_unit_test(any_event_stream_that_a_browser_reads_is_read),
        cmocka_unit_test(data_that_is_no_json_is_refused),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    buf_free(&shown);
    return failed;
}
