/* api.c - bodies, canonical strings, signatures.
 *
 * Nothing here allocates once the buffers have grown, so that the client costs little more than its HMAC and
 * MD5.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/api.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/digest.h"
#include "load/options.h"

void api_init(struct api *api, const struct options *options, struct str host, uint64_t random)
{
    *api = (struct api){.options = options, .host = host, .secret = hmac_key_new(str_of(options->secret))};
    snprintf(api->run, sizeof api->run, "%016llx", (unsigned long long)random);
}

void api_free(struct api *api)
{
    hmac_key_free(api->secret);
    buf_free(&api->body);
    buf_free(&api->path);
    buf_free(&api->canonical);
}

void api_channel(const struct options *options, struct buf *out, unsigned channel)
{
    buf_str(out, str_of(options->channel));
    if (options->channels > 1) {
        buf_char(out, '-');
        buf_u64(out, channel);
    }
}

/* api->path and api->body are set: the request line and the headers that count, the last one open. params: further
 * ones, which come after body_md5 in the alphabet. */
static void head(struct api *api, struct buf *out, struct str method, struct str params)
{
    struct buf *c = &api->canonical;
    buf_clear(c);
    buf_str(c, method);
    buf_char(c, '\n');
    buf_str(c, buf_view(&api->path));
    buf_char(c, '\n');
    size_t query = c->n;
    buf_lit(c, "auth_key=");
    buf_str(c, str_of(api->options->key));
    buf_lit(c, "&auth_timestamp=");
    buf_i64(c, (clock_wall_ms(&clock_system) + api->skew_ms) / 1000);
    buf_lit(c, "&auth_version=1.0");
    if (api->body.n > 0) {
        char md5[2 * MD5_SIZE + 1];
        md5_hex(buf_view(&api->body), md5);
        buf_lit(c, "&body_md5=");
        buf_put(c, md5, 2 * MD5_SIZE);
    }
    buf_str(c, params);
    char signature[2 * SHA256_SIZE + 1];
    hmac_sha256_hex(api->secret, buf_view(c), signature);

    buf_str(out, method);
    buf_char(out, ' ');
    buf_str(out, buf_view(&api->path));
    buf_char(out, '?');
    buf_str(out, str_from(buf_view(c), query));
    buf_lit(out, "&auth_signature=");
    buf_put(out, signature, 2 * SHA256_SIZE);
    buf_lit(out, " HTTP/1.1\r\nHost: ");
    buf_str(out, api->host);
}

static void request(struct api *api, struct buf *out, struct str method)
{
    head(api, out, method, STR(""));
    if (api->body.n > 0) {
        buf_lit(out, "\r\nContent-Type: application/json\r\nContent-Length: ");
        buf_u64(out, api->body.n);
    }
    buf_lit(out, "\r\n\r\n");
    buf_str(out, buf_view(&api->body));
}

static void begin(struct api *api)
{
    buf_clear(&api->body);
    buf_clear(&api->path);
    buf_lit(&api->path, "/apps/");
    buf_str(&api->path, str_of(api->options->app));
}

/* {"name":…,"channel":…,"data":"…" and extras, left open. */
static void put_event(struct api *api, unsigned channel, struct str payload)
{
    struct buf *b = &api->body;
    buf_lit(b, "{\"name\":");
    buf_json(b, str_of(api->options->event));
    buf_lit(b, ",\"channel\":\"");
    api_channel(api->options, b, channel);
    buf_lit(b, "\",\"data\":\"");
    buf_str(b, payload);
    buf_char(b, '"');
    if (api->options->extras) {
        buf_lit(b, ",\"extras\":");
        buf_str(b, str_of(api->options->extras));
    }
}

void api_publish(struct api *api, struct buf *out, unsigned channel, struct str payload)
{
    begin(api);
    buf_lit(&api->path, "/events");
    put_event(api, channel, payload);
    buf_char(&api->body, '}');
    request(api, out, STR("POST"));
}

void api_create(struct api *api, struct buf *out, unsigned channel, unsigned stream, uint32_t number)
{
    begin(api);
    buf_lit(&api->path, "/events");
    put_event(api, channel, STR(""));
    buf_fmt(&api->body, ",\"message_id\":\"%s-%u-%u\"}", api->run, stream, number);
    request(api, out, STR("POST"));
}

static void message_path(struct api *api, unsigned channel, struct str serial)
{
    buf_lit(&api->path, "/channels/");
    api_channel(api->options, &api->path, channel);
    buf_lit(&api->path, "/messages/");
    buf_str(&api->path, serial);
}

static void put_append(struct api *api, unsigned channel, struct str serial, uint32_t op, struct str payload)
{
    begin(api);
    message_path(api, channel, serial);
    buf_lit(&api->path, "/append");
    buf_lit(&api->body, "{\"data\":\"");
    buf_str(&api->body, payload);
    buf_fmt(&api->body, "\",\"op_id\":\"%s-%u\"", api->run, op);
}

void api_append(struct api *api, struct buf *out, unsigned channel, struct str serial, uint32_t op,
                struct str payload)
{
    put_append(api, channel, serial, op, payload);
    buf_char(&api->body, '}');
    request(api, out, STR("POST"));
}

void api_end(struct api *api, struct buf *out, unsigned channel, struct str serial, uint32_t op, const char *status)
{
    put_append(api, channel, serial, op, STR(""));
    buf_fmt(&api->body, ",\"extras\":{\"ai\":{\"transport\":{\"status\":\"%s\"}}}}", status);
    request(api, out, STR("POST"));
}

void api_stream(struct api *api, struct buf *out, unsigned channel, unsigned stream, uint32_t number)
{
    struct buf params = {0};
    begin(api);
    buf_lit(&api->path, "/channels/");
    api_channel(api->options, &api->path, channel);
    buf_lit(&api->path, "/messages/stream");
    buf_fmt(&params, "&format=ndjson&message_id=%s-%u-%u&name=%s", api->run, stream, number, api->options->event);
    head(api, out, STR("POST"), buf_view(&params));
    buf_lit(out, "\r\nTransfer-Encoding: chunked\r\n\r\n");
    buf_free(&params);
}

void api_get_message(struct api *api, struct buf *out, unsigned channel, struct str serial)
{
    begin(api);
    message_path(api, channel, serial);
    request(api, out, STR("GET"));
}

struct str api_message_serial(struct str answer)
{
    struct str key = STR("\"message_serial\":\"");
    ptrdiff_t at = str_find(answer, key);
    if (at < 0)
        return STR_NONE;
    struct str rest = str_from(answer, (size_t)at + key.n);
    return str_split(&rest, '"');
}
