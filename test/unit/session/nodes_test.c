/* nodes_test.c - two nodes: what one knows of the other's sockets, and revocations, which are in force everywhere.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "../channel/nodes_fixture.h"
#include "session/actor.h"
#include "session/directory.h"
#include "session/revocation.h"
#include "session/session.h"

static struct sessions *sessions[NODES];
static struct directory *directories[NODES];
static struct revocations *revocations[NODES];
static unsigned ended[NODES];

static void link_close(void *sink, unsigned code, struct str reason)
{
}

static void link_ping(void *sink)
{
}

static uint32_t end_readers(void *user, const struct app *app, struct str jti, struct str client_id)
{
    ended[(size_t)user]++;
    return 1;
}

static int setup_sessions(void **state)
{
    static const struct session_link sink = {link_close, link_ping, NULL};
    setup(state);
    for (size_t i = 0; i < NODES; i++) {
        struct env *env = &f->nodes[i].core->env;
        sessions[i] = sessions_new(env, &sink);
        directories[i] = directory_new();
        sessions_use(sessions[i], directories[i], NULL);
        revocations[i] = revocations_new(env);
        revocations_reach(revocations[i], 0, sessions[i]);
        revocations_reach_also(revocations[i], 0, (struct revocations_other){end_readers, (void *)i});
        revocations_load(revocations[i]);
        ended[i] = 0;
    }
    settle();
    return 0;
}

static int teardown_sessions(void **state)
{
    for (size_t i = 0; i < NODES; i++) {
        revocations_free(revocations[i]);
        sessions_free(sessions[i]);
        directory_free(directories[i]);
    }
    return teardown(state);
}

/* ---- revocations ---- */

static struct revocation *revoked;
static void is_revoked(struct revocation *rv)
{
    revoked = rv;
}

static void revoke(unsigned node, const char *jti)
{
    struct core *c = f->nodes[node].core;
    struct revocation *rv = revocation_new(&c->env, c->app, is_revoked);
    rv->jti = arena_copy(&rv->op.arena, str_of(jti));
    rv->reason = STR("x");
    rv->expires_s = store_now_ms(c->env.store) / 1000 + 3600;
    revoked = NULL;
    revocation_begin(revocations[node], &c->env, rv);
    settle();
    assert_non_null(revoked);
    assert_int_equal(revoked->result, REVOCATION_DONE);
    revocation_free(revoked);
}

static bool is_refused(unsigned node, const char *jti)
{
    struct core *c = f->nodes[node].core;
    struct token token = {.jti = str_of(jti), .client_id = STR("c")};
    return revocations_refuse(revocations[node], c->app, &token, clock_wall_ms(c->env.clock)) != NULL;
}

static void a_revocation_is_in_force_at_every_node(void **state)
{
    revoke(0, "t1");
    for (unsigned node = 0; node < NODES; node++) {
        assert_true(is_refused(node, "t1") && !is_refused(node, "t2"));
        assert_int_equal(ended[node], 1);
    }
}

/* One that is ahead would take it to be over, and delete it from the store for all. */
static void a_revocation_lasts_on_a_node_whose_clock_is_wrong(void **state)
{
    core_wall_is_ahead(f->nodes[1].core, 2 * 3600000);
    revoke(0, "t1");
    advance_ms(50);
    assert_true(is_refused(1, "t1"));
    core_wall_is_ahead(f->nodes[1].core, -2 * 3600000);
    revoke(1, "t2");
    assert_true(is_refused(0, "t2") && is_refused(1, "t2"));
    revocations_free(revocations[0]); /* another process */
    revocations[0] = revocations_new(&f->nodes[0].core->env);
    revocations_load(revocations[0]);
    settle();
    assert_true(is_refused(0, "t1") && is_refused(0, "t2"));

    f->nodes[0].core->now_ns += 3601000000000u; /* the store's clock */

    assert_false(is_refused(0, "t1") || is_refused(0, "t2"));
    assert_true(is_refused(1, "t1") && is_refused(1, "t2")); /* where the tokens live longer, too */
}

static void a_missed_revocation_is_found_when_the_bus_is_back(void **state)
{
    revoke(0, "t0");
    f->cut = true;
    revoke(0, "t1");
    f->cut = false;
    assert_false(is_refused(1, "t1"));
    hub_missed(&f->nodes[1].core->env);
    settle();
    assert_true(is_refused(1, "t1"));
    assert_int_equal(ended[1], 2);
    assert_int_equal(ended[0], 2); /* it has not begun anew there */
}

/* ---- actors ---- */

static struct actor asked;
static bool answered_actor;
static void is_answered(struct actor *a)
{
    answered_actor = true;
}

static void ask_for(unsigned node, struct socket_id socket)
{
    struct core *c = f->nodes[node].core;
    asked = (struct actor){.app = c->app, .socket = socket, .channel = STR("ai-a"), .done = is_answered};
    answered_actor = false;
    actor_ask(directories[node], &c->env, &asked);
    assert_false(answered_actor);
    settle();
}

static void a_socket_of_another_node_is_known(void **state)
{
    struct session_params params = {.protocol = WIRE_V2};
    struct session *s = session_new(sessions[1], f->nodes[1].sink, f->nodes[1].core->app, STR_NONE, &params);
    struct str got = buf_view(&f->nodes[1].sink->got);
    ptrdiff_t at = str_find(got, STR("socket_id"));
    struct socket_id id;
    while (at >= 0 && (got.p[at] < '0' || got.p[at] > '9'))
        at++;
    size_t n = strspn(got.p + at, "0123456789.");
    assert_true(socket_id_parse(str_make(got.p + at, n), &id));
    ask_for(0, id);
    assert_true(answered_actor);
    assert_int_equal(asked.state, ACTOR_CONNECTED);
    arena_free(&asked.arena);
    session_closed(s, END_LOST);
    settle();
    ask_for(0, id);
    assert_true(answered_actor);
    assert_int_equal(asked.state, ACTOR_UNKNOWN);
}

static void a_node_that_does_not_answer_knows_no_socket(void **state)
{
    f->cut = true;
    ask_for(0, (struct socket_id){1, 2});
    assert_false(answered_actor);
    advance_ms(1100);
    assert_true(answered_actor);
    assert_int_equal(asked.state, ACTOR_UNKNOWN);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup_sessions, teardown_sessions)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_revocation_is_in_force_at_every_node),
        T(a_revocation_lasts_on_a_node_whose_clock_is_wrong),
        T(a_missed_revocation_is_found_when_the_bus_is_back),
        T(a_socket_of_another_node_is_known),
        T(a_node_that_does_not_answer_knows_no_socket),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
