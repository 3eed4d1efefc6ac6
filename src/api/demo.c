/* demo.c - the page that shows a first stream to whoever started the server without a configuration.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/demo_page.h"
#include "api/handlers.h"

void serve_demo_page(struct call *c)
{
    call_answer(c, &(struct http_response){.status = 200,
                                           .content_type = STR("text/html; charset=utf-8"),
                                           .extra_headers = STR("Cache-Control: no-cache\r\n"),
                                           .body = str_make(demo_page, demo_page_size)});
}
