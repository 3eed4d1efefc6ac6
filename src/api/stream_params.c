/* stream_params.c - see stream_params.h
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/stream_params.h"

#include "api/serials.h"
#include "base/json.h"

enum { MESSAGE_ID_MAX = 64 };
/* A signature is good for 600 s before and after its time stamp: so long a replay must find the first message. */
enum { REPLAYABLE_MS = 1300 * 1000 };

static struct str get(struct call *c, const char *key)
{
    return query_get(c->request->query, str_of(key), call_arena(c));
}

static struct failure read_format(struct call *c, struct stream_params *out)
{
    static const struct {
        struct str word;
        enum stream_format format;
    } formats[] = {
        {STR("ndjson"), STREAM_NDJSON},
        {STR("text"), STREAM_TEXT},
        {STR("sse"), STREAM_SSE},
        {STR("application/x-ndjson"), STREAM_NDJSON},
        {STR("application/ndjson"), STREAM_NDJSON},
        {STR("application/jsonl"), STREAM_NDJSON},
        {STR("text/plain"), STREAM_TEXT},
        {STR("text/event-stream"), STREAM_SSE},
    };
    struct str word = get(c, "format"), rest = http_get_header(c->request, STR("content-type"));
    bool given = word.p != NULL;
    if (!given)
        word = str_trim(str_split(&rest, ';'));
    for (size_t i = given ? 0 : 3; i < (given ? 3 : sizeof formats / sizeof *formats); i++)
        if (str_eq_nocase(word, formats[i].word)) {
            out->format = formats[i].format;
            return NO_FAILURE;
        }
    if (given)
        return fail_input(STR("format must be ndjson, text or sse"));
    return fail(415, "unsupported_media_type",
                STR("Say what the body is: format=ndjson, text or sse in the query, or Content-Type "
                    "application/x-ndjson, text/plain or text/event-stream"));
}

static struct failure read_end(struct call *c, struct stream_params *out)
{
    struct str end = get(c, "end");
    out->leave_open = str_eq(end, STR("open"));
    if (!end.p || out->leave_open || str_eq(end, STR("complete")))
        return NO_FAILURE;
    return fail_input(STR("end must be complete or open"));
}

static struct failure read_object(struct call *c, const char *key, struct str *out)
{
    struct str text = get(c, key);
    *out = STR_NONE;
    if (!text.p)
        return NO_FAILURE;
    if (!json_check(text, out, NULL) || !json_is(*out, JSON_OBJECT))
        return fail_fmt(c, 400, "invalid_input", "%s must be a JSON object", key);
    return NO_FAILURE;
}

static struct failure read_identity(struct call *c, struct stream_params *out)
{
    struct number from;
    out->message_id = get(c, "message_id");
    out->message_serial = get(c, "message_serial");
    struct failure refused = query_u64(c, "from", &from);
    if (refused.status)
        return refused;
    out->from = from.given ? from.u : 0;
    if ((out->message_id.p != NULL) == (out->message_serial.p != NULL))
        return fail_input(STR("Give either message_id, to create a message, or message_serial, to continue one"));
    if (out->message_id.p && (out->message_id.n == 0 || out->message_id.n > MESSAGE_ID_MAX))
        return fail_input(STR("message_id must be 1..=64 bytes"));
    if (out->message_id.p)
        return NO_FAILURE;
    if (!from.given)
        return fail_input(STR("from is required with message_serial: the byte of its text at which the body begins"));
    refused = serial_check(c, "message_serial", out->message_serial);
    if (refused.status || serial_names(out->message_serial, &out->target))
        return refused;
    return fail_fmt(c, 404, "not_found", "Message '%.*s' was not found in channel '%.*s'", STR_ARG(out->message_serial),
                    STR_ARG(c->args[1]));
}

struct failure stream_params_read(struct call *c, struct stream_params *out)
{
    struct failure refused = read_format(c, out);
    if (!refused.status)
        refused = read_end(c, out);
    if (!refused.status)
        refused = read_identity(c, out);
    if (!refused.status)
        refused = read_object(c, "extras", &out->extras);
    if (!refused.status)
        refused = read_object(c, "tags", &out->tags);
    out->name = get(c, "name");
    out->client_id = get(c, "client_id");
    return refused;
}

struct failure stream_event(struct call *c, struct stream_params *params, bool ai, struct event *e)
{
    struct buf json = {0};
    struct str object;
    if (!params->extras.p && ai)
        params->extras = STR("{\"ai\":{\"transport\":{\"status\":\"streaming\"}}}");
    buf_char(&json, '{');
    put_text(&json, "name", params->name);
    put_text(&json, "channel", c->args[1]);
    put_text(&json, "data", STR(""));
    put_text(&json, "message_id", params->message_id);
    put_text(&json, "client_id", params->client_id);
    put_json(&json, "extras", params->extras);
    put_json(&json, "tags", params->tags);
    buf_char(&json, '}');
    object = arena_copy(call_arena(c), buf_view(&json));
    buf_free(&json);
    if (!json_check(object, &object, NULL))
        return fail_input(STR("name, message_id and client_id must be UTF-8"));
    struct failure refused = event_read(c, object, STR_NONE, -1, e);
    e->dedupe_key = params->message_id;
    e->slot_key = STR_NONE;
    e->receipt_ttl_min_ms = REPLAYABLE_MS;
    return refused;
}
