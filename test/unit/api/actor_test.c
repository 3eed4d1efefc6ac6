/* actor_test.c - mutations in the name of a socket (chapter 3, 1.8 and case 12; AIT-S16 to S18).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api_fixture.h"

#include "mint.h"
#include "session/directory.h"
#include "session/session.h"

#define DENIED                                                                                                         \
    "403 {\"error\":\"mutations not permitted on this channel\",\"code\":\"mutable_not_permitted\",\"ai_code\":93002," \
    "\"status\":403}"

struct world {
    struct fixture *f;
    struct directory *directory;
    struct sessions *sessions;
    struct session *open[4];
    struct sink *sinks[4];
    size_t count;
    char serial[SERIAL_SIZE + 1]; /* of the last create */
};

static void ignore_close(void *sink, unsigned code, struct str reason)
{
}
static void ignore_ping(void *sink)
{
}
static const struct session_link ignoring = {ignore_close, ignore_ping, NULL};

static int open_world(void **state)
{
    struct world *w = mem_new(struct world);
    setup((void **)&w->f);
    w->directory = directory_new();
    w->sessions = sessions_new(&w->f->core->env, &ignoring);
    sessions_use(w->sessions, w->directory, NULL);
    revocations_reach(w->f->revocations, 0, w->sessions);
    settle(w->f, 0);
    w->f->ops.api.directory = w->directory;
    *state = w;
    return 0;
}

static int close_world(void **state)
{
    struct world *w = *state;
    for (size_t i = 0; i < w->count; i++)
        if (w->open[i] != NULL)
            session_closed(w->open[i], END_LOST);
    settle(w->f, 0);
    for (size_t i = 0; i < w->count; i++)
        sink_free(w->sinks[i]);
    sessions_free(w->sessions);
    teardown((void **)&w->f);
    directory_free(w->directory);
    free(w);
    return 0;
}

/* The socket id of a new connection; capability NULL = without a token. It stays in a buffer of its own. */
static const char *connect_socket(struct world *w, enum wire_protocol protocol, const char *client_id, const char *capability)
{
    static char ids[4][SOCKET_ID_TEXT];
    const struct app_config *app = w->f->core->app->config;
    struct session_params params = {.protocol = protocol, .mode = protocol == WIRE_V1 ? LANE_V1 : LANE_DELTA, .echo = true};
    if (capability != NULL)
        params.token = str_of(mint_for(app->secret, app->key, client_id, "j", capability, now_s(w->f), 60));
    size_t i = w->count++;
    w->sinks[i] = sink_new(w->f->core);
    w->open[i] = session_new(w->sessions, w->sinks[i], w->f->core->app, STR_NONE, &params);
    assert_non_null(w->open[i]);
    struct str got = buf_view(&w->sinks[i]->got);
    struct str rest = str_from(got, (size_t)str_find(got, STR("socket_id\\\":\\\"")) + 14);
    snprintf(ids[i], sizeof ids[i], "%.*s", (int)str_index(rest, '\\'), rest.p);
    return ids[i];
}

static void create(struct world *w, const char *channel, const char *rest)
{
    char body[512];
    snprintf(body, sizeof body, "{\"name\":\"note\",\"channel\":\"%s\",\"data\":\"a\",\"info\":\"\"%s}", channel, rest);
    const char *at = strstr(post(w->f, "/events", body), "\"message_serial\":\"");
    assert_non_null(at);
    memcpy(w->serial, at + 18, SERIAL_SIZE);
}

static const char *mutate(struct world *w, const char *what, const char *socket_id, const char *rest)
{
    char path[256], body[512];
    snprintf(path, sizeof path, "/channels/chat/messages/%s/%s", w->serial, what);
    snprintf(body, sizeof body, "{\"data\":\"b\",\"socket_id\":\"%s\"%s}", socket_id, rest);
    const char *got = post(w->f, path, body);
    settle(w->f, 0);
    return got;
}

static const char *read_latest(struct world *w)
{
    char path[256];
    snprintf(path, sizeof path, "/channels/chat/messages/%s", w->serial);
    return get(w->f, path, "");
}

static void the_socket_must_be_a_connected_one_of_v2(void **state)
{
    struct world *w = *state;
    create(w, "chat", "");
    const char *v1 = connect_socket(w, WIRE_V1, NULL, NULL), *v2 = connect_socket(w, WIRE_V2, NULL, NULL);
    assert_contains(mutate(w, "append", "x", ""), "400 {\"error\":\"Invalid socket_id: x\"");
    assert_contains(mutate(w, "append", "3.3", ""),
                    "401 {\"error\":\"Mutation actor socket '3.3' is not connected\",\"code\":\"auth_failed\"");
    assert_contains(mutate(w, "append", v1, ""), "401 {\"error\":\"Mutation actor socket must use protocol V2\"");
    assert_string_equal(mutate(w, "append", v2, ""), DENIED);
    session_closed(w->open[1], END_LOST);
    w->open[1] = NULL;
    assert_contains(mutate(w, "append", v2, ""), "is not connected");
}

static void the_message_comes_before_its_actor(void **state)
{
    struct world *w = *state;
    create(w, "chat", "");
    memcpy(w->serial, "m-1", 4);
    assert_contains(mutate(w, "append", "x", ""), "\"status\":404}");
}

static void a_claimed_client_id_must_be_the_sockets_identity(void **state)
{
    struct world *w = *state;
    create(w, "chat", "");
    const char *nobody = connect_socket(w, WIRE_V2, NULL, NULL);
    const char *alice = connect_socket(w, WIRE_V2, "alice", "{\"*\":[\"publish\",\"message-update-any\"]}");
    assert_contains(mutate(w, "update", nobody, ",\"client_id\":\"bob\""),
                    "401 {\"error\":\"Mutation actor socket is not signed in with an identified client\",\"code\":\"auth_failed\"");
    assert_contains(mutate(w, "update", alice, ",\"client_id\":\"bob\""),
                    "401 {\"error\":\"Requested client_id 'bob' does not match authenticated actor 'alice'\"");
    assert_starts(mutate(w, "update", alice, ",\"client_id\":\"alice\""), "200 ");
}

/* AIT-S17; chapter 3, case 12. */
static void an_own_grant_is_for_ones_own_messages(void **state)
{
    struct world *w = *state;
    const char *alice = connect_socket(w, WIRE_V2, "alice", "{\"chat\":[\"publish\",\"message-append-own\"]}");
    create(w, "chat", ",\"client_id\":\"alice\"");
    assert_starts(mutate(w, "append", alice, ""), "200 ");
    assert_starts(mutate(w, "append", alice, ""), "200 "); /* also when it has further versions */
    assert_string_equal(mutate(w, "update", alice, ""), DENIED);
    assert_contains(read_latest(w), "\"client_id\":\"alice\"");
    create(w, "chat", ",\"client_id\":\"bob\"");
    assert_string_equal(mutate(w, "append", alice, ""), DENIED);
    create(w, "chat", "");
    assert_string_equal(mutate(w, "append", alice, ""), DENIED);
}

/* Chapter 3, 1.8: a publish in the name of a socket is its user's. */
static void what_a_socket_publishes_over_http_is_its_own(void **state)
{
    struct world *w = *state;
    const char *alice = connect_socket(w, WIRE_V2, "alice", "{\"chat\":[\"publish\",\"message-append-own\"]}");
    const char *v1 = connect_socket(w, WIRE_V1, NULL, NULL);
    char rest[64];
    snprintf(rest, sizeof rest, ",\"socket_id\":\"%s\"", alice);
    create(w, "chat", rest);
    assert_starts(mutate(w, "append", alice, ""), "200 ");
    assert_contains(read_latest(w), "\"user_id\":\"alice\"");
    snprintf(rest, sizeof rest, ",\"socket_id\":\"%s\",\"client_id\":\"bob\"", v1);
    create(w, "chat", rest);
    assert_contains(read_latest(w), "\"user_id\":\"bob\"");
    assert_string_equal(mutate(w, "append", alice, ""), DENIED);
}

/* AIT-S18. */
static void an_any_grant_is_for_everybodys(void **state)
{
    struct world *w = *state;
    const char *moderator = connect_socket(w, WIRE_V2, "mod", "{\"ch*\":[\"publish\",\"message_delete_any\",\"message_update_any\"]}");
    create(w, "chat", ",\"client_id\":\"bob\"");
    assert_starts(mutate(w, "update", moderator, ""), "200 ");
    assert_contains(read_latest(w), "\"client_id\":\"mod\"");
    assert_starts(mutate(w, "delete", moderator, ""), "200 ");
    assert_string_equal(mutate(w, "append", moderator, ""), DENIED);
}

static void the_pattern_must_match_the_channel(void **state)
{
    struct world *w = *state;
    const char *alice = connect_socket(w, WIRE_V2, "alice", "{\"chat:*\":[\"publish\",\"message-append-any\"]}");
    create(w, "chat", ",\"client_id\":\"alice\"");
    assert_string_equal(mutate(w, "append", alice, ""), DENIED);
}

/* Chapter 3, 1.8: a token needs `publish`, too. */
static void a_token_without_publish_may_not_mutate(void **state)
{
    struct world *w = *state;
    const char *alice = connect_socket(w, WIRE_V2, "alice", "{\"chat\":[\"message-append-any\"]}");
    create(w, "chat", "");
    assert_string_equal(mutate(w, "append", alice, ""), DENIED);
}

/* The same operation by somebody else is another one. */
static void the_actor_is_part_of_the_receipt(void **state)
{
    struct world *w = *state;
    const char *may = "{\"*\":[\"publish\",\"message-append-any\"]}";
    const char *alice = connect_socket(w, WIRE_V2, "alice", may), *bob = connect_socket(w, WIRE_V2, "bob", may);
    create(w, "chat", "");
    assert_contains(mutate(w, "append", alice, ",\"op_id\":\"o1\""), "\"status\":\"applied\"");
    assert_contains(mutate(w, "append", alice, ",\"op_id\":\"o1\""), "\"status\":\"duplicate\"");
    assert_contains(mutate(w, "append", bob, ",\"op_id\":\"o1\""), "\"ai_code\":104006");
}

/* The actor's own socket must see the fragment, or its text would miss it. */
static void the_actor_sees_its_own_mutation(void **state)
{
    struct world *w = *state;
    const char *alice = connect_socket(w, WIRE_V2, "alice", "{\"chat\":[\"publish\",\"subscribe\",\"message-append-any\"]}");
    create(w, "chat", "");
    session_message(w->open[0], STR("{\"event\":\"sockudo:subscribe\",\"data\":{\"channel\":\"chat\"}}"));
    settle(w->f, 0);
    sink_forget(w->sinks[0]);
    assert_starts(mutate(w, "append", alice, ""), "200 ");
    assert_true(str_find(buf_view(&w->sinks[0]->got), STR("sockudo:message.append")) >= 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_socket_must_be_a_connected_one_of_v2),
        T(the_message_comes_before_its_actor),
        T(a_claimed_client_id_must_be_the_sockets_identity),
        T(an_own_grant_is_for_ones_own_messages),
        T(what_a_socket_publishes_over_http_is_its_own),
        T(an_any_grant_is_for_everybodys),
        T(the_pattern_must_match_the_channel),
        T(a_token_without_publish_may_not_mutate),
        T(the_actor_is_part_of_the_receipt),
        T(the_actor_sees_its_own_mutation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
