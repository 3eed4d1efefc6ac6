/* redis_examine.c - a conversation: one command, its answer, the next one.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cluster/redis_examine.h"

#include <stdlib.h>

#include "cluster/redis_master.h"

enum { REPEATS = 15, MAIL = 16 };

struct talk {
    struct loop *loop;
    struct redis_link link;
    struct tls_client *tls;
    const struct clock *clock;
    uint32_t wait_ms;
    bool open, answered, failed;
    struct buf *error;
    struct buf answer; /* texts and numbers of it, each followed by a line feed */
};

static struct talk *talk_of(struct redis_link *link)
{
    return link->user;
}

static void on_opened(struct redis_link *link)
{
    talk_of(link)->open = true;
}

static void put_answer(struct buf *out, const redisReply *reply)
{
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++)
        put_answer(out, reply->element[i]);
    if (reply->type == REDIS_REPLY_INTEGER)
        buf_fmt(out, "%lld\n", reply->integer);
    else if (redis_is_text(reply))
        buf_fmt(out, "%.*s\n", STR_ARG(redis_text(reply)));
}

static void fails(struct talk *t, struct str why)
{
    if (!t->failed)
        buf_str(t->error, str_trim(why));
    t->failed = true;
}

static void on_reply(struct redis_link *link, const redisReply *reply)
{
    struct talk *t = talk_of(link);
    t->answered = true;
    if (reply->type == REDIS_REPLY_ERROR)
        fails(t, redis_text(reply));
    put_answer(&t->answer, reply);
}

static void on_flushed(struct redis_link *link)
{
}

static void on_failed(struct redis_link *link, struct str why)
{
    fails(talk_of(link), why);
}

/* Until *done, or it has failed. */
static bool wait_for(struct talk *t, const bool *done)
{
    uint64_t until_ms = clock_mono_ms(t->clock) + t->wait_ms;
    for (uint64_t now_ms; !*done && !t->failed && (now_ms = clock_mono_ms(t->clock)) < until_ms;)
        loop_turn(t->loop, (int)(until_ms - now_ms));
    if (!*done)
        fails(t, STR("no answer in time"));
    return !t->failed;
}

/* The answer is in t->answer. */
static bool ask(struct talk *t, const struct str *words, size_t count)
{
    buf_clear(&t->answer);
    t->answered = false;
    redis_command(&t->link, words, count);
    redis_link_flush(&t->link);
    return wait_for(t, &t->answered);
}
#define ASK(t, ...) ask((t), (struct str[]){__VA_ARGS__}, sizeof((struct str[]){__VA_ARGS__}) / sizeof(struct str))

static bool log_in(struct talk *t, struct str username, struct str password)
{
    if (password.n == 0)
        return true;
    return username.n == 0 ? ASK(t, STR("AUTH"), password) : ASK(t, STR("AUTH"), username, password);
}

static bool begin(struct talk *t, struct redis_address at, const struct tls_options *tls)
{
    t->loop = loop_new(t->clock, MAIL);
    t->link = (struct redis_link){.loop = t->loop, .user = t, .opened = on_opened, .reply = on_reply, .flushed = on_flushed, .failed = on_failed};
    redis_link_init(&t->link);
    if (tls->enabled && (t->tls = tls_client_new(tls, t->error)) == NULL)
        return false;
    redis_link_open(&t->link, at.host, at.port, t->tls);
    return wait_for(t, &t->open);
}

/* A name that is still being looked up in another thread keeps the loop: its mail has to arrive somewhere. */
static void end(struct talk *t)
{
    bool looking_up = t->link.lookup != NULL;
    redis_link_close(&t->link);
    free(t->link.host);
    tls_client_free(t->tls);
    buf_free(&t->answer);
    if (!looking_up)
        loop_free(t->loop);
}

/* ---- what it is like ---- */

/* Of INFO: "name:value\r\n". Absent if it is not there. */
static struct str info_value(const struct talk *t, const char *name, struct arena *arena)
{
    struct str rest = buf_view(&t->answer);
    while (rest.p != NULL) {
        struct str line = str_trim(str_split(&rest, '\n')), value = line, key = str_split(&value, ':');
        if (str_eq(key, str_of(name)) && value.p != NULL)
            return arena_copy(arena, value);
    }
    return STR_NONE;
}

static uint64_t info_number(const struct talk *t, const char *name, struct arena *arena)
{
    uint64_t n = 0;
    return str_to_u64(info_value(t, name, arena), &n) ? n : 0;
}

/* An ACL may refuse a question: then nobody knows, and the node does not need it. False: it is something worse. */
static bool only_forbidden(struct talk *t)
{
    if (!t->answered || !str_starts(buf_view(&t->answer), STR("NOPERM")))
        return false;
    t->failed = false;
    buf_clear(t->error);
    return true;
}

static bool read_info(struct talk *t, struct redis_figures *out, struct arena *arena)
{
    if (!ASK(t, STR("INFO")))
        return only_forbidden(t);
    out->version = info_value(t, "redis_version", arena);
    out->role = info_value(t, "role", arena);
    out->policy = info_value(t, "maxmemory_policy", arena);
    out->memory_max = info_number(t, "maxmemory", arena);
    out->memory_used = info_number(t, "used_memory", arena);
    out->clients_max = info_number(t, "maxclients", arena);
    out->clients = info_number(t, "connected_clients", arena);
    return true;
}

static bool read_clock(struct talk *t, struct redis_figures *out)
{
    uint64_t seconds, us;
    int64_t before_ms = clock_wall_ms(t->clock);
    if (!ASK(t, STR("TIME")))
        return only_forbidden(t);
    int64_t after_ms = clock_wall_ms(t->clock);
    struct str rest = buf_view(&t->answer), first = str_split(&rest, '\n');
    if (str_to_u64(first, &seconds) && str_to_u64(str_split(&rest, '\n'), &us))
        out->ahead_ms = (int64_t)(seconds * 1000 + us / 1000) - (before_ms + after_ms) / 2, out->knows_time = true;
    return true;
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static bool measure(struct talk *t, struct redis_figures *out)
{
    uint64_t took[REPEATS];
    for (int i = 0; i < REPEATS; i++) {
        uint64_t began = clock_mono_ns(t->clock);
        if (!ASK(t, STR("PING")))
            return only_forbidden(t);
        took[i] = clock_mono_ns(t->clock) - began;
    }
    qsort(took, REPEATS, sizeof *took, by_size);
    out->round_trip_ms = (double)took[REPEATS / 2] / 1e6;
    return true;
}

static bool select_db(struct talk *t, uint32_t db)
{
    struct buf number = {0};
    if (db == 0)
        return true;
    buf_u64(&number, db);
    bool ok = ASK(t, STR("SELECT"), buf_view(&number));
    buf_free(&number);
    return ok;
}

bool redis_examine(const struct redis_config *options, struct redis_address at, const struct clock *clock, uint32_t wait_ms,
                   struct redis_figures *out, struct arena *arena, struct buf *error)
{
    struct talk t = {.clock = clock, .wait_ms = wait_ms, .error = error};
    uint64_t began = clock_mono_ns(clock);
    *out = (struct redis_figures){0};
    bool ok = begin(&t, at, &options->master_tls);
    out->connect_ms = (double)(clock_mono_ns(clock) - began) / 1e6;
    ok = ok && log_in(&t, options->username, options->password) && select_db(&t, options->db) && measure(&t, out) &&
         read_clock(&t, out) && read_info(&t, out, arena);
    end(&t);
    return ok;
}

bool redis_examine_sentinel(const struct redis_config *options, struct redis_address sentinel, const struct clock *clock, uint32_t wait_ms,
                            struct redis_address *master, struct arena *arena, struct buf *error)
{
    struct talk t = {.clock = clock, .wait_ms = wait_ms, .error = error};
    uint64_t port = 0;
    bool ok = begin(&t, sentinel, &options->sentinel_tls) && log_in(&t, options->sentinel_username, options->sentinel_password) &&
              ASK(&t, STR("SENTINEL"), STR("get-master-addr-by-name"), options->name);
    struct str rest = buf_view(&t.answer), host = str_split(&rest, '\n');
    if (ok && (!str_to_u64(str_split(&rest, '\n'), &port) || port == 0 || port > UINT16_MAX)) {
        buf_fmt(error, "knows no master of the name %.*s", STR_ARG(options->name));
        ok = false;
    }
    *master = (struct redis_address){ok ? arena_copy(arena, host) : STR_NONE, (uint16_t)port};
    end(&t);
    return ok;
}
