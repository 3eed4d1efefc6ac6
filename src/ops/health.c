/* health.c - /live, /up and /up/{appId} (chapter 2, 2.15; chapter 4, 8.3).
 *
 * Nothing here asks another thread: a server that is stuck elsewhere still says what it knows.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "ops/internal.h"

#include "cluster/bus.h"
#include "cluster/cache.h"
#include "webhook/webhook.h"

void serve_live(struct call *c)
{
    call_answer(c, &(struct http_response){.status = 200});
}

struct verdict {
    unsigned status;
    const char *word;
};
static const struct verdict OK = {200, "OK"}, DEGRADED = {200, "DEGRADED"}, ERROR = {503, "ERROR"},
                            DRAINING = {503, "DRAINING"}, NOT_FOUND = {404, "NOT_FOUND"};

static struct verdict whole_server(struct ops *ops)
{
    if (atomic_load_explicit(&ops->draining, memory_order_relaxed))
        return DRAINING;
    if (apps_count(ops->apps) == 0)
        return ERROR;
    if (ops->store && !store_is_healthy(ops->store))
        return ops->config->history.enabled ? ERROR : DEGRADED;
    if ((ops->cache && !cache_is_up(ops->cache)) || (ops->bus && bus_gave_way(ops->bus)))
        return ERROR;
    if (ops->bus && !bus_is_up(ops->bus))
        return ops->config->adapter.fallback_to_local ? DEGRADED : ERROR;
    return ops->webhooks && !webhooks_is_healthy(ops->webhooks) ? DEGRADED : OK;
}

static void say(struct call *c, struct verdict v)
{
    struct buf *line = &c->api->scratch;
    buf_clear(line);
    buf_lit(line, "X-Health-Check: ");
    buf_str(line, str_of(v.word));
    buf_lit(line, "\r\n");
    call_text(c, v.status, buf_view(line), str_of(v.word));
}

void serve_up(struct call *c)
{
    say(c, whole_server(ops_of(c)));
}

void serve_up_app(struct call *c)
{
    struct ops *ops = ops_of(c);
    const struct app *app = apps_by_id(ops->apps, c->args[0]);
    if (!app)
        say(c, NOT_FOUND);
    else if (!app->config->enabled && !atomic_load_explicit(&ops->draining, memory_order_relaxed))
        say(c, ERROR);
    else
        say(c, whole_server(ops));
}
