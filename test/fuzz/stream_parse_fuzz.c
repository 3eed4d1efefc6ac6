/* stream_parse_fuzz.c - bodies of streaming appends: however one is cut, the same records come out, and each is what a store
 * may be given.
 *
 * input: [format and seed of the cuts][body]
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "api/stream_parse.h"
#include "base/json.h"
#include "cuts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
    if (!ok)
        abort();
}

static void check_json(struct str value, enum json_type type)
{
    struct str checked;
    require(!value.p || (json_check(value, &checked, NULL) && json_is(checked, type)));
}

static void put(struct buf *out, struct str part)
{
    buf_fmt(out, "%c%zu:", part.p ? '+' : '-', part.n);
    buf_str(out, part);
}

/* Text may be cut anywhere between characters: only what it adds up to counts. */
static void take(struct buf *out, enum stream_format format, const struct stream_record *r)
{
    check_json(r->data, JSON_STRING);
    check_json(r->extras, JSON_OBJECT);
    check_json(r->op_id, JSON_STRING);
    check_json(r->failed, JSON_STRING);
    if (format == STREAM_TEXT) {
        buf_str(out, str_make(r->data.p + 1, r->data.n - 2));
        return;
    }
    put(out, r->data);
    put(out, r->extras);
    put(out, r->metadata);
    put(out, r->op_id);
    put(out, r->client_id);
    put(out, r->description);
    put(out, r->failed);
    buf_u64(out, r->status);
}

static void parse(struct buf *out, uint8_t seed, struct str body, struct random *r, size_t step_max)
{
    enum stream_format format = seed % 3;
    bool comparable = format != STREAM_TEXT || str_is_utf8(body); /* text that is none ends at its cut */
    struct stream_parser p = {.format = format};
    struct stream_record record;
    enum parse_result result = PARSE_MORE;
    for (bool ended = false; !ended && result != PARSE_WRONG;) {
        size_t step = 1 + random_below(r, step_max), n = step < body.n ? step : body.n;
        ended = n == 0;
        if (ended)
            stream_parser_end(&p);
        stream_parser_put(&p, str_first(body, n));
        body = str_from(body, n);
        while ((result = stream_parser_next(&p, &record)) == PARSE_RECORD)
            take(out, format, &record);
    }
    require(result != PARSE_WRONG || p.why[0]);
    if (format != STREAM_TEXT)
        buf_char(out, result == PARSE_WRONG ? '?' : '.');
    if (!comparable)
        buf_clear(out);
    stream_parser_free(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    same_however_cut(data, size, 32, parse);
    return 0;
}
