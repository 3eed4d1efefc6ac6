/* redis_master.h - finds the master of a Redis and keeps one or two connections to it: Sentinels, TLS, AUTH, SELECT, ROLE, back-off.
 *
 *      WAITING -> [ASKING the Sentinels] -> GREETING: connect, AUTH, SELECT, ROLE, greet() -> UP -> replied()* -> down() -> WAITING ...
 *
 * Its links live and die together. An attempt may take LINK_CONNECT_MS for the master and as much for each Sentinel; the next one
 * begins after BACKOFF_MIN_MS, twice as long each time up to BACKOFF_MAX_MS, a random half of it taken off.
 *
 * Threads: its loop's, but for redis_master_init(), which comes before the loop runs. Ownership: the struct is its user's, and zeroed
 * but for what he sets; options are borrowed. Errors: what ends an attempt or a connection goes to the log with `purpose`, the user
 * hears of down() only. Limits: those of redis_link.h; `out` is bounded by the user.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <stdatomic.h>

#include "base/arena.h"
#include "base/random.h"
#include "cluster/redis_link.h"
#include "config/config.h"

enum redis_state {
    REDIS_WAITING,  /* for the next attempt */
    REDIS_ASKING,   /* a Sentinel */
    REDIS_GREETING, /* connecting, AUTH and so on */
    REDIS_UP,
};

struct redis_master {
    struct loop *loop; /* these three: redis_master_attach() */
    struct random *random;
    const struct redis_config *options;
    /* set before redis_master_init() */
    const char *purpose; /* for the log */
    void *user;
    unsigned links_count; /* 1 or 2 */
    /* More commands for a link's greeting: how many answers they get. NULL = none. */
    unsigned (*greet)(struct redis_master *master, struct redis_link *link);
    void (*up)(struct redis_master *master);
    void (*down)(struct redis_master *master); /* after up(), once */
    void (*replied)(struct redis_master *master, struct redis_link *link, const redisReply *reply); /* while it is up */
    void (*flushed)(struct redis_master *master, struct redis_link *link);
    bool (*is_over)(struct redis_master *master); /* no further attempt shall be made; NULL = never */

    enum redis_state state;
    struct redis_link ask, links[2];
    unsigned ask_left, left[2]; /* greetings that are not answered yet */
    size_t sentinel;            /* the next one to ask */
    size_t sentinels_asked;     /* in this attempt */
    _Atomic uint32_t failures;  /* attempts in a row that have failed; read by any thread */
    struct timer retry;         /* waiting: the next attempt; else: this one takes too long */
    uint32_t backoff_ms;
    struct tls_client *tls, *sentinel_tls;
    struct task restart;
    const char *restart_why; /* NULL = not asked for */
};

/* False, with a readable reason that names section (such as "database.redis"), for options that cannot work. */
bool redis_options_check(const struct redis_config *options, const char *section, struct buf *error);
void redis_options_copy(struct redis_config *to, const struct redis_config *from, struct arena *arena);

/* Reads `options`. False, with a reason, when a file of the TLS options cannot be used; nothing is left then. */
bool redis_master_init(struct redis_master *master, struct buf *error);
/* Before the start: where it runs, and the options as they are kept; all borrowed. */
void redis_master_attach(struct redis_master *master, struct loop *loop, struct random *random, const struct redis_config *options);
void redis_master_start(struct redis_master *master);
/* No call comes afterwards. */
void redis_master_stop(struct redis_master *master);
/* A new connection, a turn later: whoever asks may be reading what a link has brought. */
void redis_master_restart(struct redis_master *master, const char *why);
/* The same at once, from replied(): the server is of no use, for this reason. */
void redis_master_refuse(struct redis_master *master, const struct redis_link *link, struct str reason);

static inline bool redis_is_text(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS || reply->type == REDIS_REPLY_ERROR;
}

/* Absent if it is none. */
static inline struct str redis_text(const redisReply *reply)
{
    return redis_is_text(reply) ? str_make(reply->str, reply->len) : STR_NONE;
}

/* An error that says that this server is not to be used now; others are about one command. */
bool redis_refuses_service(const redisReply *reply);

#define REDIS_COMMAND(link, ...)                                                                             \
    redis_command(link, (struct str[]){__VA_ARGS__}, sizeof((struct str[]){__VA_ARGS__}) / sizeof(struct str))
