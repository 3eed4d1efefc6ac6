/* ws_fuzz.c - however the bytes are cut, the same messages come out.
 *
 * input: [seed of the cuts][bytes of a connection]
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "cuts.h"
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
static void parse(struct buf *out, uint8_t seed, struct str bytes, struct random *r, size_t step_max)
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
    same_however_cut(data, size, 16, parse);
    return 0;
}
