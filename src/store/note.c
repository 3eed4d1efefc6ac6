/* note.c - small records that belong to no channel: written in the commit batch, read by the reader.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "store/engine_internal.h"
#include "base/pack.h"

static void note_key(struct buf *out, struct str key)
{
    buf_clear(out);
    buf_char(out, 'n');
    buf_str(out, key);
}

static bool notes_fit(const struct store_notes *n)
{
    for (size_t i = 0; i < n->put_count; i++)
        if (n->put[i].key.n == 0 || n->put[i].key.n > NOTE_KEY_MAX || n->put[i].value.n > NOTE_VALUE_MAX)
            return false;
    return true;
}

void stage_notes(struct engine *e, struct store_op *op)
{
    const struct store_notes *n = &op->notes;
    if (!notes_fit(n)) {
        op->result = STORE_BYTES_MAX;
        return;
    }
    for (size_t i = 0; i < n->put_count; i++) {
        note_key(&e->scratch, n->put[i].key);
        if (n->put[i].value.p == NULL) {
            kv_del(e->kv, buf_view(&e->scratch));
            continue;
        }
        buf_clear(&e->value);
        pack_u64(&e->value, ROW_FORMAT);
        buf_str(&e->value, n->put[i].value);
        kv_put(e->kv, buf_view(&e->scratch), buf_view(&e->value));
    }
}

/* The first key behind all that begin with these bytes, the first of which is not 0xff. */
static void behind_prefix(struct buf *key)
{
    while ((unsigned char)key->p[key->n - 1] == 0xff)
        key->n--;
    key->p[key->n - 1]++;
}

static bool read_note(struct str key, struct str value, struct store_note *out, struct arena *arena)
{
    uint64_t format;
    if (!unpack_u64(&value, &format) || format != ROW_FORMAT)
        return false;
    *out = (struct store_note){arena_copy(arena, str_from(key, 1)), arena_copy(arena, value)};
    return true;
}

static bool scan_notes(struct kv *kv, struct str from, struct str to, struct store_notes *n, struct arena *arena)
{
    struct str key, value;
    size_t cap = 0, bytes = 0;
    bool whole = true;
    struct kv_cursor *cursor = kv_scan(kv, from, to, false);
    while (whole && kv_next(kv, cursor, &key, &value)) {
        if (n->found_count == n->limit || bytes >= NOTE_SCAN_BYTES_MAX) {
            n->more = true;
            break;
        }
        if (n->found_count == cap) {
            struct store_note *grown = arena_alloc(arena, (cap = cap ? cap * 2 : 64) * sizeof(*grown));
            if (n->found_count > 0)
                memcpy(grown, n->found, n->found_count * sizeof(*grown));
            n->found = grown;
        }
        whole = read_note(key, value, &n->found[n->found_count], arena);
        n->found_count += whole;
        bytes += key.n + value.n;
    }
    return kv_end(kv, cursor) && whole;
}

enum store_result read_notes(struct kv *kv, struct store_op *op)
{
    struct store_notes *n = &op->notes;
    struct buf from = {0}, to = {0};
    bool ok = true;
    n->found = NULL;
    n->found_count = 0;
    n->more = false;
    note_key(&to, n->prefix);
    behind_prefix(&to);
    bool resumes = n->after.p != NULL && str_cmp(n->after, n->prefix) >= 0;
    note_key(&from, resumes ? n->after : n->prefix);
    if (resumes)
        buf_char(&from, '\0');
    if (str_cmp(buf_view(&from), buf_view(&to)) < 0)
        ok = scan_notes(kv, buf_view(&from), buf_view(&to), n, &op->arena);
    buf_free(&from);
    buf_free(&to);
    return ok ? STORE_OK : STORE_FAILED;
}
