/* str.h - a view of bytes.
 *
 * A str never owns. It need not end in NUL; NUL exists only at system calls. p == NULL means
 * "absent", which is different from empty (p != NULL, n == 0): optional protocol fields rely on it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *p; /* NULL = absent */
    size_t n;      /* bytes */
};

#define STR(literal) ((struct str){(literal), sizeof(literal) - 1})
#define STR_NONE ((struct str){NULL, 0})
/* For printf("%.*s", STR_ARG(s)). */
#define STR_ARG(s) (int)(s).n, (s).p ? (s).p : ""

static inline struct str str_of(const char *nul_terminated)
{
    return (struct str){nul_terminated, nul_terminated ? strlen(nul_terminated) : 0};
}

static inline struct str str_make(const void *p, size_t n)
{
    return (struct str){p, n};
}

static inline bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool str_starts(struct str s, struct str prefix)
{
    return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

static inline bool str_ends(struct str s, struct str suffix)
{
    return s.n >= suffix.n && (suffix.n == 0 || memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) == 0);
}

/* Bytes from `from` to the end; from <= n. */
static inline struct str str_from(struct str s, size_t from)
{
    return (struct str){s.p + from, s.n - from};
}

static inline struct str str_first(struct str s, size_t n)
{
    return (struct str){s.p, n < s.n ? n : s.n};
}

/* ASCII case folded. */
bool str_eq_nocase(struct str a, struct str b);
/* Byte order; a prefix is smaller. <0, 0, >0. */
int str_cmp(struct str a, struct str b);
/* Index of the first c, or -1. */
ptrdiff_t str_index(struct str s, char c);
/* Index of the first `needle`, or -1. */
ptrdiff_t str_find(struct str s, struct str needle);
/* Without leading and trailing ASCII white space. */
struct str str_trim(struct str s);
/* Cuts *rest at the first sep: returns what is before it and leaves what is behind; when there is no sep the
 * whole, and *rest becomes absent. */
struct str str_split(struct str *rest, char sep);
/* Plain decimal digits only, no sign, no space; false on anything else or overflow. */
bool str_to_u64(struct str s, uint64_t *value);
bool str_to_i64(struct str s, int64_t *value);
/* Strict UTF-8 (no surrogates, no overlong forms, at most U+10FFFF). */
bool str_is_utf8(struct str s);
/* Size in bytes of the UTF-8 sequence that s starts with; 0 if it starts with none. */
size_t str_utf8_first(struct str s);
/* Equal in time that depends on the lengths only. */
bool str_eq_secret(struct str a, struct str b);
/* A malloc'd NUL-terminated copy. */
char *str_dup(struct str s);
