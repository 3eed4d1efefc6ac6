// SPDX-License-Identifier: Apache-2.0
//
// messages.test.mjs - versioned messages, history, rewind, resume (chapter 3, section 9) and AI channels (chapter 4, section 12).
// [3.n] and [4.n] are the cases of those sections. All of it over the embedded store and over PostgreSQL.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { Api, cancelled, complete, streaming } from './lib/api.mjs';
import { Postgres } from './lib/postgres.mjs';
import { appWith, demoApp, fresh, oneServer, sleep, until } from './lib/server.mjs';
import { V1, V2 } from './lib/v2.mjs';

const uuid = () => crypto.randomUUID();
for (const backend of ['rocksdb', 'postgres']) describe(`messages on ${backend}`, () => {
  let postgres;
  const held = oneServer({ before, after }, async () => ({
    apps: [demoApp, appWith({ history: { max_messages_per_channel: 3 } }, { id: '2', key: 'three' }), appWith({ history: { max_bytes_per_channel: 10 } }, { id: '3', key: 'tiny' })],
    config: { connection_recovery: { enabled: true }, ...backend === 'postgres' && (postgres = await Postgres.start()).config() },
  }));
  let api;
  const open = [];
  const connect = async (kind = V2, options) => { const c = await kind.connect(held.server, options); open.push(c); return c; };
  before(() => { api = new Api(held.server, demoApp); });
  after(async () => { await Promise.all(open.map(c => c.close())); api.close(); });
  after(() => postgres?.stop());

  const noFaults = (...clients) => clients.forEach(c => assert.deepEqual(c.faults, []));
  const ok = answer => { assert.equal(answer.status, 200, answer.text); return answer.body; };
  const refusedWith = (answer, status, code, aiCode) => {
    assert.deepEqual([answer.status, answer.body.code, answer.body.ai_code], [status, code, aiCode], answer.text);
    assert.equal(answer.body.status, status);
  };

  describe('versioned messages', () => {
    test('a create and two appends are one message, three versions and one row [3.1]', async () => {
      const channel = fresh('ai'), { message_serial: serial } = await api.create(channel, '');
      for (const part of ['a', 'b']) ok(await api.append(channel, serial, part));
      assert.equal((await api.latest(channel, serial)).data, 'ab');
      const versions = ok(await api.versions(channel, serial, { direction: 'oldest_first' }));
      assert.deepEqual(versions.items.map(i => i.data), ['', 'a', 'b']);
      assert.deepEqual(versions.items.map(i => i.action), ['create', 'append', 'append']);
      assert.equal(versions.has_more, false);
      assert.ok(!('next_cursor' in versions));
      const page = ok(await api.history(channel));
      assert.equal(page.items.length, 1);
      assert.equal(page.items[0].event_name, 'sockudo:message.append');
      assert.equal(page.items[0].message.data, 'ab');
      assert.equal(page.items[0].message.extras.headers.sockudo_action, 'message.update');
      assert.equal(page.items[0].message.action, 'append');
    });

    test('one stream id, everywhere: acknowledgement, live frames, pages, resume', async () => {
      const channel = fresh('ai'), client = await connect(), ack = await client.subscribe(channel);
      const { message_serial: serial } = await api.create(channel, '');
      ok(await api.append(channel, serial, 'a'));
      const live = await client.next(f => f.event === 'sockudo:message.append'), page = ok(await api.history(channel));
      const { stream } = ok(await api.get(`/channels/${channel}/history/state`));
      client.cut();
      ok(await api.append(channel, serial, 'b'));
      const { recovered } = await client.reconnect();
      const ids = [ack.stream_id, live.stream_id, page.items[0].stream_id, page.continuity.stream_id, stream.stream_id, recovered[0].position.stream_id];
      assert.deepEqual([...new Set(ids)], [ack.stream_id]);
      assert.equal(client.text(channel, serial), 'ab');
    });

    test('answers carry exactly the fields that are promised', async () => {
      const channel = fresh('ai'), created = await api.create(channel, 'x');
      assert.deepEqual(Object.keys(created).sort(), ['acknowledgement_id', 'delivery_serial', 'history_serial', 'message_serial', 'version_serial']);
      assert.deepEqual([created.acknowledgement_id, created.history_serial, created.delivery_serial], [created.message_serial, 1, 1]);
      assert.equal(created.version_serial, created.message_serial);
      const body = ok(await api.append(channel, created.message_serial, 'y'));
      assert.deepEqual({ ...body, version_serial: '' }, { channel, message_serial: created.message_serial, action: 'append', accepted: true, version_serial: '', history_serial: 1, delivery_serial: 2, status: 'applied' });
      assert.ok(body.version_serial > created.version_serial);
      const item = await api.latest(channel, created.message_serial);
      assert.deepEqual([item.event, item.channel, item.serial, item.delivery_serial, item.history_serial, item.version.serial, item.name],
        ['sockudo:message.append', channel, 2, 2, 1, body.version_serial, 'ai-output']);
      assert.ok(item.version.timestamp_ms > 1.6e12);
      assert.ok(!('message_id' in item) && !('stream_id' in item));
    });

    test('an append to an object is refused and leaves no hole [3.2]', async () => {
      const channel = fresh('ai'), { message_serial: serial } = await api.create(channel, 'text');
      ok(await api.update(channel, serial, { data: { a: 1 } }));
      const refusal = await api.append(channel, serial, 'x');
      refusedWith(refusal, 400, 'invalid_input');
      assert.match(refusal.body.error, /^append requires string message data/);
      assert.equal(ok(await api.update(channel, serial, { data: 'again' })).delivery_serial, 3);
    });

    test('an empty append is only for the end of a stream [3.3] [4.19]', async () => {
      const channel = fresh('ai'), client = await connect();
      await client.subscribe(channel);
      const one = await api.create(channel, '', { extras: streaming() }), two = await api.create(channel, '', { extras: streaming() });
      refusedWith(await api.append(channel, one.message_serial, ''), 400, 'invalid_input');
      refusedWith(await api.append(channel, one.message_serial, '', { extras: streaming() }), 400, 'invalid_input');
      ok(await api.append(channel, one.message_serial, '', { extras: complete }));
      ok(await api.append(channel, two.message_serial, '', { extras: { ai: { codec: { status: 'complete' } } } }));
      assert.equal(ok(await api.get(`/channels/${channel}`)).ai.active_streams, 0);
      const last = await client.next(f => f.event === 'sockudo:message.append' && f.extras.headers.sockudo_message_serial === one.message_serial);
      assert.deepEqual([last.data, last.extras.ai.transport.status], ['', 'complete']);
    });

    test('after the end an AI channel refuses appends and takes updates; other channels take both [3.4] [4.20]', async () => {
      const ai = fresh('ai'), plain = fresh();
      const one = await api.create(ai, '', { extras: streaming() });
      const last = { op_id: 'end', extras: complete };
      ok(await api.append(ai, one.message_serial, 'x', last));
      const refusal = await api.append(ai, one.message_serial, 'y');
      refusedWith(refusal, 400, 'invalid_input');
      assert.equal(refusal.body.error, 'cannot append to a terminal message');
      assert.equal(ok(await api.append(ai, one.message_serial, 'x', last)).status, 'duplicate');
      ok(await api.update(ai, one.message_serial, { data: 'z' }));
      const two = await api.create(plain, '', { name: 'note' });
      ok(await api.append(plain, two.message_serial, 'x'));
      ok(await api.append(plain, two.message_serial, 'y'));
      assert.equal((await api.latest(plain, two.message_serial)).data, 'xy');
    });

    test('an empty delete keeps the data, and an append revives the message [3.5]', async () => {
      const channel = fresh('ai'), { message_serial: serial } = await api.create(channel, 'a');
      assert.equal(ok(await api.remove(channel, serial)).action, 'delete');
      const gone = await api.latest(channel, serial);
      assert.deepEqual([gone.action, gone.data, gone.extras.headers.sockudo_action], ['delete', 'a', 'message.delete']);
      ok(await api.append(channel, serial, 'x'));
      assert.equal((await api.latest(channel, serial)).data, 'ax');
    });

    test('update replaces, clears and keeps as told [3.6]', async () => {
      const channel = fresh('ai'), { message_serial: serial } = await api.create(channel, 'a');
      ok(await api.update(channel, serial, { name: '' }));
      assert.equal((await api.latest(channel, serial)).name, '');
      ok(await api.update(channel, serial, { clear_fields: ['name'] }));
      assert.ok(!('name' in await api.latest(channel, serial)));
      for (const bad of [{ name: 'x', clear_fields: ['name'] }, { clear_fields: ['data', 'data'] }, { data: null }, {}, { data: 'x', clear_fields: ['data'] }])
        refusedWith(await api.update(channel, serial, bad), 400, 'invalid_input');
      assert.equal((await api.latest(channel, serial)).data, 'a');
    });

    test('new extras replace the old ones as a whole, and the five headers are always the item\'s own [3.7]', async () => {
      const channel = fresh('ai'), client = await connect();
      await client.subscribe(channel);
      const { message_serial: serial, history_serial } = await api.create(channel, 'a', { extras: { headers: { tenant: 'x', sockudo_action: 'lie' } } });
      const { version_serial } = ok(await api.update(channel, serial, { data: 'b', extras: { headers: { other: 1 } } }));
      const frame = await client.next(f => f.event === 'sockudo:message.update'), item = await api.latest(channel, serial);
      for (const { extras } of [frame, item]) {
        const { sockudo_version_timestamp_ms: stamp, ...headers } = extras.headers;
        assert.deepEqual(headers, { other: 1, sockudo_action: 'message.update', sockudo_message_serial: serial, sockudo_version_serial: version_serial, sockudo_history_serial: history_serial });
        assert.equal(typeof stamp, 'number');
      }
      ok(await api.append(channel, serial, 'c'));
      const live = await client.next(f => f.event === 'sockudo:message.append');
      assert.equal(item.data + live.data, (await api.latest(channel, serial)).data);
    });

    test('fifty equal operations at once are applied once; another payload is a conflict [3.8]', async () => {
      const channel = fresh('ai'), client = await connect(V2, { params: 'append_rollup_window=0' });
      await client.subscribe(channel);
      const { message_serial: serial } = await api.create(channel, '');
      const answers = (await Promise.all(Array.from({ length: 50 }, () => api.append(channel, serial, 'once', { op_id: 'op' })))).map(ok);
      assert.equal(answers.filter(a => a.status === 'applied').length, 1);
      assert.equal(answers.filter(a => a.status === 'duplicate').length, 49);
      assert.equal(new Set(answers.map(a => a.version_serial)).size, 1);
      refusedWith(await api.append(channel, serial, 'other', { op_id: 'op' }), 400, 'invalid_input', 104006);
      assert.equal(ok(await api.update(channel, serial, { data: 'upd', op_id: 'op' })).status, 'applied');
      await client.next(f => f.event === 'sockudo:message.update');
      assert.equal(client.events(channel).filter(e => e === 'sockudo:message.append').length, 1);
      noFaults(client);
    });

    test('the bounds of op_id and serials [3.10]', async () => {
      const channel = fresh('ai'), { message_serial: serial } = await api.create(channel, '');
      ok(await api.append(channel, serial, 'x', { op_id: 'o'.repeat(64) }));
      for (const op_id of ['o'.repeat(65), '']) {
        const refusal = await api.append(channel, serial, 'x', { op_id });
        refusedWith(refusal, 400, 'invalid_input');
        assert.equal(refusal.body.error, 'op_id must be 1..=64 bytes');
      }
      refusedWith(await api.get(api.path(channel, 's'.repeat(128))), 404, 'not_found');
      refusedWith(await api.get(api.path(channel, 's'.repeat(129))), 400, 'invalid_input');
      refusedWith(await api.get(api.path(channel, 'a%20b')), 400, 'invalid_input');
      refusedWith(await api.append(channel, 's'.repeat(128), 'x'), 404, 'not_found');
    });

    test('bodies of the wrong shape are 422, rules that are broken 400', async () => {
      const channel = fresh('ai'), { message_serial: serial } = await api.create(channel, '');
      refusedWith(await api.post(api.path(channel, serial, '/append'), {}), 422, 'unprocessable_body');
      refusedWith(await api.post(api.path(channel, serial, '/append'), { data: 5 }), 422, 'unprocessable_body');
      refusedWith(await api.post(api.path(channel, serial, '/append'), '{'), 400, 'invalid_json');
    });

    test('V1 sees the create as a plain event and nothing after it [3.13] [4.29]', async () => {
      const channel = fresh('ai'), plain = fresh(), old = await connect(V1), young = await connect();
      for (const c of [old, young]) await c.subscribe(channel);
      await old.subscribe(plain);
      const { message_serial: serial } = await api.create(channel, '{"a":1}', { extras: streaming() });
      ok(await api.append(channel, serial, 'b'));
      ok(await api.update(channel, serial, { data: 'c' }));
      ok(await api.remove(channel, serial));
      await young.next(f => f.event === 'sockudo:message.delete');
      await api.publish(channel, 'after', '1');
      await old.next(f => f.event === 'after');
      assert.deepEqual(old.of(channel).slice(1), [{ event: 'ai-output', channel, data: '{"a":1}' }, { event: 'after', channel, data: '1' }]);
      await api.publish(plain, 'ai-like', '{"a":1}');
      const ordinary = await old.next(f => f.event === 'ai-like');
      assert.deepEqual(Object.keys(ordinary), ['event', 'channel', 'data']);
    });

    test('delta sockets get the fragment, full sockets the whole text, at the same position [3.14] [4.29]', async () => {
      const channel = fresh('ai'), delta = await connect(), full = await connect(V2, { params: 'append_mode=full' });
      for (const c of [delta, full]) await c.subscribe(channel);
      const { message_serial: serial } = await api.create(channel, 'start ', { extras: streaming() });
      let text = 'start ';
      for (let i = 0; i < 40; i++) {
        ok(await api.append(channel, serial, `t${i} `));
        text += `t${i} `;
        if (i % 7 === 0) await sleep(30);
      }
      ok(await api.append(channel, serial, 'end', { extras: complete }));
      text += 'end';
      await until(() => delta.status(channel, serial) === 'complete' && full.status(channel, serial) === 'complete', 'the end');
      assert.equal(delta.text(channel, serial), text);
      assert.equal(full.text(channel, serial), text);
      const seen = client => client.of(channel).filter(f => f.event === 'sockudo:message.append');
      let joined = 'start ';
      const at = new Map(seen(delta).map(f => { joined += f.data; return [f.serial, joined]; }));
      for (const frame of seen(full)) if (at.has(frame.serial)) assert.equal(frame.data, at.get(frame.serial));
      assert.deepEqual(seen(full).map(f => f.serial), seen(delta).map(f => f.serial));
      noFaults(delta, full);
    });

    test('a full subscriber who comes in the middle gets whole text too', async () => {
      const channel = fresh('ai'), { message_serial: serial } = await api.create(channel, '', { extras: streaming() });
      for (const part of ['one ', 'two ']) ok(await api.append(channel, serial, part));
      const full = await connect(V2, { params: 'append_mode=full' });
      await full.subscribe(channel);
      ok(await api.append(channel, serial, 'three'));
      const frame = await full.next(f => f.event === 'sockudo:message.append');
      assert.equal(frame.data, 'one two three');
    });

    test('a versions cursor need not exist [3.16]', async () => {
      const channel = fresh('ai'), { message_serial: serial } = await api.create(channel, '0');
      for (const part of ['1', '2', '3']) ok(await api.append(channel, serial, part));
      const all = ok(await api.versions(channel, serial, { direction: 'oldest_first' })).items;
      const between = `${all[1].version.serial}x`;
      assert.deepEqual(ok(await api.versions(channel, serial, { direction: 'oldest_first', cursor: between })).items.map(i => i.data), ['2', '3']);
      assert.deepEqual(ok(await api.versions(channel, serial, { cursor: between })).items.map(i => i.data), ['1', '0']);
      const first = ok(await api.versions(channel, serial, { limit: 3 }));
      assert.deepEqual([first.items.map(i => i.data), first.has_more, first.limit, first.direction], [['3', '2', '1'], true, 3, 'newest_first']);
      assert.deepEqual(ok(await api.versions(channel, serial, { limit: 3, cursor: first.next_cursor })).items.map(i => i.data), ['0']);
      refusedWith(await api.versions(channel, serial, { limit: 0 }), 400, 'invalid_input');
      refusedWith(await api.versions(channel, serial, { direction: 'backwards' }), 400, 'invalid_input');
      refusedWith(await api.versions(channel, 'unknown'), 404, 'not_found');
    });

    test('numbers, escapes and key order of extras and objects come back as they were sent', async () => {
      const channel = fresh('ai'), { message_serial: serial } = await api.create(channel, 'x');
      const body = '{"data":{"z":1.50,"a":12345678901234567890,"t":"\\u00e9"},"extras":{"x-own":{"n":1e2}}}';
      ok(await api.post(api.path(channel, serial, '/update'), body));
      const { text } = await api.get(api.path(channel, serial));
      assert.match(text, /"data":\{"z":1\.50,"a":12345678901234567890,"t":"\\u00e9"\}/);
      assert.match(text, /"x-own":\{"n":1e2\}/);
    });
  });

  describe('history', () => {
    const fill = async (channel, n, who = api) => { for (let i = 1; i <= n; i++) ok(await who.publish(channel, 'n', String(i))); };
    const numbers = page => page.items.map(i => i.message.data);

    test('limits and directions [3.17]', async () => {
      const channel = fresh();
      await fill(channel, 3);
      refusedWith(await api.history(channel, { limit: 0 }), 400, 'invalid_input');
      assert.equal(ok(await api.history(channel, { limit: 5000 })).limit, 100);
      assert.deepEqual(numbers(ok(await api.history(channel, { direction: 'FORWARDS' }))), ['1', '2', '3']);
      assert.deepEqual(numbers(ok(await api.history(channel))), ['3', '2', '1']);
      refusedWith(await api.history(channel, { direction: 'sideways' }), 400, 'invalid_input');
      refusedWith(await api.history(channel, { limit: 'abc' }), 400, 'invalid_query');
    });

    test('a page has every key, and an unknown channel is an empty complete page', async () => {
      const page = ok(await api.history(fresh()));
      assert.deepEqual(Object.keys(page), ['items', 'direction', 'limit', 'has_more', 'next_cursor', 'bounds', 'continuity', 'stream_state']);
      assert.deepEqual([page.items, page.continuity.complete, page.next_cursor], [[], true, null]);
    });

    test('pages of two walk five rows in both directions without a gap', async () => {
      const channel = fresh();
      await fill(channel, 5);
      for (const [direction, expected] of [['oldest_first', ['1', '2', '3', '4', '5']], ['newest_first', ['5', '4', '3', '2', '1']]]) {
        const got = [];
        for (let cursor; ;) {
          const page = ok(await api.history(channel, { limit: 2, direction, ...(cursor ? { cursor } : {}) }));
          got.push(...numbers(page));
          assert.equal(page.has_more, got.length < 5);
          if (!page.has_more) break;
          cursor = page.next_cursor;
          assert.match(cursor, /^[A-Za-z0-9_-]+$/);
        }
        assert.deepEqual(got, expected);
      }
      assert.deepEqual(numbers(ok(await api.history(channel, { direction: 'oldest_first', start_serial: 2, end_serial: 4 }))), ['2', '3', '4']);
      refusedWith(await api.history(channel, { start_serial: 4, end_serial: 2 }), 400, 'invalid_input');
      refusedWith(await api.history(channel, { start: 20, end: 10 }), 400, 'invalid_input');
    });

    test('a cursor belongs to its request [3.18]', async () => {
      const channel = fresh(), other = fresh();
      await fill(channel, 4);
      await fill(other, 4);
      const { next_cursor: cursor } = ok(await api.history(channel, { limit: 2 }));
      const says = async (where, query, text) => {
        const refusal = await api.history(where, query);
        refusedWith(refusal, 400, 'invalid_input');
        assert.match(refusal.body.error, text);
      };
      await says(other, { cursor }, /channel does not match/);
      await says(channel, { cursor, direction: 'oldest_first' }, /direction does not match/);
      await says(channel, { cursor, end_serial: 9 }, /bounds do not match/);
      await says(channel, { cursor: 'x'.repeat(16385) }, /exceeds 16 KiB/);
      await says(channel, { cursor: '%%%' }, /Invalid history cursor/);
      const version2 = Buffer.from(JSON.stringify({ ...JSON.parse(Buffer.from(cursor, 'base64url')), version: 2 })).toString('base64url');
      await says(channel, { cursor: version2 }, /Unsupported history cursor version: 2/);
      ok(await api.post(`/channels/${channel}/history/purge`, { confirm_channel: channel, confirm_operation: 'purge', mode: 'before_serial', before_serial: 4, reason: 'test' }));
      await says(channel, { cursor }, /points before retained history/);
      ok(await api.post(`/channels/${channel}/history/reset`, { confirm_channel: channel, confirm_operation: 'reset', reason: 'test' }));
      await says(channel, { cursor }, /channel stream changed/);
    });

    test('a kept window of three of five says so [3.19]', async () => {
      const three = new Api(held.server, held.server.apps[1]), channel = fresh();
      await fill(channel, 5, three);
      const page = ok(await three.history(channel, { direction: 'oldest_first' }));
      assert.deepEqual(numbers(page), ['3', '4', '5']);
      assert.deepEqual([page.continuity.oldest_available_serial, page.continuity.newest_available_serial, page.continuity.truncated_by_retention], [3, 5, true]);
      assert.equal(ok(await three.history(channel, { start_serial: 3 })).continuity.truncated_by_retention, false);
      three.close();
    });

    test('a window smaller than one payload keeps nothing and still counts [3.19]', async () => {
      const tiny = new Api(held.server, held.server.apps[2]), channel = fresh();
      const serials = [];
      for (let i = 0; i < 3; i++) serials.push(ok(await tiny.publish(channel, 'n', 'some data', { message_id: uuid() })).channels[channel].history_serial);
      assert.deepEqual(serials, [1, 2, 3]);
      assert.deepEqual(numbers(ok(await tiny.history(channel))), []);
      tiny.close();
    });

    test('purge and reset do what they say, and only when confirmed [3.20]', async () => {
      const channel = fresh(), purge = more => api.post(`/channels/${channel}/history/purge`, { confirm_channel: channel, confirm_operation: 'purge', reason: 'test', ...more });
      await fill(channel, 6);
      const { body } = await purge({ mode: 'before_serial', before_serial: 5 });
      assert.deepEqual([body.ok, body.operation, body.purged_messages, body.mode, body.before_serial], [true, 'purge', 4, 'before_serial', 5]);
      assert.deepEqual(numbers(ok(await api.history(channel, { direction: 'oldest_first' }))), ['5', '6']);
      ok(await purge({ mode: 'all' }));
      assert.equal(ok(await api.publish(channel, 'n', '7', { message_id: uuid() })).channels[channel].history_serial, 7);
      const before = ok(await api.get(`/channels/${channel}/history/state`)).stream;
      assert.equal(before.next_serial, 8);
      refusedWith(await api.post(`/channels/${channel}/history/reset`, { confirm_channel: channel.toUpperCase(), confirm_operation: 'reset', reason: 'test' }), 400, 'invalid_input');
      refusedWith(await api.post(`/channels/${channel}/history/reset`, { confirm_channel: channel, confirm_operation: 'reset' }), 422, 'unprocessable_body');
      refusedWith(await purge({ mode: 'before_serial' }), 400, 'invalid_input');
      refusedWith(await purge({ mode: 'all', before_serial: 3 }), 400, 'invalid_input');
      refusedWith(await purge({ mode: 'all', reason: ' ' }), 400, 'invalid_input');
      const reset = ok(await api.post(`/channels/${channel}/history/reset`, { confirm_channel: channel, confirm_operation: 'reset', reason: 'test', requested_by: 'me' }));
      assert.equal(reset.previous_stream_id, before.stream_id);
      assert.notEqual(reset.new_stream_id, before.stream_id);
      assert.equal(ok(await api.publish(channel, 'n', '1', { message_id: uuid() })).channels[channel].history_serial, 1);
    });

    test('an ephemeral message takes no row, no serial, no replay [3.36]', async () => {
      const channel = fresh(), client = await connect();
      await client.subscribe(channel);
      ok(await api.publish(channel, 'lasting', '1'));
      ok(await api.publish(channel, 'passing', '2', { extras: { ephemeral: true } }));
      ok(await api.publish(channel, 'lasting', '3'));
      const passing = await client.next(f => f.event === 'passing');
      assert.equal(passing.serial, undefined);
      await until(() => client.of(channel).length === 4);
      assert.deepEqual(client.of(channel).filter(f => f.event === 'lasting').map(f => f.serial), [1, 2]);
      assert.deepEqual(numbers(ok(await api.history(channel, { direction: 'oldest_first' }))), ['1', '3']);
    });
  });

  describe('rewind', () => {
    test('of two from five shows the last two and says there were more [3.21]', async () => {
      const channel = fresh(), client = await connect(), all = await connect();
      for (let i = 1; i <= 5; i++) await api.publish(channel, 'n', `v${i}`);
      const ack = await client.subscribe(channel, { rewind: 2 });
      assert.deepEqual([JSON.parse(ack.data).attach_serial, ack.serial], [5, 5]);
      const done = await client.next(f => f.event === 'sockudo:rewind_complete');
      assert.deepEqual(client.of(channel).filter(f => f.event === 'n').map(f => f.data), ['v4', 'v5']);
      assert.deepEqual([done.data.historical_count, done.data.live_count, done.serial, done.stream_id], [2, 0, 5, ack.stream_id]);
      await all.subscribe(channel, { rewind: 5 });
      assert.equal((await all.next(f => f.event === 'sockudo:rewind_complete')).data.complete, true);
    });

    test('takes its spellings, and refuses what is none [3.22]', async () => {
      const channel = fresh();
      for (let i = 1; i <= 5; i++) await api.publish(channel, 'n', `v${i}`);
      for (const rewind of [3, '3', { count: 3 }]) {
        const client = await connect();
        await client.subscribe(channel, { rewind });
        assert.equal((await client.next(f => f.event === 'sockudo:rewind_complete')).data.historical_count, 3, JSON.stringify(rewind));
      }
      const client = await connect();
      await client.subscribe(channel, { rewind: { seconds: 60 } });
      assert.equal((await client.next(f => f.event === 'sockudo:rewind_complete')).data.historical_count, 5);
      for (const rewind of [0, -1, 'x', {}]) {
        const other = await connect();
        await assert.rejects(other.subscribe(channel, { rewind }), { code: 4000 }, JSON.stringify(rewind));
      }
      const old = await connect(V1);
      await assert.rejects(old.subscribe(channel, { rewind: 3 }), { code: 4300 });
    });

    test('onto a message that grows every millisecond gives the whole text, again and again [3.23] [3.24]', { timeout: 60_000 }, async () => {
      const channel = fresh('ai'), { message_serial: serial } = await api.create(channel, '', { extras: streaming() });
      let growing = true, text = '';
      const publisher = (async () => {
        for (let i = 0; growing; i++) { ok(await api.append(channel, serial, `${i},`)); text += `${i},`; }
        ok(await api.append(channel, serial, 'end', { extras: complete }));
        text += 'end';
      })();
      const joiners = [];
      for (let i = 0; i < 20; i++) {
        const client = await connect(V2, { params: ['', 'append_rollup_window=0', 'append_mode=full', 'append_rollup_window=100'][i % 4] });
        await client.subscribe(channel, { rewind: 20 });
        joiners.push(client);
        await sleep(15);
      }
      growing = false;
      await publisher;
      for (const client of joiners) await until(() => client.status(channel, serial) === 'complete', `the end at ${client.params}`);
      for (const client of joiners) assert.equal(client.text(channel, serial), text, client.params);
      noFaults(...joiners);
    });
  });

  describe('resume', () => {
    test('from position 0 of a virgin channel finds everything [3.26]', async () => {
      const channel = fresh(), client = await connect();
      const ack = await client.subscribe(channel);
      assert.equal(ack.serial, 0);
      client.cut();
      for (const data of ['a', 'b']) await api.publish(channel, 'n', data);
      const { recovered, failed } = await client.reconnect();
      assert.deepEqual(failed, []);
      assert.deepEqual([recovered[0].channel, recovered[0].replayed, recovered[0].position.serial], [channel, 2, 2]);
      assert.deepEqual(client.of(channel).filter(f => f.event === 'n').map(f => [f.data, f.serial]), [['a', 1], ['b', 2]]);
      noFaults(client);
    });

    test('at the head replays nothing, ahead of it cannot be proven [3.27]', async () => {
      const channel = fresh(), client = await connect();
      await client.subscribe(channel);
      await api.publish(channel, 'n', '1');
      await client.next(f => f.event === 'n');
      client.cut();
      const { recovered } = await client.reconnect();
      assert.deepEqual([recovered[0].replayed, recovered[0].position], [0, null]);
      client.cut();
      client.positions.get(channel).serial = 2;
      const { failed } = await client.reconnect();
      assert.deepEqual([failed[0].channel, failed[0].code], [channel, 'continuity_unverifiable']);
      const failure = client.find(f => f.event === 'sockudo:resume_failed');
      assert.equal(JSON.parse(failure.data).channel, channel);
    });

    test('two thousand appends behind come back in few frames [3.28]', { timeout: 60_000 }, async () => {
      const channel = fresh('ai'), client = await connect();
      await client.subscribe(channel);
      const { message_serial: serial } = await api.create(channel, '', { extras: streaming() });
      await client.next(f => f.event === 'ai-output');
      client.cut();
      let text = '';
      for (let i = 0; i < 2000; i++) { text += `${i} `; ok(await api.append(channel, serial, `${i} `)); }
      const { recovered, failed } = await client.reconnect();
      assert.deepEqual(failed, []);
      assert.ok(recovered[0].replayed <= 100, `${recovered[0].replayed} frames`);
      assert.equal(client.text(channel, serial), text);
      ok(await api.append(channel, serial, 'more'));
      await until(() => client.text(channel, serial) === `${text}more`);
      noFaults(client);
    });

    test('more ordinary messages behind than the window is position_expired, exactly the window is not [3.28]', async () => {
      const channel = fresh(), other = fresh(), client = await connect();
      await client.subscribe(channel);
      await client.subscribe(other);
      client.cut();
      await Promise.all(Array.from({ length: 100 }, (_, i) => api.publish(channel, 'n', `${i}`)));
      await Promise.all(Array.from({ length: 101 }, (_, i) => api.publish(other, 'n', `${i}`)));
      const { recovered, failed } = await client.reconnect();
      assert.deepEqual([recovered.map(r => [r.channel, r.replayed]), failed.map(f => [f.channel, f.code, f.reason])], [[[channel, 100]], [[other, 'position_expired', 'recovery_window_exceeded']]]);
      assert.equal(client.of(other).filter(f => f.event === 'n').length, 0);
    });

    test('of three channels one expired: one failure, two recovered, one answer [3.29] [3.34]', async () => {
      const channels = [fresh(), fresh(), fresh()], client = await connect();
      for (const channel of channels) { await client.subscribe(channel); await api.publish(channel, 'n', '1'); }
      await client.next(f => f.event === 'n' && f.channel === channels[2]);
      client.cut();
      for (const channel of channels) await api.publish(channel, 'n', '2');
      const from = client.frames.length;
      const { new_stream_id } = ok(await api.post(`/channels/${channels[1]}/history/reset`, { confirm_channel: channels[1], confirm_operation: 'reset', reason: 'test' }));
      const { recovered, failed } = await client.reconnect();
      assert.deepEqual(recovered.map(r => r.channel).sort(), [channels[0], channels[2]].sort());
      assert.deepEqual(failed.map(f => [f.channel, f.code, f.current_stream_id]), [[channels[1], 'stream_reset', new_stream_id]]);
      assert.equal(client.frames.slice(from).filter(f => f.event === 'sockudo:resume_failed').length, 1);
      assert.equal(client.frames.slice(from).filter(f => f.event === 'sockudo:resume_success').length, 1);
    });

    test('of a private channel waits for its subscription and leaks nothing before [3.30]', async () => {
      const channel = fresh('private'), client = await connect(), spy = await connect();
      await client.subscribe(channel);
      await api.publish(channel, 'n', '1');
      await client.next(f => f.event === 'n');
      const { stream_id } = client.positions.get(channel);
      client.cut();
      await api.publish(channel, 'n', '2');
      const resume = (c, serial) => c.send('sockudo:resume', JSON.stringify({ channel_positions: { [channel]: { stream_id, serial } } }));
      resume(spy, 0);
      await spy.next(f => f.event === 'sockudo:resume_success');
      client.wanted.clear();
      await client.reconnect();
      resume(client, 1);
      const first = await client.next(f => f.event === 'sockudo:resume_success');
      assert.deepEqual(JSON.parse(first.data), { recovered: [], failed: [] });
      await sleep(300);
      const from = client.frames.length, ack = await client.subscribe(channel);
      assert.equal(ack.serial, 1);
      const second = await client.next(f => f.event === 'sockudo:resume_success', { from });
      assert.deepEqual(JSON.parse(second.data).recovered.map(r => [r.channel, r.replayed]), [[channel, 1]]);
      assert.deepEqual(client.of(channel).filter(f => f.event === 'n').map(f => f.data), ['1', '2']);
      assert.deepEqual(spy.of(channel).filter(f => f.event === 'n'), []);
      noFaults(client);
    });

    test('without positions is 4302, malformed 4000, and serials beyond 2^53 are exact [3.31]', async () => {
      const client = await connect(), channel = fresh();
      await client.subscribe(channel);
      const code = async data => { const from = client.frames.length; client.send('sockudo:resume', data); return (await client.next(f => f.event === 'sockudo:error', { from })).data.code; };
      assert.equal(await code(JSON.stringify({ channel_positions: {} })), 4302);
      assert.equal(await code('nonsense'), 4000);
      assert.equal(await code(JSON.stringify({})), 4000);
      const { stream_id } = client.positions.get(channel);
      client.send('sockudo:resume', { channel_positions: { [channel]: { stream_id, serial: '9007199254740993' } } });
      const { failed } = JSON.parse((await client.next(f => f.event === 'sockudo:resume_success')).data);
      assert.equal(failed[0].code, 'continuity_unverifiable');
      const old = await connect(V1);
      old.send('pusher:resume', JSON.stringify({ channel_positions: { [channel]: { serial: 1 } } }));
      assert.equal((await old.next(f => f.event === 'pusher:error')).data.code, 4301);
    });

    test('while tokens flow, at any moment and with any window, loses and repeats nothing [3.32] [3.48] [4.28]', { timeout: 120_000 }, async () => {
      const channel = fresh('ai');
      const clients = await Promise.all(['', 'append_rollup_window=0', 'append_rollup_window=500', 'append_mode=full'].map(params => connect(V2, { params, name: params })));
      for (const client of clients) await client.subscribe(channel, { rewind: 5 });
      const { message_serial: serial } = await api.create(channel, '', { extras: streaming() });
      const second = await api.create(channel, '', { extras: streaming() });
      const texts = { [serial]: '', [second.message_serial]: '' };
      let flowing = true;
      const publisher = (async () => {
        for (let i = 0; flowing; i++) {
          const to = i % 5 === 4 ? second.message_serial : serial;
          ok(await api.append(channel, to, `${i},`));
          texts[to] += `${i},`;
        }
        for (const to of Object.keys(texts)) ok(await api.append(channel, to, '', { extras: complete }));
      })();
      for (let round = 0; round < 12; round++) {
        for (const client of clients) {
          client.cut();
          await sleep(Math.random() * 60);
          const { failed } = await client.reconnect();
          assert.deepEqual(failed, [], client.name);
        }
      }
      flowing = false;
      await publisher;
      for (const client of clients) {
        await until(() => Object.keys(texts).every(s => client.status(channel, s) === 'complete'), `the end at "${client.name}"`);
        for (const to of Object.keys(texts)) assert.equal(client.text(channel, to), texts[to], client.name);
      }
      noFaults(...clients);
    });
  });

  describe('AI channels', () => {
    const create = (channel, more) => api.publish(channel, 'ai-output', '', { message_id: uuid(), ...more });
    const withHeaders = (transport, codec) => ({ extras: { ai: { ...(transport ? { transport } : {}), ...(codec ? { codec } : {}) } } });
    const accepted = async (transport, codec) => ok(await create(fresh('ai'), withHeaders(transport, codec)));
    const invalid = async (transport, codec) => refusedWith(await create(fresh('ai'), withHeaders(transport, codec)), 400, 'ai_invalid_transport_header', 104000);
    const tooLarge = async (transport, codec) => refusedWith(await create(fresh('ai'), withHeaders(transport, codec)), 413, 'ai_header_too_large', 104001);

    test('AI events and headers are refused elsewhere [4.1] [4.15]', async () => {
      const plain = fresh('orders'), ai = fresh('ai');
      refusedWith(await create(plain), 403, 'ai_event_not_permitted', 104003);
      refusedWith(await api.publish(plain, 'x', '1', withHeaders({ role: 'user' })), 403, 'ai_event_not_permitted', 104003);
      refusedWith(await create(fresh('private-xai')), 403, 'ai_event_not_permitted', 104003);
      refusedWith(await api.post('/events', { name: 'ai-output', channels: [ai, plain], data: '' }), 403, 'ai_event_not_permitted', 104003);
      assert.deepEqual(ok(await api.history(ai)).items, []);
    });

    test('the bounds of keys and values [4.6] [4.7]', async () => {
      const steer = 'steer-codec-message-ids';
      const keys = n => Object.fromEntries(Array.from({ length: n }, (_, i) => [`k${i}`, 'v']));
      await accepted(null, keys(32));
      await tooLarge(null, keys(33));
      await tooLarge({ ['k'.repeat(65)]: 'v' });
      await invalid({ 'Run-Id': 'v' });
      await accepted({ model: 'm'.repeat(256) });
      await tooLarge({ model: 'm'.repeat(257) });
      await accepted({ [steer]: 's'.repeat(2048) });
      await tooLarge({ [steer]: 's'.repeat(2049) });
      await accepted(null, { providerMetadata: 'p'.repeat(8192) });
      await tooLarge(null, { providerMetadata: 'p'.repeat(8193) });
      await invalid(null, { 'provider.meta': 'v' });
    });

    test('the values that are known [4.8] [4.9]', async () => {
      for (const bad of [{ 'run-reason': 'suspended' }, { status: 'done' }, { 'step-reason': 'error' }, { model: '' }, { unknown: 'x' }, { stream: 'yes' }, { role: 'king' }]) await invalid(bad);
      for (const good of [{ 'turn-reason': 'suspended' }, { 'error-message': '' }, { 'run-client-id': '' }, { role: 'tool' }, { stream: 'true' }]) await accepted(good);
      const channel = fresh('ai'), client = await connect();
      await client.subscribe(channel);
      ok(await create(channel, withHeaders({ 'run-client-id': '' })));
      assert.equal((await client.next(f => f.event === 'ai-output')).extras.ai.transport['run-client-id'], '');
    });

    test('headers of mutations are held to the same rules', async () => {
      const channel = fresh('ai'), { message_serial: serial } = await api.create(channel, '');
      refusedWith(await api.append(channel, serial, 'x', withHeaders({ status: 'done' })), 400, 'ai_invalid_transport_header', 104000);
      refusedWith(await api.update(channel, serial, { data: 'x', ...withHeaders({ model: 'm'.repeat(257) }) }), 413, 'ai_header_too_large', 104001);
    });

    test('a message_id has 1 to 64 bytes [4.14]', async () => {
      const channel = fresh('ai');
      ok(await create(channel, { message_id: 'm'.repeat(64) }));
      refusedWith(await create(channel, { message_id: 'm'.repeat(65) }), 400, 'ai_header_too_large', 104001);
      refusedWith(await create(channel, { message_id: '' }), 400, 'ai_invalid_transport_header', 104000);
    });

    test('a text may grow to exactly its limit; a refused append costs nothing [4.16]', { timeout: 60_000 }, async () => {
      const channel = fresh('ai'), big = 'x'.repeat(1 << 18);
      const { message_serial: serial } = await api.create(channel, '');
      for (let i = 0; i < 3; i++) ok(await api.append(channel, serial, big));
      const before = ok(await api.append(channel, serial, big)).delivery_serial;
      refusedWith(await api.append(channel, serial, 'y', { op_id: 'over' }), 413, 'payload_too_large', 40009);
      assert.equal((await api.latest(channel, serial)).data.length, 1 << 20);
      refusedWith(await api.append(channel, serial, 'y', { op_id: 'over' }), 413, 'payload_too_large', 40009);
      assert.equal(ok(await api.update(channel, serial, { data: '' })).delivery_serial, before + 1);
      assert.equal(ok(await api.append(channel, serial, 'y', { op_id: 'over' })).status, 'applied');
    });

    test('4096 appends are taken, the next is not, an update still is [4.17]', { timeout: 120_000 }, async () => {
      const channel = fresh('ai'), { message_serial: serial } = await api.create(channel, '');
      for (let i = 0; i < 4096; i += 64) (await Promise.all(Array.from({ length: 64 }, () => api.append(channel, serial, 'x')))).forEach(ok);
      const refusal = await api.append(channel, serial, 'x');
      refusedWith(refusal, 413, 'payload_too_large', 40009);
      assert.equal(refusal.body.error, 'message append count exceeds 4096');
      ok(await api.update(channel, serial, { data: 'short' }));
    });

    test('1024 streams may be open on a channel [4.18]', { timeout: 120_000 }, async () => {
      const channel = fresh('ai');
      let first;
      for (let i = 0; i < 1024; i += 64) {
        const answers = await Promise.all(Array.from({ length: 64 }, () => create(channel, { extras: streaming() })));
        first ??= ok(answers[0]).channels[channel].message_serial;
        answers.forEach(ok);
      }
      const refusal = await create(channel, { extras: streaming() });
      refusedWith(refusal, 413, 'payload_too_large', 40009);
      assert.equal(refusal.body.error, 'open streaming message count exceeds 1024');
      ok(await create(channel));
      assert.equal(ok(await api.get(`/channels/${channel}`)).ai.active_streams, 1024);
      ok(await api.append(channel, first, '', { extras: complete }));
      ok(await create(channel, { extras: streaming() }));
    });

    test('two equal terminal appends are one [4.21]', async () => {
      const channel = fresh('ai'), client = await connect();
      await client.subscribe(channel);
      const { message_serial: serial } = await api.create(channel, '', { extras: streaming() });
      const answers = [];
      for (let i = 0; i < 2; i++) answers.push(ok(await api.append(channel, serial, 'end', { op_id: 'end', extras: complete })));
      assert.deepEqual(answers.map(a => a.status), ['applied', 'duplicate']);
      assert.equal(answers[0].version_serial, answers[1].version_serial);
      await api.publish(channel, 'after', '1');
      await client.next(f => f.event === 'after');
      assert.equal(client.events(channel).filter(e => e === 'sockudo:message.append').length, 1);
    });

    test('the first append goes out at once, the second with the window [4.22]', async () => {
      const channel = fresh('ai'), arrived = [], client = await connect(V2, { params: 'append_rollup_window=500' });
      client.onFrame = f => { if (f.event === 'sockudo:message.append') arrived.push([f.data, performance.now()]); };
      await client.subscribe(channel);
      const { message_serial: serial } = await api.create(channel, '', { extras: streaming() });
      await sleep(600);
      const start = performance.now();
      ok(await api.append(channel, serial, 'one'));
      await sleep(50);
      ok(await api.append(channel, serial, 'two'));
      ok(await api.append(channel, serial, ' three'));
      await until(() => arrived.length === 2);
      assert.deepEqual(arrived.map(a => a[0]), ['one', 'two three']);
      assert.ok(arrived[0][1] - start < 150, `first after ${arrived[0][1] - start} ms`);
      const gap = arrived[1][1] - arrived[0][1];
      assert.ok(gap > 400 && gap < 700, `second ${gap} ms later`);
    });

    test('a hundred tokens a second become 25 frames a second, text unharmed [4.23]', { timeout: 30_000 }, async () => {
      const channel = fresh('ai'), client = await connect(), each = await connect(V2, { params: 'append_rollup_window=0' });
      await client.subscribe(channel);
      await each.subscribe(channel);
      const { message_serial: serial } = await api.create(channel, '', { extras: streaming() });
      let text = '';
      const start = performance.now(), pending = [];
      for (let i = 0; i < 400; i++) {
        while (performance.now() < start + i * 10) await sleep(1);
        text += `${i} `;
        pending.push(api.append(channel, serial, `${i} `));
      }
      (await Promise.all(pending)).forEach(ok);
      await until(() => client.text(channel, serial)?.length === text.length && each.text(channel, serial)?.length === text.length, 'the whole text');
      assert.equal(client.text(channel, serial), each.text(channel, serial));
      assert.equal((await api.latest(channel, serial)).data, client.text(channel, serial));
      const frames = client.events(channel).filter(e => e === 'sockudo:message.append').length;
      assert.ok(frames > 80 && frames <= 104, `${frames} frames in 4 s`);
      assert.equal(each.events(channel).filter(e => e === 'sockudo:message.append').length, 400);
    });

    test('what waits leaves before the end, and before an update [4.24] [4.25]', async () => {
      const channel = fresh('ai'), client = await connect(V2, { params: 'append_rollup_window=500' });
      await client.subscribe(channel);
      const { message_serial: serial } = await api.create(channel, '', { extras: streaming() });
      for (const part of ['a', 'b', 'c']) ok(await api.append(channel, serial, part));
      ok(await api.append(channel, serial, 'd', { extras: complete }));
      ok(await api.update(channel, serial, { data: 'new', extras: streaming() }));
      for (const part of ['e', 'f']) ok(await api.append(channel, serial, part));
      ok(await api.update(channel, serial, { data: 'last' }));
      await client.next(f => f.data === 'last', { ms: 400 });
      const serials = client.of(channel).filter(f => f.serial).map(f => f.serial);
      assert.deepEqual(serials, [...serials].sort((a, b) => a - b));
      assert.equal(client.of(channel).slice(2).map(f => f.data).join('|').replace('a|bc', 'abc').replace('e|f', 'ef'), 'abc|d|new|ef|last');
      assert.equal(client.text(channel, serial), 'last');
      noFaults(client);
    });

    test('two interleaved streams keep every position in order [4.26]', async () => {
      const channel = fresh('ai'), client = await connect(V2, { params: 'append_rollup_window=500' });
      await client.subscribe(channel);
      const [a, b] = [(await api.create(channel, '', { extras: streaming() })).message_serial, (await api.create(channel, '', { extras: streaming() })).message_serial];
      const texts = { [a]: '', [b]: '' };
      for (let i = 0; i < 60; i++) {
        const to = i % 3 ? a : b;
        ok(await api.append(channel, to, `${i},`));
        texts[to] += `${i},`;
      }
      await until(() => [a, b].every(s => client.text(channel, s) === texts[s]), () => JSON.stringify(client.text(channel, a)));
      const serials = client.of(channel).filter(f => f.serial !== undefined && f.extras).map(f => f.serial);
      assert.deepEqual(serials, [...new Set(serials)].sort((x, y) => x - y));
      noFaults(client);
    });

    test('a hundred concurrent appends are one text in one order for everybody [4.30]', async () => {
      const channel = fresh('ai'), clients = await Promise.all(['', 'append_rollup_window=0', 'append_mode=full'].map(params => connect(V2, { params })));
      for (const client of clients) await client.subscribe(channel);
      const { message_serial: serial } = await api.create(channel, '', { extras: streaming() });
      const answers = await Promise.all(Array.from({ length: 100 }, (_, i) => api.append(channel, serial, `<${i}>`).then(answer => ({ i, ...ok(answer) }))));
      const expected = answers.sort((x, y) => x.delivery_serial - y.delivery_serial).map(x => `<${x.i}>`).join('');
      assert.deepEqual(answers.map(x => x.delivery_serial), Array.from({ length: 100 }, (_, i) => i + 2));
      for (const client of clients) await until(() => client.text(channel, serial) === expected, () => `${client.params}: ${client.text(channel, serial)}`);
      assert.equal((await api.latest(channel, serial)).data, expected);
      noFaults(...clients);
    });

    test('a channel that matches AI Transport tells of its streams', async () => {
      const channel = fresh('ai'), one = await api.create(channel, '', { extras: streaming() });
      const { ai } = ok(await api.get(`/channels/${channel}`));
      assert.deepEqual(ai, { active_streams: 1, last_history_serial: 1, message_count: 1 });
      ok(await api.append(channel, one.message_serial, '', { extras: cancelled }));
      assert.equal(ok(await api.get(`/channels/${channel}`)).ai.active_streams, 0);
      assert.equal(ok(await api.get(`/channels/${fresh('orders')}`)).ai, undefined);
    });
  });
});
