/* session_fixture.h - clients without sockets, against the real core: what they heard is short text.
 *
 *   error                error(private-a):4009
 *   published            <event>(<channel>)@<serial>=<data>       @ only on V2 with history, data as JSON
 *   anything else        <event without its prefix>(<channel>), then @<serial> if the frame has one
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <stdlib.h>

#include "../support/core.h"
#include "base/json.h"
#include "base/mem.h"
#include "session/directory.h"
#include "session/revocation.h"
#include "session/session.h"

enum { CLIENTS_MAX = 8 };

struct client {
    struct sink sink; /* first: what env.deliver takes */
    struct session *session;
    unsigned close_code; /* 0 = open */
    struct buf reason;
    unsigned pings;
    size_t unread;       /* bytes that it has not taken, as the session is told */
    size_t room;         /* frames, as it is told after sessions_use(.., test_room) */
    char id[SOCKET_ID_TEXT];
    struct buf text; /* what heard() returned last */
    struct buf raw;  /* its frames */
};

struct fixture {
    struct core *core;
    struct sessions *sessions;
    struct directory *directory;
    struct revocations *revocations;
    struct client clients[CLIENTS_MAX];
    unsigned count;
    struct message_id message; /* of the last create */
    uint64_t delivery;         /* of the last publish */
    void **patterns;           /* of the app, while use_namespaces() has put others there */
};

static inline void test_close(void *sink, unsigned code, struct str reason)
{
    struct client *c = sink;
    c->close_code = code;
    buf_clear(&c->reason);
    buf_str(&c->reason, reason);
}

static inline void test_ping(void *sink)
{
    ((struct client *)sink)->pings++;
}

static inline size_t test_unread(void *sink)
{
    return ((struct client *)sink)->unread;
}

static inline size_t test_room(void *sink)
{
    return ((struct client *)sink)->room;
}

static inline void test_control(void *sink, int code, struct str reason)
{
    session_control(((struct client *)sink)->session, code, reason);
}

static const struct session_link test_link = {test_close, test_ping, test_unread};

static inline int setup(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    f->core = core_new();
    f->directory = directory_new();
    f->sessions = sessions_new(&f->core->env, &test_link);
    sessions_use(f->sessions, f->directory, NULL);
    hub_on_control(f->core->env.hub, test_control);
    f->revocations = revocations_new(&f->core->env);
    revocations_reach(f->revocations, 0, f->sessions);
    revocations_load(f->revocations);
    core_settle(f->core);
    *state = f;
    return 0;
}

static inline void client_gone(struct client *c, enum session_end how)
{
    if (c->session != NULL)
        session_closed(c->session, how);
    c->session = NULL;
    core_settle(c->sink.core);
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < f->count; i++)
        client_gone(&f->clients[i], END_LOST);
    core_settle(f->core);
    sessions_free(f->sessions);
    revocations_free(f->revocations);
    core_free(f->core);
    directory_free(f->directory);
    for (unsigned i = 0; i < f->count; i++) {
        buf_free(&f->clients[i].sink.got);
        buf_free(&f->clients[i].text);
        buf_free(&f->clients[i].raw);
        buf_free(&f->clients[i].reason);
    }
    free(f);
    return 0;
}

static inline struct app_config *app_config(struct fixture *f)
{
    return &f->core->config->apps[0];
}

/* Without patterns; until leave_namespaces(). */
static inline void use_namespaces(struct fixture *f, struct namespace_config *namespaces, size_t count)
{
    static void *none[8];
    assert_true(count <= 8);
    f->patterns = f->core->app->patterns;
    f->core->app->patterns = none;
    app_config(f)->namespaces = namespaces;
    app_config(f)->namespaces_count = count;
}

static inline void leave_namespaces(struct fixture *f)
{
    f->core->app->patterns = f->patterns;
    app_config(f)->namespaces = NULL;
    app_config(f)->namespaces_count = 0;
}

/* ---- what was heard ---- */

static inline struct str without_family(struct str event)
{
    static const char *const families[] = {"pusher_internal:", "sockudo_internal:", "pusher:", "sockudo:"};
    for (size_t i = 0; i < 4; i++)
        if (str_starts(event, str_of(families[i])))
            return str_from(event, strlen(families[i]));
    return event;
}

static inline void show_frame(struct buf *out, struct str line)
{
    struct buf event_room = {0}, channel_room = {0};
    struct str full = json_text(json_get(line, STR("event")), &event_room), event = without_family(full);
    struct str channel = json_text(json_get(line, STR("channel")), &channel_room);
    struct str data = json_get(line, STR("data"));
    uint64_t serial;
    if (out->n > 0)
        buf_char(out, ' ');
    buf_str(out, event);
    if (channel.p != NULL)
        buf_fmt(out, "(%.*s)", STR_ARG(channel));
    if (json_u64(json_get(line, STR("serial")), &serial))
        buf_fmt(out, "@%llu", (unsigned long long)serial);
    if (str_eq(event, STR("error")))
        buf_fmt(out, ":%.*s", STR_ARG(json_get(data, STR("code"))));
    else if (event.n == full.n || str_starts(event, STR("message.")))
        buf_fmt(out, "=%.*s", STR_ARG(data));
    buf_free(&event_room);
    buf_free(&channel_room);
}

/* All that came since the last time. */
static inline const char *heard(struct client *c)
{
    struct str rest = buf_view(&c->sink.got);
    buf_clear(&c->text);
    buf_clear(&c->raw);
    buf_str(&c->raw, rest);
    while (rest.n > 0) {
        struct str line = str_split(&rest, '\n');
        if (line.n > 0)
            show_frame(&c->text, line);
    }
    buf_char(&c->text, '\0');
    sink_forget(&c->sink);
    return c->text.p;
}

/* Whether the frames of the last heard() contain that. */
static inline bool said(struct client *c, const char *needle)
{
    return str_find(buf_view(&c->raw), str_of(needle)) >= 0;
}

/* ---- connecting and talking ---- */

static inline void note_id(struct client *c)
{
    struct str got = buf_view(&c->sink.got);
    ptrdiff_t at = str_find(got, STR("socket_id\\\":\\\""));
    if (at < 0)
        return;
    struct str rest = str_from(got, (size_t)at + sizeof "socket_id\\\":\\\"" - 1);
    struct str id = str_first(rest, (size_t)str_index(rest, '\\'));
    memcpy(c->id, id.p, id.n);
    c->id[id.n] = '\0';
}

static inline struct client *connect_from(struct fixture *f, const char *query, const char *origin)
{
    struct client *c = &f->clients[f->count++];
    struct session_params params;
    struct arena arena = {0};
    c->sink.core = f->core;
    assert_null(session_params_read(f->core->config, str_of(query), &arena, &params));
    c->session = session_new(f->sessions, c, f->core->app, str_of(origin), &params);
    note_id(c);
    arena_free(&arena);
    core_settle(f->core);
    return c;
}

/* Connected, and what is said at that has been heard. */
static inline struct client *connect_as(struct fixture *f, const char *query)
{
    struct client *c = connect_from(f, query, NULL);
    heard(c);
    return c;
}

static inline struct client *v1(struct fixture *f)
{
    return connect_as(f, "protocol=7");
}

static inline struct client *v2(struct fixture *f)
{
    return connect_as(f, "protocol=2");
}

/* connection_limits_reached_total of that limit. */
static inline unsigned limits_reached(struct fixture *f, const char *limit)
{
    struct buf text = {0}, wanted = {0};
    metric_render(f->core->env.metrics->registry, STR(""), &text);
    buf_char(&text, '\0');
    buf_fmt(&wanted, "limit=\"%s\"} %c", limit, '\0');
    const char *at = strstr(text.p, wanted.p);
    unsigned n = at != NULL ? (unsigned)strtoul(at + strlen(wanted.p), NULL, 10) : UINT32_MAX;
    buf_free(&text);
    buf_free(&wanted);
    return n;
}

/* Nothing settles: the next command comes in the same read. */
static inline void tell(struct client *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
static inline void tell(struct client *c, const char *format, ...)
{
    char text[70000];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    session_message(c->session, str_make(text, (size_t)n));
}

static inline const char *answer(struct client *c)
{
    core_settle(c->sink.core);
    return heard(c);
}

static inline void sign(struct fixture *f, const char *text, char out[96])
{
    char hex[2 * SHA256_SIZE + 1];
    struct hmac_key *key = hmac_key_new(app_config(f)->secret);
    hmac_sha256_hex(key, str_of(text), hex);
    hmac_key_free(key);
    snprintf(out, 96, "%.*s:%s", STR_ARG(app_config(f)->key), hex);
}

static inline void tell_subscribe(struct fixture *f, struct client *c, const char *channel, const char *more)
{
    char text[512], auth[96];
    snprintf(text, sizeof text, "%s:%s", c->id, channel);
    sign(f, text, auth);
    tell(c, "{\"event\":\"pusher:subscribe\",\"data\":{\"channel\":\"%s\",\"auth\":\"%s\"%s}}", channel, auth, more);
}

static inline const char *subscribe(struct fixture *f, struct client *c, const char *channel)
{
    tell_subscribe(f, c, channel, "");
    return answer(c);
}

static inline const char *subscribe_with(struct fixture *f, struct client *c, const char *channel, const char *more)
{
    tell_subscribe(f, c, channel, more);
    return answer(c);
}

/* channel_data: JSON without any quote but those of keys and strings. */
static inline const char *join(struct fixture *f, struct client *c, const char *channel, const char *channel_data)
{
    char text[1024], auth[96];
    struct buf quoted = {0};
    snprintf(text, sizeof text, "%s:%s:%s", c->id, channel, channel_data);
    sign(f, text, auth);
    buf_json(&quoted, str_of(channel_data));
    tell(c, "{\"event\":\"pusher:subscribe\",\"data\":{\"channel\":\"%s\",\"auth\":\"%s\",\"channel_data\":%.*s}}", channel,
         auth, STR_ARG(buf_view(&quoted)));
    buf_free(&quoted);
    return answer(c);
}

static inline const char *sign_in(struct fixture *f, struct client *c, const char *user_data)
{
    char text[1024], auth[96];
    struct buf quoted = {0};
    snprintf(text, sizeof text, "%s::user::%s", c->id, user_data);
    sign(f, text, auth);
    buf_json(&quoted, str_of(user_data));
    tell(c, "{\"event\":\"pusher:signin\",\"data\":{\"auth\":\"%s\",\"user_data\":%.*s}}", auth,
         STR_ARG(buf_view(&quoted)));
    buf_free(&quoted);
    return answer(c);
}

static inline void unsubscribe(struct client *c, const char *channel)
{
    tell(c, "{\"event\":\"pusher:unsubscribe\",\"data\":{\"channel\":\"%s\"}}", channel);
    core_settle(c->sink.core);
}

/* ---- the other side: what the HTTP API does ---- */

static inline void written(struct publish *p)
{
    struct fixture *f = p->user;
    assert_int_equal(p->result, PUBLISH_OK);
    f->delivery = p->op.written.delivery;
    if (p->op.write.action == ACTION_CREATE || p->op.write.action == ACTION_ORDINARY)
        f->message = p->op.written.message;
    publish_free(p);
}

/* On its way, no further. */
static inline void begin_write(struct fixture *f, const char *channel, enum store_action action, const char *event,
                               const char *data, const char *extras)
{
    struct publish *p = publish_new(&f->core->env, f->core->app, written);
    p->user = f;
    p->op.app_id = f->core->app->id;
    p->op.channel = arena_copy(&p->op.arena, str_of(channel));
    channel_name_check(f->core->app, p->op.channel, &p->name, &p->op.arena);
    p->op.write.action = action;
    p->op.write.target = f->message;
    p->op.write.event_name = action == ACTION_CREATE ? arena_copy(&p->op.arena, str_of(event)) : STR_NONE;
    p->op.write.message_id = STR("m");
    p->op.write.data = arena_copy(&p->op.arena, str_of(data));
    p->op.write.extras = arena_copy(&p->op.arena, str_of(extras));
    extras_read(p->op.write.extras, &p->op.arena, &p->extras);
    p->op.write.status = p->extras.status;
    hub_publish(&f->core->env, p);
}

static inline void write_to(struct fixture *f, const char *channel, enum store_action action, const char *event,
                            const char *data, const char *extras)
{
    begin_write(f, channel, action, event, data, extras);
    core_settle(f->core);
}

static inline void publish(struct fixture *f, const char *channel, const char *data)
{
    write_to(f, channel, ACTION_CREATE, "e", data, NULL);
}

static inline void publish_many(struct fixture *f, const char *channel, unsigned count)
{
    char data[16];
    for (unsigned i = 1; i <= count; i++) {
        snprintf(data, sizeof data, "%u", i);
        publish(f, channel, data);
    }
}

/* To the message that was published last. */
static inline void append(struct fixture *f, const char *channel, const char *data)
{
    write_to(f, channel, ACTION_APPEND, NULL, data, NULL);
}

/* The stream id of the frames of the last heard(). */
static inline const char *stream_of(struct client *c)
{
    static char id[STREAM_ID_SIZE + 1];
    ptrdiff_t at = str_find(buf_view(&c->raw), STR("\"stream_id\":\""));
    assert_true(at >= 0);
    memcpy(id, c->raw.p + at + 13, STREAM_ID_SIZE);
    return id;
}
