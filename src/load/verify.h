/* verify.h - is what the server stored what was sent?
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "load/feed.h"

/* Reads the open message of every stream back and compares: all bytes it was grown by, then each acknowledged
 * mark once, in order, and nothing else. Returns how many differ, or could not be read; each with a line on
 * stderr. The feed must be idle, and is of no further use. */
uint64_t verify_messages(struct feed *feed);
