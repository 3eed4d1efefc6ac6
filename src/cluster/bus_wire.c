/* bus_wire.c - see bus_wire.h: bytes in, fields out, and back.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cluster/bus_wire.h"

#include "base/pack.h"

void bus_put_head(struct buf *out, enum bus_kind kind, const char *node)
{
    buf_char(out, BUS_WIRE_VERSION);
    buf_char(out, (char)kind);
    buf_put(out, node, BUS_ID_BYTES);
}

void bus_put_interests(struct buf *out, const struct bus_interest *interests, size_t count)
{
    unsigned next = 0;
    pack_u64(out, count);
    for (size_t i = 0; i < count; i++) {
        pack_u64(out, interests[i].topic - next);
        pack_u64(out, (uint64_t)(interests[i].window + 1));
        next = interests[i].topic + 1;
    }
}

void bus_put(struct buf *out, const struct bus_message *m)
{
    bus_put_head(out, m->kind, m->node);
    switch (m->kind) {
    case BUS_HELLO:
    case BUS_STATE:
        buf_put(out, m->nonce, BUS_NONCE_BYTES);
        pack_text(out, m->name);
        pack_u64(out, m->topics);
        pack_u64(out, m->generation);
        if (m->kind == BUS_STATE)
            pack_u64(out, m->answers);
        buf_str(out, m->interests);
        break;
    case BUS_ANNOUNCE:
        pack_u64(out, m->since);
        pack_u64(out, m->generation);
        buf_str(out, m->interests);
        break;
    case BUS_ACK:
        pack_u64(out, m->generation);
        break;
    case BUS_HEARTBEAT:
        buf_put(out, m->nonce, BUS_NONCE_BYTES);
        pack_u64(out, m->generation);
        break;
    case BUS_PUBLISHED:
    case BUS_SENT:
    case BUS_ASK:
    case BUS_BYE:
        break;
    }
}

/* ---- reading ---- */

bool bus_interests_begin(struct bus_interests *it, struct str interests)
{
    *it = (struct bus_interests){.in = interests};
    return unpack_u64(&it->in, &it->left) && it->left <= BUS_TOPICS_MAX;
}

bool bus_interest_next(struct bus_interests *it, struct bus_interest *interest)
{
    uint64_t distance, window;
    if (it->left == 0 || !unpack_u64(&it->in, &distance) || !unpack_u64(&it->in, &window))
        return false;
    if (distance >= BUS_TOPICS_MAX || it->next + distance >= BUS_TOPICS_MAX || window > BUS_WINDOW_MAX + 1)
        return false;
    interest->topic = (unsigned)(it->next + distance);
    interest->window = window == 0 ? BUS_NOBODY : (int)window - 1;
    it->next = interest->topic + 1;
    it->left--;
    return true;
}

static bool interests_are_sound(struct str interests)
{
    struct bus_interests it;
    struct bus_interest one;
    if (!bus_interests_begin(&it, interests))
        return false;
    while (bus_interest_next(&it, &one))
        ;
    return it.left == 0 && it.in.n == 0;
}

static bool read_nonce(struct str *in, struct bus_message *m)
{
    if (in->n < BUS_NONCE_BYTES)
        return false;
    m->nonce = in->p;
    *in = str_from(*in, BUS_NONCE_BYTES);
    return true;
}

static bool read_state(struct str *in, struct bus_message *m)
{
    if (!read_nonce(in, m) || !unpack_text(in, &m->name) || m->name.n > BUS_NAME_MAX || !unpack_u32(in, &m->topics) ||
        !unpack_u64(in, &m->generation))
        return false;
    if (m->kind == BUS_STATE && !unpack_u64(in, &m->answers))
        return false;
    m->interests = *in;
    *in = STR("");
    return interests_are_sound(m->interests);
}

static bool read_announce(struct str *in, struct bus_message *m)
{
    if (!unpack_u64(in, &m->since) || !unpack_u64(in, &m->generation))
        return false;
    m->interests = *in;
    *in = STR("");
    return interests_are_sound(m->interests);
}

static bool read_body(struct str *in, struct bus_message *m)
{
    switch (m->kind) {
    case BUS_PUBLISHED:
    case BUS_SENT:
        m->payload = *in;
        *in = STR("");
        return true;
    case BUS_HELLO:
    case BUS_STATE:
        return read_state(in, m);
    case BUS_ANNOUNCE:
        return read_announce(in, m);
    case BUS_ACK:
        return unpack_u64(in, &m->generation);
    case BUS_HEARTBEAT:
        return read_nonce(in, m) && unpack_u64(in, &m->generation);
    case BUS_ASK:
    case BUS_BYE:
        return true;
    }
    return false;
}

bool bus_read(struct str bytes, struct bus_message *m)
{
    *m = (struct bus_message){0};
    if (bytes.n < BUS_HEAD_BYTES || bytes.p[0] != BUS_WIRE_VERSION)
        return false;
    m->kind = (enum bus_kind)(unsigned char)bytes.p[1];
    m->node = bytes.p + 2;
    struct str in = str_from(bytes, BUS_HEAD_BYTES);
    return read_body(&in, m) && in.n == 0;
}

/* ---- node ids ---- */

static const char hex[] = "0123456789abcdef";
static const unsigned char dashes[] = {8, 13, 18, 23};

static bool is_dash(size_t at)
{
    return memchr(dashes, (int)at, sizeof dashes) != NULL;
}

static int hex_value(char c)
{
    const char *found = c != '\0' ? strchr(hex, c) : NULL;
    return found != NULL ? (int)(found - hex) : -1;
}

bool bus_id_read(struct str uuid, char id[BUS_ID_BYTES])
{
    size_t out = 0;
    if (uuid.n != BUS_NODE_SIZE)
        return false;
    for (size_t at = 0; at < BUS_NODE_SIZE;) {
        if (is_dash(at)) {
            if (uuid.p[at++] != '-')
                return false;
            continue;
        }
        int high = hex_value(uuid.p[at]), low = hex_value(uuid.p[at + 1]);
        if (high < 0 || low < 0)
            return false;
        id[out++] = (char)(high << 4 | low);
        at += 2;
    }
    return true;
}

void bus_id_write(const char id[BUS_ID_BYTES], char uuid[BUS_NODE_SIZE + 1])
{
    char *p = uuid;
    for (size_t i = 0; i < BUS_ID_BYTES; i++) {
        if (is_dash((size_t)(p - uuid)))
            *p++ = '-';
        *p++ = hex[(unsigned char)id[i] >> 4];
        *p++ = hex[(unsigned char)id[i] & 15];
    }
    *p = '\0';
}
