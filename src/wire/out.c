/* out.c - escaping, which hardly any name needs: eight bytes are looked at at a time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "wire/out.h"

#define EACH(byte) (0x0101010101010101u * (uint64_t)(byte))

static bool is_special(unsigned char c)
{
    return c < 0x20 || c == '"' || c == '\\';
}

/* Not zero if one of the eight bytes is special. */
static uint64_t specials(uint64_t eight)
{
    uint64_t quote = eight ^ EACH('"'), backslash = eight ^ EACH('\\');
    uint64_t marks = (eight - EACH(0x20)) & ~eight;
    marks |= (quote - EACH(1)) & ~quote;
    marks |= (backslash - EACH(1)) & ~backslash;
    return marks & EACH(0x80);
}

bool out_needs_escape(struct str text)
{
    size_t i = 0;
    for (; i + 8 <= text.n; i += 8) {
        uint64_t eight;
        memcpy(&eight, text.p + i, 8);
        if (specials(eight))
            return true;
    }
    for (; i < text.n; i++)
        if (is_special((unsigned char)text.p[i]))
            return true;
    return false;
}

static char *escape(char *p, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const char letters[32] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    char letter = c < 32 ? letters[c] : (char)c;
    *p++ = '\\';
    if (letter) {
        *p++ = letter;
        return p;
    }
    p = out_lit(p, "u00");
    *p++ = hex[c >> 4];
    *p++ = hex[c & 15];
    return p;
}

char *out_text(char *p, struct str text)
{
    if (!out_needs_escape(text))
        return out_str(p, text);
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (is_special(c))
            p = escape(p, c);
        else
            *p++ = (char)c;
    }
    return p;
}
