/* actor.c - a question that goes to the shard of a socket.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "session/actor.h"

#include "session/internal.h"

static void go(struct actor *a, struct env *from, unsigned shard, void (*run)(struct task *task))
{
    a->at = from->all[shard];
    a->task.run = run;
    from->post(from, shard, &a->task);
}

static void is_back(struct task *task)
{
    struct actor *a = list_of(task, struct actor, task);
    a->done(a);
}

static uint32_t what_it_may(const struct session *s, struct str channel)
{
    uint32_t may = 0;
    for (int operation = 0; operation < CAPABILITIES; operation++)
        if (capabilities_allow(s->user != NULL ? s->user->may : NULL, operation, channel))
            may |= 1u << operation;
    return may;
}

static void ask_socket(struct task *task)
{
    struct actor *a = list_of(task, struct actor, task);
    const struct directory_entry *entry = directory_find_own(a->directory, a->socket, a->at->shard);
    const struct session *s = entry != NULL ? list_of(entry, struct session, entry) : NULL;
    if (s != NULL && !s->over && s->app == a->app) {
        a->state = s->protocol == WIRE_V2 ? ACTOR_CONNECTED : ACTOR_V1;
        a->identity = arena_copy(&a->arena, session_identity(s));
        a->by_token = s->user != NULL && user_by_token(s->user);
        a->may = what_it_may(s, a->channel);
    }
    go(a, a->at, a->reply_shard, is_back);
}

void actor_ask(struct directory *directory, struct env *env, struct actor *a)
{
    struct directory_entry entry;
    a->state = ACTOR_UNKNOWN;
    if ((directory == NULL || !directory_find(directory, a->socket, &entry)) && env->hub != NULL && actors_ask(env, a))
        return;
    actor_ask_here(directory, env, a);
}

void actor_ask_here(struct directory *directory, struct env *env, struct actor *a)
{
    struct directory_entry entry;
    a->directory = directory;
    a->reply_shard = env->shard;
    a->state = ACTOR_UNKNOWN;
    if (directory != NULL && directory_find(directory, a->socket, &entry))
        go(a, env, entry.shard, ask_socket);
    else
        go(a, env, env->shard, is_back);
}
