/* annotations.c - requests to annotate, and reading what is stored.
 *
 * With several nodes each folds all events, in the order of their serials, which have no hole: what another node has made comes over
 * the bus, and what did not come is read (catch_up()). Our own waits for what lies below it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/annotations_held.h"

#include <stdlib.h>

#include "base/mem.h"

enum { LOAD_PAGE = 1000 };

/* ---- requests ---- */

struct annotate *annotate_new(struct env *env, struct app *app, enum annotate_kind kind, void (*done)(struct annotate *))
{
    struct annotate *a = mem_new(struct annotate);
    list_init(&a->link);
    a->kind = kind;
    a->app = app;
    a->reply_shard = env->shard;
    a->done = done;
    return a;
}

void annotate_free(struct annotate *a)
{
    arena_free(&a->op.arena);
    free(a);
}

struct str annotation_channel(struct arena *arena, struct str channel)
{
    return arena_join(arena, STR("[annotations]"), channel);
}

static void annotate_returns(struct task *task)
{
    struct annotate *a = list_of(task, struct annotate, task);
    a->done(a);
}

static void answer(struct annotate *a, enum annotate_result result)
{
    struct channel *ch = a->channel;
    struct env *env = ch->env;
    a->result = result;
    a->task.run = annotate_returns;
    env->post(env, a->reply_shard, &a->task);
    env->hub->publishes--;
    if (--ch->annotations->in_flight == 0 && ch->annotations->stale && !ch->annotations->loading)
        annotations_forget_all(ch);
    owner_settle(ch);
}

static void catch_up(struct channel *ch, uint64_t announce_from);

static enum annotate_result result_of(enum store_result result)
{
    switch (result) {
    case STORE_OK:
        return ANNOTATE_OK;
    case STORE_BUSY:
        return ANNOTATE_BUSY;
    case STORE_UNHEALTHY:
        return ANNOTATE_UNHEALTHY;
    default:
        return ANNOTATE_FAILED;
    }
}

static void fold_and_announce(struct channel *ch, const struct annotation *a, struct str json)
{
    struct reaction *changed = annotations_fold(ch, a, json);
    if (changed != NULL)
        annotations_announce(ch, a, changed);
}

/* It is folded, unless what is held has been given up. */
static void own_is_folded(struct annotate *a)
{
    struct channel *ch = a->channel;
    const struct event *e = annotations_event(ch->annotations, a->event.serial);
    if (e != NULL && !e->changed) {
        a->serial = a->event.target;
        answer(a, ANNOTATE_DUPLICATE);
        return;
    }
    annotations_tell_webhooks(ch, &a->event);
    if (a->event.deletes)
        metrics_count(ch->env, ch->app, annotations_deleted, 1);
    else
        metrics_count(ch->env, ch->app, annotations_published, 1);
    answer(a, ANNOTATE_OK);
}

static void row_stored(struct store_op *op)
{
    struct annotate *a = list_of(op, struct annotate, op);
    struct channel *ch = a->channel;
    struct annotations *all = ch->annotations;
    if (op->result != STORE_OK) {
        a->serial = a->event.target;
        answer(a, result_of(op->result));
        return;
    }
    a->serial = a->event.serial = op->written.history;
    peers_tell_annotation(ch, a->serial, op->write.data);
    if (all->loading || (ch->env->bus != NULL && a->serial > all->last + 1)) {
        list_append(&all->unfolded, &a->link);
        catch_up(ch, all->last + 1);
        return;
    }
    if (annotations_event(all, a->serial) == NULL)
        fold_and_announce(ch, &a->event, op->write.data);
    own_is_folded(a);
}

static void write_row(struct annotate *a)
{
    struct channel *ch = a->channel;
    struct store_op *op = &a->op;
    struct buf json = {0};
    a->event.at_ms = store_now_ms(ch->env->store);
    annotation_json(&json, &a->event);
    op->kind = STORE_WRITE;
    op->shard = ch->env->shard;
    op->done = row_stored;
    op->app_id = ch->app->id;
    op->channel = annotation_channel(&op->arena, ch->name);
    op->write = (struct store_write){
        .action = ACTION_ORDINARY,
        .event_name = a->event.deletes ? STR("annotation.delete") : STR("annotation.create"),
        .data = arena_copy(&op->arena, buf_view(&json)),
        .retention.window_ms = ch->policy.window_ms,
    };
    buf_free(&json);
    store_submit(ch->env->store, op);
}

static void create(struct annotate *a)
{
    char id[37];
    if (a->channel->annotations->by_serial.count >= ANNOTATIONS_MAX) {
        answer(a, ANNOTATE_FULL);
        return;
    }
    random_uuid(&a->channel->env->random, id);
    a->event.id = arena_copy(&a->op.arena, str_of(id));
    write_row(a);
}

/* The delete event says what its target said. */
static enum annotate_result describe_delete(struct annotate *a)
{
    const struct event *target = annotations_event(a->channel->annotations, a->event.target);
    uint64_t serial = a->event.target;
    struct annotation was;
    if (target == NULL || !annotation_parse(target->json, &a->op.arena, &was) ||
        was.message.history != a->event.message.history)
        return ANNOTATE_NOT_FOUND;
    if (target->deletes)
        return ANNOTATE_NOT_CREATE;
    if (a->own_of.p != NULL && !str_eq(a->own_of, was.client_id))
        return ANNOTATE_FORBIDDEN;
    a->event = was;
    a->event.deletes = true;
    a->event.target = serial;
    a->event.data = a->event.encoding = STR_NONE;
    /* Views of an event that may be forgotten before the row is written. */
    a->event.id = arena_copy(&a->op.arena, was.id);
    a->event.type = arena_copy(&a->op.arena, was.type);
    a->event.name = arena_copy(&a->op.arena, was.name);
    a->event.client_id = arena_copy(&a->op.arena, was.client_id);
    a->serial = serial;
    return target->deleted ? ANNOTATE_DUPLICATE : ANNOTATE_OK;
}

static struct str item_json(struct annotate *a, const struct event *e)
{
    struct annotation event;
    struct buf json = {0};
    annotation_parse(e->json, &a->op.arena, &event); /* we wrote it */
    event.serial = e->serial;
    annotation_json(&json, &event);
    struct str item = arena_copy(&a->op.arena, buf_view(&json));
    buf_free(&json);
    return item;
}

static void list(struct annotate *a)
{
    const struct annotated *m = annotations_find(a->channel->annotations, a->event.message.history);
    a->items = arena_alloc(&a->op.arena, (a->limit + 1) * sizeof *a->items);
    for (size_t i = 0; m != NULL && i < m->count; i++) {
        const struct event *e = m->events[i];
        if (e->serial <= a->after || (a->type.p != NULL && !str_eq(e->reaction->type, a->type)))
            continue;
        if (a->items_count == a->limit) {
            a->more = true;
            break;
        }
        a->items[a->items_count++] = item_json(a, e);
        a->serial = e->serial;
    }
    answer(a, ANNOTATE_OK);
}

static void serve(struct annotate *a)
{
    annotations_forget_gone(a->channel);
    if (a->kind == ANNOTATE_LIST) {
        list(a);
    } else if (a->kind == ANNOTATE_CREATE) {
        create(a);
    } else {
        enum annotate_result result = describe_delete(a);
        if (result == ANNOTATE_OK)
            write_row(a);
        else
            answer(a, result);
    }
}

/* ---- loading ---- */

struct load {
    struct store_op op;
    struct channel *channel;
    uint64_t started_ns;
    bool heard; /* the topic, when it began */
};

static void count_load(const struct load *load)
{
    struct channel *ch = load->channel;
    double seconds = (double)(clock_mono_ns(ch->env->clock) - load->started_ns) / 1e9;
    metrics_count(ch->env, ch->app, annotation_rebuilds, 1);
    metrics_observe(ch->env, ch->app, annotation_rebuild_seconds, seconds);
}

/* Or not yet: it was stored while the rest was being read. */
static void own_was_loaded(struct annotate *a)
{
    struct annotations *all = a->channel->annotations;
    if (!all->loaded || a->serial <= all->last || a->read_again) {
        own_is_folded(a);
        return;
    }
    a->read_again = true;
    list_append(&all->unfolded, &a->link);
    catch_up(a->channel, all->last + 1);
}

static void load_ends(struct load *load, enum store_result result)
{
    struct channel *ch = load->channel;
    struct annotations *all = ch->annotations;
    struct list waiting, unfolded;
    all->loading = false;
    count_load(load);
    all->loaded = result == STORE_OK;
    all->current = load->heard && topic_is_heard(ch);
    all->announce_from = 0;
    if (!all->loaded)
        annotations_forget_all(ch);
    list_init(&waiting);
    list_splice(&waiting, &all->waiting);
    list_init(&unfolded);
    list_splice(&unfolded, &all->unfolded);
    arena_free(&load->op.arena);
    free(load);
    if (all->again && all->loaded)
        catch_up(ch, all->last + 1);
    for (struct list *link; (link = list_take(&unfolded)) != NULL;)
        own_was_loaded(list_of(link, struct annotate, link));
    for (struct list *link; (link = list_take(&waiting)) != NULL;) {
        struct annotate *a = list_of(link, struct annotate, link);
        if (result == STORE_OK)
            serve(a);
        else
            answer(a, result_of(result));
    }
    if (result != STORE_OK)
        attach_store_failed(ch);
    else if (ch->head_known)
        attach_head_known(ch);
    owner_settle(ch);
}

static void page_loaded(struct store_op *op)
{
    struct load *load = list_of(op, struct load, op);
    struct channel *ch = load->channel;
    for (size_t i = 0; op->result == STORE_OK && i < op->found.count; i++) {
        const struct store_item *item = &op->found.items[i];
        struct annotation a;
        op->read.after = item->message.history;
        if (!annotation_parse(item->data, &op->arena, &a))
            continue;
        a.serial = item->message.history;
        if (annotations_event(ch->annotations, a.serial) != NULL)
            continue;
        if (ch->annotations->announce_from != 0 && a.serial >= ch->annotations->announce_from)
            fold_and_announce(ch, &a, item->data);
        else
            annotations_fold(ch, &a, item->data);
    }
    if (op->result != STORE_OK || !op->found.more) {
        load_ends(load, op->result);
        return;
    }
    arena_free(&op->arena);
    op->channel = annotation_channel(&op->arena, ch->name);
    store_submit(ch->env->store, op);
}

static void load(struct channel *ch)
{
    struct load *load = mem_new(struct load);
    ch->annotations->loading = true;
    ch->annotations->again = false;
    load->channel = ch;
    load->heard = topic_is_heard(ch);
    load->op.read.after = ch->annotations->last;
    load->started_ns = clock_mono_ns(ch->env->clock);
    load->op.kind = STORE_PAGE;
    load->op.shard = ch->env->shard;
    load->op.done = page_loaded;
    load->op.app_id = ch->app->id;
    load->op.channel = annotation_channel(&load->op.arena, ch->name);
    load->op.read.direction = OLDEST_FIRST;
    load->op.read.limit = LOAD_PAGE;
    load->op.read.start_ms = INT64_MIN;
    load->op.read.end_ms = INT64_MAX;
    store_submit(ch->env->store, &load->op);
}

/* Reads what is newer than what is folded; from `announce_from` on the subscribers are told. */
static void catch_up(struct channel *ch, uint64_t announce_from)
{
    struct annotations *all = annotations_of(ch);
    if (all->announce_from == 0 || announce_from < all->announce_from)
        all->announce_from = announce_from;
    if (all->loading)
        all->again = true;
    else
        load(ch);
}

static bool is_current(const struct channel *ch)
{
    return ch->annotations->loaded && !ch->annotations->loading && (ch->env->bus == NULL || ch->annotations->current);
}

bool annotations_ready(struct channel *ch)
{
    struct annotations *all = annotations_of(ch);
    if (is_current(ch))
        return true;
    if (!all->loading && all->loaded)
        catch_up(ch, all->last + 1);
    else if (!all->loading)
        load(ch);
    return false;
}

/* Whoever looks at what is held must not miss what another node has just acknowledged. */
static bool ready_for(struct channel *ch, const struct annotate *a)
{
    if (ch->env->bus == NULL || !ch->annotations->loaded || ch->annotations->loading || a->kind == ANNOTATE_CREATE)
        return annotations_ready(ch);
    catch_up(ch, ch->annotations->last + 1);
    return false;
}

bool annotations_held(const struct channel *ch)
{
    return ch->annotations != NULL && (ch->annotations->loaded || ch->annotations->loading);
}

void annotations_unheard(struct channel *ch)
{
    if (ch->annotations != NULL)
        ch->annotations->current = false;
}

void annotations_head(struct channel *ch, uint64_t serial)
{
    if (ch->annotations != NULL && ch->annotations->loaded && !ch->annotations->loading && serial > ch->annotations->last)
        catch_up(ch, ch->annotations->last + 1);
}

void annotations_heard(struct channel *ch, uint64_t serial, struct str json)
{
    struct annotations *all = annotations_of(ch);
    struct arena arena = {0};
    struct annotation a;
    if (serial <= all->last && all->loaded)
        return;
    if (!all->loaded || all->loading || serial > all->last + 1) {
        if (all->loaded || all->loading || channel_has_listeners(ch))
            catch_up(ch, all->loaded ? all->last + 1 : serial);
        return;
    }
    if (annotation_parse(json, &arena, &a)) {
        a.serial = serial;
        fold_and_announce(ch, &a, json);
    }
    arena_free(&arena);
}

static void annotate_arrives(struct task *task)
{
    struct annotate *a = list_of(task, struct annotate, task);
    struct env *env = a->at;
    struct channel *ch = a->channel = owner_channel(env, a->app, a->channel_name, &a->name);
    struct annotations *all = annotations_of(ch);
    env->hub->publishes++;
    if (all->in_flight++ >= CHANNEL_WAITING_MAX)
        answer(a, ANNOTATE_BUSY);
    else if (ready_for(ch, a))
        serve(a);
    else
        list_append(&all->waiting, &a->link);
}

void hub_annotate(struct env *env, struct annotate *a)
{
    unsigned owner = hub_owner(env, a->app, a->channel_name);
    a->at = env->all[owner];
    a->task.run = annotate_arrives;
    env->post(env, owner, &a->task);
}
