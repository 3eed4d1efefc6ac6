/* channel.h - the owner's record of a channel, and how committed operations leave it.
 *
 * For src/channel and src/ai only; everybody else talks to hub.h.
 *
 *   in_flight  [p1 stored?][p2][p3]     in order of submission; the front leaves when it is completed, and then the next:
 *                                       what needs no store does not overtake what does
 *   lanes      how many subscribers on all shards are in each lane; interests[] the same per shard
 *
 * Life: made by the first publish or attach, kept while anything refers to it, then among the idle ones until
 * CHANNELS_IDLE_MAX others are younger.
 *
 * Units: ..._ms is env's monotonic clock unless it says wall; positions begin with 1, 0 = none. Ownership: a record is the hub's
 * (record.h), what its pointers lead to is the file's that is named there. Threads: the owner's shard only.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/map.h"
#include "channel/hub.h"
#include "message/metrics.h"

enum { CHANNELS_IDLE_MAX = 4096 };

struct interest {
    unsigned shard;
    uint32_t total;
    uint32_t lanes[LANES];
};

/* Who gets a channel by a wildcard: interests and lanes as in the channel itself. */
struct watchers {
    struct interest *interests;
    uint32_t interests_count;
    uint32_t lanes[LANES];
};

struct annotations;
struct counts;
struct leavers;
struct presence_log;
struct presence;
struct repair;
struct hot;
struct rollup;
struct full_texts;

struct channel {
    struct env *env;
    struct app *app;
    struct str key;                /* app id, 0, name; owned */
    struct str name;               /* view into key */
    struct channel_name kind;
    struct channel_policy policy;
    struct list idle_link;         /* in hub->idle while nothing refers to it */
    bool head_known;
    bool head_loading;
    bool head_partial;             /* only stream, delivery and history are known of it */
    bool draining;                 /* the front is leaving */
    uint8_t held;                  /* > 0: completed publishes and attaches wait */
    struct store_head head;        /* newest committed that this owner has seen */
    struct list in_flight;         /* struct publish.link */
    uint32_t in_flight_count;
    struct list attaching;         /* struct attach_mail.link: wait for the head */
    uint32_t subscriptions;        /* on all shards */
    uint32_t streams_here;         /* open ones that were opened here: with other nodes, it follows while there are any */
    uint32_t silent;               /* of them, those that are not counted for the outside */
    uint32_t lanes[LANES];
    struct interest *interests;
    uint32_t interests_count;
    struct watchers *watchers;     /* watch.c; NULL = nobody */
    unsigned topic;
    int bus_window;                /* what another node wants, counted in lanes[]; BUS_NOBODY */
    uint64_t moved_ms;             /* when something was delivered last, or may have been lost */
    bool in_topic;                 /* it holds its topic */
    bool follows;                  /* head is what this node has delivered, and nothing committed elsewhere can pass unseen */
    struct list topic_link;        /* in topic->waiting */
    struct peers *peers;           /* peers.c; NULL = nobody has been asked yet */
    struct list foreign;           /* struct publish.link: of other nodes, by position; not delivered yet */
    uint32_t foreign_count;
    uint64_t watch_generation;     /* of the hub, when that was looked up */
    struct repair *repair;         /* repair.c; NULL = nothing is missing */
    struct annotations *annotations; /* annotations.c; NULL = nobody has asked yet */
    struct presence *presence;     /* presence channels with members */
    struct presence_log *presence_log; /* presence_log.c; NULL = nothing was recorded */
    struct counts *counts;         /* counts.c: at other nodes; NULL = nobody has asked */
    struct leavers *leavers;       /* tell.c: whose leaving webhooks have not been told yet; NULL = none ever */
    struct leavers *away;          /* tell.c: of them, members that another node is waiting for; NULL = none ever */
    struct leavers *untold;        /* untold.c; NULL = none ever */
    struct rollup *rollup;         /* ai/rollup.c */
    struct full_texts *texts;      /* ai/full_text.c; NULL = no full subscriber */
    struct frame *cached[2];       /* cache channels: last event for V1, V2 */
    struct hot *hot;               /* hot_tier.c; NULL = nothing is kept for replay */
    struct list hot_link;          /* in hub->hots */
    size_t hot_counted;            /* bytes of it that the shard has counted */
    char *cached_json;             /* the same as the HTTP API shows it */
    uint64_t cached_until_ms;
    struct list cached_link;       /* in hub->cached while there is one */
    bool cached_asks, cached_known; /* last_event.c: the shared cache is being asked, has been since the channel is followed */
    bool cached_is_news;            /* an event has come since it was asked */
    char key_bytes[];
};

/* As the outside counts them. */
static inline uint32_t channel_subscriptions(const struct channel *ch)
{
    return ch->subscriptions - ch->silent;
}

/* Brings `watchers` up to date: a pattern may have come or gone. Whatever delivers without having been called by a publish
 * that has just been committed (a timer, an answer of the store) begins with this. */
void channel_watchers_now(struct channel *ch);
/* Whether a delivery would reach anybody, as of now. */
bool channel_has_listeners(struct channel *ch);

/* How committed operations leave: at once, or by rollup (ai/rollup.c). A table, since `channel` may not know `ai`. */
struct egress {
    /* p is committed (or needs no store): deliver it now or keep what is needed of it. */
    void (*committed)(struct channel *ch, struct publish *p);
    /* p is committed, here or on another node, whether it still has to be delivered or has been. Before committed(). Optional. */
    void (*noted)(struct channel *ch, const struct publish *p);
    /* False: not yet; the channel has been held, and will be released. Optional. */
    bool (*ready)(struct channel *ch, struct publish *p);
    /* p has come and goes to the store next: PUBLISH_OK, or why not. Optional. */
    enum publish_result (*admit)(struct channel *ch, struct publish *p);
    /* Everything pending leaves now. Optional. */
    void (*flush)(struct channel *ch);
    /* The channel is being freed. Optional. */
    void (*closed)(struct channel *ch);
    /* Operations were delivered without passing by: what is kept of texts is not whole any more. Optional. */
    void (*bypassed)(struct channel *ch);
    /* A write failed, and may have been stored all the same. Optional. */
    void (*doubted)(struct channel *ch);
    /* A reset or purge has changed the channel of that key, of which there need not be a record. Optional. */
    void (*forgotten)(struct env *env, struct str key);
};
void hub_set_egress(struct hub *hub, const struct egress *egress);
/* With other nodes: a stream opens here by an operation that is being finished; what others do to it is to be heard of until
 * channel_stream_ends(). False: nothing has been noted, and that is not to be called. */
bool channel_stream_opens(struct env *env, struct str key);
void channel_stream_ends(struct env *env, struct str key);
/* Newest position that the owner has seen of the channel with that key; 0 = none. */
uint64_t hub_head_delivery(const struct hub *hub, struct str key);
/* Stops emptying in_flight, and attaching, until as many releases. */
void channel_hold(struct channel *ch);
void channel_release(struct channel *ch);

/* One message on its way from the owner to the shards with subscribers. */
struct delivery {
    uint64_t first, last;          /* delivery positions that it covers; 0 = none */
    uint32_t lanes;                /* bit set: 1 << lane */
    struct frame *frames[3];       /* by enum lane_mode; NULL = that mode gets nothing; references are taken over */
    struct socket_id except;       /* zero = nobody */
    struct str event_name, tags;   /* for filters; tags absent = none */
    uint64_t arrived_ns;           /* of the newest operation in it; 0 = not measured */
    bool annotation;               /* only for those that asked for annotation events */
    bool append;                   /* counts in append_delivery_latency_ms */
    enum data_form form;           /* of the data in frames[] */
};
enum { ALL_LANES = (1 << LANES) - 1 };
static inline enum lane_mode lane_mode_of(unsigned lane)
{
    return lane == 0 ? LANE_V1 : lane <= WINDOWS ? LANE_DELTA : LANE_FULL;
}
/* The lanes of a mode, whatever their window. */
static inline uint32_t lanes_of_mode(enum lane_mode mode)
{
    uint32_t lanes = 0;
    for (unsigned lane = 0; lane < LANES; lane++)
        if (lane_mode_of(lane) == mode)
            lanes |= 1u << lane;
    return lanes;
}
/* Posts d to every shard that has subscribers in its lanes; takes over its frames. */
void channel_deliver(struct channel *ch, struct delivery *d);
/* ---- other nodes ---- */
struct remote; /* channel/remote.h */
/* Takes in what they want; before what is decided by lanes[]. */
void channel_look_at_bus(struct channel *ch);
/* A node listens in one of these lanes: what is delivered to them goes over the bus, too. */
bool channel_bus_wants(const struct channel *ch, uint32_t lanes);
void channel_send_remote(struct channel *ch, const struct remote *r);
/* Tells those who listen how far the channel goes: they read what they have not heard. */
void channel_send_head(struct channel *ch, struct str stream_id, uint64_t delivery);
void channel_send_publish(struct channel *ch, const struct publish *p);
/* How many subscribers are in the lanes of the bit set. */
uint32_t channel_lanes_count(const struct channel *ch, uint32_t lanes);
/* The envelope of a committed operation as it goes out live (chapter 3, 1.4). Views into p; `headers` is filled when
 * versioned and must live as long as e. */
void channel_envelope(const struct channel *ch, const struct publish *p, struct envelope *e, struct runtime_headers *headers);
/* The same with the id that each version has of its own; the id of a mutation is printed into version[]. */
void channel_frame_envelope(const struct channel *ch, const struct publish *p, struct envelope *e, struct runtime_headers *headers,
                            char version[SERIAL_SIZE + 1]);
/* Delivers a committed operation to the given lanes at once: encodes each mode that somebody needs. */
void channel_deliver_publish(struct channel *ch, const struct publish *p, uint32_t lanes);
/* Makes all subscribers in the lanes reconnect (control code 4200): their stream cannot be continued. */
void channel_cut(struct channel *ch, uint32_t lanes);
