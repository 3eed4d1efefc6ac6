/* record.c - a job as the value of a note, and what may be tried again when.
 *
 *      {"app":"7","webhook":"<32 hex digits>","index":0,"origin":"https://h","events":2,"time_ms":1700000000123,"single":false}\n
 *      {"time_ms":1700000000123,"events":[...]}          the body, byte for byte
 *
 * The key is webhook/<16 hex digits of the sequence number>. The webhook is named by the hash of its URL.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "webhook/internal.h"

#include "base/json.h"

void record_put(struct buf *out, const struct record *r)
{
    buf_lit(out, "{\"app\":");
    buf_json(out, r->app_id);
    buf_lit(out, ",\"webhook\":");
    buf_json(out, r->target_id);
    buf_fmt(out, ",\"index\":%llu,\"origin\":", (unsigned long long)r->index);
    buf_json(out, r->origin);
    buf_fmt(out, ",\"events\":%llu,\"time_ms\":%lld,\"single\":%s}\n", (unsigned long long)r->events, (long long)r->time_ms,
            r->single ? "true" : "false");
    buf_str(out, r->body);
}

static struct str text_of(struct str object, struct str key, struct arena *arena)
{
    return arena_copy(arena, json_text_in(json_get(object, key), arena));
}

bool record_read(struct str value, struct record *r, struct arena *arena)
{
    ptrdiff_t end = str_index(value, '\n');
    struct str head;
    if (end < 0 || !json_check(str_first(value, (size_t)end), &head, NULL) || !json_is(head, JSON_OBJECT))
        return false;
    *r = (struct record){.app_id = text_of(head, STR("app"), arena),
                         .target_id = text_of(head, STR("webhook"), arena),
                         .origin = text_of(head, STR("origin"), arena),
                         .body = str_from(value, (size_t)end + 1)};
    return r->app_id.p != NULL && r->target_id.p != NULL && r->origin.p != NULL && r->body.n > 0 &&
           json_u64(json_get(head, STR("index")), &r->index) && json_u64(json_get(head, STR("events")), &r->events) &&
           json_i64(json_get(head, STR("time_ms")), &r->time_ms) && json_bool(json_get(head, STR("single")), &r->single);
}

void seq_put(struct buf *out, uint64_t seq)
{
    buf_fmt(out, "%016llx", (unsigned long long)seq);
}

bool seq_read(struct str digits, uint64_t *seq)
{
    static const char hex[] = "0123456789abcdef";
    *seq = 0;
    for (size_t i = 0; i < digits.n; i++) {
        const char *at = digits.p[i] ? strchr(hex, digits.p[i]) : NULL;
        if (at == NULL)
            return false;
        *seq = *seq << 4 | (uint64_t)(at - hex);
    }
    return digits.n == DEAD_ID_SIZE;
}

uint64_t retry_delay_ms(const struct retry *r, uint32_t attempts, uint64_t elapsed_ms)
{
    uint64_t delay = r->initial_ms;
    if (!r->enabled || (r->attempts_max > 0 && attempts >= r->attempts_max))
        return RETRY_NEVER;
    for (uint32_t i = 1; i < attempts && delay < r->max_ms; i++)
        delay *= 2;
    delay = delay < r->max_ms ? delay : r->max_ms;
    bool too_late = elapsed_ms > r->elapsed_max_ms || delay > r->elapsed_max_ms - elapsed_ms;
    return too_late ? RETRY_NEVER : delay;
}

enum verdict verdict_of(int status)
{
    if (status >= 200 && status < 300)
        return VERDICT_DELIVERED;
    bool again = status == 0 || status >= 500 || status == 408 || status == 409 || status == 425 || status == 429;
    return again ? VERDICT_RETRY : VERDICT_PERMANENT;
}
