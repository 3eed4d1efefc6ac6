/* json.h - a strict reader over raw slices (RFC 8259), and nothing that re-serialises.
 *
 * A payload must pass through byte for byte, so a JSON value is represented by the slice of text it
 * stands in. json_check() validates a whole text once; every other function expects a slice that came
 * out of a checked text and does not check again (asserted where cheap).
 *
 * Strict: UTF-8, no trailing comma, no comment, no NaN, no lone surrogate escapes, no raw control
 * characters in strings, one value and nothing but white space around it. Duplicate keys: last wins.
 *
 * Threads: pure functions. Ownership: slices borrow the text.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"

enum json_type { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json_error {
    size_t offset;   /* byte in the text; its size if the text ended too early */
    const char *why; /* static text, e.g. "expected ':' after a key" */
};

enum { JSON_DEPTH_MAX = 64 };

/* True if text is one JSON value; *value is then its slice without surrounding white space. */
bool json_check(struct str text, struct str *value, struct json_error *error);

/* Absent (p == NULL) counts as JSON_NULL in all of the following. */
enum json_type json_type(struct str value);
static inline bool json_is(struct str value, enum json_type type)
{
    return json_type(value) == type;
}

struct json_iter {
    const char *p, *end;
};
struct json_iter json_iter(struct str object_or_array);
/* Key is raw: between its quotes, escapes not decoded. */
bool json_next_member(struct json_iter *it, struct str *key_raw, struct str *value);
bool json_next_item(struct json_iter *it, struct str *value);

/* The member's value slice; absent if the object lacks it, if it is null, or if `object` is no object.
 * Compares decoded keys. */
struct str json_get(struct str object, struct str key);
/* True if the member exists, null included. */
bool json_has(struct str object, struct str key);

/* The text of a JSON string: a view into the slice when it has no escapes, else decoded and appended to
 * scratch (the view is valid until scratch grows). Absent if value is not a string. */
struct str json_text(struct str value, struct buf *scratch);
/* The same for what json_next_member() calls key_raw. */
struct str json_key_text(struct str key_raw, struct buf *scratch);
/* json_text(), decoded into the arena: still a view into the slice when it has no escapes. */
struct str json_text_in(struct str value, struct arena *arena);
/* Decoded length in bytes of a JSON string, without decoding it. */
size_t json_text_size(struct str value);
bool json_u64(struct str value, uint64_t *out); /* a non-negative integer without fraction or exponent */
bool json_i64(struct str value, int64_t *out);
bool json_bool(struct str value, bool *out);
/* Whether every member of the object is a string. */
bool json_all_strings(struct str object);
/* Whether the text has no white space between its tokens; compact texts can be passed through. */
bool json_is_compact(struct str value);
/* Appends value without white space between tokens; order, numbers and escapes unchanged. */
void json_compact(struct buf *out, struct str value);
