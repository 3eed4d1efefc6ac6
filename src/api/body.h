/* body.h - a JSON object of a request, read into a struct by a table (chapter 2, 2.1, 2.4).
 *
 * Unknown members are ignored, null counts as absent, the last of several wins. Texts are views of the
 * request where they have no escapes, else copies in the arena.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "api/call.h"

enum field_kind {
    FIELD_TEXT,     /* struct str: decoded */
    FIELD_JSON,     /* struct str: the value as it stands */
    FIELD_OBJECT,   /* the same, an object */
    FIELD_TEXT_MAP, /* the same, an object whose values are strings */
    FIELD_ARRAY,    /* the same, an array */
    FIELD_TEXTS,    /* struct texts */
    FIELD_BOOL,     /* bool; stays as it was if absent */
    FIELD_U64,      /* struct number */
    FIELD_I64,      /* struct number */
};
struct texts {
    struct str *at; /* NULL = absent; in the arena */
    size_t count;
};
struct number {
    bool given;
    uint64_t u;
    int64_t i;
};
struct field {
    const char *name;
    enum field_kind kind;
    bool required;
    size_t offset; /* in the struct that is read */
};

/* The request's body as one checked JSON object: 400 invalid_json, or 422 if it is something else. */
struct failure body_object(struct call *c, struct str *object);
/* Members of `object` into *out; 422 for a wrong type or a missing required member. */
struct failure body_read(struct call *c, struct str object, const struct field *fields, size_t count,
                         void *out);
