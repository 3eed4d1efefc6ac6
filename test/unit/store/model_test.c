/* model_test.c - any order of operations over many messages: every way to read shows what a naive model holds.
 *
 * The model keeps each message's text as of each position. Reads see it through memory, segments and rows alike; a store that
 * was opened anew sees it through the rows alone.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

#include <time.h>

#include "base/random.h"

enum { MESSAGES = 400, STEPS = 6000 };

struct model_row { /* index = delivery */
    size_t message;
    enum store_action action;
    struct buf text;   /* whole, without quotes */
    const char *given; /* what this row itself says; NULL = kept */
};

struct model {
    struct message_id ids[MESSAGES];
    uint64_t last[MESSAGES];
    size_t messages;
    struct model_row rows[STEPS + 1];
    uint64_t delivery;
};

static void model_add(struct model *model, size_t message, enum store_action action, const char *given)
{
    struct model_row *row = &model->rows[++model->delivery];
    *row = (struct model_row){message, action, {0}, given};
    if (action == ACTION_APPEND || given == NULL)
        buf_str(&row->text, buf_view(&model->rows[model->last[message]].text));
    if (given != NULL)
        buf_str(&row->text, str_of(given));
    model->last[message] = model->delivery;
}

static void step(struct fixture *f, struct model *model, struct random *r)
{
    static const char *const words[] = {"a", "bc", "def"};
    const char *word = words[random_below(r, 3)];
    uint64_t what = random_below(r, 30);
    char data[8];
    snprintf(data, sizeof data, "\"%s\"", word);
    if (model->messages == 0 || (what == 0 && model->messages < MESSAGES)) {
        model->ids[model->messages] = create(f, data);
        model_add(model, model->messages++, ACTION_CREATE, word);
        return;
    }
    /* most fall on few messages, so that some fold by rows and some never */
    size_t message = random_below(r, 1 + random_below(r, model->messages));
    enum store_action action = what == 1 ? ACTION_DELETE : what <= 3 ? ACTION_UPDATE : ACTION_APPEND;
    bool keeps = action != ACTION_APPEND && random_below(r, 2);
    if (keeps)
        f->w.event_name = STR("renamed");
    assert_int_equal(mutate(f, model->ids[message], action, keeps ? "" : data), STORE_OK);
    model_add(model, message, action, keeps ? NULL : word);
}

static void assert_item(const struct model *model, const struct store_item *item, uint64_t delivery, struct str text)
{
    const struct model_row *row = &model->rows[delivery];
    assert_int_equal(item->delivery, delivery);
    assert_int_equal(item->action, row->action);
    assert_int_equal(item->message.history, row->message + 1);
    assert_int_equal(item->data.n, text.n + 2);
    assert_memory_equal(item->data.p + 1, text.p, text.n);
}

static void check_pages(struct fixture *f, const struct model *model, struct random *r)
{
    struct call *c = call_new(f, STORE_PAGE);
    c->op.read.direction = random_below(r, 2) ? NEWEST_FIRST : OLDEST_FIRST;
    c->op.read.limit = (uint32_t)random_below(r, 12) + 1;
    c->op.read.after = random_below(r, 3) ? random_below(r, model->messages + 1) : 0;
    c->op.read.start_ms = random_below(r, 4) ? INT64_MIN : 0;
    run(c);
    assert_int_equal(c->op.result, STORE_OK);
    bool forward = c->op.read.direction == OLDEST_FIRST;
    uint64_t at = c->op.read.after ? c->op.read.after : forward ? 0 : model->messages + 1;
    for (size_t i = 0; i < c->op.found.count; i++) {
        at += forward ? 1 : (uint64_t)-1;
        uint64_t last = model->last[at - 1];
        assert_item(model, &c->op.found.items[i], last, buf_view(&model->rows[last].text));
    }
    assert_int_equal(c->op.found.more, forward ? at < model->messages : at > 1);
    call_free(c);
}

static void check_replay(struct fixture *f, const struct model *model, struct random *r)
{
    struct call *c = call_new(f, STORE_REPLAY);
    c->op.read.from_delivery = random_below(r, model->delivery);
    run(c);
    assert_int_equal(c->op.result, STORE_OK);
    assert_int_equal(c->op.found.count, model->delivery - c->op.read.from_delivery);
    for (size_t i = 0; i < c->op.found.count; i++) {
        uint64_t delivery = c->op.read.from_delivery + 1 + i;
        const struct model_row *row = &model->rows[delivery];
        assert_item(model, &c->op.found.items[i], delivery, row->given ? str_of(row->given) : buf_view(&row->text));
    }
    call_free(c);
}

static void check_latest(struct fixture *f, const struct model *model, struct random *r)
{
    struct message_id ids[5];
    struct call *c = call_new(f, STORE_LATEST);
    for (int i = 0; i < 5; i++)
        ids[i] = model->ids[random_below(r, model->messages)];
    c->op.read.ids = ids;
    c->op.read.ids_count = 5;
    c->op.read.as_of_delivery = random_below(r, 2) ? random_below(r, model->delivery) + 1 : 0;
    uint64_t limit = c->op.read.as_of_delivery ? c->op.read.as_of_delivery : model->delivery;
    run(c);
    assert_int_equal(c->op.result, STORE_OK);
    size_t shown = 0;
    for (int i = 0; i < 5; i++) {
        uint64_t at = limit;
        while (at > 0 && model->rows[at].message != ids[i].history - 1)
            at--;
        if (at > 0)
            assert_item(model, &c->op.found.items[shown++], at, buf_view(&model->rows[at].text));
    }
    assert_int_equal(c->op.found.count, shown);
    call_free(c);
}

static void every_read_shows_what_the_model_holds(void **state)
{
    struct fixture *f = *state;
    struct model *model = mem_new(struct model);
    struct random r;
    random_from_seed(&r, 4711);
    for (int i = 0; i < (f->backend == POSTGRES ? STEPS / 3 : STEPS); i++) { /* a commit is a round trip there */
        step(f, model, &r);
        if (f->backend == ROCKSDB && i % 1500 == 1499)
            fixture_reopen(f);
        if (i % 20 != 0)
            continue;
        check_pages(f, model, &r);
        check_replay(f, model, &r);
        check_latest(f, model, &r);
    }
    for (uint64_t i = 1; i <= model->delivery; i++)
        buf_free(&model->rows[i].text);
    free(model);
}

/* ---- what an append costs ---- */

static uint64_t thread_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* CPU for an append and a read of its message, taken in turn from this many open ones. */
static double cost_among(size_t open)
{
    enum { OPS = 30000 };
    struct fixture *f = fixture_new(INLINE);
    struct message_id *ids = mem_alloc(open * sizeof *ids);
    fixture_open(f);
    for (size_t i = 0; i < open; i++) {
        f->w.status = STREAM_OPEN;
        f->w.extras = STR("{}");
        ids[i] = create(f, "\"\"");
        append(f, ids[i], "\"x\"");
    }
    uint64_t before = thread_ns();
    for (size_t i = 0; i < OPS; i++) {
        append(f, ids[i % open], "\"x\"");
        if (i % 10 == 0)
            latest(f, ids[i % open]);
    }
    double ns = (double)(thread_ns() - before) / OPS;
    free(ids);
    fixture_free(f);
    return ns;
}

/* Walking the channel's messages once per batch, read or checkpoint made this some hundred times dearer. */
static void append_among_ten_thousand_open_messages_costs_as_among_ten(void **state)
{
    double few = cost_among(10), many = cost_among(10000);
    for (int i = 0; i < 4 && many >= 4 * few; i++) { /* the machine may be busy with something else */
        few = cost_among(10);
        many = cost_among(10000);
    }
    print_message("an append among 10: %.0f ns, among 10000: %.0f ns\n", few, many);
    assert_true(many < 4 * few);
}

/* ---- what messages cost in memory ---- */

static void messages_in_memory_are_bounded_by_bytes(void **state)
{
    enum { MANY = 3000, BYTES_MAX = 1 << 20 };
    struct fixture *f = fixture_new(INLINE);
    struct message_id ids[MANY];
    char data[600];
    f->options.messages_bytes_max = BYTES_MAX;
    fixture_open(f);
    const struct store_stats *stats = store_stats(f->store);
    memset(data, 'x', sizeof data);
    data[0] = data[sizeof data - 2] = '"';
    data[sizeof data - 1] = 0;
    for (int i = 0; i < MANY; i++) {
        ids[i] = create(f, "\"\"");
        append(f, ids[i], data);
        assert_true(stats->memory_messages_bytes <= BYTES_MAX);
        assert_true(stats->memory_messages_bytes >= stats->memory_messages * 500);
    }
    assert_in_range(stats->memory_messages, 100, MANY / 2);
    for (int i = 0; i < MANY; i++) {
        f->w.receipt_key = f->w.fingerprint = key_for(1);
        append(f, ids[i], "\"!\"");
        f->w.receipt_key = f->w.fingerprint = key_for(1);
        assert_int_equal(mutate(f, ids[i], ACTION_APPEND, "\"!\""), STORE_DUPLICATE);
        assert_int_equal(f->last.delivery, 2 * MANY + i + 1);
        assert_true(stats->memory_messages_bytes <= BYTES_MAX);
    }
    assert_int_equal(latest(f, ids[7]).n, strlen("6008:append\"!\"") + sizeof data - 3);
    assert_int_equal(stats->retained_messages, MANY);
    assert_int_equal(stats->retained_bytes, head(f).retained_bytes);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OVER_ALL(every_read_shows_what_the_model_holds)
        cmocka_unit_test(messages_in_memory_are_bounded_by_bytes),
        cmocka_unit_test(append_among_ten_thousand_open_messages_costs_as_among_ten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
