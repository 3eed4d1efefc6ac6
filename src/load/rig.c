/* rig.c - clocks before and after, and the lines that all reports share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"

enum { SETTLE_TURNS = 40, SETTLE_TURN_MS = 500, SETTLED_PERCENT = 2 };

struct rig *rig_new(const struct options *options, const char *mode)
{
    const struct peer *peer = peer_find(options->peer);
    struct rig *rig = mem_new(struct rig);
    rig->options = options;
    rig->peer = peer;
    if (!peer || options->channels == 0 || !wire_init(&rig->wire, options->host, (unsigned)options->port)) {
        fprintf(stderr, "%s: no such peer, no channel, or no IPv4 address\n",
                peer ? options->host : options->peer);
        free(rig);
        return NULL;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    report_text(&rig->report, "mode", mode);
    report_text(&rig->report, "peer", peer->name);
    return rig;
}

int rig_free(struct rig *rig)
{
    bool fine = report_end(&rig->report, rig->options->json);
    wire_free(&rig->wire);
    free(rig);
    return fine ? 0 : 1;
}

void rig_begin(struct rig *rig)
{
    rig->begun_ns = clock_mono_ns(&clock_system);
    rig->server_cpu_ns = proc_cpu_ns(rig->options->server_pid);
    rig->own_cpu_ns = proc_cpu_ns((uint64_t)getpid());
    rig->machine_cpu_ns = proc_machine_cpu_ns();
}

void rig_end(struct rig *rig)
{
    rig->seconds = (double)(clock_mono_ns(&clock_system) - rig->begun_ns) / 1e9;
    rig->server_cpu_s = (double)(proc_cpu_ns(rig->options->server_pid) - rig->server_cpu_ns) / 1e9;
    rig->own_cpu_s = (double)(proc_cpu_ns((uint64_t)getpid()) - rig->own_cpu_ns) / 1e9;
    rig->others_cpu_s =
        (double)(proc_machine_cpu_ns() - rig->machine_cpu_ns) / 1e9 - rig->own_cpu_s - rig->server_cpu_s;
}

void rig_turn_ms(struct rig *rig, uint64_t ms)
{
    uint64_t until_ns = clock_mono_ns(&clock_system) + ms * 1000000;
    for (uint64_t now_ns; (now_ns = clock_mono_ns(&clock_system)) < until_ns;)
        loop_turn(rig->wire.loop, (int)((until_ns - now_ns) / 1000000 + 1));
}

void rig_settle(struct rig *rig)
{
    if (rig->options->server_pid == 0)
        return;
    for (unsigned i = 0; i < SETTLE_TURNS; i++) {
        uint64_t before_ns = proc_cpu_ns(rig->options->server_pid);
        rig_turn_ms(rig, SETTLE_TURN_MS);
        uint64_t used_ns = proc_cpu_ns(rig->options->server_pid) - before_ns;
        if (used_ns < SETTLE_TURN_MS * 1000000ull * SETTLED_PERCENT / 100)
            return;
    }
}

void rig_report_rate(struct rig *rig, const char *what, uint64_t count)
{
    char key[80];
    report_number(&rig->report, "seconds", rig->seconds);
    report_count(&rig->report, what, count);
    snprintf(key, sizeof key, "%s_per_s", what);
    report_number(&rig->report, key, (double)count / rig->seconds);
    report_number(&rig->report, "load_cpu_share", rig->own_cpu_s / rig->seconds);
    report_number(&rig->report, "others_cpu_share", rig->others_cpu_s / rig->seconds);
    if (rig->options->server_pid == 0 || count == 0)
        return;
    report_number(&rig->report, "server_cpu_share", rig->server_cpu_s / rig->seconds);
    snprintf(key, sizeof key, "%s_per_cpu_s", what);
    report_number(&rig->report, key, (double)count / rig->server_cpu_s);
    report_number(&rig->report, "server_cpu_us_each", rig->server_cpu_s * 1e6 / (double)count);
}

void rig_report_swarm(struct rig *rig, const struct swarm *swarm)
{
    report_count(&rig->report, "subscribers", swarm->ready);
    report_count(&rig->report, "subscribers_lost", swarm->lost);
    report_count(&rig->report, "frames", swarm->frames);
    report_count(&rig->report, "order_errors", swarm->order_errors);
    report_count(&rig->report, "serial_errors", swarm->serial_errors);
    if (hist_count(swarm->latency))
        report_latency(&rig->report, "delivery", swarm->latency);
}

void rig_report_feed(struct rig *rig, const struct feed *feed)
{
    report_count(&rig->report, "failed", feed->failed);
    report_count(&rig->report, "repeated", feed->repeated);
    report_count(&rig->report, "request_bytes", feed->request_bytes);
    report_count(&rig->report, "answer_bytes", feed->answer_bytes);
    report_count(&rig->report, "canonical_bytes", feed->canonical_bytes);
    report_count(&rig->report, "body_bytes", feed->body_bytes);
    if (hist_count(feed->ack))
        report_latency(&rig->report, "ack", feed->ack);
    if (feed->rate_per_s)
        report_latency(&rig->report, "late", feed->late);
}
