/* quota.c - see quota.h
 *
 *      REMOTE_CONNECTIONS: place 0 │ count │ app id, connections │ app id, connections │ ...
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "session/quota.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/pack.h"
#include "channel/remote.h"
#include "cluster/bus.h"

struct peer {
    struct str node;    /* owned */
    uint64_t heard_ms;
    uint32_t *counts;   /* by index of the app */
};

struct quotas {
    struct env *env;
    struct timer timer;
    uint32_t *said;     /* by index of the app */
    uint64_t said_ms;
    bool drains;
    struct peer *peers;
    size_t count;
};

static uint32_t count_of(const struct quotas *q, const struct app *app)
{
    return q->drains ? 0 : atomic_load(&app->connections);
}

/* ---- telling ---- */

/* From *at on; returns how many apps it took. */
static size_t put_some(struct quotas *q, size_t *at, struct buf *out)
{
    const struct apps *apps = q->env->apps;
    size_t n = 0;
    for (; *at < apps_count(apps) && n < QUOTA_APPS_MAX; (*at)++) {
        const struct app *app = apps_at(apps, *at);
        if (app->config->max_connections == 0)
            continue;
        q->said[*at] = count_of(q, app);
        pack_text(out, app->id);
        pack_u64(out, q->said[*at]);
        n++;
    }
    return n;
}

static void tell(struct quotas *q)
{
    q->said_ms = env_now_ms(q->env);
    for (size_t at = 0; at < apps_count(q->env->apps);) {
        struct buf pairs = {0}, payload = {0};
        size_t n = put_some(q, &at, &pairs);
        remote_begin(&payload, REMOTE_CONNECTIONS);
        pack_u64(&payload, 0); /* shard 0 adds up */
        pack_u64(&payload, n);
        buf_str(&payload, buf_view(&pairs));
        if (n > 0)
            q->env->bus->send(q->env, STR_NONE, buf_view(&payload));
        buf_free(&pairs);
        buf_free(&payload);
    }
}

static bool is_due(const struct quotas *q)
{
    bool any = false;
    for (size_t i = 0; i < apps_count(q->env->apps); i++) {
        const struct app *app = apps_at(q->env->apps, i);
        if (app->config->max_connections == 0)
            continue;
        if (count_of(q, app) != q->said[i])
            return true;
        any |= q->said[i] > 0;
    }
    return any && env_now_ms(q->env) >= q->said_ms + QUOTA_REPEAT_MS;
}

/* ---- adding up ---- */

static void set(struct quotas *q, struct peer *peer, size_t index, uint32_t n)
{
    struct app *app = apps_at(q->env->apps, index);
    atomic_fetch_add(&app->connections_elsewhere, n - peer->counts[index]);
    peer->counts[index] = n;
}

static void forget(struct quotas *q, size_t at)
{
    struct peer *peer = &q->peers[at];
    for (size_t i = 0; i < apps_count(q->env->apps); i++)
        set(q, peer, i, 0);
    free((void *)peer->node.p);
    free(peer->counts);
    *peer = q->peers[--q->count];
}

static struct peer *peer_of(struct quotas *q, struct str node)
{
    for (size_t i = 0; i < q->count; i++)
        if (str_eq(q->peers[i].node, node))
            return &q->peers[i];
    if (q->count >= BUS_PEERS_MAX)
        return NULL;
    q->peers = mem_realloc(q->peers, (q->count + 1) * sizeof *q->peers);
    struct peer *peer = &q->peers[q->count++];
    *peer = (struct peer){.node = str_make(str_dup(node), node.n), .counts = mem_zalloc((apps_count(q->env->apps) + 1) * sizeof(uint32_t))};
    return peer;
}

static void take(void *user, struct env *env, struct str node, struct str payload)
{
    struct quotas *q = user;
    struct peer *peer = peer_of(q, node);
    struct str id;
    uint64_t pairs;
    uint32_t n;
    if (peer == NULL || !unpack_u64(&payload, &pairs))
        return;
    peer->heard_ms = env_now_ms(env);
    for (; pairs > 0 && unpack_text(&payload, &id) && unpack_u32(&payload, &n); pairs--) {
        const struct app *app = apps_by_id(env->apps, id);
        if (app != NULL)
            set(q, peer, app->index, n);
    }
}

static void looks(struct timer *timer)
{
    struct quotas *q = list_of(timer, struct quotas, timer);
    uint64_t now = env_now_ms(q->env);
    for (size_t i = q->count; i-- > 0;)
        if (now >= q->peers[i].heard_ms + QUOTA_FORGET_MS)
            forget(q, i);
    if (is_due(q))
        tell(q);
    wheel_set(q->env->wheel, timer, now + QUOTA_LOOK_MS);
}

/* ---- life ---- */

struct quotas *quotas_new(struct env *env)
{
    if (env->bus == NULL)
        return NULL;
    struct quotas *q = mem_new(struct quotas);
    q->env = env;
    q->said = mem_zalloc((apps_count(env->apps) + 1) * sizeof *q->said);
    q->timer.fire = looks;
    hub_on_remote(env->hub, REMOTE_CONNECTIONS, take, q);
    wheel_set(env->wheel, &q->timer, env_now_ms(env) + QUOTA_LOOK_MS);
    return q;
}

void quotas_drain(struct quotas *q)
{
    if (q == NULL)
        return;
    q->drains = true;
    tell(q);
}

void quotas_free(struct quotas *q)
{
    if (q == NULL)
        return;
    wheel_cancel(q->env->wheel, &q->timer);
    hub_on_remote(q->env->hub, REMOTE_CONNECTIONS, NULL, NULL);
    while (q->count > 0)
        forget(q, q->count - 1);
    free(q->peers);
    free(q->said);
    free(q);
}
