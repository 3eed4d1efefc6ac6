/* record.h - the records of the channels that a shard owns: found, made, kept, given up.
 *
 *      owner_channel() -> in use -> owner_settle(): nothing refers to it -> idle, oldest first -> owner_free()
 *                           ^---------------- owner_wake() ----------------'
 *
 * Who uses a record calls owner_settle() when done: it is freed there, at once or later, so the pointer is good until then. What
 * refers to one (subscriptions, publishes in flight, members, reads under way and so on) is listed in record.c.
 *
 * Ownership: the hub's. Threads: the owner's shard only. Limit: CHANNELS_IDLE_MAX idle ones; of more, the oldest are freed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "channel/channel.h"

struct hub;

struct channel *owner_find(struct hub *hub, const struct app *app, struct str name); /* NULL: there is none */
/* Made if need be; not among the idle. */
struct channel *owner_channel(struct env *env, struct app *app, struct str name, const struct channel_name *kind);
void owner_settle(struct channel *ch);
void owner_wake(struct channel *ch); /* owner_settle() follows */
void owner_free(struct channel *ch); /* whatever refers to it */

/* What is known of the stream. */
void owner_know_head(struct channel *ch, const struct store_head *head);
void owner_bypassed(struct channel *ch); /* operations pass unseen, or have passed */
/* A reset or purge has changed the channel: the head is asked for again, what is kept for replay is dropped. */
void owner_forget(struct env *env, struct app *app, struct str channel);
