/* revoke.c - one revocation on its way: table, every shard's sockets, note, home.
 *
 * A shard looks at all of its sessions: some 20 ns each, and nobody revokes in a hurry. An index by jti would be paid for by every
 * connection with a token.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "base/mem.h"
#include "base/pack.h"
#include "channel/remote.h"
#include "session/internal.h"
#include "session/revocation_table.h"

struct revocation *revocation_new(struct env *env, struct app *app, void (*done)(struct revocation *rv))
{
    struct revocation *rv = mem_new(struct revocation);
    rv->app = app;
    rv->reply_shard = env->shard;
    rv->done = done;
    return rv;
}

void revocation_free(struct revocation *rv)
{
    arena_free(&rv->op.arena);
    free(rv);
}

static void step(struct revocation *rv, struct env *from, unsigned shard, void (*run)(struct task *task))
{
    rv->at = from->all[shard];
    rv->task.run = run;
    from->post(from, shard, &rv->task);
}

/* ---- home ---- */

static void is_home(struct task *task)
{
    struct revocation *rv = list_of(task, struct revocation, task);
    rv->done(rv);
}

static void go_home(struct revocation *rv, enum revocation_result result)
{
    rv->result = result;
    step(rv, rv->at, rv->reply_shard, is_home);
}

/* ---- the note ---- */

static void is_durable(struct store_op *op)
{
    struct revocation *rv = list_of(op, struct revocation, op);
    go_home(rv, op->result == STORE_OK ? REVOCATION_DONE : REVOCATION_UNSURE);
}

static struct str note_value(struct revocation *rv)
{
    struct buf text = {0};
    buf_lit(&text, "{\"expires_at\":");
    buf_i64(&text, rv->expires_s);
    buf_lit(&text, ",\"reason\":");
    buf_json(&text, rv->reason);
    buf_char(&text, '}');
    struct str value = arena_copy(&rv->op.arena, buf_view(&text));
    buf_free(&text);
    return value;
}

static void make_durable(struct task *task)
{
    struct revocation *rv = list_of(task, struct revocation, task);
    const struct str given[] = {rv->jti, rv->client_id};
    static const char *const kinds[] = {"jti", "client"};
    struct store_note *notes = arena_zalloc(&rv->op.arena, 2 * sizeof *notes);
    struct str value = note_value(rv);
    struct buf key = {0};
    size_t n = 0;
    for (int i = 0; i < 2; i++) {
        if (given[i].p == NULL)
            continue;
        revocation_key(&key, rv->app->id, kinds[i], given[i]);
        notes[n++] = (struct store_note){arena_copy(&rv->op.arena, buf_view(&key)), value};
    }
    buf_free(&key);
    rv->op.kind = STORE_NOTE_PUT;
    rv->op.shard = rv->at->shard;
    rv->op.done = is_durable;
    rv->op.notes = (struct store_notes){.put = notes, .put_count = n};
    store_submit(rv->at->store, &rv->op);
}

/* ---- the sockets ---- */

static void close_sockets(struct task *task)
{
    struct revocation *rv = list_of(task, struct revocation, task);
    struct env *env = rv->at;
    struct sessions *here = rv->all->shards[env->shard];
    if (here != NULL)
        rv->closed += sessions_revoke(here, rv->app, rv->jti, rv->client_id);
    const struct revocations_other *other = &rv->all->others[env->shard];
    if (other->end != NULL)
        rv->closed += other->end(other->user, rv->app, rv->jti, rv->client_id);
    if (env->shard + 1 < env->shards)
        step(rv, env, env->shard + 1, close_sockets);
    else if (rv->foreign)
        go_home(rv, REVOCATION_DONE);
    else
        step(rv, env, 0, make_durable);
}

/* ---- the table ---- */

static void put(struct revocations *r, const struct revocation *rv, const char *kind, struct str value)
{
    struct buf key = {0};
    if (value.p == NULL)
        return;
    revocation_key(&key, rv->app->id, kind, value);
    revocations_put(r, buf_view(&key), rv->expires_s);
    buf_free(&key);
}

static void tell_others(const struct revocation *rv)
{
    struct env *env = rv->at;
    struct buf payload = {0};
    if (env->bus == NULL)
        return;
    remote_begin(&payload, REMOTE_REVOCATION);
    pack_u64(&payload, 0); /* shard 0 has the table */
    pack_text(&payload, rv->app->id);
    pack_text(&payload, rv->jti);
    pack_text(&payload, rv->client_id);
    pack_i64(&payload, rv->expires_s);
    env->bus->send(env, STR_NONE, buf_view(&payload));
    buf_free(&payload);
}

static void comes_into_force(struct task *task)
{
    struct revocation *rv = list_of(task, struct revocation, task);
    struct revocations *r = rv->all;
    if (!revocations_have_room(r, 2)) {
        metrics_count(rv->at, rv->app, revocations_refused, 1);
        if (rv->foreign) { /* it is in force elsewhere: at least whoever is here must go */
            close_sockets(task);
            return;
        }
        go_home(rv, REVOCATION_FULL);
        return;
    }
    put(r, rv, "jti", rv->jti);
    put(r, rv, "client", rv->client_id);
    if (!rv->foreign)
        tell_others(rv);
    close_sockets(task);
}

/* ---- other nodes ---- */

static void is_done(struct revocation *rv)
{
    revocation_free(rv);
}

void revocation_follow(struct revocations *r, struct app *app, struct str jti, struct str client_id, int64_t expires_s)
{
    struct revocation *rv = revocation_new(r->home, app, is_done);
    rv->foreign = true;
    rv->jti = arena_copy(&rv->op.arena, jti);
    rv->client_id = arena_copy(&rv->op.arena, client_id);
    rv->expires_s = expires_s;
    revocation_begin(r, r->home, rv);
}

static void other_revokes(void *user, struct env *env, struct str node, struct str payload)
{
    struct str app_id, jti, client_id;
    int64_t expires_s;
    if (!unpack_text(&payload, &app_id) || !unpack_text(&payload, &jti) || !unpack_text(&payload, &client_id) || !unpack_i64(&payload, &expires_s))
        return;
    struct app *app = apps_by_id(env->apps, app_id);
    if (app != NULL && (jti.p != NULL || client_id.p != NULL))
        revocation_follow(user, app, jti, client_id, expires_s);
}

void revocation_begin(struct revocations *r, struct env *env, struct revocation *rv)
{
    rv->all = r;
    step(rv, env, 0, comes_into_force);
}

void revocations_reach_also(struct revocations *r, unsigned shard, struct revocations_other other)
{
    r->others[shard] = other;
}

void revocations_reach(struct revocations *r, unsigned shard, struct sessions *sessions)
{
    r->shards[shard] = sessions;
    sessions->revocations = r;
    if (shard == 0 && r->home->hub != NULL) {
        hub_on_remote(r->home->hub, REMOTE_REVOCATION, other_revokes, r);
        hub_on_missed(r->home->hub, revocations_look_again, r);
    }
}
