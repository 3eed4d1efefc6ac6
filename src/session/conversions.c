/* conversions.c - a table by address and format; who meets a taken place takes it.
 *
 * The address of a frame means that frame as long as the entry holds a reference to it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "session/conversions.h"

#include <stdlib.h>

#include "base/mem.h"

struct entry {
    struct frame *json, *made; /* NULL = free */
    enum wire_format format;
};

struct conversions {
    struct env *env;
    struct timer timer;
    struct entry entries[CONVERSIONS_MAX];
};

static void forget(struct entry *e)
{
    if (e->json == NULL)
        return;
    frame_drop(e->json);
    frame_drop(e->made);
    e->json = NULL;
}

static void forget_all(struct timer *timer)
{
    struct conversions *all = list_of(timer, struct conversions, timer);
    for (unsigned i = 0; i < CONVERSIONS_MAX; i++)
        forget(&all->entries[i]);
}

static struct entry *place_of(struct conversions *all, const struct frame *json, enum wire_format format)
{
    uint64_t mixed = ((uint64_t)(uintptr_t)json + format) * 0x9e3779b97f4a7c15u;
    return &all->entries[mixed >> 58];
}
_Static_assert(CONVERSIONS_MAX == 1 << (64 - 58), "place_of() takes the upper bits");

static struct conversions *new_for(struct env *env)
{
    struct conversions *all = mem_new(struct conversions);
    all->env = env;
    all->timer.fire = forget_all;
    return all;
}

static bool is_shared(const struct frame *f)
{
    return atomic_load_explicit(&f->refs, memory_order_relaxed) > 1;
}

struct frame *conversions_take(struct conversions **all, struct env *env, struct frame *json, enum wire_format format)
{
    if (format == FORMAT_JSON)
        return json;
    if (!is_shared(json)) {
        struct frame *made = frame_convert(json, format, DATA_JSON);
        frame_drop(json);
        return made;
    }
    if (*all == NULL)
        *all = new_for(env);
    struct entry *e = place_of(*all, json, format);
    if (e->json == json && e->format == format) {
        frame_drop(json);
        return frame_take(e->made);
    }
    forget(e);
    *e = (struct entry){json, frame_convert(json, format, DATA_JSON), format};
    if (!timer_is_set(&(*all)->timer))
        wheel_set(env->wheel, &(*all)->timer, env_now_ms(env) + CONVERSIONS_MS);
    return frame_take(e->made);
}

void conversions_free(struct conversions *all)
{
    if (all == NULL)
        return;
    forget_all(&all->timer);
    wheel_cancel(all->env->wheel, &all->timer);
    free(all);
}
