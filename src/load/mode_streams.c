/* mode_streams.c - many open streams: each gets an append in its turn, on a schedule, by whatever connection is free.
 *
 *      due         append 0 1 2 3 ... of streams 0 1 2 3 ... N-1 0 1 ...     stream s has one every N / rate seconds
 *      senders     keep-alive connections, one request under way each; an append that finds none waits, and its latency
 *                  runs from when it was due
 *
 * --rate 0: the streams are opened and nothing is sent; what the server uses then is the price of idle ones.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "load/rig.h"

enum { OPEN_STALL_S = 120 };

struct message {
    char serial[SERIAL_TEXT_MAX + 1];
    uint32_t op;
};
struct sender {
    struct httpc http;
    struct streams_run *run;
    struct sender *next; /* free ones */
    struct mark mark;    /* of the append under way */
    bool opens;          /* it is a create */
};
struct streams_run {
    struct rig *rig;
    struct swarm swarm;
    struct api api;
    struct message *messages;
    struct sender *senders, *free;
    uint64_t opened, opening;
    uint64_t start_ns, scheduled, limit; /* appends */
    uint64_t acked, failed, busy;
    struct buf request, payload;
    struct hist *ack, *late;
};

static uint64_t now(void)
{
    return clock_mono_ns(&clock_system);
}

static unsigned channel_of(const struct streams_run *run, uint32_t stream)
{
    return stream % (unsigned)run->rig->options->channels;
}

static struct sender *take(struct streams_run *run)
{
    struct sender *s = run->free;
    if (s != NULL) {
        run->free = s->next;
        run->busy++;
    }
    return s;
}

static void send_open(struct streams_run *run, struct sender *s)
{
    s->opens = true;
    s->mark.stream = (uint32_t)run->opening++;
    buf_clear(&run->request);
    api_create(&run->api, &run->request, channel_of(run, s->mark.stream), s->mark.stream, 1);
    httpc_send(&s->http, buf_view(&run->request));
}

static void send_append(struct streams_run *run, struct sender *s, uint64_t due_ns)
{
    uint32_t stream = (uint32_t)(run->scheduled % run->rig->options->streams);
    struct message *m = &run->messages[stream];
    s->opens = false;
    s->mark = (struct mark){.at_ns = due_ns, .stream = stream, .index = ++m->op};
    buf_clear(&run->payload);
    mark_put(&run->payload, &s->mark, run->rig->options->size_bytes);
    buf_clear(&run->request);
    api_append(&run->api, &run->request, channel_of(run, stream), str_of(m->serial), m->op, buf_view(&run->payload));
    hist_record(run->late, now() - due_ns);
    httpc_send(&s->http, buf_view(&run->request));
    run->scheduled++;
}

static uint64_t due_of(const struct streams_run *run, uint64_t number)
{
    return run->start_ns + (uint64_t)((double)number * 1e9 / (double)run->rig->options->rate_per_s);
}

static void pump(struct streams_run *run)
{
    while (run->free != NULL && run->opening < run->rig->options->streams)
        send_open(run, take(run));
    while (run->free != NULL && run->scheduled < run->limit && due_of(run, run->scheduled) <= now())
        send_append(run, take(run), due_of(run, run->scheduled));
}

static void on_done(struct httpc *c, unsigned status, struct str answer)
{
    struct sender *s = list_of(c, struct sender, http);
    struct streams_run *run = s->run;
    if (status != 200) {
        if (run->failed++ == 0)
            fprintf(stderr, "answer %u: %.*s\n", status, STR_ARG(str_first(answer, 300)));
    } else if (s->opens) {
        struct str serial = api_message_serial(answer);
        size_t n = serial.n <= SERIAL_TEXT_MAX ? serial.n : 0;
        memcpy(run->messages[s->mark.stream].serial, serial.p, n);
        run->opened++;
    } else {
        hist_record(run->ack, now() - s->mark.at_ns);
        run->acked++;
    }
    s->next = run->free;
    run->free = s;
    run->busy--;
    pump(run);
}

static bool open_all(struct streams_run *run)
{
    uint64_t until_ns = now() + OPEN_STALL_S * 1000000000ull;
    pump(run);
    while (run->opened + run->failed < run->rig->options->streams && now() < until_ns)
        loop_turn(run->rig->wire.loop, 5);
    return run->opened == run->rig->options->streams;
}

/* A turn a millisecond is fine enough here: 20 appends of 20,000 a second. */
static void drive(struct streams_run *run)
{
    const struct options *o = run->rig->options;
    run->start_ns = now();
    run->limit = o->rate_per_s * o->seconds;
    uint64_t until_ns = run->start_ns + o->seconds * 1000000000ull;
    while (now() < until_ns || (run->scheduled < run->limit && now() < until_ns + o->drain_seconds * 1000000000ull)) {
        pump(run);
        loop_turn(run->rig->wire.loop, 1);
    }
}

static bool measure(struct streams_run *run)
{
    struct rig *rig = run->rig;
    const struct options *o = rig->options;
    run->swarm.from_ns = now();
    run->swarm.to_ns = UINT64_MAX;
    rig_begin(rig);
    drive(run);
    for (uint64_t until_ns = now() + o->drain_seconds * 1000000000ull; run->busy > 0 && now() < until_ns;)
        loop_turn(rig->wire.loop, 5);
    rig_end(rig);
    rig_turn_ms(rig, 1000); /* the last frames of a rollup window */
    uint64_t each = o->subscribers / (o->groups ? o->groups : o->channels);
    uint64_t missing = run->acked * each - run->swarm.deliveries;
    report_count(&rig->report, "streams", run->opened);
    report_count(&rig->report, "failed", run->failed);
    rig_report_rate(rig, "appends", run->acked);
    report_number(&rig->report, "server_cpu_percent", rig->server_cpu_s / rig->seconds * 100);
    if (hist_count(run->ack)) {
        report_latency(&rig->report, "ack", run->ack);
        report_latency(&rig->report, "late", run->late);
    }
    report_count(&rig->report, "deliveries", run->swarm.deliveries);
    report_count(&rig->report, "missing", missing);
    rig_report_swarm(rig, &run->swarm);
    return run->failed == 0 && run->scheduled == run->limit && missing == 0 && run->swarm.order_errors == 0 &&
           run->swarm.serial_errors == 0 && run->swarm.lost == 0;
}

static void senders_init(struct streams_run *run)
{
    const struct options *o = run->rig->options;
    run->senders = mem_zalloc(o->connections * sizeof *run->senders);
    for (uint64_t i = 0; i < o->connections; i++) {
        struct sender *s = &run->senders[i];
        s->run = run;
        httpc_init(&s->http, &run->rig->wire, on_done);
        s->next = run->free;
        run->free = s;
    }
}

static void run_free(struct streams_run *run)
{
    for (uint64_t i = 0; i < run->rig->options->connections; i++)
        httpc_reset(&run->senders[i].http);
    free(run->senders);
    free(run->messages);
    swarm_free(&run->swarm);
    api_free(&run->api);
    buf_free(&run->request);
    buf_free(&run->payload);
    hist_free(run->ack);
    hist_free(run->late);
}

int mode_streams(const struct options *o)
{
    if (o->streams > MARK_STREAMS_MAX || (o->groups != 0 && o->channels % o->groups != 0)) {
        fprintf(stderr, "streams: at most %d, and channels must be a multiple of groups\n", MARK_STREAMS_MAX);
        return 2;
    }
    struct rig *rig = rig_new(o, "streams");
    if (!rig)
        return 1;
    struct streams_run run = {.rig = rig, .messages = mem_zalloc(o->streams * sizeof *run.messages)};
    run.ack = hist_new_default();
    run.late = hist_new_default();
    api_init(&run.api, o, rig->wire.host, random_u64(&rig->wire.random));
    swarm_init(&run.swarm, &rig->wire, o, rig->peer);
    senders_init(&run);
    bool fine = swarm_start(&run.swarm) && open_all(&run);
    if (fine) {
        rig_settle(rig);
        fine = measure(&run);
    }
    run_free(&run);
    return rig_free(rig) || !fine;
}
