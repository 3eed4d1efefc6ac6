/* admission.h - may a client of this app come in at all? (chapter 1, section 2, steps 4 to 7)
 *
 * For whoever listens to channels, over a WebSocket or by a stream of events: each takes one place of the app's quota and of the
 * node's, and gives it back when he leaves.
 *
 * Threads: any.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "message/env.h"

struct refusal {
    int code; /* 0 = admitted */
    struct str text;
    const char *type; /* for metrics */
};
/* app NULL = unknown key; origin absent = none was sent. With code 0 a place has been taken. */
struct refusal admission_take(const struct env *env, struct app *app, struct str origin);
void admission_give_back(struct app *app);
