/* filter.c - the parts of a subscription filter around its tag nodes, and the answer for a message.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/filter.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "channel/filter_parts.h"

const char *filter_say(struct filter_draft *d, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    char *text = arena_alloc(d->arena, (size_t)n + 1);
    vsnprintf(text, (size_t)n + 1, format, again);
    va_end(again);
    va_end(args);
    return text;
}

struct filter_piece filter_put_text(struct filter_draft *d, struct str text)
{
    struct filter_piece piece = {(uint32_t)d->text.n, (uint32_t)text.n};
    buf_str(&d->text, text);
    return piece;
}

/* ---- events ---- */

static uint32_t at_most(uint32_t configured, uint32_t hard)
{
    return configured < hard ? configured : hard;
}

static const char *read_event(struct filter_draft *d, struct str item)
{
    struct buf scratch = {0};
    uint32_t size_max = at_most(d->config->event_name_filtering.max_event_name_length, FILTER_EVENT_SIZE_MAX);
    const char *wrong = NULL;
    struct str name = json_text(item, &scratch);
    if (name.n == 0) {
        wrong = "filter.events must contain only non-empty strings";
    } else if (name.n > size_max) {
        wrong = filter_say(d, "Invalid subscription filter: event name exceeds %u bytes", size_max);
    } else {
        struct filter_piece piece = filter_put_text(d, name);
        buf_put(&d->events, &piece, sizeof piece);
    }
    buf_free(&scratch);
    return wrong;
}

static const char *read_events(struct filter_draft *d, struct str events)
{
    uint32_t max = at_most(d->config->event_name_filtering.max_events_per_filter, FILTER_EVENTS_MAX);
    struct str item;
    const char *wrong = NULL;
    if (!json_is(events, JSON_ARRAY))
        return "filter.events must be an array of non-empty strings";
    struct json_iter it = json_iter(events);
    while (!wrong && json_next_item(&it, &item)) {
        if (d->events.n == max * sizeof(struct filter_piece))
            return filter_say(d, "filter.events exceeds maximum of %u event names", max);
        wrong = read_event(d, item);
    }
    return wrong;
}

/* ---- expression ---- */

#define NO_EXPRESSIONS                                                                                       \
    "Unsupported filter expression language 'jmespath': JMESPath expressions are not available in this "     \
    "build"

static const char *read_expression_object(struct filter_draft *d, struct str expression)
{
    struct buf scratch = {0};
    const char *wrong = NO_EXPRESSIONS;
    struct str language = json_text(json_get(expression, STR("language")), &scratch);
    struct str source = json_get(expression, STR("source"));
    if (!str_eq(language, STR("jmespath")))
        wrong = filter_say(d, "Unsupported filter expression language '%.*s'", STR_ARG(language));
    else if (json_text_size(source) == 0)
        wrong = "filter.expression.source must be a non-empty string";
    buf_free(&scratch);
    return wrong;
}

/* Never NULL: a filter that is not applied would be a promise not kept. */
static const char *read_expression(struct filter_draft *d, struct str expression)
{
    if (json_is(expression, JSON_OBJECT))
        return read_expression_object(d, expression);
    if (json_is(expression, JSON_STRING))
        return NO_EXPRESSIONS;
    return "filter.expression must be a JMESPath string or object";
}

/* ---- the whole ---- */

static bool is_compound(struct str value)
{
    return json_has(value, STR("events")) || json_has(value, STR("tags")) ||
           json_has(value, STR("expression"));
}

static const char *read_compound(struct filter_draft *d, struct str value)
{
    struct str events = json_get(value, STR("events")), tags = json_get(value, STR("tags"));
    struct str expression = json_get(value, STR("expression"));
    const char *wrong = events.p ? read_events(d, events) : NULL;
    if (!wrong && tags.p)
        wrong = filter_read_tags(d, tags);
    if (!wrong && expression.p)
        wrong = read_expression(d, expression);
    return wrong;
}

static void *append(char **at, const struct buf *part)
{
    void *start = *at;
    if (part->n)
        memcpy(start, part->p, part->n);
    *at += part->n;
    return start;
}

/* The draft's parts in one block; NULL if none of them restricts anything. */
static struct filter *assemble(const struct filter_draft *d)
{
    if (d->nodes.n + d->events.n == 0)
        return NULL;
    struct filter *f = mem_alloc(sizeof *f + d->nodes.n + d->values.n + d->events.n + d->text.n);
    char *at = (char *)(f + 1);
    f->nodes_count = (uint16_t)(d->nodes.n / sizeof *f->nodes);
    f->events_count = (uint16_t)(d->events.n / sizeof *f->events);
    f->nodes = append(&at, &d->nodes);
    f->values = append(&at, &d->values);
    f->events = append(&at, &d->events);
    f->text = append(&at, &d->text);
    return f;
}

static void draft_free(struct filter_draft *d)
{
    buf_free(&d->nodes);
    buf_free(&d->values);
    buf_free(&d->events);
    buf_free(&d->text);
}

const char *filter_read(const struct config *config, struct str value, struct arena *arena,
                        struct filter **out)
{
    struct filter_draft d = {.config = config, .arena = arena};
    *out = NULL;
    if (json_is(value, JSON_NULL))
        return NULL;
    const char *wrong = is_compound(value) ? read_compound(&d, value) : filter_read_tags(&d, value);
    if (!config->tag_filtering.enabled)
        d.nodes.n = 0;
    if (!config->event_name_filtering.enabled)
        d.events.n = 0;
    if (!wrong)
        *out = assemble(&d);
    draft_free(&d);
    return wrong;
}

void filter_free(struct filter *f)
{
    free(f);
}

/* ---- answering ---- */

static struct str text_of(const struct filter *f, struct filter_piece piece)
{
    return str_make(f->text + piece.at, piece.n);
}

static bool is_one_of(const struct filter *f, const struct filter_piece *list, size_t count, struct str text)
{
    for (size_t i = 0; i < count; i++)
        if (str_eq(text_of(f, list[i]), text))
            return true;
    return false;
}

static bool compare(const struct filter *f, const struct filter_node *n, struct str tag)
{
    struct str value = n->values_count ? text_of(f, f->values[n->values_at]) : STR_NONE;
    switch (n->op) {
    case OP_EQ:
        return str_eq(tag, value);
    case OP_NEQ:
        return !str_eq(tag, value);
    case OP_IN:
        return is_one_of(f, f->values + n->values_at, n->values_count, tag);
    case OP_NIN:
        return !is_one_of(f, f->values + n->values_at, n->values_count, tag);
    case OP_EX:
        return true;
    case OP_SW:
        return str_starts(tag, value);
    case OP_EW:
        return str_ends(tag, value);
    case OP_CT:
        return str_find(tag, value) >= 0;
    case OP_GT:
        return filter_compare_decimal(tag, value) == 1;
    case OP_GTE:
        return filter_compare_decimal(tag, value) >= 0;
    case OP_LT:
        return filter_compare_decimal(tag, value) == -1;
    case OP_LTE: {
        int order = filter_compare_decimal(tag, value);
        return order == -1 || order == 0;
    }
    default: /* OP_NEX: the tag is there */
        return false;
    }
}

static bool leaf_accepts(const struct filter *f, const struct filter_node *n, struct str tags)
{
    struct buf scratch = {0};
    struct str tag = json_text(json_get(tags, text_of(f, n->key)), &scratch);
    bool accepts = tag.p ? compare(f, n, tag) : n->op == OP_NEQ || n->op == OP_NIN || n->op == OP_NEX;
    buf_free(&scratch);
    return accepts;
}

static bool node_accepts(const struct filter *f, size_t at, struct str tags)
{
    const struct filter_node *n = &f->nodes[at];
    if (n->op > OP_NOT)
        return leaf_accepts(f, n, tags);
    if (n->op == OP_NOT)
        return !node_accepts(f, at + 1, tags);
    bool decides = n->op == OP_OR; /* the answer of a child that settles it */
    for (size_t child = at + 1; child < n->end; child = f->nodes[child].end)
        if (node_accepts(f, child, tags) == decides)
            return decides;
    return !decides;
}

bool filter_accepts(const struct filter *f, struct str event, struct str tags)
{
    if (f->events_count && !is_one_of(f, f->events, f->events_count, event))
        return false;
    return f->nodes_count == 0 || node_accepts(f, 0, tags);
}
