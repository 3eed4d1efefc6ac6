/* event.c - an event object becomes a checked list of channels to publish to.
 *
 *      body -> members -> name, size -> AI facts -> channels, each: name, policy, AI rules, key
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/event.h"

#include "ai/headers.h"
#include "base/json.h"
#include "base/map.h"
#include "message/fingerprint.h"
#include "message/metrics.h"

enum { EVENT_NAME_MAX = 200 };

#define FIELD(member, kind)                                                                                  \
    {                                                                                                        \
#member, kind, false, offsetof(struct event, member)                                                 \
    }
static const struct field fields[] = {
    FIELD(name, FIELD_TEXT),
    FIELD(data, FIELD_JSON),
    FIELD(channel, FIELD_TEXT),
    FIELD(channels, FIELD_TEXTS),
    FIELD(message_id, FIELD_TEXT),
    FIELD(extras, FIELD_OBJECT),
    FIELD(socket_id, FIELD_TEXT),
    FIELD(info, FIELD_TEXT),
    FIELD(tags, FIELD_TEXT_MAP),
    FIELD(client_id, FIELD_TEXT),
    FIELD(idempotency_key, FIELD_TEXT),
    FIELD(delta, FIELD_BOOL),
};
#undef FIELD

/* ---- keys ---- */

bool idempotency_is_on(const struct app *app)
{
    int own = app->config->idempotency_enabled;
    return own >= 0 ? own != 0 : app->global->idempotency.enabled;
}

uint64_t idempotency_ttl_ms(const struct app *app)
{
    int64_t own = app->config->idempotency_ttl_seconds;
    uint64_t ttl_s = own >= 0 ? (uint64_t)own : app->global->idempotency.ttl_seconds;
    return 1000 * (ttl_s > 0 ? ttl_s : 1);
}

struct failure idempotency_check(struct call *c, struct str key)
{
    uint64_t max = c->env->config->idempotency.max_key_length;
    if (key.n == 0)
        return fail_input(STR("Idempotency key must not be empty"));
    if (key.n > max)
        return fail_fmt(c, 400, "invalid_input", "Idempotency key exceeds maximum length of %llu characters",
                        (unsigned long long)max);
    return NO_FAILURE;
}

/* The key of 2.7 A in the caches: app:{id}:idempotency:{key}. */
static struct str slot_key(struct call *c, struct str key)
{
    struct buf *slot = &c->api->scratch;
    buf_clear(slot);
    buf_lit(slot, "app:");
    buf_str(slot, c->app->id);
    buf_lit(slot, ":idempotency:");
    buf_str(slot, key);
    return arena_copy(call_arena(c), buf_view(slot));
}

/* Batch items without a key of their own are told apart by their index. */
static struct str item_key(struct call *c, struct str request_key, int index)
{
    if (index < 0)
        return request_key;
    struct buf *key = &c->api->scratch;
    buf_clear(key);
    buf_str(key, request_key);
    buf_char(key, '#');
    buf_u64(key, (uint64_t)index);
    return arena_copy(call_arena(c), buf_view(key));
}

static struct failure check_dedupe_key(struct call *c, struct str key)
{
    uint64_t max = c->env->config->idempotency.max_key_length;
    if (key.n == 0)
        return fail_input(STR("idempotency key must not be empty"));
    if (key.n > max)
        return fail_fmt(c, 400, "invalid_input", "idempotency key exceeds %llu bytes",
                        (unsigned long long)max);
    return NO_FAILURE;
}

static struct failure choose_keys(struct call *c, struct event *e, struct str request_key, int index)
{
    if (!idempotency_is_on(c->app))
        return NO_FAILURE;
    struct str own = e->idempotency_key.p || index >= 0 ? e->idempotency_key : request_key;
    if (own.p) {
        struct failure refused = idempotency_check(c, own);
        if (refused.status)
            return refused;
        e->slot_key = slot_key(c, own);
    }
    e->dedupe_key = e->message_id.p              ? e->message_id
                    : e->facts.idempotency_key.p ? e->facts.idempotency_key
                    : own.p                      ? own
                    : request_key.p              ? item_key(c, request_key, index)
                                                 : STR_NONE;
    return NO_FAILURE;
}

/* ---- payload ---- */

/* A string passes unchanged; anything else becomes a string of its compact text. */
static void make_data(struct call *c, struct event *e)
{
    if (!e->data.p) {
        e->json = STR("\"null\"");
        e->text = STR("null");
        return;
    }
    if (json_is(e->data, JSON_STRING)) {
        e->json = e->data;
        e->text = json_text_in(e->data, call_arena(c));
        return;
    }
    struct buf *work = &c->api->scratch;
    buf_clear(work);
    json_compact(work, e->data);
    e->text = arena_copy(call_arena(c), buf_view(work));
    buf_clear(work);
    buf_json(work, e->text);
    e->json = arena_copy(call_arena(c), buf_view(work));
}

static struct failure check_name(struct call *c, const struct event *e)
{
    uint32_t max = c->app->config->max_event_name_length;
    if (max == 0)
        max = EVENT_NAME_MAX;
    if (e->name.n == 0)
        return fail_input(STR("Event name is required"));
    if (e->name.n > max)
        return fail_fmt(c, 400, "limit_exceeded", "Event name exceeds maximum length of %u", max);
    return NO_FAILURE;
}

static struct failure check_size(struct call *c, const struct event *e)
{
    uint64_t kb = c->app->config->max_event_payload_in_kb;
    if (kb == 0 || e->text.n <= kb * 1024)
        return NO_FAILURE;
    return fail_fmt(c, 413, "payload_too_large",
                    "Event payload size (%zu bytes) for event '%.*s' exceeds limit (%lluKB)", e->text.n,
                    STR_ARG(e->name), (unsigned long long)kb);
}

static void read_info(struct event *e)
{
    struct str rest = e->info;
    while (rest.p) {
        struct str word = str_trim(str_split(&rest, ','));
        if (str_eq(word, STR("user_count")))
            e->counts |= INFO_USER_COUNT;
        else if (str_eq(word, STR("subscription_count")))
            e->counts |= INFO_SUBSCRIPTION_COUNT;
    }
}

static struct failure read_extras(struct call *c, struct event *e)
{
    const char *wrong = extras_read(e->extras, call_arena(c), &e->facts);
    if (wrong)
        return fail(422, "unprocessable_body", str_of(wrong));
    if (!c->env->config->ephemeral_enabled)
        e->facts.ephemeral = false;
    if (!c->env->config->echo_control.enabled)
        e->facts.echo = -1;
    return NO_FAILURE;
}

/* ---- channels ---- */

static struct failure list_channels(struct call *c, struct event *e)
{
    struct texts list = e->channels;
    if (!list.at && e->channel.p)
        list = (struct texts){&e->channel, 1};
    if (list.count == 0)
        return fail(400, "missing_channel_info",
                    STR("Request must contain 'channels' (list) or 'channel' (string)"));
    uint32_t max = c->app->config->max_event_channels_at_once;
    if (max && list.count > max)
        return fail_fmt(c, 400, "limit_exceeded", "Number of channels (%zu) exceeds limit (%u)", list.count,
                        max);
    e->targets = arena_alloc(call_arena(c), list.count * sizeof *e->targets);
    struct map seen = {0};
    for (size_t i = 0; i < list.count; i++)
        if (list.count == 1 || map_put(&seen, list.at[i], e) == NULL) /* named twice: published once */
            e->targets[e->targets_count++] = (struct target){.channel = list.at[i]};
    map_free(&seen);
    return NO_FAILURE;
}

static struct failure check_ai(struct call *c, const struct event *e, const struct target *t)
{
    struct ai_failure refused;
    struct ai_publish p = {.event = e->name,
                           .extras = &e->facts,
                           .message_id = e->message_id,
                           .data_bytes = e->text.n,
                           .ai_channel = t->policy.ai};
    if (!c->env->config->ai.enabled || (!t->policy.ai && !e->ai_event && !e->facts.has_ai))
        return NO_FAILURE;
    if (ai_publish_check(c->env->config, &p, &refused))
        return NO_FAILURE;
    metrics_ai_rejected(c->env, c->app, refused.code);
    return fail_ai(refused.http_status, refused.code, arena_copy(call_arena(c), str_of(refused.text)));
}

static struct failure check_target(struct call *c, struct event *e, struct target *t)
{
    const char *wrong = channel_name_check(c->app, t->channel, &t->name, call_arena(c));
    if (wrong)
        return fail_input(str_of(wrong));
    t->policy = channel_policy(c->app, t->channel, &t->name);
    return check_ai(c, e, t);
}

static struct failure check_targets(struct call *c, struct event *e)
{
    struct failure refused = NO_FAILURE;
    for (size_t i = 0; i < e->targets_count && !refused.status; i++)
        refused = check_target(c, e, &e->targets[i]);
    return refused;
}

static struct failure check_event(struct call *c, struct event *e)
{
    struct failure refused = check_name(c, e);
    if (refused.status)
        return refused;
    make_data(c, e);
    refused = check_size(c, e);
    if (refused.status)
        return refused;
    refused = list_channels(c, e);
    if (refused.status)
        return refused;
    e->ai_event = is_ai_event(e->name);
    e->detailed = e->info.p || e->message_id.p || e->ai_event;
    read_info(e);
    if (e->socket_id.p && !socket_id_parse(e->socket_id, &e->except))
        e->except = (struct socket_id){0, 0};
    return check_targets(c, e);
}

struct failure event_read(struct call *c, struct str object, struct str request_key, int index,
                          struct event *e)
{
    *e = (struct event){0};
    if (!json_is(object, JSON_OBJECT))
        return fail(422, "unprocessable_body", STR("An event must be a JSON object"));
    struct failure refused = body_read(c, object, fields, sizeof fields / sizeof *fields, e);
    if (refused.status)
        return refused;
    refused = read_extras(c, e);
    if (refused.status)
        return refused;
    refused = choose_keys(c, e, request_key, index);
    if (refused.status)
        return refused;
    refused = check_event(c, e);
    if (refused.status || !e->dedupe_key.p || !(e->message_id.p || e->facts.idempotency_key.p))
        return refused;
    return check_dedupe_key(c, e->dedupe_key); /* one that choose_keys() has not looked at */
}

/* ---- identity ---- */

struct hash128 event_fingerprint(const struct event *e, struct buf *scratch)
{
    const struct publish_content content = {e->name, e->text, e->tags, e->client_id, e->extras};
    return publish_fingerprint(&content, scratch);
}
