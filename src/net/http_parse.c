/* http_parse.c - a head, whole, into a request; llhttp does the parsing.
 *
 * The head is copied once into the arena and every string of the request is a slice of that copy. What llhttp
 * would forgive (a bare CR or LF, folded lines, blanks in names, odd bytes in the target, several Hosts,
 * codings other than chunked) is refused here: proxies in front of us may read such a request differently
 * (RFC 9112, 11.2).
 *
 * llhttp is paused at the end of the head. A sized body needs no parser; a chunked one goes on from there.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/http_internal.h"

enum { REFUSE_MALFORMED = 400, REFUSE_EXPECTATION = 417, REFUSE_HEADERS = 431, REFUSE_VERSION = 505 };
/* Framing of chunks may cost this much more than what it frames. */
enum { CHUNK_OVERHEAD_FACTOR = 8, CHUNK_OVERHEAD_MIN = 16 * 1024 };

/* ---- lines */

static bool line_is_clean(const char *line, const char *newline)
{
    return newline > line && newline[-1] == '\r' && !memchr(line, '\r', (size_t)(newline - line) - 1);
}

/* Counts the lines between the first and the empty one. */
static unsigned count_headers(struct str head, size_t *count)
{
    const char *line = head.p, *end = head.p + head.n;
    *count = 0;
    for (const char *newline; line < end; line = newline + 1) {
        newline = memchr(line, '\n', (size_t)(end - line));
        if (!newline || !line_is_clean(line, newline) || *line == ' ' || *line == '\t')
            return REFUSE_MALFORMED;
        if (line != head.p && *line != '\r')
            ++*count;
    }
    return *count > HTTP_HEADERS_MAX ? REFUSE_HEADERS : 0;
}

/* RFC 9110, 5.6.2: tchar. */
static bool is_token(struct str s)
{
    static const bool tchar[256] = {
        ['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1,         ['&'] = 1,         ['\''] = 1,
        ['*'] = 1, ['+'] = 1, ['-'] = 1, ['.'] = 1,         ['^'] = 1,         ['_'] = 1,
        ['`'] = 1, ['|'] = 1, ['~'] = 1, ['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1};
    for (size_t i = 0; i < s.n; i++)
        if (!tchar[(unsigned char)s.p[i]])
            return false;
    return s.n > 0;
}

static bool is_visible_ascii(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] == 0x7f) /* char is signed: bytes from 0x80 are negative */
            return false;
    return s.n > 0;
}
_Static_assert((char)-1 < 0, "is_visible_ascii() relies on it");

/* ---- what llhttp calls */

static void extend(struct str *s, const char *p, size_t n)
{
    if (!s->p)
        s->p = p;
    s->n += n; /* spans of one string lie behind one another: the head is in one piece */
}

static int on_url(llhttp_t *parser, const char *p, size_t n)
{
    struct http_exchange *x = parser->data;
    extend(&x->request.target, p, n);
    return 0;
}

static int on_name(llhttp_t *parser, const char *p, size_t n)
{
    struct http_exchange *x = parser->data;
    struct http_request *r = &x->request;
    if (x->head_parsed)
        return 0; /* a trailer */
    if (!x->name_open)
        r->headers[r->headers_count++] = (struct http_header){0};
    x->name_open = true;
    extend(&r->headers[r->headers_count - 1].name, p, n);
    return 0;
}

static int on_name_complete(llhttp_t *parser)
{
    struct http_exchange *x = parser->data;
    x->name_open = false;
    return 0;
}

static int on_value(llhttp_t *parser, const char *p, size_t n)
{
    struct http_exchange *x = parser->data;
    if (!x->head_parsed)
        extend(&x->request.headers[x->request.headers_count - 1].value, p, n);
    return 0;
}

static int on_head_complete(llhttp_t *parser)
{
    struct http_exchange *x = parser->data;
    x->head_parsed = true;
    x->chunked = parser->flags & F_CHUNKED;
    x->content_length = x->chunked ? 0 : parser->content_length;
    x->keep_alive = llhttp_should_keep_alive(parser);
    x->minor_0 = parser->http_minor == 0;
    x->request.upgrade = (parser->flags & F_UPGRADE) && (parser->flags & F_CONNECTION_UPGRADE);
    parser->upgrade = 0; /* the handler decides */
    return HPE_PAUSED;
}

static int on_body(llhttp_t *parser, const char *p, size_t n)
{
    struct http_exchange *x = parser->data;
    x->chunks_bytes += n;
    if (!http_is_streamed(x) && n > x->request.server->options.body_max - x->grown_body.n) {
        x->body_too_large = true;
        return HPE_USER;
    }
    buf_put(&x->grown_body, p, n);
    return 0;
}

static int on_message_complete(llhttp_t *parser)
{
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_url = on_url,
    .on_header_field = on_name,
    .on_header_field_complete = on_name_complete,
    .on_header_value = on_value,
    .on_headers_complete = on_head_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

/* ---- the request */

static enum http_method method_of(const llhttp_t *parser)
{
    switch (parser->method) {
    case HTTP_GET:
        return HTTP_GET_;
    case HTTP_HEAD:
        return HTTP_HEAD_;
    case HTTP_POST:
        return HTTP_POST_;
    case HTTP_PUT:
        return HTTP_PUT_;
    case HTTP_DELETE:
        return HTTP_DELETE_;
    case HTTP_OPTIONS:
        return HTTP_OPTIONS_;
    case HTTP_PATCH:
        return HTTP_PATCH_;
    default:
        return HTTP_OTHER_;
    }
}

static void name_parts(struct http_exchange *x)
{
    struct http_request *r = &x->request;
    struct str rest = r->target;
    r->method = method_of(&x->parser);
    r->method_name = str_of(llhttp_method_name((llhttp_method_t)x->parser.method));
    r->path = str_split(&rest, '?');
    r->query = rest;
}

/* Length first: the usual header is none of those looked for. */
static bool is_named(const struct http_header *h, struct str lower_case)
{
    return h->name.n == lower_case.n && str_eq_nocase(h->name, lower_case);
}

/* How often there is a Host and a Transfer-Encoding. */
struct tally {
    unsigned hosts, encodings;
};

static unsigned check_header(struct http_exchange *x, struct http_header *h, struct tally *tally)
{
    if (!is_token(h->name))
        return REFUSE_MALFORMED;
    h->value = h->value.p ? str_trim(h->value) : STR("");
    if (is_named(h, STR("host"))) {
        tally->hosts++;
    } else if (is_named(h, STR("transfer-encoding"))) {
        tally->encodings++;
        return str_eq_nocase(h->value, STR("chunked")) ? 0 : REFUSE_MALFORMED;
    } else if (is_named(h, STR("expect")) && !x->minor_0) {
        x->wants_continue = x->chunked || x->content_length;
        return str_eq_nocase(h->value, STR("100-continue")) ? 0 : REFUSE_EXPECTATION;
    }
    return 0;
}

/* RFC 9112, 3.2 (Host) and 6.1 (no encoding but chunked, not twice, not in 1.0, not with a length). */
static unsigned check_headers(struct http_exchange *x)
{
    struct tally tally = {0};
    for (size_t i = 0; i < x->request.headers_count; i++) {
        unsigned refused = check_header(x, &x->request.headers[i], &tally);
        if (refused)
            return refused;
    }
    if (tally.hosts > 1 || (tally.hosts == 0 && !x->minor_0))
        return REFUSE_MALFORMED;
    if (tally.encodings && (tally.encodings > 1 || x->minor_0 || !x->chunked))
        return REFUSE_MALFORMED;
    return tally.encodings && (x->parser.flags & F_CONTENT_LENGTH) ? REFUSE_MALFORMED : 0;
}

static bool asks_for_websocket(const struct http_request *r)
{
    struct str rest = http_get_header(r, STR("upgrade"));
    while (rest.p)
        if (str_eq_nocase(str_trim(str_split(&rest, ',')), STR("websocket")))
            return true;
    return false;
}

unsigned http_parse_head(struct http_exchange *x, struct str head)
{
    struct http_request *r = &x->request;
    size_t count;
    unsigned refused = count_headers(head, &count);
    if (refused)
        return refused;
    head = arena_copy(&r->arena, head);
    r->headers = arena_alloc(&r->arena, (count + 1) * sizeof *r->headers);
    llhttp_init(&x->parser, HTTP_REQUEST, &settings);
    x->parser.data = x;
    llhttp_errno_t stopped = llhttp_execute(&x->parser, head.p, head.n);
    if (stopped == HPE_INVALID_VERSION)
        return REFUSE_VERSION;
    if (stopped != HPE_PAUSED || !x->head_parsed || r->headers_count != count)
        return REFUSE_MALFORMED;
    if (x->parser.http_major != 1 || x->parser.http_minor > 1)
        return REFUSE_VERSION;
    if (!is_visible_ascii(r->target) || x->parser.method == HTTP_CONNECT)
        return REFUSE_MALFORMED;
    name_parts(x);
    refused = check_headers(x);
    r->upgrade = r->upgrade && asks_for_websocket(r);
    if (refused || !x->chunked)
        return refused;
    const char *rest = llhttp_get_error_pos(&x->parser);
    llhttp_resume(&x->parser);
    llhttp_execute(&x->parser, rest, (size_t)(head.p + head.n - rest));
    return 0;
}

static bool overhead_is_bearable(const struct http_exchange *x)
{
    return x->body_bytes <= CHUNK_OVERHEAD_MIN + CHUNK_OVERHEAD_FACTOR * x->chunks_bytes;
}

enum http_chunk_result http_parse_chunks(struct http_exchange *x, const char *bytes, size_t n, size_t *used)
{
    llhttp_errno_t stopped = llhttp_execute(&x->parser, bytes, n);
    *used = stopped == HPE_PAUSED ? (size_t)(llhttp_get_error_pos(&x->parser) - bytes) : n;
    x->body_bytes += *used;
    if (x->body_too_large)
        return HTTP_CHUNK_TOO_LARGE;
    if ((stopped != HPE_OK && stopped != HPE_PAUSED) || !overhead_is_bearable(x))
        return HTTP_CHUNK_MALFORMED;
    return stopped == HPE_PAUSED ? HTTP_CHUNK_DONE : HTTP_CHUNK_MORE;
}
