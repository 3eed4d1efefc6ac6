/* wildcards_test.c - the table finds what comparing each pattern finds.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "../support/unit.h"
#include "base/mem.h"
#include "base/random.h"
#include "channel/wildcards.h"
#include <stdlib.h>

struct entry {
    struct wildcard wildcard; /* first */
    char text[12];
    bool in, found;
};

enum { ENTRIES = 200 };
struct fixture {
    struct wildcards all;
    struct entry entries[ENTRIES];
    struct random random;
};

static void remember(void *user, struct wildcard *w)
{
    struct entry *e = (struct entry *)w;
    assert_false(e->found); /* each once */
    e->found = true;
}

static bool matches(struct str pattern, struct str name)
{
    size_t star = (size_t)str_index(pattern, '*');
    struct str suffix = str_from(pattern, star + 1);
    return name.n + 1 >= pattern.n && str_starts(name, str_first(pattern, star)) &&
           str_eq(str_from(name, name.n - suffix.n), suffix);
}

/* Of a, b and c, so that many agree. */
static size_t draw(struct random *random, char *out, size_t max)
{
    size_t n = random_below(random, max + 1);
    for (size_t i = 0; i < n; i++)
        out[i] = (char)('a' + random_below(random, 3));
    return n;
}

static void toggle(struct fixture *f, struct entry *e)
{
    if (e->in) {
        wildcards_remove(&f->all, &e->wildcard);
        e->in = false;
        return;
    }
    size_t n = draw(&f->random, e->text, 3);
    e->text[n++] = '*';
    n += draw(&f->random, e->text + n, 3);
    e->wildcard.text = str_make(e->text, n);
    if (wildcards_find(&f->all, e->wildcard.text) != NULL)
        return;
    wildcards_add(&f->all, &e->wildcard);
    e->in = true;
}

static void check(struct fixture *f)
{
    char name[8];
    struct str channel = str_make(name, draw(&f->random, name, 7));
    for (int i = 0; i < ENTRIES; i++)
        f->entries[i].found = false;
    wildcards_match(&f->all, channel, remember, NULL);
    for (int i = 0; i < ENTRIES; i++)
        assert_int_equal(f->entries[i].found, f->entries[i].in && matches(f->entries[i].wildcard.text, channel));
}

static void finds_what_comparing_finds(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    random_from_seed(&f->random, 11);
    for (int i = 0; i < 20000; i++) {
        toggle(f, &f->entries[random_below(&f->random, ENTRIES)]);
        check(f);
    }
    for (struct wildcard *w; (w = wildcards_any(&f->all)) != NULL;)
        wildcards_remove(&f->all, w);
    assert_int_equal(f->all.count, 0);
    assert_null(f->all.lengths);
    free(f);
}

static void prefix_and_suffix_may_not_overlap(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    struct entry *e = &f->entries[0];
    e->wildcard.text = STR("aba*aba");
    wildcards_add(&f->all, &e->wildcard);
    wildcards_match(&f->all, STR("ababa"), remember, NULL);
    assert_false(e->found);
    wildcards_match(&f->all, STR("abaaba"), remember, NULL);
    assert_true(e->found);
    wildcards_remove(&f->all, &e->wildcard);
    free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_comparing_finds),
        cmocka_unit_test(prefix_and_suffix_may_not_overlap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
