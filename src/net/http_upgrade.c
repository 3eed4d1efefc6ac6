/* http_upgrade.c - the opening handshake of a WebSocket (RFC 6455, 4.2).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/http_internal.h"

#include <assert.h>

#include "net/ws.h"

enum { KEY_SIZE = 24 };

static bool has_token(struct str list, struct str token)
{
    while (list.p)
        if (str_eq_nocase(str_trim(str_split(&list, ',')), token))
            return true;
    return false;
}

static bool is_base64(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/';
}

/* 16 bytes in base64: 22 digits and "==". */
static bool key_is_valid(struct str key)
{
    if (key.n != KEY_SIZE || !str_ends(key, STR("==")))
        return false;
    for (size_t i = 0; i < KEY_SIZE - 2; i++)
        if (!is_base64(key.p[i]))
            return false;
    return true;
}

static bool handshake_is_valid(const struct http_exchange *x)
{
    const struct http_request *r = &x->request;
    return r->method == HTTP_GET_ && !x->minor_0 && !x->chunked && x->content_length == 0 && r->upgrade &&
           has_token(http_get_header(r, STR("upgrade")), STR("websocket")) &&
           has_token(http_get_header(r, STR("connection")), STR("upgrade")) &&
           key_is_valid(http_get_header(r, STR("sec-websocket-key"))) && x->http->exchanges_count == 1;
}

static void refuse(struct http_request *request, unsigned status, struct str extra_headers, struct str body)
{
    http_respond(request, &(struct http_response){.status = status,
                                                  .content_type = STR("application/json"),
                                                  .extra_headers = extra_headers,
                                                  .body = body,
                                                  .close = true});
}

static void refuse_handshake(struct http_request *request)
{
    refuse(request, 400, STR_NONE,
           STR("{\"error\":\"The WebSocket handshake is "
               "invalid\",\"code\":\"invalid_request\",\"status\":400}"));
}

static void refuse_version(struct http_request *request)
{
    refuse(request, 426, STR("Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"),
           STR("{\"error\":\"Only WebSocket version 13 is "
               "supported\",\"code\":\"invalid_request\",\"status\":426}"));
}

static void send_switching_protocols(const struct http_request *request)
{
    char accept[29];
    struct buf *head = &request->server->scratch;
    ws_accept_key(http_get_header(request, STR("sec-websocket-key")), accept);
    buf_clear(head);
    buf_lit(head, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                  "Sec-WebSocket-Accept: ");
    buf_put(head, accept, 28);
    buf_lit(head, "\r\n\r\n");
    conn_send_bytes(request->conn, buf_view(head));
}

bool http_upgrade(struct http_request *request, const struct conn_protocol *protocol, void *user,
                  struct conn **upgraded)
{
    struct http_exchange *x = (struct http_exchange *)request;
    struct http_conn *http = x->http;
    assert(http);
    assert(http->reading == x);
    if (!handshake_is_valid(x)) {
        refuse_handshake(request);
        return false;
    }
    if (!str_eq(http_get_header(request, STR("sec-websocket-version")), STR("13"))) {
        refuse_version(request);
        return false;
    }
    send_switching_protocols(request);
    *upgraded = http->conn;
    http->upgraded = true;
    http->reading = NULL;
    list_remove(&x->link);
    http_exchange_free(x);
    conn_become(*upgraded, protocol, user);
    return true;
}
