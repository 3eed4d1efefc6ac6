/* presence_random_test.c - members come, change, go, are lost and come back at random; a plain model says who must be there, and
 * the frames, the notices and the log must agree with it at every moment.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "message/notice.h"
#include "message/presence_event.h"
#include "session_fixture.h"

enum { USERS = 3, SLOTS = 6, STEPS = 400, LEASES_MAX = 2000, LEASE_MS = 15000 };

/* What must be true. */
struct model {
    uint64_t now_ms;
    unsigned places[USERS];
    struct {
        unsigned user;
        uint64_t until_ms; /* 0 = over */
    } leases[LEASES_MAX];
    unsigned leases_count;
    int joined[SLOTS]; /* as which user; -1 = not */
    bool v2[SLOTS];
};

static bool seen[USERS];    /* as the watcher's frames tell */
static bool noticed[USERS]; /* as webhooks are told */

static unsigned user_in(struct str text)
{
    ptrdiff_t at = str_find(text, STR("user_id"));
    assert_true(at >= 0);
    while (text.p[at] != 'u' || text.p[at + 1] < '0' || text.p[at + 1] > '9')
        at++;
    return (unsigned)(text.p[at + 1] - '0');
}

static void note(struct env *env, const struct notice *notice)
{
    if (notice->kind != NOTICE_MEMBER_ADDED && notice->kind != NOTICE_MEMBER_REMOVED)
        return;
    if (str_find(notice->fields, STR("\"w\"")) >= 0)
        return;
    bool added = notice->kind == NOTICE_MEMBER_ADDED;
    unsigned user = user_in(notice->fields);
    assert_true(noticed[user] != added); /* never twice the same */
    noticed[user] = added;
}

static void read_frames(struct client *watcher)
{
    struct str rest = buf_view(&watcher->sink.got);
    while (rest.n > 0) {
        struct str line = str_split(&rest, '\n');
        bool added = str_find(line, STR("member_added")) >= 0, removed = str_find(line, STR("member_removed")) >= 0;
        if (!added && !removed)
            continue;
        unsigned user = user_in(line);
        assert_true(seen[user] != added);
        seen[user] = added;
    }
    sink_forget(&watcher->sink);
}

/* ---- the model ---- */

static bool is_there(const struct model *m, unsigned user)
{
    bool leased = false;
    for (unsigned i = 0; i < m->leases_count; i++)
        leased |= m->leases[i].user == user && m->leases[i].until_ms > m->now_ms;
    return m->places[user] > 0 || leased;
}

/* The lease that was given first is taken up first. */
static void model_joins(struct model *m, unsigned user)
{
    for (unsigned i = 0; i < m->leases_count; i++)
        if (m->leases[i].user == user && m->leases[i].until_ms > m->now_ms) {
            m->leases[i].until_ms = 0;
            break;
        }
    m->places[user]++;
}

static void model_leaves(struct model *m, unsigned user, bool lease)
{
    m->places[user]--;
    if (lease)
        m->leases[m->leases_count].user = user, m->leases[m->leases_count++].until_ms = m->now_ms + LEASE_MS;
}

/* ---- what happens ---- */

static void opens(struct fixture *f, struct client *c, bool v2)
{
    struct session_params params;
    struct arena arena = {0};
    assert_null(session_params_read(f->core->config, v2 ? STR("protocol=2") : STR("protocol=7"), &arena, &params));
    sink_forget(&c->sink);
    c->session = session_new(f->sessions, c, f->core->app, STR_NONE, &params);
    note_id(c);
    arena_free(&arena);
}

static void slot_joins(struct fixture *f, struct model *m, unsigned slot, unsigned user)
{
    struct client *c = &f->clients[slot];
    char data[64];
    if (c->session == NULL)
        opens(f, c, m->v2[slot] = random_below(&f->core->env.random, 2));
    snprintf(data, sizeof data, "{\"user_id\":\"u%u\"}", user);
    join(f, c, "presence-a", data);
    if (m->joined[slot] < 0)
        model_joins(m, m->joined[slot] = (int)user);
}

static void slot_goes(struct fixture *f, struct model *m, unsigned slot, unsigned how)
{
    struct client *c = &f->clients[slot];
    if (c->session == NULL)
        return;
    bool lost = how == 2;
    if (how == 0)
        unsubscribe(c, "presence-a");
    else
        client_gone(c, lost ? END_LOST : END_GRACEFUL);
    if (m->joined[slot] >= 0)
        model_leaves(m, (unsigned)m->joined[slot], lost && m->v2[slot]);
    m->joined[slot] = -1;
}

static void slot_updates(struct fixture *f, struct model *m, unsigned slot)
{
    if (m->joined[slot] < 0 || !m->v2[slot])
        return;
    tell(&f->clients[slot], "{\"event\":\"sockudo:presence_update\",\"data\":{\"channel\":\"presence-a\",\"data\":%u}}", slot);
    core_settle(f->core);
}

static void time_passes(struct fixture *f, struct model *m, unsigned ms)
{
    core_advance_ms(f->core, ms);
    m->now_ms += ms;
}

static void step(struct fixture *f, struct model *m)
{
    struct random *random = &f->core->env.random;
    unsigned slot = 1 + (unsigned)random_below(random, SLOTS - 1);
    switch (random_below(random, 8)) {
    case 0: case 1: case 2:
        /* Who is a member already joins again as the same. */
        slot_joins(f, m, slot, m->joined[slot] >= 0 ? (unsigned)m->joined[slot] : (unsigned)random_below(random, USERS));
        break;
    case 3: case 4:
        slot_goes(f, m, slot, (unsigned)random_below(random, 3));
        break;
    case 5:
        slot_updates(f, m, slot);
        break;
    default:
        time_passes(f, m, 1 + (unsigned)random_below(random, random_below(random, 4) ? 2500 : 16000));
    }
}

/* ---- the log ---- */

static void rows_read(struct store_op *op)
{
    struct presence_fold *fold = presence_fold_new();
    bool in_log[USERS] = {false};
    size_t count;
    assert_int_equal(op->result, STORE_OK);
    assert_false(op->found.more);
    assert_true(op->found.count > 20);
    for (size_t i = 0; i < op->found.count; i++)
        assert_null(presence_fold_add(fold, &op->found.items[i]));
    struct folded *members = presence_fold_members(fold, &op->arena, &count);
    for (size_t i = 0; i < count; i++)
        if (!str_eq(members[i].user_id, STR("w")))
            in_log[members[i].user_id.p[1] - '0'] = true;
    for (unsigned user = 0; user < USERS; user++)
        assert_int_equal(in_log[user], seen[user]);
    presence_fold_free(fold);
    store_op_free(op);
}

static void log_agrees(struct fixture *f)
{
    struct store_op *op = store_op_new(STORE_PAGE, 0, rows_read);
    op->app_id = f->core->app->id;
    op->channel = presence_history_channel(&op->arena, STR("presence-a"));
    op->read = (struct store_read){.direction = OLDEST_FIRST, .limit = 100000, .start_ms = INT64_MIN, .end_ms = INT64_MAX};
    store_submit(f->core->env.store, op);
    core_settle(f->core);
}

static void history_of(unsigned seed)
{
    void *state;
    struct model *m = mem_new(struct model);
    setup(&state);
    struct fixture *f = state;
    random_from_seed(&f->core->env.random, seed);
    f->core->env.notice = note;
    f->core->app->notices = ~0u;
    f->core->config->presence_history.enabled = true;
    f->core->config->activity_timeout_seconds = 1000000; /* nobody is put out for being silent */
    f->core->config->websocket.idle_timeout_seconds = 0;
    f->core->config->websocket.auto_ping = false;
    f->core->config->user_authentication_timeout_seconds = 0;
    for (unsigned i = 0; i < SLOTS; i++) {
        f->clients[i].sink.core = f->core;
        m->joined[i] = -1;
    }
    f->count = SLOTS;
    for (unsigned user = 0; user < USERS; user++)
        seen[user] = noticed[user] = false;
    opens(f, &f->clients[0], true);
    join(f, &f->clients[0], "presence-a", "{\"user_id\":\"w\"}");
    for (unsigned i = 0; i < STEPS; i++) {
        step(f, m);
        read_frames(&f->clients[0]);
        for (unsigned user = 0; user < USERS; user++)
            if (seen[user] != is_there(m, user))
                fail_msg("seed %u, step %u: user %u", seed, i, user);
    }
    time_passes(f, m, 20000);
    read_frames(&f->clients[0]);
    for (unsigned user = 0; user < USERS; user++) {
        assert_int_equal(seen[user], is_there(m, user));
        assert_int_equal(noticed[user], seen[user]);
    }
    log_agrees(f);
    teardown(&state);
    free(m);
}

static void frames_notices_and_log_agree_with_the_model(void **state)
{
    for (unsigned seed = 1; seed <= 25; seed++)
        history_of(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_notices_and_log_agree_with_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
