/* directory.c - a map per stripe; the value is a static cell that says the protocol.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "session/directory.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/map.h"
#include "base/mem.h"

enum { STRIPES = 64 };

struct stripe {
    pthread_mutex_t lock;
    struct map ids; /* -> one of protocols[] */
};

struct directory {
    struct stripe stripes[STRIPES];
};

static enum wire_protocol protocols[] = {[WIRE_V1] = WIRE_V1, [WIRE_V2] = WIRE_V2};

struct directory *directory_new(void)
{
    struct directory *d = mem_new(struct directory);
    for (int i = 0; i < STRIPES; i++)
        pthread_mutex_init(&d->stripes[i].lock, NULL);
    return d;
}

void directory_free(struct directory *d)
{
    if (d == NULL)
        return;
    for (int i = 0; i < STRIPES; i++) {
        map_free(&d->stripes[i].ids);
        pthread_mutex_destroy(&d->stripes[i].lock);
    }
    free(d);
}

static struct str key_of(const struct socket_id *id)
{
    return str_make(id, sizeof *id);
}

static struct stripe *lock_stripe(struct directory *d, const struct socket_id *id)
{
    struct stripe *stripe = &d->stripes[(id->a ^ id->b) % STRIPES];
    pthread_mutex_lock(&stripe->lock);
    return stripe;
}

bool directory_add(struct directory *d, const struct socket_id *id, enum wire_protocol protocol)
{
    struct stripe *stripe = lock_stripe(d, id);
    bool is_new = map_get(&stripe->ids, key_of(id)) == NULL;
    if (is_new)
        map_put(&stripe->ids, key_of(id), &protocols[protocol]);
    pthread_mutex_unlock(&stripe->lock);
    return is_new;
}

void directory_remove(struct directory *d, const struct socket_id *id)
{
    struct stripe *stripe = lock_stripe(d, id);
    map_del(&stripe->ids, key_of(id));
    pthread_mutex_unlock(&stripe->lock);
}

bool directory_find(struct directory *d, struct socket_id id, enum wire_protocol *protocol)
{
    struct stripe *stripe = lock_stripe(d, &id);
    const enum wire_protocol *found = map_get(&stripe->ids, key_of(&id));
    if (found != NULL)
        *protocol = *found;
    pthread_mutex_unlock(&stripe->lock);
    return found != NULL;
}
