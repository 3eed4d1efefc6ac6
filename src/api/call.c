/* call.c - answers, and the pieces they are built from.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/call.h"

#include <stdarg.h>
#include <stdio.h>

#include "message/metrics.h"
#include "wire/codes.h"

enum { BODY_KEPT_MAX = 1 << 20 }; /* one page of large messages shall not cost memory for ever */

/* ---- refusals ---- */

struct failure fail(unsigned status, const char *code, struct str text)
{
    return (struct failure){.status = status, .code = code, .text = text};
}

struct failure fail_input(struct str text)
{
    return fail(400, "invalid_input", text);
}

struct failure fail_fmt(struct call *c, unsigned status, const char *code, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    char *text = arena_alloc(call_arena(c), (size_t)n + 1);
    vsnprintf(text, (size_t)n + 1, format, again);
    va_end(again);
    va_end(args);
    if (!str_is_utf8(str_make(text, (size_t)n))) /* it quotes a query that is no text */
        for (int i = 0; i < n; i++)
            text[i] = (unsigned char)text[i] < 0x80 ? text[i] : '?';
    return fail(status, code, str_make(text, (size_t)n));
}

struct failure fail_ai(unsigned status, int ai_code, struct str text)
{
    return (struct failure){
        .status = status, .code = wire_code_name(ai_code), .text = text, .ai_code = ai_code};
}

struct failure fail_busy(struct str text)
{
    return (struct failure){.status = 503, .code = "backpressure", .text = text, .retry_after_s = 1};
}

void failure_json(struct buf *out, const struct failure *failure)
{
    buf_lit(out, "{\"error\":");
    buf_json(out, failure->text);
    buf_lit(out, ",\"code\":\"");
    buf_str(out, str_of(failure->code));
    buf_char(out, '"');
    if (failure->ai_code)
        put_i64(out, "ai_code", failure->ai_code);
    put_u64(out, "status", failure->status);
    buf_char(out, '}');
}

/* ---- the call ---- */

struct call *call_new(struct api *api, struct http_request *request)
{
    struct call *c = arena_zalloc(&request->arena, sizeof *c);
    c->api = api;
    c->env = api->env;
    c->request = request;
    request->user = c;
    return c;
}

struct arena *call_arena(struct call *c)
{
    return &c->request->arena;
}

struct buf *call_body(struct call *c)
{
    struct buf *body = &c->api->body;
    if (body->cap > BODY_KEPT_MAX)
        buf_free(body);
    buf_clear(body);
    return body;
}

static struct str joined(struct call *c, struct str first, struct str second)
{
    if (first.n == 0 || second.n == 0)
        return first.n ? first : second;
    return arena_join(call_arena(c), first, second);
}

void call_answer(struct call *c, const struct http_response *response)
{
    struct http_response whole = *response;
    whole.extra_headers = joined(c, c->headers, response->extra_headers);
    if (c->app) {
        metrics_count(c->env, c->app, http_calls, 1);
        metrics_count(c->env, c->app, http_in, c->request->body.n);
        metrics_count(c->env, c->app, http_out, response->body.n);
    }
    atomic_fetch_sub_explicit(&c->api->in_flight, 1, memory_order_relaxed);
    http_respond(c->request, &whole);
}

void call_begin(struct call *c, const struct http_response *head)
{
    struct http_response whole = *head;
    whole.extra_headers = joined(c, c->headers, head->extra_headers);
    metrics_count(c->env, c->app, http_calls, 1);
    http_begin(c->request, &whole);
}

void call_part(struct call *c, struct str bytes)
{
    metrics_count(c->env, c->app, http_out, bytes.n);
    http_part(c->request, bytes);
}

void call_finish(struct call *c)
{
    atomic_fetch_sub_explicit(&c->api->in_flight, 1, memory_order_relaxed);
    http_finish(c->request);
}

void call_ok_json(struct call *c, struct str json)
{
    call_answer(
        c, &(struct http_response){.status = 200, .content_type = STR("application/json"), .body = json});
}

void call_ok(struct call *c)
{
    call_ok_json(c, buf_view(&c->api->body));
}

void call_refuse(struct call *c, struct failure failure)
{
    struct buf *body = call_body(c);
    failure_json(body, &failure);
    call_answer(c, &(struct http_response){.status = failure.status,
                                           .content_type = STR("application/json"),
                                           .extra_headers =
                                               failure.retry_after_s ? STR("Retry-After: 1\r\n") : STR_NONE,
                                           .body = buf_view(body)});
}

void call_text(struct call *c, unsigned status, struct str headers, struct str text)
{
    call_answer(
        c, &(struct http_response){
               .status = status, .content_type = STR("text/plain"), .extra_headers = headers, .body = text});
}
