/* ws.c - frames of a client, taken from a buffer that holds as much of them as has arrived.
 *
 *   offset  size   meaning (RFC 6455, 5.2)
 *   0       1      FIN 0x80, RSV 0x70, opcode 0x0f
 *   1       1      MASK 0x80, length 0..125, or 126, or 127
 *   2       0/2/8  extended length, big endian, the shortest form that fits
 *   ...     4      masking key
 *   ...            payload, byte i XOR key[i mod 4]
 *
 * A frame is left untouched until it is whole, so an unfinished one costs a look at its header with each read
 * and nothing else. Then it is unmasked where it lies, eight bytes at a time; the same pass tells whether it
 * is pure ASCII, which most are. Only fragments of a message are copied.
 *
 * UTF-8 across fragments: `utf8_state` says what must come next, as bytes of a little stack:
 *
 *      0                  between characters
 *      low, high, more    the next byte must be in [low, high]; then `more` further ones in [80, bf]
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/ws.h"

#include <openssl/evp.h>
#include <stdlib.h>

#include "base/mem.h"

enum { OP_CONTINUATION = 0, OP_TEXT = 1, OP_BINARY = 2, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };
enum { CONTROL_MAX = 125, ERROR_PROTOCOL = 1002, ERROR_UTF8 = 1007, ERROR_TOO_LARGE = 1009 };

struct head {
    uint64_t size;  /* of the payload */
    unsigned bytes; /* of the header, key included; 0 = not all there yet */
    bool fin;
    uint8_t opcode;
    unsigned char key[4];
};

struct sink {
    bool (*on_message)(void *user, enum ws_kind kind, struct str payload);
    void *user;
};

static bool is_control(unsigned opcode)
{
    return opcode & 8;
}

static uint64_t big_endian(const unsigned char *p, unsigned n)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < n; i++)
        value = value << 8 | p[i];
    return value;
}

/* The rules that the first two bytes must obey. */
static bool opening_is_valid(const struct ws_parser *parser, unsigned char first, unsigned char second)
{
    unsigned opcode = first & 0x0f;
    if ((first & 0x70) || !(second & 0x80))
        return false;
    if (is_control(opcode))
        return opcode <= OP_PONG && (first & 0x80) && (second & 0x7f) <= CONTROL_MAX;
    if (opcode > OP_BINARY)
        return false;
    return (opcode == OP_CONTINUATION) == (parser->partial_opcode != 0);
}

/* WS_MORE with head->bytes == 0 when the header is not complete. */
static unsigned read_head(const struct ws_parser *parser, const unsigned char *p, size_t n, struct head *head)
{
    *head = (struct head){0};
    if (n < 2)
        return WS_MORE;
    if (!opening_is_valid(parser, p[0], p[1]))
        return ERROR_PROTOCOL;
    unsigned size = p[1] & 0x7f, extended = size < 126 ? 0 : size == 126 ? 2 : 8;
    head->fin = p[0] & 0x80;
    head->opcode = p[0] & 0x0f;
    if (n < 2 + extended)
        return WS_MORE;
    head->size = extended ? big_endian(p + 2, extended) : size;
    if ((extended == 2 && head->size < 126) ||
        (extended == 8 && (head->size <= UINT16_MAX || head->size >> 63)))
        return ERROR_PROTOCOL;
    if (n < 2 + extended + 4)
        return WS_MORE;
    memcpy(head->key, p + 2 + extended, 4);
    head->bytes = 2 + extended + 4;
    return WS_MORE;
}

/* Known even before the masking key has come. */
static bool is_too_large(const struct ws_parser *parser, size_t message_max, const struct head *head)
{
    size_t before = parser->partial ? parser->partial->n : 0;
    return !is_control(head->opcode) && (head->size > message_max || before > message_max - head->size);
}

enum content { ASCII, MAYBE_UTF8 };

static enum content unmask(char *bytes, size_t n, const unsigned char key[4])
{
    uint64_t key8, word, all = 0;
    unsigned char tail = 0;
    size_t i = 0;
    memcpy(&key8, key, 4);
    memcpy((char *)&key8 + 4, key, 4);
    for (; i + 8 <= n; i += 8) {
        memcpy(&word, bytes + i, 8);
        word ^= key8;
        all |= word;
        memcpy(bytes + i, &word, 8);
    }
    for (; i < n; i++) {
        bytes[i] = (char)((unsigned char)bytes[i] ^ key[i % 4]);
        tail |= (unsigned char)bytes[i];
    }
    return (all & 0x8080808080808080u) == 0 && tail < 0x80 ? ASCII : MAYBE_UTF8;
}

static uint32_t expect(unsigned low, unsigned high, unsigned more)
{
    return low | high << 8 | more << 16;
}

/* What must follow a first byte (Unicode, table 3-7); UINT32_MAX: it is none. */
static uint32_t after_lead(unsigned char c)
{
    if (c < 0x80)
        return 0;
    if (c < 0xC2 || c > 0xF4)
        return UINT32_MAX;
    if (c < 0xE0)
        return expect(0x80, 0xBF, 0);
    if (c < 0xF0)
        return expect(c == 0xE0 ? 0xA0 : 0x80, c == 0xED ? 0x9F : 0xBF, 1);
    return expect(c == 0xF0 ? 0x90 : 0x80, c == 0xF4 ? 0x8F : 0xBF, 2);
}

static bool utf8_continues(uint32_t *state, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (*state == 0) {
            *state = after_lead(c);
            if (*state == UINT32_MAX)
                return false;
            continue;
        }
        unsigned more = *state >> 16;
        if (c < (*state & 0xff) || c > (*state >> 8 & 0xff))
            return false;
        *state = more ? expect(0x80, 0xBF, more - 1) : 0;
    }
    return true;
}

static enum ws_kind kind_of(unsigned opcode)
{
    static const enum ws_kind kinds[] = {[OP_TEXT] = WS_TEXT,
                                         [OP_BINARY] = WS_BINARY,
                                         [OP_CLOSE] = WS_CLOSE,
                                         [OP_PING] = WS_PING,
                                         [OP_PONG] = WS_PONG};
    return kinds[opcode];
}

static unsigned hand_over(const struct sink *sink, unsigned opcode, struct str payload)
{
    return sink->on_message(sink->user, kind_of(opcode), payload) ? WS_MORE : WS_STOPPED;
}

/* RFC 6455, 7.4: codes that may be sent. */
static bool close_code_is_valid(unsigned code)
{
    if (code >= 1000 && code <= 1014)
        return code != 1004 && code != 1005 && code != 1006;
    return code >= 3000 && code <= 4999;
}

static unsigned check_close(struct str payload)
{
    if (payload.n == 0)
        return WS_MORE;
    if (payload.n == 1 || !close_code_is_valid((unsigned)big_endian((const unsigned char *)payload.p, 2)))
        return ERROR_PROTOCOL;
    return str_is_utf8(str_from(payload, 2)) ? WS_MORE : ERROR_UTF8;
}

static unsigned take_control(const struct head *head, struct str payload, const struct sink *sink)
{
    unsigned status = head->opcode == OP_CLOSE ? check_close(payload) : WS_MORE;
    return status == WS_MORE ? hand_over(sink, head->opcode, payload) : status;
}

static unsigned finish_fragments(struct ws_parser *parser, const struct sink *sink)
{
    struct buf whole = *parser->partial;
    unsigned opcode = parser->partial_opcode;
    bool cut = opcode == OP_TEXT && parser->utf8_state != 0;
    free(parser->partial);
    *parser = (struct ws_parser){0}; /* before the call: its owner may free the parser in it */
    unsigned status = cut ? ERROR_UTF8 : hand_over(sink, opcode, buf_view(&whole));
    buf_free(&whole);
    return status;
}

static unsigned take_fragment(struct ws_parser *parser, const struct head *head, struct str payload,
                              const struct sink *sink)
{
    if (!parser->partial) {
        parser->partial = mem_new(struct buf);
        parser->partial_opcode = head->opcode;
        parser->utf8_state = 0;
    }
    if (parser->partial_opcode == OP_TEXT && !utf8_continues(&parser->utf8_state, payload))
        return ERROR_UTF8;
    buf_put(parser->partial, payload.p, payload.n);
    return head->fin ? finish_fragments(parser, sink) : WS_MORE;
}

static unsigned take_frame(struct ws_parser *parser, const struct head *head, char *bytes,
                           const struct sink *sink)
{
    struct str payload = str_make(bytes, head->size);
    enum content content = unmask(bytes, head->size, head->key);
    if (is_control(head->opcode))
        return take_control(head, payload, sink);
    if (head->opcode == OP_CONTINUATION || !head->fin)
        return take_fragment(parser, head, payload, sink);
    if (head->opcode == OP_TEXT && content != ASCII && !str_is_utf8(payload))
        return ERROR_UTF8;
    return hand_over(sink, head->opcode, payload);
}

unsigned ws_parse(struct ws_parser *parser, const struct ws_limits *limits, char *bytes, size_t n,
                  size_t *used, bool (*on_message)(void *user, enum ws_kind kind, struct str payload),
                  void *user)
{
    const struct sink sink = {on_message, user};
    const size_t message_max = limits->message_max; /* limits may be gone once on_message has returned */
    unsigned status = WS_MORE;
    *used = 0;
    while (status == WS_MORE && *used < n) {
        struct head head;
        status = read_head(parser, (unsigned char *)bytes + *used, n - *used, &head);
        if (status == WS_MORE && is_too_large(parser, message_max, &head))
            status = ERROR_TOO_LARGE;
        if (status != WS_MORE || head.bytes == 0 || n - *used - head.bytes < head.size)
            break;
        char *payload = bytes + *used + head.bytes;
        *used += head.bytes + head.size;
        status = take_frame(parser, &head, payload, &sink);
    }
    return status;
}

void ws_parser_free(struct ws_parser *parser)
{
    if (parser->partial)
        buf_free(parser->partial);
    free(parser->partial);
    *parser = (struct ws_parser){0};
}

void ws_accept_key(struct str key, char out[29])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* RFC 6455, 1.3 */
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size;
    struct buf text = {0};
    buf_str(&text, key);
    buf_lit(&text, guid);
    if (EVP_Digest(text.p, text.n, digest, &size, EVP_sha1(), NULL) != 1)
        abort();
    buf_free(&text);
    EVP_EncodeBlock((unsigned char *)out, digest, (int)size);
}

static void put_length(struct buf *out, size_t n)
{
    unsigned extended = n < 126 ? 0 : n <= UINT16_MAX ? 2 : 8;
    buf_char(out, (char)(0x80 | (extended == 0 ? n : extended == 2 ? 126 : 127)));
    for (unsigned i = extended; i-- > 0;)
        buf_char(out, (char)(n >> 8 * i));
}

void ws_put_masked(struct buf *out, int opcode, struct str payload, uint32_t mask)
{
    unsigned char key[4] = {(unsigned char)(mask >> 24), (unsigned char)(mask >> 16),
                            (unsigned char)(mask >> 8), (unsigned char)mask};
    buf_char(out, (char)(0x80 | opcode));
    put_length(out, payload.n);
    buf_put(out, key, 4);
    size_t at = out->n;
    buf_put(out, payload.p ? payload.p : "", payload.n);
    unmask(out->p + at, payload.n, key);
}
