/* presence_log.c - see presence_log.h
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/presence_log.h"
#include "base/mem.h"
#include "channel/internal.h"
#include <stdlib.h>

enum { LOG_PAGE = 1000, PAUSE_MIN_MS = 250, PAUSE_MAX_MS = 5000, RECEIPT_TTL_MS = 600000 };

enum log_state {
    LOG_UNKNOWN, /* nothing has been read yet */
    LOG_READING, /* rows from before, or a reset: what comes waits */
    LOG_OPEN,
    LOG_FAILING, /* rows have failed and wait for the timer, and others behind them */
};

struct presence_log {
    enum log_state state;
    struct list waiting;       /* struct row.link */
    uint32_t waiting_count;
    uint32_t submitted;        /* writes and reads that are not back */
    struct list failed;        /* struct row.link: to be written again, in front of those that wait */
    uint32_t failed_count;
    struct timer timer;        /* when it is tried again */
    uint32_t pause_ms;
    struct look_back *looking; /* NULL = no look back is under way */
    bool hole;                 /* a transition is lost, or out of its order */
    struct channel *ch;
    uint64_t retained_events, retained_bytes; /* as the gauges have them */
};

/* One transition on its way to the store. */
struct row {
    struct store_op op;
    struct list link;          /* in log->waiting */
    struct channel *ch;
    uint64_t begun_ns;
};

static void try_again(struct timer *timer);

static struct presence_log *log_of(struct channel *ch)
{
    if (ch->presence_log == NULL) {
        ch->presence_log = mem_new(struct presence_log);
        ch->presence_log->ch = ch;
        ch->presence_log->timer.fire = try_again;
        list_init(&ch->presence_log->waiting);
        list_init(&ch->presence_log->failed);
    }
    return ch->presence_log;
}

bool presence_log_busy(const struct channel *ch)
{
    const struct presence_log *log = ch->presence_log;
    return log != NULL &&
           (log->submitted > 0 || log->waiting_count > 0 || log->failed_count > 0 || log->state == LOG_READING);
}

static void note_retained(struct channel *ch, uint64_t events, uint64_t bytes)
{
    struct presence_log *log = ch->presence_log;
    metrics_gauge(ch->env, ch->app, presence_retained_events, events - log->retained_events);
    metrics_gauge(ch->env, ch->app, presence_retained_bytes, bytes - log->retained_bytes);
    log->retained_events = events;
    log->retained_bytes = bytes;
}

static void row_free(struct row *row)
{
    metrics_gauge(row->ch->env, row->ch->app, presence_queue, -1);
    row->ch->env->hub->publishes--;
    row->ch->env->hub->log_rows--;
    arena_free(&row->op.arena);
    free(row);
}

static void forget_rows(struct presence_log *log)
{
    struct list *link;
    while ((link = list_take(&log->failed)) != NULL || (link = list_take(&log->waiting)) != NULL)
        row_free(list_of(link, struct row, link));
    log->failed_count = log->waiting_count = 0;
    wheel_cancel(log->ch->env->wheel, &log->timer);
}

void presence_log_free(struct channel *ch)
{
    struct presence_log *log = ch->presence_log;
    if (log == NULL)
        return;
    note_retained(ch, 0, 0);
    forget_rows(log);
    free(log);
    ch->presence_log = NULL;
}

/* Something is lost, or not where it belongs. */
static void give_up(struct channel *ch)
{
    struct presence_log *log = ch->presence_log;
    log->hole = true;
    presence_doubt(ch, log->retained_events > 0 ? STATE_RESET_REQUIRED : STATE_DEGRADED);
}

/* ---- writing ---- */

static void pause_then_try_again(struct presence_log *log)
{
    log->pause_ms = log->pause_ms == 0 ? PAUSE_MIN_MS : log->pause_ms * 2;
    if (log->pause_ms > PAUSE_MAX_MS)
        log->pause_ms = PAUSE_MAX_MS;
    wheel_set(log->ch->env->wheel, &log->timer, env_now_ms(log->ch->env) + log->pause_ms);
}

static void row_written(struct row *row)
{
    struct channel *ch = row->ch;
    struct presence_log *log = ch->presence_log;
    const struct store_written *w = &row->op.written;
    note_retained(ch, row->op.head.retained_messages, row->op.head.retained_bytes);
    metrics_count(ch->env, ch->app, presence_writes, 1);
    metrics_count(ch->env, ch->app, presence_evictions, w->evicted_messages);
    metrics_count(ch->env, ch->app, presence_evicted_bytes, w->evicted_bytes);
    log->pause_ms = 0;
    if (log->failed_count > 0)
        give_up(ch); /* one that belongs before it comes after it */
    row_free(row);
}

static void row_failed(struct row *row)
{
    struct channel *ch = row->ch;
    struct presence_log *log = ch->presence_log;
    bool again = row->op.result == STORE_FAILED || row->op.result == STORE_BUSY;
    metrics_count(ch->env, ch->app, presence_write_failures, 1);
    if (log->state == LOG_READING) { /* it was of the log that is being reset */
        row_free(row);
        return;
    }
    if (!again) {
        row_free(row);
        give_up(ch);
        return;
    }
    presence_doubt(ch, STATE_DEGRADED);
    list_append(&log->failed, &row->link);
    log->failed_count++;
    log->state = LOG_FAILING;
}

static void row_stored(struct store_op *op)
{
    struct row *row = list_of(op, struct row, op);
    struct channel *ch = row->ch;
    struct presence_log *log = ch->presence_log;
    log->submitted--;
    metrics_observe(ch->env, ch->app, presence_write_latency, (double)(clock_mono_ns(ch->env->clock) - row->begun_ns) / 1e6);
    if (op->result == STORE_OK || op->result == STORE_DUPLICATE)
        row_written(row);
    else
        row_failed(row);
    if (log->state == LOG_FAILING && log->submitted == 0)
        pause_then_try_again(log);
    if (!presence_log_busy(ch) && !log->hole)
        presence_doubt_end(ch);
    owner_settle(ch);
}

static void submit(struct row *row)
{
    row->begun_ns = clock_mono_ns(row->ch->env->clock);
    row->ch->presence_log->submitted++;
    store_submit(row->ch->env->store, &row->op);
}

static struct hash128 receipt_of(struct env *env)
{
    char unique[37];
    random_uuid(&env->random, unique);
    return hash128(str_of(unique));
}

static struct row *row_new(struct channel *ch, const struct presence_event *e)
{
    struct presence_history policy = presence_history_policy(ch->app, &ch->kind);
    struct row *row = mem_new(struct row);
    struct store_write *w = &row->op.write;
    struct buf json = {0};
    row->ch = ch;
    row->op.kind = STORE_WRITE;
    row->op.shard = ch->env->shard;
    row->op.done = row_stored;
    row->op.app_id = ch->app->id;
    row->op.channel = presence_history_channel(&row->op.arena, ch->name);
    presence_event_json(&json, ch->name, e);
    w->action = ACTION_ORDINARY;
    w->event_name = presence_event_word(e->event);
    w->data = arena_copy(&row->op.arena, buf_view(&json));
    w->now_ms = e->at_ms; /* it may wait, and tells when it was */
    w->receipt_key = w->fingerprint = receipt_of(ch->env);
    w->receipt_ttl_ms = RECEIPT_TTL_MS;
    w->retention = (struct store_retention){policy.window_ms, policy.events_max, policy.bytes_max, 0};
    buf_free(&json);
    metrics_gauge(ch->env, ch->app, presence_queue, 1);
    ch->env->hub->publishes++; /* a stop waits for it */
    ch->env->hub->log_rows++;
    return row;
}

static void submit_waiting(struct channel *ch)
{
    struct presence_log *log = ch->presence_log;
    log->state = LOG_OPEN;
    for (struct list *link; (link = list_take(&log->waiting)) != NULL;) {
        log->waiting_count--;
        submit(list_of(link, struct row, link));
    }
}

/* Moves all of `from` before `to`. */
static void put_in_front(struct list *to, struct list *from)
{
    list_splice(from, to);
    list_splice(to, from);
}

/* What has failed goes first, in its order. */
static void write_again(struct channel *ch)
{
    struct presence_log *log = ch->presence_log;
    put_in_front(&log->waiting, &log->failed);
    log->waiting_count += log->failed_count;
    log->failed_count = 0;
    submit_waiting(ch);
}

/* ---- who is left from before ---- */

struct look_back {
    struct store_op op;
    struct channel *ch;
    uint64_t wanted;   /* so many members the newest row tells of */
    uint64_t found;
    bool again;        /* members of this node have been recorded here since: only who is suspected may be removed */
    struct map suspects; /* users; keys in the arena */
    struct map seen;   /* users whose newest row was seen; keys in the arena */
    struct arena arena;
    struct list rows;  /* struct row.link: the removals to record */
    uint32_t rows_count;
};

static void look(struct look_back *l, uint64_t below);

static void look_free(struct look_back *l)
{
    l->ch->presence_log->looking = NULL;
    l->ch->env->hub->publishes--;
    arena_free(&l->op.arena);
    map_free(&l->seen);
    map_free(&l->suspects);
    arena_free(&l->arena);
    free(l);
}

/* Whoever is in the log, was not put there by this record, and is at no other node either, went with its process. */
static void orphan(struct look_back *l, const struct presence_event *e)
{
    struct presence_event removal = {
        .event = MEMBER_REMOVED_EVENT,
        .cause = STR("orphan_cleanup"),
        .user_id = e->user_id,
        .connection_id = e->connection_id,
        .dead_node_id = e->node_id,
        .node_id = l->ch->env->config->process_id,
        .at_ms = store_now_ms(l->ch->env->store),
        .members = l->wanted - l->found,
    };
    list_append(&l->rows, &row_new(l->ch, &removal)->link);
    l->rows_count++;
}

static void look_at(struct look_back *l, const struct store_item *item)
{
    struct presence_event e;
    if (!presence_event_read(item->data, &l->arena, &e) || map_get(&l->seen, e.user_id) != NULL)
        return;
    map_put(&l->seen, arena_copy(&l->arena, e.user_id), l);
    if (e.event == MEMBER_REMOVED_EVENT)
        return;
    l->found++;
    bool there = l->again ? presence_has(l->ch->presence, e.user_id) || map_get(&l->suspects, e.user_id) == NULL
                          : presence_has_elsewhere(l->ch->presence, e.user_id);
    if (!there)
        orphan(l, &e);
}

static void look_ends(struct look_back *l)
{
    struct channel *ch = l->ch;
    struct presence_log *log = ch->presence_log;
    put_in_front(&log->waiting, &l->rows);
    log->waiting_count += l->rows_count;
    note_retained(ch, l->op.head.retained_messages, l->op.head.retained_bytes);
    look_free(l);
    submit_waiting(ch);
    owner_settle(ch);
}

/* What waits goes on waiting. */
static void look_fails(struct look_back *l)
{
    struct presence_log *log = l->ch->presence_log;
    presence_doubt(l->ch, STATE_DEGRADED);
    for (struct list *link; (link = list_take(&l->rows)) != NULL;)
        row_free(list_of(link, struct row, link));
    look_free(l);
    log->state = LOG_UNKNOWN;
    pause_then_try_again(log);
}

static void looked(struct store_op *op)
{
    struct look_back *l = list_of(op, struct look_back, op);
    const struct store_found *found = &op->found;
    struct presence_event newest;
    l->ch->presence_log->submitted--;
    if (op->result != STORE_OK) {
        look_fails(l);
        return;
    }
    if (op->read.after == 0 && found->count > 0 && presence_event_read(found->items[0].data, &l->arena, &newest))
        l->wanted = newest.members;
    for (size_t i = 0; i < found->count && l->found < l->wanted && l->seen.count < FOLD_USERS_MAX; i++)
        look_at(l, &found->items[i]);
    bool all = l->found == l->wanted || !found->more || l->seen.count >= FOLD_USERS_MAX;
    uint64_t below = all ? 0 : found->items[found->count - 1].message.history;
    if (all) {
        look_ends(l);
        return;
    }
    arena_free(&op->arena);
    look(l, below);
}

static void look(struct look_back *l, uint64_t below)
{
    struct channel *ch = l->ch;
    l->op = (struct store_op){.kind = STORE_PAGE, .shard = ch->env->shard, .done = looked, .app_id = ch->app->id};
    l->op.channel = presence_history_channel(&l->arena, ch->name);
    l->op.read = (struct store_read){.direction = NEWEST_FIRST, .limit = below == 0 ? 1 : LOG_PAGE, .after = below,
                                     .start_ms = INT64_MIN, .end_ms = INT64_MAX};
    ch->presence_log->submitted++;
    store_submit(ch->env->store, &l->op);
}

static void look_back(struct channel *ch)
{
    struct look_back *l = mem_new(struct look_back);
    l->ch = ch;
    l->again = ch->presence_log->state == LOG_OPEN;
    ch->presence_log->looking = l;
    list_init(&l->rows);
    ch->presence_log->state = LOG_READING;
    ch->env->hub->publishes++;
    look(l, 0);
}

static void try_again(struct timer *timer)
{
    struct presence_log *log = list_of(timer, struct presence_log, timer);
    if (log->state == LOG_FAILING)
        write_again(log->ch);
    else if (log->state == LOG_UNKNOWN)
        look_back(log->ch);
}

/* ---- recording ---- */

void presence_log_add(struct channel *ch, enum transition event, const char *cause, struct str user_id, struct str user_info,
                      struct socket_id socket, struct str dead_node)
{
    char socket_text[SOCKET_ID_TEXT];
    if (!presence_history_policy(ch->app, &ch->kind).on)
        return;
    struct presence_log *log = log_of(ch);
    struct presence_event e = {
        .event = event,
        .cause = str_of(cause),
        .user_id = user_id,
        .dead_node_id = dead_node,
        .node_id = ch->env->config->process_id,
        .user_info = user_info,
        .at_ms = store_now_ms(ch->env->store),
        .members = presence_count(ch->presence),
    };
    if ((socket.a | socket.b) != 0) {
        socket_id_print(socket_text, socket);
        e.connection_id = str_of(socket_text);
    }
    bool full = log->waiting_count + log->failed_count >= LOG_WAITING_MAX || ch->env->hub->log_rows >= LOG_ROWS_MAX;
    if (log->state != LOG_OPEN && full) {
        give_up(ch);
        return;
    }
    struct row *row = row_new(ch, &e);
    if (log->state == LOG_OPEN) {
        submit(row);
        return;
    }
    list_append(&log->waiting, &row->link);
    log->waiting_count++;
    if (log->state == LOG_UNKNOWN && !timer_is_set(&log->timer))
        look_back(ch);
}

void presence_log_repair(struct channel *ch, struct str user_id, struct str dead_node)
{
    if (!presence_history_policy(ch->app, &ch->kind).on)
        return;
    struct presence_log *log = log_of(ch);
    bool quiet = log->state == LOG_OPEN && log->submitted == 0; /* what is on its way would be lost if it failed meanwhile */
    if (quiet || (log->state == LOG_UNKNOWN && !timer_is_set(&log->timer)))
        look_back(ch);
    if (log->looking != NULL && log->looking->again && log->looking->seen.count == 0)
        map_put(&log->looking->suspects, arena_copy(&log->looking->arena, user_id), ch);
    else if (log->state == LOG_OPEN || log->state == LOG_FAILING)
        presence_log_add(ch, MEMBER_REMOVED_EVENT, "orphan_cleanup", user_id, STR_NONE, (struct socket_id){0}, dead_node);
}

/* ---- reset ---- */

struct reset_mail {
    struct task task;
    struct env *at;
    struct presence_reset *reset;
    struct channel *ch;
    bool known;     /* what was in the log before */
    uint32_t again; /* the first rows that wait: the members who were there */
};

static void reset_returns(struct task *task)
{
    struct reset_mail *mail = list_of(task, struct reset_mail, task);
    struct presence_reset *reset = mail->reset;
    free(mail);
    reset->done(reset);
}

static void reset_stored(struct store_op *op)
{
    struct presence_reset *reset = list_of(op, struct presence_reset, op);
    struct reset_mail *mail = reset->mail;
    struct channel *ch = mail->ch;
    struct presence_log *log = ch->presence_log;
    log->submitted--;
    if (op->result == STORE_OK) {
        log->hole = false;
        presence_doubt_end(ch);
        note_retained(ch, 0, 0);
    }
    for (; op->result != STORE_OK && mail->again > 0; mail->again--) {
        row_free(list_of(list_take(&log->waiting), struct row, link));
        log->waiting_count--;
    }
    if (log->hole)
        give_up(ch);
    if (op->result == STORE_OK || mail->known)
        submit_waiting(ch);
    else
        look_back(ch);
    ch->env->hub->publishes--;
    mail->task.run = reset_returns;
    ch->env->post(ch->env, reset->reply_shard, &mail->task);
    owner_settle(ch);
}

/* The new log begins with who is there. */
static uint32_t add_again(struct channel *ch)
{
    struct presence_log *log = ch->presence_log;
    struct str user_id, user_info;
    size_t at = 0;
    uint32_t count = 0;
    while ((user_id = presence_next_info(ch->presence, &at, &user_info)).p != NULL) {
        struct presence_event e = {
            .event = MEMBER_ADDED_EVENT,
            .cause = STR("join"),
            .user_id = user_id,
            .node_id = ch->env->config->process_id,
            .user_info = user_info,
            .at_ms = store_now_ms(ch->env->store),
            .members = ++count,
        };
        list_append(&log->waiting, &row_new(ch, &e)->link);
        log->waiting_count++;
    }
    return count;
}

static void reset_arrives(struct task *task)
{
    struct reset_mail *mail = list_of(task, struct reset_mail, task);
    struct presence_reset *reset = mail->reset;
    struct channel *ch = owner_channel(mail->at, reset->app, reset->channel, &reset->name);
    struct presence_log *log = log_of(ch);
    if (log->state == LOG_READING) { /* one thing after the other */
        reset->op.result = STORE_BUSY;
        mail->task.run = reset_returns;
        ch->env->post(ch->env, reset->reply_shard, &mail->task);
        return;
    }
    mail->known = log->state == LOG_OPEN || log->state == LOG_FAILING;
    if (log->failed_count + log->waiting_count > 0)
        log->hole = true; /* unless the reset succeeds */
    forget_rows(log);
    log->state = LOG_READING;
    ch->env->hub->publishes++;
    mail->ch = ch;
    mail->again = add_again(ch);
    reset->mail = mail;
    reset->op.kind = STORE_RESET;
    reset->op.shard = ch->env->shard;
    reset->op.done = reset_stored;
    reset->op.app_id = ch->app->id;
    reset->op.channel = presence_history_channel(&reset->op.arena, ch->name);
    log->submitted++;
    store_submit(ch->env->store, &reset->op);
}

void hub_reset_presence_history(struct env *env, struct presence_reset *reset)
{
    struct reset_mail *mail = mem_new(struct reset_mail);
    unsigned owner = hub_owner(env, reset->app, reset->channel);
    mail->task.run = reset_arrives;
    mail->at = env->all[owner];
    mail->reset = reset;
    reset->reply_shard = env->shard;
    env->post(env, owner, &mail->task);
}
