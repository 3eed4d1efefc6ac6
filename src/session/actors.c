/* actors.c - the socket may be at another node: all are asked, and the one that has it says who it is.
 *
 *      actor_ask -> not here -> to all nodes -> "connected" from one, "unknown" from all ... or ACTOR_WAIT_MS -> done()
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "base/mem.h"
#include "base/pack.h"
#include "channel/remote.h"
#include "session/actor.h"
#include "session/internal.h"

struct actors {
    struct env *env;
    struct directory *directory;
    struct map waiting; /* struct asked */
    uint64_t last_id;
};

struct asked {
    uint64_t id; /* the key */
    struct actors *all;
    struct actor *actor;
    size_t answers; /* that have not come */
    struct timer timer;
};

/* By another node. */
struct inquiry {
    struct actor actor;
    struct env *env;
    uint64_t id, place;
    struct str node; /* in actor.arena */
};

static struct str key_of(const uint64_t *id)
{
    return str_make((const char *)id, sizeof *id);
}

/* ---- asking ---- */

static void end(struct asked *q)
{
    struct actor *a = q->actor;
    map_del(&q->all->waiting, key_of(&q->id));
    wheel_cancel(q->all->env->wheel, &q->timer);
    free(q);
    a->done(a);
}

static void waited_enough(struct timer *timer)
{
    end(list_of(timer, struct asked, timer));
}

static void send(struct env *env, struct str node, enum remote_kind kind, uint64_t place, const struct buf *rest)
{
    struct buf payload = {0};
    remote_begin(&payload, kind);
    pack_u64(&payload, place);
    buf_str(&payload, buf_view(rest));
    env->bus->send(env, node, buf_view(&payload));
    buf_free(&payload);
}

bool actors_ask(struct env *env, struct actor *a)
{
    struct actors *all = hub_remote_user(env->hub, REMOTE_ACTOR);
    size_t peers = all != NULL && env->bus != NULL ? env->bus->peers(env) : 0;
    struct buf question = {0};
    if (peers == 0 || all->waiting.count >= ACTORS_MAX)
        return false;
    struct asked *q = mem_new(struct asked);
    *q = (struct asked){.id = ++all->last_id, .all = all, .actor = a, .answers = peers, .timer.fire = waited_enough};
    map_put(&all->waiting, key_of(&q->id), q);
    wheel_set(env->wheel, &q->timer, env_now_ms(env) + ACTOR_WAIT_MS);
    pack_u64(&question, env->shard);
    pack_u64(&question, q->id);
    pack_text(&question, a->app->id);
    pack_u64(&question, a->socket.a);
    pack_u64(&question, a->socket.b);
    pack_text(&question, a->channel);
    send(env, STR_NONE, REMOTE_ASK_ACTOR, 0, &question);
    buf_free(&question);
    return true;
}

static void take_answer(void *user, struct env *env, struct str node, struct str payload)
{
    struct actors *all = user;
    uint64_t id, state, by_token;
    uint32_t may;
    struct str identity;
    struct asked *q = unpack_u64(&payload, &id) ? map_get(&all->waiting, key_of(&id)) : NULL;
    if (q == NULL || !unpack_u64(&payload, &state) || !unpack_u64(&payload, &by_token) || !unpack_u32(&payload, &may) ||
        !unpack_text(&payload, &identity) || state > ACTOR_V1)
        return;
    if (state != ACTOR_UNKNOWN) {
        struct actor *a = q->actor;
        a->state = (enum actor_state)state;
        a->by_token = by_token != 0;
        a->may = may;
        a->identity = arena_copy(&a->arena, identity);
    }
    if (state != ACTOR_UNKNOWN || --q->answers == 0)
        end(q);
}

/* ---- answering ---- */

static void found_here(struct actor *a)
{
    struct inquiry *inquiry = a->user;
    struct buf answer = {0};
    pack_u64(&answer, inquiry->id);
    pack_u64(&answer, a->state);
    pack_u64(&answer, a->by_token);
    pack_u64(&answer, a->may);
    pack_text(&answer, a->identity);
    send(inquiry->env, inquiry->node, REMOTE_ACTOR, inquiry->place, &answer);
    buf_free(&answer);
    arena_free(&a->arena);
    free(inquiry);
}

static void take_question(void *user, struct env *env, struct str node, struct str payload)
{
    struct actors *all = user;
    uint64_t place, id;
    struct socket_id socket;
    struct str app_id, channel;
    if (!unpack_u64(&payload, &place) || !unpack_u64(&payload, &id) || !unpack_text(&payload, &app_id) ||
        !unpack_u64(&payload, &socket.a) || !unpack_u64(&payload, &socket.b) || !unpack_text(&payload, &channel))
        return;
    struct inquiry *inquiry = mem_new(struct inquiry);
    struct actor *a = &inquiry->actor;
    *inquiry = (struct inquiry){.env = env, .id = id, .place = place};
    *a = (struct actor){.app = apps_by_id(env->apps, app_id), .socket = socket, .done = found_here, .user = inquiry};
    inquiry->node = arena_copy(&a->arena, node);
    a->channel = arena_copy(&a->arena, channel);
    actor_ask_here(all->directory, env, a);
}

/* ---- life ---- */

struct actors *actors_new(struct env *env, struct directory *directory)
{
    struct actors *all = mem_new(struct actors);
    all->env = env;
    all->directory = directory;
    hub_on_remote(env->hub, REMOTE_ASK_ACTOR, take_question, all);
    hub_on_remote(env->hub, REMOTE_ACTOR, take_answer, all);
    return all;
}

void actors_free(struct actors *all)
{
    size_t at = 0;
    if (all == NULL)
        return;
    for (struct asked *q; (q = map_next(&all->waiting, &at)) != NULL;) {
        wheel_cancel(all->env->wheel, &q->timer);
        free(q);
    }
    map_free(&all->waiting);
    if (all->env->hub != NULL) {
        hub_on_remote(all->env->hub, REMOTE_ASK_ACTOR, NULL, NULL);
        hub_on_remote(all->env->hub, REMOTE_ACTOR, NULL, NULL);
    }
    free(all);
}
