/* agent_config.c - one table, and the list of nodes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/agent_config.h"

#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "load/agent.h"

static const struct number_field {
    const char *name;
    size_t offset;
    uint64_t min, max;
} numbers[] = {
#define NUMBER(name, min, max) {#name, offsetof(struct agent_config, name), min, max}
    NUMBER(agent, 0, UINT32_MAX),
    NUMBER(seed, 0, UINT64_MAX),
    NUMBER(first_session, 0, 100000000),
    NUMBER(sessions, 1, 10000000),
    NUMBER(streams, 0, 1000000),
    NUMBER(connections, 0, 1000000),
    NUMBER(subscribers_min, 0, 1000),
    NUMBER(subscribers_max, 0, 1000),
    NUMBER(interval_ns, 1000, UINT64_MAX),
    NUMBER(mean_tokens, 1, AGENT_TOKENS_MAX),
    NUMBER(token_bytes, SCRIPT_TOKEN_MIN, SCRIPT_TOKEN_MAX),
    NUMBER(duration_ms, 1, UINT64_MAX / 2000000),
    NUMBER(ramp_per_s, 0, 1000000),
    NUMBER(window_ms, 0, 60000),
    NUMBER(unrolled_ppm, 0, 1000000),
    NUMBER(full_ppm, 0, 1000000),
    NUMBER(cancel_ppm, 0, 1000000),
    NUMBER(reconnect_ppm, 0, 1000000),
    NUMBER(join_ppm, 0, 1000000),
    NUMBER(drop_ppm, 0, 1000000),
    NUMBER(drop_at_ms, 0, UINT64_MAX / 2000000),
    NUMBER(resume_within_ms, 0, 86400000),
    NUMBER(cancel_count, 0, 100000000),
    NUMBER(samples, 0, 100000),
    NUMBER(request_timeout_ms, 1, 86400000),
    NUMBER(drain_ms, 0, 3600000),
    NUMBER(node_local, 0, 1),
    NUMBER(clock_skew_ms, 0, 86400000),
    NUMBER(clock_behind, 0, 1),
};
static const struct text_field {
    const char *name;
    size_t offset;
} texts[] = {
#define TEXT(name, field) {name, offsetof(struct agent_config, field)}
    TEXT("run", run), TEXT("app", app), TEXT("key", key), TEXT("secret", secret), TEXT("channel", channel),
    TEXT("source", source), TEXT("plant", plant_word),
};
enum { NUMBERS = sizeof numbers / sizeof *numbers, TEXTS = sizeof texts / sizeof *texts };

static bool read_number(struct agent_config *c, const struct number_field *f, struct str line, struct buf *why)
{
    uint64_t *value = (uint64_t *)((char *)c + f->offset);
    if (json_u64(json_get(line, str_of(f->name)), value) && *value >= f->min && *value <= f->max)
        return true;
    buf_fmt(why, "%s: a whole number from %llu to %llu is needed", f->name, (unsigned long long)f->min, (unsigned long long)f->max);
    return false;
}

static bool read_text(struct agent_config *c, const struct text_field *f, struct str line, struct buf *why)
{
    struct buf scratch = {0};
    struct str value = json_text(json_get(line, str_of(f->name)), &scratch);
    if (value.p)
        *(char **)((char *)c + f->offset) = str_dup(value);
    else
        buf_fmt(why, "%s: a text is needed", f->name);
    buf_free(&scratch);
    return value.p != NULL;
}

static bool is_known(struct str name)
{
    for (unsigned i = 0; i < NUMBERS; i++)
        if (str_eq(name, str_of(numbers[i].name)))
            return true;
    for (unsigned i = 0; i < TEXTS; i++)
        if (str_eq(name, str_of(texts[i].name)))
            return true;
    return str_eq(name, STR("nodes")) || str_eq(name, STR("type"));
}

/* "127.0.0.1:6001" */
static bool read_node(struct agent_config *c, struct str value)
{
    struct buf scratch = {0};
    struct str port = json_text(value, &scratch);
    struct str host = port.p ? str_split(&port, ':') : port;
    uint64_t number = 0;
    bool fine = host.p && port.p && str_to_u64(port, &number) && number >= 1 && number <= 65535;
    if (fine) {
        c->nodes[c->node_count].host = str_dup(host);
        c->nodes[c->node_count++].port = (unsigned)number;
    }
    buf_free(&scratch);
    return fine;
}

static bool read_nodes(struct agent_config *c, struct str line, struct buf *why)
{
    struct str list = json_get(line, STR("nodes")), value;
    c->nodes = mem_zalloc(AGENT_NODES_MAX * sizeof *c->nodes);
    if (json_is(list, JSON_ARRAY))
        for (struct json_iter it = json_iter(list); json_next_item(&it, &value);)
            if (c->node_count == AGENT_NODES_MAX || !read_node(c, value)) {
                buf_fmt(why, "nodes: entry %u is no \"address:port\", or there are more than %u", c->node_count, AGENT_NODES_MAX);
                return false;
            }
    if (c->node_count == 0)
        buf_lit(why, "nodes: at least one \"address:port\" is needed");
    return c->node_count > 0;
}

static bool read_plant(struct agent_config *c, struct buf *why)
{
    static const char *const words[] = {"none", "drop", "reorder", "delay"};
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++)
        if (str_eq(str_of(words[i]), str_of(c->plant_word))) {
            c->plant = (enum plant_kind)i;
            return true;
        }
    buf_lit(why, "plant: none, drop, reorder or delay is needed");
    return false;
}

bool agent_config_read(struct agent_config *c, struct str line, struct buf *why)
{
    struct json_error error;
    struct str key, value;
    *c = (struct agent_config){0};
    if (!json_check(line, &line, &error) || !json_is(line, JSON_OBJECT)) {
        buf_lit(why, "start: not a JSON object");
        return false;
    }
    for (struct json_iter it = json_iter(line); json_next_member(&it, &key, &value);)
        if (!is_known(key)) {
            buf_fmt(why, "%.*s: unknown field", STR_ARG(str_first(key, 60)));
            return false;
        }
    for (unsigned i = 0; i < NUMBERS; i++)
        if (!read_number(c, &numbers[i], line, why))
            return false;
    for (unsigned i = 0; i < TEXTS; i++)
        if (!read_text(c, &texts[i], line, why))
            return false;
    if (c->subscribers_min > c->subscribers_max || c->streams > c->sessions) {
        buf_str(why, c->streams > c->sessions ? STR("streams: more than sessions") : STR("subscribers_min: above subscribers_max"));
        return false;
    }
    return read_nodes(c, line, why) && read_plant(c, why);
}

void agent_config_free(struct agent_config *c)
{
    for (unsigned i = 0; i < TEXTS; i++)
        free(*(char **)((char *)c + texts[i].offset));
    for (uint32_t i = 0; i < c->node_count; i++)
        free(c->nodes[i].host);
    free(c->nodes);
}
