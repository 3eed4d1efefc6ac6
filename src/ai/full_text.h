/* full_text.h - the accumulated text of open messages, held only while somebody wants full snapshots.
 *
 * Read once from the store as of the append that asks for it, and from then on extended by each fragment; appending stays
 * O(fragment) for everybody else (design, "Storage").
 *
 * Limits: FULL_TEXTS_MAX messages a channel, and ai.rollup.max_full_text_bytes on a shard (full_text_bytes says how much is held).
 * Beyond, the channel that needs another text drops those it holds, and reads them again when they are needed: slower, never wrong.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "channel/channel.h"

enum { FULL_TEXTS_MAX = 1024 };

struct full_texts;
struct full_texts *full_texts_new(struct channel *ch);
void full_texts_free(struct full_texts *all); /* NULL is fine */
/* Operations have passed unseen: none of them is whole. */
void full_texts_bypassed(struct full_texts *all);
/* Whether something of the channel has passed unseen before the operation at that position; and that it passes by. */
bool full_texts_miss(const struct full_texts *all, uint64_t delivery);
void full_texts_see(struct full_texts *all, uint64_t delivery);
/* True if the text before p (an append) is held. Otherwise starts reading it, holds the channel, and releases it when
 * the text has come; if it cannot be read, full subscribers are cut. */
bool full_text_ready(struct full_texts *all, struct publish *p);
/* Adds p's fragment, unless the text read contains it already. */
void full_text_append(struct full_texts *all, const struct publish *p);
/* Bytes held for the message; SIZE_MAX = not held. */
size_t full_text_size(const struct full_texts *all, const struct message_id *message);
/* The first `size` bytes: escaped JSON string body. A view until the next append. */
struct str full_text(const struct full_texts *all, const struct message_id *message, size_t size);
void full_text_drop(struct full_texts *all, const struct message_id *message);
