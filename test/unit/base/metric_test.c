/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>

#include "base/metric.h"
#include "../support/unit.h"

static int setup(void **state)
{
    *state = metric_registry_new();
    return 0;
}

static int teardown(void **state)
{
    metric_registry_free(*state);
    return 0;
}

static void assert_rendered(struct metric_registry *r, const char *expected)
{
    struct buf out = {0};
    metric_render(r, STR("sockudo_"), &out);
    unit_assert_str(buf_view(&out), str_of(expected), __FILE__, __LINE__);
    buf_free(&out);
}

static void a_value_is_the_sum_over_the_shards(void **state)
{
    struct metric_series *c = metric_series(metric_counter(*state, "a_total", "h", NULL), NULL);
    struct metric_series *g = metric_series(metric_gauge(*state, "g", "h", NULL), NULL);
    metric_add(c, 0, 2);
    metric_add(c, 5, 3);
    metric_add(c, METRIC_SHARD_STORE, 1);
    metric_add(g, 0, 1);
    metric_add(g, 1, -2);
    metric_set(g, 2, 10);
    metric_set(g, 2, 11);
    assert_int_equal(metric_value(c), 6);
    assert_int_equal(metric_value(g), 10);
}

static void one_set_of_label_values_is_one_series(void **state)
{
    struct metric_family *f = metric_counter(*state, "a_total", "h", "app,kind");
    struct metric_series *s = metric_series(f, (struct str[]){STR("x"), STR("y")});
    assert_ptr_equal(metric_series(f, (struct str[]){STR("x"), STR("y")}), s);
    assert_ptr_not_equal(metric_series(f, (struct str[]){STR("y"), STR("x")}), s);
    assert_ptr_equal(metric_counter(*state, "a_total", "h", "app,kind"), f);
}

/* A scrape that changed its order would defeat compression and every diff. */
static void families_and_series_print_in_order(void **state)
{
    struct metric_family *b = metric_gauge(*state, "b", "second", "k");
    struct metric_family *a = metric_counter(*state, "a_total", "first", NULL);
    metric_set(metric_series(b, (struct str[]){STR("z")}), 0, -1);
    metric_set(metric_series(b, (struct str[]){STR("m")}), 0, 2);
    metric_add(metric_series(a, NULL), 0, 7);
    assert_rendered(*state, "# HELP sockudo_a_total first\n# TYPE sockudo_a_total counter\n"
                            "sockudo_a_total 7\n"
                            "# HELP sockudo_b second\n# TYPE sockudo_b gauge\n"
                            "sockudo_b{k=\"m\"} 2\nsockudo_b{k=\"z\"} -1\n");
}

static void help_and_label_values_are_escaped(void **state)
{
    struct metric_family *f = metric_gauge(*state, "g", "a\\b\n\"c\"", "k");
    metric_set(metric_series(f, (struct str[]){STR("a\\b\n\"c\"")}), 0, 1);
    assert_rendered(*state, "# HELP sockudo_g a\\\\b\\n\"c\"\n# TYPE sockudo_g gauge\n"
                            "sockudo_g{k=\"a\\\\b\\n\\\"c\\\"\"} 1\n");
}

static void histogram_buckets_are_cumulative(void **state)
{
    static const double bounds[] = {0.001, 0.25, 10};
    struct metric_family *f = metric_histogram(*state, "h_seconds", "h", "k", bounds, 3);
    struct metric_series *s = metric_series(f, (struct str[]){STR("v")});
    metric_observe(s, 0, 0.001);
    metric_observe(s, 1, 0.5);
    metric_observe(s, 1, 100);
    assert_int_equal(metric_value(s), 3);
    assert_rendered(*state, "# HELP sockudo_h_seconds h\n# TYPE sockudo_h_seconds histogram\n"
                            "sockudo_h_seconds_bucket{k=\"v\",le=\"0.001\"} 1\n"
                            "sockudo_h_seconds_bucket{k=\"v\",le=\"0.25\"} 1\n"
                            "sockudo_h_seconds_bucket{k=\"v\",le=\"10\"} 2\n"
                            "sockudo_h_seconds_bucket{k=\"v\",le=\"+Inf\"} 3\n"
                            "sockudo_h_seconds_sum{k=\"v\"} 100.501\n"
                            "sockudo_h_seconds_count{k=\"v\"} 3\n");
}

static void emit_two(void *ctx, struct metric_sink *sink)
{
    metric_emit(sink, (struct str[]){STR("x")}, *(double *)ctx);
    metric_emit(sink, (struct str[]){STR("y")}, 3);
}

static void a_collected_family_is_computed_at_scrape(void **state)
{
    double value = 1.5;
    metric_collect(metric_gauge(*state, "g", "h", "k"), emit_two, &value);
    value = 0.1;
    assert_rendered(*state, "# HELP sockudo_g h\n# TYPE sockudo_g gauge\n"
                            "sockudo_g{k=\"x\"} 0.1\nsockudo_g{k=\"y\"} 3\n");
}

static void names_of_others_keep_their_own_prefix(void **state)
{
    metric_counter(*state, "process_cpu_seconds_total", "h", NULL);
    metric_without_prefix(metric_gauge(*state, "up", "h", "k"));
    assert_rendered(*state, "# HELP process_cpu_seconds_total h\n# TYPE process_cpu_seconds_total counter\n"
                            "process_cpu_seconds_total 0\n"
                            "# HELP up h\n# TYPE up gauge\n");
}

/* Channel names as labels must not be able to eat the memory. */
static void beyond_the_limit_series_share_one(void **state)
{
    struct metric_family *f = metric_counter(*state, "a_total", "h", "k");
    char name[16];
    for (int i = 0; i < METRIC_SERIES_MAX; i++) {
        snprintf(name, sizeof name, "%d", i);
        metric_series(f, (struct str[]){str_of(name)});
    }
    struct metric_series *one = metric_series(f, (struct str[]){STR("one more")});
    assert_ptr_equal(metric_series(f, (struct str[]){STR("and another")}), one);
    assert_ptr_equal(metric_series(f, (struct str[]){STR("other")}), one);
    assert_ptr_not_equal(metric_series(f, (struct str[]){STR("17")}), one);
}

static void *count_on_a_shard(void *ctx)
{
    struct metric_series **s = ctx;
    for (int i = 0; i < 10000; i++)
        metric_add(*s, 1, 1);
    return NULL;
}

static void scraping_while_shards_write_is_safe(void **state)
{
    struct metric_series *s = metric_series(metric_counter(*state, "a_total", "h", NULL), NULL);
    pthread_t writer;
    struct buf out = {0};
    pthread_create(&writer, NULL, count_on_a_shard, &s);
    for (int i = 0; i < 10000; i++) {
        metric_add(s, 0, 1);
        if (i % 100 == 0)
            metric_render(*state, STR(""), &out);
    }
    pthread_join(writer, NULL);
    assert_int_equal(metric_value(s), 20000);
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_value_is_the_sum_over_the_shards, setup, teardown),
        cmocka_unit_test_setup_teardown(one_set_of_label_values_is_one_series, setup, teardown),
        cmocka_unit_test_setup_teardown(families_and_series_print_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(help_and_label_values_are_escaped, setup, teardown),
        cmocka_unit_test_setup_teardown(histogram_buckets_are_cumulative, setup, teardown),
        cmocka_unit_test_setup_teardown(a_collected_family_is_computed_at_scrape, setup, teardown),
        cmocka_unit_test_setup_teardown(names_of_others_keep_their_own_prefix, setup, teardown),
        cmocka_unit_test_setup_teardown(beyond_the_limit_series_share_one, setup, teardown),
        cmocka_unit_test_setup_teardown(scraping_while_shards_write_is_safe, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
