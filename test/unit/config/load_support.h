/* load_support.h - a configuration from a text and a short environment, and what the loader says about it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <stdlib.h>

#include "../support/unit.h"
#include "config/load.h"

struct loaded {
    struct config *config; /* NULL = refused */
    struct buf warnings, error;
};

#define ENV(...) ((char *const[]){__VA_ARGS__, NULL})
#define NO_ENV ((char *const[]){NULL})

static inline struct loaded load_as(enum config_format format, const char *name, const char *text,
                                    char *const *env)
{
    struct loaded l = {0};
    const struct config_text source = {str_of(name), str_of(text), format};
    const struct config_request request = {.environ_ = env};
    l.config = config_from_text(&source, &request, &l.warnings, &l.error);
    if (!l.config)
        assert_int_not_equal(l.error.n, 0);
    return l;
}

static inline struct loaded load_toml(const char *text, char *const *env)
{
    return load_as(CONFIG_TOML, "x.toml", text, env);
}

static inline struct loaded load_json(const char *text, char *const *env)
{
    return load_as(CONFIG_JSON, "x.json", text, env);
}

static inline struct loaded load_demo(char *const *env)
{
    return load_as(CONFIG_TOML, NULL, NULL, env);
}

static inline void unload(struct loaded *l)
{
    config_free(l->config);
    buf_free(&l->warnings);
    buf_free(&l->error);
}

static inline void assert_says(const struct buf *text, const char *part)
{
    if (str_find(buf_view(text), str_of(part)) < 0)
        fail_msg("'%s' is not in: %.*s", part, STR_ARG(buf_view(text)));
}

static inline void assert_refused(const char *toml, const char *reason)
{
    struct loaded l = load_toml(toml, NO_ENV);
    assert_null(l.config);
    assert_says(&l.error, reason);
    unload(&l);
}

/* Loads without any warning. */
static inline struct config *must_load(struct loaded *l)
{
    if (!l->config)
        fail_msg("refused: %.*s", STR_ARG(buf_view(&l->error)));
    return l->config;
}
