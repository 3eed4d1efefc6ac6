/* redis_master.c - see redis_master.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cluster/redis_master.h"

#include <stdlib.h>

#include "base/log.h"

enum { BACKOFF_MIN_MS = 500, BACKOFF_MAX_MS = 10000 };

/* ---- the attempt ends, the next one begins ---- */

static void ask_next_sentinel(struct redis_master *m);
static void connect_all(struct redis_master *m, struct str host, uint16_t port);

static void begin_attempt(struct redis_master *m)
{
    m->sentinels_asked = 0;
    wheel_set(loop_wheel(m->loop), &m->retry, loop_now_ms(m->loop) + LINK_CONNECT_MS * (1 + m->options->sentinels_count));
    if (m->options->sentinels_count > 0)
        ask_next_sentinel(m);
    else
        connect_all(m, m->options->host, m->options->port);
}

static void wait_and_retry(struct redis_master *m)
{
    uint64_t half_ms = m->backoff_ms / 2, wait_ms = half_ms + random_below(m->random, half_ms + 1);
    m->backoff_ms = m->backoff_ms * 2 < BACKOFF_MAX_MS ? m->backoff_ms * 2 : BACKOFF_MAX_MS;
    wheel_set(loop_wheel(m->loop), &m->retry, loop_now_ms(m->loop) + wait_ms);
}

static void give_up(struct redis_master *m, struct str why)
{
    bool was_up = m->state == REDIS_UP;
    redis_link_close(&m->ask);
    for (unsigned i = 0; i < m->links_count; i++)
        redis_link_close(&m->links[i]);
    wheel_cancel(loop_wheel(m->loop), &m->retry);
    m->restart_why = NULL;
    log_warn("cluster", "redis (%s): %.*s", m->purpose, STR_ARG(why));
    m->state = REDIS_WAITING;
    atomic_fetch_add(&m->failures, 1);
    if (m->is_over == NULL || !m->is_over(m))
        wait_and_retry(m);
    if (was_up)
        m->down(m);
}

static void timer_fires(struct timer *timer)
{
    struct redis_master *m = list_of(timer, struct redis_master, retry);
    if (m->state == REDIS_WAITING)
        begin_attempt(m);
    else
        give_up(m, STR("no answer to the greeting in time"));
}

static void link_failed(struct redis_link *link, struct str why)
{
    struct redis_master *m = link->user;
    if (link == &m->ask && m->sentinels_asked < m->options->sentinels_count) {
        log_warn("cluster", "redis (%s): sentinel %.*s", m->purpose, STR_ARG(why));
        ask_next_sentinel(m);
    } else {
        give_up(m, why);
    }
}

static void restart_now(struct task *task)
{
    struct redis_master *m = list_of(task, struct redis_master, restart);
    if (m->restart_why != NULL)
        give_up(m, str_of(m->restart_why));
}

void redis_master_restart(struct redis_master *m, const char *why)
{
    if (m->restart_why == NULL)
        loop_defer(m->loop, &m->restart);
    m->restart_why = why;
}

/* ---- greetings ---- */

static unsigned put_auth(struct redis_link *link, struct str username, struct str password)
{
    if (password.p == NULL)
        return 0;
    if (username.p == NULL)
        REDIS_COMMAND(link, STR("AUTH"), password);
    else
        REDIS_COMMAND(link, STR("AUTH"), username, password);
    return 1;
}

static unsigned put_select(struct redis_link *link, uint32_t db)
{
    struct buf number = {0};
    if (db == 0)
        return 0;
    buf_u64(&number, db);
    REDIS_COMMAND(link, STR("SELECT"), buf_view(&number));
    buf_free(&number);
    return 1;
}

static void link_opened(struct redis_link *link)
{
    struct redis_master *m = link->user;
    unsigned *left = &m->left[link - m->links];
    *left = put_auth(link, m->options->username, m->options->password);
    *left += put_select(link, m->options->db);
    REDIS_COMMAND(link, STR("ROLE"));
    *left += 1;
    if (m->greet != NULL)
        *left += m->greet(m, link);
    redis_link_flush(link);
}

void redis_master_refuse(struct redis_master *m, const struct redis_link *link, struct str reason)
{
    struct buf why = {0};
    buf_fmt(&why, "%s:%u: %.*s", link->host, link->port, STR_ARG(reason));
    give_up(m, buf_view(&why));
    buf_free(&why);
}

/* The server may be a replica that a Sentinel has not heard of, or one that a user has configured: what is published there reaches
 * nobody else, and it takes no writes. ROLE may be forbidden: then nobody knows, and that is no reason. */
static bool is_replica(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_ARRAY && reply->elements >= 3 && str_eq(redis_text(reply->element[0]), STR("slave"));
}

static bool is_fatal(const redisReply *reply)
{
    struct str text = redis_text(reply);
    return reply->type == REDIS_REPLY_ERROR && str_find(text, STR("'role'")) < 0 && str_find(text, STR("'ROLE'")) < 0;
}

static bool is_pushed(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_ARRAY && reply->elements == 3 && str_eq(redis_text(reply->element[0]), STR("message"));
}

static void up(struct redis_master *m)
{
    wheel_cancel(loop_wheel(m->loop), &m->retry);
    m->state = REDIS_UP;
    atomic_store(&m->failures, 0);
    m->backoff_ms = BACKOFF_MIN_MS;
    m->up(m);
}

static void greeting_answered(struct redis_master *m, struct redis_link *link, const redisReply *reply)
{
    bool all = true;
    if (is_fatal(reply)) {
        redis_master_refuse(m, link, redis_text(reply));
        return;
    }
    if (is_replica(reply)) {
        redis_master_refuse(m, link, STR("is a replica, not the master"));
        return;
    }
    m->left[link - m->links]--;
    for (unsigned i = 0; i < m->links_count; i++)
        all = all && m->links[i].state == LINK_OPEN && m->left[i] == 0;
    if (all)
        up(m);
}

static void link_replied(struct redis_link *link, const redisReply *reply)
{
    struct redis_master *m = link->user;
    if (m->state == REDIS_UP)
        m->replied(m, link, reply);
    else if (!is_pushed(reply)) /* to a subscriber that is earlier than the other link: nobody counts on it yet */
        greeting_answered(m, link, reply);
}

static void link_flushed(struct redis_link *link)
{
    struct redis_master *m = link->user;
    if (m->state == REDIS_UP)
        m->flushed(m, link);
}

static void connect_all(struct redis_master *m, struct str host, uint16_t port)
{
    m->state = REDIS_GREETING;
    for (unsigned i = 0; i < m->links_count; i++) {
        m->left[i] = 1; /* until it is open */
        redis_link_open(&m->links[i], host, port, m->tls);
    }
}

bool redis_refuses_service(const redisReply *reply)
{
    struct str error = redis_text(reply);
    return reply->type == REDIS_REPLY_ERROR &&
           (str_starts(error, STR("NOAUTH")) || str_starts(error, STR("LOADING")) || str_starts(error, STR("READONLY")) ||
            str_starts(error, STR("MASTERDOWN")));
}

/* ---- Sentinel ---- */

static void ask_next_sentinel(struct redis_master *m)
{
    const struct redis_address *s = &m->options->sentinels[m->sentinel++ % m->options->sentinels_count];
    m->state = REDIS_ASKING;
    m->sentinels_asked++;
    redis_link_open(&m->ask, s->host, s->port, m->sentinel_tls);
}

static void ask_opened(struct redis_link *link)
{
    struct redis_master *m = link->user;
    m->ask_left = put_auth(link, m->options->sentinel_username, m->options->sentinel_password) + 1;
    REDIS_COMMAND(link, STR("SENTINEL"), STR("get-master-addr-by-name"), m->options->name);
    redis_link_flush(link);
}

static void sentinel_is_no_help(struct redis_master *m, struct str reason)
{
    struct buf why = {0};
    buf_fmt(&why, "%s:%u: %.*s", m->ask.host, m->ask.port, STR_ARG(reason));
    redis_link_close(&m->ask);
    link_failed(&m->ask, buf_view(&why));
    buf_free(&why);
}

static void ask_replied(struct redis_link *link, const redisReply *reply)
{
    struct redis_master *m = link->user;
    uint64_t port;
    if (reply->type == REDIS_REPLY_ERROR) {
        sentinel_is_no_help(m, redis_text(reply));
        return;
    }
    if (--m->ask_left > 0)
        return; /* AUTH */
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 || !str_to_u64(redis_text(reply->element[1]), &port) || port > UINT16_MAX) {
        sentinel_is_no_help(m, STR("knows no master of this name"));
        return;
    }
    m->sentinel--; /* it is the first to be asked next time, too */
    connect_all(m, redis_text(reply->element[0]), (uint16_t)port);
    redis_link_close(link);
}

static void ask_flushed(struct redis_link *link)
{
}

/* ---- options ---- */

bool redis_options_check(const struct redis_config *r, const char *section, struct buf *error)
{
    if (r->sentinels_count == 0 && (r->host.n == 0 || r->port == 0))
        buf_fmt(error, "%s.host and %s.port must be set", section, section);
    else if (r->sentinels_count > 0 && r->name.n == 0)
        buf_fmt(error, "%s.name must be set: the Sentinels know the master by it", section);
    else if (r->username.n > 0 && r->password.n == 0)
        buf_fmt(error, "%s.username needs %s.password", section, section);
    return error->n == 0;
}

static struct str copy_some(struct arena *arena, struct str text)
{
    return text.n > 0 ? arena_copy(arena, text) : STR_NONE;
}

void redis_options_copy(struct redis_config *to, const struct redis_config *from, struct arena *arena)
{
    *to = *from;
    to->host = arena_copy(arena, from->host);
    to->username = copy_some(arena, from->username);
    to->password = copy_some(arena, from->password);
    to->name = arena_copy(arena, from->name);
    to->sentinel_username = copy_some(arena, from->sentinel_username);
    to->sentinel_password = copy_some(arena, from->sentinel_password);
    to->sentinels = arena_zalloc(arena, (from->sentinels_count + 1) * sizeof *to->sentinels);
    for (size_t i = 0; i < from->sentinels_count; i++)
        to->sentinels[i] = (struct redis_address){arena_copy(arena, from->sentinels[i].host), from->sentinels[i].port};
}

/* ---- life ---- */

static void init_link(struct redis_master *m, struct redis_link *link)
{
    bool asks = link == &m->ask;
    link->user = m;
    link->opened = asks ? ask_opened : link_opened;
    link->reply = asks ? ask_replied : link_replied;
    link->flushed = asks ? ask_flushed : link_flushed;
    link->failed = link_failed;
    redis_link_init(link);
}

static bool make_tls(struct redis_master *m, struct buf *error)
{
    const struct redis_config *o = m->options;
    if (o->master_tls.enabled && (m->tls = tls_client_new(&o->master_tls, error)) == NULL)
        return false;
    return !o->sentinel_tls.enabled || (m->sentinel_tls = tls_client_new(&o->sentinel_tls, error)) != NULL;
}

bool redis_master_init(struct redis_master *m, struct buf *error)
{
    if (!make_tls(m, error)) {
        tls_client_free(m->tls);
        return false;
    }
    m->backoff_ms = BACKOFF_MIN_MS;
    m->retry.fire = timer_fires;
    m->restart.run = restart_now;
    init_link(m, &m->ask);
    for (unsigned i = 0; i < m->links_count; i++)
        init_link(m, &m->links[i]);
    return true;
}

void redis_master_attach(struct redis_master *m, struct loop *loop, struct random *random, const struct redis_config *options)
{
    m->loop = m->ask.loop = m->links[0].loop = m->links[1].loop = loop;
    m->random = random;
    m->options = options;
}

void redis_master_start(struct redis_master *m)
{
    begin_attempt(m);
}

void redis_master_stop(struct redis_master *m)
{
    struct redis_link *links[] = {&m->ask, &m->links[0], &m->links[1]};
    wheel_cancel(loop_wheel(m->loop), &m->retry);
    m->restart_why = NULL;
    for (size_t i = 0; i < 1 + m->links_count; i++) {
        redis_link_close(links[i]);
        free(links[i]->host);
    }
    tls_client_free(m->tls);
    tls_client_free(m->sentinel_tls);
}
