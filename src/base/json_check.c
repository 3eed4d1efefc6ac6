/* json_check.c - one pass that accepts RFC 8259 and nothing else.
 *
 * The checker keeps no tree: its whole memory of the containers it is in is one bit per level.
 *
 *      {"a":[1,{      objects = ...101   depth = 3     bit 0 is the innermost; 1 = object, 0 = array
 *
 * Strings are most of any payload: eight bytes are looked at together, and single ones only where one
 * of the eight is special.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/json.h"
#include "base/json_scan.h"

_Static_assert(JSON_DEPTH_MAX <= 64, "one bit per level");

/* What a byte means inside a string. */
enum { PLAIN, QUOTE, BACKSLASH, CONTROL, HIGH };
static const unsigned char string_byte[256] = {
    [0 ... 31] = CONTROL,
    ['"'] = QUOTE,
    ['\\'] = BACKSLASH,
    [128 ... 255] = HIGH,
};

struct checker {
    const char *p, *end;
    const char *why; /* first error; p then stands on it */
    uint64_t objects;
    unsigned depth;
};

static bool fail(struct checker *c, const char *why)
{
    c->why = why;
    return false;
}

static inline void skip_space(struct checker *c)
{
    while (c->p < c->end && json_is_space(*c->p))
        c->p++;
}

static inline bool at(const struct checker *c, char wanted)
{
    return c->p < c->end && *c->p == wanted;
}

/* p stands on the u of \u. */
static bool check_unicode_escape(struct checker *c)
{
    int32_t unit = json_hex_four(c->p + 1, c->end);
    if (unit < 0)
        return fail(c, "expected four hexadecimal digits after \\u");
    if (json_is_low_surrogate(unit))
        return fail(c, "a low surrogate without its high one");
    if (!json_is_high_surrogate(unit)) {
        c->p += 5;
        return true;
    }
    const char *second = c->p + 5;
    bool escape = c->end - second >= 6 && second[0] == '\\' && second[1] == 'u';
    if (!escape || !json_is_low_surrogate(json_hex_four(second + 2, c->end)))
        return fail(c, "a high surrogate without its low one");
    c->p += 11;
    return true;
}

/* p stands behind the backslash. */
static bool check_escape(struct checker *c)
{
    if (c->p == c->end)
        return fail(c, "unterminated string");
    switch (*c->p) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        c->p++;
        return true;
    case 'u':
        return check_unicode_escape(c);
    default:
        return fail(c, "unknown escape");
    }
}

static const char *skip_plain(const char *p, const char *end)
{
    while (end - p >= 8) {
        uint64_t x = json_load_eight(p);
        uint64_t control = (x - EACH_BYTE(0x20)) & ~x & EACH_BYTE(0x80), high = x & EACH_BYTE(0x80);
        uint64_t marks = control | high | json_equal_bytes(x, '"') | json_equal_bytes(x, '\\');
        if (marks)
            return p + json_first_mark(marks);
        p += 8;
    }
    while (p < end && string_byte[(unsigned char)*p] == PLAIN)
        p++;
    return p;
}

static bool check_utf8(struct checker *c)
{
    while (c->p < c->end && string_byte[(unsigned char)*c->p] == HIGH) {
        size_t size = str_utf8_first(str_make(c->p, (size_t)(c->end - c->p)));
        if (size == 0)
            return fail(c, "invalid UTF-8");
        c->p += size;
    }
    return true;
}

/* p stands on the opening quote. */
static bool check_string(struct checker *c)
{
    for (c->p++;;) {
        c->p = skip_plain(c->p, c->end);
        if (c->p == c->end)
            return fail(c, "unterminated string");
        switch (string_byte[(unsigned char)*c->p]) {
        case QUOTE:
            c->p++;
            return true;
        case BACKSLASH:
            c->p++;
            if (!check_escape(c))
                return false;
            break;
        case CONTROL:
            return fail(c, "raw control character in a string");
        default:
            if (!check_utf8(c))
                return false;
        }
    }
}

static bool check_digits(struct checker *c)
{
    if (c->p == c->end || !json_is_digit(*c->p))
        return fail(c, "expected a digit");
    while (c->p < c->end && json_is_digit(*c->p))
        c->p++;
    return true;
}

static bool check_number(struct checker *c)
{
    c->p += *c->p == '-';
    if (at(c, '0'))
        c->p++;
    else if (!check_digits(c))
        return false;
    if (at(c, '.')) {
        c->p++;
        if (!check_digits(c))
            return false;
    }
    if (at(c, 'e') || at(c, 'E')) {
        c->p++;
        c->p += at(c, '+') || at(c, '-');
        return check_digits(c);
    }
    return true;
}

static bool check_word(struct checker *c, struct str word)
{
    if (!str_starts(str_make(c->p, (size_t)(c->end - c->p)), word))
        return fail(c, "expected a value");
    c->p += word.n;
    return true;
}

static bool check_scalar(struct checker *c)
{
    if (c->p == c->end)
        return fail(c, "expected a value");
    switch (*c->p) {
    case '"':
        return check_string(c);
    case 't':
        return check_word(c, STR("true"));
    case 'f':
        return check_word(c, STR("false"));
    case 'n':
        return check_word(c, STR("null"));
    case '-':
    case '0' ... '9':
        return check_number(c);
    default:
        return fail(c, "expected a value");
    }
}

static bool in_object(const struct checker *c)
{
    return c->objects & 1;
}

static bool check_key(struct checker *c)
{
    skip_space(c);
    if (!at(c, '"'))
        return fail(c, "expected a key");
    if (!check_string(c))
        return false;
    skip_space(c);
    if (!at(c, ':'))
        return fail(c, "expected ':' after a key");
    c->p++;
    return true;
}

static void leave(struct checker *c)
{
    c->p++;
    c->depth--;
    c->objects >>= 1;
}

/* p stands on { or [. Afterwards it stands before the first value inside, or behind an empty container. */
enum entered { ENTERED, ENTERED_EMPTY, ENTER_FAILED };
static enum entered enter(struct checker *c)
{
    bool object = *c->p == '{';
    if (c->depth == JSON_DEPTH_MAX) {
        fail(c, "nested too deeply");
        return ENTER_FAILED;
    }
    c->p++;
    c->depth++;
    c->objects = c->objects << 1 | object;
    skip_space(c);
    if (at(c, object ? '}' : ']')) {
        leave(c);
        return ENTERED_EMPTY;
    }
    return !object || check_key(c) ? ENTERED : ENTER_FAILED;
}

/* Behind a value: closes what ends here. True if a comma announces another value. */
static bool another_value(struct checker *c)
{
    while (c->depth) {
        skip_space(c);
        if (at(c, ',')) {
            c->p++;
            return !in_object(c) || check_key(c);
        }
        if (!at(c, in_object(c) ? '}' : ']'))
            return fail(c, in_object(c) ? "expected ',' or '}'" : "expected ',' or ']'");
        leave(c);
    }
    return false;
}

static bool check_value(struct checker *c)
{
    do {
        enum entered entered = ENTERED;
        skip_space(c);
        while (entered == ENTERED && (at(c, '{') || at(c, '['))) {
            entered = enter(c);
            if (entered == ENTERED)
                skip_space(c);
        }
        if (entered == ENTER_FAILED || (entered == ENTERED && !check_scalar(c)))
            return false;
    } while (another_value(c));
    return !c->why;
}

bool json_check(struct str text, struct str *value, struct json_error *error)
{
    struct checker c = {.p = text.p ? text.p : "", .end = (text.p ? text.p : "") + text.n};
    skip_space(&c);
    const char *start = c.p;
    bool ok = check_value(&c);
    const char *stop = c.p;
    if (ok) {
        skip_space(&c);
        ok = c.p == c.end || fail(&c, "text behind the value");
    }
    if (ok && value)
        *value = str_make(start, (size_t)(stop - start));
    if (!ok && error)
        *error = (struct json_error){text.n - (size_t)(c.end - c.p), c.why};
    return ok;
}
