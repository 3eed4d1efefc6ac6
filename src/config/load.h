/* load.h - the inner life of config_load(), in the order in which it happens. Only src/config and its tests
 * include it.
 *
 * Every step returns false after it has put one readable reason into loader->error.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "config/config.h"
#include "config/value.h"

enum config_format { CONFIG_JSON, CONFIG_TOML };

struct config_text {
    struct str name; /* for messages: the file's path */
    struct str text; /* absent: there is no file, so the demo profile is loaded */
    enum config_format format;
};

struct loader {
    struct config *config;
    struct str name;          /* what is being read: a path, or "demo profile" */
    enum value_source source; /* what values set now are from */
    char *const *environ_;
    struct buf *warnings, *error;
    struct buf without_effect; /* names of KEY_TUNING keys that were set: "a, b" */
};

/* config_load() behind its file: text instead of a path. */
struct config *config_from_text(const struct config_text *text, const struct config_request *request,
                                struct buf *warnings, struct buf *error);

/* The first reason stays. Always false. */
bool load_fail(struct loader *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* One line; `name` is what it is about. */
void load_warn(struct loader *l, struct str name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* demo.c: the TOML text of the profile that runs when there is no file (2.10). */
extern const char demo_profile_toml[];

/* walk.c: the members of a JSON object into `values`, one per row of `table`; `where` stands before the names
 * in messages, e.g. "app_manager.array.apps[0]." */
bool walk_object(struct loader *l, const struct key_table *table, struct config_value *values,
                 struct str where, struct str object);
/* After walk_object() for an object in a list: refuses what is not built, notes what has no effect. */
bool walk_end(struct loader *l, const struct key_table *table, const struct config_value *values,
              struct str where);

/* env.c (1.4) */
bool env_apply(struct loader *l);
/* apps.c: what SOCKUDO_DEFAULT_APP_* and its kin make of the list of apps; then the list itself. */
bool apps_from_env(struct loader *l);
bool apps_load(struct loader *l);
/* apps_webhooks.c: the webhooks of one app, from their JSON array. */
bool apps_webhooks(struct loader *l, struct app_config *app, struct str where, struct str array);
/* derive.c: everything that is more than one value written to one field. */
void derive(struct loader *l);
/* redis.c: where Redis is, out of parts and URLs. */
void derive_redis(struct loader *l);
bool validate_redis(struct loader *l);
/* validate.c (4.1) and validate_lists.c */
bool validate(struct loader *l);
bool validate_push_rules(struct loader *l);
bool validate_ably_keys(struct loader *l);
/* NULL, or why this is no origin pattern (7.4). */
const char *origin_pattern_problem(struct str pattern);

/* The text of a key of the global table; absent if it is not set. */
struct str load_text(const struct loader *l, const char *path);
bool load_is(const struct loader *l, const char *path, const char *text);
