/* presence_history_test.c - what is recorded of members, and what the API shows of it (chapter 2, 2.14; chapter 3, section 6).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api_fixture.h"
#include "channel/internal.h"
#include "message/presence_event.h"

#define PATH "/channels/presence-a/presence/history"

/* ---- a store whose commits can fail ---- */

static struct kv_ops kv_ops;
static bool (*real_commit)(struct kv *kv, bool sync, struct buf *error);
static bool broken;

static bool commit(struct kv *kv, bool sync, struct buf *error)
{
    if (!broken)
        return real_commit(kv, sync, error);
    kv->ops->abandon(kv);
    buf_lit(error, "no space left");
    return false;
}

static int setup_recording(void **state)
{
    struct fixture *f = mem_new(struct fixture);
    f->core = core_new();
    struct core *core = f->core;
    struct store_options options = {.sync_always = true, .commit_max_ops = 4096, .commit_max_bytes = 1 << 20,
                                    .clock = &core->clock, .seed = 7, .home = &core->home};
    struct kv *kv = kv_memory_new();
    kv_ops = *kv->ops;
    real_commit = kv_ops.commit;
    kv_ops.commit = commit;
    kv->ops = &kv_ops;
    broken = false;
    store_close(core->env.store);
    core->env.store = store_open_inline(kv, &options);
    core->config->rate_limiter.enabled = false;
    core->config->presence_history.enabled = true;
    f->headers = "";
    start_api(f);
    *state = f;
    return 0;
}

/* ---- members ---- */

enum { MEMBERS_MAX = 8 };
static struct sink *sinks[MEMBERS_MAX];
static unsigned sinks_count;

static void ignore_attached(void *user, struct subscription *s, const struct attached *attached)
{
    struct core *core = user;
    subscription_open(&core->env, s, attached->head.delivery, &(uint64_t){0});
}

static struct subscription *join(struct fixture *f, const char *user_id, uint64_t socket)
{
    struct channel_name name = {0};
    struct arena arena = {0};
    channel_name_check(f->core->app, STR("presence-a"), &name, &arena);
    struct sink *sink = sinks[sinks_count++] = sink_new(f->core);
    struct subscription *s =
        hub_attach(&f->core->env, &(struct attach_request){.app = f->core->app,
                                                           .channel = STR("presence-a"),
                                                           .name = name,
                                                           .sink = sink,
                                                           .socket = {1, socket},
                                                           .lane = lane_of(LANE_DELTA, 0),
                                                           .member = {str_of(user_id), STR("{\"n\":1}")},
                                                           .attached = ignore_attached,
                                                           .user = f->core});
    core_settle(f->core);
    arena_free(&arena);
    return s;
}

static void leave(struct fixture *f, struct subscription *s, uint64_t lease_ms)
{
    hub_detach(&f->core->env, s, lease_ms);
    core_settle(f->core);
}

static void ignore_result(void *user, enum member_result result)
{
    assert_int_equal(result, MEMBER_UPDATED);
}

static void update(struct fixture *f, const char *user_id, const char *info)
{
    struct member_update u = {f->core->app, STR("presence-a"), str_of(user_id), str_of(info), {1, 9}, ignore_result, NULL};
    hub_update_member(&f->core->env, &u);
    core_settle(f->core);
}

static int teardown_recording(void **state)
{
    int result = teardown(state);
    while (sinks_count > 0)
        sink_free(sinks[--sinks_count]);
    return result;
}

/* "member_added u1 join|..." of all rows, oldest first. */
static const char *log_of(struct fixture *f)
{
    static char text[2048];
    struct str rest = str_of(get(f, PATH, "direction=oldest_first"));
    size_t n = 0;
    text[0] = '\0';
    assert_true(str_starts(rest, STR("200 ")));
    for (ptrdiff_t at; (at = str_find(rest, STR("\"published_at_ms\":"))) >= 0;) {
        rest = str_from(rest, (size_t)at + 1);
        if ((at = str_find(rest, STR("\"event\":\""))) < 0)
            break;
        struct str event = str_from(rest, (size_t)at + 9);
        struct str cause = str_from(event, (size_t)str_find(event, STR("\"cause\":\"")) + 9);
        struct str user = str_from(cause, (size_t)str_find(cause, STR("\"user_id\":\"")) + 11);
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%.*s %.*s %.*s", n ? "|" : "", (int)str_index(event, '"'),
                              event.p, (int)str_index(user, '"'), user.p, (int)str_index(cause, '"'), cause.p);
        rest = str_from(user, (size_t)str_find(user, STR("\"user_info\":")));
    }
    return text;
}

/* ---- the tests ---- */

static void only_edges_and_updates_are_recorded(void **state)
{
    struct fixture *f = *state;
    struct subscription *a = join(f, "u1", 5), *tab = join(f, "u1", 6);
    update(f, "u1", "{\"s\":1}");
    update(f, "u1", "{\"s\":2}");
    leave(f, a, 0);
    struct subscription *again = join(f, "u1", 5);
    leave(f, tab, 0);
    leave(f, again, 0);
    struct subscription *back = join(f, "u1", 5);
    assert_string_equal(log_of(f), "member_added u1 join|member_updated u1 join|member_updated u1 join|"
                                   "member_removed u1 disconnect|member_added u1 join");
    leave(f, back, 1000);
    core_advance_ms(f->core, 1001);
    assert_non_null(strstr(log_of(f), "|member_added u1 join|member_removed u1 timeout"));
}

static void page_has_the_documented_shape(void **state)
{
    struct fixture *f = *state;
    struct subscription *a = join(f, "u1", 5);
    const char *page = get(f, PATH, "");
    assert_contains(page, "\"serial\":1,\"published_at_ms\":1767");
    assert_contains(page, "\"event\":\"member_added\",\"cause\":\"join\",\"user_id\":\"u1\",\"connection_id\":\"1.5\","
                          "\"dead_node_id\":null,\"payload_size_bytes\":");
    assert_contains(page, "\"presence_event\":{\"channel\":\"presence-a\",\"event\":\"member_added\"");
    assert_contains(page, "\"user_info\":{\"n\":1}}}],\"direction\":\"newest_first\",\"limit\":100,\"has_more\":false,"
                          "\"next_cursor\":null,\"bounds\":{");
    assert_contains(page, "\"retained_events\":1,\"retained_bytes\":");
    assert_contains(page, "\"degraded\":false,\"complete\":true,\"truncated_by_retention\":false}");
    assert_contains(page, "\"durable_state\":\"healthy\",\"continuity_proven\":true,\"reset_required\":false");
    const char *shown = get(f, PATH "/state", "");
    assert_contains(shown, "200 {\"channel\":\"presence-a\",\"stream\":{\"stream_id\":\"");
    assert_contains(shown, "\"next_serial\":2,\"retained\":{");
    assert_contains(shown, "\"retained_events\":1");
    leave(f, a, 0);
}

static void cursor_leads_through_all_pages(void **state)
{
    struct fixture *f = *state;
    struct subscription *a = join(f, "u1", 5);
    update(f, "u1", "1");
    update(f, "u1", "2");
    const char *page = get(f, PATH, "limit=2&direction=oldest_first");
    assert_contains(page, "\"has_more\":true");
    char params[1024];
    const char *cursor = strstr(page, "\"next_cursor\":\"") + 15;
    snprintf(params, sizeof params, "cursor=%.*s&limit=2&direction=oldest_first", (int)strcspn(cursor, "\""), cursor);
    page = get(f, PATH, params);
    assert_contains(page, "\"serial\":3,");
    assert_null(strstr(page, "\"serial\":2,"));
    assert_contains(page, "\"has_more\":false");
    leave(f, a, 0);
}

static void bad_questions_are_told_what_is_wrong(void **state)
{
    struct fixture *f = *state;
    assert_contains(get(f, "/channels/orders/presence/history", ""), "Only presence channels support this endpoint");
    assert_contains(get(f, PATH, "limit=0"), "Presence history limit must be greater than 0");
    assert_contains(get(f, PATH, "cursor=!"), "Invalid presence history cursor: ");
    assert_contains(get(f, PATH, "direction=up"), "Invalid direction 'up'");
    f->core->config->presence_history.enabled = false;
    const char *off = get(f, PATH "/snapshot", "");
    assert_starts(off, "422 ");
    assert_contains(off, "Presence history is disabled by policy for channel 'presence-a'");
}

static void application_and_namespace_decide_before_the_whole(void **state)
{
    struct fixture *f = *state;
    struct namespace_config ns = {.presence_history = {-1, -1, -1, -1}};
    struct channel_name name = {.kind = CHANNEL_PRESENCE, .ns = &ns};
    struct app_config *app = &f->core->config->apps[0];
    f->core->config->presence_history.enabled = false;
    assert_false(presence_history_policy(f->core->app, &name).on);
    app->presence_history = (struct presence_history_policy){1, 60, 7, -1};
    struct presence_history policy = presence_history_policy(f->core->app, &name);
    assert_true(policy.on);
    assert_int_equal(policy.window_ms, 60000);
    assert_int_equal(policy.events_max, 7);
    assert_int_equal(policy.bytes_max, 0);
    ns.presence_history.enabled = 0;
    assert_false(presence_history_policy(f->core->app, &name).on);
    name = (struct channel_name){.kind = CHANNEL_PRIVATE};
    assert_false(presence_history_policy(f->core->app, &name).on);
    app->presence_history = (struct presence_history_policy){-1, -1, -1, -1};
}

static void retention_keeps_the_newest(void **state)
{
    struct fixture *f = *state;
    f->core->config->presence_history.max_events_per_channel = 2;
    struct subscription *a = join(f, "u1", 5);
    update(f, "u1", "1");
    update(f, "u1", "2");
    const char *page = get(f, PATH, "");
    assert_contains(page, "\"retained_events\":2");
    assert_contains(page, "\"complete\":false,\"truncated_by_retention\":true");
    assert_contains(get(f, PATH "/snapshot", ""), "\"member_count\":1,\"events_replayed\":2");
    leave(f, a, 0);
}

static void snapshot_is_the_fold_of_the_first_events(void **state)
{
    static const char *const members[] = {"[]", "u1", "u1 u2", "u2", "u2"};
    struct fixture *f = *state;
    struct subscription *a = join(f, "u2x", 5);
    leave(f, a, 0);
    a = join(f, "u1", 5);
    struct subscription *b = join(f, "u2", 6);
    leave(f, a, 0);
    update(f, "u2", "{}");
    for (unsigned k = 2; k <= 6; k++) {
        char params[32], count[64];
        snprintf(params, sizeof params, "at_serial=%u", k);
        const char *shot = get(f, PATH "/snapshot", params);
        snprintf(count, sizeof count, "\"events_replayed\":%u,\"snapshot_serial\":%u,", k, k);
        assert_contains(shot, count);
        assert_int_equal(strstr(shot, "\"user_id\":\"u1\"") != NULL, strstr(members[k - 2], "u1") != NULL);
        assert_int_equal(strstr(shot, "\"user_id\":\"u2\"") != NULL, strstr(members[k - 2], "u2") != NULL);
    }
    assert_contains(get(f, PATH "/snapshot", ""), "\"members\":[{\"user_id\":\"u2\",\"last_event\":\"member_updated\","
                                                  "\"last_event_serial\":6,\"last_event_at_ms\":");
    assert_contains(get(f, PATH "/snapshot", "at_serial=0"), "\"member_count\":0,\"events_replayed\":0,\"snapshot_serial\":null");
    assert_contains(get(f, PATH "/snapshot", "at=1"), "\"events_replayed\":0");
    leave(f, b, 0);
}

static void reset_begins_anew_with_who_is_there(void **state)
{
    struct fixture *f = *state;
    struct subscription *a = join(f, "u1", 5), *b = join(f, "u2", 6);
    leave(f, b, 0);
    assert_starts(post(f, PATH "/reset", "{\"confirm_channel\":\"presence-b\",\"confirm_operation\":\"reset\",\"reason\":\"r\"}"), "400 ");
    const char *done = post(f, PATH "/reset", "{\"confirm_channel\":\"presence-a\",\"confirm_operation\":\"reset\",\"reason\":\"r\"}");
    assert_starts(done, "200 {\"ok\":true,\"operation\":\"reset\",\"channel\":\"presence-a\",\"reason\":\"r\",\"requested_by\":null,");
    assert_contains(done, "\"purged_events\":3,");
    assert_string_equal(log_of(f), "member_added u1 join");
    leave(f, a, 0);
    assert_contains(get(f, PATH "/snapshot", ""), "\"member_count\":0,\"events_replayed\":2");
}

/* Presence goes on, and the log makes up for it when the store is there again. */
static void failed_write_never_blocks_presence(void **state)
{
    struct fixture *f = *state;
    struct subscription *a = join(f, "u1", 5);
    broken = true;
    struct subscription *b = join(f, "u2", 6);
    assert_contains(get(f, "/channels/presence-a/users", ""), "\"id\":\"u2\"");
    const char *page = get(f, PATH, "");
    assert_starts(page, "200 ");
    assert_contains(page, "\"retained_events\":1,");
    assert_contains(page, "\"degraded\":true,\"complete\":false");
    assert_contains(page, "\"durable_state\":\"degraded\",\"continuity_proven\":false,\"reset_required\":false,"
                          "\"reason\":\"presence_history_write_failed\"");
    assert_starts(get(f, PATH "/snapshot", ""), "200 ");
    assert_contains(plain(f, "GET", "/stats"), "\"presence_history\":{\"enabled\":true,\"backend\":\"rocksdb\",\"state_authority\":"
                                               "\"durable_store\",\"degraded_channels\":1,\"reset_required_channels\":0");
    leave(f, b, 0);
    core_advance_ms(f->core, 3000);
    broken = false;
    core_advance_ms(f->core, 6000);
    assert_string_equal(log_of(f), "member_added u1 join|member_added u2 join|member_removed u2 disconnect");
    page = get(f, PATH, "");
    assert_contains(page, "\"degraded\":false,\"complete\":true");
    assert_contains(plain(f, "GET", "/stats"), "\"durable_store\",\"degraded_channels\":0");
    leave(f, a, 0);
    assert_contains(get(f, PATH "/snapshot", ""), "\"member_count\":0,\"events_replayed\":4");
}

/* More than may wait: something is lost, and the log says so until it is reset. */
static void transitions_beyond_the_limit_are_lost_and_the_log_says_so(void **state)
{
    struct fixture *f = *state;
    f->core->config->presence.update_rate_limit_per_member_per_second = 100000;
    struct subscription *a = join(f, "u1", 5);
    broken = true;
    for (int i = 0; i < 4200; i++)
        update(f, "u1", "1");
    broken = false;
    core_advance_ms(f->core, 6000);
    const char *page = get(f, PATH, "limit=1");
    assert_contains(page, "\"retained_events\":4097,");
    assert_contains(page, "\"durable_state\":\"reset_required\",\"continuity_proven\":false,\"reset_required\":true,"
                          "\"reason\":\"presence_history_reset_required_after_write_failure\"");
    assert_starts(post(f, PATH "/reset", "{\"confirm_channel\":\"presence-a\",\"confirm_operation\":\"reset\",\"reason\":\"r\"}"), "200 ");
    page = get(f, PATH, "");
    assert_contains(page, "\"retained_events\":1,");
    assert_contains(page, "\"degraded\":false,\"complete\":true");
    leave(f, a, 0);
}

static void reset_that_fails_keeps_the_log(void **state)
{
    struct fixture *f = *state;
    struct subscription *a = join(f, "u1", 5);
    broken = true;
    assert_starts(post(f, PATH "/reset", "{\"confirm_channel\":\"presence-a\",\"confirm_operation\":\"reset\",\"reason\":\"r\"}"), "503 ");
    broken = false;
    core_advance_ms(f->core, 200);
    assert_string_equal(log_of(f), "member_added u1 join");
    leave(f, a, 0);
    assert_string_equal(log_of(f), "member_added u1 join|member_removed u1 disconnect");
    assert_contains(get(f, PATH, ""), "\"degraded\":false,\"complete\":true");
}

/* ---- who is left from a process that died ---- */

static void stored(struct store_op *op)
{
    assert_int_equal(op->result, STORE_OK);
    store_op_free(op);
}

static void record(struct fixture *f, enum transition event, const char *user_id, uint64_t members)
{
    struct store_op *op = store_op_new(STORE_WRITE, 0, stored);
    struct presence_event e = {.event = event, .cause = STR("join"), .user_id = str_of(user_id), .node_id = STR("dead"),
                               .connection_id = STR("7.7"), .at_ms = 1767225600000, .members = members};
    struct buf json = {0};
    presence_event_json(&json, STR("presence-a"), &e);
    op->app_id = f->core->app->id;
    op->channel = presence_history_channel(&op->arena, STR("presence-a"));
    op->write.action = ACTION_ORDINARY;
    op->write.event_name = presence_event_word(event);
    op->write.data = arena_copy(&op->arena, buf_view(&json));
    op->write.now_ms = e.at_ms;
    store_submit(f->core->env.store, op);
    core_settle(f->core);
    buf_free(&json);
}

static void members_of_a_dead_process_are_removed_first(void **state)
{
    struct fixture *f = *state;
    record(f, MEMBER_ADDED_EVENT, "gone", 1);
    record(f, MEMBER_ADDED_EVENT, "u1", 2);
    record(f, MEMBER_ADDED_EVENT, "u3", 3);
    for (int i = 0; i < 1500; i++) /* more than a page to look back over */
        record(f, MEMBER_UPDATED_EVENT, "u1", 3);
    record(f, MEMBER_REMOVED_EVENT, "gone", 2);
    struct subscription *a = join(f, "u1", 5), *b = join(f, "u2", 6);
    const char *page = get(f, PATH, "limit=4");
    assert_contains(page, "\"event\":\"member_removed\",\"cause\":\"orphan_cleanup\",\"user_id\":\"u1\",\"connection_id\":\"7.7\","
                          "\"dead_node_id\":\"dead\"");
    assert_contains(page, "\"cause\":\"orphan_cleanup\",\"user_id\":\"u3\"");
    assert_null(strstr(page, "\"user_id\":\"gone\""));
    const char *shot = get(f, PATH "/snapshot", "");
    assert_contains(shot, "\"member_count\":2");
    assert_contains(shot, "\"degraded\":false,\"complete\":true");
    leave(f, a, 0);
    leave(f, b, 0);
}

/* A second node must not bury the members of the first. */
static void members_at_other_nodes_are_no_orphans(void **state)
{
    struct fixture *f = *state;
    struct channel_name name = {0};
    struct arena arena = {0};
    record(f, MEMBER_ADDED_EVENT, "u1", 1);
    record(f, MEMBER_ADDED_EVENT, "u3", 2);
    channel_name_check(f->core->app, STR("presence-a"), &name, &arena);
    struct channel *ch = owner_channel(&f->core->env, f->core->app, STR("presence-a"), &name);
    presence_join_at(member_presence(ch), STR("node-b"), STR("u1"), STR("{}"));
    struct subscription *a = join(f, "u2", 5);
    assert_string_equal(log_of(f), "member_added u1 join|member_added u3 join|member_removed u3 orphan_cleanup|member_added u2 join");
    leave(f, a, 0);
    presence_leave_at(ch->presence, STR("node-b"), STR("u1"));
    arena_free(&arena);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup_recording, teardown_recording)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(only_edges_and_updates_are_recorded),
        T(page_has_the_documented_shape),
        T(cursor_leads_through_all_pages),
        T(bad_questions_are_told_what_is_wrong),
        T(application_and_namespace_decide_before_the_whole),
        T(retention_keeps_the_newest),
        T(snapshot_is_the_fold_of_the_first_events),
        T(reset_begins_anew_with_who_is_there),
        T(failed_write_never_blocks_presence),
        T(transitions_beyond_the_limit_are_lost_and_the_log_says_so),
        T(reset_that_fails_keeps_the_log),
        T(members_of_a_dead_process_are_removed_first),
        T(members_at_other_nodes_are_no_orphans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
