/* hub.h - the channels of one shard: those it owns, and those its own connections listen to.
 *
 * A channel is owned by the shard that its (app, name) hashes to. All that happens on it goes through its owner:
 *
 *   publish  --post-->  owner: store op -> durable -> ack to the requester
 *                                              \-> egress (rollup) -> delivery --post--> shards with subscribers -> sinks
 *   attach   --post-->  owner: flush rollup, take the head -> attached --post--> the subscriber's shard
 *
 * Posts between two shards keep their order, so a subscriber that sees `attached` at position A has missed nothing above
 * A, and gets everything above A.
 *
 * Lanes: subscribers of a channel on a shard are grouped by what they get (protocol, append mode, rollup window).
 * A delivery names one frame per group of lanes; each subscriber gets a reference to it.
 *
 * Ownership: requests (struct publish, attach, query) belong to the hub from submit until done(), then to the submitter.
 * Threads: every call on env's shard.
 * Limits: CHANNEL_WAITING_MAX publishes in flight per channel (then PUBLISH_BUSY, as while env_is_behind()); a closed gate holds as many frames and bytes as
 * the connection's send queue may. HUB_ABANDONED_MAX subscriptions of a shard that were given up before their owner has answered: beyond,
 * hub_takes_subscriptions() says no. A shard that has records of HUB_CHANNELS_MAX channels (2 KiB each with a subscriber) refuses the first
 * subscriber of another one with 4100 (connection_limits_reached_total{limit="channels_of_node"}); publishing is not limited by it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "app/app.h"
#include "message/env.h"
#include "message/hot.h"
#include "wire/envelope.h"
#include "wire/format.h"
#include "wire/system.h"

enum { CHANNEL_WAITING_MAX = 4096, HUB_ABANDONED_MAX = 65536, HUB_CHANNELS_MAX = 1 << 20 };

struct hub;
struct hub *hub_new(struct env *env); /* sets env->hub */
void hub_free(struct hub *hub);
/* Its topic on the bus (design, "Cluster"); 0 without one. */
unsigned hub_topic(const struct env *env, const struct app *app, struct str channel);
/* The shard that owns the channel; a [meta] channel lives with the one that it is about. */
unsigned hub_owner(const struct env *env, const struct app *app, struct str channel);

/* ---- publishing ---- */

enum publish_result {
    PUBLISH_OK = 0,
    PUBLISH_DUPLICATE,     /* same key, same payload: the first positions are in `written` */
    PUBLISH_CONFLICT,      /* same key, other payload */
    PUBLISH_NOT_FOUND, PUBLISH_TERMINAL, PUBLISH_NOT_STRING,
    PUBLISH_CHANGED,       /* not the version, or not the length of text, that the operation expects */
    PUBLISH_APPENDS_MAX, PUBLISH_BYTES_MAX, PUBLISH_OPEN_MAX, /* the 40009 of chapter 4, 5.3 */
    PUBLISH_APP_OPEN_MAX, PUBLISH_FRAGMENT_MAX, PUBLISH_TOO_OLD,
    PUBLISH_BUSY,          /* too many waiting, or the store's queue is full: 503 backpressure */
    PUBLISH_FAILED,        /* the store failed or timed out: 503 backpressure */
    PUBLISH_UNHEALTHY,     /* stream needs a reset: 503 service_unavailable */
};

struct publish {
    struct task task;            /* the hub's */
    struct env *at;              /* the hub's: where it runs next */
    struct list link;            /* the hub's */
    struct store_op op;          /* content goes into op.write: event_name, data, extras, tags, user_id, client_id, message_id,
                                  * target, clear, description, metadata, receipt_key, fingerprint (of the request), status.
                                  * action: ACTION_CREATE for a publish (the owner makes it ORDINARY when not versioned).
                                  * op.arena is the arena for all of it. op.app_id and op.channel are set. */
    struct app *app;
    struct channel_name name;    /* checked */
    struct extras_facts extras;  /* of op.write.extras */
    bool ai_event;               /* the event is one of the eleven */
    enum data_form form;         /* of op.write.data: what live subscribers of a binary format get */
    bool too_old;                /* the hub's: its stream has been open for too long, only a repetition may pass */
    bool by_server;              /* the server's own: the limits of AI channels do not apply */
    struct socket_id except;     /* not delivered to it; zero = nobody. Of a publish only: whoever missed a
                                  * mutation could not follow the text, so mutations go to everybody */
    struct str cache_event;      /* cache channels: JSON {"event","channel","data"} to keep; absent = not a cache channel */
    uint64_t arrived_ns;         /* monotonic, when the request's first byte came */
    unsigned reply_shard;
    void (*done)(struct publish *p); /* on reply_shard */
    void *user;
    /* outputs; op.written and op.head too */
    enum publish_result result;
    bool stored;                 /* took positions */
    bool versioned;
    bool positioned;             /* has a position although it is not stored: of the replay buffer's stream */
    struct frame *frame;         /* the hub's: its V2 frame, once made */
    struct channel *channel;     /* the hub's, as the next two */
    uint64_t submitted_ns;
    bool completed;
    bool stream_asked;           /* its stream is not the one that was known: the store has been asked for it */
    bool sent_ahead;             /* other nodes have been told of it while it waits for theirs */
    bool foreign;                /* committed by another node: */
    bool more;                   /* what came with it follows */
    uint8_t rolled;              /* index of the window that it has waited for there already */
    bool reserves_stream;        /* counted in app->open_streams until it is completed */
};
struct publish *publish_new(struct env *env, struct app *app, void (*done)(struct publish *));
void publish_free(struct publish *p);
void hub_publish(struct env *env, struct publish *p);

/* ---- subscribing ---- */

enum { WINDOWS = 5 };
extern const uint16_t windows_ms[WINDOWS]; /* 0, 20, 40, 100, 500 */
/* Lane number of a connection: V1 = 0; V2 delta with window i = 1 + i; V2 full = 1 + WINDOWS + i. */
enum { LANES = 1 + 2 * WINDOWS };
unsigned lane_of(enum lane_mode mode, unsigned window_index);
int window_index(uint64_t window_ms); /* 0..4, -1 = not one of the five */

/* One connection's subscription to one channel. Made by subscription_new(), freed by the hub after hub_detach(). */
struct subscription;
struct filter; /* channel/filter.h */

struct presence_member {
    struct str user_id;   /* text; absent: not a presence channel */
    struct str user_info; /* JSON text, "{}" if none */
};

enum exact {
    EXACT_NONE,        /* no, or it is not attached yet */
    EXACT_LIVE,        /* *live is it */
    EXACT_WILL_REPLAY, /* it is being attached, and everything up to where it will be comes from the store */
};

struct attached;
struct attach_request {
    struct app *app;
    struct str channel;          /* copied */
    struct channel_name name;    /* kind, cache, ns are used */
    void *sink;                  /* env->deliver's */
    struct socket_id socket;     /* who */
    unsigned lane;
    bool annotations;            /* wants annotation events, not only summaries */
    enum wire_format format;     /* what the sink gets: frames of the lane are converted once for all that read it */
    struct filter *filter;       /* owned by the subscription from then on; NULL = none */
    struct presence_member member; /* copied */
    bool fresh;                  /* at the store's head as of now: with other nodes, this one may not have heard all of it yet */
    bool silent;                 /* another subscription of this connection stands for it: it is not counted, nobody is told */
    /* On the subscriber's shard, once; the subscription is gated then: nothing live is delivered until
     * subscription_open(). A wildcard has no position and no gate: it is live when this returns. `attached` lives for the call. */
    void (*attached)(void *user, struct subscription *s, const struct attached *attached);
    void *user;
    /* Wildcards: whether the connection has a subscription of its own to that channel. If not, it gets by the wildcard now what
     * begins at the delivery position `first` (0 = none). */
    enum exact (*exact)(void *user, struct str channel, uint64_t first, struct subscription **live);
    /* A closed gate is full: the connection must be ended. */
    void (*overflow)(void *user, struct subscription *s);
    uint64_t gate_frames_max, gate_bytes_max; /* 0 = none */
};
struct attached {
    int code;                    /* 0, or the error code to answer; then the subscription is dead and freed by the hub */
    struct str message;          /* with code */
    struct channel_policy policy;
    struct store_head head;      /* positions at the attach; stream_id "" = none. Without history: of the replay buffer */
    uint64_t hot_from;           /* smallest position from which hub_replay() has all up to the head; UINT64_MAX = none */
    struct str presence;         /* JSON {"ids","hash","count"}; absent unless a presence channel */
    struct frame *cached_v1, *cached_v2; /* cache channels: last event; NULL = none (borrowed) */
    struct frame **summaries;    /* V2: of the channel's annotations, newest messages first (borrowed) */
    size_t summaries_count;
};
struct subscription *hub_attach(struct env *env, const struct attach_request *request);
/* Whoever lets clients subscribe and leave as they like asks this first. */
bool hub_takes_subscriptions(const struct env *env);
/* Ends it, whether attached yet or not; its callbacks are never called again. Nothing of the channel is delivered after. A presence
 * member leaves at once, or after lease_ms if the connection was lost. */
void hub_detach(struct env *env, struct subscription *s, uint64_t lease_ms);
bool subscription_is_silent(const struct subscription *s);
/* hub_detach() of `old`, whose place `fresh` takes. If that one is silent, nothing has changed for the outside. */
void hub_replace(struct env *env, struct subscription *old, struct subscription *fresh);
/* Delivers what the gate holds above `above` (delivery position; frames without position always) in order, then live. Returns how many
 * frames were delivered from the gate; *last = position of the last one (unchanged if none). */
uint32_t subscription_open(struct env *env, struct subscription *s, uint64_t above, uint64_t *last);
struct str subscription_channel(const struct subscription *s);
const struct filter *subscription_filter(const struct subscription *s);
void subscription_set_filter(struct subscription *s, struct filter *filter);
void subscription_set_annotations(struct subscription *s, bool wanted);

/* A member replaces its info (chapter 1, 5.8). Everything is copied. */
enum member_result { MEMBER_UPDATED = 0, MEMBER_UNKNOWN, MEMBER_TOO_OFTEN };
struct member_update {
    struct app *app;
    struct str channel, user_id;
    struct str user_info;        /* JSON text */
    struct socket_id socket;     /* who says so */
    void (*done)(void *user, enum member_result result); /* on this shard, once */
    void *user;
};
void hub_update_member(struct env *env, const struct member_update *update);

/* What the owner's replay buffer has of (from, to]: done() gets the slice and its reference, or NULL, on this shard. */
struct replay_wanted {
    struct app *app;
    struct str channel, stream_id; /* copied */
    uint64_t from, to;
    enum hot_want want;
    void (*done)(void *user, struct slice *slice);
    void *user;
};
void hub_replay(struct env *env, const struct replay_wanted *wanted);

/* A control word for all connections of a user on all shards: reaches them through their subscription to
 * #server-to-user-<id>, as control(user, code, reason). Hub-wide callback, set by the session layer. */
void hub_on_control(struct hub *hub, void (*control)(void *sink, int code, struct str reason));
void hub_terminate_user(struct env *env, struct app *app, struct str user_id, int code, struct str reason);

/* ---- questions ---- */

enum query_kind { QUERY_CHANNEL, QUERY_CHANNELS, QUERY_USERS, QUERY_TOTALS, QUERY_MEMBER };
struct query_channel { /* one answer row of CHANNELS */
    struct str name;
    uint32_t subscription_count, user_count;
};
struct query {
    struct task task;            /* the hub's */
    struct env *at;              /* the hub's: where it runs next */
    struct arena arena;
    enum query_kind kind;
    struct app *app;             /* TOTALS: NULL = all apps */
    struct str channel;          /* CHANNEL, USERS, MEMBER: name; CHANNELS: prefix. In arena. */
    struct str member;           /* MEMBER: user id. In arena. */
    unsigned reply_shard;
    unsigned asked;              /* the hub's: shards still to ask */
    struct env *home;            /* the hub's: who asked */
    bool here_only;              /* other nodes are not asked */
    void (*done)(struct query *q);
    void *user;
    /* outputs, in arena */
    uint32_t subscription_count, user_count; /* MEMBER: user_count is 1 if he has a place at a node that answers */
    bool incomplete;             /* some node has not answered: there may be more */
    struct str *users;           /* USERS */
    size_t users_count;
    struct query_channel *channels;
    size_t channels_count, channels_cap;
    struct str cached;           /* CHANNEL: the cached event's JSON text; absent = none */
    uint64_t cached_ttl_s;
    enum stream_state presence_log; /* CHANNEL: not healthy: its presence history has a hole */
    uint64_t logs_degraded, logs_reset_required; /* TOTALS: so many of these */
    /* TOTALS */
    uint64_t users_here; /* who can be addressed: their channels are not among the occupied ones */
    uint64_t occupied, subscriptions, presence_channels, presence_subscriptions, presence_members;
};
struct query *query_new(struct env *env, enum query_kind kind, struct app *app, void (*done)(struct query *));
void query_free(struct query *q);
void hub_ask(struct env *env, struct query *q);

/* Forgets what was recorded of a presence channel's comings and goings; the new log begins with the members who are there.
 * Fill in the first part; `reset` is the hub's until done(). */
struct presence_reset {
    struct app *app;
    struct str channel;
    struct channel_name name;
    void (*done)(struct presence_reset *reset); /* on this shard, with op.result, op.head and op.found as STORE_RESET has them */
    void *user;
    struct store_op op;          /* the rest is the hub's; free op.arena afterwards */
    unsigned reply_shard;
    void *mail;
};
void hub_reset_presence_history(struct env *env, struct presence_reset *reset);

/* Sends all pending rollups of the channels this shard owns (drain, reload). */
void hub_flush(struct env *env);
/* Nothing in flight: no publish waits for the store. */
bool hub_is_idle(const struct env *env);
/* ---- other nodes; see struct env_bus ---- */

/* What another node has published to the topic. */
void hub_published(struct env *env, struct str node, unsigned topic, struct str payload);
/* What another node has sent to this one, or to all. */
void hub_received(struct env *env, struct str node, struct str payload);
unsigned hub_place(struct str payload);
/* Who hears a kind of payload (channel/remote.h, from REMOTE_UPPER on) on this shard; take NULL = nobody. The payload begins behind
 * its place. And who is told of hub_missed(). */
void hub_on_remote(struct hub *hub, unsigned kind, void (*take)(void *user, struct env *env, struct str node, struct str payload), void *user);
void *hub_remote_user(const struct hub *hub, unsigned kind); /* NULL = nobody hears it */
void hub_on_missed(struct hub *hub, void (*missed)(void *user), void *user);
/* It is dead, or has said good-bye. leads: this node is the one that tells the outside of it, where no other rule says who does
 * (channel/departed.h), and of what stands in its will (channel/will.h). */
void hub_peer_left(struct env *env, struct str node, bool leads);
/* A node that hub_peer_left() has told of was not dead: its members and counts are asked for, and it is told, so that it looks for what was
 * not published for it. leads: as above, for members who are there again. */
void hub_peer_back(struct env *env, struct str node, bool leads);
/* The topic is heard from now on. */
void hub_listening(struct env *env, unsigned topic);
/* Something that this node has published to the topic will not arrive: those who listen are told, as soon as that gets through. */
void hub_dropped(struct env *env, unsigned topic);
/* Something may have been missed on all topics. */
void hub_missed(struct env *env);

/* Channels that a reset or purge has changed: drops what is cached of it (the owner's shard is found). */
void hub_forget(struct env *env, struct app *app, struct str channel);
