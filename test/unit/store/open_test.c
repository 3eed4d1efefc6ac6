/* open_test.c - open streams: listed page by page, and not opened when the caller says so (chapter 4, 5.3 and 5.4).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

static void streaming(struct fixture *f)
{
    f->w.extras = STR("{\"s\":1}");
    f->w.status = STREAM_OPEN;
}

/* Page by page: each once, in one order, without texts. */
static void open_streams_come_in_pages(void **state)
{
    struct fixture *f = *state;
    char next[600];
    size_t next_size = 0, seen = 0;
    for (int i = 0; i < 5; i++) {
        streaming(f);
        create(f, "\"text\"");
    }
    for (bool more = true; more;) {
        struct call *c = call_new(f, STORE_OPEN);
        c->op.read.limit = 2;
        c->op.read.open_after = next_size > 0 ? str_make(next, next_size) : STR_NONE;
        run(c);
        assert_int_equal(c->op.result, STORE_OK);
        assert_int_equal(c->op.found.count, seen < 4 ? 2 : 1);
        for (size_t i = 0; i < c->op.found.count; i++) {
            assert_int_equal(c->op.found.items[i].delivery, ++seen);
            assert_int_equal(c->op.found.items[i].status, STREAM_OPEN);
            assert_null(c->op.found.items[i].data.p);
        }
        more = c->op.found.more;
        next_size = c->op.found.open_next.n;
        memcpy(next, c->op.found.open_next.p, next_size);
        call_free(c);
    }
    assert_int_equal(seen, 5);
}

/* Another limit of the caller's: it hinders opening alone, and no retry. */
static void opening_may_be_refused_by_the_caller(void **state)
{
    struct fixture *f = *state;
    streaming(f);
    f->w.receipt_key = f->w.fingerprint = key_for(1);
    f->w.receipt_ttl_ms = 500;
    struct message_id m = create(f, "\"\"");
    streaming(f);
    f->w.refuse_opening = true;
    assert_int_equal(write_of(f, ACTION_CREATE, "\"\""), STORE_OPEN_MAX);
    streaming(f);
    f->w.refuse_opening = true;
    f->w.receipt_key = f->w.fingerprint = key_for(1);
    assert_int_equal(write_of(f, ACTION_CREATE, "\"\""), STORE_DUPLICATE);
    f->w.refuse_opening = true;
    append(f, m, "\"x\"");
    assert_int_equal(head(f).open_streams, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OVER_ALL(open_streams_come_in_pages)
        OVER_ALL(opening_may_be_refused_by_the_caller)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
