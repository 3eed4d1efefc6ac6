/* nodes_test.c - two nodes: what one knows of the other's sockets and users, and revocations, which are in force everywhere.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "../channel/nodes_fixture.h"
#include "base/digest.h"
#include "session/actor.h"
#include "session/directory.h"
#include "session/quota.h"
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

/* ---- the quota of an app ---- */

/* 0 or the code. */
static int comes(unsigned node, struct session **s)
{
    struct session_params params = {.protocol = WIRE_V1, .mode = LANE_V1};
    struct sink *sink = f->nodes[node].sink;
    sink_forget(sink);
    *s = session_new(sessions[node], sink, f->nodes[node].core->app, STR_NONE, &params);
    return *s != NULL ? 0 : str_find(buf_view(&sink->got), STR("\"code\":4004")) >= 0 ? 4004 : -1;
}

static void connections_of_other_nodes_count(void **state)
{
    struct quotas *quotas[NODES];
    struct session *s[4], *none;
    for (unsigned i = 0; i < NODES; i++) {
        f->nodes[i].core->config->apps[0].max_connections = 3;
        quotas[i] = quotas_new(&f->nodes[i].core->env);
    }
    assert_int_equal(comes(0, &s[0]), 0);
    assert_int_equal(comes(0, &s[1]), 0);
    advance_ms(QUOTA_LOOK_MS + 1);
    assert_int_equal(comes(1, &s[2]), 0);
    assert_int_equal(comes(1, &none), 4004);
    advance_ms(QUOTA_LOOK_MS + 1);
    assert_int_equal(comes(0, &none), 4004);
    session_closed(s[0], END_LOST);
    advance_ms(QUOTA_LOOK_MS + 1);
    assert_int_equal(comes(1, &s[3]), 0);
    assert_int_equal(comes(1, &none), 4004);
    advance_ms(20000); /* what does not change is told again */
    assert_int_equal(comes(1, &none), 4004);

    f->cut = true; /* the node is gone, and its connections with it */
    advance_ms(QUOTA_FORGET_MS + QUOTA_LOOK_MS);
    f->cut = false;
    assert_int_equal(comes(1, &s[0]), 0);
    advance_ms(QUOTA_REPEAT_MS + QUOTA_LOOK_MS);
    assert_int_equal(comes(1, &none), 4004);

    quotas_drain(quotas[1]); /* its three are about to come here */
    settle();
    struct session *moved;
    assert_int_equal(comes(0, &moved), 0);
    session_closed(moved, END_LOST);
    for (unsigned i = 0; i < 4; i++)
        session_closed(s[i], END_LOST);
    settle();
    for (unsigned i = 0; i < NODES; i++)
        quotas_free(quotas[i]);
    assert_int_equal(f->nodes[0].core->app->connections_elsewhere, 0);
}

static void an_app_without_a_limit_is_not_talked_of(void **state)
{
    struct quotas *quotas = quotas_new(&f->nodes[0].core->env);
    struct session *s;
    assert_int_equal(comes(0, &s), 0);
    f->hold = true;
    advance_ms(5000);
    assert_int_equal(f->sent, 0);
    f->hold = false;
    session_closed(s, END_LOST);
    settle();
    quotas_free(quotas);
    struct env alone = {0};
    assert_null(quotas_new(&alone));
}

/* ---- who is online ---- */

/* Connects at that node and signs in; what is said goes to `sink`. */
static struct session *sign_in_at(unsigned node, struct sink *sink, const char *user_data)
{
    const struct app_config *app = &f->nodes[node].core->config->apps[0];
    struct session_params params = {.protocol = WIRE_V1, .mode = LANE_V1};
    struct session *s = session_new(sessions[node], sink, f->nodes[node].core->app, STR_NONE, &params);
    struct str greeting = buf_view(&sink->got);
    struct buf text = {0};
    char hex[2 * SHA256_SIZE + 1];
    size_t at = (size_t)str_find(greeting, STR("socket_id\\\":\\\"")) + 14;
    struct hmac_key *key = hmac_key_new(app->secret);
    buf_fmt(&text, "%.*s::user::%s", (int)strspn(greeting.p + at, "0123456789."), greeting.p + at, user_data);
    hmac_sha256_hex(key, buf_view(&text), hex);
    hmac_key_free(key);
    buf_clear(&text);
    buf_fmt(&text, "{\"event\":\"pusher:signin\",\"data\":{\"auth\":\"%.*s:%s\",\"user_data\":", STR_ARG(app->key), hex);
    buf_json(&text, str_of(user_data));
    buf_lit(&text, "}}");
    sink_forget(sink);
    session_message(s, buf_view(&text));
    buf_free(&text);
    settle();
    return s;
}

/* How often the watcher was told that of u; forgets it. */
static unsigned told(struct sink *sink, const char *state)
{
    char needle[64];
    unsigned n = 0;
    snprintf(needle, sizeof needle, "{\"name\":\"%s\",\"user_ids\":[\"u\"]}", state);
    struct str rest = buf_view(&sink->got);
    for (ptrdiff_t at; (at = str_find(rest, str_of(needle))) >= 0; n++)
        rest = str_from(rest, (size_t)at + 1);
    return n;
}

static int setup_watchlists(void **state)
{
    setup_sessions(state);
    for (unsigned i = 0; i < NODES; i++)
        f->nodes[i].core->config->apps[0].enable_watchlist_events = true;
    return 0;
}

#define WATCHES_U "{\"id\":\"w\",\"watchlist\":[\"u\"]}"

static void users_of_another_node_are_watched(void **state)
{
    struct sink *users = f->nodes[0].sink, *watcher = f->nodes[1].sink;
    struct session *u = sign_in_at(0, users, "{\"id\":\"u\"}"), *w = sign_in_at(1, watcher, WATCHES_U);
    assert_true(told(watcher, "online") == 1 && told(watcher, "offline") == 0);
    assert_true(str_find(buf_view(&watcher->got), STR("signin_success")) > str_find(buf_view(&watcher->got), STR("watchlist_events")));
    struct sink *tab = sink_new(f->nodes[0].core);
    struct session *second = sign_in_at(0, tab, "{\"id\":\"u\"}");
    session_closed(u, END_LOST);
    advance_ms(200);
    assert_true(told(watcher, "online") == 1 && told(watcher, "offline") == 0);
    session_closed(second, END_GRACEFUL);
    advance_ms(200);
    assert_true(told(watcher, "online") == 1 && told(watcher, "offline") == 1);
    sink_forget(watcher);
    sink_forget(users);
    u = sign_in_at(0, users, "{\"id\":\"u\"}");
    advance_ms(200);
    assert_true(told(watcher, "online") == 1 && told(watcher, "offline") == 0);
    f->cut = f->alone = true;
    hub_peer_left(&f->nodes[1].core->env, STR("node-a"), true);
    settle();
    assert_int_equal(told(watcher, "offline"), 1);
    session_closed(u, END_LOST);
    session_closed(w, END_LOST);
    settle();
    sink_free(tab);
}

/* What waits on the bus arrives, its answers wait; the payload that is the lost-th of all is lost. */
static void one_round(unsigned *seen_payloads, unsigned lost)
{
    unsigned sent = f->sent;
    for (unsigned i = 0; i < sent; i++) {
        struct payload p = f->wire[i];
        f->wire[i] = (struct payload){0};
        if (p.route == LISTENING || (*seen_payloads)++ != lost)
            arrive(&p);
        forget(&p);
    }
    memmove(f->wire, f->wire + sent, (f->sent - sent) * sizeof *f->wire);
    f->sent -= sent;
    settle();
}

/* However the sign-in of the one and the asking of the other cross, and whichever question or answer is lost. */
static void sign_in_that_crosses_a_question_is_not_missed(void **state)
{
    struct sink *users = f->nodes[0].sink, *watcher = f->nodes[1].sink;
    for (unsigned rounds = 0; rounds < 6; rounds++)
        for (unsigned lost = 0; lost < 8; lost++) {
            unsigned payloads = 0;
            sink_forget(watcher);
            sink_forget(users);
            f->hold = true;
            struct session *w = sign_in_at(1, watcher, WATCHES_U);
            for (unsigned i = 0; i < rounds; i++)
                one_round(&payloads, lost);
            struct session *u = sign_in_at(0, users, "{\"id\":\"u\"}");
            f->hold = false;
            settle();
            advance_ms(2500); /* lost answers are waited for for a second, one behind the other */
            assert_int_equal(told(watcher, "online"), 1);
            assert_true(told(watcher, "offline") <= 1);
            struct str got = buf_view(&watcher->got);
            assert_true(str_find(got, STR("\"online\"")) > str_find(got, STR("\"offline\"")));
            assert_true(str_find(got, STR("signin_success")) >= 0);
            session_closed(u, END_LOST);
            session_closed(w, END_LOST);
            settle();
            advance_ms(200);
        }
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
        T(connections_of_other_nodes_count),
        T(an_app_without_a_limit_is_not_talked_of),
        cmocka_unit_test_setup_teardown(users_of_another_node_are_watched, setup_watchlists, teardown_sessions),
        cmocka_unit_test_setup_teardown(sign_in_that_crosses_a_question_is_not_missed, setup_watchlists, teardown_sessions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
