/* nodes.h - several stores on the tables of one: what tests of the PostgreSQL store share.
 *
 * A node is a fixture; a second one shares the tables of the first.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "fixture.h"

#include <time.h>

#define ON_POSTGRES(test) OVER(test, postgres)

static inline struct fixture *second_node(const struct fixture *first)
{
    struct fixture *f = fixture_new(POSTGRES);
    free((void *)f->postgres.table_prefix);
    f->postgres = first->postgres;
    f->postgres.table_prefix = str_dup(str_of(first->postgres.table_prefix));
    fixture_open(f);
    return f;
}

static inline struct call *append_call(struct fixture *f, struct message_id m, struct str data)
{
    f->w.target = m;
    f->w.data = data;
    return write_call(f, ACTION_APPEND);
}

static inline void sleep_ms(long ms)
{
    struct timespec t = {ms / 1000, (ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

/* SQL where @ is the prefix of this fixture's tables. */
static inline const char *sql_of(const struct fixture *f, const char *sql)
{
    static char out[800];
    size_t n = 0, prefix = strlen(f->postgres.table_prefix);
    for (; *sql && n + prefix + 1 < sizeof out; sql++) {
        if (*sql != '@') {
            out[n++] = *sql;
            continue;
        }
        memcpy(out + n, f->postgres.table_prefix, prefix);
        n += prefix;
    }
    out[n] = '\0';
    return out;
}
