/* script.h - what the publishers of a scale run say: every byte is a function of (seed, session, message, token).
 *
 * Nobody has to remember a text in order to check it: a subscriber that knows where it is makes the next token itself and
 * compares. Tokens are letters, digits and spaces, so that JSON shows them as they are.
 *
 * Threads: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/str.h"

enum { SCRIPT_TOKEN_MIN = 4, SCRIPT_TOKEN_MAX = 4096 };

struct script {
    uint64_t seed;
    uint32_t token_bytes; /* SCRIPT_TOKEN_MIN..SCRIPT_TOKEN_MAX */
};

/* One message of a session; messages of a session are numbered from 1. */
struct script_message {
    uint32_t session, number;
};

/* Writes token_bytes bytes. */
void script_token(const struct script *s, struct script_message m, uint32_t token, char *out);
/* The first token in [0, limit) that `text` starts with; -1 if it is none. text.n >= token_bytes. */
int64_t script_find(const struct script *s, struct script_message m, uint32_t limit, struct str text);
/* How many whole tokens text has in common with the message from token `first` on. */
uint32_t script_match(const struct script *s, struct script_message m, uint32_t first, struct str text);

#define SCRIPT_HASH_EMPTY 14695981039346656037ull
/* FNV-1a, continued from `hash`. */
uint64_t script_hash(uint64_t hash, struct str text);
/* Of the first `tokens` tokens of a message. */
uint64_t script_hash_message(const struct script *s, struct script_message m, uint32_t tokens);
