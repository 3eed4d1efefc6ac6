/* actor.h - who a socket of the fleet is and what it may do on a channel, asked for by the HTTP API (chapter 3, 1.8 and 7.2).
 *
 *      any shard: directory  ->  the socket's shard: identity, capabilities  ->  back
 *                 not there  ->  all other nodes (actors.c)
 *
 * What it says is true at the moment when the socket's shard is asked.
 *
 * Threads: actor_ask() the shard of its env, done() too. Ownership: the actor is the caller's from done() on.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "app/capability.h"
#include "base/arena.h"
#include "message/env.h"
#include "wire/system.h"

struct directory;
/* ACTOR_WAIT_MS: for other nodes; then the socket is unknown. ACTORS_MAX questions wait per shard, one more asks this node alone. */
enum { ACTOR_WAIT_MS = 1000, ACTORS_MAX = 1024 };

enum actor_state {
    ACTOR_CONNECTED,
    ACTOR_UNKNOWN, /* no such socket of this app */
    ACTOR_V1,      /* has neither capabilities nor mutations */
};
struct actor {
    struct task task;          /* ours, as the next three */
    struct env *at;
    struct directory *directory;
    unsigned reply_shard;
    struct app *app;           /* the question, filled in by the caller */
    struct socket_id socket;
    struct str channel;        /* borrowed until done() */
    void (*done)(struct actor *a);
    void *user;
    /* the answer */
    enum actor_state state;
    struct str identity;       /* user id of its sign-in or client id of its token; absent = neither. In the arena */
    bool by_token;
    uint32_t may;              /* bit set: 1 << enum capability, on this channel */
    struct arena arena;        /* freed by the caller */
};
/* directory NULL: no socket is known. done() never runs before this returns. */
void actor_ask(struct directory *directory, struct env *env, struct actor *a);
/* Of this process only. app NULL: unknown. */
void actor_ask_here(struct directory *directory, struct env *env, struct actor *a);

/* For src/session: what one shard asks of other nodes, and answers them. */
struct actors;
struct actors *actors_new(struct env *env, struct directory *directory);
void actors_free(struct actors *all); /* NULL is fine */
/* False: there is nobody to ask. */
bool actors_ask(struct env *env, struct actor *a);
static inline bool actor_may(const struct actor *a, enum capability operation)
{
    return (a->may >> operation & 1u) != 0;
}
