/* transcript.c - see transcript.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/transcript.h"

/* How far behind the expected token a lost one is looked for: more than a message may have. */
enum { LOOK_AHEAD_TOKENS = 8192 };

const char *transcript_word(enum transcript_verdict verdict)
{
    static const char *const words[TRANSCRIPT_VERDICTS] = {"fits", "missing", "again", "cut", "altered", "stray"};
    return words[verdict];
}

bool transcript_serial(struct transcript *t, uint64_t serial)
{
    bool grows = serial > t->serial;
    t->serial = serial;
    return grows;
}

static struct script_message message_of(const struct transcript *t)
{
    return (struct script_message){t->session, t->number};
}

enum transcript_verdict transcript_begin(struct transcript *t, uint32_t number, uint64_t key)
{
    enum transcript_verdict verdict = TRANSCRIPT_FITS;
    if (t->number != 0 && number <= t->number)
        return TRANSCRIPT_AGAIN;
    if (t->number != 0 && (t->open || number != t->number + 1))
        verdict = TRANSCRIPT_MISSING;
    t->number = number;
    t->key = key;
    t->tokens = 0;
    t->hash = SCRIPT_HASH_EMPTY;
    t->open = true;
    return verdict;
}

/* Text that does not start with the expected token: what happened, and where it leaves us. */
static enum transcript_verdict misfit(struct transcript *t, const struct script *s, struct str text)
{
    int64_t at = script_find(s, message_of(t), t->tokens + LOOK_AHEAD_TOKENS, text);
    if (at < 0) {
        t->tokens += (uint32_t)(text.n / s->token_bytes);
        t->hash = script_hash_message(s, message_of(t), t->tokens);
        return TRANSCRIPT_ALTERED;
    }
    if (at < t->tokens)
        return TRANSCRIPT_AGAIN;
    uint32_t fits = script_match(s, message_of(t), (uint32_t)at, text);
    t->tokens = (uint32_t)at + fits;
    t->hash = script_hash_message(s, message_of(t), t->tokens);
    return TRANSCRIPT_MISSING;
}

enum transcript_verdict transcript_add(struct transcript *t, const struct script *s, uint64_t key, struct str text, uint32_t *first)
{
    *first = t->tokens;
    if (t->number == 0 || key != t->key || !t->open)
        return TRANSCRIPT_STRAY;
    if (text.n % s->token_bytes != 0)
        return TRANSCRIPT_CUT;
    uint32_t wanted = (uint32_t)(text.n / s->token_bytes);
    uint32_t fits = script_match(s, message_of(t), t->tokens, text);
    if (fits == wanted) {
        t->tokens += fits;
        t->hash = script_hash(t->hash, text);
        return TRANSCRIPT_FITS;
    }
    t->tokens += fits;
    t->hash = script_hash(t->hash, str_first(text, (size_t)fits * s->token_bytes));
    return misfit(t, s, str_from(text, (size_t)fits * s->token_bytes));
}

enum transcript_verdict transcript_whole(struct transcript *t, const struct script *s, uint64_t key, struct str text, uint32_t *first)
{
    size_t known = (size_t)t->tokens * s->token_bytes;
    *first = t->tokens;
    if (t->number == 0 || key != t->key)
        return TRANSCRIPT_STRAY;
    if (text.n % s->token_bytes != 0)
        return TRANSCRIPT_CUT;
    if (text.n < known)
        return TRANSCRIPT_MISSING;
    if (script_match(s, message_of(t), 0, str_first(text, known)) != t->tokens)
        return TRANSCRIPT_ALTERED;
    return transcript_add(t, s, key, str_from(text, known), first);
}

enum transcript_verdict transcript_end(struct transcript *t, const struct script *s, uint64_t key)
{
    if (t->number == 0 || key != t->key || !t->open)
        return TRANSCRIPT_STRAY;
    t->open = false;
    return t->hash == script_hash_message(s, message_of(t), t->tokens) ? TRANSCRIPT_FITS : TRANSCRIPT_ALTERED;
}

enum transcript_verdict transcript_close(const struct transcript *t, uint32_t number, uint32_t tokens)
{
    if (number == 0)
        return t->number == 0 ? TRANSCRIPT_FITS : TRANSCRIPT_STRAY;
    if (t->number > number || (t->number == number && t->tokens > tokens))
        return TRANSCRIPT_STRAY;
    return t->number == number && t->tokens == tokens && !t->open ? TRANSCRIPT_FITS : TRANSCRIPT_MISSING;
}
