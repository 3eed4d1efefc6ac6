/* api.c - from a request's head to the handler of its route.
 *
 *      head   route? 404, 405 -> preflight? 200 -> /apps/..: limit by address, 429 -> signature 1 to 5, 7, 8
 *      body   its digest, 6 -> content type 415 -> path decoded 400 -> route->serve()
 *
 * Nobody's body is kept who has not signed for it: what an app's key costs that everybody knows is a route lookup, a counter, an HMAC
 * and a small answer. Routes that are not signed are served when the head is there; a body that comes behind it is thrown away.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/api.h"

#include <assert.h>
#include <stdlib.h>

#include "api/cors.h"
#include "api/handlers.h"
#include "api/limits.h"
#include "app/replay_cache.h"
#include "base/mem.h"
#include "message/metrics.h"
#include "session/revocation.h"

#define APP "/apps/{app}"
#define CHANNEL APP "/channels/{channel}"
#define MESSAGE CHANNEL "/messages/{serial}"
#define PUSH APP "/push"

/* The busiest first. */
static const struct route own_routes[] = {
    {HTTP_POST_, MESSAGE "/append", serve_append, ROUTE_SIGNED | ROUTE_JSON},
    {HTTP_POST_, APP "/events", serve_events, ROUTE_SIGNED | ROUTE_JSON},
    {HTTP_POST_, CHANNEL "/messages/stream", serve_stream_append, ROUTE_SIGNED | ROUTE_STREAM},
    {HTTP_PUT_, CHANNEL "/messages/stream", serve_stream_append, ROUTE_SIGNED | ROUTE_STREAM},
    {HTTP_POST_, APP "/batch_events", serve_batch_events, ROUTE_SIGNED | ROUTE_JSON},
    {HTTP_POST_, MESSAGE "/update", serve_update, ROUTE_SIGNED | ROUTE_JSON},
    {HTTP_POST_, MESSAGE "/delete", serve_delete, ROUTE_SIGNED | ROUTE_JSON},
    {HTTP_GET_, MESSAGE, serve_message, ROUTE_SIGNED},
    {HTTP_GET_, MESSAGE "/stream", serve_stream_read, ROUTE_LIMITED},
    {HTTP_GET_, MESSAGE "/versions", serve_versions, ROUTE_SIGNED},
    {HTTP_GET_, APP "/channels", serve_channels, ROUTE_SIGNED},
    {HTTP_GET_, CHANNEL, serve_channel, ROUTE_SIGNED},
    {HTTP_GET_, CHANNEL "/users", serve_channel_users, ROUTE_SIGNED},
    {HTTP_GET_, CHANNEL "/history", serve_history, ROUTE_SIGNED},
    {HTTP_GET_, CHANNEL "/history/state", serve_history_state, ROUTE_SIGNED},
    {HTTP_POST_, CHANNEL "/history/reset", serve_history_reset, ROUTE_SIGNED | ROUTE_JSON},
    {HTTP_POST_, CHANNEL "/history/purge", serve_history_purge, ROUTE_SIGNED | ROUTE_JSON},
    {HTTP_POST_, APP "/users/{user}/terminate_connections", serve_terminate, ROUTE_SIGNED},
    {HTTP_POST_, APP "/users/{user}/force_reconnect", serve_reconnect, ROUTE_SIGNED},
    {HTTP_GET_, APP "/webhooks/dead_letters", serve_dead_letters, ROUTE_SIGNED},
    {HTTP_POST_, APP "/webhooks/dead_letters/replay", serve_dead_letters_replay, ROUTE_SIGNED},
    {HTTP_POST_, APP "/revocations", serve_revocations, ROUTE_SIGNED | ROUTE_JSON},
    {HTTP_GET_, MESSAGE "/annotations", serve_annotations, ROUTE_SIGNED},
    {HTTP_POST_, MESSAGE "/annotations", serve_annotate, ROUTE_SIGNED},
    {HTTP_DELETE_, MESSAGE "/annotations/{annotation}", serve_annotation_delete, ROUTE_SIGNED},
    {HTTP_GET_, CHANNEL "/presence/history", serve_presence_history, ROUTE_SIGNED},
    {HTTP_GET_, CHANNEL "/presence/history/state", serve_presence_state, ROUTE_SIGNED},
    {HTTP_GET_, CHANNEL "/presence/history/snapshot", serve_presence_snapshot, ROUTE_SIGNED},
    {HTTP_POST_, CHANNEL "/presence/history/reset", serve_presence_reset, ROUTE_SIGNED | ROUTE_JSON},
    {HTTP_POST_, PUSH "/credentials/{provider}", serve_push, ROUTE_SIGNED},
    {HTTP_GET_, PUSH "/credentials", serve_push, ROUTE_SIGNED},
    {HTTP_POST_, PUSH "/templates", serve_push, ROUTE_SIGNED},
    {HTTP_GET_, PUSH "/templates", serve_push, ROUTE_SIGNED},
    {HTTP_GET_, PUSH "/templates/{id}", serve_push, ROUTE_SIGNED},
    {HTTP_DELETE_, PUSH "/templates/{id}", serve_push, ROUTE_SIGNED},
    {HTTP_POST_, PUSH "/deviceRegistrations", serve_push, ROUTE_SIGNED},
    {HTTP_GET_, PUSH "/deviceRegistrations", serve_push, ROUTE_SIGNED},
    {HTTP_DELETE_, PUSH "/deviceRegistrations", serve_push, ROUTE_SIGNED},
    {HTTP_GET_, PUSH "/deviceRegistrations/{id}", serve_push, ROUTE_SIGNED},
    {HTTP_DELETE_, PUSH "/deviceRegistrations/{id}", serve_push, ROUTE_SIGNED},
    {HTTP_POST_, PUSH "/channelSubscriptions", serve_push, ROUTE_SIGNED},
    {HTTP_GET_, PUSH "/channelSubscriptions", serve_push, ROUTE_SIGNED},
    {HTTP_DELETE_, PUSH "/channelSubscriptions", serve_push, ROUTE_SIGNED},
    {HTTP_GET_, PUSH "/channelSubscriptions/channels", serve_push, ROUTE_SIGNED},
    {HTTP_POST_, PUSH "/publish", serve_push, ROUTE_SIGNED},
    {HTTP_POST_, PUSH "/batch/publish", serve_push, ROUTE_SIGNED},
    {HTTP_GET_, PUSH "/publish/{id}/status", serve_push, ROUTE_SIGNED},
    {HTTP_GET_, PUSH "/deadLetters", serve_push, ROUTE_SIGNED},
    {HTTP_POST_, PUSH "/deadLetters/{id}/replay", serve_push, ROUTE_SIGNED},
    {HTTP_DELETE_, PUSH "/scheduled/{id}", serve_push, ROUTE_SIGNED},
    {HTTP_POST_, PUSH "/deliveryStatus", serve_push, ROUTE_SIGNED},
};
static const struct route demo_routes[] = {{HTTP_GET_, "/", serve_demo_page, 0}};

struct api *api_new(struct env *env, struct api_shared *shared)
{
    assert(env->shard < API_SHARDS_MAX && env->shards <= API_SHARDS_MAX);
    struct api *api = mem_new(struct api);
    api->env = env;
    api->shared = shared;
    api->router = router_new(own_routes, sizeof own_routes / sizeof *own_routes);
    router_add(api->router, shared->routes, shared->routes_count);
    if (env->config->demo_profile)
        router_add(api->router, demo_routes, 1);
    list_init(&api->streams);
    list_init(&api->readers);
    api->replays = replay_cache_new(REPLAY_KEYS_MAX);
    shared->all[env->shard] = api;
    if (shared->revocations)
        revocations_reach_also(shared->revocations, env->shard, (struct revocations_other){stream_readers_revoke, api});
    return api;
}

void api_free(struct api *api)
{
    if (!api)
        return;
    assert(api_in_flight(api) == 0);
    api->shared->all[api->env->shard] = NULL;
    reads_forget(api);
    replay_cache_free(api->replays);
    router_free(api->router);
    buf_free(&api->body);
    buf_free(&api->scratch);
    free(api);
}

void api_drain(struct api *api)
{
    append_streams_drain(api);
    stream_readers_drain(api);
}

uint64_t api_in_flight(const struct api *api)
{
    return atomic_load_explicit(&api->in_flight, memory_order_relaxed);
}

/* ---- the head ---- */

static void put_limit_line(struct buf *out, const char *name, uint64_t value)
{
    buf_str(out, str_of(name));
    buf_u64(out, value);
    buf_lit(out, "\r\n");
}

static void add_headers(struct call *c, struct str lines)
{
    c->headers = arena_join(call_arena(c), c->headers, lines);
}

enum limit_result { LIMIT_WITHIN, LIMIT_WAITS, LIMIT_REFUSED };

static enum limit_result check_limit(struct call *c)
{
    struct limiter_verdict v;
    if (!c->api->shared->limits)
        return LIMIT_WITHIN;
    if (!limits_check(c->api->shared->limits, c->env, c->request, &v))
        return LIMIT_WAITS;
    metrics_rate_limit(c->env, "global", "api_rate_limit", "http_api", !v.allowed);
    struct buf *lines = &c->api->scratch;
    buf_clear(lines);
    put_limit_line(lines, "x-ratelimit-limit: ", v.limit);
    put_limit_line(lines, "x-ratelimit-remaining: ", v.remaining);
    put_limit_line(lines, "x-ratelimit-reset: ", v.reset_s);
    if (!v.allowed)
        put_limit_line(lines, "retry-after: ", v.reset_s);
    add_headers(c, buf_view(lines));
    if (v.allowed)
        return LIMIT_WITHIN;
    call_answer(c, &(struct http_response){
                       .status = 429,
                       .content_type = STR("application/json"),
                       .body = STR("{\"error\":\"Too Many Requests\","
                                   "\"message\":\"Rate limit exceeded. Please try again later.\"}")});
    return LIMIT_REFUSED;
}

static struct signed_request signed_part(const struct call *c)
{
    const struct http_request *r = c->request;
    return (struct signed_request){.method = r->method_name,
                                   .path = r->path,
                                   .query = r->query,
                                   .body = r->body,
                                   .now_s = clock_wall_ms(c->env->clock) / 1000};
}

static void refuse_signature(struct call *c, const struct signature_failure *failure)
{
    call_refuse(c, fail(failure->status, failure->code, arena_copy(call_arena(c), str_of(failure->text))));
}

static void refuse_route(struct call *c, const struct route_match *m)
{
    if (!m->known) {
        c->headers = STR_NONE;
        call_text(c, 404, STR_NONE, STR("404 NOT FOUND"));
        return;
    }
    struct buf *line = &c->api->scratch;
    buf_clear(line);
    buf_lit(line, "Allow: ");
    buf_str(line, str_of(m->allow));
    buf_lit(line, "\r\n");
    call_text(c, 405, buf_view(line), STR("405 METHOD NOT ALLOWED"));
}

static void answer_preflight(struct call *c)
{
    call_answer(
        c, &(struct http_response){.status = 200,
                                   .extra_headers = cors_preflight_headers(c->env->config, call_arena(c))});
}

static bool check_signed_head(struct call *c)
{
    struct signature_failure failure;
    struct signed_request part = signed_part(c);
    struct app *app = signature_check_head(c->env->apps, &part, c->args[0], &failure);
    if (app && signature_check_mac(app, c->env->shard, &part, call_arena(c), &c->body_md5, &failure)) {
        c->app = app;
        return true;
    }
    refuse_signature(c, &failure);
    return false;
}

/* ---- the body ---- */

/* application/json and application/<anything>+json, with any parameters. */
static bool is_json_type(struct str content_type)
{
    struct str rest = content_type;
    struct str type = str_trim(str_split(&rest, ';'));
    if (type.p == NULL)
        return false;
    if (str_eq_nocase(type, STR("application/json")))
        return true;
    struct str tail = STR("+json"), lead = STR("application/");
    return type.n > lead.n + tail.n && str_eq_nocase(str_first(type, lead.n), lead) &&
           str_eq_nocase(str_from(type, type.n - tail.n), tail);
}

/* The app's id of a signed route was compared as it stands. */
static bool decode_args(struct call *c)
{
    for (size_t i = c->route->flags & ROUTE_SIGNED ? 1 : 0; i < ROUTE_ARGS_MAX && c->args[i].p; i++) {
        c->args[i] = path_decode(c->args[i], call_arena(c));
        if (!c->args[i].p)
            return false;
    }
    return true;
}

static struct failure check_request(struct call *c)
{
    if ((c->route->flags & ROUTE_JSON) && !is_json_type(http_get_header(c->request, STR("content-type"))))
        return fail(415, "unsupported_media_type",
                    STR("Expected request with `Content-Type: application/json`"));
    if (!decode_args(c))
        return fail_input(STR("The path is not valid percent-encoded UTF-8"));
    return NO_FAILURE;
}

/* Nothing of the body is signed, so a digest of it would promise what is not checked. */
static void begin_stream(struct call *c)
{
    if (c->body_md5.p)
        call_refuse(c, fail(401, "auth_failed",
                            STR("body_md5 must not be present in query parameters: the body of a stream is not signed")));
    else if (!decode_args(c))
        call_refuse(c, fail_input(STR("The path is not valid percent-encoded UTF-8")));
    else
        c->route->serve(c);
}

static void serve(struct call *c)
{
    struct failure refused = check_request(c);
    if (refused.status)
        call_refuse(c, refused);
    else
        c->route->serve(c);
}

/* Its route is known; again when its limit is. */
static bool head_goes_on(struct call *c)
{
    unsigned flags = c->route->flags;
    enum limit_result limit = flags & (ROUTE_SIGNED | ROUTE_LIMITED) ? check_limit(c) : LIMIT_WITHIN;
    if (limit != LIMIT_WITHIN)
        return limit == LIMIT_REFUSED;
    if (!(flags & ROUTE_SIGNED)) {
        serve(c);
        return true;
    }
    if (!check_signed_head(c))
        return true;
    if (flags & ROUTE_STREAM) {
        begin_stream(c);
        return false;
    }
    /* A request whose body never comes is freed without a word: it is counted again by api_request(). */
    atomic_fetch_sub_explicit(&c->api->in_flight, 1, memory_order_relaxed);
    return false;
}

bool api_head(void *user, struct http_request *request)
{
    struct api *api = user;
    if (request->gone) { /* while its limit was asked for */
        call_answer(request->user, &(struct http_response){.status = 503});
        return true;
    }
    if (request->user)
        return head_goes_on(request->user);
    struct call *c = call_new(api, request);
    atomic_fetch_add_explicit(&api->in_flight, 1, memory_order_relaxed);
    c->headers = cors_headers(api->env->config, http_get_header(request, STR("origin")), call_arena(c));
    struct route_match m = router_match(api->router, request->method, request->path);
    c->route = m.route;
    memcpy(c->args, m.args, sizeof c->args);
    if (m.known && request->method == HTTP_OPTIONS_) {
        answer_preflight(c);
        return true;
    }
    if (!m.route) {
        refuse_route(c, &m);
        return true;
    }
    return head_goes_on(c);
}

void api_request(void *user, struct http_request *request)
{
    struct api *api = user;
    struct call *c = request->user;
    struct signed_request part = signed_part(c);
    struct signature_failure failure;
    atomic_fetch_add_explicit(&api->in_flight, 1, memory_order_relaxed);
    if (signature_check_body(&part, c->body_md5, &failure))
        serve(c);
    else
        refuse_signature(c, &failure);
}
