/* keys_find.c - rows by name, and the name that was probably meant.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "config/keys.h"

enum { NAME_SIZE_MAX = 128 }; /* longer ones get no suggestion */

const char *key_name(const struct key_table *table, const struct config_key *key)
{
    static const char *const groups[] = {"limits.", "features.", "channels."};
    if (!table->flat)
        return key->path;
    if (key->flags & KEY_NESTED_ONLY)
        return NULL;
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        if (str_starts(str_of(key->path), str_of(groups[i])))
            return key->path + strlen(groups[i]);
    return key->path;
}

bool key_hides(const struct config_key *key, struct str text)
{
    if (text.n == 0)
        return false;
    return (key->flags & KEY_SECRET) || ((key->flags & KEY_SECRET_URL) && str_find(text, STR("://")) >= 0);
}

ptrdiff_t key_find(const struct key_table *table, struct str name)
{
    for (size_t i = 0; i < table->count; i++) {
        struct str own = str_of(key_name(table, &table->keys[i]));
        if (own.p && str_eq(own, name))
            return (ptrdiff_t)i;
    }
    return -1;
}

bool key_is_section(const struct key_table *table, struct str name)
{
    for (size_t i = 0; i < table->count; i++) {
        struct str own = str_of(key_name(table, &table->keys[i]));
        if (own.n > name.n && own.p[name.n] == '.' && str_starts(own, name))
            return true;
    }
    return false;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Letters to insert, drop or replace; both at most NAME_SIZE_MAX long. */
static size_t edit_distance(struct str a, struct str b)
{
    size_t row[NAME_SIZE_MAX + 1];
    for (size_t j = 0; j <= b.n; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.n; j++) {
            size_t replaced = diagonal + (a.p[i - 1] != b.p[j - 1]);
            diagonal = row[j];
            row[j] = smaller(replaced, smaller(row[j], row[j - 1]) + 1);
        }
    }
    return row[b.n];
}

/* The first `count` segments. */
static struct str first_segments(struct str name, size_t count)
{
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] == '.' && --count == 0)
            return str_first(name, i);
    return name;
}

static size_t letters_off_max(size_t name_size)
{
    return name_size < 4 ? 1 : name_size < 9 ? 2 : smaller(name_size / 3, 4);
}

struct str key_nearest(const struct key_table *table, struct str name)
{
    size_t segments = 1, best = letters_off_max(name.n) + 1;
    struct str nearest = STR_NONE;
    for (size_t i = 0; i < name.n; i++)
        segments += name.p[i] == '.';
    for (size_t i = 0; i < table->count && name.n <= NAME_SIZE_MAX; i++) {
        struct str own = first_segments(str_of(key_name(table, &table->keys[i])), segments);
        if (!own.p || own.n > NAME_SIZE_MAX || own.n + best <= name.n || name.n + best <= own.n)
            continue;
        size_t distance = edit_distance(name, own);
        if (distance < best) {
            best = distance;
            nearest = own;
        }
    }
    return nearest;
}

struct str key_word(const struct config_key *key, struct str word, bool *built)
{
    struct str rest = str_of(key->words);
    *built = true;
    while (rest.p) {
        struct str stands_for = str_split(&rest, ' ');
        struct str alias = str_split(&stands_for, '=');
        if (str_eq(alias, STR("|")))
            *built = false;
        else if (str_eq(alias, word))
            return stands_for.p ? stands_for : alias;
    }
    return STR_NONE;
}
