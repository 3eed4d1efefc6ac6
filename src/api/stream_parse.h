/* stream_parse.h - the body of a streaming append, cut into records (docs/streaming.md).
 *
 *      ndjson  {"data":"Hel"}\n{"data":"lo","status":"complete"}\n     a line, a record; empty lines are skipped
 *      text    Hel|lo                                                  a read, a record; cut between characters
 *      sse     data: {"choices":[{"delta":{"content":"Hel"}}]}\n\n     an event with text, a record (provider.h)
 *
 * Bytes go in by stream_parser_put() however they are cut; records come out by stream_parser_next() until it says
 * PARSE_MORE. Where a record ends does not depend on the cuts, but for text.
 *
 * Limits: a record, or what there is of it so far, STREAM_RECORD_MAX bytes. Threads: pure. Ownership: what a record
 * points to lies in the parser, until the next call.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "wire/item.h"

enum { STREAM_RECORD_MAX = 1 << 20 };

enum stream_format { STREAM_NDJSON, STREAM_TEXT, STREAM_SSE };

struct stream_record {
    struct str data;   /* JSON string; `""` if the record has none */
    struct str extras; /* JSON object, as the next; ndjson only; absent = not given */
    struct str metadata;
    struct str op_id, client_id, description; /* JSON strings; ndjson only */
    enum stream_status status; /* STREAM_COMPLETE, STREAM_CANCELLED: the last record; STREAM_OPEN: it says that it is
                                  not the last; STREAM_NONE: it says nothing */
    struct str failed;         /* sse: text of the provider's error, which ended the answer; absent = none */
};

enum parse_result {
    PARSE_RECORD,
    PARSE_MORE,  /* nothing until more bytes come, or after the last record */
    PARSE_WRONG, /* malformed: parser->why */
};

struct stream_parser {
    enum stream_format format;
    struct buf kept;    /* bytes not used yet: from `at` */
    size_t at, scanned; /* no end of a record in [at, scanned) */
    struct buf made;    /* what a record needs that does not stand in the bytes as it is */
    bool whole;         /* no more bytes will come */
    bool finished;      /* the last record has come out: the rest is ignored */
    bool stop_seen;     /* sse: the provider has said why it stops; what follows is figures */
    const char *why;    /* static */
};

void stream_parser_free(struct stream_parser *p);
void stream_parser_put(struct stream_parser *p, struct str bytes);
/* The body has ended as it should: what is left is the last record, if it is one. */
void stream_parser_end(struct stream_parser *p);
enum parse_result stream_parser_next(struct stream_parser *p, struct stream_record *record);
