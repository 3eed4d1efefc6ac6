/* history.c - channel_history: pages of a channel's history for one of its subscribers (chapter 1, 11.3; chapter 3, 5.2).
 *
 * until_attach joins pages and live frames without a gap: the page ends at the history serial that the acknowledgement told,
 * and shows each message as it was at the position A from which on this connection is served live. Everything above A has come, or
 * will come, live: no frame begins at or below A and ends above it, so page and frames are the text, with nothing to be cut. That holds for one life of the stream only, so a stream that is
 * another by now is refused with 104005.
 *
 * Limits: IN_FLIGHT_MAX requests under way per connection, and none while the client leaves UNREAD_MAX bytes unread: 4301, and
 * connection_limits_reached_total{limit="histories"}.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/json_put.h"
#include "base/mem.h"
#include "message/history_page.h"
#include "session/internal.h"

enum { IN_FLIGHT_MAX = 2, UNREAD_MAX = 1 << 20 /* bytes */, LIMIT_DEFAULT = 100, LIMIT_MAX = 1000, REQUEST_ID_MAX = 256, TEXT_MAX = 512 };

struct ask {
    struct session *s;
    struct arena *arena;
    struct str data, params;
    struct str channel;
    const struct sub *sub;
    struct history_query q;
};

/* What outlives the command. */
struct page {
    struct store_op op;
    struct handle *handle;
    struct history_query q; /* texts in op.arena */
    struct str channel;
    char stream_id[STREAM_ID_SIZE + 1]; /* that attach_serial is of; "" = not known */
};

/* ---- refusing ---- */

static void say_error(struct session *s, int code, struct str text, struct str request_id)
{
    const char *name = wire_code_name(code);
    struct buf data = {0};
    if (request_id.p == NULL) {
        session_say(s, frame_error(wire_of(s), code, text, STR_NONE));
        return;
    }
    buf_char(&data, '{');
    put_i64(&data, "code", code);
    put_text(&data, "message", text);
    if (name != NULL)
        put_text(&data, "name", str_of(name));
    put_json(&data, "request_id", request_id);
    buf_char(&data, '}');
    session_say(s, frame_own(wire_of(s), STR("error"), STR_NONE, buf_view(&data), STR_NONE, 0));
    buf_free(&data);
}

static bool refuse(struct ask *a, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
static bool refuse(struct ask *a, int code, const char *format, ...)
{
    char text[TEXT_MAX];
    va_list args;
    va_start(args, format);
    struct str message = text_print(text, sizeof text, format, args);
    va_end(args);
    say_error(a->s, code, message, a->q.request_id);
    return false;
}

/* ---- reading: what has the wrong type counts as not given ---- */

static struct str value_of(const struct ask *a, struct str key)
{
    struct str value = json_get(a->params, key);
    return value.p != NULL ? value : json_get(a->data, key);
}

static struct str request_id_of(const struct ask *a)
{
    struct str value = value_of(a, STR("request_id"));
    bool good = json_is(value, JSON_STRING) || json_is(value, JSON_NUMBER);
    return good && value.n <= REQUEST_ID_MAX ? value : STR_NONE;
}

static void read_serial(const struct ask *a, struct str key, struct str alias, bool *has, uint64_t *out)
{
    *has = json_u64(value_of(a, key), out) || json_u64(value_of(a, alias), out);
    if (!*has)
        *out = 0;
}

static void read_time(const struct ask *a, struct str key, bool *has, int64_t *out)
{
    *has = json_i64(value_of(a, key), out);
    if (!*has)
        *out = 0;
}

static void read_bounds(struct ask *a)
{
    struct history_bounds *b = &a->q.cursor.bounds;
    read_serial(a, STR("start_serial"), STR("start"), &b->has_start_serial, &b->start_serial);
    read_serial(a, STR("end_serial"), STR("end"), &b->has_end_serial, &b->end_serial);
    read_time(a, STR("start_time_ms"), &b->has_start_time, &b->start_time_ms);
    read_time(a, STR("end_time_ms"), &b->has_end_time, &b->end_time_ms);
}

/* ---- the checks, in the order of the chapter ---- */

static bool is_v2(struct ask *a)
{
    return a->s->protocol == WIRE_V2 ||
           refuse(a, CODE_GENERIC, "Protocol error: channel_history is only supported on protocol V2");
}

static bool has_channel(struct ask *a)
{
    a->channel = json_text_in(json_get(a->data, STR("channel")), a->arena);
    if (a->channel.p == NULL)
        a->channel = json_text_in(json_get(a->params, STR("channel")), a->arena);
    return a->channel.p != NULL ||
           refuse(a, CODE_GENERIC, "Invalid message format: Missing channel in channel_history message");
}

static bool is_subscribed(struct ask *a)
{
    char socket[SOCKET_ID_TEXT];
    a->sub = sub_find(a->s, a->channel);
    if (a->sub != NULL && a->sub->shown)
        return true;
    socket_id_print(socket, a->s->id);
    return refuse(a, CODE_CLIENT_EVENT, "Client event error: Socket %s is not subscribed to channel %.*s", socket,
                  STR_ARG(a->channel));
}

static bool may_read(struct ask *a)
{
    struct channel_name name;
    const char *wrong = channel_name_check(a->s->app, a->channel, &name, a->arena);
    if (wrong != NULL)
        return refuse(a, CODE_CHANNEL, "Channel error: %s", wrong);
    if (!user_may(a->s, STR("history"), a->channel))
        return refuse(a, CODE_UNAUTHORIZED, "Authentication error: Connection is not allowed to history channel '%.*s'",
                      STR_ARG(a->channel));
    return channel_policy(a->s->app, a->channel, &name).history ||
           refuse(a, CODE_CHANNEL, "Channel error: Durable history is disabled by policy for channel '%.*s'",
                  STR_ARG(a->channel));
}

static bool has_limit(struct ask *a)
{
    uint64_t limit = LIMIT_DEFAULT, max = env_of(a->s)->config->history.max_page_size;
    json_u64(value_of(a, STR("limit")), &limit);
    if (limit == 0)
        return refuse(a, CODE_GENERIC, "Invalid message format: History limit must be greater than 0");
    max = max < LIMIT_MAX ? max : LIMIT_MAX;
    a->q.limit = (uint32_t)(limit < max ? limit : max);
    return true;
}

static bool has_direction(struct ask *a)
{
    struct str word = json_text_in(value_of(a, STR("direction")), a->arena);
    a->q.cursor.direction = NEWEST_FIRST;
    return word.p == NULL || history_direction(word, str_eq, &a->q.cursor.direction) ||
           refuse(a, CODE_GENERIC, "Invalid message format: Unsupported history direction: %.*s", STR_ARG(word));
}

static bool ends_at_attach(struct ask *a)
{
    struct history_bounds *b = &a->q.cursor.bounds;
    if (!json_bool(value_of(a, STR("until_attach")), &a->q.until_attach))
        json_bool(value_of(a, STR("untilAttach")), &a->q.until_attach);
    a->q.has_attach = a->sub->has_attach;
    a->q.attach_serial = a->sub->attach_serial;
    if (!a->q.until_attach)
        return true;
    if (!a->q.has_attach)
        return refuse(a, CODE_GENERIC, "Protocol error: No attach_serial is recorded for channel '%.*s'", STR_ARG(a->channel));
    if (!b->has_end_serial || b->end_serial > a->q.attach_serial)
        b->end_serial = a->q.attach_serial;
    b->has_end_serial = true;
    return true;
}

static bool has_good_bounds(struct ask *a)
{
    /* An attach at 0 asks for nothing, wherever it is to begin. */
    bool nothing = a->q.until_attach && a->q.attach_serial == 0;
    const char *wrong = nothing ? NULL : history_bounds_check(&a->q.cursor.bounds);
    return wrong == NULL || refuse(a, CODE_GENERIC, "Invalid message format: %s", wrong);
}

static bool has_good_cursor(struct ask *a)
{
    struct str text = json_text_in(value_of(a, STR("cursor")), a->arena);
    struct cursor request = a->q.cursor;
    if (text.p == NULL)
        return true;
    const char *wrong = cursor_read(text, &request, a->arena, &a->q.cursor);
    a->q.continued = wrong == NULL;
    return wrong == NULL || refuse(a, CODE_GENERIC, "Invalid message format: %s", wrong);
}

/* Pages that a client does not read are under way, too. */
static bool is_within_rate(struct ask *a)
{
    const struct session *s = a->s;
    size_t unread = s->all->link->unread != NULL ? s->all->link->unread(s->sink) : 0;
    if (s->histories < IN_FLIGHT_MAX && unread <= UNREAD_MAX)
        return true;
    metrics_limit_reached(env_of(s), s->app, "histories");
    return refuse(a, CODE_CLIENT_EVENT, "Too many concurrent channel_history requests for this connection");
}

static bool (*const checks[])(struct ask *a) = {
    is_v2,         has_channel,    is_subscribed,   may_read,        has_limit,
    has_direction, ends_at_attach, has_good_bounds, has_good_cursor, is_within_rate,
};

/* ---- the page ---- */

static bool stream_has_changed(const struct page *page)
{
    const char *now = page->op.head.stream_id;
    return page->q.until_attach && page->stream_id[0] != '\0' && now[0] != '\0' && strcmp(page->stream_id, now) != 0;
}

static void say_page(struct session *s, const struct page *page)
{
    struct buf data = {0};
    history_page_json(&data, env_of(s), s->app, &page->q, &page->op);
    session_say(s, frame_own(wire_of(s), STR("channel_history"), page->channel, buf_view(&data), STR_NONE, 0));
    buf_free(&data);
}

static void say_what_came(struct session *s, const struct page *page)
{
    const char *expired = history_cursor_refuses(&page->q, &page->op);
    struct ask a = {.s = s, .q = page->q};
    if (expired != NULL)
        refuse(&a, CODE_GENERIC, "Invalid message format: %s", expired);
    else if (page->op.result == STORE_UNHEALTHY)
        refuse(&a, CODE_GENERIC, "The channel's history stream is not healthy: %.*s",
               STR_ARG(page->op.head.state_reason.p != NULL ? page->op.head.state_reason : STR("reset_required")));
    else if (page->op.result != STORE_OK)
        refuse(&a, CODE_OVER_CAPACITY, "The store failed to answer, try again");
    else if (stream_has_changed(page))
        refuse(&a, CODE_AI_UNTIL_ATTACH_GAP, "The channel's stream is another one since this subscription was attached");
    else
        say_page(s, page);
}

static void page_read(struct store_op *op)
{
    struct page *page = list_of(op, struct page, op);
    struct session *s = page->handle->session;
    if (s != NULL) {
        s->histories--;
        if (!s->over)
            say_what_came(s, page);
    }
    handle_drop(page->handle);
    arena_free(&op->arena);
    free(page);
}

static void own_texts(struct page *page)
{
    struct arena *arena = &page->op.arena;
    struct cursor *c = &page->q.cursor;
    page->channel = c->channel = arena_copy(arena, page->channel);
    c->stream_id = arena_copy(arena, c->stream_id);
    page->q.request_id = arena_copy(arena, page->q.request_id);
}

static void read_page(const struct ask *a)
{
    struct session *s = a->s;
    struct page *page = mem_new(struct page);
    page->q = a->q;
    page->q.cursor.app_id = s->app->id;
    page->channel = a->channel;
    memcpy(page->stream_id, a->sub->stream_id, sizeof page->stream_id);
    own_texts(page);
    page->op.kind = STORE_PAGE;
    page->op.shard = env_of(s)->shard;
    page->op.done = page_read;
    page->op.app_id = s->app->id;
    page->op.channel = page->channel;
    history_query_fill(&page->q, &page->op.read);
    if (a->q.until_attach && a->sub->first_at == 0) /* a wildcard has brought all of it */
        page->op.read.start_history = STORE_NO_HISTORY;
    else if (a->q.until_attach)
        page->op.read.as_of_delivery = a->sub->first_at;
    page->handle = session_handle(s);
    s->histories++;
    store_submit(env_of(s)->store, &page->op);
}

void command_history(struct session *s, const struct client_message *m, struct arena *arena)
{
    struct ask a = {.s = s, .arena = arena, .data = command_data(m->data, arena)};
    a.params = json_get(a.data, STR("params"));
    a.q.over_socket = true;
    a.q.request_id = request_id_of(&a);
    read_bounds(&a);
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        if (!checks[i](&a))
            return;
        a.q.cursor.app_id = s->app->id;
        a.q.cursor.channel = a.channel;
    }
    read_page(&a);
}
