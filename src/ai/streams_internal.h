/* streams_internal.h - what streams.c, janitor.c and find_open.c share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "ai/streams.h"

struct check;  /* janitor.c */
struct finder; /* find_open.c */

struct stream {
    struct list link;          /* in by_activity, in `checked` while it is being closed, or in `retried` */
    struct app *app;
    struct message_id message;
    uint64_t delivery;         /* its newest version, as far as this owner knows */
    uint64_t seen_ms;          /* when that was committed; monotonic */
    int64_t opened_ms;         /* monotonic; before the process started if a former one opened it */
    struct check *check;       /* NULL = none under way */
    uint32_t key_size;
    bool followed;             /* channel_stream_opens() */
    char key[];                /* app id, 0, channel, history position (8 bytes) */
};
_Static_assert(sizeof(struct stream) <= 96, "an open stream that is silent is cheap");

struct streams {
    struct env *env;
    struct map by_key;
    struct list by_activity;   /* oldest first */
    struct list checked, retried;
    unsigned checks;
    struct timer due, retry;
    struct finder *finder;     /* NULL = it has told all, or does not run here */
    bool shared;               /* other nodes write to the store: only what was opened here is watched here */
    bool stopped;
};

static inline struct str stream_channel(const struct stream *s)
{
    size_t app = s->app->id.n + 1;
    return str_make(s->key + app, s->key_size - app - sizeof(uint64_t));
}

/* streams.c */
struct stream *stream_find(struct streams *all, struct str channel_key, uint64_t history);
struct stream *stream_add(struct streams *all, struct app *app, struct str channel_key, const struct message_id *message);
/* Not open any more: frees it. */
void stream_forget(struct streams *all, struct stream *s);
/* A commit, or what has to be taken for one. */
void stream_touch(struct streams *all, struct stream *s, uint64_t delivery);
/* Silent for long enough, as the store says. */
void stream_is_silent(struct streams *all, struct stream *s, uint64_t delivery);

/* janitor.c */
void janitor_wakes(struct timer *due);
void janitor_retries(struct timer *retry);
/* Begins closing what is due, and waits for what is not. */
void janitor_looks(struct streams *all);
/* Reads the stream from the store: forgets it if it is not open any more. */
void janitor_checks(struct streams *all, struct stream *s);
void check_abandon(struct check *c);

/* find_open.c */
void finder_stop(struct finder *f);
