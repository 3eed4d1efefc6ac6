/* mode_idle.c - connections that do nothing: what each costs the server in memory, and how often it wakes up
 * for them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>

#include "load/rig.h"

enum { REST_MS = 2000 };

static bool measure(struct rig *rig, struct swarm *swarm)
{
    const struct options *o = rig->options;
    struct proc_usage before, full, after;
    if (!proc_read(o->server_pid, &before)) {
        fprintf(stderr, "idle needs --server-pid\n");
        return false;
    }
    bool fine = swarm_start(swarm);
    rig_turn_ms(rig, REST_MS);
    proc_read(o->server_pid, &full);
    rig_begin(rig);
    rig_turn_ms(rig, o->seconds * 1000);
    rig_end(rig);
    proc_read(o->server_pid, &after);

    double count = swarm->ready ? swarm->ready : 1;
    report_count(&rig->report, "connections", swarm->ready);
    report_count(&rig->report, "rss_before_bytes", before.rss_bytes);
    report_count(&rig->report, "rss_full_bytes", full.rss_bytes);
    report_number(&rig->report, "rss_bytes_each",
                  ((double)full.rss_bytes - (double)before.rss_bytes) / count);
    report_number(&rig->report, "anonymous_bytes_each",
                  ((double)full.anonymous_bytes - (double)before.anonymous_bytes) / count);
    report_count(&rig->report, "threads", after.threads);
    report_number(&rig->report, "idle_seconds", rig->seconds);
    report_number(&rig->report, "wakeups_per_s", (double)(after.waits - full.waits) / rig->seconds);
    report_number(&rig->report, "idle_cpu_permille", rig->server_cpu_s / rig->seconds * 1000);
    report_number(&rig->report, "others_cpu_share", rig->others_cpu_s / rig->seconds);
    report_count(&rig->report, "connections_lost", swarm->lost);
    return fine && swarm->lost == 0;
}

int mode_idle(const struct options *o)
{
    struct rig *rig = rig_new(o, "idle");
    if (!rig)
        return 1;
    struct swarm swarm;
    swarm_init(&swarm, &rig->wire, o, rig->peer);
    swarm.idle = true;
    bool fine = measure(rig, &swarm);
    swarm_free(&swarm);
    return rig_free(rig) || !fine;
}
