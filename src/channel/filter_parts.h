/* filter_parts.h - how a filter lies in memory; only filter*.c include it.
 *
 *      struct filter | nodes, children behind their parent | values | events | text of all of them
 *
 *      nodes   0:and end 4   1:eq end 2   2:not end 4   3:ex end 4
 *
 * A child list is walked from i + 1 by jumping to each child's `end`.
 *
 * Ownership: a draft's buffers are filter_read()'s, which makes one block of them. Threads: one while it grows. Errors: a text for
 * the client, NULL = fine. Limits: filter.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "channel/filter.h"

enum filter_operator {
    OP_AND,
    OP_OR,
    OP_NOT, /* branches */
    OP_EQ,
    OP_NEQ,
    OP_IN,
    OP_NIN,
    OP_EX,
    OP_NEX,
    OP_SW,
    OP_EW,
    OP_CT,
    OP_GT,
    OP_GTE,
    OP_LT,
    OP_LTE,
};

struct filter_piece { /* of filter->text */
    uint32_t at, n;
};

struct filter_node {
    enum filter_operator op;
    uint16_t end;          /* index behind its last descendant */
    uint16_t values_count; /* 1 for most leaves, any number for in and nin */
    uint32_t values_at;    /* index in filter->values */
    struct filter_piece key;
};

struct filter {
    const struct filter_node *nodes;
    const struct filter_piece *values, *events;
    const char *text;
    uint16_t nodes_count, events_count; /* 0 = part not given */
};

/* The parts while they grow. */
struct filter_draft {
    const struct config *config;
    struct arena *arena;
    struct buf nodes, values, events, text;
};

/* Appends the tag node and all below it. NULL, or what is wrong, in the arena, ready for the client. */
const char *filter_read_tags(struct filter_draft *d, struct str value);
struct filter_piece filter_put_text(struct filter_draft *d, struct str text);
const char *filter_say(struct filter_draft *d, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* -2 if one of them is no decimal number, else -1, 0, 1. Exact at any length. */
int filter_compare_decimal(struct str a, struct str b);
