/* history_query.h - which page of a channel's history a request asks for (chapter 3, 2.5, 2.6).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "api/serials.h"
#include "message/history_page.h"

/* what: "History", for texts. page_max: default and cap of `limit`. */
struct failure history_query_read(struct call *c, struct str channel, const char *what, uint32_t page_max,
                                  struct history_query *q);
