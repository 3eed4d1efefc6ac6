/* history.c - GET .../history: a page of a channel's messages, each as its newest version (chapter 3, 2.5).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/handlers.h"

#include "api/history_query.h"
#include "api/lookup.h"

struct page {
    struct lookup *lookup;
    struct history_query query;
};

static void page_found(struct lookup *lookup)
{
    struct page *page = lookup->user;
    struct call *c = lookup->call;
    const char *expired = history_cursor_refuses(&page->query, &lookup->op);
    struct failure refused = expired ? fail_input(str_of(expired)) : lookup_failure(lookup);
    if (!refused.status)
        history_page_json(call_body(c), c->env, c->app, &page->query, &lookup->op);
    lookup_end(lookup);
    if (refused.status)
        call_refuse(c, refused);
    else
        call_ok(c);
}

void serve_history(struct call *c)
{
    struct channel_name name;
    struct channel_policy policy;
    struct page *page = arena_zalloc(call_arena(c), sizeof *page);
    struct failure refused = channel_read(c, c->args[1], &name, &policy);
    if (!refused.status)
        refused = history_must_be_on(c, c->args[1], &policy);
    if (!refused.status)
        refused = history_query_read(c, c->args[1], "History", c->env->config->history.max_page_size, &page->query);
    if (refused.status) {
        call_refuse(c, refused);
        return;
    }
    page->lookup = lookup_new(c, STORE_PAGE, c->args[1], page_found);
    page->lookup->user = page;
    history_query_fill(&page->query, &page->lookup->op.read);
    lookup_start(page->lookup);
}
