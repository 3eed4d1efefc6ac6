/* client_event.h - what client events and AI events from clients have in common (chapter 1, sections 6 and 11.1).
 *
 * A check that refuses has told the client why. For src/session only.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "session/internal.h"

struct client_event {
    struct session *s;
    const struct client_message *m;
    struct arena *arena;
    struct channel_name name; /* checked */
    const struct sub *sub;    /* after client_event_is_subscribed() */
};
enum client_echo { ECHO_NO, ECHO_YES };

/* Counts the event, too. */
bool client_event_within_rate(struct client_event *e);
bool client_event_fits_payload(struct client_event *e);
/* Namespace, capabilities, user-limited channels; uses e->name. */
bool client_event_may_publish(struct client_event *e);
bool client_event_is_subscribed(struct client_event *e);

/* A create of what the client sent; `user`, user_id, client_id, message_id and extras are the caller's. */
struct publish *client_event_new(struct client_event *e, enum client_echo echo, void (*done)(struct publish *));
struct str client_event_fresh_id(struct client_event *e, struct arena *arena);
/* The webhook client_event, if somebody wants it. user_id: the presence member's; absent = none. */
void client_event_notify(struct env *env, const struct publish *p, struct socket_id socket, struct str event,
                         struct str data, struct str user_id);
/* In done(): says "over capacity" if nothing was stored and the client is still there; drops the handle. */
void client_event_answer(struct handle *handle, const struct publish *p);
