/* presence_doubt.c - which channels of a shard have a log that cannot be trusted (presence_log.h).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/presence_log.h"
#include "base/mem.h"
#include "channel/internal.h"
#include <stdlib.h>

/* A channel whose log has a hole. */
struct doubt {
    struct app *app;
    struct str key;            /* text[] */
    enum stream_state state;
    char text[];
};

static void count_doubt(const struct channel *ch, enum stream_state state, int change)
{
    metrics_gauge(ch->env, ch->app, presence_degraded, change);
    if (state == STATE_RESET_REQUIRED)
        metrics_gauge(ch->env, ch->app, presence_reset_required, change);
}

void presence_doubt(struct channel *ch, enum stream_state state)
{
    struct hub *hub = ch->env->hub;
    struct doubt *d = map_get(&hub->doubts, ch->key);
    if (d != NULL && (d->state == state || d->state == STATE_RESET_REQUIRED))
        return;
    if (d != NULL) {
        count_doubt(ch, d->state, -1);
        d->state = state;
        count_doubt(ch, state, 1);
        return;
    }
    if (hub->doubts.count >= DOUBTS_MAX) {
        hub->doubts_overflow = true;
        return;
    }
    d = mem_zalloc(sizeof(*d) + ch->key.n);
    memcpy(d->text, ch->key.p, ch->key.n);
    d->key = str_make(d->text, ch->key.n);
    d->app = ch->app;
    d->state = state;
    map_put(&hub->doubts, d->key, d);
    count_doubt(ch, d->state, 1);
}

void presence_doubt_end(struct channel *ch)
{
    struct doubt *d = map_del(&ch->env->hub->doubts, ch->key);
    if (d == NULL)
        return;
    count_doubt(ch, d->state, -1);
    free(d);
}

enum stream_state presence_log_doubt(const struct hub *hub, const struct app *app, struct str channel)
{
    struct buf key = {0};
    if (hub->doubts.count == 0)
        return STATE_HEALTHY;
    channel_key(&key, app, channel);
    const struct doubt *d = map_get(&hub->doubts, buf_view(&key));
    buf_free(&key);
    if (d != NULL)
        return d->state;
    return hub->doubts_overflow ? STATE_DEGRADED : STATE_HEALTHY;
}

void presence_log_count_doubts(const struct hub *hub, const struct app *app, uint64_t *degraded, uint64_t *reset_required)
{
    size_t at = 0;
    for (const struct doubt *d; (d = map_next(&hub->doubts, &at)) != NULL;) {
        if (app != NULL && d->app != app)
            continue;
        ++*degraded;
        *reset_required += d->state == STATE_RESET_REQUIRED;
    }
}

void presence_log_free_doubts(struct hub *hub)
{
    size_t at = 0;
    for (struct doubt *d; (d = map_next(&hub->doubts, &at)) != NULL;) {
        map_del(&hub->doubts, d->key);
        free(d);
    }
    map_free(&hub->doubts);
}
