/* signature.c - is this request signed by one of our applications? (chapter 2, 2.3)
 *
 *      POST\n/apps/7/events\nauth_key=k1&auth_timestamp=1700000000&auth_version=1.0&body_md5=2bd0...
 *      `--´  `------------´  `---- every parameter but auth_signature: key folded, value decoded, sorted
 * ----´
 *
 * SDKs send the parameters sorted and unencoded, so that cutting, sorting and decoding find nothing to do and
 * the string is copied together; what costs is one HMAC over it and one MD5 over the body.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/app.h"
#include "app/query.h"
#include "base/mem.h"

enum { TIMESTAMP_WINDOW_S = 600, CANONICAL_FEW = 1024 };

/* ---- failures ---- */

static bool fail(struct signature_failure *failure, unsigned status, const char *code, const char *format,
                 ...) __attribute__((format(printf, 4, 5)));
static bool fail(struct signature_failure *failure, unsigned status, const char *code, const char *format,
                 ...)
{
    va_list args;
    failure->status = status;
    failure->code = code;
    va_start(args, format);
    vsnprintf(failure->text, sizeof failure->text, format, args);
    va_end(args);
    return false;
}
#define refuse(failure, ...) fail((failure), 401, "auth_failed", __VA_ARGS__)
#define invalid(failure, ...) fail((failure), 400, "invalid_input", __VA_ARGS__)

/* ---- checks 1 to 5: the head is enough ---- */

static const char *duplicate_of(const struct query_pairs *q)
{
    static const char *const names[] = {"auth_key", "auth_timestamp", "auth_version", "body_md5",
                                        "auth_signature"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (query_times(q, str_of(names[i])) > 1)
            return names[i];
    return NULL;
}

static bool check_pairs(const struct query_pairs *q, const char *wrong, struct signature_failure *failure)
{
    if (wrong)
        return invalid(failure, "Invalid authentication query parameters: %s", wrong);
    const char *twice = duplicate_of(q);
    if (twice)
        return invalid(failure, "Invalid authentication query parameters: duplicate field `%s`", twice);
    return q->count > 0 || invalid(failure, "Query string is empty or invalid");
}

static struct str value_of(struct query_pairs *q, struct str key)
{
    const struct query_pair *pair = query_find(q, key);
    return pair ? query_value(pair, &q->arena) : STR_NONE;
}

static struct app *check_app(const struct apps *apps, struct query_pairs *q, struct str app_id,
                             struct signature_failure *failure)
{
    struct str key = value_of(q, STR("auth_key"));
    struct app *app = key.p ? apps_by_key(apps, key) : NULL;
    bool fine =
        app || fail(failure, 404, "app_not_found", "Application key not found or invalid: Invalid app key");
    fine = fine && (app->config->enabled || fail(failure, 403, "forbidden", "Application is disabled"));
    fine =
        fine && (str_eq(app->id, app_id) || refuse(failure, "Authenticated app does not match route app_id"));
    return fine ? app : NULL;
}

static bool check_timestamp(struct query_pairs *q, int64_t now_s, struct signature_failure *failure)
{
    struct str text = value_of(q, STR("auth_timestamp"));
    int64_t at_s, apart_s;
    if (!text.p)
        return refuse(failure, "auth_timestamp is missing");
    if (!str_to_i64(text, &at_s))
        return refuse(failure, "Invalid auth_timestamp format");
    if (__builtin_sub_overflow(now_s, at_s, &apart_s) || apart_s > TIMESTAMP_WINDOW_S ||
        apart_s < -TIMESTAMP_WINDOW_S)
        return refuse(failure, "Timestamp expired or too far in the future");
    return true;
}

struct app *signature_check_head(const struct apps *apps, const struct signed_request *request,
                                 struct str app_id, struct signature_failure *failure)
{
    struct query_pairs q;
    struct app *app = NULL;
    if (!request->query.p) {
        invalid(failure, "Missing authentication query parameters");
        return NULL;
    }
    const char *wrong = query_read(&q, request->query);
    if (check_pairs(&q, wrong, failure))
        app = check_app(apps, &q, app_id, failure);
    if (app && !check_timestamp(&q, request->now_s, failure))
        app = NULL;
    query_pairs_free(&q);
    return app;
}

/* ---- check 6: the body ---- */

bool signature_check_body(const struct signed_request *request, struct str body_md5, struct signature_failure *failure)
{
    char md5[2 * MD5_SIZE + 1];
    if (!str_eq(request->method, STR("POST")) || (!body_md5.p && request->body.n == 0))
        return true;
    if (body_md5.n == 0)
        return refuse(failure, "body_md5 is required and must be non-empty for POST requests");
    md5_hex(request->body, md5);
    return str_eq(body_md5, str_make(md5, 2 * MD5_SIZE)) || refuse(failure, "body_md5 mismatch"); /* no secret */
}

/* ---- check 7: no digest without a body ---- */

static bool check_method(struct query_pairs *q, const struct signed_request *request, struct signature_failure *failure)
{
    return str_eq(request->method, STR("POST")) || !query_find(q, STR("body_md5")) ||
           refuse(failure, "body_md5 must not be present in query parameters for %.*s requests",
                  STR_ARG(request->method));
}

/* ---- check 8: the signature ---- */

static char *copy(char *to, struct str s)
{
    if (s.n)
        memcpy(to, s.p, s.n);
    return to + s.n;
}

static char *put_params(char *to, const struct query_pairs *sorted)
{
    const char *start = to;
    for (size_t i = 0; i < sorted->count; i++) {
        const struct query_pair *pair = &sorted->pairs[i];
        bool superseded = i + 1 < sorted->count && str_eq(pair->sort_key, pair[1].sort_key);
        if (superseded)
            continue;
        if (to > start)
            *to++ = '&';
        to = copy(to, pair->sort_key);
        *to++ = '=';
        to = sorted->plain ? copy(to, pair->value_raw) : query_decode(to, pair->value_raw);
    }
    return to;
}

/* METHOD \n PATH \n PARAMS */
static char *put_canonical(char *to, const struct signed_request *request, struct str path,
                           const struct query_pairs *sorted)
{
    to = copy(to, request->method);
    *to++ = '\n';
    to = copy(to, path);
    *to++ = '\n';
    return put_params(to, sorted);
}

static void drop_signature(struct query_pairs *q)
{
    size_t kept = 0;
    for (size_t i = 0; i < q->count; i++)
        if (!str_eq(q->pairs[i].key, STR("auth_signature")))
            q->pairs[kept++] = q->pairs[i];
    q->count = kept;
}

static bool signed_over(struct app *app, unsigned shard, const struct signed_request *request,
                        struct str path, const struct query_pairs *sorted, struct str signature)
{
    char few[CANONICAL_FEW], hex[2 * SHA256_SIZE + 1];
    size_t room = request->method.n + path.n + 2 + request->query.n + 2 * sorted->count;
    char *canonical = room <= sizeof few ? few : mem_alloc(room);
    char *end = put_canonical(canonical, request, path, sorted);
    assert((size_t)(end - canonical) <= room);
    hmac_sha256_hex(app->hmac[shard], str_make(canonical, (size_t)(end - canonical)), hex);
    if (canonical != few)
        free(canonical);
    return str_eq_secret(signature, str_make(hex, 2 * SHA256_SIZE));
}

static bool check_signature(struct app *app, unsigned shard, const struct signed_request *request,
                            struct query_pairs *q, struct signature_failure *failure)
{
    struct str signature = value_of(q, STR("auth_signature")), path = request->path;
    bool fine = false;
    drop_signature(q);
    query_sort(q);
    if (signature.p)
        fine = signed_over(app, shard, request, path, q, signature);
    if (!fine && signature.p && path.n > 1 && str_ends(path, STR("/")))
        fine = signed_over(app, shard, request, str_first(path, path.n - 1), q, signature);
    return fine || refuse(failure, "Invalid API signature");
}

bool signature_check_mac(struct app *app, unsigned shard, const struct signed_request *request, struct arena *arena,
                         struct str *body_md5, struct signature_failure *failure)
{
    struct query_pairs q;
    bool fine = check_pairs(&q, query_read(&q, request->query), failure) && check_method(&q, request, failure);
    if (fine)
        *body_md5 = arena_copy(arena, value_of(&q, STR("body_md5")));
    fine = fine && check_signature(app, shard, request, &q, failure);
    query_pairs_free(&q);
    return fine;
}

/* ---- what sockets sign: chapter 1, 4.1 and 5.5 ---- */

static bool hmac_is(struct app *app, unsigned shard, const struct buf *message, struct str hex)
{
    char ours[2 * SHA256_SIZE + 1];
    hmac_sha256_hex(app->hmac[shard], buf_view(message), ours);
    return str_eq_secret(hex, str_make(ours, 2 * SHA256_SIZE));
}

bool channel_auth_ok(struct app *app, unsigned shard, struct str auth, struct str socket_id,
                     struct str channel, struct str channel_data)
{
    struct buf message = {0};
    struct str hex = auth, key = str_split(&hex, ':');
    buf_str(&message, socket_id);
    buf_char(&message, ':');
    buf_str(&message, channel);
    if (channel_data.p) {
        buf_char(&message, ':');
        buf_str(&message, channel_data);
    }
    bool fine = hex.p && str_eq(key, app->key) && hmac_is(app, shard, &message, hex);
    buf_free(&message);
    return fine;
}

bool signin_auth_ok(struct app *app, unsigned shard, struct str auth, struct str socket_id,
                    struct str user_data)
{
    struct buf message = {0};
    struct str hex = auth, key = str_split(&hex, ':');
    if (!hex.p) { /* no key part: the reference accepts the bare signature */
        hex = auth;
        key = app->key;
    }
    buf_str(&message, socket_id);
    buf_lit(&message, "::user::");
    buf_str(&message, user_data);
    bool fine = hex.p && str_eq(key, app->key) && hmac_is(app, shard, &message, hex);
    buf_free(&message);
    return fine;
}
