/* capability.h - what a client may do, by operation and channel (chapter 1, 4.4; chapter 4, 4.3).
 *
 * Read once, when a token or a sign-in is accepted, into a list of grants that every later operation asks:
 *
 *      pattern      operations        channel        matches
 *      room:*       publish history   room:1         yes: a star at the end, at the front or inside stands for any text
 *      *            subscribe         Room:1         no for room:*, yes for *
 *      a*b*         -                 a*bc           only a star at the end is one then: what is before it is literal
 *
 * Patterns are compared with the name as the client spelled it, `room:*` included. No operation implies another.
 *
 * Ownership: freed by capabilities_free(). Threads: read-only once made. Limit: CAPABILITY_PATTERNS_MAX patterns in a token; those of a
 * sign-in are bounded by the size of its frame.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/str.h"

enum { CAPABILITY_PATTERNS_MAX = 100 };

/* The first four are open to whoever has no list for them, the rest are closed. */
enum capability {
    MAY_SUBSCRIBE,
    MAY_PUBLISH,
    MAY_HISTORY,
    MAY_PRESENCE,
    MAY_ANNOTATION_SUBSCRIBE,
    MAY_ANNOTATION_PUBLISH,
    MAY_ANNOTATION_DELETE_OWN,
    MAY_ANNOTATION_DELETE_ANY,
    MAY_MESSAGE_UPDATE_OWN,
    MAY_MESSAGE_UPDATE_ANY,
    MAY_MESSAGE_DELETE_OWN,
    MAY_MESSAGE_DELETE_ANY,
    MAY_MESSAGE_APPEND_OWN,
    MAY_MESSAGE_APPEND_ANY,
    MAY_PUSH_ADMIN,
    MAY_PUSH_SUBSCRIBE,
    CAPABILITIES
};
/* By its name, with `-` or `_` between the words; CAPABILITIES = no such operation. */
enum capability capability_of(struct str name);

struct capabilities;
/* {"pattern":["operation"]}, checked JSON: what a token says. All operations have a list then, an empty one if need be. NULL, and
 * static text in *wrong. */
struct capabilities *capabilities_of_token(struct str object, const char **wrong);
/* {"operation":["pattern"]}: what a sign-in says; operations that we do not know are passed over. Absent gives NULL, which is no
 * list for anything, and NULL in *wrong. */
struct capabilities *capabilities_of_signin(struct str object, const char **wrong);
void capabilities_free(struct capabilities *c);
/* c NULL = no list for anything. */
bool capabilities_allow(const struct capabilities *c, enum capability operation, struct str channel);
bool capability_matches(struct str pattern, struct str channel);
