/* transcript.h - what one subscriber has been told of its channel, checked frame by frame against the script.
 *
 *      expects   m3: t0 t1 t2 [t3] t4 ...            next is token 3 of message 3
 *      "t3t4"    fits, next is 5                     TRANSCRIPT_FITS
 *      "t4"      t3 was lost                         TRANSCRIPT_MISSING, next is 5
 *      "t2"      came before, next to last           TRANSCRIPT_AGAIN (a repetition, or out of order), next stays 3
 *      "t3t"     not whole                           TRANSCRIPT_CUT
 *      "xyzw"    in no place of the message          TRANSCRIPT_ALTERED
 *
 * Messages of a channel come one after the other, numbered without a hole; each ends with its number of tokens and the hash of
 * its text. `serial` (the channel's position) only grows. After a fault the transcript goes on where the frame left it, so
 * one fault is counted once. It is told of every frame: nothing is sampled.
 *
 * Threads: one. Ownership: holds no memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "load/script.h"

enum transcript_verdict {
    TRANSCRIPT_FITS,
    TRANSCRIPT_MISSING, /* tokens, the end of a message, or whole messages */
    TRANSCRIPT_AGAIN,   /* tokens or a message that had come before */
    TRANSCRIPT_CUT,     /* not a whole number of tokens */
    TRANSCRIPT_ALTERED, /* text that is not the message's, or whose hash at the end is another */
    TRANSCRIPT_STRAY,   /* of a message or channel that was not announced */
    TRANSCRIPT_VERDICTS
};

struct transcript {
    uint64_t hash;    /* of the current message's text so far */
    uint64_t key;     /* what names the current message in frames; 0 = none */
    uint64_t serial;  /* newest position; 0 = none */
    uint32_t session;
    uint32_t number;  /* of the current message, 0 = none seen yet: the next one may be any */
    uint32_t tokens;  /* of it that have come */
    bool open;        /* it has not ended */
};

/* Short text: "missing" and so on. */
const char *transcript_word(enum transcript_verdict verdict);
/* False if it does not grow; it counts either way. */
bool transcript_serial(struct transcript *t, uint64_t serial);
/* A message begins. key: see above. */
enum transcript_verdict transcript_begin(struct transcript *t, uint32_t number, uint64_t key);
/* Text that follows. The tokens it brought are [*first, t->tokens) when it fits. */
enum transcript_verdict transcript_add(struct transcript *t, const struct script *s, uint64_t key, struct str text, uint32_t *first);
/* The whole text so far, as a mode or a history shows it; must not be shorter than what came before. */
enum transcript_verdict transcript_whole(struct transcript *t, const struct script *s, uint64_t key, struct str text, uint32_t *first);
/* The message ends. */
enum transcript_verdict transcript_end(struct transcript *t, const struct script *s, uint64_t key);
/* At the end of a run: has it everything up to the end of message `number`, which had `tokens`? number 0: nothing was sent. */
enum transcript_verdict transcript_close(const struct transcript *t, uint32_t number, uint32_t tokens);
