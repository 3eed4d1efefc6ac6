/* SPDX-License-Identifier: Apache-2.0 */
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "../support/unit.h"

/* stderr is a pipe while a test runs: what was logged can be read back. */
struct capture {
    int read_fd, saved_fd;
    char text[16384];
};

static int setup(void **state)
{
    static struct capture c;
    int pipe_fds[2];
    if (pipe(pipe_fds) != 0)
        return -1;
    c.saved_fd = dup(STDERR_FILENO);
    dup2(pipe_fds[1], STDERR_FILENO);
    close(pipe_fds[1]);
    c.read_fd = pipe_fds[0];
    *state = &c;
    return 0;
}

static int teardown(void **state)
{
    struct capture *c = *state;
    dup2(c->saved_fd, STDERR_FILENO);
    close(c->saved_fd);
    close(c->read_fd);
    log_setup(&(struct log_options){.include_target = true});
    return 0;
}

/* What one write brought; log at least one line before. */
static struct str logged(struct capture *c)
{
    ssize_t n = read(c->read_fd, c->text, sizeof c->text);
    return str_make(c->text, n > 0 ? (size_t)n : 0);
}

static void filter(const char *text)
{
    log_setup(&(struct log_options){.include_target = true, .filter = text});
}

static void a_text_line_has_time_level_target_message(void **state)
{
    filter(NULL);
    log_info("store", "opened in %d ms", 5);
    struct str line = logged(*state);
    assert_int_equal(line.p[10], 'T');
    assert_int_equal(line.p[23], 'Z');
    assert_str(str_from(line, 24), " INFO store: opened in 5 ms\n");
}

static void a_json_line_is_json(void **state)
{
    struct str value;
    log_setup(&(struct log_options){.format = LOG_JSON, .include_target = true});
    log_error("net", "a \"quoted\" \xff word");
    assert_true(json_check(logged(*state), &value, NULL));
    assert_str(json_get(value, STR("level")), "\"ERROR\"");
    assert_str(json_get(value, STR("target")), "\"net\"");
    assert_str(json_get(json_get(value, STR("fields")), STR("message")), "\"a \\\"quoted\\\" ? word\"");
}

static void the_target_can_be_left_out(void **state)
{
    log_setup(&(struct log_options){.include_target = false});
    log_warn("net", "hello");
    assert_str(str_from(logged(*state), 24), " WARN hello\n");
}

static void a_module_may_have_a_level_of_its_own(void **state)
{
    filter("warn, store=debug ,net=off");
    assert_true(log_enabled(LOG_DEBUG, "store"));
    assert_false(log_enabled(LOG_TRACE, "store"));
    assert_false(log_enabled(LOG_ERROR, "net"));
    assert_true(log_enabled(LOG_WARN, "app"));
    assert_false(log_enabled(LOG_INFO, "app"));
    filter("off");
    assert_false(log_enabled(LOG_ERROR, "app"));
}

static void nonsense_in_a_filter_is_skipped(void **state)
{
    filter("loud,=,store=,x=y,,debug");
    assert_true(log_enabled(LOG_DEBUG, "store"));
    assert_false(log_enabled(LOG_TRACE, "store"));
}

/* A client that puts a newline into a name must not be able to forge a line. */
static void a_message_cannot_start_a_line_of_its_own(void **state)
{
    filter(NULL);
    log_info("app", "name %s", "a\n2026 ERROR\x1b[0m");
    assert_str(str_from(logged(*state), 24), " INFO app: name a 2026 ERROR [0m\n");
}

static void a_long_message_is_cut(void **state)
{
    char text[10000];
    memset(text, 'a', sizeof text);
    filter(NULL);
    log_info("app", "%.*s", (int)sizeof text, text);
    struct str line = logged(*state);
    assert_in_range(line.n, 4000, 4200);
    assert_int_equal(line.p[line.n - 1], '\n');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_text_line_has_time_level_target_message, setup, teardown),
        cmocka_unit_test_setup_teardown(a_json_line_is_json, setup, teardown),
        cmocka_unit_test_setup_teardown(the_target_can_be_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(a_module_may_have_a_level_of_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(nonsense_in_a_filter_is_skipped, setup, teardown),
        cmocka_unit_test_setup_teardown(a_message_cannot_start_a_line_of_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(a_long_message_is_cut, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
