/* revocation_table.h - what revocation.c and revoke.c share: the table itself.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/map.h"
#include "message/metrics.h"
#include "session/revocation.h"
#include <pthread.h>

enum { REVOCATION_SHARDS_MAX = 64 };

struct revocations {
    struct env *home;              /* of shard 0 */
    _Atomic int state;             /* enum revocations_state */
    bool looking;                  /* at the notes once more */
    struct sessions *shards[REVOCATION_SHARDS_MAX];
    struct revocations_other others[REVOCATION_SHARDS_MAX];
    pthread_mutex_t lock;
    struct map entries;            /* key -> struct entry; guarded by lock */
};

/* The key of a note; the same in the table. kind: "jti" or "client". */
void revocation_key(struct buf *out, struct str app_id, const char *kind, struct str value);
/* Whether `more` further ones fit. */
bool revocations_have_room(struct revocations *r, size_t more);
void revocations_put(struct revocations *r, struct str key, int64_t expires_s);
bool revocations_has(struct revocations *r, struct str key); /* shard 0 */
/* Other nodes may have written notes that this one was not told of: user is the table. */
void revocations_look_again(void *user);
/* In force elsewhere: here, too. */
void revocation_follow(struct revocations *r, struct app *app, struct str jti, struct str client_id, int64_t expires_s);
