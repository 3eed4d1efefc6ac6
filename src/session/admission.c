/* admission.c - see admission.h
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "session/admission.h"

#include "wire/codes.h"

static uint64_t connections_of_node(const struct apps *apps)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < apps_count(apps); i++)
        sum += atomic_load_explicit(&apps_at(apps, i)->connections, memory_order_relaxed);
    return sum;
}

/* Takes one place of the app's quota; exact, whatever other shards do at the same time. What other nodes do is known a moment later. */
static bool take_place(struct app *app)
{
    uint32_t max = app->config->max_connections, used = atomic_load(&app->connections);
    uint64_t elsewhere = atomic_load(&app->connections_elsewhere);
    do {
        if (max > 0 && used + elsewhere >= max)
            return false;
    } while (!atomic_compare_exchange_weak(&app->connections, &used, used + 1));
    return true;
}

void admission_give_back(struct app *app)
{
    atomic_fetch_sub(&app->connections, 1);
}

static struct refusal take_quota(const struct env *env, struct app *app)
{
    struct refusal full = {CODE_OVER_CAPACITY, STR("Over capacity"), "over_capacity"};
    uint32_t max = env->config->max_connections;
    if (max > 0 && connections_of_node(env->apps) >= max)
        return full;
    if (!take_place(app))
        return (struct refusal){CODE_OVER_QUOTA, STR("Application is over adapter quota"), "over_quota"};
    if (max > 0 && connections_of_node(env->apps) > max) {
        admission_give_back(app);
        return full;
    }
    return (struct refusal){0};
}

struct refusal admission_take(const struct env *env, struct app *app, struct str origin)
{
    if (app == NULL)
        return (struct refusal){CODE_APP_UNKNOWN, STR("Application does not exist"), "app_not_found"};
    const struct app_config *config = app->config;
    if (!config->enabled)
        return (struct refusal){CODE_APP_DISABLED, STR("Application disabled"), "app_disabled"};
    if (config->allowed_origins_count > 0 &&
        !origin_allowed(config->allowed_origins, config->allowed_origins_count, origin.p != NULL ? origin : STR("")))
        return (struct refusal){CODE_UNAUTHORIZED, STR("Origin not allowed"), "origin_not_allowed"};
    return take_quota(env, app);
}
