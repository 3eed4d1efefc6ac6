/* agent_config.h - what the coordinator wants of an agent: the fields of its "start" line.
 *
 * All fields are required and none may be unknown, so that two versions that do not fit each other find out at once.
 *
 * Units are in the names; ppm is of what the comment names. Ownership: texts and nodes are the config's, agent_config_free(). Threads: one.
 * Errors: a reason that names the field. Limits: each number's range is in the table of agent_config.c; AGENT_NODES_MAX nodes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"

enum { AGENT_NODES_MAX = 1024 };
enum plant_kind { PLANT_NONE, PLANT_DROP, PLANT_REORDER, PLANT_DELAY };

struct agent_config {
    uint64_t agent, seed;
    uint64_t first_session, sessions, streams;
    uint64_t connections;         /* sockets in all: those that are no subscriber are idle */
    uint64_t subscribers_min, subscribers_max;
    uint64_t interval_ns, mean_tokens, token_bytes, duration_ms;
    uint64_t ramp_per_s;          /* connections; 0 = as fast as 256 at a time allow */
    uint64_t window_ms;           /* of rolled sockets */
    uint64_t unrolled_ppm;        /* millionths of the subscribers that ask for window 0 */
    uint64_t full_ppm;            /* of the subscribers, with append_mode=full */
    uint64_t cancel_ppm, reconnect_ppm, join_ppm; /* per message */
    uint64_t drop_ppm, drop_at_ms, resume_within_ms; /* storm: of all sockets, within a second */
    uint64_t cancel_count;        /* storm: within the duration */
    uint64_t samples, request_timeout_ms, drain_ms;
    uint64_t node_local;          /* 1: all of a session at one node */
    uint64_t clock_skew_ms;       /* reserved for the signature's clock: its absolute value */
    uint64_t clock_behind;        /* 1: the skew is backwards */
    char *run, *app, *key, *secret, *channel, *source, *plant_word;
    enum plant_kind plant;
    struct { char *host; unsigned port; } *nodes;
    uint32_t node_count;
};

/* False with the reason in `why`, which names the field. line: one JSON object. */
bool agent_config_read(struct agent_config *config, struct str line, struct buf *why);
void agent_config_free(struct agent_config *config);
