/* session.c - life of one connection: admission, its one timer, its end.
 *
 * The timer is set to the earliest of what may be due and looks again when it fires, so that a message costs no timer
 * operation: it only notes when it came. An idle V2 connection wakes up for its native ping alone, since the pong sets
 * the timer anew.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "session/session.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "session/directory.h"
#include "session/admission.h"
#include "session/conversions.h"
#include "session/actor.h"
#include "session/internal.h"
#include "session/recovery.h"
#include "session/revocation.h"

enum { PONG_WAIT_MS = 30000, PING_INTERVAL_MIN_S = 5, ERROR_TEXT_MAX = 640, DRAIN_STEP_MS = 10 };

/* ---- saying something ---- */

void session_say(struct session *s, struct frame *frame)
{
    struct env *env = env_of(s);
    frame = conversions_take(&s->all->conversions, env, frame, s->format);
    metrics_count(env, s->app, messages_out, 1);
    metrics_count(env, s->app, bytes_out, frame_payload(frame).n);
    env->deliver(s->sink, frame);
}

struct str text_print(char *room, size_t size, const char *format, va_list args)
{
    int n = vsnprintf(room, size, format, args);
    size_t fits = n < (int)size ? (size_t)n : size - 1;
    while (!str_is_utf8(str_make(room, fits)))
        fits--;
    return str_make(room, fits);
}

void session_error(struct session *s, int code, struct str channel, const char *format, ...)
{
    char text[ERROR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    struct str message = text_print(text, sizeof text, format, args);
    va_end(args);
    session_say(s, frame_error(wire_of(s), code, message, channel));
}

/* ---- the end ---- */

static uint64_t lease_ms_of(const struct session *s)
{
    const struct config *config = env_of(s)->config;
    uint64_t seconds = s->protocol == WIRE_V1 ? config->presence.ungraceful_timeout_seconds
                                              : config->presence.v2_ungraceful_timeout_seconds;
    return seconds * 1000;
}

/* Chapter 1, 5.8: whom we put out for what they are, and V1 clients that are silent, leave at once. */
static bool leaves_at_once(const struct session *s, int code)
{
    return code == CODE_UNAUTHORIZED || (code == CODE_PONG_TIMEOUT && s->protocol == WIRE_V1);
}

void session_fatal(struct session *s, int code, struct str reason)
{
    if (s->over)
        return;
    session_say(s, frame_error(wire_of(s), code, reason, STR_NONE));
    s->over = true;
    wheel_cancel(env_of(s)->wheel, &s->timer);
    sub_leave_all(s, leaves_at_once(s, code) ? 0 : lease_ms_of(s));
    s->all->link->close(s->sink, (unsigned)code, reason);
}

void session_doom(struct session *s, int code, struct str reason)
{
    if (s->doom_code != 0 || s->over)
        return;
    s->doom_code = (uint16_t)code;
    s->doom_reason = str_dup(reason);
    wheel_set(env_of(s)->wheel, &s->timer, now_of(s));
}

void session_overflow(struct session *s)
{
    struct env *env = env_of(s);
    if (!env->config->websocket.disconnect_on_buffer_full) {
        metrics_count(env, s->app, dropped_frames, 1);
        return;
    }
    if (s->doom_code == 0 && !s->over)
        metrics_count(env, s->app, slow_consumers, 1);
    session_doom(s, CODE_OVER_CAPACITY, STR("Slow consumer: the send queue is full"));
}

/* ---- the timer ---- */

static uint64_t ping_interval_ms(const struct config *config)
{
    uint64_t half = config->activity_timeout_seconds / 2, set = config->websocket.ping_interval_seconds;
    if (!config->websocket.auto_ping || set == 0)
        return 0;
    half = half < PING_INTERVAL_MIN_S ? PING_INTERVAL_MIN_S : half;
    return 1000 * (set > half ? set : half);
}

static void sooner(uint64_t *due_ms, uint64_t at_ms)
{
    if (at_ms != 0 && at_ms < *due_ms)
        *due_ms = at_ms;
}

static uint64_t heartbeat_due_ms(const struct session *s)
{
    const struct config *config = env_of(s)->config;
    uint64_t due = UINT64_MAX, idle_ms = config->websocket.idle_timeout_seconds * 1000;
    if (s->ping_ms != 0)
        sooner(&due, s->ping_ms + PONG_WAIT_MS);
    else if (s->protocol == WIRE_V1)
        sooner(&due, s->heard_ms + config->activity_timeout_seconds * 1000);
    else
        sooner(&due, s->ping_due_ms);
    if (s->protocol == WIRE_V2 && idle_ms > 0)
        sooner(&due, s->heard_ms + idle_ms);
    return due;
}

void session_arm(struct session *s)
{
    uint64_t due = heartbeat_due_ms(s);
    sooner(&due, s->auth_due_ms);
    sooner(&due, token_due_ms(s));
    sooner(&due, s->settle_due_ms);
    sooner(&due, pending_due_ms(s));
    if (s->doom_code != 0)
        due = now_of(s);
    if (!s->over && due != UINT64_MAX)
        wheel_set(env_of(s)->wheel, &s->timer, due);
}

static void ping(struct session *s, uint64_t now)
{
    s->ping_ms = now;
    if (s->protocol == WIRE_V1) {
        session_say(s, frame_take(s->all->ping));
        return;
    }
    s->ping_due_ms = now + ping_interval_ms(env_of(s)->config);
    s->all->link->ping(s->sink);
}

static void heartbeat(struct session *s, uint64_t now)
{
    const struct config *config = env_of(s)->config;
    uint64_t idle_ms = config->websocket.idle_timeout_seconds * 1000;
    if (s->ping_ms != 0 && now >= s->ping_ms + PONG_WAIT_MS)
        session_fatal(s, CODE_PONG_TIMEOUT, STR("Pong reply not received in time"));
    else if (s->protocol == WIRE_V2 && idle_ms > 0 && now >= s->heard_ms + idle_ms)
        session_fatal(s, CODE_INACTIVE, STR("Closed after inactivity"));
    else if (s->ping_ms == 0 && now >= heartbeat_due_ms(s))
        ping(s, now);
}

static void timer_fires(struct timer *timer)
{
    struct session *s = list_of(timer, struct session, timer);
    uint64_t now = now_of(s);
    if (s->doom_code != 0)
        session_fatal(s, s->doom_code, str_of(s->doom_reason));
    else if (s->auth_due_ms != 0 && now >= s->auth_due_ms)
        session_fatal(s, CODE_UNAUTHORIZED, STR("Connection not authorized within timeout."));
    else
        heartbeat(s, now);
    if (!s->over && token_due_ms(s) != 0 && now >= token_due_ms(s))
        token_expires(s, now);
    if (s->over)
        return;
    if (s->settle_due_ms != 0 && now >= s->settle_due_ms)
        sub_settled(s);
    pending_expire(s, now);
    session_arm(s);
}

void session_native_ping(struct session *s)
{
    s->heard_ms = now_of(s);
    if (s->protocol == WIRE_V1)
        s->ping_ms = 0;
}

void session_native_pong(struct session *s)
{
    s->heard_ms = now_of(s);
    s->ping_ms = 0;
    session_arm(s);
}

/* ---- admission: chapter 1, section 2, steps 4 to 8 ---- */

/* Step 8, once the place is taken. */
static struct refusal check_token(struct sessions *all, struct app *app, const struct session_params *params,
                                  struct arena *arena, struct token *token)
{
    const char *wrong = params->token.p != NULL ? auth_check(all, app, params->protocol, params->token, arena, token) : NULL;
    struct buf text = {0};
    if (wrong == NULL)
        return (struct refusal){0};
    admission_give_back(app);
    buf_fmt(&text, "Authentication error: %s", wrong);
    struct refusal refusal = {CODE_UNAUTHORIZED, arena_copy(arena, buf_view(&text)), "token"};
    buf_free(&text);
    return refusal;
}

static void refuse(struct sessions *all, void *sink, struct app *app, const struct session_params *params,
                   const struct refusal *refusal)
{
    struct env *env = all->env;
    struct wire_to to = {params->protocol, &env->random};
    if (app != NULL)
        metrics_connection_error(env, app, refusal->type);
    struct frame *frame = frame_error(to, refusal->code, refusal->text, STR_NONE);
    env->deliver(sink, conversions_take(&all->conversions, env, frame, params->format));
    all->link->close(sink, (unsigned)refusal->code, refusal->text);
}

static void draw_id(struct session *s)
{
    struct directory *directory = s->all->directory;
    s->entry.shard = (uint16_t)env_of(s)->shard;
    s->entry.protocol = s->protocol;
    do {
        s->id.a = random_below(&env_of(s)->random, SOCKET_ID_PART_MAX + 1);
        s->id.b = random_below(&env_of(s)->random, SOCKET_ID_PART_MAX + 1);
    } while ((s->id.a | s->id.b) == 0 || (directory != NULL && !directory_add(directory, &s->entry)));
}

static void start_clocks(struct session *s)
{
    const struct config *config = env_of(s)->config;
    s->heard_ms = now_of(s);
    s->timer.fire = timer_fires;
    if (s->protocol == WIRE_V2 && ping_interval_ms(config) > 0)
        s->ping_due_ms = s->heard_ms + ping_interval_ms(config);
    if (s->app->config->enable_user_authentication && config->user_authentication_timeout_seconds > 0)
        s->auth_due_ms = s->heard_ms + config->user_authentication_timeout_seconds * 1000;
    session_arm(s);
}

static struct session *open_session(struct sessions *all, void *sink, struct app *app, const struct session_params *params)
{
    struct session *s = mem_new(struct session);
    s->all = all;
    s->sink = sink;
    s->app = app;
    s->protocol = params->protocol;
    s->mode = params->mode;
    s->window_index = (uint8_t)params->window_index;
    s->format = (uint8_t)params->format;
    s->echo = params->echo;
    draw_id(s);
    list_append(&all->all, &s->link);
    all->count++;
    metrics_count(all->env, app, new_connections, 1);
    metrics_gauge(all->env, app, connected, 1);
    session_say(s, frame_established(wire_of(s), s->id, (unsigned)all->env->config->activity_timeout_seconds));
    start_clocks(s);
    return s;
}

struct session *session_new(struct sessions *all, void *sink, struct app *app, struct str origin,
                            const struct session_params *params)
{
    struct arena arena = {0};
    struct token token = {0};
    struct session *s = NULL;
    struct refusal refusal = admission_take(all->env, app, origin);
    if (refusal.code == 0)
        refusal = check_token(all, app, params, &arena, &token);
    if (refusal.code != 0)
        refuse(all, sink, app, params, &refusal);
    else
        s = open_session(all, sink, app, params);
    if (s != NULL && params->token.p != NULL)
        auth_take(s, &token);
    arena_free(&arena);
    return s;
}

void session_closed(struct session *s, enum session_end how)
{
    struct env *env = env_of(s);
    sub_leave_all(s, how == END_GRACEFUL ? 0 : lease_ms_of(s));
    wheel_cancel(env->wheel, &s->timer);
    if (s->all->directory != NULL)
        directory_remove(s->all->directory, &s->entry);
    if (s->handle != NULL) {
        s->handle->session = NULL;
        handle_drop(s->handle);
    }
    admission_give_back(s->app);
    metrics_count(env, s->app, new_disconnections, 1);
    metrics_gauge(env, s->app, connected, -1);
    list_remove(&s->link);
    s->all->count--;
    user_leaves(s);
    user_free(s->user);
    free(s->limits);
    free(s->doom_reason);
    free(s);
}

struct app *session_app(const struct session *s)
{
    return s->app;
}

struct handle *session_handle(struct session *s)
{
    if (s->handle == NULL) {
        s->handle = mem_new(struct handle);
        *s->handle = (struct handle){s, 1};
    }
    s->handle->refs++;
    return s->handle;
}

void handle_drop(struct handle *h)
{
    if (--h->refs == 0)
        free(h);
}

/* ---- all of a shard ---- */

struct sessions *sessions_new(struct env *env, const struct session_link *link)
{
    struct sessions *all = mem_new(struct sessions);
    all->env = env;
    all->link = link;
    list_init(&all->all);
    list_init(&all->waiting);
    list_init(&all->ready);
    list_init(&all->stalled);
    kept_init(all);
    all->pongs[WIRE_V1] = frame_pong(WIRE_V1);
    all->pongs[WIRE_V2] = frame_pong(WIRE_V2);
    all->ping = frame_ping(WIRE_V1);
    return all;
}

void sessions_use(struct sessions *all, struct directory *directory, size_t (*room)(void *sink))
{
    all->directory = directory;
    all->room = room;
    if (directory != NULL && all->actors == NULL)
        all->actors = actors_new(all->env, directory);
}

void sessions_settle(struct sessions *all, unsigned ms)
{
    all->settle_ms = ms;
}

void sessions_free(struct sessions *all)
{
    assert(list_empty(&all->all));
    wheel_cancel(all->env->wheel, &all->drain);
    wheel_cancel(all->env->wheel, &all->sends);
    map_free(&all->shared);
    kept_free(all);
    actors_free(all->actors);
    conversions_free(all->conversions);
    frame_drop(all->pongs[WIRE_V1]);
    frame_drop(all->pongs[WIRE_V2]);
    frame_drop(all->ping);
    free(all);
}

size_t sessions_count(const struct sessions *all)
{
    return all->count;
}

void session_control(struct session *s, int code, struct str reason)
{
    session_doom(s, code, reason);
}

/* ---- shutdown: chapter 1, 10.5 ---- */

/* Closes as many of those that are left as the time that is left asks for. */
static void drain_some(struct timer *timer)
{
    struct sessions *all = list_of(timer, struct sessions, drain);
    uint64_t now = env_now_ms(all->env);
    uint64_t steps = now < all->drain_until_ms ? (all->drain_until_ms - now) / DRAIN_STEP_MS + 1 : 1;
    size_t open = 0;
    list_each(link, &all->all) open += !list_of(link, struct session, link)->over;
    size_t due = (open + steps - 1) / steps;
    list_each_safe(link, after, &all->all)
    {
        struct session *s = list_of(link, struct session, link);
        if (s->over || due == 0)
            continue;
        due--;
        session_fatal(s, CODE_RECONNECT, STR("Server shutting down"));
    }
    if (steps > 1)
        wheel_set(all->env->wheel, &all->drain, now + DRAIN_STEP_MS);
}

void sessions_drain(struct sessions *all, uint64_t spread_ms)
{
    all->drain.fire = drain_some;
    all->drain_until_ms = env_now_ms(all->env) + spread_ms;
    drain_some(&all->drain);
}
