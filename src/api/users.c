/* users.c - ending the connections of a signed-in user (chapter 2, 2.9). The answer does not wait for them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/handlers.h"

#include "wire/codes.h"

static void end_connections(struct call *c, int code, struct str reason)
{
    hub_terminate_user(c->env, c->app, c->args[1], code, reason);
    call_ok_json(c, STR("{\"ok\":true}"));
}

void serve_terminate(struct call *c)
{
    end_connections(c, CODE_UNAUTHORIZED, STR("You got disconnected by the app."));
}

void serve_reconnect(struct call *c)
{
    end_connections(c, CODE_RECONNECT, STR("Force reconnect requested by the app."));
}
