/* extras_out.c - published extras and the server's own headers, in one object.
 *
 *      published   {"ai":{...},"headers":{"tenant":"a","sockudo_action":"x"},"idempotencyKey":"k"}
 *      written     {"headers":{"sockudo_action":"message.append",...,"tenant":"a"},"ai":{...}}
 *
 * Nearly always the published text names nothing that must be taken out: two searches find that out, and the
 * rest is a copy behind the runtime headers. Otherwise the members are walked.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "wire/extras_out.h"

#include "wire/key.h"
#include "wire/out.h"

/* Five keys with their quotes and commas, two serials, two numbers, `{"headers":{}}`. */
enum { RUNTIME_MAX = 16 + 5 * 36 + 24 + 2 * (SERIAL_SIZE + 1) + 2 * (OUT_U64_MAX + 1) };

size_t extras_out_bound(const struct envelope *e)
{
    return EXTRAS_LEAD_MAX + RUNTIME_MAX + e->extras.n;
}

/* ---- headers ---- */

static char *out_serial(char *p, uint64_t delivery, const struct message_id *message)
{
    serial_print(p, delivery, message->stream8, message->history);
    return p + SERIAL_SIZE;
}

/* The members of chapter 3, 1.4, without a comma in front or behind. */
static char *out_runtime(char *p, const struct runtime_headers *h)
{
    p = out_lit(p, "\"sockudo_action\":\"");
    p = out_str(p, action_operation(h->action));
    p = out_lit(p, "\",\"sockudo_message_serial\":\"");
    p = out_serial(p, h->message.create_delivery, &h->message);
    p = out_lit(p, "\",\"sockudo_version_serial\":\"");
    p = out_serial(p, h->delivery, &h->message);
    p = out_lit(p, "\",\"sockudo_history_serial\":");
    p = out_u64(p, h->message.history);
    p = out_lit(p, ",\"sockudo_version_timestamp_ms\":");
    return out_i64(p, h->version_at_ms);
}

static bool is_server_header(struct str key_raw)
{
    static const struct str names[] = {
        STR("sockudo_action"),         STR("sockudo_message_serial"),       STR("sockudo_version_serial"),
        STR("sockudo_history_serial"), STR("sockudo_version_timestamp_ms"), STR("sockudo_append_fragment"),
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (key_means(key_raw, names[i]))
            return true;
    return false;
}

/* A member as it came, behind a comma unless it is the first of its object. */
static char *out_member(char *p, struct str key_raw, struct str value)
{
    if (p[-1] != '{')
        *p++ = ',';
    *p++ = '"';
    p = out_str(p, key_raw);
    p = out_lit(p, "\":");
    return out_str(p, value);
}

/* The value of `headers`: the server's, then the publisher's. */
static char *out_headers(char *p, const struct runtime_headers *runtime, struct str published)
{
    struct str key_raw, value;
    *p++ = '{';
    if (runtime)
        p = out_runtime(p, runtime);
    struct json_iter it = json_iter(published);
    while (json_is(published, JSON_OBJECT) && json_next_member(&it, &key_raw, &value))
        if (!is_server_header(key_raw))
            p = out_member(p, key_raw, value);
    *p++ = '}';
    return p;
}

/* ---- the object ---- */

static bool is_hidden(struct str key_raw, unsigned strip)
{
    return key_means(key_raw, STR("idempotencyKey")) || key_means(key_raw, STR("idempotency_key")) ||
           (strip & STRIP_EPHEMERAL && key_means(key_raw, STR("ephemeral"))) ||
           (strip & STRIP_ECHO && key_means(key_raw, STR("echo")));
}

static char *out_walked(char *p, const struct envelope *e)
{
    struct str key_raw, value;
    *p++ = '{';
    if (e->headers) {
        p = out_lit(p, "\"headers\":");
        p = out_headers(p, e->headers, json_get(e->extras, STR("headers")));
    }
    struct json_iter it = json_iter(e->extras);
    while (json_next_member(&it, &key_raw, &value)) {
        if (is_hidden(key_raw, e->strip))
            continue;
        if (!key_means(key_raw, STR("headers"))) {
            p = out_member(p, key_raw, value);
        } else if (!e->headers && json_is(value, JSON_OBJECT)) {
            p = out_member(p, key_raw, STR_NONE);
            p = out_headers(p, NULL, value);
        }
    }
    *p++ = '}';
    return p;
}

static bool holds(struct str text, struct str part)
{
    return memmem(text.p, text.n, part.p, part.n) != NULL;
}

/* False if members may have to be left out or joined. A key could hide behind escapes, so none are allowed
 * here. */
static bool passes_as_it_is(const struct envelope *e)
{
    return !e->strip && !memchr(e->extras.p, '\\', e->extras.n) && !holds(e->extras, STR("\"headers\"")) &&
           !holds(e->extras, STR("\"idempotency"));
}

/* What is between the braces, without white space around it. */
static struct str inside(struct str object)
{
    return str_trim(str_make(object.p + 1, object.n - 2));
}

static char *out_copied(char *p, const struct envelope *e)
{
    struct str members = e->extras.p ? inside(e->extras) : STR("");
    *p++ = '{';
    if (e->headers) {
        p = out_lit(p, "\"headers\":{");
        p = out_runtime(p, e->headers);
        *p++ = '}';
        if (members.n)
            *p++ = ',';
    }
    p = out_str(p, members);
    *p++ = '}';
    return p;
}

char *extras_out(char *p, const struct envelope *e, struct str lead)
{
    char *start = p;
    if (!e->extras.p && !e->headers)
        return p;
    p = out_str(p, lead);
    char *object = p;
    p = !e->extras.p || passes_as_it_is(e) ? out_copied(p, e) : out_walked(p, e);
    return p - object == 2 ? start : p;
}
