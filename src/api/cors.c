/* cors.c - see cors.h
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/cors.h"

#include "app/app.h"

static bool allows_all(const struct config *config)
{
    for (size_t i = 0; i < config->cors.origins_count; i++)
        if (str_eq(config->cors.origins[i], STR("*")) || str_eq_nocase(config->cors.origins[i], STR("any")))
            return true;
    return false;
}

static struct str lines_of(struct buf *lines, struct arena *arena)
{
    struct str copy = arena_copy(arena, buf_view(lines));
    buf_free(lines);
    return copy;
}

struct str cors_headers(const struct config *config, struct str origin, struct arena *arena)
{
    if (!origin.p || config->cors.origins_count == 0)
        return STR_NONE;
    if (allows_all(config))
        return STR("Access-Control-Allow-Origin: *\r\n");
    if (!origin_allowed(config->cors.origins, config->cors.origins_count, origin))
        return STR("Vary: Origin\r\n");
    struct buf lines = {0};
    buf_lit(&lines, "Vary: Origin\r\nAccess-Control-Allow-Origin: ");
    buf_str(&lines, origin);
    if (config->cors.credentials)
        buf_lit(&lines, "\r\nAccess-Control-Allow-Credentials: true");
    buf_lit(&lines, "\r\n");
    return lines_of(&lines, arena);
}

struct str cors_preflight_headers(const struct config *config, struct arena *arena)
{
    struct buf lines = {0};
    buf_lit(&lines, "Access-Control-Allow-Methods: ");
    buf_str(&lines, config->cors.methods);
    buf_lit(&lines, "\r\nAccess-Control-Allow-Headers: ");
    buf_str(&lines, config->cors.allowed_headers);
    buf_lit(&lines, "\r\n");
    return lines_of(&lines, arena);
}
