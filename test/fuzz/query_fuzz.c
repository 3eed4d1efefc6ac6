/* query_fuzz.c - the first line of the input is a path, the second a query, the rest a body: nothing that is
 * not signed gets through, and what we sign ourselves does.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "app/app.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NOW_S = 1700000000 };

static struct apps *apps;
static struct app_config configured = {
    .id = STR("7"),
    .key = STR("k1"),
    .secret = STR("s3cr3t"),
    .enabled = true,
};
static struct config config = {.apps = &configured, .apps_count = 1};

static void require(bool ok)
{
    if (!ok)
        abort();
}

static void check(struct str path, struct str query, struct str body)
{
    struct signature_failure failure = {0};
    struct arena arena = {0};
    struct str body_md5;
    struct signed_request r = {STR("POST"), path, query, body, NOW_S};
    struct app *app = signature_check_head(apps, &r, STR("7"), &failure);
    if (!app)
        require(failure.status >= 400 && failure.code && failure.text[0]);
    else
        require(!signature_check_mac(app, 0, &r, &arena, &body_md5, &failure) && failure.status >= 400);
    arena_free(&arena);
}

static void decode(struct str path, struct str query)
{
    struct arena arena = {0};
    struct str key = query_get(query, STR("k"), &arena), segment = path_decode(path, &arena);
    require(!key.p || str_is_utf8(key));
    require(!segment.p || str_is_utf8(segment));
    arena_free(&arena);
}

static void name(struct str channel)
{
    struct arena arena = {0};
    struct channel_name name;
    const char *wrong = channel_name_check(apps_at(apps, 0), channel, &name, &arena);
    require(!wrong || wrong[0]);
    if (!wrong)
        channel_policy(apps_at(apps, 0), channel, &name);
    arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!apps)
        apps = apps_new(&config, 1, NULL);
    struct str body = str_make(data ? data : (const uint8_t *)"", size);
    struct str path = str_split(&body, '\n'), query = body.p ? str_split(&body, '\n') : STR_NONE;
    check(path, query, body);
    decode(path, query);
    name(path);
    origin_allowed(&path, 1, query);
    return 0;
}
