/* mode_resume.c - thousands of connections are cut off at once and come back some tokens later (issue 4).
 *
 *      streams    ----------------------------------------------------------------------------
 *      live       ----- before -----|                       |------ during ------|------------   latency of both
 *      away       ------------------x                       o==== resume ====|----------------   all caught up
 *                                   `---- --behind each ----'
 *
 * Nothing may be missing or come twice: each one's text, from the first token to the last, is compared with that of a subscriber
 * that was never away.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <unistd.h>

#include "load/crowd.h"
#include "load/rig.h"
#include "load/verify.h"

enum { COME_BACK_MAX_S = 120, SAMPLE_NS = 20000000 };

struct resume_run {
    struct rig *rig;
    struct options options;
    struct crowd away, live;
    struct feed feed;
    uint64_t rss_before, rss_most, sampled_ns;
};

static bool all_there(struct resume_run *r, struct crowd *crowd, uint64_t seconds)
{
    uint64_t until_ns = clock_mono_ns(&clock_system) + seconds * 1000000000ull;
    while (!crowd_is_ready(crowd) && clock_mono_ns(&clock_system) < until_ns) {
        crowd_connect(crowd);
        loop_turn(r->rig->wire.loop, 1);
    }
    if (crowd->ready == crowd->count)
        return true;
    fprintf(stderr, "only %u of %u connections are there, %u were lost\n", crowd->ready, crowd->count, crowd->lost);
    return false;
}

static void sample_memory(struct resume_run *r)
{
    struct proc_usage usage;
    uint64_t now_ns = clock_mono_ns(&clock_system);
    if (now_ns - r->sampled_ns < SAMPLE_NS || !proc_read(r->options.server_pid, &usage))
        return;
    r->sampled_ns = now_ns;
    if (usage.anonymous_bytes > r->rss_most)
        r->rss_most = usage.anonymous_bytes;
}

/* Latency of those who are never away, from now on, into a histogram of its own. */
static void watch_live(struct resume_run *r)
{
    hist_free(r->live.latency);
    r->live.latency = hist_new_default();
    r->live.from_ns = clock_mono_ns(&clock_system);
    r->live.to_ns = UINT64_MAX;
}

/* As fast as it goes: nobody is measured meanwhile. */
static void let_fall_behind(struct resume_run *r)
{
    feed_run(&r->feed, 0, 0);
    uint64_t wanted = r->feed.acked + r->options.behind * r->options.channels;
    while (r->feed.acked < wanted && r->feed.failed == 0)
        loop_turn(r->rig->wire.loop, 5);
    feed_stop(&r->feed);
    feed_drain(&r->feed, r->options.drain_seconds);
    feed_run(&r->feed, r->options.rate_per_s, 0);
    rig_turn_ms(r->rig, 500 + 1000 * r->options.rest_seconds);
}

static bool bring_back(struct resume_run *r)
{
    uint64_t begun_ns = clock_mono_ns(&clock_system), limit_ns = begun_ns + COME_BACK_MAX_S * 1000000000ull;
    while (!crowd_is_ready(&r->away) && clock_mono_ns(&clock_system) < limit_ns) {
        crowd_connect(&r->away);
        loop_turn(r->rig->wire.loop, 1);
        sample_memory(r);
    }
    report_number(&r->rig->report, "all_back_s", (double)(clock_mono_ns(&clock_system) - begun_ns) / 1e9);
    return r->away.ready == r->away.count;
}

/* How many of the crowd have another text than the first one of the same channel in `of`. */
static uint64_t count_different(const struct crowd *crowd, const struct crowd *of)
{
    uint64_t different = 0;
    for (uint32_t i = 0; i < crowd->count; i++) {
        const struct transcript *mine = &crowd->followers[i].text, *theirs = &of->followers[crowd->followers[i].channel].text;
        different += mine->hash != theirs->hash || mine->bytes != theirs->bytes;
    }
    return different;
}

/* The live ones have heard every token that was acknowledged. */
static uint64_t count_incomplete(const struct resume_run *r)
{
    uint64_t incomplete = 0;
    for (uint32_t i = 0; i < r->live.count; i++)
        incomplete += r->live.followers[i].last != r->feed.streams[r->live.followers[i].channel].mark.index;
    return incomplete;
}

static bool check(struct resume_run *r)
{
    struct report *report = &r->rig->report;
    uint64_t errors = r->away.order_errors + r->live.order_errors + r->away.serial_errors + r->live.serial_errors;
    uint64_t different = count_different(&r->away, &r->live) + count_different(&r->live, &r->live);
    uint64_t incomplete = count_incomplete(r), wrong = verify_messages(&r->feed);
    report_count(report, "back", r->away.ready);
    report_count(report, "hot", r->away.hot);
    report_count(report, "cold", r->away.cold);
    report_count(report, "refused", r->away.refused);
    report_count(report, "frames_replayed", r->away.replayed);
    report_count(report, "gaps_or_repeats", errors);
    report_count(report, "transcripts_different", different);
    report_count(report, "live_incomplete", incomplete);
    report_count(report, "messages_wrong", wrong);
    report_count(report, "tokens", r->feed.acked);
    report_count(report, "tokens_repeated", r->feed.repeated);
    report_count(report, "lost", r->away.lost + r->live.lost);
    return errors + different + incomplete + wrong + r->away.refused + r->away.lost + r->live.lost == 0;
}

static void report_memory(struct resume_run *r)
{
    if (r->options.server_pid == 0)
        return;
    report_number(&r->rig->report, "server_mib_before", (double)r->rss_before / (1 << 20));
    report_number(&r->rig->report, "server_mib_most", (double)r->rss_most / (1 << 20));
}

static bool measure(struct resume_run *r)
{
    struct rig *rig = r->rig;
    struct proc_usage usage = {0};
    feed_run(&r->feed, r->options.rate_per_s, 0);
    rig_turn_ms(rig, r->options.warmup_seconds * 1000);
    watch_live(r);
    rig_turn_ms(rig, r->options.seconds * 1000);
    report_latency(&rig->report, "live_before", r->live.latency);
    proc_read(r->options.server_pid, &usage);
    r->rss_before = r->rss_most = usage.anonymous_bytes;

    crowd_cut(&r->away);
    let_fall_behind(r);
    watch_live(r);
    rig_begin(rig);
    bool fine = bring_back(r);
    rig_end(rig);
    report_latency(&rig->report, "live_during", r->live.latency);
    report_latency(&rig->report, "caught_up", r->away.caught_up);
    rig_report_rate(rig, "resumes", r->away.ready);
    rig_turn_ms(rig, 500);
    feed_stop(&r->feed);
    fine &= feed_drain(&r->feed, r->options.drain_seconds);
    rig_turn_ms(rig, 1000); /* the last frames of a rollup window */
    report_memory(r);
    return check(r) && fine && r->feed.failed == 0;
}

int mode_resume(const struct options *o)
{
    struct resume_run r = {.options = *o};
    r.options.protocol = 2;
    r.rig = rig_new(&r.options, "resume");
    if (!r.rig)
        return 1;
    uint32_t live = (uint32_t)(o->live > o->channels ? o->live : o->channels);
    crowd_init(&r.away, &r.rig->wire, &r.options, r.rig->peer, (uint32_t)o->subscribers);
    crowd_init(&r.live, &r.rig->wire, &r.options, r.rig->peer, live);
    feed_init(&r.feed, &r.rig->wire, &r.options, r.rig->peer, FEED_APPEND, o->channels);
    bool fine = feed_prepare(&r.feed) && all_there(&r, &r.live, 60) && all_there(&r, &r.away, 120);
    if (fine) {
        rig_settle(r.rig);
        fine = measure(&r);
    }
    feed_free(&r.feed);
    crowd_free(&r.away);
    crowd_free(&r.live);
    return rig_free(r.rig) || !fine;
}
