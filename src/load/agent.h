/* agent.h - one load agent of a scale run: its sessions, the sockets that listen to them, the slots that speak in them.
 *
 *      session 0  channel p-0   sockets 0 1      slot 2 speaks: message 7, token 41 of 112
 *      session 1  channel p-1   socket  2        nobody speaks
 *      session 2  channel p-2   sockets 3 4 5    slot 0 speaks
 *      idle       no channel    sockets 6 7 8 9  answer pings; one may join a session late and leaves at its next end
 *
 * A slot is one active stream: when its message ends it takes the session that has been silent longest and begins another, so
 * that the number of active streams is held. Its operations (create, tokens, end) are due on one absolute schedule, whatever
 * the server does:  operation g of slot k at start + g * interval + k * interval / slots.
 * Latency runs from then, so a slow server cannot slow down the question (no coordinated omission).
 *
 * A session's publisher and subscribers are in one agent, though perhaps on different nodes: what was sent is known where it is
 * checked, all latencies are of one clock, and results of agents just add up.
 *
 * mode_agent.c talks to the coordinator, agent_config.c reads what it wants, agent_sockets.c connects and resumes,
 * agent_frames.c reads and checks, agent_slots.c speaks, agent_events.c upsets (cancels, drops, late joins), agent_plant.c
 * spoils what arrives in negative controls, agent_audit.c reads the store back, agent_report.c writes results.
 *
 * Threads: one loop. Ownership: the agent owns all. Limits: sockets of one process (RLIMIT_NOFILE); 64 fault samples.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/hist.h"
#include "load/agent_config.h"
#include "load/api.h"
#include "load/httpc.h"
#include "load/options.h"
#include "load/transcript.h"
#include "load/wsc.h"

enum {
    AGENT_SERIAL_MAX = 128,
    AGENT_SAMPLES_MAX = 64,
    AGENT_STREAM_ID_SIZE = 36,
    AGENT_TOKENS_MAX = 4000, /* of a message; the server's own limit is 4096 appends */
};
#define AGENT_NONE UINT32_MAX

/* Figures that are sums: X(name in results). */
#define AGENT_COUNTS(X)                                                                                            \
    X(connect_attempts) X(connect_failures) X(lost) X(tokens_due) X(creates) X(appends) X(ends) X(retries) X(request_bytes) X(answer_bytes) \
    X(request_failures) X(request_timeouts) X(abandoned) X(frames) X(append_frames) X(frame_bytes) X(tokens_checked)   \
    X(frames_unrolled) X(frames_full) X(mismatches) X(missing) X(again) X(cut) X(altered) X(stray) X(serial_steps_back)           \
    X(transcripts) X(transcripts_unfinished) X(drops) X(resumes) X(resumes_refused) X(resumes_late)                \
    X(cancels) X(cancels_seen) X(cancels_ended) X(cancels_moot) X(joins) X(joins_whole) X(joins_wrong) X(joins_no_socket)          \
    X(samples_read) X(samples_wrong) X(planted)

struct agent_counts {
#define AGENT_FIELD(name) uint64_t name;
    AGENT_COUNTS(AGENT_FIELD)
#undef AGENT_FIELD
};

/* Histograms of nanoseconds: X(name in results). Delivery runs from when a token was due to when its frame was read: all tokens
 * of sockets with window 0; of others the first token of each frame, and all of them. Same: publisher and subscriber at the same node. */
#define AGENT_LATENCIES(X)                                                                                         \
    X(unrolled_same) X(unrolled_cross) X(rolled_first_same) X(rolled_first_cross) X(rolled_all_same)               \
    X(rolled_all_cross) X(ack) X(lag) X(resume) X(cancel) X(join) X(read_back) X(connect)
enum agent_latency {
#define AGENT_NAME(name) LATENCY_##name,
    AGENT_LATENCIES(AGENT_NAME)
#undef AGENT_NAME
    LATENCIES
};

struct agent;

/* One message as it was sent; a session keeps its newest two, by number modulo 2. */
struct agent_message {
    uint32_t slot, tokens; /* tokens: acknowledged so far */
    uint64_t first_op;     /* operation of the slot that carried token 0 */
    bool ended, abandoned; /* abandoned: the server refused to go on with it */
};

struct agent_session {
    uint32_t messages;     /* number of the newest */
    uint32_t slot;         /* that speaks; AGENT_NONE */
    uint32_t first_socket, sockets;
    uint32_t joiner;       /* socket that joined late; AGENT_NONE */
    uint32_t node;         /* of the publisher */
    uint32_t next;         /* silent sessions, longest first */
    struct agent_message last[2];
};

enum socket_stage { SOCKET_NONE, SOCKET_CONNECTING, SOCKET_SUBSCRIBING, SOCKET_RESUMING, SOCKET_HISTORY, SOCKET_READY };

struct agent_socket {
    struct wsc conn;
    struct agent *agent;
    struct timer back;       /* opens it again */
    struct transcript text;
    struct buf held;         /* a late joiner's frames until its history is there: size (4 bytes), frame */
    uint64_t away_ns;        /* when it was cut off, or asked for its history; 0 = neither */
    uint32_t session, node;  /* session AGENT_NONE: idle */
    enum socket_stage stage;
    bool idle;               /* belongs to no session by nature */
    bool rolled;             /* window is not 0 */
    bool full;               /* every frame shows the whole text so far */
    bool counted;            /* is among agent.ready */
    char stream_id[AGENT_STREAM_ID_SIZE + 1];
};

enum slot_stage { SLOT_SILENT, SLOT_CREATING, SLOT_TOKEN, SLOT_ENDING, SLOT_DONE };

struct agent_slot {
    struct httpc http;
    struct agent *agent;
    struct timer again;
    struct buf request;
    uint32_t index, session, node;
    uint32_t tries;              /* of the operation under way that failed */
    uint32_t total;              /* tokens of the message; what was sent of it is in the session */
    uint32_t cancel_at, cut_at, join_at; /* token at which something happens; AGENT_NONE */
    uint64_t issued, allowed;    /* operations sent, and due */
    uint64_t due_ns, sent_ns, free_ns; /* of the operation under way; free: the last answer */
    uint64_t cancel_ns;          /* a cancel is under way since */
    bool cancelled;              /* it arrived: end with that status */
    enum slot_stage stage;
    char serial[AGENT_SERIAL_MAX + 1];
};

struct agent_sample {
    struct script_message message;
    uint32_t tokens;
    char serial[AGENT_SERIAL_MAX + 1];
};

struct agent_fault { /* the first ones, in words */
    char text[200];
};

enum agent_phase { AGENT_CONNECTING, AGENT_WAITING, AGENT_RUNNING, AGENT_ENDING, AGENT_DRAINING, AGENT_AUDIT, AGENT_OVER };

struct agent_plant;

struct agent {
    struct agent_config config;
    struct options options;     /* for api.h */
    struct script script;
    struct hmac_key *secret;
    struct loop *loop;
    struct wire *wires;         /* by node; wires[0] owns the loop */
    struct api *apis;           /* by node */
    struct random random;
    struct agent_session *sessions;
    struct agent_socket *sockets;
    struct agent_slot *slots;
    uint32_t socket_count, subscribers;
    uint32_t silent_first, silent_last;
    uint32_t begun, ready, connecting; /* sockets */
    uint32_t next_idle;         /* where the search for one starts */
    uint64_t ramp_ns;           /* start of the ramp */
    uint64_t start_ns, end_ns;  /* of the schedule */
    uint64_t scheduled;         /* operations handed to slots */
    struct io timer;            /* wakes at the next one due */
    struct timer storm;         /* drops, cancels by schedule */
    uint64_t storm_cancels;
    uint32_t storm_next, storm_slot;
    enum agent_phase phase;
    uint32_t slots_done;
    uint64_t phase_ns, said_ns;  /* when the phase began, and when progress was told */
    uint64_t cpu_start_ns, cpu_end_ns, cpu_said_ns; /* used when the run began, when it ended, when progress was told last */
    double cpu_peak;             /* share of a core in the busiest second */
    struct io orders;            /* from the coordinator */
    struct buf order;
    struct agent_counts counts;
    struct hist *latency[LATENCIES];
    struct agent_sample *samples;
    uint64_t samples_seen;
    struct agent_fault faults[AGENT_SAMPLES_MAX];
    uint32_t fault_count;
    struct { char why[40]; uint64_t count; } causes[16]; /* why connections failed or were lost */
    struct agent_plant *plant;
    struct buf scratch, frame, channel;
};

static inline uint64_t agent_now(void)
{
    return clock_mono_ns(&clock_system);
}
/* Sessions are counted over all agents in names of channels. */
static inline unsigned agent_channel(const struct agent *a, uint32_t session)
{
    return (unsigned)a->config.first_session + session;
}
/* When operation `op` of a slot is due. */
uint64_t agent_due_ns(const struct agent *a, uint32_t slot, uint64_t op);
/* Notes in words what went wrong; only the first ones are kept. */
void agent_fault(struct agent *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
void agent_cause(struct agent *a, const char *why);
/* True with a probability of ppm millionths. */
bool agent_chance(struct agent *a, uint64_t ppm);

/* agent_sockets.c */
void agent_sockets_init(struct agent *a);
void agent_sockets_free(struct agent *a);
/* Begins connections at the ramp's pace; call it every turn. */
void agent_connect(struct agent *a);
bool agent_all_ready(const struct agent *a);
/* Ends a connection with a reset and brings it back with a resume after away_ms. */
void agent_cut(struct agent_socket *s, uint64_t away_ms);
/* Says subscribe for the socket's session; signed. */
void agent_say_subscribe(struct agent_socket *s, struct str socket_id);
void agent_socket_ready(struct agent_socket *s);

/* agent_frames.c */
void agent_frame(struct agent_socket *s, struct str payload, uint64_t now_ns);
/* Compares every transcript with what was sent, once nothing is under way. */
void agent_close_transcripts(struct agent *a);

/* agent_slots.c */
void agent_slots_init(struct agent *a);
void agent_slots_free(struct agent *a);
void agent_slots_start(struct agent *a);
/* Sends what is due; call it every turn. */
void agent_pump(struct agent *a);
/* Every slot ends its message. agent.slots_done tells how many have. */
void agent_slots_end(struct agent *a);
/* Repeats requests that have had no answer for too long. */
void agent_slots_watch(struct agent *a);

/* agent_events.c */
/* A slot has begun a message: what shall happen to it. */
void agent_plan_message(struct agent_slot *slot);
/* Token number `token` was acknowledged. */
void agent_token_passed(struct agent_slot *slot, uint32_t token);
void agent_storm_start(struct agent *a);
void agent_cancel_seen(struct agent_socket *s, uint32_t message);
/* Subscribed: a late joiner asks for the history until its attach position. */
void agent_join_ask(struct agent_socket *s, uint64_t now_ns);
/* A late joiner's history, or the end of its message. */
void agent_join_history(struct agent_socket *s, struct str payload, uint64_t now_ns);
void agent_join_over(struct agent_socket *s, bool whole);

/* agent_plant.c: NULL if nothing is planted. */
struct agent_plant *agent_plant_new(struct agent *a);
void agent_plant_free(struct agent_plant *p);
/* True if it took the frame, to lose it or to bring it later by agent_frame(). */
bool agent_plant_takes(struct agent_plant *p, struct agent_socket *s, struct str payload);

/* agent_audit.c */
void agent_sample(struct agent *a, struct script_message m, uint32_t tokens, const char *serial);
/* Reads each sample back from the store; turns the loop. */
void agent_audit(struct agent *a);

/* agent_report.c: each writes one line to stdout. */
void agent_say_progress(struct agent *a);
void agent_say_ready(struct agent *a);
void agent_say_result(struct agent *a);
void agent_say_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
