/* agent_plant.c - negative controls: what a broken server or network would do to frames, done here, so that the run has to fail.
 *
 *   drop     one append frame is lost
 *   reorder  one append frame comes behind the next of its message
 *   delay    all frames come DELAY_MS later, in order
 *
 * The fault comes after the frames AFTER_FRAMES, so that there is something to compare with.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "base/mem.h"
#include "load/agent.h"

enum { AFTER_FRAMES = 50, DELAY_MS = 2000 };

struct late {
    struct late *next;
    struct agent_socket *socket;
    uint64_t at_ms;
    size_t size;
    char bytes[];
};

struct agent_plant {
    struct agent *agent;
    struct timer timer;
    struct late *first, **last;
    uint64_t seen;
    struct agent_socket *swapped; /* whose frame waits for the next */
};

static bool is_fragment(struct str payload)
{
    return str_starts(payload, STR("{\"event\":\"sockudo:message.append\"")) && str_find(payload, STR("\"data\":\"\"")) < 0;
}

static void keep(struct agent_plant *p, struct agent_socket *s, struct str payload, uint64_t at_ms)
{
    struct late *one = mem_alloc(sizeof *one + payload.n);
    *one = (struct late){.socket = s, .at_ms = at_ms, .size = payload.n};
    memcpy(one->bytes, payload.p, payload.n);
    *p->last = one;
    p->last = &one->next;
    if (!timer_is_set(&p->timer))
        wheel_set(loop_wheel(p->agent->loop), &p->timer, at_ms);
}

static struct late *take(struct agent_plant *p)
{
    struct late *one = p->first;
    p->first = one->next;
    if (p->first == NULL)
        p->last = &p->first;
    return one;
}

static void on_late(struct timer *timer)
{
    struct agent_plant *p = list_of(timer, struct agent_plant, timer);
    while (p->first && p->first->at_ms <= loop_now_ms(p->agent->loop)) {
        struct late *one = take(p);
        agent_frame(one->socket, str_make(one->bytes, one->size), agent_now());
        free(one);
    }
    if (p->first)
        wheel_set(loop_wheel(p->agent->loop), timer, p->first->at_ms);
}

static bool swap(struct agent_plant *p, struct agent_socket *s, struct str payload)
{
    if (p->swapped != NULL || p->seen < AFTER_FRAMES)
        return false;
    p->swapped = s;
    p->agent->counts.planted++;
    keep(p, s, payload, UINT64_MAX / 2);
    return true;
}

static bool swap_back(struct agent_plant *p, struct str payload)
{
    struct late *one = take(p);
    agent_frame(one->socket, payload, agent_now());
    agent_frame(one->socket, str_make(one->bytes, one->size), agent_now());
    free(one);
    return true;
}

bool agent_plant_takes(struct agent_plant *p, struct agent_socket *s, struct str payload)
{
    struct agent *a = p->agent;
    if (a->phase < AGENT_RUNNING)
        return false;
    if (a->config.plant == PLANT_DELAY) {
        p->agent->counts.planted++;
        keep(p, s, payload, loop_now_ms(a->loop) + DELAY_MS);
        return true;
    }
    /* Behind the end of the message, too: the next fragment may be the next message's, a whole silence later, or never come. */
    if (p->first != NULL && s == p->swapped && str_starts(payload, STR("{\"event\":\"sockudo:message.")))
        return swap_back(p, payload);
    if (s->full || !is_fragment(payload)) /* whole texts heal what was lost */
        return false;
    p->seen++;
    if (a->config.plant == PLANT_REORDER)
        return swap(p, s, payload);
    p->agent->counts.planted += p->seen == AFTER_FRAMES;
    return p->seen == AFTER_FRAMES;
}

struct agent_plant *agent_plant_new(struct agent *a)
{
    if (a->config.plant == PLANT_NONE)
        return NULL;
    struct agent_plant *p = mem_new(struct agent_plant);
    p->agent = a;
    p->timer.fire = on_late;
    p->last = &p->first;
    return p;
}

void agent_plant_free(struct agent_plant *p)
{
    if (p == NULL)
        return;
    wheel_cancel(loop_wheel(p->agent->loop), &p->timer);
    while (p->first)
        free(take(p));
    free(p);
}
