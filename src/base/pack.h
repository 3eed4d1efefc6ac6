/* pack.h - numbers and texts as compact bytes: LEB128 varints, and texts as varint of length + 1 (0 = absent) and the bytes.
 *
 * Readers take from the front of *in and leave it behind what they took; false, with *in anywhere, if the bytes are no such thing.
 * Texts are views. Threads: pure functions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"

void pack_u64(struct buf *out, uint64_t value);
void pack_i64(struct buf *out, int64_t value); /* zigzag: small negative numbers are short, too */
void pack_text(struct buf *out, struct str text);
bool unpack_u64(struct str *in, uint64_t *value);
bool unpack_u32(struct str *in, uint32_t *value);
bool unpack_i64(struct str *in, int64_t *value);
bool unpack_text(struct str *in, struct str *text);
