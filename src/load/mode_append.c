/* mode_append.c - streams of appends, as an LLM's answers are: each fragment acknowledged before the next
 * leaves.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/rig.h"
#include "load/verify.h"

struct append_run {
    struct rig *rig;
    struct swarm swarm; /* of --subscribers, perhaps none */
    struct feed feed;
};

static void drive(struct append_run *a, uint64_t seconds, uint64_t count)
{
    const struct options *o = a->rig->options;
    feed_run(&a->feed, o->rate_per_s, count);
    while (count && a->feed.issued < a->feed.issued_max)
        loop_turn(a->rig->wire.loop, 100);
    if (!count)
        rig_turn_ms(a->rig, seconds * 1000);
    feed_stop(&a->feed);
}

static bool measure(struct append_run *a)
{
    struct rig *rig = a->rig;
    const struct options *o = rig->options;
    drive(a, o->warmup_seconds, 0);
    feed_drain(&a->feed, o->drain_seconds);
    rig_turn_ms(rig, o->settle_seconds * 1000);

    a->feed.from_ns = a->swarm.from_ns = clock_mono_ns(&clock_system);
    a->feed.to_ns = a->swarm.to_ns = UINT64_MAX;
    uint64_t acked = a->feed.acked, creates = a->feed.creates;
    rig_begin(rig);
    drive(a, o->seconds, o->count);
    bool fine = feed_drain(&a->feed, o->drain_seconds);
    rig_end(rig);
    rig_turn_ms(rig, o->subscribers ? 1000 : 0); /* the last frames of a rollup window */
    rig_report_rate(rig, "appends", a->feed.acked - acked);
    report_count(&rig->report, "messages_begun", a->feed.creates - creates);
    rig_report_feed(rig, &a->feed);
    return fine && a->feed.failed == 0;
}

static bool check_subscribers(struct append_run *a)
{
    uint64_t each = a->rig->options->subscribers / a->rig->options->channels;
    uint64_t missing = a->feed.acked * each - a->swarm.deliveries;
    report_count(&a->rig->report, "deliveries", a->swarm.deliveries);
    report_count(&a->rig->report, "missing", missing);
    rig_report_swarm(a->rig, &a->swarm);
    return missing == 0 && a->swarm.order_errors == 0 && a->swarm.serial_errors == 0;
}

int mode_append(const struct options *o)
{
    if (o->streaming)
        return mode_append_streaming(o);
    struct rig *rig = rig_new(o, "append");
    if (!rig)
        return 1;
    struct append_run a = {.rig = rig};
    swarm_init(&a.swarm, &rig->wire, o, rig->peer);
    feed_init(&a.feed, &rig->wire, o, rig->peer, FEED_APPEND, o->connections);
    bool fine = swarm_start(&a.swarm) && feed_prepare(&a.feed);
    if (fine) {
        rig_settle(rig);
        fine = measure(&a);
    }
    if (fine && o->subscribers)
        fine = check_subscribers(&a);
    if (fine && o->verify) {
        uint64_t wrong = verify_messages(&a.feed);
        report_count(&rig->report, "messages_wrong", wrong);
        fine = wrong == 0;
    }
    feed_free(&a.feed);
    swarm_free(&a.swarm);
    return rig_free(rig) || !fine;
}
