/* verify.c - one GET after the other, over a connection of its own.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/verify.h"

#include <stdio.h>

#include "base/json.h"
#include "load/options.h"

struct check {
    struct httpc http;
    const struct verify_text *expected;
    unsigned status;
    bool answered, equal;
};

/* The text of a message is dashes that it was grown by, then payloads; see feed.c and mark.h. */
static bool is_what_was_sent(const struct verify_text *e, struct str text)
{
    size_t grown = 0;
    while (grown < text.n && text.p[grown] == '-')
        grown++;
    if (grown != e->grown_bytes)
        return false;
    struct str rest = str_from(text, grown);
    struct mark mark;
    uint32_t index = e->first;
    while (mark_next(&rest, &mark))
        if (mark.index != index++ || mark.stream != e->stream)
            return false;
    return index == e->end && text.n - grown == (e->end - e->first) * e->fragment_bytes;
}

static void on_done(struct httpc *http, unsigned status, struct str body)
{
    struct check *c = list_of(http, struct check, http);
    struct buf scratch = {0};
    struct str value;
    struct json_error error;
    c->answered = true;
    c->status = status;
    c->equal = json_check(body, &value, &error) &&
               is_what_was_sent(c->expected, json_text(json_get(json_get(value, STR("item")), STR("data")), &scratch));
    buf_free(&scratch);
}

bool verify_message(struct wire *wire, struct api *api, const struct verify_text *expected)
{
    struct check c = {.expected = expected};
    struct buf request = {0};
    httpc_init(&c.http, wire, on_done);
    api_get_message(api, &request, expected->channel, str_of(expected->serial));
    httpc_send(&c.http, buf_view(&request));
    for (unsigned turns = 0; !c.answered && turns < 200; turns++)
        loop_turn(wire->loop, 50);
    if (!c.answered || !c.equal)
        fprintf(stderr, "message %s of stream %u: %s (%u)\n", expected->serial, expected->stream,
                c.answered ? "not what was sent" : "no answer", c.status);
    httpc_reset(&c.http);
    buf_free(&request);
    return c.answered && c.equal;
}

static bool check_one(struct feed *f, const struct stream *s)
{
    struct verify_text expected = {s->mark.stream % (unsigned)f->options->channels,
                                   s->serial,
                                   s->grown_bytes,
                                   s->mark.stream,
                                   s->first_index,
                                   s->mark.index + 1,
                                   f->payload.n};
    return verify_message(f->wire, &f->api, &expected);
}

uint64_t verify_messages(struct feed *f)
{
    uint64_t bad = 0;
    for (uint64_t i = 0; i < f->count; i++)
        if (f->streams[i].stage == STREAM_OPEN && !check_one(f, &f->streams[i]))
            bad++;
    return bad;
}
