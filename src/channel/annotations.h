/* annotations.h - annotating the messages of a channel (chapter 3, section 7), as its owner does it.
 *
 *   hub_annotate --post--> owner: row of "[annotations]<channel>" -> durable -> summary folded -> frames, answer --post--> done()
 *
 * The rows of that internal channel are the truth, with positions, retention and durability like any other's; what the
 * owner holds in memory is folded from them when the first one asks, and goes with the channel's record.
 *
 * Frames: first the new summary to every V2 subscriber, then the event to those that asked for events. Neither has a
 * position; whoever subscribes gets the summaries as they are.
 *
 * Ownership: a request belongs to the hub from hub_annotate() until done(). Threads: env's shard.
 * Limits: ANNOTATIONS_MAX events per channel (ANNOTATE_FULL), ANNOTATION_SNAPSHOTS_MAX summaries to a new subscriber;
 * what retention has taken the message of is forgotten with it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "channel/hub.h"
#include "message/annotation.h"

enum { ANNOTATIONS_MAX = 100000, ANNOTATION_SNAPSHOTS_MAX = 1000 };

enum annotate_kind { ANNOTATE_CREATE, ANNOTATE_DELETE, ANNOTATE_LIST };
enum annotate_result {
    ANNOTATE_OK = 0,
    ANNOTATE_DUPLICATE,  /* deleted before: nothing was delivered */
    ANNOTATE_NOT_FOUND,  /* no such annotation of that message */
    ANNOTATE_NOT_CREATE, /* it is a delete itself */
    ANNOTATE_FORBIDDEN,  /* not the actor's own */
    ANNOTATE_FULL, ANNOTATE_BUSY, ANNOTATE_FAILED, ANNOTATE_UNHEALTHY,
};

struct annotate {
    struct task task;            /* the hub's, as the next three */
    struct env *at;
    struct list link;
    struct channel *channel;
    struct store_op op;          /* the hub's; op.arena is the arena of all that the request holds */
    enum annotate_kind kind;
    struct app *app;
    struct channel_name name;    /* checked */
    struct str channel_name;
    struct annotation event;     /* .message; CREATE: all but serial and time; DELETE: .target */
    struct str own_of;           /* DELETE: only if this client made it; absent = anybody's */
    struct str type;             /* LIST: only this type; absent = all */
    uint64_t after;              /* LIST: serials above */
    uint32_t limit;              /* LIST */
    bool read_again;             /* the hub's: a load that began after it was stored */
    unsigned reply_shard;
    void (*done)(struct annotate *a); /* on reply_shard */
    void *user;
    /* outputs */
    enum annotate_result result;
    uint64_t serial;             /* of the new event; DUPLICATE: the target's */
    struct str *items;           /* LIST: JSON objects, ascending, in the arena */
    size_t items_count;
    bool more;
};
struct annotate *annotate_new(struct env *env, struct app *app, enum annotate_kind kind, void (*done)(struct annotate *));
void annotate_free(struct annotate *a);
void hub_annotate(struct env *env, struct annotate *a);
/* The internal channel that keeps the annotations of `channel`; in the arena. */
struct str annotation_channel(struct arena *arena, struct str channel);
