/* annotations_held.h - what the owner of a channel holds of its annotations, folded from their rows.
 *
 *   messages    [m3][m7][m8]...       those that have any, by history position
 *     events      in the order of their serials
 *     reactions   one per type: the summary and, once somebody needs it, its frame
 *   by_serial   event of a serial
 *
 * Ownership: the channel's record. Threads: its owner's shard. Limits: as annotations.h says; what is held counts in `bytes`.
 * For annotations.c, annotations_held.c and annotations_shown.c only.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "channel/annotations.h"
#include "channel/internal.h"

struct reaction {
    struct reaction *next;
    struct summary *summary;
    struct frame *frame; /* NULL = to be encoded */
    struct str type;     /* text[] */
    char text[];
};
struct event {
    uint64_t serial; /* the key in by_serial */
    bool deletes;
    bool deleted;
    bool changed;        /* the summary, when it was folded */
    struct reaction *reaction;
    struct str json; /* text[] */
    char text[];
};
struct annotated {
    struct message_id id;
    struct reaction *reactions;
    struct event **events;
    size_t count, cap;
};
struct annotations {
    struct annotated **messages;
    size_t messages_count, messages_cap;
    struct map by_serial;
    bool loaded, loading;
    uint64_t last;          /* serial of the newest that is folded; all below it are, too */
    uint64_t announce_from; /* while loading: these are news to the subscribers; 0 = none */
    bool again;             /* load what has come since, when this is done */
    bool current;           /* what other nodes make has been heard of since the last load */
    struct list unfolded;   /* struct annotate.link: ours, stored, and behind what is being loaded */
    bool stale;             /* to be forgotten when nothing is in flight */
    uint32_t in_flight;
    struct list waiting;    /* struct annotate.link: until it is loaded */
    uint64_t bytes;
};

/* ch->annotations, made if need be. */
struct annotations *annotations_of(struct channel *ch);
struct annotated *annotations_find(const struct annotations *all, uint64_t history); /* NULL = has none */
struct event *annotations_event(const struct annotations *all, uint64_t serial);     /* NULL = none */
/* Takes in an event (serial and stored JSON given). The summary that it has changed; NULL: it changes nothing. */
struct reaction *annotations_fold(struct channel *ch, const struct annotation *a, struct str json);
/* Messages that retention has taken. */
void annotations_forget_gone(struct channel *ch);
void annotations_forget_all(struct channel *ch);

/* ---- annotations_shown.c ---- */

/* a has changed the summary r: its subscribers get that, those who asked for events a as well. */
void annotations_announce(struct channel *ch, const struct annotation *a, struct reaction *r);
/* a, of this node, is stored and folded. */
void annotations_tell_webhooks(struct channel *ch, const struct annotation *a);
