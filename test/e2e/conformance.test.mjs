// SPDX-License-Identifier: Apache-2.0
//
// conformance.test.mjs - the checklist AIT-S (chapter 3, appendix A), each row a test that bears its number.
//
// Rows that need a setting of their own stand in other files: `node --test` with the number finds them (S6 to S11 are about rows in
// the store: test/unit/store). The last test sees to it that no row is forgotten.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Api, cancelled, complete, streaming, userAuth } from './lib/api.mjs';
import { appWith, demoApp, fresh, oneServer, root, Server, sleep, until } from './lib/server.mjs';
import { V1, V2 } from './lib/v2.mjs';

const uuid = () => crypto.randomUUID();
const T = transport => ({ ai: { transport } });
const HEADERS = ['sockudo_action', 'sockudo_history_serial', 'sockudo_message_serial', 'sockudo_version_serial', 'sockudo_version_timestamp_ms'];

describe('conformance', () => {
  const held = oneServer({ before, after }, {
    apps: [demoApp, appWith({ history: { rewind_enabled: false } }, { id: '2', key: 'no-rewind' })],
    config: { connection_recovery: { enabled: true }, ai_transport: { max_accumulated_message_bytes: 4096, max_appends_per_message: 32, max_open_streaming_messages_per_channel: 8 } },
  });
  let api;
  const open = [];
  const connect = async (kind = V2, options) => { const c = await kind.connect(held.server, options); open.push(c); return c; };
  before(() => { api = new Api(held.server, demoApp); });
  after(async () => { await Promise.all(open.map(c => c.close())); api.close(); });

  const ok = answer => { assert.equal(answer.status, 200, answer.text); return answer.body; };
  const refused = (answer, status, code, aiCode) => assert.deepEqual([answer.status, answer.body.code, answer.body.ai_code], [status, code, aiCode], answer.text);
  const publishes = (channel, n) => Promise.all(Array.from({ length: n }, (_, i) => api.publish(channel, 'e', `${i + 1}`))).then(all => all.forEach(ok));
  const inTurn = async (channel, n, from = 1) => { for (let i = from; i < from + n; i++) ok(await api.publish(channel, 'e', `${i}`)); };
  const live = (client, channel) => client.of(channel).filter(f => !/internal:|rewind_complete|resume_failed|channel_history/.test(f.event));

  /* One message with a create, an update, an append and a delete, and its serial. */
  const chain = async channel => {
    const { message_serial: serial } = await api.create(channel, 'a', { extras: streaming() });
    ok(await api.append(channel, serial, 'b'));
    ok(await api.update(channel, serial, { data: 'c' }));
    ok(await api.remove(channel, serial));
    return serial;
  };

  describe('messages', () => {
    test('S1 the five actions exist', async () => {
      const channel = fresh('ai'), viewer = await connect();
      await viewer.subscribe(channel);
      await chain(channel);
      await until(() => live(viewer, channel).length === 4, 'four frames');
      assert.deepEqual(live(viewer, channel).map(f => f.extras.headers.sockudo_action), ['message.create', 'message.append', 'message.update', 'message.delete']);
      // the fifth, message.summary: S46
    });

    test('S2 mutation events are sockudo:message.create, update, delete, append', async () => {
      const channel = fresh('ai'), viewer = await connect();
      await viewer.subscribe(channel);
      const serial = await chain(channel);
      await until(() => live(viewer, channel).length === 4, 'four frames');
      assert.deepEqual(live(viewer, channel).map(f => f.event), ['ai-output', 'sockudo:message.append', 'sockudo:message.update', 'sockudo:message.delete']);
      const versions = ok(await api.versions(channel, serial, { direction: 'oldest_first' }));
      assert.deepEqual(versions.items.map(i => i.event), ['create', 'append', 'update', 'delete'].map(word => `sockudo:message.${word}`));
    });

    test('S3 a read item is the flat frame plus action, serials and version', async () => {
      const channel = fresh('ai'), serial = await chain(channel);
      for (const item of [await api.latest(channel, serial), ...ok(await api.versions(channel, serial)).items, ok(await api.history(channel)).items[0].message]) {
        assert.equal(item.event, `sockudo:message.${item.action}`);
        assert.deepEqual([item.channel, item.message_serial, item.serial], [channel, serial, item.delivery_serial]);
        assert.ok(item.history_serial === 1 && item.version.serial >= serial && Number.isInteger(item.version.timestamp_ms));
        assert.ok(!('message_id' in item) && !('stream_id' in item));
        assert.deepEqual(Object.keys(item.extras.headers).sort(), HEADERS);
      }
    });

    test('S4 message_serial refuses empty, white space and more than 128 bytes', async () => {
      const channel = fresh('ai');
      for (const bad of ['a%20b', 'x'.repeat(129), '%20']) refused(await api.get(`/channels/${channel}/messages/${bad}`), 400, 'invalid_input');
      assert.equal((await api.get(`/channels/${channel}/messages/`)).status, 404, 'an empty one is another route');
      refused(await api.get(`/channels/${channel}/messages/${'x'.repeat(128)}`), 404, 'not_found');
    });

    test('S5 version_serial refuses the same', async () => {
      const channel = fresh('ai'), serial = await chain(channel);
      for (const cursor of ['', 'a b', 'x'.repeat(129)]) refused(await api.versions(channel, serial, { cursor }), 400, 'invalid_input');
      ok(await api.versions(channel, serial, { cursor: 'x'.repeat(128) }));
    });

    test('S12 one latest per message, in history order', async () => {
      const channel = fresh('ai'), made = [];
      for (const text of ['a', 'b', 'c']) made.push((await api.create(channel, text)).message_serial);
      for (let i = 0; i < 9; i++) ok(await api.append(channel, made[(i * 2) % 3], `${i}`));
      const page = ok(await api.history(channel, { direction: 'oldest_first' }));
      assert.deepEqual(page.items.map(i => [i.serial, i.message.data]), [[1, 'a036'], [2, 'b258'], [3, 'c147']]);
      assert.deepEqual(page.items.map(i => i.message.message_serial), made);
    });

    for (const [row, word, act] of [['S13', 'update', (c, s) => api.update(c, s, { data: 'z' })], ['S14', 'delete', (c, s) => api.remove(c, s)], ['S15', 'append', (c, s) => api.append(c, s, 'z')]])
      test(`${row} the fields of an answer to ${word}`, async () => {
        const channel = fresh('ai'), { message_serial: serial } = await api.create(channel, 'x'), body = ok(await act(channel, serial));
        assert.deepEqual(Object.keys(body), ['channel', 'message_serial', 'action', 'accepted', 'version_serial', 'history_serial', 'delivery_serial', 'status']);
        assert.deepEqual({ ...body, version_serial: 0 }, { channel, message_serial: serial, action: word, accepted: true, version_serial: 0, history_serial: 1, delivery_serial: 2, status: 'applied' });
      });

    test('S19 V1 frames lack extras, tags, serial, stream_id, message_id', async () => {
      const channel = fresh('ai'), old = await connect(V1);
      await old.subscribe(channel);
      ok(await api.publish(channel, 'e', '{"n":1}', { tags: { a: 'b' }, message_id: uuid(), extras: { headers: { h: 1 } } }));
      await until(() => live(old, channel).length === 1, 'the event');
      assert.equal(JSON.stringify(live(old, channel)[0]), JSON.stringify({ event: 'e', channel, data: '{"n":1}' }));
    });

    test('S20 V2 frames never show a top-level idempotency_key', async () => {
      const channel = fresh('ai'), viewer = await connect();
      await viewer.subscribe(channel);
      ok(await api.publish(channel, 'e', 'x', { idempotency_key: 'k1', extras: { idempotencyKey: 'k2', headers: { a: 1 } } }));
      await until(() => live(viewer, channel).length === 1, 'the event');
      assert.ok(!JSON.stringify(live(viewer, channel)[0]).match(/idempotency|k1|k2/i));
    });

    test('S21 extras.headers refuses objects and arrays', async () => {
      const channel = fresh('ai');
      for (const value of [{ a: 1 }, ['x']]) refused(await api.publish(channel, 'e', 'x', { extras: { headers: { h: value } } }), 422, 'unprocessable_body');
    });

    test('S22 the idempotency_key of the body beats that of the header', async () => {
      const channel = fresh('ai'), body = { idempotency_key: `body-${uuid()}` };
      ok(await api.publish(channel, 'e', '1', body, { 'X-Idempotency-Key': 'one' }));
      ok(await api.publish(channel, 'e', '2', body, { 'X-Idempotency-Key': 'two' }));
      assert.equal(ok(await api.history(channel)).items.length, 1);
    });

    test('S23 S96 a retry with the same key gets the first answer', async () => {
      const channel = fresh('ai'), key = uuid();
      const first = await api.publish(channel, 'e', 'x', { message_id: uuid() }, { 'X-Idempotency-Key': key });
      const again = await api.publish(channel, 'e', 'x', { message_id: uuid() }, { 'X-Idempotency-Key': key });
      assert.equal(again.text, first.text);
      assert.equal(ok(await api.history(channel)).items.length, 1);
    });

    test('S24 a batch skips events whose key is known', async () => {
      const channel = fresh('ai'), key = uuid(), item = data => ({ channel, name: 'e', data });
      ok(await api.publish(channel, 'e', 'first', { idempotency_key: key }));
      ok(await api.post('/batch_events', { batch: [item('a'), { ...item('again'), idempotency_key: key }, item('b')] }));
      assert.deepEqual(ok(await api.history(channel, { direction: 'oldest_first' })).items.map(i => i.message.data), ['first', 'a', 'b']);
    });

    test('S25 extras.idempotency_key holds per app, channel and key', async () => {
      const [a, b] = [fresh('ai'), fresh('ai')], extras = { idempotency_key: uuid() };
      for (const channel of [a, b, a]) ok(await api.publish(channel, 'e', 'x', { extras }));
      for (const channel of [a, b]) assert.equal(ok(await api.history(channel)).items.length, 1);
    });

    test('S65 S66 a client message_id is one create per channel; the duplicate answers the first serials and is not delivered', async () => {
      const channel = fresh('ai'), viewer = await connect(), message_id = uuid();
      await viewer.subscribe(channel);
      const first = await api.create(channel, 'x', { message_id }), again = await api.create(channel, 'x', { message_id });
      assert.deepEqual(again, first);
      await api.create(fresh('ai'), 'x', { message_id });
      const { delivery_serial: next } = await api.create(channel, 'y');
      assert.equal(next, 2);
      await until(() => live(viewer, channel).length === 2, 'two events');
      assert.deepEqual(live(viewer, channel).map(f => f.data), ['x', 'y']);
    });

    test('S67 op_id holds per app, channel, message, action and id', async () => {
      const channel = fresh('ai'), { message_serial: a } = await api.create(channel, 'a'), { message_serial: b } = await api.create(channel, 'b'), op_id = uuid();
      const statuses = [];
      for (const answer of [await api.append(channel, a, 'x', { op_id }), await api.append(channel, a, 'x', { op_id }), await api.append(channel, b, 'x', { op_id }), await api.update(channel, a, { data: 'x', op_id })])
        statuses.push(ok(answer).status);
      assert.deepEqual(statuses, ['applied', 'duplicate', 'applied', 'applied']);
    });

    test('S68 answers to mutations carry history and delivery serial', async () => {
      const channel = fresh('ai');
      await api.create(channel, 'first');
      const { message_serial: serial } = await api.create(channel, 'x'), body = ok(await api.append(channel, serial, 'y'));
      assert.deepEqual([body.history_serial, body.delivery_serial], [2, 3]);
    });

    test('S95 AI publishes answer the four serials per channel', async () => {
      const channels = [fresh('ai'), fresh('ai')];
      const body = ok(await api.post('/events', { name: 'ai-output', channels, data: 'x', message_id: uuid(), extras: streaming() }));
      for (const channel of channels) for (const key of ['message_serial', 'history_serial', 'delivery_serial', 'version_serial']) assert.ok(body.channels[channel][key], key);
    });

    test('S97 channel info has `ai` on AI channels only', async () => {
      const channel = fresh('ai'), other = fresh('plain'), { message_serial: serial } = await api.create(channel, '', { extras: streaming() });
      await api.create(channel, 'done', { extras: complete });
      await api.create(other, 'x', { name: 'e' });
      assert.deepEqual(ok(await api.get(`/channels/${channel}`)).ai, { active_streams: 1, last_history_serial: 2, message_count: 2 });
      ok(await api.append(channel, serial, 'end', { extras: complete }));
      assert.equal(ok(await api.get(`/channels/${channel}`)).ai.active_streams, 0);
      assert.ok(!('ai' in ok(await api.get(`/channels/${other}`))));
    });

    test('S98 a batch answers in the order of its items', async () => {
      const channel = fresh('ai'), item = data => ({ channel, name: 'e', data, message_id: uuid() });
      const first = item('0'), body = ok(await api.post('/batch_events', { batch: [first, { channel, name: 'e', data: 'no info' }, item('2'), first, item('4')] }));
      assert.deepEqual(body.batch.map(a => a.history_serial), [1, undefined, 3, 1, 4]);
    });
  });

  describe('history', () => {
    test('S26 the cursor is versioned, encoded JSON', async () => {
      const channel = fresh('ai');
      await inTurn(channel, 3);
      const { next_cursor: cursor } = ok(await api.history(channel, { limit: 1 })), json = JSON.parse(Buffer.from(cursor, 'base64url'));
      assert.deepEqual([json.version, json.app_id, json.channel, json.serial, json.direction], [1, demoApp.id, channel, 3, 'newest_first']);
      const other = Buffer.from(JSON.stringify({ ...json, version: 2 })).toString('base64url');
      refused(await api.history(channel, { limit: 1, cursor: other }), 400, 'invalid_input');
    });

    test('S27 S28 S29 a limit of 0 and bounds in the wrong order are refused', async () => {
      const channel = fresh('ai'), viewer = await connect();
      for (const query of [{ limit: 0 }, { start_serial: 3, end_serial: 2 }, { start_time_ms: 3, end_time_ms: 2 }]) refused(await api.history(channel, query), 400, 'invalid_input');
      await viewer.subscribe(channel);
      viewer.send('sockudo:channel_history', { channel, limit: 0 });
      assert.equal((await viewer.next(f => f.event === 'sockudo:error')).data.code, 4000);
    });

    test('S30 a cursor must match app, channel, direction and bounds', async () => {
      const channel = fresh('ai'), query = { limit: 1, start_serial: 1 };
      await inTurn(channel, 3);
      const { next_cursor: cursor } = ok(await api.history(channel, query));
      ok(await api.history(channel, { ...query, cursor }));
      const json = JSON.parse(Buffer.from(cursor, 'base64url')), forged = change => Buffer.from(JSON.stringify({ ...json, ...change })).toString('base64url');
      for (const bad of [{ cursor: forged({ app_id: 'x' }) }, { cursor: forged({ channel: 'x' }) }, { cursor, direction: 'oldest_first' }, { cursor, start_serial: 2 }])
        refused(await api.history(channel, { ...query, ...bad }), 400, 'invalid_input');
    });

    test('S31 pages carry continuity metadata', async () => {
      const channel = fresh('ai');
      await inTurn(channel, 3);
      const page = ok(await api.history(channel));
      assert.deepEqual(Object.keys(page), ['items', 'direction', 'limit', 'has_more', 'next_cursor', 'bounds', 'continuity', 'stream_state']);
      assert.deepEqual({ ...page.continuity, stream_id: 0, oldest_available_published_at_ms: 0, newest_available_published_at_ms: 0, retained_bytes: 0 },
        { stream_id: 0, oldest_available_serial: 1, newest_available_serial: 3, oldest_available_published_at_ms: 0, newest_available_published_at_ms: 0, retained_messages: 3, retained_bytes: 0, complete: true, truncated_by_retention: false });
    });

    test('S32 pages show the latest version', async () => {
      const channel = fresh('ai'), { message_serial: serial } = await api.create(channel, 'x');
      ok(await api.append(channel, serial, 'y'));
      const [item] = ok(await api.history(channel)).items;
      assert.deepEqual([item.serial, item.message.data, item.event_name, item.operation_kind], [1, 'xy', 'sockudo:message.append', 'message.append']);
    });
  });

  describe('rewind and resume', () => {
    test('S33 rewind is V2 only', async () => {
      const old = await connect(V1);
      await assert.rejects(old.subscribe(fresh('ai'), { rewind: 3 }), { code: 4300 });
    });

    test('S34 rewind needs the policy', async () => {
      const viewer = await connect(V2, { key: 'no-rewind' });
      await assert.rejects(viewer.subscribe(fresh('ai'), { rewind: 3 }), { code: 4300 });
    });

    test('S35 S38 a rewind by count goes from oldest to newest and says how far it got', async () => {
      const channel = fresh('ai'), viewer = await connect();
      await inTurn(channel, 5);
      await viewer.subscribe(channel, { rewind: 3 });
      const done = await viewer.next(f => f.event === 'sockudo:rewind_complete');
      assert.deepEqual(live(viewer, channel).map(f => f.data), ['3', '4', '5']);
      assert.deepEqual(done.data, { historical_count: 3, live_count: 0, complete: false, truncated_by_retention: false, truncated_by_limit: true });
      assert.ok(done.stream_id && done.serial === 5);
    });

    test('S36 a rewind by seconds reads by time, oldest first', async () => {
      const channel = fresh('ai'), viewer = await connect();
      await inTurn(channel, 2);
      await sleep(2100);
      await inTurn(channel, 2, 3);
      await viewer.subscribe(channel, { rewind: { seconds: 2 } });
      await viewer.next(f => f.event === 'sockudo:rewind_complete');
      assert.deepEqual(live(viewer, channel).map(f => f.data), ['3', '4']);
    });

    test('S37 live messages follow the replay', async () => {
      const channel = fresh('ai'), viewer = await connect();
      await inTurn(channel, 50);
      const publishing = publishes(channel, 50);
      await viewer.subscribe(channel, { rewind: 100 });
      await publishing;
      await until(() => live(viewer, channel).length === 100, 'all');
      const serials = live(viewer, channel).map(f => f.serial);
      assert.deepEqual(serials, Array.from({ length: 100 }, (_, i) => i + 1));
      assert.deepEqual(viewer.faults, []);
    });

    const comeBack = async (channel, positions, legacy = false) => {
      const client = await connect();
      await client.subscribe(channel);
      const from = client.frames.length;
      client.send('sockudo:resume', { [legacy ? 'channel_serials' : 'channel_positions']: { [channel]: positions } });
      return { client, answer: JSON.parse((await client.next(f => f.event === 'sockudo:resume_success', { from })).data) };
    };
    const stream = async channel => ok(await api.get(`/channels/${channel}/history/state`)).stream.stream_id;

    test('S39 resume takes channel_positions', async () => {
      const channel = fresh('ai');
      await inTurn(channel, 3);
      const { client, answer } = await comeBack(channel, { serial: 1, stream_id: await stream(channel) });
      assert.deepEqual(answer.recovered.map(r => [r.channel, r.replayed, r.position.serial]), [[channel, 2, 3]]);
      assert.deepEqual(live(client, channel).map(f => f.data), ['2', '3']);
    });

    test('S43 another stream id is stream_reset', async () => {
      const channel = fresh('ai');
      await inTurn(channel, 3);
      const { answer } = await comeBack(channel, { serial: 1, stream_id: uuid() });
      assert.deepEqual(answer.failed.map(f => f.code), ['stream_reset']);
    });

    test('S44 below the floor is position_expired', async () => {
      const channel = fresh('ai');
      await inTurn(channel, 3);
      ok(await api.post(`/channels/${channel}/history/purge`, { confirm_channel: channel, confirm_operation: 'purge', reason: 'test', mode: 'before_serial', before_serial: 3 }));
      const { answer } = await comeBack(channel, { serial: 1, stream_id: await stream(channel) });
      assert.deepEqual(answer.failed.map(f => f.code), ['position_expired']);
    });

    test('S74 S75 S76 pages until the attach and live frames after it are everything, once', async () => {
      const channel = fresh('ai'), viewer = await connect();
      await inTurn(channel, 30);
      const publishing = publishes(channel, 40);
      const attach = JSON.parse((await viewer.subscribe(channel)).data).attach_serial;
      const rows = [];
      for (let cursor; ;) {
        const from = viewer.frames.length;
        viewer.send('sockudo:channel_history', { channel, until_attach: true, limit: 10, ...(cursor ? { cursor } : {}) });
        const { data } = await viewer.next(f => f.event === 'sockudo:channel_history', { from });
        rows.push(...data.items.map(i => i.serial));
        if (!(cursor = data.next_cursor)) break;
      }
      await publishing;
      assert.ok(rows.every(serial => serial <= attach));
      await until(() => live(viewer, channel).length + rows.length >= 70, 'all');
      const creates = live(viewer, channel).map(f => f.extras.headers.sockudo_history_serial);
      assert.ok(creates.every(serial => serial > attach));
      assert.deepEqual([...rows, ...creates].sort((a, b) => a - b), Array.from({ length: 70 }, (_, i) => i + 1));
    });
  });

  describe('streams', () => {
    test('S55 the native events are known, and the legacy ones', async () => {
      const channel = fresh('ai');
      for (const name of ['ai-input', 'ai-output', 'ai-run-start', 'ai-run-suspend', 'ai-run-resume', 'ai-run-end', 'ai-cancel', 'ai-step-start', 'ai-step-end', 'ai-turn-start', 'ai-turn-end']) {
        ok(await api.publish(channel, name, 'x'));
        refused(await api.publish(fresh('plain'), name, 'x'), 403, 'ai_event_not_permitted', 104003);
      }
    });

    test('S56 transport headers are those of the registry', async () => refused(await api.publish(fresh('ai'), 'ai-output', 'x', { extras: T({ 'my-key': 'x' }) }), 400, 'ai_invalid_transport_header', 104000));

    test('S57 S60 codec headers are opaque but bounded', async () => {
      const channel = fresh('ai'), codec = map => ({ extras: { ai: { codec: map } } }), viewer = await connect();
      await viewer.subscribe(channel);
      ok(await api.publish(channel, 'ai-output', 'x', codec({ any_Thing: '{"x":1}', providerMetadata: 'm'.repeat(8192) })));
      await until(() => live(viewer, channel).length === 1, 'the event');
      assert.equal(live(viewer, channel)[0].extras.ai.codec.any_Thing, '{"x":1}');
      refused(await api.publish(channel, 'ai-output', 'x', codec({ providerMetadata: 'm'.repeat(8193) })), 413, 'ai_header_too_large', 104001);
      refused(await api.publish(channel, 'ai-output', 'x', codec({ other: 'm'.repeat(257) })), 413, 'ai_header_too_large', 104001);
      refused(await api.publish(channel, 'ai-output', 'x', { extras: T({ model: 'm'.repeat(257) }) }), 413, 'ai_header_too_large', 104001);
      ok(await api.publish(channel, 'ai-output', 'x', { extras: T({ model: 'm'.repeat(256) }) }));
    });

    test('S58 32 keys per tier, not 33', async () => {
      const keys = n => Object.fromEntries(Array.from({ length: n }, (_, i) => [`k${i}`, 'v']));
      ok(await api.publish(fresh('ai'), 'ai-output', 'x', { extras: { ai: { codec: keys(32) } } }));
      refused(await api.publish(fresh('ai'), 'ai-output', 'x', { extras: { ai: { codec: keys(33) } } }), 413, 'ai_header_too_large', 104001);
      refused(await api.publish(fresh('ai'), 'ai-output', 'x', { extras: T(keys(33)) }), 413, 'ai_header_too_large', 104001);
    });

    test('S59 keys of 64 bytes from their alphabet', async () => {
      for (const [tier, key, code] of [['transport', 'Run-Id', 104000], ['codec', 'a.b', 104000], ['codec', 'k'.repeat(65), 104001], ['transport', 'k'.repeat(65), 104001]])
        assert.equal((await api.publish(fresh('ai'), 'ai-output', 'x', { extras: { ai: { [tier]: { [key]: 'v' } } } })).body.ai_code, code, key);
      ok(await api.publish(fresh('ai'), 'ai-output', 'x', { extras: { ai: { codec: { ['k'.repeat(64)]: 'v' } } } }));
    });

    test('S61 S62 status and run-reason have their words', async () => {
      for (const status of ['streaming', 'complete', 'cancelled']) ok(await api.publish(fresh('ai'), 'ai-output', 'x', { extras: T({ status }) }));
      for (const reason of ['complete', 'cancelled', 'error']) ok(await api.publish(fresh('ai'), 'ai-run-end', 'x', { extras: T({ 'run-reason': reason }) }));
      for (const bad of [{ status: 'done' }, { 'run-reason': 'suspended' }]) refused(await api.publish(fresh('ai'), 'ai-output', 'x', { extras: T(bad) }), 400, 'ai_invalid_transport_header', 104000);
    });

    test('S69 the first append goes out at once, the next in its window', async () => {
      const channel = fresh('ai'), viewer = await connect(V2, { params: 'append_rollup_window=500' }), { message_serial: serial } = await api.create(channel, '', { extras: streaming() });
      await viewer.subscribe(channel);
      const started = Date.now();
      ok(await api.append(channel, serial, 'a'));
      await until(() => live(viewer, channel).length === 1, 'the first');
      const first = Date.now() - started;
      ok(await api.append(channel, serial, 'b'));
      await until(() => live(viewer, channel).length === 2, 'the second');
      assert.ok(first < Date.now() - started && Date.now() - started >= 450, 'the second waited for its window');
      assert.deepEqual(live(viewer, channel).map(f => f.data), ['a', 'b']);
    });

    test('S70 what is pending leaves before a terminal append', async () => {
      const channel = fresh('ai'), viewer = await connect(V2, { params: 'append_rollup_window=500' }), { message_serial: serial } = await api.create(channel, '', { extras: streaming() });
      await viewer.subscribe(channel);
      for (const part of ['a', 'b', 'c']) ok(await api.append(channel, serial, part));
      ok(await api.append(channel, serial, 'd', { extras: complete }));
      await until(() => live(viewer, channel).length === 3, 'three frames');
      assert.deepEqual(live(viewer, channel).map(f => [f.data, f.extras.ai.transport.status]), [['a', 'streaming'], ['bc', 'streaming'], ['d', 'complete']]);
    });

    test('S71 rollup drops no stored version', async () => {
      const channel = fresh('ai'), { message_serial: serial } = await api.create(channel, '', { extras: streaming() });
      for (let i = 0; i < 20; i++) ok(await api.append(channel, serial, `${i},`));
      assert.deepEqual(ok(await api.versions(channel, serial, { direction: 'oldest_first' })).items.map(i => i.data), ['', ...Array.from({ length: 20 }, (_, i) => `${i},`)]);
    });

    test('S72 streams with and without rollup come to the same', async () => {
      const channel = fresh('ai'), { message_serial: serial } = await api.create(channel, '', { extras: streaming() });
      const clients = await Promise.all(['append_rollup_window=0', 'append_rollup_window=20', 'append_rollup_window=500', 'append_mode=full'].map(params => connect(V2, { params })));
      for (const client of clients) await client.subscribe(channel, { rewind: 1 });
      for (let i = 0; i < 20; i++) ok(await api.append(channel, serial, `${i},`));
      ok(await api.append(channel, serial, 'end', { extras: cancelled }));
      const { data: wanted } = await api.latest(channel, serial);
      for (const client of clients) {
        await until(() => client.status(channel, serial) === 'cancelled', 'the end');
        assert.deepEqual([client.text(channel, serial), client.faults], [wanted, []]);
      }
    });

    test('S73 append_rollup_window is 0, 20, 40, 100 or 500', async () => {
      for (const ms of [0, 20, 40, 100, 500]) await connect(V2, { params: `append_rollup_window=${ms}` });
      for (const bad of [50, 30, 1000, 'x']) await assert.rejects(connect(V2, { params: `append_rollup_window=${bad}` }), { status: 400 });
      await connect(V1, { params: 'append_rollup_window=30' });
    });

    test('S91 S92 S93 bytes, appends and open streams have caps', async () => {
      const channel = fresh('ai'), { message_serial: long } = await api.create(channel, 'x'.repeat(4000), { extras: streaming() });
      ok(await api.append(channel, long, 'y'.repeat(96)));
      refused(await api.append(channel, long, 'z'), 413, 'payload_too_large', 40009);
      const { message_serial: many } = await api.create(channel, '', { extras: streaming() });
      for (let i = 0; i < 32; i++) ok(await api.append(channel, many, '.'));
      refused(await api.append(channel, many, '.'), 413, 'payload_too_large', 40009);
      ok(await api.update(channel, many, { data: 'still possible' }));
      for (let i = 2; i < 8; i++) await api.create(channel, '', { extras: streaming() });
      refused(await api.publish(channel, 'ai-output', '', { message_id: uuid(), extras: streaming() }), 413, 'payload_too_large', 40009);
      await api.create(channel, 'no stream', { extras: complete });
      ok(await api.append(channel, many, '', { extras: complete }).then(answer => answer.status === 413 ? api.update(channel, many, { extras: complete }) : answer));
      await api.create(channel, '', { extras: streaming() });
    });

    const client = async id => {
      const c = await connect(), userData = JSON.stringify({ id });
      c.send('sockudo:signin', { auth: userAuth(demoApp, c.socketId, userData), user_data: userData });
      await c.next(f => f.event === 'sockudo:signin_success');
      return c;
    };
    const says = async (c, event, channel, transport) => {
      const from = c.frames.length;
      c.send(event, '{}', { channel, extras: T(transport) });
      return c.next(f => f.event === 'sockudo:error' || f.event === event, { from });
    };

    test('S63 a client-id header equals the verified identity, unless the app key is trusted', async () => {
      const channel = fresh('private-ai'), anna = await client('anna');
      await anna.subscribe(channel);
      assert.equal((await says(anna, 'ai-input', channel, { 'run-client-id': 'bob' })).data.code, 104002);
      assert.equal((await says(anna, 'ai-input', channel, { 'run-client-id': '' })).data.code, 104002);
      assert.equal((await says(anna, 'ai-input', channel, { 'run-client-id': 'anna' })).event, 'ai-input');
      ok(await api.publish(channel, 'ai-input', 'x', { extras: T({ 'run-client-id': 'bob' }) }));
    });

    test('S64 clients publish ai-input and ai-cancel only', async () => {
      const channel = fresh('private-ai'), anna = await client('anna');
      await anna.subscribe(channel);
      for (const event of ['ai-input', 'ai-cancel']) assert.equal((await says(anna, event, channel, {})).event, event);
      for (const event of ['ai-output', 'ai-run-start', 'ai-run-end', 'ai-step-start']) assert.equal((await says(anna, event, channel, {})).data.code, 104003);
    });

    test('S88 a mutation that is not permitted is 93002, with its text', async () => {
      const channel = fresh('private-ai'), nobody = await connect(), { message_serial: serial } = await api.create(channel, 'x');
      const answer = await api.append(channel, serial, 'y', { socket_id: nobody.socketId });
      assert.deepEqual(answer.body, { error: 'mutations not permitted on this channel', code: 'mutable_not_permitted', ai_code: 93002, status: 403 });
    });

    test('S94 a terminal status stays in the aggregate', async () => {
      const channel = fresh('ai'), { message_serial: serial } = await api.create(channel, '', { extras: streaming() });
      ok(await api.append(channel, serial, 'end', { extras: complete }));
      assert.equal((await api.latest(channel, serial)).extras.ai.transport.status, 'complete');
    });

    test('S99 S100 model is any text but an empty one, and may be left out', async () => {
      const channel = fresh('ai');
      refused(await api.publish(channel, 'ai-output', 'x', { extras: T({ model: '' }) }), 400, 'ai_invalid_transport_header', 104000);
      ok(await api.publish(channel, 'ai-output', 'x', { extras: T({ model: 'any model, at all' }) }));
      ok(await api.publish(channel, 'ai-output', 'x', { extras: T({ 'run-id': 'r' }) }));
    });
  });
});

describe('conformance without AI Transport', () => {
  const held = oneServer({ before, after }, { config: { ai_transport: { enabled: false }, connection_recovery: { enabled: true } } });
  let api;
  before(() => { api = new Api(held.server, demoApp); });
  after(() => api.close());

  test('S53 S54 it can be left out as a whole, and then nothing of it is checked', async () => {
    const channel = fresh('ai'), { message_serial: serial } = await api.create(channel, 'a', { extras: { ai: { transport: { 'no-such-key': 'x' } } } });
    const answer = await api.append(channel, serial, 'b', { extras: { ai: { transport: { status: 'whatever' } } } });
    assert.equal(answer.status, 200, answer.text);
    assert.ok(!('ai' in (await api.get(`/channels/${channel}`)).body));
  });
});

/* What a V1 client is sent, socket ids aside, in a story with presence, client events, publishes and a mutable message. */
async function v1Story(config) {
  const server = await Server.start({ config }), api = new Api(server), app = server.apps[0];
  const lines = [], raw = (name, text) => lines.push(`${name} ${text.toString().replace(/\d+\.\d+(?=\\")/g, 'ID')}`);
  try {
    const [a, b] = await Promise.all([V1.connect(server), V1.connect(server)]);
    for (const [name, client] of [['a', a], ['b', b]]) { const take = client.take.bind(client); client.take = text => { raw(name, text); take(text); }; }
    for (const client of [a, b]) await client.subscribe('presence-story', { channel_data: JSON.stringify({ user_id: client === a ? 'ua' : 'ub', user_info: { n: 1 } }) });
    await a.subscribe('ai-story');
    a.send('client-typing', { x: [1, 2.50, '\u00e9'] }, { channel: 'presence-story' });
    await b.next(f => f.event === 'client-typing');
    const serial = (await api.create('ai-story', '{"k": 1}', { name: 'ai-output', tags: { a: 'b' }, extras: streaming() })).message_serial;
    if (serial) await api.append('ai-story', serial, 'more');
    await api.publish('ai-story', 'plain', 'text \u2028 \"q\"', { extras: { headers: { h: 1 } } });
    await a.next(f => f.event === 'plain');
    await api.publish('presence-story', 'bye', 'x');
    await b.next(f => f.event === 'bye');
    b.unsubscribe('presence-story');
    await a.next(f => f.event === 'pusher_internal:member_removed');
    await Promise.all([a.settle(), b.settle()]);
    await Promise.all([a.close(), b.close()]);
    return lines;
  } finally { api.close(); await server.stop(); }
}

test('S89 what V1 clients are sent is the same, byte for byte, with all of V2 on or off', async () => {
  const everything = await v1Story({ connection_recovery: { enabled: true } });
  const nothing = await v1Story({ ai_transport: { enabled: false }, versioned_messages: { enabled: false }, history: { enabled: false }, connection_recovery: { enabled: false } });
  const of = (lines, name) => lines.filter(line => line.startsWith(`${name} `));
  for (const name of ['a', 'b']) assert.deepEqual(of(everything, name), of(nothing, name));
  assert.ok(of(everything, 'a').includes('a {"event":"plain","channel":"ai-story","data":"text \u2028 \\"q\\""}'));
});

/* Push is a later stage (chapter 4, 7.3): what matters here is that nobody is left in doubt. */
test('S49 S50 S51 S52 P1 P2 P3 P4 P5 push says that it is not built', async () => {
  const server = await Server.start(), api = new Api(server, demoApp);
  try {
    for (const [method, route] of [['POST', 'deviceRegistrations'], ['POST', 'channelSubscriptions'], ['POST', 'publish'], ['GET', 'deadLetters']])
      assert.equal((await api.call(method, `/push/${route}`, method === 'POST' ? { body: {} } : {})).status, 501, route);
  } finally { api.close(); await server.stop(); }
  await assert.rejects(Server.start({ config: { push_rules: [{ channel_pattern: '*', event_filter: ['e'] }] } }), /push_rules/);
});

test('every row of the checklist has a test that bears its number', () => {
  const named = new Set(), folders = ['test/e2e', 'test/unit/store', 'test/unit/ai', 'test/unit/session', 'test/unit/app'];
  for (const folder of folders)
    for (const file of fs.readdirSync(path.join(root, folder)).filter(f => /_test\.c$|\.test\.mjs$/.test(f)))
      for (const line of fs.readFileSync(path.join(root, folder, file), 'utf8').split('\n'))
        if (/test\(|\['S|^static void|T\(/.test(line)) for (const [row] of line.matchAll(/(?<![A-Za-z0-9])(?:S\d{1,3}|P[1-5])(?![A-Za-z0-9])/g)) named.add(row);
  const rows = [...Array.from({ length: 100 }, (_, i) => `S${i + 1}`), 'P1', 'P2', 'P3', 'P4', 'P5'];
  assert.deepEqual(rows.filter(row => !named.has(row)), []);
});
