/* fold.c - what was said one by one is put together: segments, message heads, checkpoints, and what memory lets go.
 *
 *      rows   c1 a2 a3 ... a64 | a65 ... a128 | a129 a130
 *      kept   segment 0          segment 1      tail in memory (and the rows, which stay until retention)
 *
 * A segment holds only the text since the one before: folding costs O(64 fragments), whatever has accumulated.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store/engine_internal.h"
#include "base/mem.h"
#include "base/pack.h"

enum { TAIL_KEPT = 16384 }; /* bytes of a tail's buffer that are worth keeping over a fold */

static void put_segment(struct engine *e, struct message *m)
{
    struct buf deliveries = {0};
    uint64_t before = 0;
    for (uint32_t i = 0; i < m->rows_count; i++) {
        pack_u64(&deliveries, m->rows[i] - before);
        before = m->rows[i];
    }
    struct segment s = {.replaces = m->tail_replaces, .is_string = m->tail_is_string, .rows = m->rows_count,
                        .deliveries = buf_view(&deliveries),
                        .text = m->tail_has_data ? buf_view(&m->tail) : STR_NONE};
    struct key key = key_segment(m->channel->record.cid, m->history, m->h.segments);
    buf_clear(&e->scratch);
    segment_put(&e->scratch, &s);
    kv_put(e->kv, key_str(&key), buf_view(&e->scratch));
    buf_free(&deliveries);
}

void message_fold(struct engine *e, struct message *m)
{
    struct key key = key_of2('M', m->channel->record.cid, m->history);
    if (m->rows_count > 0) {
        put_segment(e, m);
        m->h.segments++;
    }
    m->h.previous_fold = m->h.last;
    buf_clear(&e->scratch);
    head_put(&e->scratch, &m->h);
    kv_put(e->kv, key_str(&key), buf_view(&e->scratch));
    if (m->tail.cap > TAIL_KEPT)
        buf_free(&m->tail);
    buf_clear(&m->tail);
    m->rows_count = 0;
    m->tail_replaces = m->tail_has_data = false;
    message_is_clean(m);
    if (!is_folding(m))
        list_append(&e->folding, &m->folding);
    message_weigh(e, m);
    channel_touch(e, m->channel);
}

void put_channel_record(struct engine *e, struct stored_channel *ch)
{
    struct buf key = {0};
    buf_char(&key, 'C');
    buf_str(&key, ch->key);
    buf_clear(&e->scratch);
    channel_record_put(&e->scratch, &ch->record);
    kv_put(e->kv, buf_view(&key), buf_view(&e->scratch));
    buf_free(&key);
}

static void put_checkpoint(struct engine *e, struct stored_channel *ch, uint64_t checkpoint)
{
    ch->record.checkpoint = checkpoint;
    ch->record.delivery = ch->delivery;
    ch->record.history = ch->history;
    ch->record.bytes_ever = ch->bytes_ever;
    put_channel_record(e, ch);
    channel_touch(e, ch);
}

static struct message *oldest_dirty(const struct stored_channel *ch)
{
    return list_empty(&ch->dirty) ? NULL : list_of(ch->dirty.next, struct message, dirty);
}

void channel_checkpoint(struct engine *e, struct stored_channel *ch)
{
    for (struct message *m; (m = oldest_dirty(ch)) != NULL;)
        message_fold(e, m);
    put_checkpoint(e, ch, ch->delivery);
}

/* Folding an open stream has to be paid for by many rows of it. */
static uint64_t checkpoint_rows(const struct stored_channel *ch)
{
    uint64_t rows = CHECKPOINT_ROWS + 16 * (uint64_t)ch->open;
    return rows < CHECKPOINT_ROWS_MAX ? rows : CHECKPOINT_ROWS_MAX;
}

/* Each write pays for a few of the oldest dirty messages, so no write pays for all of them. */
void channel_checkpoint_some(struct engine *e, struct stored_channel *ch)
{
    uint64_t rows = checkpoint_rows(ch);
    struct message *m;
    if (ch->delivery - ch->record.checkpoint < rows)
        return;
    uint64_t wanted = ch->record.checkpoint + rows / 2;
    for (int i = 0; i < FOLDS_PER_WRITE && (m = oldest_dirty(ch)) != NULL && m->dirty_from <= wanted; i++)
        message_fold(e, m);
    m = oldest_dirty(ch);
    if (m == NULL || m->dirty_from > wanted)
        put_checkpoint(e, ch, m != NULL ? m->dirty_from - 1 : ch->delivery);
}

/* Before a commit: what is to be dropped soon must be clean by then. */
void engine_trim_before(struct engine *e)
{
    size_t over = e->messages_count > ENGINE_MESSAGES_MAX ? e->messages_count - ENGINE_MESSAGES_MAX : 0;
    size_t bytes_over = e->messages_bytes > e->messages_bytes_max ? e->messages_bytes - e->messages_bytes_max : 0;
    list_each(at, &e->messages)
    {
        struct message *m = list_of(at, struct message, lru);
        if (over == 0 && bytes_over == 0)
            break;
        over -= over > 0;
        bytes_over -= m->bytes < bytes_over ? m->bytes : bytes_over;
        if (is_dirty(m))
            message_fold(e, m);
    }
    size_t channels = e->channels.count > ENGINE_CHANNELS_MAX ? e->channels.count - ENGINE_CHANNELS_MAX : 0;
    list_each(at, &e->channels_lru)
    {
        struct stored_channel *ch = list_of(at, struct stored_channel, lru);
        if (channels-- == 0)
            break;
        if (ch->record.checkpoint < ch->delivery)
            channel_checkpoint(e, ch);
    }
}

/* After a commit: everything is durable, so clean ones can be read again at any time. */
void engine_trim_after(struct engine *e)
{
    list_each_safe(at, after, &e->messages)
    {
        struct message *m = list_of(at, struct message, lru);
        if (e->messages_count <= ENGINE_MESSAGES_MAX && e->messages_bytes <= e->messages_bytes_max)
            break;
        if (!is_dirty(m))
            message_drop(e, m);
    }
    list_each_safe(at, after, &e->channels_lru)
    {
        struct stored_channel *ch = list_of(at, struct stored_channel, lru);
        if (e->channels.count <= ENGINE_CHANNELS_MAX)
            break;
        if (ch->record.checkpoint == ch->delivery)
            channel_drop(e, ch);
    }
}
