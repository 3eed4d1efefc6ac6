/* subscriber.c - a V2 client as the SDKs are by default, on a network that delays, stalls and breaks.
 *
 * It drops a message_id that it has seen, keeps the position of every frame with channel and serial, and needs a base before
 * an append. After a lost connection it subscribes and resumes; if that fails, or a rewind was cut short, it starts anew with a
 * rewind. A resume that leaves late, after its subscribe, is a careful client's: it keeps its old position until the resume is
 * answered, since the acknowledgement could not know of it; if it is not answered, it starts anew.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "sim.h"
#include "base/json.h"
#include "base/map.h"
#include "base/mem.h"
#include "wire/codes.h"
#include <stdio.h>
#include <stdlib.h>

enum { SEEN_MAX = 1000, QUEUE_MAX = 200 };

struct connection { /* both ends; `sink` of the core */
    struct subscriber *client;
    struct session *session; /* NULL once closed on the server's side */
    struct shard *shard;
    uint32_t life;
    bool closing, dead;      /* server closes; client has let go */
    uint32_t queued;
    uint64_t arrive_ns;      /* of the newest frame */
    struct list arriving;    /* first in, first out, whatever stalls */
};

struct text {
    struct list link;
    char *serial;
    struct buf body;
};

struct subscriber {
    struct world *world;
    unsigned index, channel;
    enum lane_mode mode;
    enum wire_format format;
    unsigned window;
    struct connection *conn;
    struct list texts;
    bool positioned, live, fresh; /* fresh: forget everything, rewind */
    bool resuming_late;           /* positions wait in `next` until resume_success */
    uint64_t next;
    char stream_id[64];
    uint64_t serial;
    uint64_t seen[SEEN_MAX];
    size_t seen_count;
    uint64_t stalled_until_ns;
    struct frame *held;           /* PLANT_REORDER */
};

static void connects(struct world *w, void *what);

struct subscriber *subscriber_new(struct world *w, unsigned index)
{
    struct subscriber *s = mem_new(struct subscriber);
    static const unsigned windows[] = {0, 1, 2, 2, 3};
    s->world = w;
    s->index = index;
    s->channel = index % CHANNELS;
    s->mode = world_chance(w, 3) ? LANE_FULL : LANE_DELTA;
    s->window = windows[world_pick(w, 0, 4)];
    s->format = index / CHANNELS % FORMATS;
    list_init(&s->texts);
    return s;
}

void subscriber_start(struct world *w, struct subscriber *s)
{
    s->fresh = true;
    world_after(w, MS(world_pick(w, 0, 1500)), connects, s, 0);
}

bool subscriber_is_live(const struct subscriber *s)
{
    return s->live && s->conn != NULL;
}

unsigned subscriber_channel(const struct subscriber *s)
{
    return s->channel;
}

static struct text *find_text(const struct subscriber *s, struct str serial)
{
    list_each(at, &s->texts)
    {
        struct text *t = list_of(at, struct text, link);
        if (str_eq(str_of(t->serial), serial))
            return t;
    }
    return NULL;
}

struct str subscriber_text(const struct subscriber *s, struct str serial)
{
    struct text *t = find_text(s, serial);
    return t ? buf_view(&t->body) : STR_NONE;
}

static void forget_all(struct subscriber *s)
{
    for (struct list *link; (link = list_take(&s->texts)) != NULL;) {
        struct text *t = list_of(link, struct text, link);
        buf_free(&t->body);
        free(t->serial);
        free(t);
    }
    s->seen_count = 0;
    s->positioned = false;
    s->serial = 0;
}

/* ---- wire formats: what a subscriber says and hears is JSON to it, and whatever it speaks on the wire ---- */

static void speaks(const struct subscriber *s, struct session *session, struct str text)
{
    if (s->format == FORMAT_JSON) {
        session_message(session, text);
        return;
    }
    struct frame *json = frame_new(FRAME_TEXT, text), *binary = frame_convert(json, s->format, DATA_JSON);
    session_binary(session, frame_payload(binary));
    frame_drop(json);
    frame_drop(binary);
}

/* Takes the frame over, and gives one that says the same in JSON. */
static struct frame *understood(const struct subscriber *s, struct frame *frame)
{
    struct arena arena = {0};
    struct str json = STR("");
    enum data_form form;
    bool binary = (frame_wire(frame).p[0] & 15) == FRAME_BINARY;
    if (binary != (s->format != FORMAT_JSON))
        world_fail(s->world, "subscriber %u: a frame of the wrong kind", s->index);
    if (!binary)
        return frame;
    const char *wrong = binary_to_json(frame_payload(frame), s->format, &arena, &json, &form);
    if (wrong)
        world_fail(s->world, "subscriber %u: a frame that cannot be read: %s", s->index, wrong);
    frame_drop(frame);
    frame = frame_new(FRAME_TEXT, json);
    arena_free(&arena);
    return frame;
}

/* ---- sending ---- */

struct client_frame {
    struct connection *conn;
    char *text;
};

static void frame_at_server(struct world *w, void *what)
{
    struct client_frame *f = what;
    /* Lines of one text arrive in one read. */
    for (struct str rest = str_of(f->text), line; (line = str_split(&rest, '\n')).n > 0;)
        if (f->conn->session != NULL && node_lives(w, f->conn->life))
            speaks(f->conn->client, f->conn->session, line);
    free(f->text);
    free(f);
}

static void client_sends(struct subscriber *s, struct buf *text, uint64_t delay_ns)
{
    struct client_frame *f = mem_new(struct client_frame);
    f->conn = s->conn;
    f->text = str_dup(buf_view(text));
    buf_free(text);
    world_after(s->world, delay_ns, frame_at_server, f, 0);
}

/* By its name, or by one or two wildcards that match no other channel: one copy must come all the same. */
static void put_subscribes(struct subscriber *s, struct buf *text)
{
    static const char *const form = "{\"event\":\"sockudo:subscribe\",\"data\":{\"channel\":\"%s%s\"%s}}";
    const char *name = s->world->channels[s->channel];
    char start[4] = "";
    if (s->resuming_late || s->fresh || !s->positioned || world_chance(s->world, 2)) {
        buf_fmt(text, form, name, "", s->fresh ? ",\"rewind\":100" : "");
        return;
    }
    s->world->wildcards++;
    memcpy(start, name, 3);
    buf_fmt(text, form, start, "*", "");
    if (world_chance(s->world, 2)) {
        buf_char(text, '\n');
        buf_fmt(text, form, "*", name + strlen(name) - 2, "");
    }
    if (world_chance(s->world, 3)) {
        buf_char(text, '\n');
        buf_fmt(text, form, name, "", "");
    }
}

static void subscribes(struct subscriber *s)
{
    struct buf text = {0};
    uint64_t delay = world_pick(s->world, 100000, 2000000);
    s->resuming_late = s->positioned && !s->fresh && world_chance(s->world, 3);
    put_subscribes(s, &text);
    s->next = s->serial;
    if (s->resuming_late || s->fresh || !s->positioned)
        client_sends(s, &text, delay);
    else
        buf_char(&text, '\n');
    if (s->fresh)
        s->world->rewinds++;
    if (!s->positioned || s->fresh)
        return;
    s->world->resumes++;
    buf_fmt(&text, "{\"event\":\"sockudo:resume\",\"data\":{\"channel_positions\":{\"%s\":{\"stream_id\":\"%s\",\"serial\":%llu}}}}",
            s->world->channels[s->channel], s->stream_id, (unsigned long long)s->serial);
    client_sends(s, &text, delay + (s->resuming_late ? world_pick(s->world, 1, 8000000) : 0));
}

/* ---- receiving ---- */

static bool seen_before(struct subscriber *s, struct str message_id)
{
    uint64_t hash = map_hash(message_id);
    for (size_t i = 0; i < s->seen_count && i < SEEN_MAX; i++)
        if (s->seen[i] == hash)
            return true;
    s->seen[s->seen_count++ % SEEN_MAX] = hash;
    return false;
}

static void set_text(struct subscriber *s, struct str serial, struct str data)
{
    struct text *t = find_text(s, serial);
    if (t == NULL) {
        t = mem_new(struct text);
        t->serial = str_dup(serial);
        list_append(&s->texts, &t->link);
    }
    buf_clear(&t->body);
    buf_str(&t->body, data);
}

static void add_text(struct subscriber *s, struct str serial, struct str data)
{
    struct text *t = find_text(s, serial);
    if (t == NULL && s->resuming_late)
        return; /* the snapshot of the late resume will bring it whole */
    if (t == NULL)
        world_fail(s->world, "subscriber %u: an append without a base, message %.*s, after serial %llu", s->index,
                   STR_ARG(serial), (unsigned long long)s->serial);
    else
        buf_str(&t->body, data);
}

static void message_comes(struct subscriber *s, struct str event, struct str frame)
{
    struct buf a = {0}, b = {0}, c = {0};
    struct str headers = json_get(json_get(frame, STR("extras")), STR("headers"));
    struct str serial = json_text(json_get(headers, STR("sockudo_message_serial")), &a);
    struct str action = json_text(json_get(headers, STR("sockudo_action")), &b);
    struct str data = json_text(json_get(frame, STR("data")), &c);
    uint64_t position = 0;
    json_u64(json_get(frame, STR("serial")), &position);
    world_say(s->world, "  subscriber %u@%u: %llu %.*s of %.8s %.*s", s->index, s->conn->shard->node->index, (unsigned long long)position, STR_ARG(action),
              serial.p ? serial.p + 12 : "", STR_ARG(data));
    if (str_eq(action, STR("message.append")) && s->mode == LANE_DELTA)
        add_text(s, serial, data);
    else if (serial.p != NULL)
        set_text(s, serial, data);
    buf_free(&a);
    buf_free(&b);
    buf_free(&c);
}

static void keep_position(struct subscriber *s, struct str frame)
{
    struct buf scratch = {0};
    uint64_t serial;
    struct str stream = json_text(json_get(frame, STR("stream_id")), &scratch);
    if (json_get(frame, STR("channel")).p != NULL && json_u64(json_get(frame, STR("serial")), &serial) && stream.p != NULL) {
        snprintf(s->stream_id, sizeof(s->stream_id), "%.*s", STR_ARG(stream));
        s->next = serial;
        if (!s->resuming_late)
            s->serial = serial;
        s->positioned = true;
    }
    buf_free(&scratch);
}

static void drops_connection(struct subscriber *s, uint64_t back_in_ms);

static void system_comes(struct subscriber *s, struct str event, struct str text)
{
    if (str_eq(event, STR("sockudo:connection_established"))) {
        subscribes(s);
    } else if (str_eq(event, STR("sockudo_internal:subscription_succeeded"))) {
        s->live = !s->fresh;
    } else if (str_eq(event, STR("sockudo:rewind_complete"))) {
        s->fresh = false;
        s->live = true;
    } else if (str_eq(event, STR("sockudo:resume_success"))) {
        s->world->hot += str_find(text, STR("\\\"hot\\\",\\\"replayed")) >= 0;
        s->world->cold += str_find(text, STR("\\\"cold\\\",\\\"replayed")) >= 0;
        s->resuming_late = false;
        s->serial = s->next;
    } else if (str_eq(event, STR("sockudo:resume_failed"))) {
        if (str_find(text, STR("position_ahead")) >= 0)
            world_fail(s->world, "subscriber %u: its node knows less than it has seen", s->index);
        /* The SDK's way out: everything anew. */
        forget_all(s);
        s->fresh = true;
        drops_connection(s, world_pick(s->world, 1, 50));
    } else if (str_eq(event, STR("sockudo:error"))) {
        forget_all(s);
        s->fresh = true;
        drops_connection(s, world_pick(s->world, 10, 100));
    }
}

static void frame_comes(struct subscriber *s, struct str text)
{
    struct buf scratch = {0}, id = {0};
    struct str frame;
    struct json_error error;
    if (!json_check(text, &frame, &error)) {
        world_fail(s->world, "subscriber %u: a frame that is no JSON: %.*s", s->index, STR_ARG(text));
        return;
    }
    struct str event = json_text(json_get(frame, STR("event")), &scratch);
    struct str message_id = json_text(json_get(frame, STR("message_id")), &id);
    if (str_starts(event, STR("sockudo:resume")) || str_starts(event, STR("sockudo_internal")) || str_eq(event, STR("sockudo:error")) ||
        str_eq(event, STR("sockudo:rewind_complete")))
        world_say(s->world, "  subscriber %u: %.*s", s->index, STR_ARG(text));
    if (message_id.p == NULL || !seen_before(s, message_id)) {
        if (str_eq(event, STR("sockudo_internal:subscription_succeeded")) && s->fresh)
            forget_all(s);
        keep_position(s, frame);
        if (str_starts(event, STR("sockudo:message.")) || !(str_starts(event, STR("sockudo"))))
            message_comes(s, event, frame);
        else
            system_comes(s, event, text);
    }
    buf_free(&scratch);
    buf_free(&id);
}

struct arriving {
    struct list link;
    struct frame *frame; /* NULL: the server has closed */
};

static void connection_ends(struct world *w, struct connection *c)
{
    struct subscriber *s = c->client;
    if (c->dead)
        return;
    c->dead = true;
    if (s->conn == c) {
        s->conn = NULL;
        s->live = false;
        world_after(w, MS(world_pick(w, 5, 300)), connects, s, 0);
    }
}

static void frame_at_client(struct world *w, void *what)
{
    struct connection *c = what;
    if (w->now_ns < c->client->stalled_until_ns && !w->calm && !c->dead) {
        world_after(w, c->client->stalled_until_ns - w->now_ns, frame_at_client, c, 0);
        return;
    }
    struct arriving *a = list_of(list_take(&c->arriving), struct arriving, link);
    c->queued--;
    if (!c->dead && a->frame == NULL)
        connection_ends(w, c);
    else if (!c->dead && c->client->conn == c)
        frame_comes(c->client, frame_payload(a->frame));
    if (a->frame != NULL)
        frame_drop(a->frame);
    free(a);
}

static void travels(struct connection *c, struct frame *frame)
{
    struct world *w = c->client->world;
    struct arriving *a = mem_new(struct arriving);
    a->frame = frame;
    list_append(&c->arriving, &a->link);
    uint64_t at = w->now_ns + world_pick(w, 50000, 2000000);
    if (at < c->arrive_ns + 1)
        at = c->arrive_ns + 1;
    if (at < c->client->stalled_until_ns && !w->calm)
        at = c->client->stalled_until_ns;
    c->arrive_ns = at;
    c->queued++;
    world_after(w, at - w->now_ns, frame_at_client, c, 0);
}

/* ---- what the core calls ---- */

static void overflows(struct world *w, void *what)
{
    struct connection *c = what;
    if (c->session != NULL && !c->closing)
        session_overflow(c->session);
}

static bool plant_strikes(struct world *w, struct frame *frame)
{
    if (str_find(frame_payload(frame), STR("message.append")) < 0 || !world_chance(w, 40))
        return false;
    w->planted++;
    return true;
}

void sim_deliver(void *sink, struct frame *frame)
{
    struct connection *c = sink;
    struct subscriber *s = c->client;
    struct world *w = s->world;
    if (c->closing || c->dead) {
        frame_drop(frame);
        return;
    }
    if (c->queued >= QUEUE_MAX) {
        w->overflows++;
        frame_drop(frame);
        world_after(w, 0, overflows, c, c->life);
        return;
    }
    frame = understood(s, frame);
    if (w->plant == PLANT_LOSE && plant_strikes(w, frame)) {
        frame_drop(frame);
        return;
    }
    if (w->plant == PLANT_DOUBLE && plant_strikes(w, frame)) {
        /* Under another message_id, or the client would drop it by itself. */
        struct buf copy = {0};
        buf_str(&copy, frame_payload(frame));
        ptrdiff_t id = str_find(buf_view(&copy), STR("\"message_id\":\""));
        copy.p[id + 14] = 'x';
        travels(c, frame_new(FRAME_TEXT, buf_view(&copy)));
        buf_free(&copy);
    }
    if (w->plant == PLANT_REORDER && s->held == NULL && plant_strikes(w, frame)) {
        s->held = frame;
        return;
    }
    travels(c, frame);
    if (s->held != NULL) {
        travels(c, s->held);
        s->held = NULL;
    }
}

static void server_side_gone(struct world *w, void *what)
{
    struct connection *c = what;
    struct session *session = c->session;
    c->session = NULL;
    if (session != NULL)
        session_closed(session, END_LOST);
}

void sim_close(void *sink, unsigned code, struct str reason)
{
    struct connection *c = sink;
    if (c->closing)
        return;
    c->closing = true;
    travels(c, NULL);
    world_after(c->client->world, 1, server_side_gone, c, c->life);
}

void sim_ping(void *sink)
{
    struct connection *c = sink;
    if (c->session != NULL)
        session_native_pong(c->session);
}

/* Whatever a repair has missed can be read here, and nothing expires: nobody is made to start anew. */
void sim_control(void *sink, int code, struct str reason)
{
    struct connection *c = sink;
    if (code == CODE_RECONNECT && !c->closing && !c->dead)
        world_fail(c->client->world, "subscriber %u is cut: %.*s", c->client->index, STR_ARG(reason));
    sim_close(sink, (unsigned)code, reason);
}

/* ---- connecting and losing ---- */

static void drops_connection(struct subscriber *s, uint64_t back_in_ms)
{
    struct connection *c = s->conn;
    if (c == NULL)
        return;
    c->dead = true;
    s->conn = NULL;
    s->live = false;
    s->held = NULL;
    world_say(s->world, "  subscriber %u drops at serial %llu", s->index, (unsigned long long)s->serial);
    if (node_lives(s->world, c->life))
        world_after(s->world, world_pick(s->world, 0, 30000000), server_side_gone, c, c->life);
    world_after(s->world, MS(back_in_ms), connects, s, 0);
}

void subscriber_node_died(struct subscriber *s, uint32_t life)
{
    if (s->conn == NULL || s->conn->life != life)
        return;
    s->conn->session = NULL;
    connection_ends(s->world, s->conn);
}

static void trouble(struct world *w, void *what)
{
    struct subscriber *s = what;
    if (w->calm)
        return;
    if (s->conn != NULL && world_chance(w, 3)) {
        w->drops++;
        world_say(w, "subscriber %u loses its connection", s->index);
        drops_connection(s, world_pick(w, 1, 400));
    } else if (world_chance(w, 3)) {
        s->stalled_until_ns = w->now_ns + MS(world_pick(w, 5, 600));
    }
    world_after(w, MS(world_pick(w, 30, 700)), trouble, s, 0);
}

static void connects(struct world *w, void *what)
{
    struct subscriber *s = what;
    if (s->conn != NULL)
        return;
    struct node *node = node_any(w);
    if (node == NULL) {
        world_after(w, MS(world_pick(w, 10, 60)), connects, s, 0);
        return;
    }
    if (!s->positioned && !s->fresh)
        s->fresh = true;
    struct connection *c = mem_new(struct connection);
    struct session_params params = {.protocol = WIRE_V2, .mode = s->mode, .window_index = s->window, .format = s->format,
                                    .echo = true};
    c->client = s;
    list_init(&c->arriving);
    c->shard = &node->shards[world_pick(w, 0, node->shards_count - 1)];
    c->life = node->life;
    s->conn = c;
    if (s->resuming_late) { /* cut short: what it has is in doubt */
        forget_all(s);
        s->fresh = true;
    }
    s->resuming_late = false;
    if (s->stalled_until_ns == 0) {
        s->stalled_until_ns = 1;
        world_after(w, MS(world_pick(w, 30, 700)), trouble, s, 0);
    }
    c->session = session_new(c->shard->sessions, c, w->app, STR_NONE, &params);
}
