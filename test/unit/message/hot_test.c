/* hot_test.c - the replay buffer: what it keeps is shown as positions and texts, 41:e 42-45:"abcd".
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "../support/unit.h"
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "message/hot.h"

static const char *const STREAM = "11111111-1111-4111-8111-111111111111";
static const char *const OTHER = "22222222-2222-4222-8222-222222222222";

struct fixture {
    struct hot *hot;
    const char *stream;
    uint64_t next, now_ms;
    struct buf text;
};

static int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    f->hot = hot_new(STR("chat"), (struct hot_limits){.frames_max = 4, .bytes_max = 64 << 10, .ttl_ms = 8000});
    f->stream = STREAM;
    f->next = 41;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    hot_free(f->hot);
    buf_free(&f->text);
    free(f);
    return 0;
}

static void frame(struct fixture *f)
{
    struct frame *frame = frame_new(FRAME_TEXT, STR("{\"data\":\"e\"}"));
    struct hot_frame put = {.delivery = f->next++, .frame = frame, .message_id = STR("m"), .event_name = STR("e")};
    hot_put_frame(f->hot, str_of(f->stream), &put, f->now_ms);
    frame_drop(frame);
}

static void append_with(struct fixture *f, uint64_t message, const char *text, const char *extras)
{
    struct hot_append put = {.delivery = f->next++, .message = {message, message, 0x11111111}, .at_ms = 5, .body = str_of(text),
                             .name = STR("ai-output"), .extras = str_of(extras)};
    hot_put_append(f->hot, str_of(f->stream), &put, f->now_ms);
}

static void append(struct fixture *f, uint64_t message, const char *text)
{
    append_with(f, message, text, NULL);
}

/* What a resume from `from` would get, "-" if it would be refused. */
static const char *slice_to(struct fixture *f, uint64_t from, uint64_t to, enum hot_want want)
{
    struct slice *s = hot_slice(f->hot, from, to, want);
    buf_clear(&f->text);
    for (size_t i = 0; s != NULL && i < s->count; i++) {
        struct str data = json_get(frame_payload(s->frames[i].frame), STR("data"));
        buf_fmt(&f->text, "%s%llu:%.*s", i ? " " : "", (unsigned long long)s->frames[i].position, (int)data.n - 2, data.p + 1);
    }
    if (s == NULL)
        buf_char(&f->text, '-');
    buf_char(&f->text, '\0');
    slice_drop(s);
    return f->text.p;
}

static const char *slice(struct fixture *f, uint64_t from)
{
    return slice_to(f, from, f->next - 1, HOT_ANY);
}

static void appends_of_one_message_are_one_frame(void **state)
{
    struct fixture *f = *state;
    frame(f);
    append(f, 1, "a");
    append(f, 1, "b");
    append(f, 2, "X");
    append(f, 1, "c");
    assert_string_equal(slice(f, 40), "41:e 43:ab 44:X 45:c");
}

static void position_inside_a_run_cuts_it_at_either_end(void **state)
{
    struct fixture *f = *state;
    append(f, 1, "aa");
    append(f, 1, "");
    append(f, 1, "bbb");
    append(f, 1, "c");
    assert_string_equal(slice(f, 41), "44:bbbc");
    assert_string_equal(slice(f, 43), "44:c");
    assert_string_equal(slice_to(f, 40, 43, HOT_ANY), "43:aabbb");
    assert_string_equal(slice_to(f, 41, 42, HOT_ANY), "42:");
}

static void nothing_is_served_that_is_not_there(void **state)
{
    struct fixture *f = *state;
    frame(f);
    frame(f);
    assert_string_equal(slice(f, 39), "-");
    assert_string_equal(slice_to(f, 41, 43, HOT_ANY), "-");
    assert_string_equal(slice(f, 41), "42:e");
    assert_string_equal(slice(f, 42), "-");
}

/* A slice with a hole would lose a token without anybody noticing. */
static void hole_or_another_stream_empties_the_buffer(void **state)
{
    struct fixture *f = *state;
    uint64_t floor, newest;
    frame(f);
    f->next++;
    frame(f);
    assert_string_equal(slice(f, 40), "-");
    assert_string_equal(slice(f, 42), "43:e");
    f->stream = OTHER;
    frame(f);
    assert_string_equal(slice(f, 42), "-");
    assert_false(hot_covers(f->hot, str_of(STREAM), &floor, &newest));
    assert_true(hot_covers(f->hot, str_of(OTHER), &floor, &newest));
    assert_int_equal(floor, 43);
    f->next = 44; /* given twice */
    frame(f);
    assert_string_equal(slice(f, 43), "44:e");
}

static void more_runs_than_the_limit_drop_the_oldest(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 3; i++)
        frame(f);
    for (int i = 0; i < 1500; i++)
        append(f, 1, "x"); /* several chunks, one run */
    assert_int_equal(strlen(slice(f, 43)), 5 + 1500);
    assert_int_equal(hot_evicted(f->hot), 0);
    append(f, 2, "y");
    assert_string_equal(slice(f, 40), "-");
    assert_int_equal(hot_evicted(f->hot), 1);
    assert_int_equal(strlen(slice(f, 41)), strlen("42:e 43:e 1543:") + 1500 + strlen(" 1544:y"));
}

static void more_bytes_than_the_limit_let_go_of_the_start_of_a_run(void **state)
{
    struct fixture *f = *state;
    uint64_t floor, newest;
    char text[1025];
    memset(text, 'x', 1024);
    text[1024] = '\0';
    for (int i = 0; i < 200; i++) {
        append(f, 1, text);
        assert_true(hot_bytes(f->hot) <= 64 << 10);
    }
    assert_true(hot_covers(f->hot, str_of(STREAM), &floor, &newest));
    assert_int_equal(newest, 240);
    assert_in_range(floor, 180, 235);
    assert_int_equal(strlen(slice(f, floor)), 4 + 1024 * (240 - floor));
}

static void what_is_older_than_the_ttl_goes(void **state)
{
    struct fixture *f = *state;
    frame(f);
    append(f, 1, "a");
    f->now_ms = 4000;
    append(f, 1, "b"); /* another chunk: so that the old ones need not wait for it */
    f->now_ms = 8000;
    hot_expire(f->hot, f->now_ms);
    assert_string_equal(slice(f, 41), "-");
    assert_string_equal(slice(f, 42), "43:b");
    hot_expire(f->hot, 12000);
    assert_true(hot_is_empty(f->hot));
    assert_int_equal(hot_bytes(f->hot), 0);
}

static void other_extras_do_not_end_a_run_and_the_last_ones_are_shown(void **state)
{
    struct fixture *f = *state;
    append_with(f, 1, "a", "{\"headers\":{\"n\":1}}");
    append_with(f, 1, "b", "{\"headers\":{\"n\":2}}");
    assert_string_equal(slice(f, 40), "42:ab");
    struct slice *s = hot_slice(f->hot, 40, 42, HOT_ANY);
    assert_true(str_find(frame_payload(s->frames[0].frame), STR("\"n\":2")) >= 0);
    slice_drop(s);
    s = hot_slice(f->hot, 40, 41, HOT_ANY);
    assert_true(str_find(frame_payload(s->frames[0].frame), STR("\"n\":1")) >= 0);
    slice_drop(s);
}

/* Ten thousand clients that come back at once must not cost ten thousand texts. */
static void same_range_is_the_same_slice(void **state)
{
    struct fixture *f = *state;
    append(f, 1, "a");
    struct slice *a = hot_slice(f->hot, 40, 41, HOT_ANY), *b = hot_slice(f->hot, 40, 41, HOT_ANY);
    assert_ptr_equal(a, b);
    append(f, 1, "b");
    struct slice *c = hot_slice(f->hot, 40, 42, HOT_ANY);
    assert_ptr_not_equal(a, c);
    hot_clear(f->hot);
    assert_int_equal(a->count, 1); /* who holds it may still send it */
    slice_drop(a);
    slice_drop(b);
    slice_drop(c);
}

static void those_who_want_whole_texts_get_no_fragments(void **state)
{
    struct fixture *f = *state;
    frame(f);
    append(f, 1, "a");
    frame(f);
    assert_string_equal(slice_to(f, 40, 43, HOT_WHOLE), "-");
    assert_string_equal(slice_to(f, 42, 43, HOT_WHOLE), "43:e");
    assert_string_equal(slice_to(f, 41, 43, HOT_ORDINARY), "-");
    assert_string_equal(slice_to(f, 42, 43, HOT_ORDINARY), "43:e");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(appends_of_one_message_are_one_frame),
        T(position_inside_a_run_cuts_it_at_either_end),
        T(nothing_is_served_that_is_not_there),
        T(hole_or_another_stream_empties_the_buffer),
        T(more_runs_than_the_limit_drop_the_oldest),
        T(more_bytes_than_the_limit_let_go_of_the_start_of_a_run),
        T(what_is_older_than_the_ttl_goes),
        T(other_extras_do_not_end_a_run_and_the_last_ones_are_shown),
        T(same_range_is_the_same_slice),
        T(those_who_want_whole_texts_get_no_fragments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
