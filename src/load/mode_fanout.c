/* mode_fanout.c - one publisher, many subscribers, both in this process.
 *
 * Closed loop: the next publish leaves when all but depth - 1 of those before have reached everybody. With
 * depth 1 each delivery is a write of its own, which is what a bare send() loop does too. On a schedule
 * (--rate) it is latency that counts.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>

#include "load/rig.h"

struct fanout {
    struct rig *rig;
    struct swarm swarm;
    struct feed feed;
    uint64_t each; /* deliveries of one publish */
};

static uint64_t now(void)
{
    return clock_mono_ns(&clock_system);
}

static uint64_t outstanding(const struct fanout *f)
{
    return f->feed.issued - f->swarm.deliveries / f->each;
}

static bool drain(struct fanout *f)
{
    uint64_t until_ns = now() + f->rig->options->drain_seconds * 1000000000ull;
    while ((outstanding(f) > 0 || f->feed.free_count < f->feed.count) && now() < until_ns)
        loop_turn(f->rig->wire.loop, 5);
    return outstanding(f) == 0;
}

static void drive(struct fanout *f, uint64_t seconds)
{
    uint64_t until_ns = now() + seconds * 1000000000ull;
    if (f->rig->options->rate_per_s) {
        feed_run(&f->feed, f->rig->options->rate_per_s, 0);
        rig_turn_ms(f->rig, seconds * 1000);
        feed_stop(&f->feed);
        return;
    }
    while (now() < until_ns) {
        while (outstanding(f) < f->rig->options->depth && feed_once(&f->feed))
            ;
        loop_turn(f->rig->wire.loop, 5);
    }
}

static bool measure(struct fanout *f)
{
    struct rig *rig = f->rig;
    drive(f, rig->options->warmup_seconds);
    if (!drain(f)) {
        fprintf(stderr, "deliveries are missing: %llu of %llu after the warm-up\n",
                (unsigned long long)f->swarm.deliveries, (unsigned long long)(f->feed.issued * f->each));
        return false;
    }
    f->swarm.from_ns = f->feed.from_ns = now();
    f->swarm.to_ns = f->feed.to_ns = UINT64_MAX;
    uint64_t before = f->swarm.deliveries, published = f->feed.issued;
    rig_begin(rig);
    drive(f, rig->options->seconds);
    bool complete = drain(f);
    rig_end(rig);
    report_count(&rig->report, "published", f->feed.issued - published);
    rig_report_rate(rig, "deliveries", f->swarm.deliveries - before);
    report_count(&rig->report, "missing", f->feed.issued * f->each - f->swarm.deliveries);
    rig_report_swarm(rig, &f->swarm);
    rig_report_feed(rig, &f->feed);
    return complete && f->swarm.order_errors == 0;
}

int mode_fanout(const struct options *o)
{
    struct rig *rig = rig_new(o, "fanout");
    if (!rig)
        return 1;
    struct fanout f = {.rig = rig, .each = o->subscribers / o->channels};
    uint64_t streams = o->connections > o->depth ? o->connections : o->depth;
    swarm_init(&f.swarm, &rig->wire, o, rig->peer);
    feed_init(&f.feed, &rig->wire, o, rig->peer, FEED_PUBLISH, rig->peer->raw ? 1 : streams);
    bool fine = swarm_start(&f.swarm) && measure(&f);
    feed_free(&f.feed);
    swarm_free(&f.swarm);
    return rig_free(rig) || !fine;
}
