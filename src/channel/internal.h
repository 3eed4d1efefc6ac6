/* internal.h - what the files of src/channel share: the hub, and the mail between shards.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "channel/channel.h"
#include "channel/presence.h"
#include "channel/record.h"
#include "channel/remote.h"

struct listeners; /* local.c: one channel's subscribers on this shard */

struct hub {
    struct env *env;
    const struct egress *egress;
    struct map owned;              /* key -> struct channel */
    size_t channels_max;           /* HUB_CHANNELS_MAX but for tests */
    struct list idle;              /* channels that nothing refers to, oldest first */
    size_t idle_count;
    struct map local;              /* key -> struct listeners */
    void (*control)(void *sink, int code, struct str reason);
    struct watches *watches;       /* watch.c; NULL = no wildcard on any shard yet */
    uint64_t watch_generation;     /* counts their changes */
    uint32_t watches_noted;        /* subscriptions to wildcards, on all shards */
    bool watching;                 /* all topics are listened to */
    struct list watch_waiting;     /* struct watch_mail.link: until they are heard */
    uint64_t log_rows;             /* presence_log.c: transitions that wait or are being written */
    struct map doubts;             /* presence_log.c: channels whose log has a hole */
    bool doubts_overflow;
    size_t metas;                  /* [meta] channels owned here that have subscribers */
    struct list hots;              /* channels with a replay buffer, the one filled last at the end */
    size_t hot_bytes;              /* of all of them */
    struct timer hot_sweep;
    uint64_t hot_sweep_ms;
    struct list cached;            /* struct channel.cached_link: with a last event, the oldest first */
    size_t cached_count;
    struct timer cached_timer;     /* the oldest one's end */
    struct heads *heads;           /* heads.c; NULL = no bus, or nothing follows yet */
    struct departed *departed;     /* departed.c; NULL = no node has gone yet */
    struct questions *questions;   /* questions.c; NULL = none asked yet */
    struct will *will;             /* will.c; NULL = nothing to leave yet */
    struct list estates;           /* executor.c: wills of other nodes that are being carried out */
    uint64_t given_up_ms;          /* topics.c: when another node has said last that it took this one for dead; 0 = never */
    struct topic *topics;          /* topics.c; NULL = no bus, or nothing heard yet */
    struct upper {
        void (*take)(void *user, struct env *env, struct str node, struct str payload);
        void *user;
    } uppers[REMOTE_KINDS - REMOTE_UPPER];
    void (*missed)(void *user);    /* hub_on_missed() */
    void *missed_user;
    uint64_t publishes;            /* in flight, of all channels owned here */
    uint32_t abandoned;            /* attaches of this shard under way whose subscriber has left already */
    struct latency_probes *probes; /* latency.c */
};

struct subscription {
    struct env *env;
    struct app *app;
    struct listeners *listeners;   /* NULL until attached, and after detach */
    struct str channel;            /* owned */
    void *sink, *user;
    void (*attached)(void *user, struct subscription *s, const struct attached *attached);
    void (*overflow)(void *user, struct subscription *s);
    struct socket_id socket;
    struct filter *filter;
    struct gate *gate;             /* NULL = open */
    struct watch *watch;           /* watch.c: a wildcard; NULL = a channel */
    uint32_t index;                /* in its lane */
    uint8_t lane, format;
    bool waiting;                  /* the attach is under way */
    bool detached;                 /* while waiting */
    bool silent;
    bool in_lane;
    bool annotations;              /* wants annotation events */
    uint64_t after;                /* nothing at or below this position */
    uint64_t lease_ms;             /* of a detach that came while waiting */
    uint64_t gate_frames_max, gate_bytes_max;
    struct str member_id;          /* owned; absent = no presence member */
    char text[];
};

/* Subscriber's shard -> owner -> back. */
struct attach_mail {
    struct task task;
    struct list link;              /* in channel->attaching */
    struct env *home, *owner;      /* env of either side */
    struct subscription *s;
    unsigned lane;
    bool silent, fresh;            /* as in the request */
    bool added;                    /* the owner's: the member was not there before */
    struct app *app;
    struct channel_name kind;
    struct str channel, member_id, member_info;
    struct socket_id socket;
    struct attached answer;
    struct arena arena;
};

/* Subscriber's shard -> owner. */
struct detach_mail {
    struct task task;
    struct env *owner;
    struct app *app;
    unsigned home_shard;
    unsigned lane;
    bool silent;
    uint64_t lease_ms;
    struct socket_id socket;
    struct str channel, member_id;
    char text[];
};

/* Owner -> subscriber's shard: one per shard, sharing the message. */
struct message_shared {
    _Atomic uint32_t refs;
    struct app *app;
    struct str key, channel;
    struct delivery d;             /* strings inside point into text[] */
    int control_code;              /* 0 = a delivery; else tell the sinks */
    struct str control_reason;
    const char *channel_type;
    bool watched;                  /* subscribers of wildcards get it, too */
    char text[];
};
struct message_mail {
    struct task task;
    struct env *to;
    struct message_shared *shared;
};

/* key = app id, 0, channel; appended to out. */
void channel_key(struct buf *out, const struct app *app, struct str channel);

/* deliver.c */
void channel_post_shared(struct channel *ch, struct message_shared *shared);
void message_shared_drop(struct message_shared *shared);
struct message_shared *message_shared_new(const struct channel *ch, const struct delivery *d);

/* owner.c */
void owner_drain(struct channel *ch); /* whatever is next in order leaves */

/* attach.c */
void attach_topic_on(struct channel *ch); /* its topic is heard */
void attach_arrives(struct task *task);
void detach_arrives(struct task *task);
void attach_head_known(struct channel *ch);
/* Index of a lane's rollup window. */
static inline unsigned window_of_lane(unsigned lane)
{
    return lane == 0 ? WINDOWS - 1 : (lane - 1) % WINDOWS;
}
/* Changes how many subscribers the shard has in the lane; a shard without any is left out of the array. */
void interest_count(struct interest **interests, uint32_t *count, unsigned shard, unsigned lane, int change);
void attach_store_failed(struct channel *ch); /* those who wait are refused */

/* tell.c */
/* The count of subscriptions (of the outside) has just changed by one. */
void tell_subscribed(struct channel *ch);
void tell_unsubscribed(struct channel *ch);
void tell_cache_miss(struct channel *ch);
/* p is stored and versioned; after it has left for the subscribers. */
void tell_version_created(struct channel *ch, const struct publish *p);
void tell_member_added(struct channel *ch, struct str user_id);
void tell_member_updated(struct channel *ch, struct str user_id, struct str user_info);
void tell_member_removed(struct channel *ch, struct str user_id);
void tell_member_gone(struct channel *ch, struct str user_id); /* webhooks only */
/* He went with a node. With wills, webhooks are told by whoever executes it. */
void tell_member_lost(struct channel *ch, struct str user_id);
/* With several nodes: he has left at another one, which tells of it in wait_ms; if he comes here before, he was not away. */
void tell_member_away(struct channel *ch, struct str user_id, uint64_t wait_ms);
/* He has come to another node: if he was away, nobody tells of it. */
void tell_member_elsewhere(struct channel *ch, struct str user_id);

/* The answers of other nodes are there; first: of the fleet. */
void tell_counted(struct channel *ch, bool first);
/* What is elsewhere has changed. */
void tell_elsewhere(struct channel *ch, uint32_t before);
/* A node has died with subscribers, and this one is to tell. */
void tell_node_lost(struct channel *ch);
/* Another node has subscribers, or tells that it had the last one. False: this one was not about to tell. */
bool tell_no_vacated(struct channel *ch);
bool tell_meta_listens(struct channel *ch);
void tell_meta_changed(struct channel *meta); /* it is listened to, or not any more */

/* counts.c */
uint32_t counts_elsewhere(const struct channel *ch);
/* The counts at other nodes are known; if not, they are being asked for, and tell_counted() will be called. */
bool counts_ready(struct channel *ch, bool first);
void counts_changed(struct channel *ch); /* ours */
void counts_watch(struct env *env, struct app *app, struct str name); /* a [meta] channel is listened to */
void counts_ask_again(struct channel *ch);
bool counts_busy(struct channel *ch);
void counts_free(struct channel *ch);
void counts_take(struct env *env, struct str node, struct str payload);
void counts_asked(struct env *env, struct str node, uint64_t place, struct str payload);
void counts_answered(struct env *env, struct str node, struct str payload);
void counts_node_left(struct channel *ch, struct str node, bool leads);

/* hub.c */
void channel_control(struct channel *ch, int code, struct str reason); /* to every subscriber's connection here */

/* member.c */
struct presence *member_presence(struct channel *ch); /* made if need be */
/* By another node: to our own subscribers only. */
void member_came(struct channel *ch, struct str user_id, struct str user_info);
void member_went(struct channel *ch, struct str user_id);
void member_changed(struct channel *ch, struct str user_id, struct str user_info);
/* His last places, at several nodes, have gone at once, as subscribers know; this node tells the outside. */
void member_left_all(struct channel *ch, struct str user_id);
/* A node died with the user's last place. */
void member_lost(struct channel *ch, struct str user_id, struct str node);
/* The same of one who went a while ago, as subscribers know: whoever had to tell the outside may have done so or not. */
void member_lost_before(struct channel *ch, struct str user_id, struct str node);
/* Takes a place for the member of an attach, if it has one, and fills in answer.presence. False: the channel is full. */
bool member_joins(struct channel *ch, struct attach_mail *mail);
void member_leaves(struct channel *ch, struct str user_id, struct socket_id socket, uint64_t lease_ms);

/* hot_tier.c */
void hot_tier_init(struct hub *hub);
void hot_tier_free(struct hub *hub);
/* p is committed and about to be delivered: it is kept for replay. Without history it gets its position here. */
void hot_committed(struct channel *ch, struct publish *p);
/* The same for what was found in the store; frame: its V2 frame, as e says. */
void hot_repaired(struct channel *ch, const struct store_item *item, const struct envelope *e, struct frame *frame);
/* A channel without history gets a stream of its own, if it is to have one. */
void hot_begin_stream(struct channel *ch);
bool hot_is_kept(const struct channel *ch);
uint64_t hot_from(const struct channel *ch); /* for struct attached */
void hot_forget(struct channel *ch);

/* repair.c */
/* Before p (completed, at the front) leaves: false if nothing lies between it and what has been delivered. Otherwise the channel is
 * held, what is missing is delivered, and then the channel released. */
bool repair_begins(struct channel *ch, struct publish *p);
/* What lies below `position` is missing: an operation of another node waits for it, or the store has it. The bus has more_ms longer
 * to bring it than it usually has. */
void repair_gap(struct channel *ch, uint64_t position, unsigned more_ms);
/* A channel that is watched begins to follow: an operation has been seen, and those below it that the bus brings within a moment count
 * as later than the wildcard, too. */
void repair_first(struct channel *ch, struct str stream_id, uint64_t position);
/* The store's head, of a channel that follows and knows its own in part: the channel is held until all up to there is delivered. */
void repair_head_read(struct channel *ch, const struct store_head *head);
/* The channel follows, and may have got another stream: the store tells. It is held meanwhile. */
void repair_stream(struct channel *ch);
/* It has that stream from its beginning. */
void repair_adopt(struct channel *ch, struct str stream_id);
/* A write failed, and may have been stored all the same: finds out. */
void repair_doubt(struct channel *ch);
void repair_free(struct channel *ch);

/* topics.c */
/* The channel is in its topic from now on; false: attach_topic_on() will be called when it is heard. */
bool topic_join(struct channel *ch, unsigned window);
void topic_leave(struct channel *ch);
/* How long others may keep appends back: what this node has asked for. */
unsigned topic_window_ms(const struct channel *ch);
/* It hears what other nodes do, or there are none. */
bool topic_is_heard(const struct channel *ch);
/* All topics of this shard are listened to, with that window or a smaller one, until topics_unwatch(). watch_topic_on() is called
 * for each that is heard. */
void topics_watch(struct env *env, unsigned window);
void topics_unwatch(struct env *env);
bool topics_are_heard(struct env *env);
/* Others took this node for dead: every channel of the shard looks for what was not published for it. */
void topics_given_up(struct env *env);
void topics_free(struct hub *hub);

/* peers.c */
/* Who of the members is at other nodes is known; if not, they are being asked, and attach_head_known() will be called. */
bool peers_known(struct channel *ch);

/* ---- last_event.c: the last event of a cache channel ---- */
void last_event_keep(struct channel *ch, const struct publish *p);
void last_event_drop(struct channel *ch);
void last_events_init(struct hub *hub);
void last_events_free(struct hub *hub);
/* Whether it is known here if there is one. If not, the shared cache is asked, and attach_topic_on() follows. */
bool last_event_known(struct channel *ch);
void peers_ask_again(struct channel *ch);
void peers_forget(struct channel *ch); /* the channel is in no topic any more */
enum { NODE_NAME_MAX = 64 };
enum member_change { MEMBER_CAME, MEMBER_WENT, MEMBER_CHANGED };
/* The first place here of a user, the last one gone, or another info: the other nodes hear of it. */
void peers_tell_member(struct channel *ch, enum member_change what, struct str user_id, struct str user_info);
void peers_take_member(struct env *env, struct str node, struct str payload);
void peers_tell_control(struct env *env, const struct app *app, struct str channel, int code, struct str reason);
void peers_take_control(struct env *env, struct str payload);
void peers_tell_annotation(struct channel *ch, uint64_t serial, struct str json);
/* A reset or purge has changed the channel. */
void peers_tell_forget(struct env *env, const struct app *app, struct str channel);

/* heads.c */
void heads_watch(struct env *env); /* from now on */
/* A node has lost something that it had for this topic: the quiet channels are compared too. */
void heads_doubt(struct env *env, unsigned topic);
/* What other nodes have committed on the channel may be missing: compared soon, though it is quiet. */
void heads_doubt_channel(struct channel *ch);
void heads_free(struct hub *hub);

/* foreign.c */
/* An operation of another node; taken over. owner_drain() brings it to its subscribers. */
void foreign_take(struct channel *ch, struct publish *p);
/* The one that is next in order; NULL: none. *gap_before: the first waits for what lies below that position; 0 = it does not;
 * FOREIGN_STREAM: it is of another stream than the channel is known to have. */
#define FOREIGN_STREAM UINT64_MAX
struct publish *foreign_next(struct channel *ch, uint64_t *gap_before);
/* Out of the list, into the head. */
void foreign_delivered(struct channel *ch, struct publish *p);
/* Those of other streams than the channel's. */
void foreign_drop_others(struct channel *ch);
/* One of another node has been delivered, or read from the store: what the head can tell of it. */
void foreign_counts(struct channel *ch, enum store_action action, uint64_t history);
void foreign_free(struct channel *ch);

/* annotations.c */
/* The channel's annotations are in memory; if not, they are being loaded, and attach_head_known() will be called. */
bool annotations_ready(struct channel *ch);
/* The summaries for a new subscriber. */
void annotations_show(struct channel *ch, struct attached *answer, struct arena *arena);
bool annotations_busy(const struct channel *ch);
void annotations_forget(struct channel *ch); /* their rows may be gone */
/* Another node has made an event. */
void annotations_heard(struct channel *ch, uint64_t serial, struct str json);
/* The store has events up to there. */
void annotations_head(struct channel *ch, uint64_t serial);
bool annotations_held(const struct channel *ch);
void annotations_unheard(struct channel *ch); /* the channel has left its topic, or may have missed something */
void annotations_free(struct channel *ch);

/* formats.c */
/* The frames of one delivery as this shard's subscribers read them; each is converted when the first one needs it. */
struct formats {
    const struct delivery *d;
    struct frame *made[FORMATS][3]; /* by format and lane mode; JSON's are d's own */
    bool any;
};
/* NULL: the mode gets nothing. Valid until formats_drop(). */
struct frame *formats_convert(struct formats *f, enum wire_format format, enum lane_mode mode);
static inline struct frame *formats_frame(struct formats *f, enum wire_format format, enum lane_mode mode)
{
    return format == FORMAT_JSON ? f->d->frames[mode] : formats_convert(f, format, mode);
}
void formats_drop_made(struct formats *f);
static inline void formats_drop(struct formats *f)
{
    if (f->any)
        formats_drop_made(f);
}

/* watch.c */
void watchers_free(struct watchers *w);
void watch_attach(struct subscription *s, enum exact (*exact)(void *user, struct str channel, uint64_t first, struct subscription **live));
void watch_detach(struct subscription *s); /* of one that is not waiting; frees it */
struct tally {
    uint32_t sent;
    uint64_t bytes;
};
/* The record of a channel that patterns match, made for it. NULL: none does. */
struct channel *watch_channel(struct env *env, struct app *app, struct str name);
void watch_topic_on(struct env *env);
/* To this shard's subscribers of wildcards. */
struct tally watch_fan_out(struct hub *hub, const struct message_shared *m, struct formats *formats);
void watches_free(struct hub *hub);

/* latency.c */
/* m has just gone to so many: its latency is observed once this turn has written it. Beyond PROBES_MAX a turn, it is not. */
void latency_probe(struct env *env, const struct message_shared *m, uint32_t recipients);

/* local.c */
/* Whether m is for s; whether it would be, but for the filter of s. */
bool subscription_takes(struct subscription *s, const struct message_shared *m);
bool subscription_hides(struct subscription *s, const struct message_shared *m);
void subscription_free(struct subscription *s);
void message_arrives(struct task *task);
void attach_returns(struct task *task);
void local_free(struct hub *hub);
