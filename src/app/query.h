/* query.h - a query string cut into pairs (form-urlencoded: '+' is a space, %XX a byte).
 *
 * Lenient like every browser: a '%' that two hexadecimal digits do not follow stands for itself, `k` means
 * `k=`, empty pieces are skipped. SDKs put values into the URL unencoded, so this matters.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"

struct query_pair {
    struct str key;       /* decoded */
    struct str sort_key;  /* key in lower case */
    struct str value_raw; /* as it came */
    size_t index;         /* position in the query */
};

enum { QUERY_PAIRS_MAX = 256, QUERY_PAIRS_FEW = 16 };
struct query_pairs {
    struct query_pair few[QUERY_PAIRS_FEW], *pairs; /* pairs == few unless there are more */
    size_t count;
    bool plain;         /* nothing in it needs decoding */
    struct arena arena; /* what had to be decoded */
};

/* NULL, or static text saying what is wrong. query_pairs_free() either way. */
const char *query_read(struct query_pairs *q, struct str text);
void query_pairs_free(struct query_pairs *q);
/* The last pair with exactly this key, or NULL. */
const struct query_pair *query_find(const struct query_pairs *q, struct str key);
size_t query_times(const struct query_pairs *q, struct str key);
/* Order of the canonical string: by sort_key, then key, then position; all bytewise. */
void query_sort(struct query_pairs *q);
/* Decodes to `to`, where raw.n bytes have room; returns what is behind the text. */
char *query_decode(char *to, struct str raw);
/* The decoded value; a view of the query if there is nothing to decode. */
struct str query_value(const struct query_pair *pair, struct arena *arena);
