/* will_test.c - what only a dead node knew is told to webhooks by another one, once (channel/will.h).
 *
 * node-b dies, node-a is the one that leads. The shared cache is a list of lines "key entry" in memory, asked through the shards' mail.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/pack.h"
#include "channel/internal.h"
#include "channel/will.h"
#include "cluster/cache.h"
#include "message/notice.h"
#include "nodes_fixture.h"

enum { MEMBERS_MAX = 1024 };

struct cache {
    struct core *core;
};
static struct cache caches[NODES];
static struct {
    char *key;
    struct buf entry;
} members[MEMBERS_MAX];
static size_t members_count;
static bool away; /* Redis is */

/* ---- the shared cache ---- */

static size_t find(struct str key, struct str entry)
{
    size_t i = 0;
    while (i < members_count && !(str_eq(str_of(members[i].key), key) && str_eq(buf_view(&members[i].entry), entry)))
        i++;
    return i;
}

static void include(struct str key, struct str entry)
{
    if (find(key, entry) < members_count)
        return;
    assert_true(members_count < MEMBERS_MAX);
    members[members_count].key = str_dup(key);
    members[members_count].entry = (struct buf){0};
    buf_str(&members[members_count++].entry, entry);
}

static bool exclude(struct str key, struct str entry)
{
    size_t at = find(key, entry);
    if (at == members_count)
        return false;
    free(members[at].key);
    buf_free(&members[at].entry);
    members[at] = members[--members_count];
    return true;
}

static void some(struct cache_op *op)
{
    for (size_t i = 0; i < members_count && op->number < op->amount; i++)
        if (str_eq(str_of(members[i].key), op->key)) {
            pack_text(&op->found, buf_view(&members[i].entry));
            op->number++;
        }
}

static enum cache_result carry_out(struct cache_op *op)
{
    switch (op->verb) {
    case CACHE_INCLUDE:
        include(op->key, op->value);
        return CACHE_OK;
    case CACHE_EXCLUDE:
        exclude(op->key, op->value);
        return CACHE_OK;
    case CACHE_PASS_ON:
        if (exclude(op->key, op->value))
            include(op->expected, op->value);
        return find(op->expected, op->value) < members_count ? CACHE_OK : CACHE_ABSENT;
    case CACHE_SOME:
        some(op);
        return CACHE_OK;
    default:
        abort();
    }
}

static void is_home(struct task *task)
{
    struct cache_op *op = list_of(task, struct cache_op, task);
    op->done(op);
}

void cache_submit(struct cache *cache, struct cache_op *op)
{
    op->result = away ? CACHE_FAILED : carry_out(op);
    op->task.run = is_home;
    cache->core->env.post(&cache->core->env, 0, &op->task);
}

bool cache_is_up(const struct cache *cache)
{
    return !away;
}

/* How many entries stand in the will of a node. */
static size_t entries_of(const char *node)
{
    char start[64];
    size_t n = 0;
    snprintf(start, sizeof start, "will:%s:", node);
    for (size_t i = 0; i < members_count; i++)
        n += str_starts(str_of(members[i].key), str_of(start));
    return n;
}

/* ---- webhooks ---- */

static struct buf told; /* "node-a channel_vacated private-a; " */

static void hears(struct env *env, const struct notice *n)
{
    if (n->kind != NOTICE_CHANNEL_VACATED && n->kind != NOTICE_MEMBER_REMOVED && n->kind != NOTICE_CHANNEL_OCCUPIED)
        return;
    buf_fmt(&told, "%.*s %s %.*s%.*s; ", STR_ARG(env->bus->self(env)), notice_name(n->kind), STR_ARG(n->channel), STR_ARG(n->fields));
}

static void is_told(const char *text)
{
    buf_char(&told, 0);
    assert_string_equal(told.p, text);
    buf_clear(&told);
}

static int setup_wills(void **state)
{
    setup(state);
    buf_clear(&told);
    for (unsigned i = 0; i < NODES; i++) {
        struct env *env = &f->nodes[i].core->env;
        caches[i].core = f->nodes[i].core;
        env->cache = &caches[i];
        env->notice = hears;
        f->nodes[i].core->app->notices = UINT32_MAX;
        f->nodes[i].core->config->presence_history.enabled = true;
    }
    return 0;
}

static int teardown_wills(void **state)
{
    away = false;
    teardown(state);
    while (members_count > 0)
        exclude(str_of(members[0].key), buf_view(&members[0].entry));
    buf_free(&told);
    return 0;
}

static void is_only_at_node_b(const char *channel, const char *user)
{
    attach_to(1, channel, user, LANE_DELTA, 0);
    advance_ms(200);
    buf_clear(&told);
}

static void node_b_dies(void)
{
    f->cut = f->alone = true;
    f->nodes[1].core->env.notice = NULL;
    hub_peer_left(&f->nodes[0].core->env, STR("node-b"), true);
    settle();
}

/* ---- tests ---- */

static void a_public_channel_that_went_with_its_node_is_told_of_once(void **state)
{
    is_only_at_node_b("a", NULL);
    assert_int_equal(entries_of("node-b"), 1);
    node_b_dies();
    is_told("");
    advance_ms(3100);
    is_told("node-a channel_vacated a; ");
    assert_int_equal(members_count, 0);
    advance_ms(10000);
    is_told("");
}

static void so_is_a_private_one(void **state)
{
    is_only_at_node_b("private-a", NULL);
    node_b_dies();
    advance_ms(3100);
    is_told("node-a channel_vacated private-a; ");
}

static void of_a_presence_channel_its_members_are_told_of_too(void **state)
{
    is_only_at_node_b("presence-a", "u1");
    assert_int_equal(entries_of("node-b"), 2);
    node_b_dies();
    advance_ms(3100);
    buf_char(&told, 0);
    assert_non_null(strstr(told.p, "node-a channel_vacated presence-a; "));
    assert_non_null(strstr(told.p, "node-a member_removed presence-a\"user_id\":\"u1\"; "));
    assert_int_equal(strlen(told.p), strlen("node-a channel_vacated presence-a; node-a member_removed presence-a\"user_id\":\"u1\"; "));
    assert_int_equal(members_count, 0);
}

static void who_has_left_properly_is_in_no_will(void **state)
{
    is_only_at_node_b("presence-a", "u1");
    detach(1);
    assert_int_equal(entries_of("node-b"), 2); /* not told yet */
    advance_ms(3100);
    assert_int_equal(members_count, 0);
    buf_clear(&told);
    node_b_dies();
    advance_ms(4000);
    is_told("");
}

static void a_node_that_dies_before_it_has_told_is_told_for(void **state)
{
    is_only_at_node_b("a", NULL);
    detach(1);
    advance_ms(1000);
    node_b_dies();
    advance_ms(3100);
    is_told("node-a channel_vacated a; ");
}

static void what_lives_on_at_another_node_is_not_told_of(void **state)
{
    is_only_at_node_b("a", NULL);
    attach_to(0, "a", NULL, LANE_DELTA, 0);
    advance_ms(200);
    buf_clear(&told);
    node_b_dies();
    advance_ms(4000);
    is_told("");
    assert_int_equal(entries_of("node-b"), 0);
    assert_int_equal(entries_of("node-a"), 1); /* its own */
}

static void who_comes_to_another_node_in_time_was_not_away(void **state)
{
    is_only_at_node_b("a", NULL);
    node_b_dies();
    advance_ms(1000);
    attach_to(0, "a", NULL, LANE_DELTA, 0);
    advance_ms(4000);
    is_told("");
    assert_int_equal(entries_of("node-a"), 1);
}

static void nor_was_a_member(void **state)
{
    is_only_at_node_b("presence-a", "u1");
    node_b_dies();
    advance_ms(1000);
    attach_to(0, "presence-a", "u1", LANE_DELTA, 0);
    advance_ms(4000);
    is_told("");
    assert_int_equal(entries_of("node-a"), 2);
}

/* His channel has begun to live at another node, which knows nothing of him: it came when his own was dead, but not known to be. */
static void a_member_is_told_of_where_others_have_come_back(void **state)
{
    is_only_at_node_b("presence-a", "u1");
    f->cut = f->alone = true;
    attach_to(0, "presence-a", "u2", LANE_DELTA, 0);
    buf_clear(&told);
    node_b_dies();
    advance_ms(3100);
    is_told("node-a member_removed presence-a\"user_id\":\"u1\"; ");
    assert_int_equal(entries_of("node-a"), 2);
}

static void a_member_whom_others_knew_is_told_of_once(void **state)
{
    attach_to(0, "presence-a", "u2", LANE_DELTA, 0);
    is_only_at_node_b("presence-a", "u1");
    node_b_dies();
    advance_ms(10000);
    is_told("node-a member_removed presence-a\"user_id\":\"u1\"; ");
}

static void a_member_who_has_another_place_is_not_told_of(void **state)
{
    attach_to(0, "presence-a", "u1", LANE_DELTA, 0);
    is_only_at_node_b("presence-a", "u1");
    node_b_dies();
    advance_ms(10000);
    is_told("");
    assert_int_equal(entries_of("node-b"), 0);
}

/* The one that leads may die before it has told: then the next one finds the entry in its will. */
static void what_is_not_told_yet_stands_in_the_executors_will(void **state)
{
    is_only_at_node_b("a", NULL);
    node_b_dies();
    advance_ms(1000);
    assert_int_equal(entries_of("node-b"), 0);
    assert_int_equal(entries_of("node-a"), 1);
}

/* A leader that leaves makes the next one be told of the same node again. */
static void a_node_that_dies_twice_is_told_of_once(void **state)
{
    is_only_at_node_b("a", NULL);
    node_b_dies();
    node_b_dies();
    advance_ms(1000);
    node_b_dies();
    advance_ms(2100);
    is_told("node-a channel_vacated a; ");
    advance_ms(4000);
    is_told("");
}

static void without_redis_it_is_only_later(void **state)
{
    away = true;
    is_only_at_node_b("a", NULL);
    assert_int_equal(members_count, 0);
    away = false;
    advance_ms(1100);
    assert_int_equal(entries_of("node-b"), 1);
    away = true;
    node_b_dies();
    advance_ms(5000);
    is_told("");
    away = false;
    advance_ms(4200);
    is_told("node-a channel_vacated a; ");
    assert_int_equal(members_count, 0);
}

/* Redis came back empty. */
static void what_redis_has_lost_is_written_again(void **state)
{
    is_only_at_node_b("presence-a", "u1");
    while (members_count > 0)
        exclude(str_of(members[0].key), buf_view(&members[0].entry));
    hub_missed(&f->nodes[1].core->env);
    settle();
    assert_int_equal(entries_of("node-b"), 2);
}

/* Written by a node of another version, or whose app is gone. */
static void entries_that_mean_nothing_here_are_dropped(void **state)
{
    struct buf unknown = {0};
    is_only_at_node_b("a", NULL);
    pack_text(&unknown, STR("no such app"));
    pack_text(&unknown, STR("a"));
    pack_text(&unknown, STR(""));
    struct str key = str_of(members[0].key);
    include(key, buf_view(&unknown));
    include(key, STR("\xff"));
    include(key, STR(""));
    buf_free(&unknown);
    node_b_dies();
    advance_ms(3100);
    is_told("node-a channel_vacated a; ");
    assert_int_equal(members_count, 0);
}

static void many_channels_take_several_pages(void **state)
{
    enum { CHANNELS = ESTATE_OPEN_MAX + 50 };
    struct str key = STR_NONE;
    struct buf text = {0};
    is_only_at_node_b("a", NULL);
    text = (struct buf){0};
    buf_str(&text, str_of(members[0].key));
    key = buf_view(&text);
    for (int i = 0; i < CHANNELS; i++) { /* all in the topic of the first one */
        struct buf entry = {0};
        char name[16];
        snprintf(name, sizeof name, "c%d", i);
        pack_text(&entry, f->nodes[0].core->app->id);
        pack_text(&entry, str_of(name));
        pack_text(&entry, STR(""));
        include(key, buf_view(&entry));
        buf_free(&entry);
    }
    buf_free(&text);
    node_b_dies();
    advance_ms(3100);
    size_t n = 0;
    for (struct str rest = buf_view(&told); str_split(&rest, ';').n > 1; n++)
        continue;
    assert_int_equal(n, CHANNELS + 1);
    assert_int_equal(entries_of("node-b"), 0);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup_wills, teardown_wills)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_public_channel_that_went_with_its_node_is_told_of_once),
        T(so_is_a_private_one),
        T(of_a_presence_channel_its_members_are_told_of_too),
        T(who_has_left_properly_is_in_no_will),
        T(a_node_that_dies_before_it_has_told_is_told_for),
        T(what_lives_on_at_another_node_is_not_told_of),
        T(who_comes_to_another_node_in_time_was_not_away),
        T(nor_was_a_member),
        T(a_member_is_told_of_where_others_have_come_back),
        T(a_member_whom_others_knew_is_told_of_once),
        T(a_member_who_has_another_place_is_not_told_of),
        T(what_is_not_told_yet_stands_in_the_executors_will),
        T(a_node_that_dies_twice_is_told_of_once),
        T(without_redis_it_is_only_later),
        T(what_redis_has_lost_is_written_again),
        T(entries_that_mean_nothing_here_are_dropped),
        T(many_channels_take_several_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
