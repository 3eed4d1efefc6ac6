/* postgres_options.c - the configuration as the PostgreSQL store takes it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "config/config.h"
#include "store/store.h"

enum { LOCK_TIMEOUT_MS = 500 };

struct store_postgres store_postgres_from(const struct config *config)
{
    return (struct store_postgres){
        .host = str_dup(config->postgres.host),
        .port = config->postgres.port,
        .username = str_dup(config->postgres.username),
        .password = str_dup(config->postgres.password),
        .database = str_dup(config->postgres.database),
        .table_prefix = str_dup(config->postgres.table_prefix),
        .write_timeout_ms = (uint32_t)config->postgres.write_timeout_ms,
        .lock_timeout_ms = LOCK_TIMEOUT_MS,
        .connections_max = config->postgres.connections_max,
    };
}

void store_postgres_free(struct store_postgres *to)
{
    const char *owned[] = {to->host, to->username, to->password, to->database, to->table_prefix};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
        free((void *)owned[i]);
}
