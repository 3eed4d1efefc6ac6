/* revocation.c - the table, its timers, and reading it at start.
 *
 * Each entry has a timer of its own on shard 0's wheel: when it is over, the entry leaves the table and its note the store. A note whose
 * deletion fails is found, and tried again, at the next start.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "session/revocation.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "session/revocation_table.h"

enum { LOAD_PAGE = 1000 };
#define EXPIRES_MAX_S (INT64_MAX / 1000)

static const struct str note_prefix = {"revocation/", 11};

struct entry {
    struct revocations *all;
    struct app *app; /* NULL = not configured at present */
    struct timer timer;
    int64_t expires_s;
    struct str key;  /* text[] */
    char text[];
};

void revocation_key(struct buf *out, struct str app_id, const char *kind, struct str value)
{
    buf_clear(out);
    buf_str(out, note_prefix);
    buf_str(out, app_id);
    buf_char(out, '\0');
    buf_str(out, str_of(kind));
    buf_char(out, '\0');
    buf_str(out, value);
}

static struct app *app_of_key(const struct revocations *r, struct str key)
{
    struct str rest = str_from(key, note_prefix.n);
    return apps_by_id(r->home->apps, str_split(&rest, '\0'));
}

/* ---- the end of an entry ---- */

static void note_deleted(struct store_op *op)
{
    if (op->result != STORE_OK)
        log_warn("tokens", "a revocation that is over could not be deleted: %s", store_result_text(op->result));
    store_op_free(op);
}

static void delete_note(struct revocations *r, struct str key)
{
    struct store_op *op = store_op_new(STORE_NOTE_PUT, r->home->shard, note_deleted);
    struct store_note *note = arena_zalloc(&op->arena, sizeof *note);
    note->key = arena_copy(&op->arena, key);
    op->notes.put = note;
    op->notes.put_count = 1;
    store_submit(r->home->store, op);
}

static void count(const struct entry *e, int change)
{
    if (e->app != NULL)
        metrics_gauge(e->all->home, e->app, revocations, change);
}

/* How long it is still in force: by the store's clock, which all nodes share, and by the one that judges tokens here. */
static int64_t left_ms_of(const struct entry *e, int64_t wall_ms)
{
    int64_t stores_ms = store_now_ms(e->all->home->store);
    return e->expires_s * 1000 - (wall_ms < stores_ms ? wall_ms : stores_ms);
}

static void arm(struct entry *e)
{
    const struct env *env = e->all->home;
    int64_t left_ms = left_ms_of(e, clock_wall_ms(env->clock));
    wheel_set(env->wheel, &e->timer, env_now_ms(env) + (uint64_t)(left_ms > 0 ? left_ms : 0));
}

static void entry_is_over(struct timer *timer)
{
    struct entry *e = list_of(timer, struct entry, timer);
    struct revocations *r = e->all;
    if (left_ms_of(e, clock_wall_ms(r->home->clock)) > 0) { /* a clock was set back */
        arm(e);
        return;
    }
    pthread_mutex_lock(&r->lock);
    map_del(&r->entries, e->key);
    pthread_mutex_unlock(&r->lock);
    count(e, -1);
    delete_note(r, e->key);
    free(e);
}

/* ---- the table ---- */

struct revocations *revocations_new(struct env *home)
{
    struct revocations *r = mem_new(struct revocations);
    r->home = home;
    pthread_mutex_init(&r->lock, NULL);
    return r;
}

void revocations_free(struct revocations *r)
{
    if (r == NULL)
        return;
    size_t at = 0;
    for (struct entry *e; (e = map_next(&r->entries, &at)) != NULL;) {
        wheel_cancel(r->home->wheel, &e->timer);
        free(e);
    }
    map_free(&r->entries);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

bool revocations_have_room(struct revocations *r, size_t more)
{
    return r->entries.count + more <= REVOCATIONS_MAX; /* shard 0 alone changes it */
}

bool revocations_has(struct revocations *r, struct str key)
{
    return map_get(&r->entries, key) != NULL;
}

static struct entry *entry_new(struct revocations *r, struct str key)
{
    struct entry *e = mem_zalloc(sizeof(*e) + key.n);
    memcpy(e->text, key.p, key.n);
    e->key = str_make(e->text, key.n);
    e->all = r;
    e->app = app_of_key(r, key);
    e->timer.fire = entry_is_over;
    return e;
}

void revocations_put(struct revocations *r, struct str key, int64_t expires_s)
{
    pthread_mutex_lock(&r->lock);
    struct entry *e = map_get(&r->entries, key);
    bool is_new = e == NULL;
    if (is_new) {
        e = entry_new(r, key);
        map_put(&r->entries, e->key, e);
    }
    if (e->expires_s < expires_s)
        e->expires_s = expires_s < EXPIRES_MAX_S ? expires_s : EXPIRES_MAX_S;
    pthread_mutex_unlock(&r->lock);
    if (is_new)
        count(e, 1);
    arm(e);
}

static bool is_in_force(struct revocations *r, const struct buf *key, int64_t now_ms)
{
    const struct entry *e = map_get(&r->entries, buf_view(key));
    return e != NULL && left_ms_of(e, now_ms) > 0;
}

const char *revocations_refuse(struct revocations *r, const struct app *app, const struct token *token, int64_t now_ms)
{
    struct buf by_jti = {0}, by_client = {0};
    if (r == NULL || revocations_state(r) != REVOCATIONS_KNOWN)
        return "capability token revocations cannot be checked";
    revocation_key(&by_jti, app->id, "jti", token->jti);
    revocation_key(&by_client, app->id, "client", token->client_id);
    pthread_mutex_lock(&r->lock);
    bool revoked = is_in_force(r, &by_jti, now_ms) || is_in_force(r, &by_client, now_ms);
    pthread_mutex_unlock(&r->lock);
    buf_free(&by_jti);
    buf_free(&by_client);
    return revoked ? "capability token revoked" : NULL;
}

/* ---- reading it at start ---- */

struct load {
    bool again; /* not the first time: what is new closes sockets, too */
    struct store_op op;
    struct revocations *all;
    struct str after; /* owned */
};

enum revocations_state revocations_state(const struct revocations *r)
{
    return (enum revocations_state)atomic_load_explicit(&r->state, memory_order_acquire);
}

static void load_ends(struct load *load, enum revocations_state state)
{
    if (state == REVOCATIONS_FAILED)
        log_error("tokens", "the revocations cannot be read: %s", store_result_text(load->op.result));
    if (!load->again)
        atomic_store_explicit(&load->all->state, state, memory_order_release);
    else
        load->all->looking = false;
    free((void *)load->after.p);
    arena_free(&load->op.arena);
    free(load);
}

static void follow_key(struct revocations *r, struct str key, int64_t expires_s)
{
    struct str rest = str_from(key, note_prefix.n), app_id = str_split(&rest, '\0'), kind = str_split(&rest, '\0');
    struct app *app = apps_by_id(r->home->apps, app_id);
    bool jti = str_eq(kind, STR("jti"));
    if (app != NULL)
        revocation_follow(r, app, jti ? rest : STR_NONE, jti ? STR_NONE : rest, expires_s);
}

/* A note that we cannot read is in force for as long as a token may live: it was written to keep somebody out. */
static void take_note(struct load *load, const struct store_note *note)
{
    struct revocations *r = load->all;
    struct str value;
    int64_t expires_s;
    if (!json_check(note->value, &value, NULL) || !json_i64(json_get(value, STR("expires_at")), &expires_s)) {
        log_warn("tokens", "a revocation without an end is taken to last a day");
        expires_s = store_now_ms(r->home->store) / 1000 + TOKEN_LIFE_MAX_S;
    }
    if (load->again && !revocations_has(r, note->key))
        follow_key(r, note->key, expires_s);
    else
        revocations_put(r, note->key, expires_s);
}

static void read_page(struct load *load);

static void page_is_read(struct store_op *op)
{
    struct load *load = list_of(op, struct load, op);
    const struct store_notes *notes = &op->notes;
    if (op->result != STORE_OK) {
        load_ends(load, REVOCATIONS_FAILED);
        return;
    }
    for (size_t i = 0; i < notes->found_count; i++)
        take_note(load, &notes->found[i]);
    if (!notes->more || notes->found_count == 0) {
        load_ends(load, REVOCATIONS_KNOWN);
        return;
    }
    struct str last = notes->found[notes->found_count - 1].key;
    free((void *)load->after.p);
    load->after = str_make(str_dup(last), last.n);
    read_page(load);
}

static void read_page(struct load *load)
{
    arena_free(&load->op.arena);
    load->op = (struct store_op){
        .kind = STORE_NOTE_SCAN,
        .shard = load->all->home->shard,
        .done = page_is_read,
        .notes = {.prefix = note_prefix, .after = load->after, .limit = LOAD_PAGE},
    };
    store_submit(load->all->home->store, &load->op);
}

void revocations_look_again(void *user)
{
    struct revocations *r = user;
    if (revocations_state(r) != REVOCATIONS_KNOWN || r->looking)
        return;
    struct load *load = mem_new(struct load);
    r->looking = true;
    load->all = r;
    load->again = true;
    read_page(load);
}

void revocations_load(struct revocations *r)
{
    struct load *load = mem_new(struct load);
    load->all = r;
    atomic_store(&r->state, REVOCATIONS_LOADING);
    read_page(load);
}
