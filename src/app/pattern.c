/* pattern.c - a small translation, then regcomp().
 *
 *      ^[a-z]+:\d{4}$   becomes   ^[a-z]+:[0-9]{4}$
 *
 * regexec() takes a lock inside glibc: patterns are checked when a channel is named by somebody, not per
 * message.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "app/pattern.h"

#include <regex.h>
#include <stdlib.h>

#include "base/mem.h"

/* What a backslash and a letter stand for outside of brackets; NULL = not available. */
static const char *class_of(char letter)
{
    switch (letter) {
    case 'd':
        return "[0-9]";
    case 'D':
        return "[^0-9]";
    case 'w':
        return "[A-Za-z0-9_]";
    case 'W':
        return "[^A-Za-z0-9_]";
    case 's':
        return "[[:space:]]";
    case 'S':
        return "[^[:space:]]";
    default:
        return NULL;
    }
}

static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
}

/* text[i] is a backslash. Returns NULL, or why not. */
static const char *translate_escape(struct str text, size_t i, struct buf *out)
{
    if (i + 1 == text.n)
        return "it ends in a backslash";
    char c = text.p[i + 1];
    if (!is_word(c)) {
        buf_put(out, text.p + i, 2);
        return NULL;
    }
    const char *class = class_of(c);
    if (!class)
        return "of the escapes with a letter only \\d \\w \\s and \\D \\W \\S are available";
    buf_str(out, str_of(class));
    return NULL;
}

/* Index of the `]` that closes the bracket at `open`, or text.n. */
static size_t bracket_end(struct str text, size_t open)
{
    size_t i = open + 1;
    if (i < text.n && text.p[i] == '^')
        i++;
    if (i < text.n && text.p[i] == ']')
        i++;
    while (i < text.n && text.p[i] != ']') {
        bool named = text.p[i] == '[' && i + 1 < text.n && text.p[i + 1] == ':';
        i++;
        while (named && i < text.n && text.p[i] != ']')
            i++;
        i += named && i < text.n;
    }
    return i;
}

static const char *translate(struct str text, struct buf *out)
{
    const char *wrong = NULL;
    for (size_t i = 0; i < text.n && !wrong; i++) {
        char c = text.p[i], next = i + 1 < text.n ? text.p[i + 1] : 0;
        size_t end = c == '[' ? bracket_end(text, i) : i;
        if (c == '\\') {
            wrong = translate_escape(text, i++, out);
        } else if (c == '[' && end < text.n && memchr(text.p + i, '\\', end - i)) {
            wrong = "a backslash in brackets is not available: write [A-Za-z0-9_-], with the minus last";
        } else if (c == '(' && next == '?') {
            wrong = "groups that begin with (? are not available";
        } else if (strchr("*+?}", c) && (next == '?' || next == '+')) {
            wrong = "lazy and possessive repetitions are not available";
        } else {
            size_t stop = c == '[' && end < text.n ? end : i;
            buf_put(out, text.p + i, stop - i + 1);
            i = stop;
        }
    }
    return wrong;
}

void *pattern_new(struct str text, struct buf *error)
{
    struct buf posix = {0};
    char why[128] = "";
    regex_t *regex = mem_new(regex_t);
    const char *wrong = memchr(text.p, 0, text.n) ? "it contains a zero byte" : translate(text, &posix);
    buf_char(&posix, 0);
    if (!wrong) {
        int code = regcomp(regex, posix.p, REG_EXTENDED | REG_NOSUB);
        if (code) {
            regerror(code, regex, why, sizeof why);
            wrong = why;
        }
    }
    buf_free(&posix);
    if (!wrong)
        return regex;
    free(regex);
    buf_fmt(error, "cannot use the pattern '%.*s': %s", STR_ARG(text), wrong);
    return NULL;
}

void pattern_free(void *pattern)
{
    if (!pattern)
        return;
    regfree(pattern);
    free(pattern);
}

bool pattern_matches(void *pattern, struct str text)
{
    char *copy = str_dup(text);
    bool found = regexec(pattern, copy, 0, NULL, 0) == 0;
    free(copy);
    return found;
}
