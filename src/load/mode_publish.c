/* mode_publish.c - publishers alone: how fast, and how soon acknowledged.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/rig.h"

static bool measure(struct rig *rig, struct feed *feed)
{
    const struct options *o = rig->options;
    feed_run(feed, o->rate_per_s, 0);
    rig_turn_ms(rig, o->warmup_seconds * 1000);
    feed_stop(feed);
    feed_drain(feed, o->drain_seconds);

    feed->from_ns = clock_mono_ns(&clock_system);
    feed->to_ns = UINT64_MAX;
    uint64_t acked = feed->acked;
    rig_begin(rig);
    feed_run(feed, o->rate_per_s, o->count);
    while (o->count && feed->issued < feed->issued_max)
        loop_turn(rig->wire.loop, 100);
    if (!o->count)
        rig_turn_ms(rig, o->seconds * 1000);
    feed_stop(feed);
    bool fine = feed_drain(feed, o->drain_seconds);
    rig_end(rig);
    rig_report_rate(rig, "publishes", feed->acked - acked);
    rig_report_feed(rig, feed);
    return fine && feed->failed == 0;
}

int mode_publish(const struct options *o)
{
    struct rig *rig = rig_new(o, "publish");
    if (!rig)
        return 1;
    struct feed feed;
    feed_init(&feed, &rig->wire, o, rig->peer, FEED_PUBLISH, o->connections);
    bool fine = measure(rig, &feed);
    feed_free(&feed);
    return rig_free(rig) || !fine;
}
