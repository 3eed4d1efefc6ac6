/* ws_fuzz.c - however the bytes are cut, the same messages come out.
 *
 * input: [seed of the cuts][bytes of a connection]
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "base/random.h"
#include "net/ws.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct ws_limits limits = {.message_max = 100000};

static bool note(void *user, enum ws_kind kind, struct str payload)
{
    struct buf *out = user;
    buf_fmt(out, "%d:%zu:", (int)kind, payload.n);
    buf_str(out, payload);
    if (payload.n > limits.message_max)
        abort();
    if (kind == WS_TEXT && !str_is_utf8(payload))
        abort();
    return kind != WS_CLOSE;
}

/* Feeds `bytes` in steps of 1..step_max; every step gets a block of its own, so that ASan guards its ends. */
static void parse(struct buf *out, struct str bytes, struct random *r, size_t step_max)
{
    struct ws_parser parser = {0};
    struct buf waiting = {0};
    unsigned status = WS_MORE;
    for (size_t at = 0; at < bytes.n && status == WS_MORE;) {
        size_t used, step = 1 + random_below(r, step_max);
        step = step < bytes.n - at ? step : bytes.n - at;
        buf_put(&waiting, bytes.p + at, step);
        at += step;
        char *block = malloc(waiting.n);
        memcpy(block, waiting.p, waiting.n);
        status = ws_parse(&parser, &limits, block, waiting.n, &used, note, out);
        if (used > waiting.n)
            abort();
        free(block);
        buf_consume(&waiting, used);
    }
    buf_fmt(out, "status %u", status);
    ws_parser_free(&parser);
    buf_free(&waiting);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole = {0}, cut = {0};
    struct random r;
    if (size < 2)
        return 0;
    random_from_seed(&r, data[0]);
    struct str bytes = str_make(data + 1, size - 1);
    parse(&whole, bytes, &r, SIZE_MAX / 2);
    parse(&cut, bytes, &r, 1 + data[0] % 16);
    if (!str_eq(buf_view(&whole), buf_view(&cut)))
        abort();
    buf_free(&whole);
    buf_free(&cut);
    return 0;
}
