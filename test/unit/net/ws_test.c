/* ws_test.c - the rules of RFC 6455 that ws.h promises. What comes out is shown as text, e.g.
 * "text:Hello ping:x 1002": messages, then the status if it is not WS_MORE.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "net/ws.h"

enum { TEXT = 1, BINARY = 2, CONT = 0, CLOSE = 8, PING = 9, PONG = 10, NOT_LAST = 0x100 };

static struct buf input, output;
static const struct ws_limits limits = {.message_max = 200000};

static int setup(void **state)
{
    buf_clear(&input);
    buf_clear(&output);
    return 0;
}

static void put(int opcode, struct str payload)
{
    size_t at = input.n;
    ws_put_masked(&input, opcode & 0xff, payload, 0x12345678);
    if (opcode & NOT_LAST)
        input.p[at] = (char)(input.p[at] & 0x7f);
}

static bool note(void *user, enum ws_kind kind, struct str payload)
{
    static const char *const names[] = {"text", "binary", "ping", "pong", "close"};
    if (output.n)
        buf_char(&output, ' ');
    if (payload.n > 100)
        buf_fmt(&output, "%s:%zu bytes", names[kind], payload.n);
    else
        buf_fmt(&output, "%s:%.*s", names[kind], STR_ARG(payload));
    return kind != WS_CLOSE;
}

static void note_status(unsigned status)
{
    if (status != WS_MORE)
        buf_fmt(&output, "%s%u", output.n ? " " : "", status);
    buf_char(&output, '\0');
}

/* Feeds `step` more bytes each time, as a socket would, those not used up in front. */
static const char *parse_in_steps(size_t step)
{
    struct ws_parser parser = {0};
    struct buf waiting = {0};
    unsigned status = WS_MORE;
    buf_clear(&output);
    for (size_t at = 0; at < input.n && status == WS_MORE; at += step) {
        size_t used, more = input.n - at < step ? input.n - at : step;
        buf_put(&waiting, input.p + at, more);
        char *exact = malloc(waiting.n); /* ASan sees a read behind the end */
        memcpy(exact, waiting.p, waiting.n);
        status = ws_parse(&parser, &limits, exact, waiting.n, &used, note, NULL);
        assert_true(used <= waiting.n);
        assert_memory_equal(exact + used, waiting.p + used, waiting.n - used);
        free(exact);
        buf_consume(&waiting, used);
    }
    ws_parser_free(&parser);
    buf_free(&waiting);
    note_status(status);
    return output.p;
}

/* However the bytes are cut, the same comes out. */
static void check(const char *expected)
{
    assert_string_equal(parse_in_steps(input.n), expected);
    assert_string_equal(parse_in_steps(7), expected);
    if (input.n < 5000)
        assert_string_equal(parse_in_steps(1), expected);
}

static void messages_of_one_frame(void **state)
{
    put(TEXT, STR("Hello"));
    put(BINARY, STR("\xff"));
    put(TEXT, STR(""));
    check("text:Hello binary:\xff text:");
}

static void every_form_of_length(void **state)
{
    char *big = calloc(1, 70000);
    put(BINARY, str_make(big, 125));
    put(BINARY, str_make(big, 126));
    put(BINARY, str_make(big, 65535));
    put(BINARY, str_make(big, 65536));
    check("binary:125 bytes binary:126 bytes binary:65535 bytes binary:65536 bytes");
    free(big);
}

static void fragments_are_joined_and_control_frames_may_come_between(void **state)
{
    put(TEXT | NOT_LAST, STR("Hel"));
    put(PING, STR("p"));
    put(CONT | NOT_LAST, STR(""));
    put(PONG, STR("q"));
    put(CONT, STR("lo"));
    put(TEXT, STR("next"));
    check("ping:p pong:q text:Hello text:next");
}

static void a_continuation_of_nothing_is_1002(void **state)
{
    put(CONT, STR("x"));
    check("1002");
}

static void a_new_message_inside_another_is_1002(void **state)
{
    put(TEXT | NOT_LAST, STR("x"));
    put(TEXT, STR("y"));
    check("1002");
}

static void a_fragmented_control_frame_is_1002(void **state)
{
    put(PING | NOT_LAST, STR("x"));
    check("1002");
}

static void a_long_control_frame_is_1002(void **state)
{
    char payload[126] = {0};
    put(PING, str_make(payload, 126));
    check("1002");
}

static void reserved_opcodes_are_1002(void **state)
{
    static const int reserved[] = {3, 4, 5, 6, 7, 11, 12, 13, 14, 15};
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++) {
        buf_clear(&input);
        put(reserved[i], STR("x"));
        check("1002");
    }
}

static void reserved_bits_are_1002(void **state)
{
    for (int bit = 0x10; bit <= 0x40; bit *= 2) {
        buf_clear(&input);
        put(TEXT, STR("x"));
        input.p[0] = (char)(input.p[0] | bit);
        check("1002");
    }
}

static void an_unmasked_frame_is_1002(void **state)
{
    buf_lit(&input, "\x81\x05Hello");
    check("1002");
}

static void a_length_in_a_longer_form_than_needed_is_1002(void **state)
{
    buf_put(&input, "\x82\xfe\x00\x7d", 4);
    check("1002");
    buf_clear(&input);
    buf_put(&input, "\x82\xff\0\0\0\0\0\0\xff\xff", 10);
    check("1002");
    buf_clear(&input);
    buf_put(&input, "\x82\xff\x80\0\0\0\0\x01\0\0", 10);
    check("1002");
}

/* Nobody may make us wait for, or hold, what will be refused anyway. */
static void a_message_too_large_is_1009_as_soon_as_its_length_is_known(void **state)
{
    buf_put(&input, "\x82\xff\0\0\0\0\0\x03\x0d\x41", 10); /* 200,001; not even its mask has come */
    check("1009");
}

static void fragments_that_are_too_large_together_are_1009(void **state)
{
    char *big = calloc(1, 150000);
    put(BINARY | NOT_LAST, str_make(big, 150000));
    put(CONT, str_make(big, 50001));
    check("1009");
    free(big);
}

static void a_message_of_exactly_the_limit_passes(void **state)
{
    char *big = calloc(1, 150000);
    put(BINARY | NOT_LAST, str_make(big, 150000));
    put(CONT, str_make(big, 50000));
    check("binary:200000 bytes");
    free(big);
}

static void text_that_is_not_utf8_is_1007(void **state)
{
    static const char *const bad[] = {"\xff",
                                      "\xc0\x80",
                                      "\xed\xa0\x80",
                                      "\xf4\x90\x80\x80",
                                      "\xe2\x82",
                                      "12345678\x80"
                                      "abcdefgh"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        buf_clear(&input);
        put(TEXT, str_of(bad[i]));
        check("1007");
    }
}

static void a_character_may_be_cut_by_a_fragment(void **state)
{
    put(TEXT | NOT_LAST, STR("\xf0\x9f"));
    put(CONT | NOT_LAST, STR("\x98"));
    put(CONT, STR("\x80!"));
    check("text:\xf0\x9f\x98\x80!");
}

static void bad_utf8_is_noticed_in_its_fragment(void **state)
{
    put(TEXT | NOT_LAST, STR("\xed"));
    put(CONT | NOT_LAST, STR("\xa0")); /* a surrogate: no need to see more */
    check("1007");
}

static void text_that_ends_inside_a_character_is_1007(void **state)
{
    put(TEXT | NOT_LAST, STR("ab"));
    put(CONT, STR("\xe2\x82"));
    check("1007");
}

static void binary_need_not_be_utf8(void **state)
{
    put(BINARY | NOT_LAST, STR("\xff"));
    put(CONT, STR("\xfe"));
    check("binary:\xff\xfe");
}

static void close_is_delivered_with_code_and_reason(void **state)
{
    put(CLOSE, STR("\x03\xe8"
                   "bye"));
    put(TEXT, STR("not any more"));
    check("close:\x03\xe8"
          "bye 1");
}

static void a_close_may_be_empty(void **state)
{
    put(CLOSE, STR(""));
    check("close: 1");
}

static void a_close_of_one_byte_is_1002(void **state)
{
    put(CLOSE, STR("\x03"));
    check("1002");
}

static void close_codes_that_may_not_be_sent_are_1002(void **state)
{
    static const unsigned bad[] = {0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char code[2] = {(char)(bad[i] >> 8), (char)bad[i]};
        buf_clear(&input);
        put(CLOSE, str_make(code, 2));
        check("1002");
    }
}

static void a_close_reason_that_is_not_utf8_is_1007(void **state)
{
    put(CLOSE, STR("\x03\xe8\xff"));
    check("1007");
}

/* RFC 6455, 1.3 */
static void the_accept_key_of_the_rfc(void **state)
{
    char accept[29];
    ws_accept_key(STR("dGhlIHNhbXBsZSBub25jZQ=="), accept);
    assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(messages_of_one_frame, setup),
        cmocka_unit_test_setup(every_form_of_length, setup),
        cmocka_unit_test_setup(fragments_are_joined_and_control_frames_may_come_between, setup),
        cmocka_unit_test_setup(a_continuation_of_nothing_is_1002, setup),
        cmocka_unit_test_setup(a_new_message_inside_another_is_1002, setup),
        cmocka_unit_test_setup(a_fragmented_control_frame_is_1002, setup),
        cmocka_unit_test_setup(a_long_control_frame_is_1002, setup),
        cmocka_unit_test_setup(reserved_opcodes_are_1002, setup),
        cmocka_unit_test_setup(reserved_bits_are_1002, setup),
        cmocka_unit_test_setup(an_unmasked_frame_is_1002, setup),
        cmocka_unit_test_setup(a_length_in_a_longer_form_than_needed_is_1002, setup),
        cmocka_unit_test_setup(a_message_too_large_is_1009_as_soon_as_its_length_is_known, setup),
        cmocka_unit_test_setup(fragments_that_are_too_large_together_are_1009, setup),
        cmocka_unit_test_setup(a_message_of_exactly_the_limit_passes, setup),
        cmocka_unit_test_setup(text_that_is_not_utf8_is_1007, setup),
        cmocka_unit_test_setup(a_character_may_be_cut_by_a_fragment, setup),
        cmocka_unit_test_setup(bad_utf8_is_noticed_in_its_fragment, setup),
        cmocka_unit_test_setup(text_that_ends_inside_a_character_is_1007, setup),
        cmocka_unit_test_setup(binary_need_not_be_utf8, setup),
        cmocka_unit_test_setup(close_is_delivered_with_code_and_reason, setup),
        cmocka_unit_test_setup(a_close_may_be_empty, setup),
        cmocka_unit_test_setup(a_close_of_one_byte_is_1002, setup),
        cmocka_unit_test_setup(close_codes_that_may_not_be_sent_are_1002, setup),
        cmocka_unit_test_setup(a_close_reason_that_is_not_utf8_is_1007, setup),
        cmocka_unit_test_setup(the_accept_key_of_the_rfc, setup),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    buf_free(&input);
    buf_free(&output);
    return failed;
}
