/* options.c - the table and its reader.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/options.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

enum option_type { TEXT, NUMBER, FLAG };

struct option {
    const char *name;
    enum option_type type;
    size_t offset;
    const char *initial; /* NULL = not set (NUMBER: UINT64_MAX) */
    unsigned modes;
    const char *help;
};

#define AT(field) offsetof(struct options, field)

static const struct option table[] = {
    {"host", TEXT, AT(host), "127.0.0.1", IN_ALL, "IPv4 address of the server"},
    {"port", NUMBER, AT(port), "6001", IN_ALL, "its port"},
    {"server-pid", NUMBER, AT(server_pid), "0", IN_ALL & ~IN_START, "process whose CPU and memory are read"},
    {"json", TEXT, AT(json), NULL, IN_ALL, "also write the figures to this file"},
    {"peer", TEXT, AT(peer), "sockudo", HAS_SUBSCRIBERS | HAS_PUBLISHERS,
     "what the server speaks: sockudo, bare, ws, nchan or centrifugo"},
    {"app", TEXT, AT(app), "app-id", HAS_PUBLISHERS, "application id"},
    {"key", TEXT, AT(key), "app-key", HAS_SUBSCRIBERS | HAS_PUBLISHERS, "application key"},
    {"secret", TEXT, AT(secret), "app-secret", HAS_PUBLISHERS, "application secret"},
    {"channel", TEXT, AT(channel), "bench", (HAS_SUBSCRIBERS | HAS_PUBLISHERS) & ~IN_RESUME,
     "channel, or prefix of several"},
    {"channels", NUMBER, AT(channels), "1", (HAS_SUBSCRIBERS | HAS_PUBLISHERS) & ~IN_RESUME,
     "how many: connection i uses channel i modulo this"},
    {"groups", NUMBER, AT(groups), "0", IN_STREAMS, "connection i subscribes to all channels c with c = i modulo this"},
    {"streams", NUMBER, AT(streams), "20000", IN_STREAMS, "open messages, spread over the channels"},
    {"channel", TEXT, AT(channel), "ai-bench", IN_RESUME, "prefix of the channels"},
    {"channels", NUMBER, AT(channels), "10", IN_RESUME, "how many, each with one stream of appends"},
    {"live", NUMBER, AT(live), "100", IN_RESUME, "subscribers that stay, at least one a channel"},
    {"behind", NUMBER, AT(behind), "200", IN_RESUME, "tokens of each channel that go by meanwhile"},
    {"at-once", NUMBER, AT(at_once), "256", IN_RESUME,
     "connections under way at a time; many make this program late itself"},
    {"rest", NUMBER, AT(rest_seconds), "0", IN_RESUME, "seconds until they come back, so that buffers expire"},
    {"rate", NUMBER, AT(rate_per_s), "100", IN_RESUME, "tokens per second, of all channels together"},
    {"subscribers", NUMBER, AT(subscribers), "2000", IN_RESUME, "connections that are cut off at once"},
    {"event", TEXT, AT(event), "message", HAS_PUBLISHERS, "event name of publishes"},
    {"extras", TEXT, AT(extras), NULL, HAS_PUBLISHERS, "extras of publishes, a JSON object"},
    {"protocol", NUMBER, AT(protocol), "7", HAS_SUBSCRIBERS & ~IN_RESUME, "7 is V1, 2 is V2"},
    {"append-mode", TEXT, AT(append_mode), NULL, HAS_SUBSCRIBERS & ~IN_RESUME, "V2: delta or full"},
    {"window", NUMBER, AT(window_ms), NULL, HAS_SUBSCRIBERS, "V2: append_rollup_window in ms"},
    {"subscribers", NUMBER, AT(subscribers), "1000", IN_SUBSCRIBE | IN_FANOUT | IN_IDLE,
     "WebSocket connections"},
    {"subscribers", NUMBER, AT(subscribers), "0", IN_APPEND, "WebSocket connections that check what arrives"},
    {"ramp", NUMBER, AT(ramp_per_s), "0", HAS_SUBSCRIBERS,
     "connections opened per second; 0 = as fast as possible"},
    {"connections", NUMBER, AT(connections), "1", IN_PUBLISH | IN_FANOUT,
     "keep-alive connections that publish"},
    {"subscribers", NUMBER, AT(subscribers), "0", IN_STREAMS, "WebSocket connections that check what arrives"},
    {"connections", NUMBER, AT(connections), "64", IN_STREAMS, "keep-alive connections that append"},
    {"connections", NUMBER, AT(connections), "64", IN_APPEND, "keep-alive connections, one stream each"},
    {"depth", NUMBER, AT(depth), "1", IN_FANOUT, "closed loop: publishes not yet delivered to everybody"},
    {"rate", NUMBER, AT(rate_per_s), "0", HAS_PUBLISHERS & ~IN_RESUME,
     "requests per second on an absolute schedule, late ones counted from when they were due; 0 = closed "
     "loop"},
    {"count", NUMBER, AT(count), "0", IN_PUBLISH | IN_APPEND,
     "stop after so many requests; 0 = after --seconds"},
    {"size", NUMBER, AT(size_bytes), "100", IN_PUBLISH | IN_FANOUT, "bytes of a message (38 at least)"},
    {"size", NUMBER, AT(size_bytes), "40", IN_APPEND | IN_STREAMS | IN_RESUME, "bytes of a fragment (38 at least)"},
    {"accumulated", NUMBER, AT(accumulated_bytes), "0", IN_APPEND, "grow each message to this size first"},
    {"appends-per-message", NUMBER, AT(appends_per_message), "1000", IN_APPEND,
     "then begin a new message; 0 = never"},
    {"seconds", NUMBER, AT(seconds), "5", IN_ALL & ~IN_START, "length of the measurement"},
    {"warmup", NUMBER, AT(warmup_seconds), "1", HAS_PUBLISHERS, "seconds before it that do not count"},
    {"settle", NUMBER, AT(settle_seconds), "0", IN_APPEND,
     "seconds of rest before the measurement, for what growing left to be done in the background"},
    {"drain", NUMBER, AT(drain_seconds), "10", HAS_PUBLISHERS,
     "seconds to wait for what is under way at the end"},
    {"streaming", FLAG, AT(streaming), NULL, IN_APPEND,
     "one request per message, whose body carries a record per fragment"},
    {"ahead", NUMBER, AT(ahead), "64", IN_APPEND,
     "streaming: records of a stream that are sent before they are acknowledged"},
    {"listen", NUMBER, AT(listen_port), "0", IN_AGENT,
     "take orders from the first who connects to this port; 0 = from standard input"},
    {"listen-host", TEXT, AT(listen_host), "127.0.0.1", IN_AGENT,
     "address of that port; whoever reaches it commands this agent, so keep it in a private network"},
    {"verify", FLAG, AT(verify), NULL, IN_APPEND, "read each message back at the end and check its text"},
};

enum { TABLE_SIZE = sizeof table / sizeof *table };

static bool set(struct options *options, const struct option *option, const char *text)
{
    char *field = (char *)options + option->offset;
    if (option->type == TEXT) {
        *(const char **)field = text;
        return true;
    }
    if (option->type == FLAG) {
        *(bool *)field = text != NULL;
        return true;
    }
    *(uint64_t *)field = UINT64_MAX;
    return !text || str_to_u64(str_of(text), (uint64_t *)field);
}

static const struct option *find(enum mode_bit mode, const char *name)
{
    for (unsigned i = 0; i < TABLE_SIZE; i++)
        if (table[i].modes & mode && strcmp(table[i].name, name) == 0)
            return &table[i];
    return NULL;
}

bool options_read(struct options *options, enum mode_bit mode, int argc, char **argv)
{
    *options = (struct options){0};
    for (unsigned i = 0; i < TABLE_SIZE; i++)
        if (table[i].modes & mode || !find(mode, table[i].name))
            set(options, &table[i], table[i].initial);
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0) {
            options->command = argv + i + 1;
            return true;
        }
        const struct option *option = strncmp(argv[i], "--", 2) == 0 ? find(mode, argv[i] + 2) : NULL;
        const char *text = !option ? NULL : option->type == FLAG ? "" : ++i < argc ? argv[i] : NULL;
        if (!text || !set(options, option, text)) {
            fprintf(stderr, "%s: %s\n", argv[i < argc ? i : argc - 1],
                    option ? "bad or missing value" : "unknown option");
            return false;
        }
    }
    return true;
}

void options_help(enum mode_bit mode)
{
    for (unsigned i = 0; i < TABLE_SIZE; i++)
        if (table[i].modes & mode)
            printf("  --%-20s %s%s%s%s\n", table[i].name, table[i].help, table[i].initial ? " (" : "",
                   table[i].initial ? table[i].initial : "", table[i].initial ? ")" : "");
}
