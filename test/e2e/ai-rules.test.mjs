// SPDX-License-Identifier: Apache-2.0
//
// ai-rules.test.mjs - what AI events, headers and mutations may be, over HTTP and over WebSocket; streams that fall silent; caps
// (chapter 4, sections 2 to 5 and 7.2). [4.n] are the cases of section 12; those not here stand in messages.test.mjs and tokens.test.mjs.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';
import { Api, complete, streaming, userAuth } from './lib/api.mjs';
import { Binary, wires } from './lib/binary.mjs';
import { HookEndpoint } from './lib/hook-endpoint.mjs';
import { Server, appWith, demoApp, fresh, oneServer, sleep, until } from './lib/server.mjs';
import { mint } from './lib/token.mjs';
import { V1, V2 } from './lib/v2.mjs';
import { WsClient } from './lib/ws-client.mjs';

const uuid = () => crypto.randomUUID();
const headers = (transport, codec) => ({ extras: { ai: { ...(transport ? { transport } : {}), ...(codec ? { codec } : {}) } } });
const ok = answer => { assert.equal(answer.status, 200, answer.text); return answer.body; };
const names = { 104000: 'ai_invalid_transport_header', 104001: 'ai_header_too_large', 104002: 'ai_client_id_spoof', 104003: 'ai_event_not_permitted', 40009: 'payload_too_large' };

/* A refusal over HTTP: status, code string, ai_code and text, and nothing else in the body. */
function refused(answer, status, aiCode, text, code = names[aiCode]) {
  assert.deepEqual(answer.body, { error: text, code, ...(aiCode ? { ai_code: aiCode } : {}), status }, answer.text);
  assert.equal(answer.status, status);
}

async function signIn(client, id, capabilities) {
  const app = client.server.apps.find(a => a.key === client.key);
  const user_data = JSON.stringify({ id, ...(capabilities ? { capabilities } : {}) });
  client.send('sockudo:signin', { auth: userAuth(app, client.socketId, user_data), user_data });
  await client.next(f => f.event === 'sockudo:signin_success');
  return client;
}

/* Says an event and waits for the answer to a ping behind it: the error frames in between. */
async function says(client, event, channel, more = {}) {
  const from = client.frames.length;
  client.ws.send(JSON.stringify({ event, ...(channel ? { channel } : {}), data: 'x', ...more }));
  await client.settle();
  return client.frames.slice(from).filter(f => f.event.endsWith(':error'));
}

/* A refusal over WebSocket: one error frame with the code's number and name, the connection stays. */
async function refusedOverWs(client, code, text, event, channel, more) {
  const errors = await says(client, event, channel, more);
  assert.equal(errors.length, 1, JSON.stringify(errors));
  assert.equal(errors[0].event, `${client.prefix}:error`);
  assert.equal(errors[0].data.code, code, JSON.stringify(errors[0]));
  if (typeof text === 'string') assert.equal(errors[0].data.message, text);
  else assert.match(errors[0].data.message, text);
  assert.equal(errors[0].data.name, names[code]);
  assert.equal(client.closing, null);
}

// ---- the registry (2.3, 2.4): [transport, codec, code, text] ----

const t = 'extras.ai.transport', c = 'extras.ai.codec';
const keys = n => Object.fromEntries(Array.from({ length: n }, (_, i) => [`k${i}`, 'v']));
const mustNotBeEmpty = ['run-id', 'turn-id', 'codec-message-id', 'input-codec-message-id', 'parent', 'fork-of', 'msg-regenerate', 'supersedes', 'stream-id', 'invocation-id', 'event-id',
  'step-id', 'step-start-serial', 'steer-codec-message-ids', 'error-code', 'model', 'input-client-id', 'turn-client-id'];
const wrong = [
  [keys(33), null, 104001, `${t} exceeds 32 keys`], // [4.6]
  [null, keys(33), 104001, `${c} exceeds 32 keys`],
  [{ ['k'.repeat(65)]: 'v' }, null, 104001, `${t} key exceeds 64 bytes`],
  [null, { ['K'.repeat(65)]: 'v' }, 104001, `${c} key exceeds 64 bytes`],
  [{ 'Run-Id': 'v' }, null, 104000, `${t} key 'Run-Id' must match [a-z0-9-]+`],
  [{ run_id: 'v' }, null, 104000, `${t} key 'run_id' must match [a-z0-9-]+`],
  [{ '': 'v' }, null, 104000, `${t} key '' must match [a-z0-9-]+`],
  [null, { 'provider.meta': 'v' }, 104000, `${c} key 'provider.meta' must match [A-Za-z0-9_-]+`], // [4.7]
  [null, { '': 'v' }, 104000, `${c} key '' must match [A-Za-z0-9_-]+`],
  [{ model: 'm'.repeat(257) }, null, 104001, `${t}.model exceeds 256 bytes`],
  [{ model: 'ä'.repeat(129) }, null, 104001, `${t}.model exceeds 256 bytes`],
  [{ 'steer-codec-message-ids': 's'.repeat(2049) }, null, 104001, `${t}.steer-codec-message-ids exceeds 2048 bytes`], // [4.7]
  [null, { k: 'v'.repeat(257) }, 104001, `${c}.k exceeds 256 bytes`],
  [null, { providerMetadata: 'p'.repeat(8193) }, 104001, `${c}.providerMetadata exceeds 8192 bytes`],
  ...mustNotBeEmpty.map(key => [{ [key]: '' }, null, 104000, `${t}.${key} must not be empty`]), // [4.9]
  [{ 'run-reason': 'suspended' }, null, 104000, `${t}.run-reason has invalid value`], // [4.8]
  [{ 'turn-reason': 'paused' }, null, 104000, `${t}.turn-reason has invalid value`],
  [{ 'step-reason': 'error' }, null, 104000, `${t}.step-reason has invalid value`],
  [{ status: 'done' }, null, 104000, `${t}.status has invalid value`],
  [{ role: 'king' }, null, 104000, `${t}.role has invalid value`],
  ...['stream', 'discrete', 'run-continue', 'turn-continue'].map(key => [{ [key]: 'yes' }, null, 104000, `${t}.${key} must be true or false`]),
  [{ nope: 'x' }, null, 104000, `unknown ${t} key 'nope'`],
  [{ nope: 'x' }, { 'a.b': 'x' }, 104000, `unknown ${t} key 'nope'`], // transport comes first
  [{ status: 'done', nope: 'x' }, null, 104000, `${t}.status has invalid value`], // in document order
  [{ nope: 'x', status: 'done' }, null, 104000, `unknown ${t} key 'nope'`],
];
const right = [
  [null, keys(32)], [{ model: 'm'.repeat(256) }], [{ 'steer-codec-message-ids': 's'.repeat(2048) }], [null, { providerMetadata: 'p'.repeat(8192), A_z: '' }],
  [{ 'turn-reason': 'suspended' }], [{ 'run-reason': 'cancelled' }], [{ 'step-reason': 'failed' }], [{ 'error-message': '' }], [{}, {}],
  ...['user', 'assistant', 'system', 'tool', 'agent'].map(role => [{ role }]), [{ stream: 'true', discrete: 'false', 'run-continue': 'true', 'turn-continue': 'false' }],
];
const misshapen = [[{ ai: 1 }, /extras\.ai must be an object/], [{ ai: { transport: [] } }, /transport must be an object/], [{ ai: { transport: { 'run-id': 1 } } }, /values must be strings/],
  [{ ai: { codec: { k: null } } }, /values must be strings/]];

describe('the rules', () => {
  const held = oneServer({ before, after }, {
    apps: [demoApp, appWith({ limits: { max_client_events_per_second: 3 } }, { id: '2', key: 'slow' }),
      appWith({ channels: { channel_namespaces: [{ name: 'ai-quiet', allow_publish_for_client: false }] } }, { id: '3', key: 'ns' })],
  });
  const open = [];
  let api, user, room;
  const connect = async (kind = V2, options) => { const client = await kind.connect(held.server, options); open.push(client); return client; };
  before(async () => {
    api = new Api(held.server, demoApp);
    room = fresh('private-ai');
    user = await signIn(await connect(), 'u1');
    await user.subscribe(room);
  });
  after(async () => { await Promise.all(open.map(client => client.close())); api.close(); });
  const create = (channel, more = {}, event = 'ai-output') => api.publish(channel, event, '', { message_id: uuid(), ...more });
  const nothingStored = async channel => assert.deepEqual(ok(await api.history(channel)).items, []);

  test('of headers hold for creates, appends, updates and deletes over HTTP, and for clients [4.6] [4.7] [4.8] [4.9]', { timeout: 60_000 }, async () => {
    const channel = fresh('ai'), created = await api.create(channel, '');
    const status = code => (code === 104001 ? 413 : 400);
    for (const [transport, codec, code, text] of wrong) {
      const more = headers(transport, codec);
      refused(await create(channel, more), status(code), code, text);
      refused(await api.append(channel, created.message_serial, 'x', more), status(code), code, text);
      refused(await api.update(channel, created.message_serial, { data: 'x', ...more }), status(code), code, text);
      refused(await api.remove(channel, created.message_serial, more), status(code), code, text);
      refused(await api.post('/batch_events', { batch: [{ name: 'ai-input', channel, data: '', ...more }] }), status(code), code, text);
      await refusedOverWs(user, code, text, 'ai-input', room, more);
    }
    assert.equal(ok(await api.history(channel)).items.length, 1);
    assert.equal((await api.latest(channel, created.message_serial)).delivery_serial, 1);
    await nothingStored(room);
  });

  test('of headers let the rest pass, unchanged', async () => {
    const channel = fresh('private-ai');
    await user.subscribe(channel);
    for (const [transport, codec] of right) {
      const from = user.frames.length;
      ok(await create(channel, headers(transport, codec)));
      assert.deepEqual(await says(user, 'ai-input', channel, headers(transport, codec)), []);
      const [over_http, over_ws] = await until(() => { const got = user.frames.slice(from).filter(f => f.channel === channel); return got.length === 2 && got; });
      assert.deepEqual(over_http.extras.ai, headers(transport, codec).extras.ai);
      assert.deepEqual(over_ws.extras.ai, { transport: { ...transport, 'input-client-id': 'u1' }, ...(codec ? { codec } : {}) });
    }
  });

  test('of shape come before all others: 422 over HTTP, 4000 for clients', async () => {
    for (const [extras, text] of misshapen) {
      const answer = await create(fresh('orders'), { extras });
      assert.deepEqual([answer.status, answer.body.code], [422, 'unprocessable_body'], answer.text);
      await refusedOverWs(user, 4000, text, 'ai-output', undefined, { extras });
    }
  });

  test('of publishing over HTTP, in their order [4.1] [4.14] [4.15] [4.16]', async () => {
    const off = 'AI Transport is not enabled for this channel', big = 'x'.repeat((1 << 20) + 1), long = 'm'.repeat(65);
    const plain = fresh('orders'), channel = fresh('ai');
    for (const event of ['ai-input', 'ai-cancel', 'ai-output', 'ai-run-start', 'ai-turn-start', 'ai-run-suspend', 'ai-run-resume', 'ai-run-end', 'ai-turn-end', 'ai-step-start', 'ai-step-end']) {
      refused(await create(plain, { message_id: '' }, event), 403, 104003, off);
      ok(await create(fresh('ai'), {}, event));
    }
    refused(await create(plain, headers({ nope: 'x' }), 'other'), 403, 104003, off);
    ok(await create(plain, {}, 'ai-other'));
    refused(await create(channel, { message_id: '', ...headers({ nope: 'x' }) }), 400, 104000, 'message_id must not be empty');
    refused(await create(channel, { message_id: long, ...headers({ nope: 'x' }) }), 400, 104001, 'message_id exceeds 64 bytes');
    refused(await api.publish(channel, 'ai-output', big, headers({ nope: 'x' })), 400, 104000, `unknown ${t} key 'nope'`);
    refused(await api.publish(channel, 'ai-output', big, headers({ status: 'streaming' })), 413, 40009, 'accumulated message content exceeds 1048576 bytes');
    refused(await api.post('/events', { name: 'ai-output', channels: [channel, plain], data: '' }), 403, 104003, off);
    await nothingStored(channel);
  });

  test('of clients, in their order, and the connection stays open [4.11] [4.12] [4.13] [4.14]', async () => {
    const channel = fresh('private-ai'), plain = fresh('private-orders'), bad = headers({ nope: 'x' });
    const old = await connect(V1), nobody = await connect(), off = 'AI Transport is not enabled for this channel';
    await refusedOverWs(nobody, 104000, 'channel required for AI event', 'ai-output', undefined, bad);
    await refusedOverWs(old, 104003, off, 'ai-output', plain, bad);
    await refusedOverWs(old, 104003, 'AI events require protocol v2', 'ai-output', channel, bad);
    for (const event of ['ai-output', 'ai-run-start', 'ai-turn-start', 'ai-run-suspend', 'ai-run-resume', 'ai-run-end', 'ai-turn-end', 'ai-step-start', 'ai-step-end'])
      await refusedOverWs(nobody, 104003, 'agent AI events require trusted app-key publish', event, channel, bad);
    await refusedOverWs(nobody, 4009, 'Authentication error: AI client events require an authenticated client_id', 'ai-input', channel, bad);
    await signIn(nobody, 'u2', { publish: ['elsewhere'] });
    await refusedOverWs(nobody, 104000, 'message_id must not be empty', 'ai-input', channel, { message_id: '', ...bad });
    await refusedOverWs(nobody, 104001, 'message_id exceeds 64 bytes', 'ai-input', channel, { message_id: 'm'.repeat(65), ...bad });
    await refusedOverWs(nobody, 104000, `unknown ${t} key 'nope'`, 'ai-input', channel, bad);
    await refusedOverWs(nobody, 104002, `${t}.run-client-id does not match verified identity`, 'ai-input', channel, headers({ 'run-client-id': 'u1' }));
    await refusedOverWs(nobody, 4009, /^Authentication error: .*not allowed to publish channel/, 'ai-input', channel);
    await signIn(nobody, 'u2');
    await refusedOverWs(nobody, 4301, `Client event error: Socket ${nobody.socketId} is not subscribed to channel ${channel}`, 'ai-input', channel);
    await nobody.subscribe(channel);
    await nothingStored(plain);
    await nothingStored(channel);
  });

  test('a token with every operation is no agent [4.11]', async () => {
    const channel = fresh('private-ai');
    const all = ['subscribe', 'publish', 'history', 'presence', 'message-update-any', 'message-append-any', 'message-delete-any'];
    const client = await connect(V2, { params: `token=${mint(demoApp, { client: 't1', may: { '*': all } })}` });
    await client.subscribe(channel);
    await refusedOverWs(client, 104003, 'agent AI events require trusted app-key publish', 'ai-output', channel);
    assert.deepEqual(await says(client, 'ai-cancel', channel, headers({ 'run-id': 'r1' })), []);
    const frame = await client.next(f => f.event === 'ai-cancel');
    assert.deepEqual([frame.extras.ai.transport, frame.user_id], [{ 'run-id': 'r1', 'run-client-id': 't1' }, 't1']);
    const may = await connect(V2, { params: `token=${mint(demoApp, { client: 't2', may: { '*': ['subscribe'] } })}` });
    await may.subscribe(channel);
    await refusedOverWs(may, 4009, /not allowed to publish channel/, 'ai-input', channel);
  });

  test('of identity: every *-client-id is the verified one, and who says nothing is named [4.10]', async () => {
    const channel = fresh('private-ai');
    await user.subscribe(channel);
    for (const key of ['run-client-id', 'step-client-id']) {
      await refusedOverWs(user, 104002, `${t}.${key} does not match verified identity`, 'ai-input', channel, headers({ [key]: '' }));
      await refusedOverWs(user, 104002, `${t}.${key} does not match verified identity`, 'ai-input', channel, headers({ 'input-client-id': 'u1', [key]: 'U1' }));
    }
    const sent = async (event, transport) => {
      const from = user.frames.length;
      assert.deepEqual(await says(user, event, channel, transport ? headers(transport) : {}), []);
      return (await user.next(f => f.event === event && f.channel === channel, { from })).extras.ai.transport;
    };
    assert.deepEqual(await sent('ai-input'), { 'input-client-id': 'u1' });
    assert.deepEqual(await sent('ai-input', { 'run-client-id': 'u1' }), { 'run-client-id': 'u1', 'input-client-id': 'u1' });
    assert.deepEqual(await sent('ai-input', { 'input-client-id': 'u1', 'run-id': 'r' }), { 'input-client-id': 'u1', 'run-id': 'r' });
    assert.deepEqual(await sent('ai-cancel', { 'run-id': 'r' }), { 'run-id': 'r', 'run-client-id': 'u1' });
    assert.deepEqual(ok(await api.history(channel, { direction: 'oldest_first' })).items.map(i => i.message.name), ['ai-input', 'ai-input', 'ai-input', 'ai-cancel']);
  });

  test('trusted publishers may name anybody, or nobody [4.9]', async () => {
    const channel = fresh('private-ai');
    await user.subscribe(channel);
    ok(await create(channel, headers({ 'run-client-id': '', 'step-client-id': '', 'input-client-id': 'somebody' }), 'ai-input'));
    const frame = await user.next(f => f.channel === channel && f.event === 'ai-input');
    assert.deepEqual(frame.extras.ai.transport, { 'run-client-id': '', 'step-client-id': '', 'input-client-id': 'somebody' });
  });

  test('of namespaces hold for AI events, too', async () => {
    const client = await signIn(await connect(V2, { key: 'ns' }), 'u1');
    await client.subscribe('private-ai-quiet:1');
    await refusedOverWs(client, 4009, /^Authentication error: Namespace 'ai-quiet' does not allow client publishes/, 'ai-input', 'private-ai-quiet:1');
  });

  test('the client-event limiter counts AI events, refused ones too', async () => {
    const client = await signIn(await connect(V2, { key: 'slow' }), 'u1'), channel = fresh('private-ai');
    await client.subscribe(channel);
    assert.deepEqual(await says(client, 'ai-input', channel), []);
    await refusedOverWs(client, 104003, /agent AI events/, 'ai-output', channel);
    assert.deepEqual(await says(client, 'client-x', channel), []);
    await refusedOverWs(client, 4301, 'Client event rejected due to rate limit', 'ai-input', channel);
  });

  test('echo: to the publisher, unless the connection or the event says no', async () => {
    const channel = fresh('private-ai'), quiet = await signIn(await connect(V2, { params: 'echo_messages=false' }), 'q'), seen = [];
    await quiet.subscribe(channel);
    await user.subscribe(channel);
    for (const [client, more] of [[quiet, {}], [quiet, { extras: { echo: true } }], [user, {}], [user, { extras: { echo: false } }]]) {
      const from = client.frames.length, marker = `marker-${seen.length}`;
      await says(client, 'ai-input', channel, more);
      await api.publish(channel, marker, '');
      await Promise.all([quiet, user].map(c => c.next(f => f.event === marker, { from: 0 }))); // the next round begins when both have all
      seen.push(client.frames.slice(from).filter(f => f.event === 'ai-input').length);
    }
    assert.deepEqual(seen, [0, 1, 1, 0]);
  });

  test('a message_id is published once, whichever way it comes', async () => {
    const channel = fresh('private-ai'), message_id = uuid(), extras = headers({ 'run-id': 'r', 'input-client-id': 'u1' }).extras;
    await user.subscribe(channel);
    assert.deepEqual(await says(user, 'ai-input', channel, { message_id, extras }), []);
    assert.deepEqual(await says(user, 'ai-input', channel, { message_id, extras }), []);
    ok(await api.publish(channel, 'ai-input', 'x', { message_id, extras, client_id: 'u1' }));
    const errors = await says(user, 'ai-input', channel, { message_id, extras, data: 'other' });
    await until(() => errors.length || user.find(f => f.event === 'sockudo:error' && f.channel === channel));
    assert.equal(ok(await api.history(channel)).items.length, 1);
    assert.equal(user.of(channel).filter(f => f.event === 'ai-input').length, 1);
  });

  test('are the same in every wire format', async () => {
    const channel = fresh('private-ai');
    await user.subscribe(channel);
    for (const wire of Object.keys(wires)) {
      const client = await signIn(await connect(Binary, { wire }), `of-${wire}`), from = user.frames.length;
      await client.subscribe(channel);
      client.send('ai-input', { a: 1 }, { channel, tags: { room: '7' }, message_id: `m-${wire}`, extras: { ai: { transport: { 'run-id': 'r' } } } });
      const frame = await user.next(f => f.event === 'ai-input' && f.channel === channel, { from });
      assert.deepEqual([frame.data, frame.tags, frame.message_id, frame.user_id, frame.extras.ai.transport], [{ a: 1 }, { room: '7' }, `m-${wire}`, `of-${wire}`, { 'run-id': 'r', 'input-client-id': `of-${wire}` }]);
      client.send('ai-input', 'x', { channel, extras: { ai: { transport: { 'run-client-id': 'u1' } } } });
      const error = await client.next(f => f.event === 'sockudo:error');
      assert.deepEqual(error.data, { code: 104002, message: `${t}.run-client-id does not match verified identity`, name: 'ai_client_id_spoof' });
      assert.deepEqual(client.faults, []);
    }
  });

  test('V1 sees what clients say as plain events, wire parameters are checked at the upgrade [4.4] [4.5]', async () => {
    const channel = fresh('private-ai'), old = await connect(V1);
    await Promise.all([user, old].map(client => client.subscribe(channel)));
    await says(user, 'ai-input', channel, headers({ 'run-id': 'r' }));
    const frame = await old.next(f => f.event === 'ai-input');
    assert.deepEqual(Object.keys(frame).sort(), ['channel', 'data', 'event', 'user_id']);
    const upgrade = async query => (await WsClient.connect(`${held.server.url}/app/app-key?${query}`).then(ws => { ws.destroy(); return 101; }, error => error.status ?? String(error.message).match(/\d{3}/)?.[0]));
    for (const [query, status] of [['protocol=2&append_rollup_window=30', 400], ['protocol=2&append_rollup_window=50', 400], ['protocol=2&append_rollup_window=40', 101], ['protocol=7&append_rollup_window=30', 101],
      ['protocol=2&append_mode=', 101], ['protocol=2&append_mode=FULL', 400], ['protocol=2&append_mode=full', 101]])
      assert.equal(Number(await upgrade(query)), status, query);
  });

  test('of mutations, each with its code and text [4.19] [4.20]', async () => {
    const channel = fresh('ai'), { message_serial: serial } = await api.create(channel, 'a', { extras: streaming() });
    const invalid = (answer, text, ai_code) => refused(answer, 400, ai_code, text, 'invalid_input');
    invalid(await api.append(channel, serial, ''), 'append request data must not be empty');
    invalid(await api.append(channel, serial, 'x', { op_id: '' }), 'op_id must be 1..=64 bytes');
    invalid(await api.append(channel, serial, 'x', { op_id: 'o'.repeat(65) }), 'op_id must be 1..=64 bytes');
    ok(await api.append(channel, serial, 'b', { op_id: 'o'.repeat(64) }));
    const conflicts = async () => await held.server.metric('sockudo_ai_messages_rejected_total', { app_id: 'app-id', code: '104006' }) ?? 0, before = await conflicts();
    invalid(await api.append(channel, serial, 'c', { op_id: 'o'.repeat(64) }), 'idempotency key was already used with a different payload', 104006);
    assert.equal(await conflicts(), before + 1);
    refused(await api.update(channel, serial, { data: 'x'.repeat((1 << 20) + 1) }), 413, 40009, 'accumulated message content exceeds 1048576 bytes');
    refused(await api.remove(channel, serial, { data: 'x'.repeat((1 << 20) + 1) }), 413, 40009, 'accumulated message content exceeds 1048576 bytes');
    const actor = await connect();
    refused(await api.append(channel, serial, 'x', { socket_id: actor.socketId }), 403, 93002, 'mutations not permitted on this channel', 'mutable_not_permitted');
    ok(await api.append(channel, serial, '', { extras: complete, op_id: 'end' }));
    invalid(await api.append(channel, serial, 'x'), 'cannot append to a terminal message');
    assert.equal(ok(await api.append(channel, serial, '', { extras: complete, op_id: 'end' })).status, 'duplicate');
    assert.deepEqual((await api.latest(channel, serial)).extras.ai, complete.ai);
  });

  test('figures: what was refused and why, what was accepted [S87]', async () => {
    const value = name => held.server.metric(`sockudo_${name}`).then(v => v ?? 0);
    const rejected = code => held.server.metric('sockudo_ai_messages_rejected_total', { app_id: 'app-id', code: String(code) });
    const before = { valid: await value('ai_messages_validated_total'), spoof: await rejected(104002), header: await rejected(104000) };
    const channel = fresh('private-ai');
    await user.subscribe(channel);
    await says(user, 'ai-input', channel);
    await says(user, 'ai-input', channel, headers({ 'run-client-id': '' }));
    ok(await create(channel, {}, 'ai-run-start'));
    await create(channel, headers({ nope: '' }), 'ai-run-start');
    await api.append(channel, 'x', 'x', headers({ nope: '' }));
    await until(async () => await value('ai_messages_validated_total') === before.valid + 2);
    assert.deepEqual([await rejected(104002), await rejected(104000)], [before.spoof + 1, before.header + 2]);
  });

  test('the ai block is of AI channels only, and counts what is open [4.36] [4.43] [S97]', async () => {
    const channel = fresh('ai'), plain = fresh('orders');
    const state = async () => ok(await api.get(`/channels/${channel}`)).ai;
    assert.deepEqual(await state(), { active_streams: 0, last_history_serial: null, message_count: 0 });
    const [a, b, d] = [await api.create(channel, '', { extras: streaming() }), await api.create(channel, '', { extras: streaming() }), await api.create(channel, '')];
    assert.deepEqual(await state(), { active_streams: 2, last_history_serial: d.history_serial, message_count: 3 });
    ok(await api.remove(channel, a.message_serial));
    assert.equal((await state()).active_streams, 1);
    ok(await api.update(channel, b.message_serial, { clear_fields: ['extras'] }));
    assert.equal((await state()).active_streams, 0);
    assert.ok(!('ai' in ok(await api.get(`/channels/${plain}`))));
  });
});

describe('a stream that falls silent', () => {
  const ttl = 1000, config = { ai_transport: { rollup: { orphan_ttl_ms: ttl } } };
  let hook, server, api;
  before(async () => {
    hook = await HookEndpoint.start();
    const events = ['ai_run_started', 'ai_turn_started', 'ai_run_ended', 'ai_turn_ended', 'ai_cancel_requested', 'ai_stream_orphaned', 'client_event'];
    server = await Server.start({ config, apps: [appWith({ webhooks: [{ url: hook.url, event_types: events }] })] });
    api = new Api(server);
  });
  after(async () => { api.close(); await server.stop(); await hook.stop(); });
  const gauge = async () => await server.metric('sockudo_ai_active_streams');
  const versions = async (channel, serial) => ok(await api.versions(channel, serial, { direction: 'oldest_first' })).items;

  test('is cancelled once, with its text, and webhooks are told once [4.32]', { timeout: 20_000 }, async () => {
    const channel = fresh('ai'), client = await V2.connect(server);
    await client.subscribe(channel);
    const { message_serial: serial } = await api.create(channel, '', { extras: streaming({ 'run-id': 'r1' }), client_id: 'agent' });
    for (const part of ['Hel', 'lo']) ok(await api.append(channel, serial, part));
    const last = Date.now(), closed = await client.next(f => f.event === 'sockudo:message.update'), silence = Date.now() - last;
    assert.ok(silence > ttl - 100 && silence < ttl + 1000, `${silence} ms`);
    const transport = { 'run-id': 'r1', status: 'cancelled', 'error-code': 'orphan_timeout', 'error-message': 'stream cancelled after orphan timeout' };
    assert.deepEqual([closed.data, closed.extras.ai.transport, closed.name], ['Hello', transport, 'ai-output']);
    const item = await api.latest(channel, serial);
    assert.deepEqual([item.data, item.action, item.version.description, item.version.metadata, item.version.client_id],
      ['Hello', 'update', 'AI stream orphan timeout', { system: 'ai_transport_orphan_janitor', reason: 'orphan_timeout' }, undefined]);
    assert.equal((await api.append(channel, serial, 'x')).body.error, 'cannot append to a terminal message');
    assert.deepEqual(await hook.event(e => e.name === 'ai_stream_orphaned' && e.channel === channel), { name: 'ai_stream_orphaned', channel, message_serial: serial, reason: 'orphan_timeout' });
    await sleep(2 * ttl);
    assert.equal((await versions(channel, serial)).length, 4);
    assert.equal(hook.events('ai_stream_orphaned').filter(e => e.channel === channel).length, 1);
    assert.equal(ok(await api.get(`/channels/${channel}`)).ai.active_streams, 0);
    assert.deepEqual(client.faults, []);
    await client.close();
  });

  test('lives as long as somebody appends, and an append that comes with its end wins or is refused [4.33]', { timeout: 60_000 }, async () => {
    const rounds = Array.from({ length: 40 }, async (_, i) => {
      const channel = fresh('ai'), { message_serial: serial } = await api.create(channel, '', { extras: streaming() });
      ok(await api.append(channel, serial, 'a'));
      await sleep(ttl - 20 + i);
      const answer = await api.append(channel, serial, 'b'), item = await api.latest(channel, serial);
      if (answer.status === 200) assert.deepEqual([item.data, item.extras.ai.transport.status], ['ab', 'streaming']);
      else assert.deepEqual([answer.body.error, item.data, item.extras.ai.transport.status], ['cannot append to a terminal message', 'a', 'cancelled']);
      return answer.status;
    });
    const seen = await Promise.all(rounds);
    assert.ok(seen.includes(200), String(seen));
    assert.ok(seen.includes(400), String(seen));
  });

  test('deleted, completed and plain messages are not its kind [4.36]', { timeout: 20_000 }, async () => {
    const channel = fresh('ai'), plain = fresh('orders');
    const gone = await api.create(channel, 'x', { extras: streaming() }), done = await api.create(channel, 'x', { extras: streaming() });
    const none = await api.create(channel, 'x'), other = await api.create(plain, 'x', { name: 'note' });
    ok(await api.remove(channel, gone.message_serial));
    ok(await api.append(channel, done.message_serial, '', { extras: complete }));
    await sleep(2.5 * ttl);
    for (const [where, message, count] of [[channel, gone, 2], [channel, done, 2], [channel, none, 1], [plain, other, 1]]) assert.equal((await versions(where, message.message_serial)).length, count);
  });

  test('is not forgotten by a node that was killed [4.34]', { timeout: 60_000 }, async () => {
    const many = await Promise.all(Array.from({ length: 150 }, async () => { const channel = fresh('ai'); return [channel, (await api.create(channel, 'x', { extras: streaming() })).message_serial]; }));
    await server.kill9();
    await server.restart();
    const began = Date.now();
    await until(async () => await gauge() >= many.length, 'the gauge');
    await until(async () => await gauge() === 0, 'the janitor', 10_000);
    assert.ok(Date.now() - began > ttl - 300);
    for (const [channel, serial] of many) assert.deepEqual((await versions(channel, serial)).map(v => v.extras.ai.transport.status), ['streaming', 'cancelled']);
    assert.equal(await server.metric('sockudo_ai_orphans_closed_total'), many.length);
  });

  test('runs, cancels and client events are told to webhooks [4.9] [4.44]', async () => {
    const channel = fresh('private-ai'), client = await signIn(await V2.connect(server), 'u1');
    await client.subscribe(channel);
    const say = (event, transport) => api.publish(channel, event, '', headers(transport));
    ok(await say('ai-run-start', { 'run-id': 'r1', 'run-client-id': 'u1' }));
    await says(client, 'ai-cancel', channel, headers({ 'run-id': 'r1' }));
    ok(await say('ai-turn-end', { 'turn-id': 'r1', 'turn-reason': 'suspended' }));
    ok(await say('ai-run-end', { 'run-id': 'r1', 'run-reason': 'cancelled', 'error-code': 'e1' }));
    ok(await say('ai-run-start', { 'run-client-id': '' }));
    await until(() => hook.events().filter(e => e.channel === channel).length >= 8);
    const got = hook.events().filter(e => e.channel === channel).map(({ channel: _, ...e }) => e);
    assert.deepEqual(got.filter(e => e.name.startsWith('ai_')), [
      { name: 'ai_run_started', run_id: 'r1', client_id: 'u1' }, { name: 'ai_turn_started', turn_id: 'r1', client_id: 'u1' },
      { name: 'ai_cancel_requested', run_id: 'r1', turn_id: 'r1', client_id: 'u1' },
      { name: 'ai_run_ended', run_id: 'r1', reason: 'cancelled', error_code: 'e1' }, { name: 'ai_turn_ended', turn_id: 'r1', reason: 'cancelled', error_code: 'e1' },
      { name: 'ai_run_started', run_id: null, client_id: null }, { name: 'ai_turn_started', turn_id: null, client_id: null },
    ]);
    assert.deepEqual(got.filter(e => e.name === 'client_event'), [{ name: 'client_event', event: 'ai-event', data: null, socket_id: client.socketId }]);
    await client.close();
  });
});

describe('caps', () => {
  test('open streams of an app and bytes of a fragment [5.3]', { timeout: 30_000 }, async () => {
    const server = await Server.start({ config: { ai_transport: { max_open_streams_per_app: 3, max_append_bytes: 8, rollup: { max_shard_pending_bytes: 1 } } }, apps: [demoApp, appWith({}, { id: '2', key: 'two' })] });
    const api = new Api(server), other = new Api(server, server.apps[1]);
    const opens = (who = api) => { const channel = fresh('ai'); return who.create(channel, '', { extras: streaming() }).then(created => ({ channel, ...created })); };
    const [first] = await Promise.all([opens(), opens(), opens()]);
    refused(await api.publish(fresh('ai'), 'ai-output', '', { message_id: 'm', extras: streaming() }), 413, 40009, 'open streaming message count of the app exceeds 3');
    await opens(other);
    ok(await api.append(first.channel, first.message_serial, '12345678'));
    refused(await api.append(first.channel, first.message_serial, '123456789'), 413, 40009, 'append fragment exceeds 8 bytes');
    ok(await api.append(first.channel, first.message_serial, '', { extras: complete }));
    await opens();
    api.close();
    other.close();
    await server.stop();
  });

  test('a stream that lasts too long takes its end, and repetitions, but no more appends', { timeout: 30_000 }, async () => {
    const server = await Server.start({ config: { ai_transport: { max_stream_duration_ms: 300 } } }), api = new Api(server), channel = fresh('ai');
    const { message_serial: serial } = await api.create(channel, '', { extras: streaming() });
    for (const part of ['a', 'b']) ok(await api.append(channel, serial, part, { op_id: part }));
    await sleep(350);
    refused(await api.append(channel, serial, 'c'), 413, 40009, 'stream duration exceeds 300 ms');
    assert.equal(ok(await api.append(channel, serial, 'b', { op_id: 'b' })).status, 'duplicate');
    ok(await api.append(channel, serial, 'end', { extras: complete }));
    assert.equal((await api.latest(channel, serial)).data, 'abend');
    api.close();
    await server.stop();
  });

  test('a full shard delivers at once, in order', async () => {
    const server = await Server.start({ config: { ai_transport: { rollup: { max_shard_pending_bytes: 1 } } } }), api = new Api(server);
    const channel = fresh('ai'), client = await V2.connect(server, { params: 'append_rollup_window=500' });
    await client.subscribe(channel);
    const { message_serial: serial } = await api.create(channel, '', { extras: streaming() });
    for (let i = 0; i < 20; i++) ok(await api.append(channel, serial, `${i} `));
    await client.next(() => client.of(channel).filter(f => f.event === 'sockudo:message.append').length === 20, { ms: 400 });
    assert.equal(client.text(channel, serial), Array.from({ length: 20 }, (_, i) => `${i} `).join(''));
    assert.ok(await server.metric('sockudo_rollup_bypassed_total') >= 19);
    await client.close();
    api.close();
    await server.stop();
  });
});

describe('the start', () => {
  const refusal = async ai => {
    const server = await Server.start({ config: { ai_transport: ai }, ready: false });
    const { code } = await server.exited;
    return [code !== 0, server.log()];
  };
  test('is refused with windows that are none, names the key [4.3]', async () => {
    for (const [rollup, text] of [[{ default_window_ms: 30 }, 'default_window_ms must be one of 0, 20, 40, 100, 500'], [{ default_window_ms: 500, max_window_ms: 100 }, 'default_window_ms must be between']]) {
      const [failed, log] = await refusal({ rollup });
      assert.ok(failed && log.includes(text), log);
    }
  });

  test('on a port that is taken ends well, with many streams open', async () => {
    const server = await Server.start(), api = new Api(server);
    for (let i = 0; i < 3; i++) ok(await api.post('/batch_events', { batch: Array.from({ length: 10 }, (_, k) => ({ name: 'ai-output', channel: `ai-${i}-${k}`, data: '', extras: streaming() })) }));
    for (let i = 0; i < 100; i++) await api.create(`ai-${i}`, '', { extras: streaming() });
    await server.kill9();
    const other = net.createServer().listen(server.port, '127.0.0.1');
    server.launch();
    const { code, signal } = await server.exited;
    assert.deepEqual([code > 0, signal], [true, null], server.log());
    assert.match(server.log(), /Address already in use/);
    other.close();
    server.complain();
    api.close();
  });

  test('with an empty prefix matches no channel, and AI off gates everything [4.1] [S54]', async () => {
    for (const ai_transport of [{ channels: [{ prefix: '' }] }, { enabled: false }]) {
      const server = await Server.start({ config: { ai_transport } }), api = new Api(server);
      const answer = await api.publish('ai-1', 'ai-output', '', headers({ nope: '' }));
      if (ai_transport.enabled === false) ok(answer);
      else refused(answer, 403, 104003, 'AI Transport is not enabled for this channel');
      api.close();
      await server.stop();
    }
  });

  test('the end: what waits leaves before the close frames [4.31]', async () => {
    const server = await Server.start(), api = new Api(server), channel = fresh('ai'), client = await V2.connect(server, { params: 'append_rollup_window=500' });
    await client.subscribe(channel);
    const { message_serial: serial } = await api.create(channel, '', { extras: streaming() });
    for (const part of ['a', 'b', 'c']) ok(await api.append(channel, serial, part));
    const end = server.stop();
    await until(() => client.closing);
    assert.equal(client.text(channel, serial), 'abc');
    await end;
    api.close();
  });

  test('a newcomer gets neither half a run nor one twice [4.27]', async () => {
    const server = await Server.start(), api = new Api(server), channel = fresh('ai'), first = await V2.connect(server, { params: 'append_rollup_window=500' });
    await first.subscribe(channel);
    const { message_serial: serial } = await api.create(channel, '', { extras: streaming() });
    for (const part of ['a', 'b', 'c']) ok(await api.append(channel, serial, part));
    const late = await V2.connect(server, { params: 'append_rollup_window=500' });
    await late.subscribe(channel, { rewind: 10 });
    ok(await api.append(channel, serial, 'd'));
    ok(await api.append(channel, serial, 'e', { extras: complete }));
    for (const client of [first, late]) await until(() => client.text(channel, serial) === 'abcde', () => client.text(channel, serial));
    assert.deepEqual([first.faults, late.faults], [[], []]);
    await Promise.all([first.close(), late.close()]);
    api.close();
    await server.stop();
  });
});
