/* bus.c - the bus as its users see it: from any thread, the queue of what is to be sent, opening and closing.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "cluster/bus_internal.h"

/* ---- items ---- */

static struct bus_item *item_alloc(struct bus *bus, unsigned to, size_t size)
{
    struct bus_item *item = mem_alloc(sizeof *item + size);
    *item = (struct bus_item){.bus = bus, .to = to, .size = size};
    return item;
}

struct bus_item *bus_item_new(struct bus *bus, enum bus_kind kind, unsigned to, size_t size)
{
    struct bus_item *item = item_alloc(bus, to, BUS_HEAD_BYTES + size);
    item->bytes[0] = BUS_WIRE_VERSION;
    item->bytes[1] = (char)kind;
    memcpy(item->bytes + 2, bus->id, BUS_ID_BYTES);
    return item;
}

void bus_item_free(struct bus_item *item)
{
    struct bus *bus = item->bus;
    if (item->counted) {
        atomic_fetch_sub(&bus->queued_bytes, item->size);
        atomic_fetch_sub(&bus->queued, 1);
    }
    if (item->refused) {
        atomic_fetch_sub(&bus->refused_bytes, item->size);
        atomic_fetch_sub(&bus->refused, 1);
    }
    free(item);
}

void bus_item_dropped(struct bus_item *item)
{
    struct bus *bus = item->bus;
    if (item->counted || item->refused) {
        metric_add(bus->dropped, METRIC_SHARD_BUS, 1);
        if (bus->options.handlers.dropped != NULL && !bus->closing)
            bus->options.handlers.dropped(bus->options.user, item->to < BUS_TOPICS_MAX ? (int)item->to : BUS_NO_TOPIC,
                                          str_from(str_make(item->bytes, item->size), BUS_HEAD_BYTES));
    }
    bus_item_free(item);
}

static void item_waits(struct bus *bus, struct bus_item *item)
{
    list_append(&bus->unsent, &item->link);
    bus->waiting++;
    bus_flush_soon(bus);
}

static void item_arrives(struct task *task)
{
    struct bus_item *item = list_of(task, struct bus_item, task);
    if (item->refused || item->bus->closing)
        bus_item_dropped(item);
    else
        item_waits(item->bus, item);
}

void bus_send_message(struct bus *bus, const struct bus_message *m, const char *target)
{
    struct buf bytes = {0};
    if (bus->phase == BUS_DOWN || (bus->closing && m->kind != BUS_BYE))
        return; /* what comes behind a good-bye would make a peer of us again */
    bus_put(&bytes, m);
    struct bus_item *item = item_alloc(bus, target != NULL ? BUS_TO_NODE : BUS_TO_ALL, bytes.n);
    memcpy(item->bytes, bytes.p, bytes.n);
    item->generation = m->kind == BUS_ANNOUNCE || m->kind == BUS_HELLO ? m->generation : 0;
    if (target != NULL)
        memcpy(item->target, target, BUS_ID_BYTES);
    buf_free(&bytes);
    item_waits(bus, item);
}

/* ---- any thread ---- */

/* Takes n off what is left below the limits; false if it does not fit. */
static bool reserve(_Atomic uint64_t *count, _Atomic uint64_t *bytes, size_t n)
{
    uint64_t items = atomic_fetch_add(count, 1), size = atomic_fetch_add(bytes, n);
    if (items < BUS_QUEUE_MAX && size + n <= BUS_QUEUE_BYTES_MAX)
        return true;
    atomic_fetch_sub(bytes, n);
    atomic_fetch_sub(count, 1);
    return false;
}

/* Under the lock. */
static void wish_changed(struct bus *bus, unsigned number)
{
    struct bus_wish *wish = &bus->wishes[number];
    if (!wish->dirty)
        bus->dirty[bus->dirty_count++] = number;
    wish->dirty = true;
    if (bus->posted)
        return;
    bus->posted = true;
    enum mailbox_result result = mailbox_post(loop_mailbox(bus->loop), &bus->wishes_task);
    assert(result == MAILBOX_OK); /* BUS_MAILBOX_TASKS is more than may be posted */
    (void)result;
}

static void lose(struct bus *bus, unsigned to)
{
    unsigned slot = to < BUS_TOPICS_MAX ? to : bus->options.topics;
    pthread_mutex_lock(&bus->lock);
    bus->wishes[slot].lost = true;
    wish_changed(bus, slot);
    pthread_mutex_unlock(&bus->lock);
}

static void submit(struct bus *bus, enum bus_kind kind, unsigned to, const char *target, struct str payload)
{
    size_t size = BUS_HEAD_BYTES + payload.n;
    bool counted = payload.n <= BUS_PAYLOAD_MAX && reserve(&bus->queued, &bus->queued_bytes, size);
    if (!counted && !reserve(&bus->refused, &bus->refused_bytes, size)) {
        lose(bus, to);
        return;
    }
    struct bus_item *item = bus_item_new(bus, kind, to, payload.n);
    if (payload.n > 0)
        memcpy(item->bytes + BUS_HEAD_BYTES, payload.p, payload.n);
    if (target != NULL)
        memcpy(item->target, target, BUS_ID_BYTES);
    item->counted = counted;
    item->refused = !counted;
    item->task.run = item_arrives;
    enum mailbox_result result = mailbox_post(loop_mailbox(bus->loop), &item->task);
    assert(result == MAILBOX_OK); /* as above */
    (void)result;
}

void bus_publish(struct bus *bus, unsigned topic, struct str payload)
{
    assert(topic < bus->options.topics);
    submit(bus, BUS_PUBLISHED, topic, NULL, payload);
}

void bus_send(struct bus *bus, struct str node, struct str payload)
{
    char target[BUS_ID_BYTES];
    if (node.p == NULL)
        submit(bus, BUS_SENT, BUS_TO_ALL, NULL, payload);
    else if (bus_id_read(node, target))
        submit(bus, BUS_SENT, BUS_TO_NODE, target, payload);
}

void bus_listen(struct bus *bus, unsigned topic, int window)
{
    assert(topic < bus->options.topics && window >= 0 && window <= BUS_WINDOW_MAX);
    pthread_mutex_lock(&bus->lock);
    struct bus_wish *wish = &bus->wishes[topic];
    if (!wish->on)
        wish->epoch++;
    wish->on = true;
    wish->window = window;
    wish_changed(bus, topic);
    pthread_mutex_unlock(&bus->lock);
}

void bus_leave(struct bus *bus, unsigned topic)
{
    assert(topic < bus->options.topics);
    pthread_mutex_lock(&bus->lock);
    bus->wishes[topic].on = false;
    wish_changed(bus, topic);
    pthread_mutex_unlock(&bus->lock);
}

int bus_wanted(const struct bus *bus, unsigned topic)
{
    assert(topic < bus->options.topics);
    return atomic_load(&bus->everything) ? 0 : atomic_load(&bus->wanted[topic]);
}

struct str bus_node(const struct bus *bus)
{
    return str_make(bus->node, BUS_NODE_SIZE);
}

bool bus_is_up(const struct bus *bus)
{
    return atomic_load(&bus->up);
}

bool bus_gave_way(const struct bus *bus)
{
    return atomic_load(&bus->refusing);
}

size_t bus_peers(const struct bus *bus)
{
    return atomic_load(&bus->peers_alive);
}

size_t bus_peers_reached(const struct bus *bus)
{
    size_t alive = atomic_load(&bus->peers_alive), reached = atomic_load(&bus->peers_reached);
    return alive < reached ? alive : reached;
}

/* ---- open and close ---- */

static void grace_is_over(struct timer *timer)
{
    loop_stop(list_of(timer, struct bus, grace)->loop);
}

static void close_arrives(struct task *task)
{
    struct bus *bus = list_of(task, struct bus, close_task);
    struct bus_message bye = {.kind = BUS_BYE, .node = bus->id};
    bus->closing = true;
    if (bus->phase == BUS_DOWN) {
        loop_stop(bus->loop);
        return;
    }
    bus->grace.fire = grace_is_over;
    wheel_set(loop_wheel(bus->loop), &bus->grace, loop_now_ms(bus->loop) + bus->grace_ms);
    bus_send_message(bus, &bye, NULL);
}

static void *run(void *arg)
{
    struct bus *bus = arg;
    bus_course_begin(bus);
    loop_run(bus->loop);
    bus->transport->stop(bus);
    return NULL;
}

/* Signals are the main thread's. */
static void start_thread(struct bus *bus)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&bus->thread, NULL, run, bus) != 0) {
        perror("pthread_create");
        abort();
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static struct metric_series *series(struct bus *bus, struct metric_family *family)
{
    return metric_series(family, (struct str[]){str_of(bus->transport->name)});
}

static void register_metrics(struct bus *bus)
{
    struct metric_registry *r = bus->options.metrics;
    bus->depth = series(bus, metric_gauge(r, "horizontal_transport_queue_depth", "Payloads that wait for the bus", "driver"));
    bus->dropped = series(bus, metric_counter(r, "horizontal_transport_messages_dropped_total",
                                              "Payloads that were not sent, or may not have arrived", "driver"));
    bus->reconnections = series(bus, metric_counter(r, "horizontal_transport_reconnections_total", "Connections after the first", "driver"));
    bus->published = series(bus, metric_counter(r, "horizontal_broadcast_published_total", "Payloads published to topics", "driver"));
    bus->received = series(bus, metric_counter(r, "horizontal_broadcast_received_total", "Payloads of other nodes in topics", "driver"));
    bus->conflicts = series(bus, metric_counter(r, "horizontal_node_conflicts_total",
                                                "Living nodes that were met with this node's id or instance.process_id", "driver"));
    bus->undecodable = series(bus, metric_counter(r, "horizontal_transport_messages_undecodable_total",
                                                  "Payloads that no node of ours has sent", "driver"));
}

static void make_tables(struct bus *bus)
{
    unsigned topics = bus->options.topics;
    bus->wanted = mem_zalloc(topics * sizeof *bus->wanted);
    bus->topics = mem_zalloc(topics * sizeof *bus->topics);
    bus->wishes = mem_zalloc((topics + 1) * sizeof *bus->wishes);
    bus->dirty = mem_zalloc((topics + 1) * sizeof *bus->dirty);
    for (unsigned i = 0; i < topics; i++) {
        atomic_store(&bus->wanted[i], BUS_NOBODY);
        list_init(&bus->topics[i].link);
    }
    list_init(&bus->announced);
    list_init(&bus->unsent);
    list_init(&bus->unanswered);
    atomic_store(&bus->everything, true);
}

struct bus *bus_new(const struct bus_options *options, const struct bus_transport *transport, struct str node)
{
    struct bus *bus = mem_new(struct bus);
    bus->options = *options;
    bus->transport = transport;
    bus->options.prefix = arena_copy(&bus->arena, options->prefix);
    bus->options.name = arena_copy(&bus->arena, str_first(options->name, options->name.n < BUS_NAME_MAX ? options->name.n : BUS_NAME_MAX));
    pthread_mutex_init(&bus->lock, NULL);
    random_from_kernel(&bus->random);
    if (node.p == NULL || !bus_id_read(node, bus->id)) {
        char uuid[37];
        random_uuid(&bus->random, uuid);
        bus_id_read(str_of(uuid), bus->id);
    }
    bus_id_write(bus->id, bus->node);
    make_tables(bus);
    register_metrics(bus);
    bus->loop = loop_new(options->clock, BUS_MAILBOX_TASKS);
    bus_course_init(bus);
    bus->wishes_task.run = interest_wishes_arrive;
    bus->close_task.run = close_arrives;
    return bus;
}

void bus_start(struct bus *bus)
{
    start_thread(bus);
}

static void free_items(struct list *items)
{
    for (struct list *link; (link = list_take(items)) != NULL;)
        bus_item_dropped(list_of(link, struct bus_item, link));
}

/* What was posted while the thread came to its end. */
static void take_late_mail(struct bus *bus)
{
    struct task *task;
    bus->closing = true;
    while (mailbox_take(loop_mailbox(bus->loop), &task, 1) == 1)
        if (task != &bus->wishes_task && task != &bus->close_task)
            task->run(task); /* an item is dropped, a name that was looked up forgotten */
}

void bus_close(struct bus *bus, uint32_t grace_ms)
{
    bus->grace_ms = grace_ms;
    mailbox_post(loop_mailbox(bus->loop), &bus->close_task);
    pthread_join(bus->thread, NULL);
    take_late_mail(bus);
    free_items(&bus->unanswered);
    free_items(&bus->unsent);
    metric_set(bus->depth, METRIC_SHARD_BUS, 0);
    peers_free(bus);
    loop_free(bus->loop);
    pthread_mutex_destroy(&bus->lock);
    free(bus->topics);
    free(bus->wishes);
    free(bus->dirty);
    free(bus->wanted);
    arena_free(&bus->arena);
    free(bus);
}
