/* revocation.h - capability tokens that are no longer good, by their jti or by their client (chapter 4, 4.6; chapter 2, 2.10).
 *
 * One table for the process: every shard asks it, shard 0 alone writes it. What is in it is in the store too, as notes, and is read back
 * before the server listens:
 *
 *      key     revocation/<app id> 0 jti 0 <value>      or  ... 0 client 0 <value>
 *      value   {"expires_at":<Unix seconds>,"reason":"<text>"}
 *
 * The end is by the store's clock: a node whose own is wrong neither shortens a revocation nor deletes another node's early. A node whose
 * clock is behind keeps it until it is over there too, since tokens live longer there.
 *
 * A revocation:  shard 0: table  ->  every shard: matching sockets are told and closed  ->  shard 0: note  ->  home
 *
 * The other nodes hear of it between the first two steps, and do the same, but for the note and the way home. What a break of the bus has
 * swallowed is read from the notes when it is over.
 *
 * From the first step on no connect and no refresh with such a token is accepted, on any shard: a session that is made before its shard
 * is asked is closed by that, a later one finds the table. A revocation that is made twice stays as long as the longer one.
 *
 * Fails closed: while the notes have not been read, or could not be, no token is good.
 *
 * Threads: revocations_refuse(), revocations_state() any; revocation_begin() the shard of its env; the rest shard 0.
 * Limit: REVOCATIONS_MAX in force at a time, 64 MiB at most; then REVOCATIONS_FULL, and capability_revocations_refused_total.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "app/token.h"
#include "message/env.h"

enum { REVOCATIONS_MAX = 1 << 18 };

struct sessions;
struct revocations;
/* home: the env of shard 0. */
struct revocations *revocations_new(struct env *home);
/* Before the wheel of shard 0 is freed. No request may be in flight. */
void revocations_free(struct revocations *r);

enum revocations_state { REVOCATIONS_LOADING, REVOCATIONS_KNOWN, REVOCATIONS_FAILED };
/* Starts reading the notes. */
void revocations_load(struct revocations *r);
enum revocations_state revocations_state(const struct revocations *r);

/* NULL, or static text: why this token is refused. r NULL: nobody knows. now_ms: of the node's wall clock. */
const char *revocations_refuse(struct revocations *r, const struct app *app, const struct token *token, int64_t now_ms);

/* The sessions of one shard, whose sockets are closed; before any revocation_begin(). */
void revocations_reach(struct revocations *r, unsigned shard, struct sessions *sessions);

/* What else of one shard lives by a token, beside its sessions: ends what uses one of that jti or client (absent = not that one),
 * returns how many. On that shard; one per shard, set before any revocation_begin() and good until the last one is done. */
struct revocations_other {
    uint32_t (*end)(void *user, const struct app *app, struct str jti, struct str client_id);
    void *user;
};
void revocations_reach_also(struct revocations *r, unsigned shard, struct revocations_other other);

enum revocation_result {
    REVOCATION_DONE,
    REVOCATION_FULL,   /* nothing has happened */
    REVOCATION_UNSURE, /* in force until this process ends, but not known to be durable */
};
struct revocation {
    struct task task;   /* ours, as the next two */
    struct env *at;
    struct revocations *all;
    struct store_op op; /* ours; the texts below live in its arena */
    struct app *app;
    struct str jti, client_id; /* absent = not that one; at least one is given */
    struct str reason;
    int64_t expires_s;
    unsigned reply_shard;
    void (*done)(struct revocation *rv); /* there, once */
    void *user;
    /* outputs */
    enum revocation_result result;
    uint32_t closed;    /* connections of this process */
    bool foreign;       /* ours: another node has begun it, and writes the note */
};
struct revocation *revocation_new(struct env *env, struct app *app, void (*done)(struct revocation *rv));
void revocation_free(struct revocation *rv);
void revocation_begin(struct revocations *r, struct env *env, struct revocation *rv);
