/* token_test.c - capability tokens on a connection: at connect, refreshed, expired, revoked (chapter 1, 4.4; chapter 4, 4.4 to 4.6).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "session_fixture.h"
#include "mint.h"
#include "session/revocation_table.h"
#include "store/kv.h"

struct wish {
    const char *client_id, *jti, *capability;
    int life_s; /* from now; may be negative */
};
static const struct wish plain = {"c1", "j1", "{\"*\":[\"subscribe\"]}", 3600};

static int64_t now_s(struct fixture *f)
{
    return clock_wall_ms(f->core->env.clock) / 1000;
}

static const char *token(struct fixture *f, struct wish m)
{
    const struct app_config *app = app_config(f);
    return mint_for(app->secret, app->key, m.client_id, m.jti, m.capability, now_s(f), m.life_s);
}

static struct client *connect_with(struct fixture *f, const char *jwt)
{
    char query[5000];
    snprintf(query, sizeof query, "protocol=2&token=%s", jwt);
    return connect_from(f, query, NULL);
}

/* Connected with that token. */
static struct client *holder(struct fixture *f, struct wish m)
{
    struct client *c = connect_with(f, token(f, m));
    assert_string_equal(heard(c), "connection_established");
    return c;
}

static const char *refresh(struct client *c, const char *jwt)
{
    tell(c, "{\"event\":\"sockudo:auth\",\"data\":{\"token\":\"%s\"}}", jwt);
    return answer(c);
}

static void assert_put_out(struct client *c, const char *reason)
{
    assert_int_equal(c->close_code, 4009);
    assert_string_equal((buf_char(&c->reason, '\0'), c->reason.p), reason);
}

/* ---- at connect ---- */

static void a_good_token_is_who_connects(void **state)
{
    struct fixture *f = *state;
    struct client *c = holder(f, plain);
    assert_string_equal(subscribe(f, c, "#server-to-user-c1"), "subscription_succeeded(#server-to-user-c1)@0");
    assert_string_equal(subscribe(f, c, "#server-to-user-c2"),
                        "error(#server-to-user-c2):4009 subscription_error(#server-to-user-c2)");
    hub_terminate_user(&f->core->env, f->core->app, STR("c1"), 4009, STR("Bye"));
    core_advance_ms(f->core, 2);
    assert_int_equal(c->close_code, 4009);
}

/* Chapter 1, case 36; chapter 4, 4.4. */
static void a_bad_token_is_told_and_closed_and_nothing_else(void **state)
{
    struct fixture *f = *state;
    struct client *c = connect_with(f, "x.y.z");
    assert_string_equal(heard(c), "error:4009");
    assert_true(said(c, "\"Authentication error: capability token is malformed\""));
    assert_put_out(c, "Authentication error: capability token is malformed");
    assert_null(c->session);
    c = connect_with(f, "");
    assert_string_equal(heard(c), "error:4009");
    assert_int_equal(atomic_load(&f->core->app->connections), 0);
}

static void v1_takes_no_token(void **state)
{
    struct fixture *f = *state;
    char query[5000];
    snprintf(query, sizeof query, "protocol=7&token=%s", token(f, plain));
    struct client *c = connect_from(f, query, NULL);
    assert_string_equal(heard(c), "error:4009");
    assert_put_out(c, "Authentication error: capability tokens require protocol V2");
    c = v1(f);
    assert_string_equal(refresh(c, token(f, plain)), "error:4009");
    assert_true(said(c, "\"Authentication error: capability tokens require protocol V2\""));
    assert_int_equal(c->close_code, 0);
}

static void a_token_cancels_the_deadline_for_signing_in(void **state)
{
    struct fixture *f = *state;
    f->core->config->user_authentication_timeout_seconds = 5;
    f->core->config->websocket.auto_ping = false;
    f->core->config->websocket.idle_timeout_seconds = 0;
    struct client *with = holder(f, plain), *without = v2(f);
    core_advance_ms(f->core, 6000);
    assert_int_equal(with->close_code, 0);
    assert_int_equal(without->close_code, 4009);
}

/* ---- what it may do ---- */

/* Chapter 4, case 38. */
static void only_what_is_listed_is_allowed(void **state)
{
    struct fixture *f = *state;
    struct client *c = holder(f, (struct wish){"c1", "j1", "{\"private-room*\":[\"subscribe\"]}", 3600});
    assert_string_equal(subscribe(f, c, "private-room1"), "subscription_succeeded(private-room1)@0");
    subscribe(f, c, "private-Room1");
    assert_true(said(c, "\"Authentication error: Connection is not allowed to subscribe channel 'private-Room1'\""));
    subscribe_with(f, c, "private-room2", ",\"rewind\":1");
    assert_true(said(c, "\"Authentication error: Connection is not allowed to history channel 'private-room2'\""));
    tell(c, "{\"event\":\"client-x\",\"channel\":\"private-room1\",\"data\":1}");
    answer(c);
    assert_true(said(c, "\"Authentication error: Connection is not allowed to publish channel 'private-room1'\""));
}

static void presence_needs_subscribe_and_presence(void **state)
{
    struct fixture *f = *state;
    struct client *c = holder(f, (struct wish){"c1", "j1", "{\"presence-a\":[\"subscribe\"],\"presence-b\":[\"presence\"],"
                                                           "\"presence-c\":[\"presence\",\"subscribe\"]}", 3600});
    join(f, c, "presence-a", "{\"user_id\":\"c1\"}");
    assert_true(said(c, "not allowed to presence channel 'presence-a'"));
    join(f, c, "presence-b", "{\"user_id\":\"c1\"}");
    assert_true(said(c, "not allowed to subscribe channel 'presence-b'"));
    assert_string_equal(join(f, c, "presence-c", "{\"user_id\":\"c1\"}"), "subscription_succeeded(presence-c)@0");
}

/* A token never stands for the channel's signature. */
static void a_token_does_not_replace_the_signature(void **state)
{
    struct fixture *f = *state;
    struct client *c = holder(f, plain);
    tell(c, "{\"event\":\"sockudo:subscribe\",\"data\":{\"channel\":\"private-a\",\"auth\":\"app-key:00\"}}");
    assert_string_equal(answer(c), "error(private-a):4009 subscription_error(private-a)");
}

static void the_holder_of_a_token_cannot_sign_in(void **state)
{
    struct fixture *f = *state;
    struct client *c = holder(f, plain);
    assert_string_equal(sign_in(f, c, "{\"id\":\"u1\"}"), "error:4009");
    assert_true(said(c, "signin is not allowed on capability-token authenticated connections"));
}

/* ---- refresh ---- */

static void a_refresh_answers_with_what_it_took(void **state)
{
    struct fixture *f = *state;
    struct client *c = holder(f, plain);
    char expected[128];
    snprintf(expected, sizeof expected, "\"data\":{\"client_id\":\"c1\",\"jti\":\"j2\",\"exp\":%lld}", (long long)now_s(f) + 60);
    assert_string_equal(refresh(c, token(f, (struct wish){"c1", "j2", "{}", 60})), "auth_success");
    assert_true(said(c, expected));
    assert_true(said(c, "{\"event\":\"sockudo:auth_success\""));
}

/* Chapter 4, 4.5: a JSON string serves as well. */
static void a_refresh_may_come_as_a_string(void **state)
{
    struct fixture *f = *state;
    struct client *c = holder(f, plain);
    tell(c, "{\"event\":\"sockudo:auth\",\"data\":\"{\\\"token\\\":\\\"%s\\\"}\"}", token(f, plain));
    assert_string_equal(answer(c), "auth_success");
}

static void new_capabilities_count_for_what_comes_later(void **state)
{
    struct fixture *f = *state;
    struct client *c = holder(f, (struct wish){"c1", "j1", "{\"private-a\":[\"subscribe\"]}", 3600});
    subscribe(f, c, "private-a");
    assert_string_equal(refresh(c, token(f, (struct wish){"c1", "j1", "{\"private-b\":[\"subscribe\"]}", 3600})), "auth_success");
    publish(f, "private-a", "\"still here\"");
    assert_string_equal(heard(c), "e(private-a)@1=\"still here\"");
    assert_string_equal(subscribe(f, c, "private-b"), "subscription_succeeded(private-b)@0");
    unsubscribe(c, "private-a");
    assert_string_equal(subscribe(f, c, "private-a"), "error(private-a):4009 subscription_error(private-a)");
}

/* Chapter 4, case 39. */
static void a_refresh_cannot_change_the_client(void **state)
{
    struct fixture *f = *state;
    struct client *c = holder(f, plain);
    assert_string_equal(refresh(c, token(f, (struct wish){"c2", "j2", "{}", 3600})), "error:4009");
    assert_true(said(c, "\"Authentication error: capability token refresh cannot change client_id\""));
    assert_string_equal(subscribe(f, c, "private-a"), "subscription_succeeded(private-a)@0");
    assert_int_equal(c->close_code, 0);
}

static void a_refresh_that_is_no_good_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct client *c = holder(f, plain);
    assert_string_equal(refresh(c, token(f, (struct wish){"c1", "j2", "{}", -31})), "error:4009");
    assert_true(said(c, "\"Authentication error: capability token expired\""));
    tell(c, "{\"event\":\"sockudo:auth\",\"data\":{}}");
    assert_string_equal(answer(c), "error:4000");
    assert_true(said(c, "\"Invalid message format: sockudo:auth requires data.token\""));
    tell(c, "{\"event\":\"sockudo:auth\"}");
    assert_string_equal(answer(c), "error:4000");
    assert_string_equal(subscribe(f, c, "private-a"), "subscription_succeeded(private-a)@0");
}

static void a_connection_may_get_its_first_token_later(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f), *signed_in = v2(f);
    assert_string_equal(refresh(c, token(f, plain)), "auth_success");
    assert_string_equal(sign_in(f, c, "{\"id\":\"c1\"}"), "error:4009");
    sign_in(f, signed_in, "{\"id\":\"u1\"}");
    assert_string_equal(refresh(signed_in, token(f, plain)), "error:4009");
    assert_true(said(signed_in, "cannot change the signed-in identity"));
    assert_string_equal(refresh(signed_in, token(f, (struct wish){"u1", "j", "{}", 60})), "auth_success");
}

/* ---- expiry ---- */

/* Chapter 1, case 37; chapter 4, case 40. */
static void an_expired_token_is_told_and_30_seconds_later_closed(void **state)
{
    struct fixture *f = *state;
    struct client *c = holder(f, (struct wish){"c1", "j1", "{\"*\":[\"subscribe\"]}", 10});
    core_advance_ms(f->core, 9999);
    assert_string_equal(heard(c), "");
    core_advance_ms(f->core, 1);
    assert_string_equal(heard(c), "token_expired");
    assert_true(said(c, "{\"event\":\"sockudo:token_expired\",\"data\":{\"code\":40142,\"reason\":\"expired\"}"));
    assert_string_equal(subscribe(f, c, "private-a"), "subscription_succeeded(private-a)@0");
    core_advance_ms(f->core, 29999);
    assert_int_equal(c->close_code, 0);
    core_advance_ms(f->core, 1);
    assert_string_equal(heard(c), "error:4009");
    assert_put_out(c, "capability token expired");
}

static void a_refresh_in_the_grace_keeps_the_connection(void **state)
{
    struct fixture *f = *state;
    struct client *c = holder(f, (struct wish){"c1", "j1", "{}", 1});
    core_advance_ms(f->core, 30000);
    assert_string_equal(heard(c), "token_expired");
    assert_string_equal(refresh(c, token(f, (struct wish){"c1", "j2", "{}", 100})), "auth_success");
    core_advance_ms(f->core, 20000);
    assert_string_equal(heard(c), "");
    assert_int_equal(c->close_code, 0);
}

static void a_refresh_in_time_is_not_followed_by_token_expired(void **state)
{
    struct fixture *f = *state;
    struct client *c = holder(f, (struct wish){"c1", "j1", "{}", 5});
    core_advance_ms(f->core, 4000);
    assert_string_equal(refresh(c, token(f, (struct wish){"c1", "j1", "{}", 50})), "auth_success");
    core_advance_ms(f->core, 49999);
    assert_string_equal(heard(c), "");
    core_advance_ms(f->core, 1);
    assert_string_equal(heard(c), "token_expired");
}

/* Within the leeway a token is accepted, and expires at once. */
static void a_token_within_the_leeway_expires_at_once(void **state)
{
    struct fixture *f = *state;
    struct client *c = connect_with(f, token(f, (struct wish){"c1", "j1", "{}", -10}));
    core_advance_ms(f->core, 1);
    assert_string_equal(heard(c), "connection_established token_expired");
    core_advance_ms(f->core, 30001);
    assert_put_out(c, "capability token expired");
}

/* ---- revocation ---- */

static void was_revoked(struct revocation *rv)
{
    *(struct revocation *)rv->user = *rv;
    revocation_free(rv);
}

static struct revocation revoke_for(struct fixture *f, const char *jti, const char *client_id, int64_t ttl_s)
{
    struct revocation kept = {0}, *rv = revocation_new(&f->core->env, f->core->app, was_revoked);
    rv->jti = arena_copy(&rv->op.arena, str_of(jti));
    rv->client_id = arena_copy(&rv->op.arena, str_of(client_id));
    rv->reason = STR("revoked");
    rv->expires_s = now_s(f) + ttl_s;
    rv->user = &kept;
    revocation_begin(f->revocations, &f->core->env, rv);
    core_settle(f->core);
    return kept;
}

static void assert_is_revoked(struct client *c)
{
    assert_string_equal(heard(c), "token_expired error:4009");
    assert_true(said(c, "\"data\":{\"code\":40160,\"reason\":\"revoked\"}"));
    assert_put_out(c, "capability token revoked");
}

/* Chapter 4, case 41; AIT-S81. */
static void a_revoked_token_is_closed_and_cannot_come_back(void **state)
{
    struct fixture *f = *state;
    struct client *one = holder(f, plain), *other = holder(f, (struct wish){"c1", "j2", "{}", 3600}), *plain_v2 = v2(f);
    struct revocation done = revoke_for(f, "j1", NULL, 60);
    assert_int_equal(done.result, REVOCATION_DONE);
    assert_int_equal(done.closed, 1);
    assert_is_revoked(one);
    assert_int_equal(other->close_code | plain_v2->close_code, 0);

    struct client *again = connect_with(f, token(f, plain));
    assert_string_equal(heard(again), "error:4009");
    assert_put_out(again, "Authentication error: capability token revoked");
    assert_string_equal(refresh(other, token(f, plain)), "error:4009");
    assert_true(said(other, "\"Authentication error: capability token revoked\""));
}

static void revoking_a_client_closes_all_its_tokens(void **state)
{
    struct fixture *f = *state;
    struct client *one = holder(f, plain), *two = holder(f, (struct wish){"c1", "j2", "{}", 3600});
    struct client *else_ = holder(f, (struct wish){"c2", "c1", "{}", 3600}), *signed_in = v2(f);
    sign_in(f, signed_in, "{\"id\":\"c1\"}");
    assert_int_equal(revoke_for(f, NULL, "c1", 60).closed, 2);
    assert_is_revoked(one);
    assert_is_revoked(two);
    assert_int_equal(else_->close_code | signed_in->close_code, 0);
    assert_string_equal(heard(connect_with(f, token(f, (struct wish){"c1", "j9", "{}", 3600}))), "error:4009");
}

static void a_revocation_ends_with_its_time(void **state)
{
    struct fixture *f = *state;
    revoke_for(f, "j1", NULL, 2);
    assert_int_equal(metric_value(metrics_of(&f->core->env, f->core->app)->revocations), 1);
    core_advance_ms(f->core, 1999);
    assert_string_equal(heard(connect_with(f, token(f, plain))), "error:4009");
    core_advance_ms(f->core, 1);
    assert_string_equal(heard(connect_with(f, token(f, plain))), "connection_established");
    assert_int_equal(metric_value(metrics_of(&f->core->env, f->core->app)->revocations), 0);
}

static void the_longer_of_two_revocations_counts(void **state)
{
    struct fixture *f = *state;
    revoke_for(f, "j1", NULL, 20);
    revoke_for(f, "j1", NULL, 1);
    core_advance_ms(f->core, 10000);
    assert_string_equal(heard(connect_with(f, token(f, plain))), "error:4009");
    core_advance_ms(f->core, 10000);
    assert_string_equal(heard(connect_with(f, token(f, plain))), "connection_established");
}

static void start_anew(struct fixture *f)
{
    revocations_free(f->revocations);
    f->revocations = revocations_new(&f->core->env);
    revocations_reach(f->revocations, 0, f->sessions);
}

/* As after a restart: the store remembers. */
static void a_revocation_is_in_force_after_a_restart(void **state)
{
    struct fixture *f = *state;
    revoke_for(f, "j1", "other", 3);
    start_anew(f);
    assert_string_equal(heard(connect_with(f, token(f, plain))), "error:4009");
    revocations_load(f->revocations);
    core_settle(f->core);
    assert_int_equal(revocations_state(f->revocations), REVOCATIONS_KNOWN);
    assert_string_equal(heard(connect_with(f, token(f, plain))), "error:4009");
    assert_string_equal(heard(connect_with(f, token(f, (struct wish){"other", "j7", "{}", 60}))), "error:4009");
    core_advance_ms(f->core, 3000);
    start_anew(f);
    revocations_load(f->revocations);
    core_settle(f->core);
    assert_string_equal(heard(connect_with(f, token(f, plain))), "connection_established");
}

/* AIT-S81: what cannot be checked is refused. */
static void while_revocations_are_unknown_no_token_is_good(void **state)
{
    struct fixture *f = *state;
    struct client *c = v2(f);
    start_anew(f);
    assert_string_equal(heard(connect_with(f, token(f, plain))), "error:4009");
    assert_string_equal(refresh(c, token(f, plain)), "error:4009");
    assert_true(said(c, "\"Authentication error: capability token revocations cannot be checked\""));
    revocations_load(f->revocations);
    core_settle(f->core);
    assert_string_equal(refresh(c, token(f, plain)), "auth_success");
}

/* More notes than a page of the scan. */
static void many_revocations_are_read_back(void **state)
{
    struct fixture *f = *state;
    char jti[16];
    for (int i = 0; i < 2500; i++) {
        snprintf(jti, sizeof jti, "m%d", i);
        revoke_for(f, jti, NULL, 1000);
    }
    start_anew(f);
    revocations_load(f->revocations);
    core_settle(f->core);
    for (int i = 0; i < 2500; i += 499) {
        snprintf(jti, sizeof jti, "m%d", i);
        f->count = 0;
        assert_string_equal(heard(connect_with(f, token(f, (struct wish){"c", jti, "{}", 60}))), "error:4009");
    }
}

/* ---- a store that fails ---- */

static const struct kv_ops *whole_ops;
static bool commit_fails, scan_fails;

static bool failing_commit(struct kv *kv, bool sync, struct buf *error)
{
    if (!commit_fails)
        return whole_ops->commit(kv, sync, error);
    kv->ops->abandon(kv);
    return false;
}

static bool failing_end(struct kv_cursor *cursor)
{
    return whole_ops->end(cursor) && !scan_fails;
}

/* Puts a store below the core whose kv fails when told to. */
static void replace_store(struct fixture *f)
{
    static struct kv_ops ops;
    struct store_options options = {.sync_always = true, .commit_max_ops = 4096, .commit_max_bytes = 1 << 20,
                                    .clock = &f->core->clock, .seed = 7, .home = &f->core->home};
    struct kv *kv = kv_memory_new();
    whole_ops = kv->ops;
    ops = *kv->ops;
    ops.commit = failing_commit;
    ops.end = failing_end;
    ops.snapshot = NULL;
    kv->ops = &ops;
    commit_fails = scan_fails = false;
    core_settle(f->core);
    store_close(f->core->env.store);
    f->core->env.store = store_open_inline(kv, &options);
}

/* The sockets are closed and the token is refused at once; only the answer says that a restart may forget it. */
static void a_revocation_that_cannot_be_stored_is_in_force_all_the_same(void **state)
{
    struct fixture *f = *state;
    replace_store(f);
    struct client *c = holder(f, plain);
    commit_fails = true;
    struct revocation done = revoke_for(f, "j1", NULL, 60);
    assert_int_equal(done.result, REVOCATION_UNSURE);
    assert_int_equal(done.closed, 1);
    assert_is_revoked(c);
    assert_string_equal(heard(connect_with(f, token(f, plain))), "error:4009");
    commit_fails = false;
    core_advance_ms(f->core, 2000);
    assert_int_equal(revoke_for(f, "j1", NULL, 60).result, REVOCATION_DONE);
}

/* AIT-S81. */
static void revocations_that_cannot_be_read_refuse_every_token(void **state)
{
    struct fixture *f = *state;
    replace_store(f);
    revoke_for(f, "other", NULL, 60);
    scan_fails = true;
    start_anew(f);
    revocations_load(f->revocations);
    core_settle(f->core);
    assert_int_equal(revocations_state(f->revocations), REVOCATIONS_FAILED);
    struct client *c = connect_with(f, token(f, plain));
    assert_string_equal(heard(c), "error:4009");
    assert_put_out(c, "Authentication error: capability token revocations cannot be checked");
}

/* A note that rots keeps its token out for as long as one can live. */
static void a_revocation_that_cannot_be_understood_is_in_force(void **state)
{
    struct fixture *f = *state;
    struct buf key = {0};
    struct store_note note = {.value = STR("{\"expires_at\":\"soon\"")};
    struct store_op *op = store_op_new(STORE_NOTE_PUT, 0, store_op_free);
    revocation_key(&key, f->core->app->id, "jti", STR("j1"));
    note.key = buf_view(&key);
    op->notes.put = &note;
    op->notes.put_count = 1;
    store_submit(f->core->env.store, op);
    core_settle(f->core);
    buf_free(&key);
    start_anew(f);
    revocations_load(f->revocations);
    core_settle(f->core);
    assert_string_equal(heard(connect_with(f, token(f, plain))), "error:4009");
    assert_string_equal(heard(connect_with(f, token(f, (struct wish){"c", "j2", "{}", 60}))), "connection_established");
}

static void the_table_of_revocations_is_bounded(void **state)
{
    struct fixture *f = *state;
    char jti[16];
    for (int i = 0; i < REVOCATIONS_MAX - 1; i++) {
        struct buf key = {0};
        snprintf(jti, sizeof jti, "m%d", i);
        revocation_key(&key, f->core->app->id, "jti", str_of(jti));
        revocations_put(f->revocations, buf_view(&key), now_s(f) + 60);
        buf_free(&key);
    }
    struct client *c = holder(f, plain);
    assert_int_equal(revoke_for(f, "j1", NULL, 60).result, REVOCATION_FULL);
    assert_int_equal(c->close_code, 0);
    assert_int_equal(metric_value(metrics_of(&f->core->env, f->core->app)->revocations_refused), 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_good_token_is_who_connects),
        T(a_bad_token_is_told_and_closed_and_nothing_else),
        T(v1_takes_no_token),
        T(a_token_cancels_the_deadline_for_signing_in),
        T(only_what_is_listed_is_allowed),
        T(presence_needs_subscribe_and_presence),
        T(a_token_does_not_replace_the_signature),
        T(the_holder_of_a_token_cannot_sign_in),
        T(a_refresh_answers_with_what_it_took),
        T(a_refresh_may_come_as_a_string),
        T(new_capabilities_count_for_what_comes_later),
        T(a_refresh_cannot_change_the_client),
        T(a_refresh_that_is_no_good_changes_nothing),
        T(a_connection_may_get_its_first_token_later),
        T(an_expired_token_is_told_and_30_seconds_later_closed),
        T(a_refresh_in_the_grace_keeps_the_connection),
        T(a_refresh_in_time_is_not_followed_by_token_expired),
        T(a_token_within_the_leeway_expires_at_once),
        T(a_revoked_token_is_closed_and_cannot_come_back),
        T(revoking_a_client_closes_all_its_tokens),
        T(a_revocation_ends_with_its_time),
        T(the_longer_of_two_revocations_counts),
        T(a_revocation_is_in_force_after_a_restart),
        T(while_revocations_are_unknown_no_token_is_good),
        T(many_revocations_are_read_back),
        T(a_revocation_that_cannot_be_stored_is_in_force_all_the_same),
        T(revocations_that_cannot_be_read_refuse_every_token),
        T(a_revocation_that_cannot_be_understood_is_in_force),
        T(the_table_of_revocations_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
