/* keys.h - what can be set: one row per key, for the whole configuration and for the objects inside of it.
 *
 * A row says what a value looks like, what it is when nobody sets it, which environment variables set it,
 * where in the typed structure it ends up, and whether this build does anything with it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/str.h"

/* The C type at `offset`, and the form of the value's text (value.h). */
enum key_type {
    KEY_BOOL,     /* bool */
    KEY_TRISTATE, /* int: 0, 1, or -1 when not set */
    KEY_U16,
    KEY_U32,
    KEY_U64,     /* up to INT64_MAX */
    KEY_I64,     /* int64_t >= 0, or -1 when not set */
    KEY_FLOAT,   /* text only */
    KEY_STR,     /* struct str */
    KEY_CHOICE,  /* one of `words`; text only */
    KEY_STRINGS, /* struct str * and, right behind it, size_t count; its text is a JSON array */
    KEY_OBJECTS, /* text only: a JSON array of objects, their known members in `words` (NULL = a walker knows)
                  */
    KEY_MAP,     /* text only: a JSON object with keys of the user's own */
};

enum key_status {
    KEY_ACTS,    /* this build does what it says */
    KEY_NOT_YET, /* refused when set to anything but its default */
    KEY_TUNING,  /* of a part that is not built, not selected, or only the reference's: one warning for all */
};

enum key_flag {
    KEY_SECRET = 1 << 0,         /* never shown */
    KEY_SECRET_URL = 1 << 6,     /* not shown when it is a URL, which may hold a password */
    KEY_ENV_HARD = 1 << 1,       /* a bad environment value is an error, not a warning */
    KEY_MAY_BE_NONE = 1 << 2,    /* `none` in the environment = not set */
    KEY_POSITIVE = 1 << 3,       /* must be greater than 0 where validation asks for it */
    KEY_NUMERIC_STRING = 1 << 4, /* a file may write the number as a string */
    KEY_NESTED_ONLY = 1 << 5,    /* apps: honoured inside `policy` only */
};

struct config_key {
    const char *path;    /* segments joined with '.' */
    const char *env;     /* names separated by spaces, the last one that is set wins; NULL = none */
    const char *initial; /* as text; NULL = not set */
    enum key_type type;
    enum key_status status;
    unsigned flags;    /* of enum key_flag */
    size_t offset;     /* in the table's structure; 0 = text only */
    const char *words; /* KEY_CHOICE: built ones, then behind '|' the others, `alias=word` among both */
};

struct key_table {
    const struct config_key *keys;
    size_t count;
    bool flat; /* the names are those of the legacy flat shape of an app: `limits.x` is `x` */
};

extern const struct key_table keys_global;    /* struct config */
extern const struct key_table keys_app;       /* struct app_config, members beside `policy` */
extern const struct key_table keys_app_flat;  /* the same and the policy's, all flat */
extern const struct key_table keys_policy;    /* struct app_config, members of `policy` */
extern const struct key_table keys_namespace; /* struct namespace_config */
extern const struct key_table keys_webhook;   /* struct webhook_config */
extern const struct key_table keys_push_rule; /* text only */
extern const struct key_table keys_ably_key;  /* text only */

/* The key's name in this table: its path, or for a flat table what is left of it. NULL if it has none there.
 */
const char *key_name(const struct key_table *table, const struct config_key *key);

/* `text`, as a value of the key, must not be shown. That there is none may be. */
bool key_hides(const struct config_key *key, struct str text);

/* The row with this name, or -1. */
ptrdiff_t key_find(const struct key_table *table, struct str name);
/* Whether some row's name starts with `name` and a dot. */
bool key_is_section(const struct key_table *table, struct str name);
/* The most similar key or section with as many segments; absent if none is similar. */
struct str key_nearest(const struct key_table *table, struct str name);

/* What `word` stands for in the key's words; *built says whether this build has it. Absent if unknown. */
struct str key_word(const struct config_key *key, struct str word, bool *built);
