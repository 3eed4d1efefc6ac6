/* annotation.h - reactions and the like on messages: their types, their stored form, and the summaries that are folded
 * from them (chapter 3, section 7).
 *
 *      event     annotation.create or annotation.delete, one row of the internal channel "[annotations]<channel>": its place
 *                in that channel's history makes its serial, "ann:" and 20 digits
 *      summary   what all events of one (message, type) amount to
 *
 * Pure functions and plain data. Ownership: a struct annotation borrows its texts; a summary owns what it keeps.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/map.h"
#include "wire/item.h"

enum { ANNOTATION_SERIAL_SIZE = 24, ANNOTATION_TYPE_MAX = 256 };
void annotation_serial_print(char out[ANNOTATION_SERIAL_SIZE + 1], uint64_t serial);
/* False if it cannot be one of ours. */
bool annotation_serial_parse(struct str text, uint64_t *serial);

enum summarizer { SUMMARIZE_TOTAL, SUMMARIZE_FLAG, SUMMARIZE_DISTINCT, SUMMARIZE_UNIQUE, SUMMARIZE_MULTIPLE };
/* NULL, or static text saying what is wrong with the type. */
const char *annotation_type_read(struct str type, enum summarizer *out);
/* NULL, or what a create of that kind lacks ("flag annotations require clientId"). */
const char *annotation_lacks(enum summarizer kind, struct str name, struct str client_id);

struct annotation {
    bool deletes;
    uint64_t serial;       /* 0 = not stored yet */
    uint64_t target;       /* of a delete: serial of its create */
    struct message_id message;
    struct str id;         /* creates */
    struct str type, name, client_id, encoding; /* text; all but type may be absent */
    struct str data;       /* JSON value text or absent */
    uint64_t count;        /* 0 = not given */
    int64_t at_ms;
};
/* The event as pages and raw frames show it (chapter 2, 2.12; chapter 3, 7.4), and as it is stored but for its serial. */
void annotation_json(struct buf *out, const struct annotation *a);
/* What annotation_json() wrote; false if it is something else. Texts in the arena or views. */
bool annotation_parse(struct str json, struct arena *arena, struct annotation *out);

/* One (message, type). */
struct summary;
struct summary *summary_new(enum summarizer kind);
void summary_free(struct summary *s);
/* Events in the order of their serials, each once; of deletes of one create only the first. */
void summary_add(struct summary *s, const struct annotation *event);
/* {"total":3} and so on. At most clients_max client ids are shown in each list; *clipped says whether that left any out. */
void summary_json(struct buf *out, const struct summary *s, size_t clients_max, bool *clipped);
