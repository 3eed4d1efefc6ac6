/* mode_stream.c - append --streaming: messages as streams, one signed request each.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/flow.h"
#include "load/rig.h"

#include <stdio.h>

static bool measure(struct rig *rig, struct flow *f)
{
    const struct options *o = rig->options;
    flow_start(f);
    rig_turn_ms(rig, o->warmup_seconds * 1000);
    uint64_t acked = f->acked, messages = f->messages;
    f->from_ns = clock_mono_ns(&clock_system);
    rig_begin(rig);
    rig_turn_ms(rig, o->seconds * 1000);
    rig_end(rig);
    rig_report_rate(rig, "appends", f->acked - acked);
    report_count(&rig->report, "messages_begun", f->messages - messages);
    bool fine = flow_end(f, o->drain_seconds);
    report_count(&rig->report, "failed", f->failed);
    if (hist_count(f->ack))
        report_latency(&rig->report, "ack", f->ack);
    return fine && f->failed == 0 && f->wrong == 0;
}

int mode_append_streaming(const struct options *o)
{
    struct rig *rig = rig_new(o, "append --streaming");
    struct flow flow;
    if (!rig)
        return 1;
    if (o->ahead == 0 || o->subscribers || o->rate_per_s || o->count || o->accumulated_bytes) {
        fprintf(stderr, "--streaming takes --ahead above 0, and no --subscribers, --rate, --count or --accumulated\n");
        return rig_free(rig) || 1;
    }
    flow_init(&flow, &rig->wire, o);
    bool fine = measure(rig, &flow);
    if (fine && o->verify) {
        uint64_t wrong = flow_verify(&flow);
        report_count(&rig->report, "messages_wrong", wrong);
        fine = wrong == 0;
    }
    flow_free(&flow);
    return rig_free(rig) || !fine;
}
