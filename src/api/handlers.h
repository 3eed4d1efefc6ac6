/* handlers.h - the endpoints, each answering one call; the table that names them is in api.c.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "api/call.h"

/* events.c */
void serve_events(struct call *c);
void serve_batch_events(struct call *c);
/* channels.c */
void serve_channels(struct call *c);
void serve_channel(struct call *c);
void serve_channel_users(struct call *c);
/* users.c */
void serve_terminate(struct call *c);
void serve_reconnect(struct call *c);
/* messages.c */
void serve_message(struct call *c);
void serve_versions(struct call *c);
/* mutations.c */
void serve_update(struct call *c);
void serve_delete(struct call *c);
void serve_append(struct call *c);
/* annotations.c */
void serve_annotate(struct call *c);
void serve_annotation_delete(struct call *c);
void serve_annotations(struct call *c);
/* AI headers of a mutation (chapter 4, 3.3). */
struct failure mutation_check_ai(struct call *c, const struct extras_facts *facts, const struct channel_policy *policy);
/* stream_append.c */
void serve_stream_append(struct call *c);
/* Ends them all, each with what it has stored (drain). */
void append_streams_drain(struct api *api);
/* stream_read.c */
void serve_stream_read(struct call *c);
void stream_readers_drain(struct api *api);
/* For struct revocations_other: ends readers with such a token. */
uint32_t stream_readers_revoke(void *api, const struct app *app, struct str jti, struct str client_id);
/* Gives back what was kept for readers. */
void reads_forget(struct api *api);
/* history.c */
void serve_history(struct call *c);
/* history_admin.c */
void serve_history_state(struct call *c);
void serve_history_reset(struct call *c);
void serve_history_purge(struct call *c);
/* webhooks.c */
void serve_dead_letters(struct call *c);
void serve_dead_letters_replay(struct call *c);
/* revocations.c */
void serve_revocations(struct call *c);
/* not_built.c */
/* presence_history.c */
void serve_presence_history(struct call *c);
void serve_presence_state(struct call *c);
void serve_presence_snapshot(struct call *c);
void serve_presence_reset(struct call *c);
void serve_push(struct call *c);
/* demo.c */
void serve_demo_page(struct call *c);
