/* remote.c - operations to bytes and back.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/remote.h"

#include "base/pack.h"

enum { STORED = 1, VERSIONED = 2, EPHEMERAL = 4 };

static bool is_mutation(enum store_action action)
{
    return action == ACTION_UPDATE || action == ACTION_DELETE || action == ACTION_APPEND;
}

/* ---- bytes ---- */

void remote_begin(struct buf *out, enum remote_kind kind)
{
    pack_u64(out, REMOTE_VERSION);
    pack_u64(out, kind);
}

enum remote_kind remote_kind_take(struct str *payload)
{
    uint64_t version, kind;
    bool known = unpack_u64(payload, &version) && version == REMOTE_VERSION && unpack_u64(payload, &kind) && kind < REMOTE_KINDS;
    return known ? (enum remote_kind)kind : REMOTE_KINDS;
}

void remote_put(struct buf *out, const struct remote *r)
{
    const struct str texts[] = {r->event_name, r->data, r->extras, r->tags, r->user_id, r->client_id, r->message_id, r->cache_event, r->lengths};
    const uint64_t numbers[] = {(uint64_t)(r->stored * STORED + r->versioned * VERSIONED + r->ephemeral * EPHEMERAL),
                                r->action, r->form, r->status, r->message.create_delivery, r->message.history, r->message.stream8,
                                r->first, r->window, r->count, r->history, r->appends, r->message_bytes, r->except.a, r->except.b};
    remote_begin(out, REMOTE_OPERATION);
    pack_text(out, r->app_id);
    pack_text(out, r->channel);
    pack_text(out, r->stream_id);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        pack_u64(out, numbers[i]);
    pack_i64(out, r->at_ms);
    pack_i64(out, r->created_ms);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        pack_text(out, texts[i]);
}

static bool read_numbers(struct str *in, struct remote *r)
{
    uint64_t flags, action, form, status;
    if (!unpack_u64(in, &flags) || !unpack_u64(in, &action) || !unpack_u64(in, &form) || !unpack_u64(in, &status) ||
        !unpack_u64(in, &r->message.create_delivery) || !unpack_u64(in, &r->message.history) || !unpack_u32(in, &r->message.stream8) ||
        !unpack_u64(in, &r->first) || !unpack_u32(in, &r->window) || !unpack_u32(in, &r->count) || !unpack_u64(in, &r->history) || !unpack_u32(in, &r->appends) ||
        !unpack_u64(in, &r->message_bytes) || !unpack_u64(in, &r->except.a) || !unpack_u64(in, &r->except.b) ||
        !unpack_i64(in, &r->at_ms) || !unpack_i64(in, &r->created_ms))
        return false;
    r->stored = flags & STORED;
    r->versioned = flags & VERSIONED;
    r->ephemeral = flags & EPHEMERAL;
    r->action = (enum store_action)action;
    r->form = (enum data_form)form;
    r->status = (enum stream_status)status;
    return r->window < WINDOWS && action <= ACTION_ORDINARY && status <= STREAM_CANCELLED && form <= DATA_BYTES;
}

static bool agrees(const struct remote *r)
{
    if (r->count == 0 || r->count > REMOTE_OPERATIONS_MAX || r->app_id.n == 0 || r->channel.n == 0)
        return false;
    if (r->stored && (r->first == 0 || r->stream_id.n != STREAM_ID_SIZE))
        return false;
    return r->count == 1 || (r->action == ACTION_APPEND && r->lengths.n > 0);
}

bool remote_read(struct str in, struct remote *r)
{
    *r = (struct remote){0};
    struct str *const texts[] = {&r->event_name, &r->data, &r->extras, &r->tags, &r->user_id, &r->client_id, &r->message_id, &r->cache_event, &r->lengths};
    if (!unpack_text(&in, &r->app_id) || !unpack_text(&in, &r->channel) ||
        !unpack_text(&in, &r->stream_id) || !read_numbers(&in, r))
        return false;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!unpack_text(&in, texts[i]))
            return false;
    return in.n == 0 && agrees(r);
}

/* ---- from a publish ---- */

static struct str without_quotes(struct str json)
{
    return json.n >= 2 ? str_make(json.p + 1, json.n - 2) : STR("");
}

void remote_of_publish(const struct channel *ch, const struct publish *p, struct remote *r)
{
    const struct store_write *w = &p->op.write;
    const struct store_written *done = &p->op.written;
    bool mutation = is_mutation(w->action);
    *r = (struct remote){
        .app_id = ch->app->id,
        .channel = ch->name,
        .stream_id = str_of(p->op.head.stream_id),
        .action = w->action,
        .form = p->form,
        .status = done->status,
        .stored = p->stored,
        .versioned = p->versioned,
        .ephemeral = p->extras.ephemeral,
        .message = done->message,
        .first = p->stored ? done->delivery : 0,
        .window = ch->bus_window != BUS_NOBODY ? (unsigned)ch->bus_window : 0,
        .count = 1,
        .history = p->op.head.history,
        .at_ms = done->at_ms,
        .created_ms = done->created_ms,
        .appends = done->appends,
        .message_bytes = done->message_bytes,
        .except = p->except,
        .event_name = mutation ? done->name : w->event_name,
        .data = w->action == ACTION_APPEND ? without_quotes(w->data) : mutation ? done->data : w->data,
        .extras = mutation ? done->extras : w->extras,
        .tags = mutation ? done->tags : w->tags,
        .user_id = mutation ? done->user_id : w->user_id,
        .client_id = w->client_id,
        .message_id = w->message_id,
        .cache_event = p->cache_event,
    };
}

/* ---- to a publish ---- */

bool remote_fragment(const struct remote *r, struct str *lengths, struct str *data, struct str *fragment)
{
    uint64_t n = data->n;
    if (r->count > 1 && (!unpack_u64(lengths, &n) || n > data->n))
        return false;
    *fragment = n > 0 ? str_make(data->p, n) : STR("");
    if (n > 0)
        *data = str_from(*data, n);
    return true;
}

/* With the quotes that a fragment has in a request. */
static struct str quoted(struct arena *arena, struct str body)
{
    char *text = arena_alloc(arena, body.n + 2);
    text[0] = '"';
    if (body.n > 0)
        memcpy(text + 1, body.p, body.n);
    text[body.n + 1] = '"';
    return str_make(text, body.n + 2);
}

static void fill_write(struct publish *p, const struct remote *r, struct str fragment)
{
    struct arena *arena = &p->op.arena;
    p->op.write = (struct store_write){
        .action = r->action,
        .event_name = arena_copy(arena, r->event_name),
        .data = r->action == ACTION_APPEND ? quoted(arena, fragment) : arena_copy(arena, r->data),
        .extras = arena_copy(arena, r->extras),
        .tags = arena_copy(arena, r->tags),
        .user_id = arena_copy(arena, r->user_id),
        .client_id = arena_copy(arena, r->client_id),
        .message_id = arena_copy(arena, r->message_id),
        .status = r->status,
    };
}

static void fill_written(struct publish *p, const struct remote *r, uint32_t i)
{
    const struct store_write *w = &p->op.write;
    uint32_t behind = r->count - 1 - i; /* operations of the run after this one */
    p->op.written = (struct store_written){
        .message = r->message,
        .delivery = r->stored ? r->first + i : 0,
        .history = r->message.history,
        .at_ms = r->at_ms,
        .created_ms = r->created_ms,
        .message_bytes = r->message_bytes,
        .appends = r->appends > behind ? r->appends - behind : 0,
        .status = r->status,
        .name = w->event_name,
        .extras = w->extras,
        .data = w->data,
        .user_id = w->user_id,
        .tags = w->tags,
    };
    memcpy(p->op.head.stream_id, r->stream_id.p, r->stream_id.n);
    p->op.head.delivery = p->op.written.delivery;
    p->op.head.history = r->history;
}

struct publish *remote_publish(struct env *env, struct app *app, const struct remote *r, uint32_t i, struct str fragment)
{
    struct publish *p = publish_new(env, app, NULL);
    p->op.app_id = app->id;
    p->op.channel = arena_copy(&p->op.arena, r->channel);
    p->form = r->form;
    p->stored = r->stored;
    p->versioned = r->versioned;
    p->extras.ephemeral = r->ephemeral;
    p->except = r->except;
    p->cache_event = arena_copy(&p->op.arena, r->cache_event);
    p->submitted_ns = p->arrived_ns = clock_mono_ns(env->clock);
    p->completed = true;
    p->foreign = true;
    p->more = i + 1 < r->count;
    p->rolled = (uint8_t)r->window;
    fill_write(p, r, fragment);
    fill_written(p, r, i);
    return p;
}
