/* postgres_schema.h - tables and functions of the PostgreSQL store, and how they come to be.
 *
 * One row of <prefix>_schema holds the version. Who starts on an older one migrates it, under an advisory lock and in one
 * transaction: nodes that start together do it once, and what fails leaves all as it was. Nodes of the older release that still run
 * lose their connections then, find the newer version when they come back, and stop writing. Tables that are newer, or not ours, are
 * refused.
 *
 * Threads: the connection's. All of it blocks: a migration for as long as it and those before it take. Errors: false with a reason for
 * whoever starts the server. Limit: TABLE_PREFIX_MAX bytes of a prefix.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "store/postgres_conn.h"

enum { SCHEMA_VERSION = 1, TABLE_PREFIX_MAX = 40 };

/* Of the build: src/store/postgres_*.sql. */
extern const char postgres_tables[], postgres_functions[], postgres_reads[];
extern const size_t postgres_tables_size, postgres_functions_size, postgres_reads_size;

/* What a build wants to find. */
struct schema {
    uint64_t version;
    struct str tables;           /* step by step, see postgres_tables.sql */
    struct str functions, reads; /* replaced whenever they differ */
};
struct schema schema_of_build(void);

/* A letter or _, then letters, digits or _, all lower case: it becomes part of names in SQL. */
bool schema_prefix_is_fine(struct str prefix);
/* False with the reason: neither read nor write anything then. schema: of the build, but for tests. */
bool schema_migrate(struct pg_conn *c, const struct schema *schema, struct buf *error);
/* After a reconnect: the version that this build speaks? False with the reason. */
bool schema_check(struct pg_conn *c, struct buf *error);
/* What is there, 0 = nothing yet. False with the reason: another program's, a newer one's, or it cannot be seen. */
bool schema_look(struct pg_conn *c, uint64_t *version, struct buf *error);
/* Appends sql with every @ replaced by the prefix. */
void schema_sql(struct buf *out, struct str sql, const char *prefix);
