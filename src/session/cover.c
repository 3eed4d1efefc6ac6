/* cover.c - resuming channels that come by a wildcard (chapter 3, 4.6).
 *
 *   subscribe orders:*   resume orders:7 from 41
 *        the wildcard has no position, so the channel gets a subscription of its own for the time of the resume:
 *        attached and gated like any, counted for nobody; while it is being attached, the wildcard leaves to the replay what has
 *        a position. When it is done, and the wildcard live, it ends: from one message to the next the wildcard goes on.
 *
 * This needs a wildcard that has not delivered yet, or something would come twice. SDKs resume right behind their subscribes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "channel/filter.h"
#include "session/recovery.h"

static bool covers(const struct sub *wildcard, struct str channel)
{
    return wildcard->wildcard && wildcard->shown && wildcard_matches(wildcard->channel, channel);
}

enum cover cover_channel(struct session *s, struct str channel, struct sub **sub)
{
    struct arena arena = {0};
    struct channel_name name;
    const char *filter = NULL;
    bool any = false, all = false; /* a wildcard matches; one without filter */
    bool open = s->wildcards > 0 && channel_name_check(s->app, channel, &name, &arena) == NULL && wildcard_may_match(&name);
    arena_free(&arena);
    for (uint32_t i = 0; open && i < s->wildcards; i++) {
        const struct sub *w = s->subs[i];
        if (!covers(w, channel))
            continue;
        if (w->live != NULL)
            return COVER_LATE;
        all |= w->filter_json == NULL;
        filter = any ? filter : w->filter_json;
        any = true;
    }
    if (!any)
        return COVER_NONE;
    *sub = sub_cover(s, channel, all ? STR_NONE : str_of(filter));
    return *sub != NULL ? COVER_OK : COVER_LATE;
}

bool cover_accepts(const struct sub *covered, struct str event, struct str tags)
{
    const struct session *s = covered->session;
    for (uint32_t i = 0; i < s->wildcards; i++) {
        const struct sub *w = s->subs[i];
        const struct subscription *way = w->live != NULL ? w->live : w->next;
        if (!covers(w, covered->channel) || way == NULL)
            continue;
        const struct filter *filter = subscription_filter(way);
        if (filter == NULL || filter_accepts(filter, event, tags))
            return true;
    }
    return false;
}

/* The first position whose channel can be covered; *sub is what covers it. */
static struct position *coverable(struct session *s, struct sub **sub)
{
    if (s->pending == NULL)
        return NULL;
    list_each(link, &s->pending->positions)
    {
        struct position *p = list_of(link, struct position, link);
        if (sub_find(s, p->channel) == NULL && cover_channel(s, p->channel, sub) == COVER_OK)
            return p;
    }
    return NULL;
}

void cover_pending(struct session *s)
{
    struct sub *sub = NULL;
    for (struct position *p; (p = coverable(s, &sub)) != NULL;) {
        batch_of_one(work_of(sub), pending_take(s, p->channel));
        sub_attach_again(sub);
    }
}

void cover_takes_over(struct sub *sub)
{
    const struct session *s = sub->session;
    uint64_t last;
    for (uint32_t i = 0; sub->live != NULL && i < s->wildcards; i++)
        if (covers(s->subs[i], sub->channel) && s->subs[i]->live != NULL) {
            subscription_open(env_of(s), sub->live, sub->live_at, &last);
            return;
        }
}

/* Live wildcards take over what is done; what nothing covers any more ends whatever its state. */
static bool is_needed(const struct sub *covered)
{
    const struct session *s = covered->session;
    bool busy = covered->work != NULL || covered->next != NULL, any = false;
    for (uint32_t i = 0; i < s->wildcards; i++) {
        if (!covers(s->subs[i], covered->channel))
            continue;
        any = true;
        if (s->subs[i]->live != NULL && !busy)
            return false;
    }
    return any;
}

void cover_done(struct sub *covered)
{
    if (!is_needed(covered))
        sub_end(covered);
}

void cover_ends(struct session *s)
{
    for (uint32_t i = s->subs_count; i-- > 0;)
        if (i < s->subs_count && s->subs[i]->covered && !is_needed(s->subs[i]))
            sub_end(s->subs[i]);
}
