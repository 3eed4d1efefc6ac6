/* agent_audit.c - reading messages back over HTTP: is what the store has what was sent?
 *
 * Messages are chosen evenly among all that ended (reservoir sampling), their text compared in full.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "base/json.h"
#include "load/agent.h"

enum { ANSWER_WAIT_MS = 5000 };

struct reading {
    struct httpc http;
    struct agent *agent;
    const struct agent_sample *sample;
    bool answered, equal;
    unsigned status;
};

void agent_sample(struct agent *a, struct script_message m, uint32_t tokens, const char *serial)
{
    uint64_t seen = a->samples_seen++, at = seen;
    if (a->config.samples == 0)
        return;
    if (seen >= a->config.samples && (at = random_below(&a->random, seen + 1)) >= a->config.samples)
        return;
    a->samples[at].message = m;
    a->samples[at].tokens = tokens;
    memcpy(a->samples[at].serial, serial, sizeof a->samples[at].serial);
}

static void on_done(struct httpc *http, unsigned status, struct str body)
{
    struct reading *r = list_of(http, struct reading, http);
    const struct script *script = &r->agent->script;
    struct buf scratch = {0};
    struct str value;
    struct json_error error;
    r->answered = true;
    r->status = status;
    if (status == 200 && json_check(body, &value, &error)) {
        struct str text = json_text(json_get(json_get(value, STR("item")), STR("data")), &scratch);
        r->equal = text.p && text.n == (size_t)r->sample->tokens * script->token_bytes &&
                   script_match(script, r->sample->message, 0, text) == r->sample->tokens;
    }
    buf_free(&scratch);
}

static void read_one(struct agent *a, struct reading *r, const struct agent_sample *sample)
{
    uint32_t node = (a->sessions[sample->message.session].node) % a->config.node_count;
    uint64_t begun_ns = agent_now(), until_ns = begun_ns + ANSWER_WAIT_MS * 1000000ull;
    r->sample = sample;
    r->answered = r->equal = false;
    if (r->http.wire != &a->wires[node]) {
        if (r->http.wire)
            httpc_reset(&r->http);
        r->http.wire = &a->wires[node];
    }
    buf_clear(&a->frame);
    api_get_message(&a->apis[node], &a->frame, agent_channel(a, sample->message.session), str_of(sample->serial));
    httpc_send(&r->http, buf_view(&a->frame));
    while (!r->answered && agent_now() < until_ns)
        loop_turn(a->loop, 50);
    if (!r->answered)
        httpc_reset(&r->http);
    hist_record(a->latency[LATENCY_read_back], agent_now() - begun_ns);
    a->counts.samples_read++;
    a->counts.samples_wrong += !r->equal;
    if (!r->equal)
        agent_fault(a, "the store's text of session %u message %u is not what was sent (%u)", sample->message.session, sample->message.number, r->status);
}

void agent_audit(struct agent *a)
{
    struct reading r = {.agent = a};
    uint64_t count = a->samples_seen < a->config.samples ? a->samples_seen : a->config.samples;
    httpc_init(&r.http, NULL, on_done);
    for (uint64_t i = 0; i < count; i++) {
        read_one(a, &r, &a->samples[i]);
        if (agent_now() - a->said_ns >= 1000000000ull) /* whoever says nothing is thought dead */
            agent_say_progress(a);
    }
    if (r.http.wire)
        httpc_reset(&r.http);
}
