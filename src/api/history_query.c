/* history_query.c - see history_query.h
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/history_query.h"

static struct failure read_direction(struct call *c, enum store_direction *direction)
{
    struct str text = query_get(c->request->query, STR("direction"), call_arena(c));
    *direction = NEWEST_FIRST;
    if (!text.p || history_direction(text, str_eq_nocase, direction))
        return NO_FAILURE;
    return fail_fmt(
        c, 400, "invalid_input",
        "Invalid direction '%.*s'. Accepted values: newest_first, oldest_first, backwards, forwards",
        STR_ARG(text));
}

static struct failure read_serial(struct call *c, const char *key, bool *has, uint64_t *value)
{
    struct number n;
    struct failure refused = query_u64(c, key, &n);
    *has = n.given;
    *value = n.given ? n.u : 0;
    return refused;
}

/* The long name wins. */
static struct failure read_time(struct call *c, const char *key, const char *alias, bool *has, int64_t *value)
{
    struct number n;
    struct failure refused = query_i64(c, key, &n);
    if (!refused.status && !n.given)
        refused = query_i64(c, alias, &n);
    *has = n.given;
    *value = n.given ? n.i : 0;
    return refused;
}

static struct failure read_bounds(struct call *c, struct history_bounds *b)
{
    *b = (struct history_bounds){0};
    struct failure refused = read_serial(c, "start_serial", &b->has_start_serial, &b->start_serial);
    if (!refused.status)
        refused = read_serial(c, "end_serial", &b->has_end_serial, &b->end_serial);
    if (!refused.status)
        refused = read_time(c, "start_time_ms", "start", &b->has_start_time, &b->start_time_ms);
    if (!refused.status)
        refused = read_time(c, "end_time_ms", "end", &b->has_end_time, &b->end_time_ms);
    const char *wrong = refused.status ? NULL : history_bounds_check(b);
    return wrong ? fail_input(str_of(wrong)) : refused;
}

static struct failure read_cursor(struct call *c, struct history_query *q)
{
    struct str text = query_get(c->request->query, STR("cursor"), call_arena(c));
    if (!text.p)
        return NO_FAILURE;
    struct cursor request = q->cursor;
    const char *wrong = cursor_read(text, &request, call_arena(c), &q->cursor);
    q->continued = wrong == NULL;
    return wrong ? fail_input(str_of(wrong)) : NO_FAILURE;
}

struct failure history_query_read(struct call *c, struct str channel, const char *what, uint32_t page_max,
                                  struct history_query *q)
{
    *q = (struct history_query){.cursor = {.app_id = c->app->id, .channel = channel}};
    struct failure refused = query_limit(c, what, page_max, &q->limit);
    if (!refused.status)
        refused = read_direction(c, &q->cursor.direction);
    if (!refused.status)
        refused = read_bounds(c, &q->cursor.bounds);
    return refused.status ? refused : read_cursor(c, q);
}
