/* client_message_fuzz.c - whatever a client says is either refused with a reason or can be published: read,
 * its extras judged and encoded, its data taken as a command, its filter read.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "ai/extras.h"
#include "ai/headers.h"
#include "base/json.h"
#include "channel/filter.h"
#include "wire/system.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct config config = {
    .event_name_filtering = {true, 50, 200},
    .tag_filtering = {true, true},
    .ai = {.max_transport_value_bytes = 256, .max_steer_codec_message_ids_bytes = 2048},
};

static void require(bool ok)
{
    if (!ok)
        abort();
}

/* Encoded for V2 with runtime headers: valid JSON, in which the five headers are the server's. */
static void encode(const struct client_message *m)
{
    struct runtime_headers headers = {ACTION_APPEND, {41, 12, 0x9f3c01ab}, 43, 1767225600120};
    struct envelope e = {.event = m->event,
                         .channel = m->channel,
                         .data = m->data,
                         .extras = m->extras,
                         .message_id = m->message_id,
                         .serial = 43,
                         .headers = &headers,
                         .strip = m->event.n % 4};
    struct frame *v1 = envelope_frame(&e, WIRE_V1), *v2 = envelope_frame(&e, WIRE_V2);
    struct str object;
    struct buf scratch = {0};
    require(json_check(frame_payload(v1), &object, NULL));
    require(json_check(frame_payload(v2), &object, NULL));
    struct str shown = json_get(json_get(object, STR("extras")), STR("headers"));
    require(str_eq(json_text(json_get(shown, STR("sockudo_action")), &scratch), STR("message.append")));
    require(!json_has(shown, STR("sockudo_append_fragment")));
    require(!json_has(json_get(object, STR("extras")), STR("idempotencyKey")));
    buf_free(&scratch);
    frame_drop(v1);
    frame_drop(v2);
}

/* A header set in it: valid JSON, in which that header is what was set. */
static void write_header(const struct client_message *m, const struct extras_facts *facts, struct arena *arena)
{
    const struct ai_header_value set = {STR("status"), STR("cancelled")};
    struct extras_facts after;
    struct buf out = {0};
    struct str object;
    ai_extras_put(&out, m->extras, facts, &set, 1);
    require(json_check(buf_view(&out), &object, NULL));
    require(!extras_read(object, arena, &after));
    require(after.status == STREAM_CANCELLED && after.echo == facts->echo && after.ephemeral == facts->ephemeral);
    buf_free(&out);
}

static void judge_extras(const struct client_message *m, struct arena *arena)
{
    struct extras_facts facts;
    struct ai_failure failure;
    if (extras_read(m->extras, arena, &facts))
        return;
    if (!ai_headers_check(&config, &facts, &failure))
        require(failure.code != 0 && failure.text[0]);
    if (!ai_identity_check(&facts, m->channel, &failure))
        require(failure.text[0]);
    encode(m);
    write_header(m, &facts, arena);
}

static void read_filter(struct str data, struct arena *arena)
{
    struct filter *filter;
    const char *wrong = filter_read(&config, json_get(data, STR("filter")), arena, &filter);
    require(!(wrong && filter));
    if (filter)
        filter_accepts(filter, STR("e"), json_is(data, JSON_OBJECT) ? data : STR_NONE);
    filter_free(filter);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct client_message m;
    struct str text = arena_copy(&arena, str_make(data ? data : (const uint8_t *)"", size));
    const char *wrong = client_message_read(text, &arena, &m);
    if (wrong) {
        require(wrong[0]);
    } else {
        require(str_is_utf8(m.event));
        judge_extras(&m, &arena);
        read_filter(command_data(m.data, &arena), &arena);
    }
    arena_free(&arena);
    return 0;
}
