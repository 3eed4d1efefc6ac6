/* peer.c - sockudo, the bare send() loop, and those it is compared with.
 *
 * Peers without an envelope of their own publish the one that a V1 subscriber of sockudo gets, so that the
 * same bytes travel.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/peer.h"

#include "load/options.h"

static void envelope(const struct options *o, struct buf *out, unsigned channel, struct str payload)
{
    buf_lit(out, "{\"event\":");
    buf_json(out, str_of(o->event));
    buf_lit(out, ",\"channel\":\"");
    api_channel(o, out, channel);
    buf_lit(out, "\",\"data\":\"");
    buf_str(out, payload);
    buf_lit(out, "\"}");
}

static void post(struct api *api, struct buf *out, const char *path, struct str body)
{
    buf_fmt(out,
            "POST %s HTTP/1.1\r\nHost: %.*s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
            path, STR_ARG(api->host), body.n);
    buf_str(out, body);
}

static void sockudo_path(const struct options *o, struct buf *out, unsigned channel)
{
    buf_fmt(out, "/app/%s?protocol=%llu&client=load&version=1", o->key, (unsigned long long)o->protocol);
    if (o->append_mode)
        buf_fmt(out, "&append_mode=%s", o->append_mode);
    if (o->window_ms != UINT64_MAX)
        buf_fmt(out, "&append_rollup_window=%llu", (unsigned long long)o->window_ms);
}

static void sockudo_hello(const struct options *o, struct buf *out, unsigned channel)
{
    buf_lit(out, "{\"event\":\"pusher:subscribe\",\"data\":{\"auth\":\"\",\"channel\":\"");
    api_channel(o, out, channel);
    buf_lit(out, "\"}}");
}

static enum peer_said sockudo_said(struct str frame)
{
    struct str head = str_first(frame, 64);
    if (str_find(head, STR("pusher:")) < 0 && str_find(head, STR("sockudo")) < 0 &&
        str_find(head, STR("pusher_internal:")) < 0)
        return SAID_SOMETHING;
    if (str_find(head, STR(":connection_established\"")) >= 0)
        return SAID_ESTABLISHED;
    if (str_find(head, STR(":subscription_succeeded\"")) >= 0)
        return SAID_SUBSCRIBED;
    return str_find(head, STR("pusher:ping\"")) >= 0 ? SAID_PING : SAID_SOMETHING;
}

static void plain_path(const struct options *o, struct buf *out, unsigned channel)
{
    buf_char(out, '/');
    api_channel(o, out, channel);
}

static enum peer_said says_nothing(struct str frame)
{
    return SAID_SOMETHING;
}

static void plain_publish(struct api *api, struct buf *out, unsigned channel, struct str payload)
{
    buf_clear(&api->body);
    envelope(api->options, &api->body, channel, payload);
    post(api, out, "/publish", buf_view(&api->body));
}

static void nchan_path(const struct options *o, struct buf *out, unsigned channel)
{
    buf_lit(out, "/sub?id=");
    api_channel(o, out, channel);
}

static void nchan_publish(struct api *api, struct buf *out, unsigned channel, struct str payload)
{
    buf_clear(&api->body);
    envelope(api->options, &api->body, channel, payload);
    buf_clear(&api->path);
    buf_lit(&api->path, "/pub?id=");
    api_channel(api->options, &api->path, channel);
    buf_char(&api->path, 0);
    post(api, out, api->path.p, buf_view(&api->body));
}

static void centrifugo_path(const struct options *o, struct buf *out, unsigned channel)
{
    buf_lit(out, "/connection/websocket");
}

static void centrifugo_hello(const struct options *o, struct buf *out, unsigned channel)
{
    buf_lit(out, "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"");
    api_channel(o, out, channel);
    buf_lit(out, "\"}}");
}

static enum peer_said centrifugo_said(struct str frame)
{
    if (str_eq(frame, STR("{}")))
        return SAID_PING;
    return str_find(frame, STR("\"id\":2,\"subscribe\"")) >= 0 ? SAID_SUBSCRIBED : SAID_SOMETHING;
}

static void centrifugo_publish(struct api *api, struct buf *out, unsigned channel, struct str payload)
{
    buf_clear(&api->body);
    buf_lit(&api->body, "{\"channel\":\"");
    api_channel(api->options, &api->body, channel);
    buf_lit(&api->body, "\",\"data\":\"");
    buf_str(&api->body, payload);
    buf_lit(&api->body, "\"}");
    post(api, out, "/api/publish", buf_view(&api->body));
}

/* Size of the frame in four bytes, low byte first, then the frame as a server sends it (bench/bare_send.c).
 */
static void bare_publish(struct api *api, struct buf *out, unsigned channel, struct str payload)
{
    struct buf *b = &api->body;
    buf_clear(b);
    envelope(api->options, b, channel, payload);
    unsigned char head[4] = {0x81, (unsigned char)b->n};
    unsigned head_size = 2;
    if (b->n > 125) {
        head[1] = 126;
        head[2] = (unsigned char)(b->n >> 8);
        head[3] = (unsigned char)b->n;
        head_size = 4;
    }
    uint32_t size = (uint32_t)b->n + head_size;
    buf_put(out, &size, sizeof size);
    buf_put(out, head, head_size);
    buf_str(out, buf_view(b));
}

static const struct peer peers[] = {
    {.name = "sockudo",
     .path = sockudo_path,
     .hello = sockudo_hello,
     .hello_waits = true,
     .said = sockudo_said,
     .pong = "{\"event\":\"pusher:pong\",\"data\":{}}",
     .publish = api_publish},
    {.name = "bare", .raw = true, .subscribed = true, .said = says_nothing, .publish = bare_publish},
    {.name = "ws", .subscribed = true, .path = plain_path, .said = says_nothing, .publish = plain_publish},
    {.name = "nchan", .subscribed = true, .path = nchan_path, .said = says_nothing, .publish = nchan_publish},
    {.name = "centrifugo",
     .path = centrifugo_path,
     .hello = centrifugo_hello,
     .said = centrifugo_said,
     .pong = "{}",
     .publish = centrifugo_publish},
};

const struct peer *peer_find(const char *name)
{
    for (unsigned i = 0; i < sizeof peers / sizeof *peers; i++)
        if (str_eq(str_of(peers[i].name), str_of(name)))
            return &peers[i];
    return NULL;
}
