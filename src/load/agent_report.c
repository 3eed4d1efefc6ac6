/* agent_report.c - lines of JSON to the coordinator. What they hold is described in test/load/README.md.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/json_put.h"
#include "load/agent.h"
#include "load/proc.h"

static void say(struct buf *line)
{
    buf_lit(line, "}\n");
    fwrite(line->p, 1, line->n, stdout);
    fflush(stdout);
    buf_free(line);
}

static struct buf begin(const char *type)
{
    struct buf line = {0};
    buf_char(&line, '{');
    put_text(&line, "type", str_of(type));
    return line;
}

void agent_say_error(const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    struct buf line = begin("error");
    put_text(&line, "message", str_of(text));
    say(&line);
}

void agent_fault(struct agent *a, const char *format, ...)
{
    if (a->fault_count == AGENT_SAMPLES_MAX)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(a->faults[a->fault_count].text, sizeof a->faults[0].text, format, args);
    va_end(args);
    for (char *p = a->faults[a->fault_count++].text; *p; p++)
        if ((unsigned char)*p < 32 || (unsigned char)*p > 126)
            *p = '?'; /* a sample may have been cut within a character */
}

void agent_cause(struct agent *a, const char *why)
{
    for (unsigned i = 0; i < sizeof a->causes / sizeof a->causes[0]; i++) {
        if (a->causes[i].count == 0)
            snprintf(a->causes[i].why, sizeof a->causes[i].why, "%s", why);
        else if (!str_eq(str_of(a->causes[i].why), str_first(str_of(why), sizeof a->causes[i].why - 1)))
            continue;
        a->causes[i].count++;
        return;
    }
}

static void put_number(struct buf *line, const char *key, double value)
{
    put_key(line, key);
    buf_fmt(line, "%.6f", value);
}

static const char *phase_word(enum agent_phase phase)
{
    static const char *const words[] = {"connecting", "waiting", "running", "ending", "draining", "audit", "over"};
    return words[phase];
}

static void put_sockets(struct buf *line, const struct agent *a)
{
    put_u64(line, "sockets", a->socket_count);
    put_u64(line, "subscribers", a->subscribers);
    put_u64(line, "ready", a->ready);
}

void agent_say_ready(struct agent *a)
{
    struct buf line = begin("ready");
    put_sockets(&line, a);
    put_number(&line, "seconds", (double)(agent_now() - a->ramp_ns) / 1e9);
    say(&line);
}

void agent_say_progress(struct agent *a)
{
    struct buf line = begin("progress");
    uint64_t cpu_ns = proc_cpu_ns((uint64_t)getpid()), now_ns = agent_now();
    double share = (double)(cpu_ns - a->cpu_said_ns) / (double)(now_ns - a->said_ns + 1);
    if (a->phase == AGENT_RUNNING && share > a->cpu_peak)
        a->cpu_peak = share;
    a->cpu_said_ns = cpu_ns;
    a->said_ns = now_ns;
    put_text(&line, "phase", str_of(phase_word(a->phase)));
    put_sockets(&line, a);
    put_u64(&line, "appends", a->counts.appends);
    put_u64(&line, "due", a->counts.tokens_due);
    put_u64(&line, "tokens", a->counts.tokens_checked);
    put_u64(&line, "frames", a->counts.append_frames);
    put_u64(&line, "mismatches", a->counts.mismatches);
    put_u64(&line, "failures", a->counts.request_failures);
    put_u64(&line, "lost", a->counts.lost);
    put_u64(&line, "connect_failures", a->counts.connect_failures);
    put_number(&line, "cpu", share);
    put_number(&line, "lag_p99_ms", (double)hist_percentile(a->latency[LATENCY_lag], 99) / 1e6);
    say(&line);
}

static void put_latency(struct buf *line, const char *name, const struct hist *h)
{
    uint64_t at = 0, end = 0, count = 0;
    put_key(line, name);
    buf_fmt(line, "{\"count\":%llu,\"min\":%llu,\"max\":%llu,\"mean\":%.1f,\"buckets\":[", (unsigned long long)hist_count(h),
            (unsigned long long)hist_min(h), (unsigned long long)hist_max(h), hist_mean(h));
    for (bool first = true; hist_next(h, &at, &end, &count); first = false)
        buf_fmt(line, "%s[%llu,%llu]", first ? "" : ",", (unsigned long long)end, (unsigned long long)count);
    buf_lit(line, "]}");
}

static void put_counts(struct buf *line, const struct agent_counts *c)
{
    put_key(line, "counts");
    buf_char(line, '{');
#define COUNT(name) put_u64(line, #name, c->name);
    AGENT_COUNTS(COUNT)
#undef COUNT
    buf_char(line, '}');
}

static void put_latencies(struct buf *line, struct agent *a)
{
    static const char *const names[] = {
#define NAME(name) #name,
        AGENT_LATENCIES(NAME)
#undef NAME
    };
    put_key(line, "latency");
    buf_char(line, '{');
    for (unsigned i = 0; i < LATENCIES; i++)
        put_latency(line, names[i], a->latency[i]);
    buf_char(line, '}');
}

static void put_words(struct buf *line, const struct agent *a)
{
    put_key(line, "faults");
    buf_char(line, '[');
    for (uint32_t i = 0; i < a->fault_count; i++) {
        if (i > 0)
            buf_char(line, ',');
        buf_json(line, str_of(a->faults[i].text));
    }
    buf_char(line, ']');
    put_key(line, "causes");
    buf_char(line, '{');
    for (unsigned i = 0; i < sizeof a->causes / sizeof a->causes[0] && a->causes[i].count; i++)
        put_u64(line, a->causes[i].why, a->causes[i].count);
    buf_char(line, '}');
}

void agent_say_result(struct agent *a)
{
    struct buf line = begin("result");
    struct proc_usage usage;
    proc_read((uint64_t)getpid(), &usage);
    put_sockets(&line, a);
    put_number(&line, "run_seconds", (double)(a->end_ns - a->start_ns) / 1e9);
    put_number(&line, "cpu_seconds", (double)(a->cpu_end_ns - a->cpu_start_ns) / 1e9);
    put_number(&line, "cpu_peak", a->cpu_peak);
    put_u64(&line, "rss_bytes", usage.rss_bytes);
    put_u64(&line, "slots_unfinished", a->config.streams - a->slots_done);
    put_counts(&line, &a->counts);
    put_latencies(&line, a);
    put_words(&line, a);
    say(&line);
}
