/* note_test.c - the conformance suite's part about notes: small records that belong to no channel (store.h).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

static enum store_result put_notes(struct fixture *f, const struct store_note *notes, size_t count)
{
    struct call *c = call_new(f, STORE_NOTE_PUT);
    c->op.notes = (struct store_notes){.put = notes, .put_count = count};
    run(c);
    enum store_result result = c->op.result;
    call_free(c);
    return result;
}

static void put_note(struct fixture *f, const char *key, const char *value)
{
    struct store_note note = {str_of(key), str_of(value)};
    assert_int_equal(put_notes(f, &note, 1), STORE_OK);
}

/* "a=1 b=2 more" */
static struct str scan_after(struct fixture *f, const char *prefix, struct str after, uint32_t limit)
{
    struct call *c = call_new(f, STORE_NOTE_SCAN);
    c->op.notes = (struct store_notes){.prefix = str_of(prefix), .after = after, .limit = limit};
    run(c);
    assert_int_equal(c->op.result, STORE_OK);
    buf_clear(&f->text);
    for (size_t i = 0; i < c->op.notes.found_count; i++) {
        buf_str(&f->text, c->op.notes.found[i].key);
        buf_char(&f->text, '=');
        buf_str(&f->text, c->op.notes.found[i].value);
        buf_char(&f->text, ' ');
    }
    if (c->op.notes.more)
        buf_lit(&f->text, "more ");
    call_free(c);
    return str_first(buf_view(&f->text), f->text.n ? f->text.n - 1 : 0);
}

static struct str scan(struct fixture *f, const char *prefix)
{
    return scan_after(f, prefix, STR_NONE, 100);
}

static void notes_are_found_below_their_prefix_in_byte_order(void **state)
{
    struct fixture *f = *state;
    put_note(f, "b/2", "two");
    put_note(f, "b/10", "ten");
    put_note(f, "a/1", "");
    put_note(f, "b", "bare");
    put_note(f, "c/1", "c");
    assert_str(scan(f, "b/"), "b/10=ten b/2=two");
    assert_str(scan(f, "a"), "a/1=");
    assert_str(scan(f, "x"), "");
    assert_str(scan(f, ""), "a/1= b=bare b/10=ten b/2=two c/1=c");
}

static void scan_goes_on_behind_after(void **state)
{
    struct fixture *f = *state;
    put_note(f, "q/1", "a");
    put_note(f, "q/2", "b");
    put_note(f, "q/3", "c");
    put_note(f, "r/1", "d");
    assert_str(scan_after(f, "q/", STR_NONE, 2), "q/1=a q/2=b more");
    assert_str(scan_after(f, "q/", STR("q/2"), 2), "q/3=c");
    assert_str(scan_after(f, "q/", STR_NONE, 3), "q/1=a q/2=b q/3=c");
    assert_str(scan_after(f, "q/", STR("q/2x"), 2), "q/3=c");
    assert_str(scan_after(f, "q/", STR("a"), 1), "q/1=a more");
    assert_str(scan_after(f, "q/", STR("q/3"), 2), "");
    assert_str(scan_after(f, "q/", STR("z"), 2), "");
}

static void one_put_writes_and_deletes_all_or_nothing(void **state)
{
    struct fixture *f = *state;
    put_note(f, "q/1", "waits");
    struct store_note moves[] = {{STR("q/1"), STR_NONE}, {STR("dead/1"), STR("waits")}, {STR("gone"), STR_NONE}};
    assert_int_equal(put_notes(f, moves, 3), STORE_OK);
    assert_str(scan(f, ""), "dead/1=waits");
    struct store_note twice[] = {{STR("k"), STR("old")}, {STR("k"), STR("new")}, {STR("l"), STR("x")}, {STR("l"), STR_NONE}};
    assert_int_equal(put_notes(f, twice, 4), STORE_OK);
    assert_str(scan(f, "k"), "k=new");
    assert_str(scan(f, "l"), "");
}

/* A record of any size is either whole or refused; the rest of its put is refused with it. */
static void oversize_notes_are_refused_with_all_of_their_put(void **state)
{
    struct fixture *f = *state;
    char *big = mem_alloc(NOTE_VALUE_MAX + 1);
    memset(big, 'x', NOTE_VALUE_MAX + 1);
    struct store_note notes[] = {{STR("ok"), STR("1")}, {str_make(big, NOTE_KEY_MAX + 1), STR("v")}};
    assert_int_equal(put_notes(f, notes, 2), STORE_BYTES_MAX);
    notes[1] = (struct store_note){STR("k"), str_make(big, NOTE_VALUE_MAX + 1)};
    assert_int_equal(put_notes(f, notes, 2), STORE_BYTES_MAX);
    notes[1] = (struct store_note){STR(""), STR("v")};
    assert_int_equal(put_notes(f, notes, 2), STORE_BYTES_MAX);
    assert_str(scan(f, ""), "");
    notes[1] = (struct store_note){str_make(big, NOTE_KEY_MAX), str_make(big, NOTE_VALUE_MAX)};
    assert_int_equal(put_notes(f, notes, 2), STORE_OK);
    assert_int_equal(scan(f, "xx").n, NOTE_KEY_MAX + 1 + NOTE_VALUE_MAX);
    free(big);
}

static void scan_stops_at_its_bytes(void **state)
{
    struct fixture *f = *state;
    char *big = mem_alloc(NOTE_VALUE_MAX), key[16];
    memset(big, 'x', NOTE_VALUE_MAX);
    for (int i = 0; i < 20; i++) {
        snprintf(key, sizeof key, "n/%02d", i);
        struct store_note note = {str_of(key), str_make(big, NOTE_VALUE_MAX)};
        assert_int_equal(put_notes(f, &note, 1), STORE_OK);
    }
    free(big);
    struct str text = scan(f, "n/");
    assert_int_equal(text.n, 16 * (4 + 1 + NOTE_VALUE_MAX + 1) + strlen("more"));
    assert_int_equal(scan_after(f, "n/", STR("n/15"), 100).n, 4 * (4 + 1 + NOTE_VALUE_MAX + 1) - 1);
}

static void keys_and_values_are_any_bytes(void **state)
{
    struct fixture *f = *state;
    struct store_note note = {str_make("\xff\xff\0k", 4), str_make("\0\xff", 2)}, behind = {str_make("\xff\xff\xff", 3), STR("z")};
    assert_int_equal(put_notes(f, &note, 1), STORE_OK);
    assert_int_equal(put_notes(f, &behind, 1), STORE_OK);
    struct call *c = call_new(f, STORE_NOTE_SCAN);
    c->op.notes = (struct store_notes){.prefix = str_make("\xff\xff", 2), .limit = 9};
    run(c);
    assert_int_equal(c->op.notes.found_count, 2);
    assert_true(str_eq(c->op.notes.found[0].key, note.key));
    assert_true(str_eq(c->op.notes.found[0].value, note.value));
    call_free(c);
}

static void scan_sees_every_put_submitted_before_it(void **state)
{
    struct fixture *f = *state;
    struct store_note note = {STR("q/1"), STR("a")}, gone = {STR("q/1"), STR_NONE};
    struct call *first = call_new(f, STORE_NOTE_PUT), *second = call_new(f, STORE_NOTE_SCAN), *third = call_new(f, STORE_NOTE_PUT),
                *fourth = call_new(f, STORE_NOTE_SCAN);
    first->op.notes = (struct store_notes){.put = &note, .put_count = 1};
    third->op.notes = (struct store_notes){.put = &gone, .put_count = 1};
    second->op.notes = fourth->op.notes = (struct store_notes){.limit = 5};
    submit(first);
    submit(second);
    await(second);
    assert_int_equal(second->op.notes.found_count, 1);
    submit(third);
    submit(fourth);
    await(fourth);
    assert_int_equal(fourth->op.notes.found_count, 0);
    await(first);
    await(third);
    call_free(first);
    call_free(second);
    call_free(third);
    call_free(fourth);
}

static void notes_do_not_meet_channels(void **state)
{
    struct fixture *f = *state;
    struct message_id m = create(f, "\"a\"");
    put_note(f, "q/1", "kept");
    reset(f);
    assert_str(scan(f, ""), "q/1=kept");
    assert_str(latest(f, m), "");
    assert_int_equal(head(f).delivery, 0);
}

static void notes_survive_reopening(void **state)
{
    struct fixture *f = *state;
    put_note(f, "q/1", "a");
    put_note(f, "q/2", "b");
    struct store_note gone = {STR("q/1"), STR_NONE};
    assert_int_equal(put_notes(f, &gone, 1), STORE_OK);
    fixture_reopen(f);
    assert_str(scan(f, "q/"), "q/2=b");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OVER_ALL(notes_are_found_below_their_prefix_in_byte_order)
        OVER_ALL(scan_goes_on_behind_after)
        OVER_ALL(one_put_writes_and_deletes_all_or_nothing)
        OVER_ALL(oversize_notes_are_refused_with_all_of_their_put)
        OVER_ALL(scan_stops_at_its_bytes)
        OVER_ALL(keys_and_values_are_any_bytes)
        OVER_ALL(scan_sees_every_put_submitted_before_it)
        OVER_ALL(notes_do_not_meet_channels)
        OVER(notes_survive_reopening, rocksdb) OVER(notes_survive_reopening, postgres)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
