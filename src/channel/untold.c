/* untold.c - see untold.h: among the leavers of a set of its own, as user, 0, node.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/untold.h"

#include "channel/internal.h"
#include "channel/leavers.h"

static void is_over(void *user, struct str who)
{
    owner_settle(user);
}

void untold_keep(struct channel *ch, struct str user_id, struct str node)
{
    struct buf both = {0};
    if (ch->untold == NULL)
        ch->untold = leavers_new(ch->env->wheel, is_over, ch);
    buf_str(&both, user_id);
    buf_char(&both, '\0');
    buf_str(&both, node);
    leavers_add_for(ch->untold, buf_view(&both), UNTOLD_MS);
    buf_free(&both);
}

bool untold_is_ours(const struct channel *ch, struct str user_id)
{
    struct str self = ch->env->bus->self(ch->env), who;
    uint64_t left_ms;
    size_t at = 0;
    bool ours = false;
    while ((who = leavers_next(ch->untold, &at, &left_ms)).p != NULL) {
        if (who.n <= user_id.n || who.p[user_id.n] != '\0' || !str_starts(who, user_id))
            continue;
        struct str node = str_from(who, user_id.n + 1);
        if (str_cmp(node, self) < 0)
            return false;
        ours |= str_eq(node, self);
    }
    return ours;
}
