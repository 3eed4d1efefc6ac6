/* internal.h - what the files of src/session share.
 *
 *      session            one connection
 *        subs[]           its channels
 *          live           the hub's subscription that delivers
 *          next           an attach under way; when it returns it takes the place of `live`
 *          work           rewind and resume; while there is one, the gate of `live` is closed
 *        user             after sign-in
 *        resume           positions whose channel has not been subscribed to yet
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <stdarg.h>

#include "app/capability.h"
#include "app/limiter.h"
#include "base/map.h"
#include "message/metrics.h"
#include "session/directory.h"
#include "session/session.h"
#include "wire/codes.h"

struct sub;
struct work;
struct job;
struct conversions;
struct watchlist;
struct batch;
struct position;

struct sessions {
    struct env *env;
    const struct session_link *link;
    struct directory *directory; /* NULL = none */
    struct actors *actors;       /* of other nodes; NULL = none are asked */
    struct revocations *revocations; /* NULL = none: no token is good */
    size_t (*room)(void *sink);  /* NULL = not known */
    struct list all;            /* struct session.link */
    size_t count;
    struct frame *pongs[2];     /* by enum wire_protocol */
    struct frame *ping;         /* V1 */
    struct timer drain;
    uint64_t drain_until_ms;
    unsigned settle_ms;         /* sessions_settle() */
    unsigned reading;           /* jobs that read from the store */
    struct list waiting;        /* struct job.link: for their turn */
    struct map shared;          /* what is being read -> struct job that others may follow */
    struct list ready;          /* struct job.link: have their frames, may not send yet */
    unsigned sending;           /* jobs that began to send in this turn */
    struct list stalled;        /* struct job.link: wait for their sockets, who waits longest first */
    uint64_t stalled_bytes;     /* that they hold, of what was read from the store */
    struct timer sends;         /* the next turn */
    struct list kept;           /* kept.c */
    struct map kept_by_key;
    struct timer kept_timer;
    uint64_t kept_bytes;
    uint32_t kept_count;
    struct conversions *conversions; /* into other wire formats; NULL = none yet */
};

struct user { /* who the client is: by sign-in (chapter 1, 4.1) or by a capability token (4.4) */
    struct str id;
    struct str info;          /* JSON text, "{}" if none */
    struct capabilities *may; /* NULL = no list for anything */
    struct str jti;           /* of the token; absent: signed in */
    struct watchlist *watch;  /* NULL = the app wants no watchlist events */
    uint64_t token_due_ms;    /* when it expires, or the grace after that ends; 0 = no token */
    bool token_expired;       /* and the client has been told */
    bool has_meta;            /* user_data had `meta`, which is counted only */
    char text[];
};

struct limits {
    struct window messages, client_events;
};

/* Positions of channels that are not subscribed to yet, oldest first. */
struct pending {
    struct list positions; /* struct position.link */
    size_t count;
};

/* For whom an answer of the core is, when the session may be gone by then. */
struct handle {
    struct session *session; /* NULL = gone */
    uint32_t refs;
};

struct session {
    struct sessions *all;
    void *sink;
    struct app *app;
    struct list link;        /* in all->all */
    union {
        struct socket_id id;
        struct directory_entry entry; /* begins with it */
    };
    struct timer timer;      /* the only one */
    uint64_t heard_ms;       /* last frame of the client */
    uint64_t ping_ms;        /* when the ping left that has not been answered; 0 = none */
    uint64_t ping_due_ms;    /* V2: the next one */
    uint64_t auth_due_ms;    /* 0 = no deadline */
    uint64_t settle_due_ms;  /* first channels wait for a resume until then; 0 = they do not */
    struct sub **subs;       /* [0, wildcards) are those to patterns */
    struct map *by_name;     /* NULL while there are few */
    uint32_t subs_count, subs_cap;
    uint32_t filter_bytes;   /* of the texts of all filters */
    struct user *user;       /* NULL = not signed in */
    struct limits *limits;   /* NULL = none used yet */
    struct pending *pending; /* NULL = none */
    struct handle *handle;   /* NULL = nobody has asked for it */
    char *doom_reason;       /* with doom_code; owned */
    uint16_t doom_code;      /* not 0: to be closed with it in the next turn */
    uint8_t wildcards;       /* subscriptions to patterns */
    uint8_t histories;       /* channel_history requests under way */
    uint8_t protocol, mode, window_index, format;
    bool echo;
    bool settled;            /* a resume has come, or did not in time */
    bool over;               /* closed by us, has left its channels */
};
_Static_assert(sizeof(struct session) < 256, "an idle connection is cheap");

struct sub {
    struct session *session;
    struct subscription *live;   /* NULL until the first attach has returned */
    struct subscription *next;   /* NULL = no attach under way */
    struct work *work;           /* NULL = none */
    char *filter_json;           /* NUL-terminated; NULL = no filter */
    uint64_t *rewound;           /* history positions of the rows that a rewind sent; NULL = none */
    uint32_t rewound_count;
    uint32_t index;              /* in session->subs */
    uint32_t identities;         /* #server-to-user-<id>: how often this connection is that user */
    uint16_t acks;               /* acknowledgements to send when the attach returns */
    uint8_t kind;                /* enum channel_kind */
    bool cache;
    bool wildcard;
    bool covered;                /* not asked for: a channel of a wildcard, while it is resumed (cover.c) */
    bool annotations;            /* annotation events too */
    bool unsettled;              /* not attached yet: see sessions_settle() */
    bool shown;                  /* the client has asked for it */
    bool delta;                  /* to be told that there are no deltas */
    bool has_attach;             /* it was told attach_serial: */
    uint64_t attach_serial;      /* newest history serial at the acknowledgement (chapter 3, 5.1) */
    uint64_t wild_from;          /* a wildcard has delivered from this position on, before the first attach; 0 = nothing */
    uint64_t first_at;           /* delivery position from which on it has been served live */
    uint64_t live_at;            /* that at which `live` attached */
    char stream_id[STREAM_ID_SIZE + 1]; /* that first_at is of */
    struct str member;           /* user id in a presence channel; owned; absent = none */
    struct str channel;          /* text[] */
    char text[];
};

/* ---- session.c ---- */
static inline struct env *env_of(const struct session *s)
{
    return s->all->env;
}
static inline uint64_t now_of(const struct session *s)
{
    return env_now_ms(s->all->env);
}
static inline struct wire_to wire_of(const struct session *s)
{
    return (struct wire_to){s->protocol, &s->all->env->random};
}
/* Sends a JSON frame, in the client's format; takes over the reference. */
void session_say(struct session *s, struct frame *frame);
/* An error frame; channel absent = none. */
void session_error(struct session *s, int code, struct str channel, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Error frame, leaves all channels, closes. Not from within a delivery: there session_doom(). */
void session_fatal(struct session *s, int code, struct str reason);
/* session_fatal() in the next turn. */
void session_doom(struct session *s, int code, struct str reason);
/* Sets the timer to what is due next. */
void session_arm(struct session *s);
struct handle *session_handle(struct session *s); /* takes a reference */
void handle_drop(struct handle *h);

/* ---- sub.c ---- */
struct rewind {
    enum { REWIND_NONE, REWIND_COUNT, REWIND_SECONDS } kind;
    uint64_t n;
};
struct sub_ask { /* a subscribe that has passed its checks */
    struct str channel;
    struct channel_name name;
    struct filter *filter;      /* taken over */
    struct str filter_json;     /* absent = none */
    bool annotations;           /* annotation events, not only summaries */
    bool delta;                 /* wants deltas, and is told that it gets none */
    bool recovers;              /* the channel has positions to resume from */
    struct presence_member member;
    struct rewind rewind;
};
struct sub *sub_find(const struct session *s, struct str channel);
/* Whether it may have that filter, instead of the one of `sub` (NULL = a new one). */
bool sub_has_room_for_filter(const struct session *s, const struct sub *sub, struct str json);
/* Attaches, or attaches anew. */
void sub_subscribe(struct session *s, const struct sub_ask *ask);
void sub_unsubscribe(struct sub *sub);
/* The resume is here, or nobody waits for one any more: attaches what has waited. */
void sub_settled(struct session *s);
/* This connection is that user (once more; once less): it listens to #server-to-user-<id>. */
void sub_identify(struct session *s, struct str user_id);
void sub_forget_identity(struct session *s, struct str user_id);
/* One that a wildcard stands for, to be resumed; NULL: not possible. It is not attached yet. */
struct sub *sub_cover(struct session *s, struct str channel, struct str filter_json);
/* Leaves and forgets it. */
void sub_end(struct sub *sub);
/* Attaches once more, to close the gate at a position that the owner says. */
void sub_attach_again(struct sub *sub);
/* Opens the gate and says what a rewind has to say; frees the work. */
void sub_open(struct sub *sub);
/* Leaves all channels. lease_ms: how long presence members stay listed. */
void sub_leave_all(struct session *s, uint64_t lease_ms);
/* Whether the client is that user: signed in, or member of a presence channel. */
bool sub_is_user(const struct session *s, struct str user_id);

/* ---- cover.c ---- */
enum cover {
    COVER_NONE,  /* no wildcard of the connection matches */
    COVER_LATE,  /* one has delivered already: from where on is not known */
    COVER_OK,
};
/* How a channel that is not subscribed to can be resumed by a wildcard; COVER_OK: *sub is to be attached. */
enum cover cover_channel(struct session *s, struct str channel, struct sub **sub);
/* Whether some wildcard that covers it lets a message pass. */
bool cover_accepts(const struct sub *covered, struct str event, struct str tags);
/* A wildcard is new: resumes what waits for it. */
void cover_pending(struct session *s);
/* The subscription is about to end: what waits in its gate the wildcards have left to it. */
void cover_takes_over(struct sub *sub);
/* The resume of a covered channel is done: the wildcard goes on, if it is live. */
void cover_done(struct sub *covered);
/* A wildcard is live now, or gone: ends what is not needed any more. */
void cover_ends(struct session *s);

/* ---- resume.c ---- */
bool session_recovers(const struct session *s); /* it may resume */

/* ---- commands ---- */
void command_subscribe(struct session *s, const struct client_message *m, struct arena *arena);
void command_unsubscribe(struct session *s, const struct client_message *m, struct arena *arena);
void command_signin(struct session *s, const struct client_message *m, struct arena *arena);
void command_resume(struct session *s, const struct client_message *m, struct arena *arena);
void command_presence_update(struct session *s, const struct client_message *m, struct arena *arena);
void command_history(struct session *s, const struct client_message *m, struct arena *arena);
void command_auth(struct session *s, const struct client_message *m, struct arena *arena);
void command_client_event(struct session *s, const struct client_message *m, struct arena *arena);
void command_ai_event(struct session *s, const struct client_message *m, struct arena *arena);

/* ---- signin.c ---- */
/* jti absent: signed in. `may` is taken over. */
struct user *user_new(struct str id, struct str info, struct str jti, struct capabilities *may);
/* The connection's identity from now on. */
void user_becomes(struct session *s, struct user *user);
/* The app no longer counts the session's user; the session ends, or another one follows. */
void user_leaves(struct session *s);
static inline bool user_by_token(const struct user *user)
{
    return user->jti.p != NULL;
}
void user_free(struct user *user);
/* The verified identity: user id of a sign-in or client id of a token; absent = neither. A view, until the next command. */
struct str session_identity(const struct session *s);
/* V2, chapter 1, 4.4: what the identity may do; operation as capability_of() takes it. Without a list: subscribe, publish, history and
 * presence are allowed, the rest is not. */
bool user_may(const struct session *s, struct str operation, struct str channel);
/* What fits of a text for a client into room, cut between characters. */
struct str text_print(char *room, size_t size, const char *format, va_list args) __attribute__((format(printf, 3, 0)));

/* Acknowledges a sign-in. */
void signin_says_success(struct session *s, struct str user_data);

/* ---- watchlist.c ---- */
enum { WATCHLIST_MAX = 100 };
/* Makes the connection one of those that say that its user is online. */
struct watchlist *watchlist_new(struct session *s, struct str own_id);
/* Once. Tells the states of those users (a JSON array; anything else: nobody), then acknowledges the sign-in, then tells changes. */
void watchlist_begin(struct watchlist *w, struct str ids, struct str user_data);
/* The connection is somebody else now: acknowledges what has not been, leaves, frees. w may be NULL in these. */
void watchlist_replaced(struct watchlist *w);
void watchlist_leave(struct watchlist *w); /* the connection is over: says nothing more */
void watchlist_free(struct watchlist *w);

/* ---- auth.c ---- */
struct token;
/* NULL and *out, or static text: why this token is not accepted on a connection of that protocol. */
const char *auth_check(struct sessions *all, struct app *app, enum wire_protocol protocol, struct str jwt,
                       struct arena *arena, struct token *out);
/* Its client is the identity from now on; takes over token->may. */
void auth_take(struct session *s, const struct token *token);
uint64_t token_due_ms(const struct session *s); /* 0 = nothing */
void token_expires(struct session *s, uint64_t now); /* that is due */
/* Tells and closes what uses a token of that jti or client (absent = not that one). Returns how many. */
uint32_t sessions_revoke(struct sessions *all, const struct app *app, struct str jti, struct str client_id);

/* ---- subscribe.c ---- */
/* The reason for 4009 when the name is base#u1,u2 and this connection is none of them; absent if it may. In the arena. */
struct str user_limit_refuses(const struct session *s, const struct channel_name *name, struct str channel,
                              struct arena *arena);
