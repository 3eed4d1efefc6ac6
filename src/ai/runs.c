/* runs.c - a run starts, ends, is to be cancelled; the legacy names of turns say the same.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "ai/runs.h"

#include "ai/headers.h"
#include "message/metrics.h"
#include "message/notice.h"

struct facts { /* texts in the arena; absent = not known */
    struct str run, client, error_code;
    const char *reason; /* complete, cancelled, error, unknown; NULL = suspended: no end */
};

static struct str either(const struct publish *p, struct str key, struct str legacy, struct arena *arena)
{
    struct str text = ai_header(&p->extras, key, arena);
    return text.p ? text : ai_header(&p->extras, legacy, arena);
}

static struct str not_empty(struct str text)
{
    return text.n > 0 ? text : STR_NONE;
}

/* NULL = no such reason. */
static const char *known_reason(struct str reason)
{
    static const char *const words[] = {"complete", "cancelled", "error"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (str_eq(reason, str_of(words[i])))
            return words[i];
    return NULL;
}

static struct facts read_facts(struct env *env, const struct publish *p, struct arena *arena)
{
    struct facts f = {
        .run = not_empty(either(p, STR("run-id"), STR("turn-id"), arena)),
        .client = not_empty(either(p, STR("run-client-id"), STR("turn-client-id"), arena)),
        .error_code = not_empty(ai_header(&p->extras, STR("error-code"), arena)),
        .reason = "unknown",
    };
    struct str reason = either(p, STR("run-reason"), STR("turn-reason"), arena);
    if (str_eq(reason, STR("suspended")))
        f.reason = NULL;
    else if (known_reason(reason))
        f.reason = known_reason(reason);
    else if (reason.p)
        metrics_count(env, p->app, unparseable, 1);
    return f;
}

/* ---- notices ---- */

static void put_field(struct buf *out, const char *key, struct str text)
{
    buf_fmt(out, "%s\"%s\":", out->n > 0 ? "," : "", key);
    if (text.p)
        buf_json(out, text);
    else
        buf_lit(out, "null");
}

static void tell(struct env *env, const struct publish *p, enum notice_kind kind, const struct buf *fields)
{
    notice_send(env, &(struct notice){kind, p->app, p->op.channel, buf_view(fields)});
}

static void tell_started(struct env *env, const struct publish *p, enum notice_kind kind, const char *id_key,
                         const struct facts *f)
{
    struct buf fields = {0};
    if (!notice_wanted(env, p->app, kind))
        return;
    put_field(&fields, id_key, f->run);
    put_field(&fields, "client_id", f->client);
    tell(env, p, kind, &fields);
    buf_free(&fields);
}

static void tell_ended(struct env *env, const struct publish *p, enum notice_kind kind, const char *id_key,
                       const struct facts *f)
{
    struct buf fields = {0};
    if (!notice_wanted(env, p->app, kind))
        return;
    put_field(&fields, id_key, f->run);
    put_field(&fields, "reason", str_of(f->reason));
    put_field(&fields, "error_code", f->error_code);
    tell(env, p, kind, &fields);
    buf_free(&fields);
}

static void tell_cancel(struct env *env, const struct publish *p, const struct facts *f)
{
    struct buf fields = {0};
    if (!notice_wanted(env, p->app, NOTICE_AI_CANCEL_REQUESTED))
        return;
    put_field(&fields, "run_id", f->run);
    put_field(&fields, "turn_id", f->run);
    put_field(&fields, "client_id", f->client);
    tell(env, p, NOTICE_AI_CANCEL_REQUESTED, &fields);
    buf_free(&fields);
}

/* ---- events ---- */

static void started(struct env *env, const struct publish *p, const struct facts *f)
{
    metrics_count(env, p->app, runs_started, 1);
    metrics_count(env, p->app, turns_started, 1);
    tell_started(env, p, NOTICE_AI_RUN_STARTED, "run_id", f);
    tell_started(env, p, NOTICE_AI_TURN_STARTED, "turn_id", f);
}

static void ended(struct env *env, const struct publish *p, const struct facts *f)
{
    if (!f->reason)
        return;
    metrics_run_ended(env, p->app, f->reason);
    tell_ended(env, p, NOTICE_AI_RUN_ENDED, "run_id", f);
    tell_ended(env, p, NOTICE_AI_TURN_ENDED, "turn_id", f);
}

static void cancel(struct env *env, const struct publish *p, const struct facts *f)
{
    metrics_count(env, p->app, cancels, 1);
    tell_cancel(env, p, f);
}

static const struct {
    struct str event;
    void (*happens)(struct env *env, const struct publish *p, const struct facts *f);
} told[] = {
    {STR("ai-run-start"), started}, {STR("ai-turn-start"), started}, {STR("ai-run-end"), ended},
    {STR("ai-turn-end"), ended},    {STR("ai-cancel"), cancel},
};

void ai_event_committed(struct env *env, const struct publish *p)
{
    struct arena arena = {0};
    metrics_ai_validated(env, p->app, p->op.write.event_name);
    for (size_t i = 0; i < sizeof told / sizeof *told; i++)
        if (str_eq(p->op.write.event_name, told[i].event)) {
            struct facts f = read_facts(env, p, &arena);
            told[i].happens(env, p, &f);
        }
    arena_free(&arena);
}
