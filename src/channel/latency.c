/* latency.c - how long an event takes from its arrival to its subscribers: measured when the turn's writes are done, by a timer that
 * is due in the next turn.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/mem.h"
#include "channel/internal.h"

enum { PROBES_MAX = 256 };
struct probe {
    struct app *app;
    const char *channel_type;
    uint64_t arrived_ns;
    uint32_t recipients;
    bool append;
};
struct latency_probes {
    struct timer timer;
    struct env *env;
    struct probe probes[PROBES_MAX];
    uint32_t count;
};

static void probes_fire(struct timer *timer)
{
    struct latency_probes *all = list_of(timer, struct latency_probes, timer);
    uint64_t now = clock_mono_ns(all->env->clock);
    for (uint32_t i = 0; i < all->count; i++) {
        const struct probe *p = &all->probes[i];
        double ms = (double)(now - p->arrived_ns) / 1e6;
        metrics_broadcast(all->env, p->app, p->channel_type, p->recipients, ms);
        if (p->append)
            metrics_observe(all->env, p->app, append_delivery, ms);
    }
    all->count = 0;
}

void latency_probe(struct env *env, const struct message_shared *m, uint32_t recipients)
{
    struct latency_probes *all = env->hub->probes;
    if (all == NULL) {
        all = env->hub->probes = mem_new(struct latency_probes);
        all->env = env;
        all->timer.fire = probes_fire;
    }
    if (all->count == PROBES_MAX)
        return;
    if (all->count == 0)
        wheel_set(env->wheel, &all->timer, wheel_now_ms(env->wheel));
    all->probes[all->count++] = (struct probe){m->app, m->channel_type, m->d.arrived_ns, recipients, m->d.append};
}
