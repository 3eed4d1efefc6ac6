/* database.h - one PostgreSQL for all tests of a program: made when the first test wants it, gone with the program.
 *
 * Each fixture has tables of its own (table_prefix).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "../support/unit.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/store.h"

struct database {
    char dir[128]; /* "" = not there */
    struct store_postgres to;
    unsigned prefixes;
};

static struct database database;

/* Runs tools/postgres with these words; the first line that it says. */
static inline void database_tool(const char *words, const char *more, char *line, size_t size)
{
    char command[1400];
    snprintf(command, sizeof command, "tools/postgres %s '%s' %s", words, database.dir, more);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    if (!fgets(line, (int)size, pipe))
        line[0] = '\0';
    line[strcspn(line, "\n")] = '\0';
    for (char rest[256]; fgets(rest, sizeof rest, pipe);)
        ;
    if (pclose(pipe) != 0)
        fail_msg("failed: %s", command);
}

static inline void database_start(void)
{
    char port[16];
    database_tool("start", "", port, sizeof port);
    database.to.port = (uint16_t)strtoul(port, NULL, 10);
}

static inline void database_kill(void)
{
    char line[16];
    database_tool("kill", "", line, sizeof line);
}

/* The first field of the first row. SQL without single quotes; $$text$$ does. */
static inline const char *database_sql(const char *sql)
{
    static char line[1024];
    char quoted[900];
    snprintf(quoted, sizeof quoted, "'%s'", sql);
    database_tool("sql", quoted, line, sizeof line);
    return line;
}

static inline long long database_number(const char *sql)
{
    return strtoll(database_sql(sql), NULL, 10);
}

static inline void database_gone(void)
{
    char command[256], line[16];
    database_tool("stop", "", line, sizeof line);
    snprintf(command, sizeof command, "rm -rf '%s'", database.dir);
    if (system(command) != 0)
        fprintf(stderr, "left behind: %s\n", database.dir);
}

/* Where a store finds it, with tables that nobody else uses; the prefix is the caller's to free. */
static inline struct store_postgres database_for_one(void)
{
    const char *tmp = getenv("TMPDIR");
    char prefix[16];
    if (!database.dir[0]) {
        snprintf(database.dir, sizeof database.dir, "%s/postgres-test-XXXXXX", tmp ? tmp : "/tmp");
        assert_non_null(mkdtemp(database.dir));
        database.to = (struct store_postgres){.host = "127.0.0.1", .username = "sockudo", .password = "", .database = "sockudo",
                                              .write_timeout_ms = 5000, .lock_timeout_ms = 500, .connections_max = 5};
        database_start();
        atexit(database_gone);
    }
    snprintf(prefix, sizeof prefix, "t%u", ++database.prefixes);
    struct store_postgres one = database.to;
    one.table_prefix = str_dup(str_of(prefix));
    return one;
}
