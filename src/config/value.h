/* value.h - one value on its way: from JSON or the environment to text, from text to the typed structure.
 *
 * Between reading and storing a value is a text of one form, so that a later source simply replaces it,
 * defaults are written like any other value, and "is this the default?" is a comparison:
 *
 *      KEY_BOOL, KEY_TRISTATE      true, false
 *      numbers                     as in JSON
 *      KEY_STR, KEY_CHOICE         the characters themselves
 *      KEY_STRINGS, KEY_OBJECTS    compact JSON array
 *      KEY_MAP                     compact JSON object
 *
 * An absent text means "not set".
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/arena.h"
#include "config/keys.h"

enum value_source { FROM_DEFAULT, FROM_FILE, FROM_DEMO, FROM_ENVIRONMENT, FROM_COMMAND_LINE };

struct config_value {
    struct str text;
    enum value_source source;
};

/* Both return NULL and *text (in the arena), or what was expected instead: "a number from 0 to 65535". */
const char *value_from_json(const struct config_key *key, struct str json, struct arena *arena,
                            struct str *text);
const char *value_from_env(const struct config_key *key, struct str raw, struct arena *arena,
                           struct str *text);

/* Writes a text that one of them returned to `field` as the type of the key says. */
void value_store(const struct config_key *key, struct str text, struct arena *arena, void *field);
/* Stores all values of a table at their offsets in `base`. */
void value_store_all(const struct key_table *table, const struct config_value *values, struct arena *arena,
                     void *base);

/* One per row, each with its default. */
struct config_value *value_defaults(const struct key_table *table, struct arena *arena);
bool value_is_default(const struct config_key *key, struct str text);
/* The value of the row with this path (asserted to exist). */
struct config_value *value_at(const struct key_table *table, struct config_value *values, const char *path);

/* A KEY_STRINGS text as an array in the arena; NULL if there are none. */
struct str *value_strings(struct str text, struct arena *arena, size_t *count);
