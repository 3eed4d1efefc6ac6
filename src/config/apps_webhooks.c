/* apps_webhooks.c - the webhooks of one application (chapter 2, 2.19.1): read, checked, typed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "config/load.h"

#include <stdio.h>

#include "base/json.h"

enum { WEBHOOKS_MAX = 100, HEADERS_MAX = 32, URL_MAX = 2048 };

/* What each request carries already, or what frames it. */
static const char *const reserved[] = {"content-type", "content-length", "transfer-encoding", "connection",
                                       "expect",       "x-pusher-key",   "x-pusher-signature"};

static bool is_token(struct str name)
{
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i], letter = (char)(c | 32);
        if (!((letter >= 'a' && letter <= 'z') || (c >= '0' && c <= '9') || (c != 0 && strchr("!#$%&'*+-.^_`|~", c))))
            return false;
    }
    return name.n > 0;
}

static bool is_visible(struct str text)
{
    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)text.p[i] < ' ' || text.p[i] == 0x7f)
            return false;
    return true;
}

static bool check_header(struct loader *l, const struct webhook_header *header, struct str where)
{
    if (!is_token(header->name))
        return load_fail(l, "%.*sheaders: '%.*s' is no name of a header", STR_ARG(where), STR_ARG(header->name));
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
        if (str_eq_nocase(header->name, str_of(reserved[i])))
            return load_fail(l, "%.*sheaders: %s is set by the server", STR_ARG(where), reserved[i]);
    if (!is_visible(header->value))
        return load_fail(l, "%.*sheaders.%.*s must not contain control characters", STR_ARG(where),
                         STR_ARG(header->name));
    return true;
}

static bool load_headers(struct loader *l, struct webhook_config *hook, struct str where, struct str object)
{
    struct arena *arena = &l->config->arena;
    struct json_iter it = json_iter(object);
    struct str key_raw, json;
    hook->headers = arena_zalloc(arena, HEADERS_MAX * sizeof *hook->headers);
    while (object.p != NULL && json_next_member(&it, &key_raw, &json)) {
        struct webhook_header *header = &hook->headers[hook->headers_count];
        struct buf name = {0}, value = {0};
        if (hook->headers_count++ == HEADERS_MAX)
            return load_fail(l, "%.*sheaders: at most %d", STR_ARG(where), HEADERS_MAX);
        header->name = arena_copy(arena, json_key_text(key_raw, &name));
        struct str text = json_text(json, &value);
        if (text.p != NULL)
            header->value = arena_copy(arena, text);
        buf_free(&name);
        buf_free(&value);
        if (text.p == NULL)
            return load_fail(l, "%.*sheaders.%.*s: expected a string", STR_ARG(where), STR_ARG(header->name));
        if (!check_header(l, header, where))
            return false;
    }
    return true;
}

static bool is_http_url(struct str url)
{
    size_t scheme = str_eq_nocase(str_first(url, 7), STR("http://"))    ? 7
                    : str_eq_nocase(str_first(url, 8), STR("https://")) ? 8
                                                                        : 0;
    if (scheme == 0 || url.n > URL_MAX || url.n == scheme || strchr("/?#:", url.p[scheme]) != NULL)
        return false;
    return is_visible(url) && str_index(url, ' ') < 0;
}

/* The URL may hold credentials: no message shows it. */
static bool check_webhook(struct loader *l, const struct webhook_config *hook, struct config_value *values, struct str where)
{
    bool lambda = value_at(&keys_webhook, values, "lambda.function_name")->text.p != NULL ||
                  value_at(&keys_webhook, values, "lambda_function")->text.p != NULL;
    if (hook->url.p == NULL && lambda)
        return load_fail(l, "%.*slambda: AWS Lambda targets are not supported by this build yet; give a url", STR_ARG(where));
    if (hook->url.p == NULL || !is_http_url(hook->url))
        return load_fail(l, "%.*surl must be an http:// or https:// URL of at most %d bytes", STR_ARG(where), URL_MAX);
    if (value_at(&keys_webhook, values, "event_types")->text.p == NULL)
        return load_fail(l, "%.*sevent_types is required", STR_ARG(where));
    if (hook->retry.max_attempts == 0)
        return load_fail(l, "%.*sretry.max_attempts must be greater than 0", STR_ARG(where));
    if (hook->retry.initial_backoff_ms == 0 || hook->retry.max_backoff_ms == 0)
        return load_fail(l, "%.*sretry: initial_backoff_ms and max_backoff_ms must be greater than 0", STR_ARG(where));
    if (hook->request_timeout_ms == 0)
        return load_fail(l, "%.*srequest_timeout_ms must be greater than 0", STR_ARG(where));
    return true;
}

static bool load_webhook(struct loader *l, struct webhook_config *hook, struct str where, struct str json)
{
    struct config_value *values = value_defaults(&keys_webhook, &l->config->arena);
    if (!walk_object(l, &keys_webhook, values, where, json) || !walk_end(l, &keys_webhook, values, where))
        return false;
    value_store_all(&keys_webhook, values, &l->config->arena, hook);
    return check_webhook(l, hook, values, where) &&
           load_headers(l, hook, where, value_at(&keys_webhook, values, "headers")->text);
}

bool apps_webhooks(struct loader *l, struct app_config *app, struct str where, struct str array)
{
    struct json_iter it = json_iter(array);
    struct str json;
    app->webhooks = arena_zalloc(&l->config->arena, WEBHOOKS_MAX * sizeof *app->webhooks);
    while (json_next_item(&it, &json)) {
        char inside[120];
        int n = snprintf(inside, sizeof inside, "%.*swebhooks[%zu].", STR_ARG(where), app->webhooks_count);
        if (app->webhooks_count == WEBHOOKS_MAX)
            return load_fail(l, "%.*swebhooks: at most %d", STR_ARG(where), WEBHOOKS_MAX);
        if (!load_webhook(l, &app->webhooks[app->webhooks_count++], str_make(inside, (size_t)n), json))
            return false;
    }
    return true;
}
