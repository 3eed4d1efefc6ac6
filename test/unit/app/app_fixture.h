/* app_fixture.h - one application as chapter 2, 2.22 has it, for the tests of this folder.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "unit.h"

#include "app/app.h"

struct fixture {
    struct config config;
    struct app_config app_configs[2];
    struct apps *apps;
    struct app *app; /* id 7, key k1, secret s3cr3t */
    struct arena arena;
};

static inline struct app_config app_config_plain(struct str id, struct str key)
{
    return (struct app_config){
        .id = id,
        .key = key,
        .secret = STR("s3cr3t"),
        .enabled = true,
        .idempotency_enabled = -1,
        .idempotency_ttl_seconds = -1,
        .recovery = {-1, -1, -1},
        .history = {-1, -1, -1, -1, -1},
    };
}

static inline void fixture_build(struct fixture *f)
{
    struct buf error = {0};
    f->apps = apps_new(&f->config, 2, &error);
    assert_non_null(f->apps);
    f->app = apps_by_id(f->apps, STR("7"));
    buf_free(&error);
}

static inline int fixture_setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){0};
    f.app_configs[0] = app_config_plain(STR("7"), STR("k1"));
    f.app_configs[1] = app_config_plain(STR("8"), STR("k2"));
    f.config.apps = f.app_configs;
    f.config.apps_count = 2;
    fixture_build(&f);
    *state = &f;
    return 0;
}

static inline int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    apps_free(f->apps);
    arena_free(&f->arena);
    return 0;
}
