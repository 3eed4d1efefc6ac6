/* history_query.h - which page of a channel's history a request asks for (chapter 3, 2.5, 2.6).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "api/serials.h"
#include "message/history_page.h"

struct failure history_query_read(struct call *c, struct str channel, struct history_query *q);
