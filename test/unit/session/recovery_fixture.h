/* recovery_fixture.h - resumes, and the tests that run with either tier.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "session_fixture.h"

/* Every test runs with either tier: hot, and cold only. */
static inline int setup_cold(void **state)
{
    setup(state);
    app_config(*state)->recovery.buffer_ttl_seconds = 0;
    return 0;
}

static inline bool is_cold(struct fixture *f)
{
    return app_config(f)->recovery.buffer_ttl_seconds == 0;
}

static inline bool recovered_from(struct client *c, const char *tier, unsigned replayed)
{
    char text[64];
    snprintf(text, sizeof text, "\\\"source\\\":\\\"%s\\\",\\\"replayed\\\":%u", tier, replayed);
    return said(c, text);
}

/* A position as SDKs send it; the id is of the channel's stream. */
static inline void tell_resume(struct client *c, const char *channel, const char *stream_id, unsigned long long serial)
{
    tell(c,
         "{\"event\":\"sockudo:resume\",\"data\":\"{\\\"channel_positions\\\":{\\\"%s\\\":{\\\"stream_id\\\":\\\"%s\\\","
         "\\\"serial\\\":%llu,\\\"last_message_id\\\":\\\"m\\\"}}}\"}",
         channel, stream_id, serial);
}

static inline const char *resume(struct client *c, const char *channel, const char *stream_id, unsigned long long serial)
{
    tell_resume(c, channel, stream_id, serial);
    return answer(c);
}

/* Subscribe and resume in one read, as SDKs do after a reconnect. */
static inline const char *come_back(struct fixture *f, struct client *c, const char *channel, const char *stream_id,
                             unsigned long long serial)
{
    tell_subscribe(f, c, channel, "");
    return resume(c, channel, stream_id, serial);
}

/* The stream id that a subscriber of the channel is told. */
static inline const char *stream_id(struct fixture *f, const char *channel)
{
    struct client *c = v2(f);
    subscribe(f, c, channel);
    const char *id = stream_of(c);
    client_gone(c, END_GRACEFUL);
    return id;
}

#define T(name) \
    cmocka_unit_test_setup_teardown(name, setup, teardown), {"cold: " #name, name, setup_cold, teardown, NULL}
