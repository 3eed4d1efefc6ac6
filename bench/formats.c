/* formats.c - what a wire format costs: encoding an append's JSON frame, converting it, and reading a client event.
 *
 *   formats FRAGMENT_BYTES SECONDS
 *
 * A conversion is paid once per shard, format and append mode, whatever the number of subscribers; a message of a client once.
 * CPU time of this process. Prints one JSON object.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "wire/format.h"

static const char *const names[FORMATS] = {"json", "msgpack", "protobuf", "protobuf_older"};

static double cpu_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static char *fragment_of(size_t bytes)
{
    char *text = malloc(bytes + 1);
    for (size_t i = 0; i < bytes; i++)
        text[i] = i % 6 == 5 ? ' ' : (char)('a' + i % 26);
    text[bytes] = '\0';
    return text;
}

static struct frame *append_frame(const char *fragment)
{
    struct runtime_headers headers = {ACTION_APPEND, {41, 12, 0x9f3c01ab}, 43, 1767225600120};
    struct envelope e = {.event = STR("sockudo:message.append"),
                         .channel = STR("private-ai-conversation-1"),
                         .name = STR("ai-output"),
                         .user_id = STR("agent-1"),
                         .message_id = STR("00000000000000000043:9f3c01ab:00000000000000000012"),
                         .stream_id = STR("9f3c01ab-7a51-4b0a-9d0e-0a4d2b1c7e11"),
                         .serial = 43,
                         .extras = STR("{\"ai\":{\"transport\":{\"status\":\"streaming\",\"turn-id\":\"t1\"}}}"),
                         .headers = &headers,
                         .data_body = str_of(fragment)};
    return envelope_frame(&e, WIRE_V2);
}

static struct frame *made(const char *fragment, const struct frame *json, enum wire_format format)
{
    return format == FORMAT_JSON ? append_frame(fragment) : frame_convert(json, format, DATA_JSON);
}

/* A client event in that format. */
static struct frame *event_frame(const char *fragment, enum wire_format format)
{
    struct envelope e = {.event = STR("client-cursor"), .channel = STR("private-room-1"), .data_body = str_of(fragment)};
    struct frame *json = envelope_frame(&e, WIRE_V2);
    if (format == FORMAT_JSON)
        return json;
    struct frame *converted = frame_convert(json, format, DATA_JSON);
    frame_drop(json);
    return converted;
}

struct cost {
    double write_us, read_us;
    size_t bytes;
};

static struct cost measure(const char *fragment, const struct frame *json, enum wire_format format, double seconds)
{
    enum { BATCH = 1000 };
    struct cost cost = {0};
    struct frame *event = event_frame(fragment, format);
    unsigned long rounds = 0;
    double begun = cpu_us(), middle, end;
    for (; cpu_us() - begun < seconds * 1e6; rounds += BATCH)
        for (unsigned i = 0; i < BATCH; i++) {
            struct frame *f = made(fragment, json, format);
            cost.bytes = frame_wire(f).n;
            frame_drop(f);
        }
    middle = cpu_us();
    for (unsigned long i = 0; i < rounds; i++) {
        struct arena arena = {0};
        struct client_message m;
        if (client_message_decode(frame_payload(event), format, &arena, &m))
            abort();
        arena_free(&arena);
    }
    end = cpu_us();
    cost.write_us = (middle - begun) / (double)rounds;
    cost.read_us = (end - middle) / (double)rounds;
    frame_drop(event);
    return cost;
}

int main(int argc, char **argv)
{
    size_t bytes = argc > 1 ? strtoul(argv[1], NULL, 10) : 40;
    double seconds = argc > 2 ? strtod(argv[2], NULL) : 1;
    char *fragment = fragment_of(bytes);
    struct frame *json = append_frame(fragment);
    printf("{\"fragment_bytes\":%zu", bytes);
    for (unsigned format = 0; format < FORMATS; format++) {
        struct cost cost = measure(fragment, json, format, seconds);
        printf(",\"%s\":{\"write_us\":%.4f,\"read_us\":%.4f,\"frame_bytes\":%zu}", names[format], cost.write_us, cost.read_us,
               cost.bytes);
    }
    printf("}\n");
    frame_drop(json);
    free(fragment);
    return 0;
}
