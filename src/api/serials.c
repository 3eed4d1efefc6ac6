/* serials.c - see serials.h
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/serials.h"

enum { SERIAL_TEXT_MAX = 128 };

static bool has_space(struct str text)
{
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] == ' ' || (text.p[i] >= '\t' && text.p[i] <= '\r'))
            return true;
    return false;
}

struct failure serial_check(struct call *c, const char *field, struct str text)
{
    if (text.n == 0)
        return fail_fmt(c, 400, "invalid_input", "%s must not be empty", field);
    if (has_space(text))
        return fail_fmt(c, 400, "invalid_input", "%s must not contain whitespace", field);
    if (text.n > SERIAL_TEXT_MAX)
        return fail_fmt(c, 400, "invalid_input", "%s must be at most %d bytes", field, SERIAL_TEXT_MAX);
    return NO_FAILURE;
}

bool serial_names(struct str text, struct message_id *message)
{
    return serial_parse(text, &message->create_delivery, &message->stream8, &message->history);
}

/* The delivery position whose serial is next to text: its digits, filled up with 0, or with 9 if what follows
 * them is larger. */
static uint64_t nearest_delivery(struct str text)
{
    enum { DIGITS = 20 };
    char digits[DIGITS];
    size_t n = 0;
    uint64_t value;
    while (n < DIGITS && n < text.n && text.p[n] >= '0' && text.p[n] <= '9') {
        digits[n] = text.p[n];
        n++;
    }
    memset(digits + n, n < text.n && text.p[n] > '9' ? '9' : '0', DIGITS - n);
    return str_to_u64(str_make(digits, DIGITS), &value) ? value : UINT64_MAX;
}

uint64_t serial_bound(struct str text, const struct message_id *message, enum store_direction direction)
{
    char serial[SERIAL_SIZE + 1];
    uint64_t bound = nearest_delivery(text);
    serial_print(serial, bound, message->stream8, message->history);
    int order = str_cmp(str_make(serial, SERIAL_SIZE), text);
    if (direction == NEWEST_FIRST && order < 0 && bound < UINT64_MAX)
        bound++;
    if (direction == OLDEST_FIRST && order > 0 && bound > 0)
        bound--;
    return bound > 0 ? bound : direction == NEWEST_FIRST;
}

struct failure message_not_found(struct call *c)
{
    return fail_fmt(c, 404, "not_found", "Message '%.*s' was not found in channel '%.*s'",
                    STR_ARG(c->args[2]), STR_ARG(c->args[1]));
}

static struct failure not_a_number(struct call *c, const char *key, const char *what)
{
    return fail_fmt(c, 400, "invalid_query", "Query parameter '%s' must be %s", key, what);
}

struct failure query_u64(struct call *c, const char *key, struct number *out)
{
    struct str text = query_get(c->request->query, str_of(key), call_arena(c));
    out->given = text.p != NULL;
    if (out->given && !str_to_u64(text, &out->u))
        return not_a_number(c, key, "an unsigned integer");
    return NO_FAILURE;
}

struct failure query_i64(struct call *c, const char *key, struct number *out)
{
    struct str text = query_get(c->request->query, str_of(key), call_arena(c));
    out->given = text.p != NULL;
    if (out->given && !str_to_i64(text, &out->i))
        return not_a_number(c, key, "an integer");
    return NO_FAILURE;
}

struct failure query_limit(struct call *c, const char *what, uint32_t max, uint32_t *limit)
{
    struct number given;
    struct failure refused = query_u64(c, "limit", &given);
    if (refused.status)
        return refused;
    if (given.given && given.u == 0)
        return fail_fmt(c, 400, "invalid_input", "%s limit must be greater than 0", what);
    *limit = given.given && given.u < max ? (uint32_t)given.u : max;
    return NO_FAILURE;
}
