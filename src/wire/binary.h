/* binary.h - what the binary formats share; nobody outside of this folder includes it.
 *
 * Between JSON and a binary format stands a binary_message: the fifteen fields, each as the text of its JSON value.
 * The order of the fields is the position in MessagePack and, plus one, the number in Protobuf (chapter 1, 9.1 and 9.2).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/json.h"
#include "wire/format.h"

enum binary_field {
    FIELD_EVENT, FIELD_CHANNEL, FIELD_DATA, FIELD_NAME, FIELD_USER_ID, FIELD_TAGS, FIELD_SEQUENCE, FIELD_CONFLATION_KEY,
    FIELD_MESSAGE_ID, FIELD_STREAM_ID, FIELD_SERIAL, FIELD_IDEMPOTENCY_KEY, FIELD_EXTRAS, FIELD_DELTA_SEQUENCE,
    FIELD_DELTA_CONFLATION_KEY,
};
enum { FIELDS = 15 };
enum field_kind { KIND_TEXT, KIND_U64, KIND_DATA, KIND_TAGS, KIND_EXTRAS };

struct field_info {
    struct str name, json; /* json: its key in a JSON frame */
    enum field_kind kind;
};
extern const struct field_info binary_fields[FIELDS];

struct binary_message {
    struct str values[FIELDS]; /* JSON value text; absent = not there */
    enum data_form form;
};

/* ---- out: m's values are checked JSON ---- */
struct frame *msgpack_frame(const struct binary_message *m, size_t json_size);
struct frame *protobuf_frame(const struct binary_message *m, enum wire_format format);

/* Appends the bytes that a JSON array of byte numbers stands for. False if it is none. */
bool bytes_of_array(struct str array, struct buf *out);
double json_double(struct str number);

/* ---- in ---- */

/* One message being read: JSON is appended to `json`, the first thing that is wrong stays in `wrong` (in the arena). */
struct binary_reader {
    struct arena *arena;
    struct buf json;
    const char *wrong; /* NULL = all is well so far */
};
const char *msgpack_read(struct str bytes, struct binary_reader *r, struct binary_message *out);
const char *protobuf_read(struct str bytes, enum wire_format format, struct binary_reader *r, struct binary_message *out);

/* "<field> <what>", unless something was wrong before. */
void reader_fails(struct binary_reader *r, struct str field, const char *what);
/* Each appends one JSON value; `field` for the reason. Text must be UTF-8, `json_text` JSON, a number finite. */
void reader_text(struct binary_reader *r, struct str field, struct str text);
void reader_json(struct binary_reader *r, struct str field, struct str json_text);
void reader_double(struct binary_reader *r, struct str field, double number);
void reader_bytes(struct binary_reader *r, struct str bytes);
/* The comma, unless it is the first member of its object, and the key. */
void reader_key(struct binary_reader *r, struct str field, struct str key);
/* What has been appended since `from`, as a value in the arena. */
struct str reader_take(struct binary_reader *r, size_t from);
