/* stream_json.c - see stream_json.h
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "message/stream_json.h"

const struct stream_words stream_words_history = {"retained_messages", "recovery_allowed"};
const struct stream_words stream_words_presence = {"retained_events", "continuity_proven"};

void put_stream_id(struct buf *out, const char *key, const char *stream_id)
{
    put_text(out, key, stream_id[0] ? str_of(stream_id) : STR_NONE);
}

static void put_if(struct buf *out, const char *key, bool known, int64_t value)
{
    if (known)
        put_i64(out, key, value);
    else
        put_null(out, key);
}

void put_available(struct buf *out, const struct store_head *head)
{
    bool any = head->oldest_history > 0;
    put_if(out, "oldest_available_serial", any, (int64_t)head->oldest_history);
    put_if(out, "newest_available_serial", any, (int64_t)head->history);
    put_if(out, "oldest_available_published_at_ms", any, head->oldest_ms);
    put_if(out, "newest_available_published_at_ms", any, head->newest_ms);
}

static struct str state_word(enum stream_state state)
{
    switch (state) {
    case STATE_HEALTHY:
        return STR("healthy");
    case STATE_RESET_REQUIRED:
        return STR("reset_required");
    default:
        return STR("degraded");
    }
}

void stream_state_json(struct buf *out, const struct config *config, const struct stream_words *words,
                       const struct store_head *head)
{
    bool in_memory = config->history.backend == BACKEND_MEMORY;
    struct str source = in_memory ? STR("in_memory") : STR("durable_store");
    buf_char(out, '{');
    put_stream_id(out, "stream_id", head->stream_id);
    put_text(out, "durable_state", state_word(head->state));
    put_bool(out, words->allowed, head->state == STATE_HEALTHY);
    put_bool(out, "reset_required", head->state == STATE_RESET_REQUIRED);
    put_text(out, "reason", head->state_reason);
    put_null(out, "node_id");
    put_null(out, "last_transition_at_ms");
    put_text(out, "authoritative_source", source);
    put_text(out, "observed_source", source);
    buf_char(out, '}');
}

void stream_json(struct buf *out, const struct config *config, const struct stream_words *words,
                 const struct store_head *head)
{
    buf_char(out, '{');
    put_stream_id(out, "stream_id", head->stream_id);
    put_u64(out, "next_serial", head->history + 1);
    put_key(out, "retained");
    buf_char(out, '{');
    put_stream_id(out, "stream_id", head->stream_id);
    put_u64(out, words->retained, head->retained_messages);
    put_u64(out, "retained_bytes", head->retained_bytes);
    put_available(out, head);
    buf_char(out, '}');
    put_key(out, "state");
    stream_state_json(out, config, words, head);
    buf_char(out, '}');
}
