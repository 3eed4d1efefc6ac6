/* placeholder.c - values from outside, put into the text before anybody parses it.
 *
 *      port = "${PORT:-7001}"      PORT unset or empty: 7001, else its value, without quoting
 *
 * What only looks like a placeholder (`${1}`, `${A`, `$A`) stays as it is.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "config/placeholder.h"

struct placeholder {
    struct str name, fallback; /* fallback: absent if there is none */
    size_t size;               /* from '$' to '}' */
};

struct str environment_get(char *const *environ_, struct str name)
{
    for (; environ_ && *environ_; environ_++) {
        struct str entry = str_of(*environ_);
        if (entry.n > name.n && entry.p[name.n] == '=' && str_starts(entry, name))
            return str_from(entry, name.n + 1);
    }
    return STR_NONE;
}

static bool is_name_char(char c, bool first)
{
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    return letter || (!first && c >= '0' && c <= '9');
}

/* text starts with '$'. */
static bool read_placeholder(struct str text, struct placeholder *out)
{
    size_t n = 2;
    if (text.n < 4 || text.p[1] != '{')
        return false;
    while (n < text.n && is_name_char(text.p[n], n == 2))
        n++;
    out->name = str_make(text.p + 2, n - 2);
    if (out->name.n == 0)
        return false;
    out->fallback = STR_NONE;
    if (str_starts(str_from(text, n), STR(":-"))) {
        ptrdiff_t end = str_index(str_from(text, n), '}');
        if (end < 0)
            return false;
        out->fallback = str_make(text.p + n + 2, (size_t)end - 2);
        n += (size_t)end;
    }
    out->size = n + 1;
    return n < text.n && text.p[n] == '}';
}

static bool is_listed(const struct buf *list, struct str name)
{
    struct str rest = buf_view(list);
    while (rest.p)
        if (str_eq(str_trim(str_split(&rest, ',')), name))
            return true;
    return false;
}

static void replace(const struct placeholder *found, char *const *environ_, struct buf *out,
                    struct buf *unresolved)
{
    struct str value = environment_get(environ_, found->name);
    if (value.n == 0)
        value = found->fallback;
    if (value.p)
        buf_str(out, value);
    else if (!is_listed(unresolved, found->name)) {
        buf_str(unresolved, unresolved->n ? STR(", ") : STR(""));
        buf_str(unresolved, found->name);
    }
}

bool placeholder_expand(struct str text, char *const *environ_, struct buf *out, struct buf *unresolved)
{
    while (text.n) {
        struct placeholder found;
        ptrdiff_t dollar = str_index(text, '$');
        size_t plain = dollar < 0 ? text.n : (size_t)dollar;
        buf_put(out, text.p, plain);
        text = str_from(text, plain);
        if (text.n == 0)
            break;
        if (read_placeholder(text, &found)) {
            replace(&found, environ_, out, unresolved);
            text = str_from(text, found.size);
        } else {
            buf_char(out, '$');
            text = str_from(text, 1);
        }
    }
    return unresolved->n == 0;
}
