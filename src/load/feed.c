/* feed.c - who sends what, and when.
 *
 *      free streams  s3 -> s7 -> s1      first come, first served: an even rate for each
 *      schedule      due 41  42  43 ...  as long as one is due and a stream is free, it goes
 *
 * A timerfd with an absolute time wakes the loop for the next one due: epoll's milliseconds are too coarse
 * for 20,000 requests a second.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/feed.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/mem.h"
#include "load/options.h"

enum { GROW_BYTES = 16384, PREPARE_STALL_S = 60, FAILURES_SHOWN = 3, AGAIN_MS = 20 };
#define SECOND_NS 1000000000ull

static uint64_t now(void)
{
    return clock_mono_ns(&clock_system);
}

static void release(struct stream *s)
{
    struct feed *f = s->feed;
    s->next = NULL;
    if (f->free_last)
        f->free_last->next = s;
    else
        f->free_first = s;
    f->free_last = s;
    f->free_count++;
}

static struct stream *take(struct feed *f)
{
    struct stream *s = f->free_first;
    if (!s)
        return NULL;
    f->free_first = s->next;
    if (!f->free_first)
        f->free_last = NULL;
    f->free_count--;
    return s;
}

static unsigned channel_of(const struct stream *s)
{
    return s->mark.stream % (unsigned)s->feed->options->channels;
}

static void transmit(struct stream *s)
{
    httpc_send(&s->http, buf_view(&s->request));
    if (s->feed->peer->raw) {
        s->http.busy = false;
        s->http.done(&s->http, 200, STR(""));
    }
}

static void create(struct stream *s)
{
    s->stage = STREAM_CREATING;
    s->message++;
    s->op = 0;
    s->appended = s->grown_bytes = 0;
    s->first_index = s->mark.index + 1;
    buf_clear(&s->request);
    api_create(&s->feed->api, &s->request, channel_of(s), s->mark.stream, s->message);
    transmit(s);
}

static void grow(struct stream *s)
{
    struct feed *f = s->feed;
    uint64_t left = f->options->accumulated_bytes - s->grown_bytes;
    size_t size = left < GROW_BYTES ? left : GROW_BYTES;
    s->stage = STREAM_GROWING;
    s->grown_bytes += size;
    buf_clear(&f->payload);
    memset(buf_reserve(&f->payload, size), '-', size);
    f->payload.n = size;
    buf_clear(&s->request);
    api_append(&f->api, &s->request, channel_of(s), str_of(s->serial), ++s->op, buf_view(&f->payload));
    transmit(s);
}

/* The next payload of the stream, due at mark.at_ns. */
static void send_payload(struct stream *s)
{
    struct feed *f = s->feed;
    s->mark.index++;
    buf_clear(&f->payload);
    mark_put(&f->payload, &s->mark, f->options->size_bytes);
    buf_clear(&s->request);
    if (f->kind == FEED_APPEND) {
        s->appended++;
        api_append(&f->api, &s->request, channel_of(s), str_of(s->serial), ++s->op, buf_view(&f->payload));
    } else {
        f->peer->publish(&f->api, &s->request, channel_of(s), buf_view(&f->payload));
    }
    if (s->mark.at_ns >= f->from_ns && s->mark.at_ns < f->to_ns)
        hist_record(f->late, now() - s->mark.at_ns);
    f->canonical_bytes = f->api.canonical.n;
    f->body_bytes = f->api.body.n;
    transmit(s);
}

static void issue(struct stream *s, uint64_t due_ns)
{
    struct feed *f = s->feed;
    f->issued++;
    s->mark.at_ns = due_ns;
    if (f->kind == FEED_APPEND && s->stage != STREAM_OPEN)
        create(s);
    else
        send_payload(s);
}

static bool may_issue(const struct feed *f)
{
    return f->running && (f->issued_max == 0 || f->issued < f->issued_max);
}

static void arm(struct feed *f, uint64_t due_ns)
{
    struct itimerspec at = {
        .it_value = {.tv_sec = (time_t)(due_ns / SECOND_NS), .tv_nsec = (long)(due_ns % SECOND_NS)}};
    timerfd_settime(f->timer.fd, TFD_TIMER_ABSTIME, &at, NULL);
}

static void pump(struct feed *f)
{
    while (may_issue(f) && f->free_first) {
        uint64_t due_ns = now();
        if (f->rate_per_s) {
            uint64_t next_ns = f->start_ns + (uint64_t)((double)f->scheduled * 1e9 / (double)f->rate_per_s);
            if (next_ns > due_ns) {
                arm(f, next_ns);
                return;
            }
            due_ns = next_ns;
            f->scheduled++;
        }
        issue(take(f), due_ns);
    }
}

static void on_timer(struct io *io, uint32_t events)
{
    uint64_t expired;
    if (read(io->fd, &expired, sizeof expired) > 0)
        pump(list_of(io, struct feed, timer));
}

static void after_create(struct stream *s, struct str answer)
{
    struct feed *f = s->feed;
    struct str serial = api_message_serial(answer);
    f->creates++;
    if (!serial.p || serial.n > SERIAL_TEXT_MAX) {
        f->failed++;
        s->stage = STREAM_NEW;
        fprintf(stderr, "no message_serial in the answer to a create: %.*s\n",
                STR_ARG(str_first(answer, 300)));
        return;
    }
    memcpy(s->serial, serial.p, serial.n);
    s->serial[serial.n] = 0;
    s->stage = STREAM_OPEN;
}

/* A payload was acknowledged. */
static void after_payload(struct stream *s)
{
    struct feed *f = s->feed;
    f->acked++;
    f->request_bytes = s->request.n;
    f->answer_bytes = s->http.answer_bytes;
    if (s->mark.at_ns >= f->from_ns && s->mark.at_ns < f->to_ns)
        hist_record(f->ack, now() - s->mark.at_ns);
    uint64_t max = f->options->appends_per_message;
    if (f->kind == FEED_APPEND && max && s->appended >= max)
        s->stage = STREAM_NEW;
}

/* True if the stream has gone on by itself, with the next step of opening its message. */
static bool goes_on(struct stream *s)
{
    struct feed *f = s->feed;
    if (s->stage != STREAM_OPEN && s->stage != STREAM_GROWING)
        return false;
    if (s->grown_bytes < f->options->accumulated_bytes) {
        grow(s);
        return true;
    }
    s->stage = STREAM_OPEN;
    if (f->preparing)
        return false;
    send_payload(s);
    return true;
}

static void refused(struct stream *s, unsigned status, struct str answer)
{
    struct feed *f = s->feed;
    f->failed++;
    if (f->failed <= FAILURES_SHOWN)
        fprintf(stderr, "answer %u: %.*s\n", status, STR_ARG(str_first(answer, 300)));
    if (s->stage == STREAM_CREATING || s->stage == STREAM_GROWING || s->stage == STREAM_OPEN)
        s->stage = STREAM_NEW;
}

static void on_again(struct timer *timer)
{
    transmit(list_of(timer, struct stream, again));
}

static void on_done(struct httpc *c, unsigned status, struct str answer)
{
    struct stream *s = list_of(c, struct stream, http);
    struct feed *f = s->feed;
    if ((status == 0 || status == 503) && (f->running || f->preparing)) {
        f->repeated++;
        wheel_set(loop_wheel(f->wire->loop), &s->again, loop_now_ms(f->wire->loop) + AGAIN_MS);
        return;
    }
    if (status < 200 || status > 299) {
        refused(s, status, answer);
    } else if (s->stage == STREAM_CREATING) {
        after_create(s, answer);
        if (goes_on(s))
            return;
    } else if (s->stage == STREAM_GROWING) {
        if (goes_on(s))
            return;
    } else {
        after_payload(s);
    }
    release(s);
    pump(f);
}

void feed_init(struct feed *f, struct wire *wire, const struct options *options, const struct peer *peer,
               enum feed_kind kind, uint64_t streams)
{
    *f = (struct feed){.wire = wire, .options = options, .peer = peer, .kind = kind, .count = streams};
    f->streams = mem_zalloc(streams * sizeof *f->streams);
    api_init(&f->api, options, wire->host, random_u64(&wire->random));
    f->ack = hist_new_default();
    f->late = hist_new_default();
    f->timer = (struct io){timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC), on_timer};
    loop_add(wire->loop, &f->timer, EPOLLIN);
    for (uint64_t i = 0; i < streams; i++) {
        struct stream *s = &f->streams[i];
        s->feed = f;
        s->again.fire = on_again;
        s->mark.stream = (uint32_t)i;
        httpc_init(&s->http, wire, on_done);
        release(s);
    }
}

bool feed_prepare(struct feed *f)
{
    f->preparing = true;
    for (uint64_t i = 0; i < f->count; i++)
        create(take(f));
    bool fine = feed_drain(f, PREPARE_STALL_S);
    f->preparing = false;
    for (uint64_t i = 0; i < f->count; i++)
        fine = fine && f->streams[i].stage == STREAM_OPEN;
    if (!fine)
        fprintf(stderr, "the messages could not be opened\n");
    return fine;
}

void feed_run(struct feed *f, uint64_t rate_per_s, uint64_t issued_max)
{
    f->running = true;
    f->rate_per_s = rate_per_s;
    f->issued_max = issued_max ? f->issued + issued_max : 0;
    f->start_ns = now();
    f->scheduled = 0;
    pump(f);
}

void feed_stop(struct feed *f)
{
    f->running = false;
}

bool feed_once(struct feed *f)
{
    struct stream *s = take(f);
    if (s)
        issue(s, now());
    return s != NULL;
}

bool feed_drain(struct feed *f, uint64_t seconds)
{
    uint64_t until_ns = now() + seconds * SECOND_NS;
    while (f->free_count < f->count && now() < until_ns)
        loop_turn(f->wire->loop, 5);
    return f->free_count == f->count;
}

void feed_free(struct feed *f)
{
    for (uint64_t i = 0; i < f->count; i++) {
        wheel_cancel(loop_wheel(f->wire->loop), &f->streams[i].again);
        httpc_reset(&f->streams[i].http);
        buf_free(&f->streams[i].request);
    }
    loop_remove(f->wire->loop, &f->timer);
    close(f->timer.fd);
    free(f->streams);
    api_free(&f->api);
    buf_free(&f->payload);
    hist_free(f->ack);
    hist_free(f->late);
}
