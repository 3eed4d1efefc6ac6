/* SPDX-License-Identifier: Apache-2.0 */
#include "load/transcript.h"
#include "../support/unit.h"

enum { BYTES = 8, KEY = 77 };
static const struct script script = {.seed = 5, .token_bytes = BYTES};
static const struct script_message first_message = {3, 1};

/* Tokens [from, to) of message 1. */
static struct str tokens(uint32_t from, uint32_t to)
{
    static char text[64 * BYTES];
    for (uint32_t i = from; i < to; i++)
        script_token(&script, first_message, i, text + (i - from) * BYTES);
    return str_make(text, (to - from) * BYTES);
}

static struct transcript begun(void)
{
    struct transcript t = {.session = first_message.session};
    assert_int_equal(transcript_begin(&t, 1, KEY), TRANSCRIPT_FITS);
    return t;
}

static enum transcript_verdict add(struct transcript *t, struct str text)
{
    uint32_t first;
    return transcript_add(t, &script, KEY, text, &first);
}

/* However the server joins fragments, the text is what counts. */
static void a_whole_text_fits_however_it_is_framed(void **state)
{
    struct transcript t = begun();
    assert_int_equal(add(&t, tokens(0, 1)), TRANSCRIPT_FITS);
    assert_int_equal(add(&t, tokens(1, 5)), TRANSCRIPT_FITS);
    assert_int_equal(add(&t, tokens(5, 6)), TRANSCRIPT_FITS);
    assert_int_equal(transcript_end(&t, &script, KEY), TRANSCRIPT_FITS);
    assert_int_equal(transcript_close(&t, 1, 6), TRANSCRIPT_FITS);
}

static void a_dropped_frame_is_missing_once_and_the_rest_fits(void **state)
{
    struct transcript t = begun();
    add(&t, tokens(0, 2));
    assert_int_equal(add(&t, tokens(4, 6)), TRANSCRIPT_MISSING);
    assert_int_equal(t.tokens, 6);
    assert_int_equal(add(&t, tokens(6, 7)), TRANSCRIPT_FITS);
    assert_int_equal(transcript_end(&t, &script, KEY), TRANSCRIPT_FITS);
}

static void a_repeated_frame_is_seen_and_changes_nothing(void **state)
{
    struct transcript t = begun();
    add(&t, tokens(0, 3));
    assert_int_equal(add(&t, tokens(1, 3)), TRANSCRIPT_AGAIN);
    assert_int_equal(t.tokens, 3);
    assert_int_equal(add(&t, tokens(3, 4)), TRANSCRIPT_FITS);
}

static void frames_in_the_wrong_order_are_two_faults(void **state)
{
    struct transcript t = begun();
    add(&t, tokens(0, 1));
    assert_int_equal(add(&t, tokens(2, 3)), TRANSCRIPT_MISSING);
    assert_int_equal(add(&t, tokens(1, 2)), TRANSCRIPT_AGAIN);
}

static void text_that_is_cut_or_altered_is_told_apart(void **state)
{
    struct transcript t = begun();
    struct str text = tokens(0, 2);
    assert_int_equal(add(&t, str_first(text, BYTES + 3)), TRANSCRIPT_CUT);
    assert_int_equal(t.tokens, 0);
    char other[2 * BYTES];
    memcpy(other, text.p, sizeof other);
    other[BYTES + 1] ^= 1;
    assert_int_equal(add(&t, str_make(other, sizeof other)), TRANSCRIPT_ALTERED);
}

/* Within a frame, too: what was joined wrongly has a hole inside. */
static void a_hole_inside_a_frame_is_missing(void **state)
{
    struct transcript t = begun();
    char text[2 * BYTES];
    script_token(&script, first_message, 0, text);
    script_token(&script, first_message, 2, text + BYTES);
    assert_int_equal(add(&t, str_make(text, sizeof text)), TRANSCRIPT_MISSING);
    assert_int_equal(t.tokens, 3);
}

static void a_fragment_of_another_message_is_stray(void **state)
{
    struct transcript t = begun();
    uint32_t first;
    assert_int_equal(transcript_add(&t, &script, KEY + 1, tokens(0, 1), &first), TRANSCRIPT_STRAY);
    transcript_end(&t, &script, KEY);
    assert_int_equal(add(&t, tokens(0, 1)), TRANSCRIPT_STRAY); /* it has ended */
}

static void a_lost_end_and_a_lost_message_are_missing(void **state)
{
    struct transcript t = begun();
    assert_int_equal(transcript_begin(&t, 2, KEY + 1), TRANSCRIPT_MISSING); /* 1 never ended */
    assert_int_equal(transcript_end(&t, &script, KEY + 1), TRANSCRIPT_FITS);
    assert_int_equal(transcript_begin(&t, 4, KEY + 2), TRANSCRIPT_MISSING); /* 3 never came */
    assert_int_equal(transcript_begin(&t, 4, KEY + 2), TRANSCRIPT_AGAIN);
}

/* The tail: nothing comes behind it that would show the hole. */
static void a_lost_tail_shows_at_the_close(void **state)
{
    struct transcript t = begun();
    add(&t, tokens(0, 3));
    assert_int_equal(transcript_close(&t, 1, 3), TRANSCRIPT_MISSING); /* no end */
    transcript_end(&t, &script, KEY);
    assert_int_equal(transcript_close(&t, 1, 4), TRANSCRIPT_MISSING);
    assert_int_equal(transcript_close(&t, 2, 0), TRANSCRIPT_MISSING);
    assert_int_equal(transcript_close(&t, 1, 2), TRANSCRIPT_STRAY); /* more than was acknowledged */
}

static void a_late_joiner_takes_the_whole_text_and_goes_on(void **state)
{
    struct transcript t = begun();
    uint32_t first;
    assert_int_equal(transcript_whole(&t, &script, KEY, tokens(0, 4), &first), TRANSCRIPT_FITS);
    assert_int_equal(add(&t, tokens(4, 5)), TRANSCRIPT_FITS);
    assert_int_equal(transcript_whole(&t, &script, KEY, tokens(0, 4), &first), TRANSCRIPT_MISSING);
    assert_int_equal(transcript_whole(&t, &script, KEY, tokens(1, 6), &first), TRANSCRIPT_ALTERED);
}

static void positions_only_grow(void **state)
{
    struct transcript t = begun();
    assert_true(transcript_serial(&t, 4));
    assert_false(transcript_serial(&t, 4));
    assert_false(transcript_serial(&t, 3));
    assert_true(transcript_serial(&t, 5));
}

static void messages_and_tokens_differ(void **state)
{
    char a[BYTES], b[BYTES];
    for (uint32_t i = 1; i < 200; i++) {
        script_token(&script, first_message, 0, a);
        script_token(&script, (struct script_message){3, 1 + i}, 0, b);
        assert_true(memcmp(a, b, BYTES) != 0);
        script_token(&script, first_message, i, b);
        assert_true(memcmp(a, b, BYTES) != 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_text_fits_however_it_is_framed),
        cmocka_unit_test(a_dropped_frame_is_missing_once_and_the_rest_fits),
        cmocka_unit_test(a_repeated_frame_is_seen_and_changes_nothing),
        cmocka_unit_test(frames_in_the_wrong_order_are_two_faults),
        cmocka_unit_test(text_that_is_cut_or_altered_is_told_apart),
        cmocka_unit_test(a_hole_inside_a_frame_is_missing),
        cmocka_unit_test(a_fragment_of_another_message_is_stray),
        cmocka_unit_test(a_lost_end_and_a_lost_message_are_missing),
        cmocka_unit_test(a_lost_tail_shows_at_the_close),
        cmocka_unit_test(a_late_joiner_takes_the_whole_text_and_goes_on),
        cmocka_unit_test(positions_only_grow),
        cmocka_unit_test(messages_and_tokens_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
