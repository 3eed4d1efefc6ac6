/* conversions.h - what many connections of a shard are told is converted into their wire format once.
 *
 * A thousand clients that come back together are sent the same replayed frames (message/slice.h): the conversions of shared frames are
 * kept for CONVERSIONS_MS. A frame that nobody shares is converted for its one reader and not kept.
 *
 * Ownership: a kept entry owns one reference to either frame. Threads: the shard's. Limits: CONVERSIONS_MAX entries, an older one makes
 * room.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "message/env.h"
#include "wire/format.h"

enum { CONVERSIONS_MAX = 64, CONVERSIONS_MS = 20 };

struct conversions;
/* Takes over the reference to a V2 JSON frame, gives one to the frame in that format. *all: NULL until the first. */
struct frame *conversions_take(struct conversions **all, struct env *env, struct frame *json, enum wire_format format);
void conversions_free(struct conversions *all); /* NULL = nothing */
