/* filter_tags.c - reading tag nodes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/json.h"
#include "channel/filter_parts.h"

static const struct {
    struct str word;
    enum filter_operator op;
} comparisons[] =
    {
        {STR("eq"), OP_EQ},   {STR("neq"), OP_NEQ}, {STR("in"), OP_IN},   {STR("nin"), OP_NIN},
        {STR("ex"), OP_EX},   {STR("nex"), OP_NEX}, {STR("sw"), OP_SW},   {STR("ew"), OP_EW},
        {STR("ct"), OP_CT},   {STR("gt"), OP_GT},   {STR("gte"), OP_GTE}, {STR("lt"), OP_LT},
        {STR("lte"), OP_LTE},
},
  branches[] = {
      {STR("and"), OP_AND},
      {STR("or"), OP_OR},
      {STR("not"), OP_NOT},
};

#define SHAPE "Invalid tags filter shape: "
#define INVALID "Invalid tags filter: "
#define BEYOND "Invalid subscription filter: " /* what is well formed, but too much */

/* Where a node stands, for the message: "Child node 1: Child node 0: ". */
struct place {
    const struct place *parent;
    size_t index;
    unsigned depth; /* of the root: 1 */
};

static void put_place(struct buf *out, const struct place *at)
{
    if (!at->parent)
        return;
    put_place(out, at->parent);
    buf_fmt(out, "Child node %zu: ", at->index);
}

static const char *wrong_at(struct filter_draft *d, const struct place *at, const char *why)
{
    struct buf path = {0};
    put_place(&path, at);
    const char *text = filter_say(d, INVALID "%.*s%s", STR_ARG(buf_view(&path)), why);
    buf_free(&path);
    return text;
}

static struct filter_node *node_at(struct filter_draft *d, size_t index)
{
    return (struct filter_node *)(void *)d->nodes.p + index;
}

static size_t nodes_count(const struct filter_draft *d)
{
    return d->nodes.n / sizeof(struct filter_node);
}

/* Decoded text of a string, or the text of a number or boolean; absent for anything else. */
static struct str scalar(struct filter_draft *d, struct str value)
{
    struct buf scratch = {0};
    enum json_type type = json_type(value);
    if (type == JSON_NUMBER || type == JSON_TRUE || type == JSON_FALSE)
        return value;
    struct str text = json_text(value, &scratch);
    if (scratch.p)
        text = arena_copy(d->arena, text);
    buf_free(&scratch);
    return text;
}

/* ---- leaves ---- */

static const char *put_value(struct filter_draft *d, size_t node, struct str value)
{
    struct str text = scalar(d, value);
    if (!text.p)
        return SHAPE "values must be strings, numbers or booleans";
    if (text.n > FILTER_VALUE_SIZE_MAX)
        return filter_say(d, BEYOND "value exceeds %d bytes", FILTER_VALUE_SIZE_MAX);
    if (node_at(d, node)->values_count == FILTER_VALUES_MAX)
        return filter_say(d, BEYOND "vals exceeds %d values", FILTER_VALUES_MAX);
    struct filter_piece piece = filter_put_text(d, text);
    buf_put(&d->values, &piece, sizeof piece);
    node_at(d, node)->values_count++;
    return NULL;
}

static const char *put_values(struct filter_draft *d, size_t node, struct str vals, const struct place *at,
                              struct str word)
{
    struct str item;
    const char *wrong = NULL;
    if (vals.p && !json_is(vals, JSON_ARRAY))
        return SHAPE "vals must be an array";
    struct json_iter it = json_iter(vals);
    while (!wrong && vals.p && json_next_item(&it, &item))
        wrong = put_value(d, node, item);
    if (wrong || node_at(d, node)->values_count)
        return wrong;
    return wrong_at(d, at,
                    filter_say(d, "%.*s operation requires at least one value in vals", STR_ARG(word)));
}

static const char *put_operand(struct filter_draft *d, size_t node, struct str leaf, const struct place *at,
                               struct str word)
{
    enum filter_operator op = node_at(d, node)->op;
    if (op == OP_EX || op == OP_NEX)
        return NULL;
    if (op == OP_IN || op == OP_NIN)
        return put_values(d, node, json_get(leaf, STR("vals")), at, word);
    struct str val = json_get(leaf, STR("val"));
    const char *wrong = val.p ? put_value(d, node, val) : NULL;
    if (wrong || (val.p && scalar(d, val).n))
        return wrong;
    return wrong_at(d, at, filter_say(d, "%.*s operation requires a non-empty val", STR_ARG(word)));
}

static const char *put_key(struct filter_draft *d, size_t node, struct str leaf, const struct place *at)
{
    struct str value = json_get(leaf, STR("key"));
    if (value.p && !json_is(value, JSON_STRING))
        return SHAPE "key must be a string";
    struct str key = scalar(d, value);
    if (key.n == 0)
        return wrong_at(d, at, "Leaf node requires a non-empty key");
    if (key.n > FILTER_KEY_SIZE_MAX)
        return filter_say(d, BEYOND "key exceeds %d bytes", FILTER_KEY_SIZE_MAX);
    struct filter_piece piece = filter_put_text(d, key);
    node_at(d, node)->key = piece;
    return NULL;
}

static const char *read_leaf(struct filter_draft *d, size_t node, struct str leaf, const struct place *at)
{
    struct str value = json_get(leaf, STR("cmp"));
    if (value.p && !json_is(value, JSON_STRING))
        return SHAPE "cmp must be a string";
    struct str word = scalar(d, value);
    const char *wrong = put_key(d, node, leaf, at);
    if (wrong)
        return wrong;
    if (!word.p)
        return wrong_at(d, at, "Leaf node requires a comparison operator");
    for (size_t i = 0; i < sizeof comparisons / sizeof *comparisons; i++)
        if (str_eq(word, comparisons[i].word)) {
            node_at(d, node)->op = comparisons[i].op;
            return put_operand(d, node, leaf, at, word);
        }
    return wrong_at(d, at, filter_say(d, "unknown comparison operator: %.*s", STR_ARG(word)));
}

/* ---- branches ---- */

static const char *read_node(struct filter_draft *d, struct str value, const struct place *at);

static const char *check_children(struct filter_draft *d, enum filter_operator op, size_t count,
                                  const struct place *at, struct str word)
{
    if (op == OP_NOT && count != 1)
        return wrong_at(d, at,
                        filter_say(d, "not operation requires exactly one child node, got %zu", count));
    if (count == 0)
        return wrong_at(d, at,
                        filter_say(d, "%.*s operation requires at least one child node", STR_ARG(word)));
    return NULL;
}

static const char *read_children(struct filter_draft *d, size_t node, struct str branch,
                                 const struct place *at, struct str word)
{
    struct str nodes = json_get(branch, STR("nodes")), child;
    struct place below = {at, 0, at->depth + 1};
    const char *wrong = NULL;
    if (nodes.p && !json_is(nodes, JSON_ARRAY))
        return SHAPE "nodes must be an array";
    struct json_iter it = json_iter(nodes);
    while (!wrong && nodes.p && json_next_item(&it, &child)) {
        wrong = read_node(d, child, &below);
        below.index++;
    }
    return wrong ? wrong : check_children(d, node_at(d, node)->op, below.index, at, word);
}

static const char *read_branch(struct filter_draft *d, size_t node, struct str branch, struct str op,
                               const struct place *at)
{
    if (!json_is(op, JSON_STRING))
        return SHAPE "op must be a string";
    struct str word = scalar(d, op);
    for (size_t i = 0; i < sizeof branches / sizeof *branches; i++)
        if (str_eq(word, branches[i].word)) {
            node_at(d, node)->op = branches[i].op;
            return read_children(d, node, branch, at, word);
        }
    return wrong_at(d, at, filter_say(d, "unknown logical operator: %.*s", STR_ARG(word)));
}

static const char *read_node(struct filter_draft *d, struct str value, const struct place *at)
{
    size_t node = nodes_count(d);
    struct filter_node fresh = {.values_at = (uint32_t)(d->values.n / sizeof(struct filter_piece))};
    if (!json_is(value, JSON_OBJECT))
        return SHAPE "expected an object";
    if (at->depth > FILTER_DEPTH_MAX)
        return filter_say(d, BEYOND "depth exceeds %d", FILTER_DEPTH_MAX);
    if (node == FILTER_NODES_MAX)
        return filter_say(d, BEYOND "more than %d nodes", FILTER_NODES_MAX);
    buf_put(&d->nodes, &fresh, sizeof fresh);
    struct str op = json_get(value, STR("op"));
    const char *wrong = op.p ? read_branch(d, node, value, op, at) : read_leaf(d, node, value, at);
    node_at(d, node)->end = (uint16_t)nodes_count(d);
    return wrong;
}

const char *filter_read_tags(struct filter_draft *d, struct str value)
{
    struct place root = {NULL, 0, 1};
    return read_node(d, value, &root);
}
