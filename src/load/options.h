/* options.h - what can be asked of the load program: one table for all of its modes.
 *
 * Units are in the names. Ownership: texts are argv's. Threads: read once, before anything else, then by anybody. Errors: on stderr, with
 * the option's name. Limits: the table's, in options.c.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum mode_bit {
    IN_SUBSCRIBE = 1,
    IN_PUBLISH = 2,
    IN_FANOUT = 4,
    IN_APPEND = 8,
    IN_IDLE = 16,
    IN_START = 32,
    IN_STREAMS = 64,
    IN_RESUME = 128,
    IN_AGENT = 256,
    IN_ALL = 255,
    HAS_SUBSCRIBERS = IN_SUBSCRIBE | IN_FANOUT | IN_APPEND | IN_IDLE | IN_STREAMS | IN_RESUME,
    HAS_PUBLISHERS = IN_PUBLISH | IN_FANOUT | IN_APPEND | IN_STREAMS | IN_RESUME,
};

struct options {
    const char *host, *peer, *app, *key, *secret, *channel, *event, *extras, *append_mode, *json;
    uint64_t port, protocol, window_ms;         /* window_ms UINT64_MAX = not asked for */
    uint64_t streams, groups;                   /* groups 0 = as many as channels */
    uint64_t channels, subscribers, ramp_per_s; /* ramp_per_s 0 = as fast as 256 at a time allow */
    uint64_t connections, depth, rate_per_s, count, size_bytes;
    uint64_t accumulated_bytes, appends_per_message;
    uint64_t live, behind, rest_seconds, at_once;
    uint64_t seconds, warmup_seconds, settle_seconds, drain_seconds;
    uint64_t server_pid;
    uint64_t ahead;
    const char *listen_host;
    uint64_t listen_port;
    bool verify, streaming;
    char *const *command; /* behind "--"; NULL if none */
};

/* Fills in defaults, then argv[2...]. False, with a line on stderr, when something is unknown or malformed.
 */
bool options_read(struct options *options, enum mode_bit mode, int argc, char **argv);
/* The options of a mode, a line each. */
void options_help(enum mode_bit mode);
