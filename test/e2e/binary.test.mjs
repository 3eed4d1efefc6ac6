// SPDX-License-Identifier: Apache-2.0
//
// binary.test.mjs - MessagePack and Protobuf connections see what a JSON connection sees, in binary frames only (chapter 1,
// section 9; numbers in brackets are cases of section 13).
//
// One story is told to a JSON client and to a client of each format side by side; then their frames must be the same.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { encode } from '@msgpack/msgpack';
import { Api, channelAuth, complete, streaming, userAuth } from './lib/api.mjs';
import { Binary, wires } from './lib/binary.mjs';
import { Server, appWith, fresh, oneServer, until } from './lib/server.mjs';
import { V1, V2 } from './lib/v2.mjs';
import { OP, WsClient } from './lib/ws-client.mjs';

const app = appWith({ channels: { annotations_enabled: true }, features: { enable_user_authentication: true } });
const apps = [app, appWith({ limits: { max_connections: 1 } }, { id: '4', key: 'single' })];
const config = { annotations: { enabled: true }, connection_recovery: { enabled: true } };
const KINDS = ['json', ...Object.keys(wires)];
const FULL = 'append_mode=full', ZERO = 'append_rollup_window=0';
const ok = answer => { assert.equal(answer.status, 200, answer.text); return answer.body; };

/* What two connections cannot have in common: random ids of direct frames and snapshots, socket ids; Protobuf has no place for `push`. */
function normal(frame) {
  const one = structuredClone(frame);
  if (/^sockudo/.test(one.event) && /^[0-9a-f-]{36}$/.test(one.message_id)) one.message_id = 'a random id';
  if (one.event.endsWith('connection_established')) one.data = one.data.replace(/\d+\.\d+/, 'a socket');
  if (one.event === 'sockudo:error') one.data.message = one.data.message.replace(/Socket \d+\.\d+/, 'Socket');
  if (one.extras) delete one.extras.push;
  if (one.extras && !Object.keys(one.extras).length) delete one.extras;
  return one;
}

describe('the same story', () => {
  const held = oneServer({ before, after }, { apps, config });
  let api;
  const open = [];
  before(() => { api = new Api(held.server, app); });
  after(async () => { await Promise.all(open.map(c => c.close())); api.close(); });

  const connect = async (wire, params = ZERO) => {
    const c = wire === 'json' ? await V2.connect(held.server, { params, name: 'json' }) : await Binary.connect(held.server, { wire, params });
    open.push(c);
    return c;
  };
  const cast = (params, kinds = KINDS) => Promise.all(kinds.map(kind => connect(kind, params)));
  const each = (clients, act) => Promise.all(clients.map(act));
  /* Everybody has heard all of it, and the same. */
  async function sameFor(clients, events) {
    await each(clients, c => c.settle());
    const [json, ...others] = clients.map(c => c.frames.map(normal));
    for (const event of events) assert.ok(json.some(f => f.event === event), `nobody heard ${event}: ${json.map(f => f.event)}`);
    others.forEach((frames, i) => assert.deepEqual(frames, json, clients[i + 1].name));
    for (const client of clients) assert.deepEqual(client.faults, [], client.name);
  }
  const join = (client, channel, user_id, user_info = {}) => {
    const channel_data = JSON.stringify({ user_id, user_info });
    return client.subscribe(channel, { channel_data, auth: channelAuth(app, client.socketId, channel, channel_data) });
  };

  test('greeting, subscriptions, errors, pong and sign-in [31]', async () => {
    const clients = await cast(), channel = fresh(), priv = fresh('private');
    await each(clients, c => c.subscribe(channel));
    await each(clients, c => c.subscribe(priv));
    await each(clients, c => assert.rejects(c.subscribe('private-x', { auth: 'app-key:beef' }), { code: 4009 }));
    await each(clients, c => assert.rejects(c.subscribe('no such:channel'), { code: 4300 }));
    for (const c of clients) c.send('client-x', {}, { channel: 'private-elsewhere' });
    const user_data = JSON.stringify({ id: 'same', name: 'Zoë \u0000 "quoted"' });
    for (const c of clients) c.send('sockudo:signin', { auth: userAuth(app, c.socketId, user_data), user_data });
    await each(clients, c => c.next(f => f.event === 'sockudo:signin_success'));
    await sameFor(clients, ['sockudo:connection_established', 'sockudo_internal:subscription_succeeded', 'sockudo:subscription_error', 'sockudo:error', 'sockudo:signin_success', 'sockudo:pong']);
  });

  test('publishes with tags, headers and extras of every type', async () => {
    const clients = await cast(), channel = fresh('ai'), silent = await V1.connect(held.server);
    open.push(silent);
    await each([...clients, silent], c => c.subscribe(channel));
    const extras = { headers: { text: 'é\n"', number: -1.5, big: 9007199254740991, yes: true, no: false }, push: { deep: [1, null, { a: 'b' }] }, ai: { transport: { 'turn-id': 'b' }, codec: { c: 'd' } } };
    ok(await api.publish(channel, 'plain', 'text'));
    ok(await api.publish(channel, 'rich', JSON.stringify({ a: [1, 'é'] }), { tags: { region: 'eu', b: '' }, extras, message_id: 'given' }));
    ok(await api.publish(channel, 'empty', ''));
    ok(await api.publish(channel, 'large', 'é'.repeat(4000)));
    await each(clients, c => c.next(f => f.event === 'large'));
    assert.deepEqual(clients[1].find(f => f.event === 'rich').extras.push, extras.push, 'MessagePack has a place for all extras');
    for (const c of clients.slice(1)) for (const [key, value] of Object.entries(extras.headers)) assert.equal(c.find(f => f.event === 'rich').extras.headers[key], value);
    await sameFor(clients, ['plain', 'rich', 'empty', 'large']);
    await silent.next(f => f.event === 'large');
  });

  for (const [mode, params] of [['delta', ZERO], ['full', `${FULL}&${ZERO}`], ['rolled up', 'append_rollup_window=40']])
    test(`a stream of appends, ${mode}`, async () => {
      const clients = await cast(params), channel = fresh('ai');
      await each(clients, c => c.subscribe(channel));
      const { message_serial: serial } = await api.create(channel, 'Once ', { extras: streaming() });
      const words = ['upon ', 'a ', '"time"\n', 'é', '😀'];
      for (const word of words) ok(await api.append(channel, serial, word));
      ok(await api.append(channel, serial, '.', { extras: complete }));
      ok(await api.update(channel, serial, { data: { now: ['an', 'object'] } }));
      ok(await api.update(channel, serial, { data: 'a text' }));
      ok(await api.remove(channel, serial));
      await each(clients, c => c.next(f => f.event === 'sockudo:message.delete'));
      await sameFor(clients, ['ai-output', 'sockudo:message.append', 'sockudo:message.update', 'sockudo:message.delete']);
      if (mode === 'full') assert.equal(clients[1].of(channel).filter(f => f.event === 'sockudo:message.append').at(-1).data, `Once ${words.join('')}.`);
    });

  test('members come, change and go [31]', async () => {
    const clients = await cast(), channel = fresh('presence');
    await join(clients[0], channel, 'same', { n: 1 });
    for (const c of clients.slice(1)) await join(c, channel, 'same', { n: 1 });
    const guest = await connect('json');
    await join(guest, channel, 'guest', { name: 'Zoë' });
    guest.send('sockudo:presence_update', { channel, data: { status: 'here' } });
    await each(clients, c => c.next(f => f.event === 'sockudo_internal:presence_update'));
    guest.unsubscribe(channel);
    await each(clients, c => c.next(f => f.event === 'sockudo_internal:member_removed'));
    await sameFor(clients, ['sockudo_internal:member_added', 'sockudo_internal:presence_update', 'sockudo_internal:member_removed']);
  });

  test('client events cross from each format to each other [31]', async () => {
    const clients = await cast(), channel = fresh('private');
    await each(clients, c => c.subscribe(channel));
    const values = [{ channel: 'x', user_data: 5 }, 'text', [1, 'é'], null, 3.25, '{"a":1}'];
    for (const c of clients)
      for (const value of values) {
        c.send(`client-${c.name}`, value === null ? undefined : value, { channel });
        await c.settle();
      }
    await each(clients, c => c.next(f => f.event === 'client-csharp' && f.data === '{"a":1}'));
    for (const c of clients) assert.deepEqual(clients[0].of(channel).filter(f => f.event === `client-${c.name}`).map(f => f.data), values);
    // The greeting and pongs are as many for all, but fall elsewhere among the events.
    for (const c of clients.slice(1)) assert.deepEqual(c.of(channel).map(normal), clients[0].of(channel).map(normal));
    for (const c of clients) assert.deepEqual(c.faults, []);
  });

  test('bytes stay bytes between binary clients and are an array of numbers in JSON and in history', async () => {
    for (const sender of Object.keys(wires)) {
      const clients = await cast(), channel = fresh('private');
      await each(clients, c => c.subscribe(channel));
      const from = clients[KINDS.indexOf(sender)];
      from.send('client-bytes', Uint8Array.of(0, 255, 10), { channel });
      from.send('client-none', new Uint8Array(0), { channel });
      from.send('client-array', [0, 255, 10], { channel });
      await each(clients, c => c.next(f => f.event === 'client-array'));
      const seen = c => c.of(channel).filter(f => f.event.startsWith('client-')).map(f => f.data);
      assert.deepEqual(seen(clients[0]), [[0, 255, 10], [], [0, 255, 10]]);
      for (const c of clients.slice(1)) assert.deepEqual(seen(c), [{ bytes: [0, 255, 10] }, { bytes: [] }, [0, 255, 10]], c.name);
      const page = ok(await api.history(channel, { direction: 'oldest_first' }));
      assert.deepEqual(page.items.map(i => i.message.data), [[0, 255, 10], [], [0, 255, 10]]);
    }
  });

  test('AI events from a binary client keep their extras', async () => {
    const channel = fresh('private-ai'), user_data = JSON.stringify({ id: 'u1' });
    for (const wire of ['msgpack']) {
      const clients = await cast();
      await each(clients, c => c.subscribe(channel));
      const c = clients[KINDS.indexOf(wire)];
      c.send('sockudo:signin', { auth: userAuth(app, c.socketId, user_data), user_data });
      await c.next(f => f.event === 'sockudo:signin_success');
      c.send('ai-input', 'hello', { channel, extras: { headers: { tenant: ['string', 'a'], n: ['number', 2] }, ai: { transport: { 'turn-id': 't1' }, codec: {} } } });
      const heard = await clients[0].next(f => f.event === 'ai-input' || f.event === 'sockudo:error');
      assert.equal(heard.event, 'ai-input', JSON.stringify(heard));
      assert.equal(heard.extras.ai.transport['turn-id'], 't1');
      assert.deepEqual([heard.extras.headers.tenant, heard.extras.headers.n], ['a', 2]);
    }
  });

  test('rewind, resume, failed resume and channel_history', async () => {
    const channel = fresh('ai');
    const { message_serial: serial } = await api.create(channel, 'a', { extras: streaming() });
    for (const part of ['b', 'c']) ok(await api.append(channel, serial, part));
    const clients = await cast();
    await each(clients, c => c.subscribe(channel, { rewind: 10 }));
    await each(clients, c => c.next(f => f.event === 'sockudo:rewind_complete'));
    for (const c of clients) c.send('sockudo:channel_history', { channel, limit: 10 });
    await each(clients, c => c.next(f => f.event === 'sockudo:channel_history'));
    for (const c of clients) c.cut();
    for (const part of ['d', '"e"']) ok(await api.append(channel, serial, part));
    for (const c of clients) c.positions.set('elsewhere', { stream_id: 'nowhere', serial: 5, last_message_id: 'x' });
    for (const c of clients) c.wanted.set('elsewhere', {}).set(channel, {});
    const answers = await each(clients, c => c.reconnect());
    for (const answer of answers) assert.deepEqual([answer.recovered.map(r => r.channel), answer.failed.map(f => f.channel)], [[channel], ['elsewhere']]);
    for (const c of clients) assert.equal(c.text(channel, serial), 'abcd"e"', c.name);
    // Which position an acknowledgement names depends on whether the resume overtook the attach.
    const kept = ['sockudo:message.update', 'sockudo:message.append', 'sockudo:rewind_complete', 'sockudo:channel_history', 'sockudo:resume_failed', 'sockudo:resume_success'];
    for (const c of clients) c.frames = kept.flatMap(event => c.frames.filter(f => f.event === event));
    await sameFor(clients,
      ['sockudo:rewind_complete', 'sockudo:channel_history', 'sockudo:message.append', 'sockudo:resume_failed', 'sockudo:resume_success']);
  });

  test('wildcards and meta channels', async () => {
    const prefix = fresh(), clients = await cast(), guest = await connect('json');
    await each(clients, c => c.subscribe(`${prefix}-*`));
    await each(clients, c => c.subscribe(`[meta]${prefix}-a`));
    ok(await api.publish(`${prefix}-a`, 'seen', 'x', { tags: { a: 'b' } }));
    await guest.subscribe(`${prefix}-a`);
    await each(clients, c => c.next(f => f.event === 'sockudo_internal:subscription_count'));
    await each(clients, c => c.next(f => f.event === 'seen' && f.channel === `${prefix}-a`));
    for (const c of clients.slice(1))
      for (const channel of [`${prefix}-a`, `[meta]${prefix}-a`])
        assert.deepEqual(c.of(channel).map(normal), clients[0].of(channel).map(normal), c.name);
    for (const c of clients) assert.deepEqual(c.faults, []);
  });

  test('cache channels and annotations', async () => {
    const cache = fresh('cache'), channel = fresh('ai');
    const clients = await cast();
    await each(clients, c => c.subscribe(cache));
    await each(clients, c => c.next(f => f.event === 'sockudo:cache_miss'));
    ok(await api.publish(cache, 'kept', 'x'));
    await each(clients, c => c.next(f => f.event === 'kept'));
    const late = await cast();
    await each(late, c => c.subscribe(cache));
    await each(late, c => c.next(f => f.event === 'kept'));
    await sameFor(late, ['kept']);
    const { message_serial: serial } = await api.create(channel, 'x');
    await each(clients, c => c.subscribe(channel));
    ok(await api.post(api.path(channel, serial, '/annotations'), { type: 'reactions:distinct.v1', name: 'like', clientId: 'u1' }));
    await each(clients, c => c.next(f => f.event === 'sockudo_internal:message'));
    await sameFor(clients, ['sockudo:cache_miss', 'kept', 'sockudo_internal:message']);
  });
});

describe('a binary connection', () => {
  const held = oneServer({ before, after }, { apps, config });

  /* Frames and close code of a connection with this URL. */
  async function rejection(target) {
    const frames = [], ws = await WsClient.connect(`${held.server.url}${target}`);
    ws.onFrame = payload => frames.push(payload);
    return { code: (await ws.closed).code, frames };
  }

  test('is refused in its format, before it is established [31]', async () => {
    for (const [name, { params, decode }] of Object.entries(wires)) {
      const { code, frames } = await rejection(`/app/nobody?protocol=2&${params}`);
      assert.deepEqual([code, frames.length, Buffer.isBuffer(frames[0])], [4001, 1, true], name);
      assert.deepEqual(decode(frames[0]).data, { code: 4001, message: 'Application does not exist' });
      const first = await Binary.connect(held.server, { wire: name, key: 'single' });
      const second = await rejection(`/app/single?protocol=2&${params}`);
      assert.deepEqual([second.code, second.frames.length, decode(second.frames[0]).data.code], [4004, 1, 4004]);
      await first.close();
      await until(async () => { const c = await V2.connect(held.server, { key: 'single' }).catch(() => null); await c?.close(); return c; });
    }
  });

  test('is told when its message cannot be read, and stays open [31]', async () => {
    const garbage = { msgpack: [Buffer.concat([encode(['sockudo:ping']), Buffer.of(0)]), Buffer.of(0xc1), Buffer.of(0xdd, 255, 255, 255, 255), Buffer.alloc(0), encode('x')],
      protobuf: [Buffer.of(0x0a, 5, 65), Buffer.of(0xff), Buffer.of(0x08, 1)], csharp: [Buffer.of(0x0b)] };
    for (const [name, messages] of Object.entries(garbage)) {
      const client = await Binary.connect(held.server, { wire: name });
      for (const message of messages) {
        const from = client.frames.length;
        client.sendBytes(message);
        const error = await client.next(f => f.event === 'sockudo:error', { from });
        assert.equal(error.data.code, 4000);
        assert.match(error.data.message, /^Invalid message format: Decode failed: ./);
      }
      const from = client.frames.length;
      client.sendBytes(client.wire.encode({ channel: 'c' }));
      assert.equal((await client.next(f => f.event === 'sockudo:error', { from })).data.message, 'Invalid event name: Event name is required');
      await client.settle();
      assert.deepEqual(client.faults, []);
      await client.close();
    }
  });

  test('may speak JSON in text frames, and a JSON connection in binary ones', async () => {
    const client = await Binary.connect(held.server, { wire: 'protobuf' });
    client.ws.send('{"event":"pusher:subscribe","data":{"channel":"public"}}');
    await client.next(f => f.event === 'sockudo_internal:subscription_succeeded');
    const json = await V2.connect(held.server);
    json.ws.sendFrame(OP.BINARY, '{"event":"pusher:subscribe","data":{"channel":"public"}}');
    await json.next(f => f.event === 'sockudo_internal:subscription_succeeded');
    assert.deepEqual(client.faults, []);
    await client.close();
    await json.close();
  });

  test('subscribes with structured data, short arrays and maps by name', async () => {
    const client = await Binary.connect(held.server, { wire: 'msgpack' });
    client.sendBytes(encode(['pusher:subscribe', null, ['structured', [null, 'one', null, {}]]]));
    client.sendBytes(encode({ event: 'pusher:subscribe', data: ['structured', { channel: 'two', extra: { rewind: '3' } }] }));
    await client.next(f => f.event === 'sockudo_internal:subscription_succeeded' && f.channel === 'one');
    await client.next(f => f.event === 'sockudo:rewind_complete' && f.channel === 'two');
    assert.deepEqual(client.faults, []);
    await client.close();
  });

  test('resumes with the field numbers of .NET, whatever it says it is [32]', async () => {
    const client = await Binary.connect(held.server, { wire: 'protobuf' });
    client.sendBytes(wires.csharp.encode({ event: 'pusher:subscribe', serial: 7, data: { channel: 'three' } }));
    await client.next(f => f.event === 'sockudo_internal:subscription_succeeded' && f.channel === 'three');
    assert.deepEqual(client.faults, []);
    await client.close();
  });

  test('hears why it is closed in its format: shutdown, and a queue that is full', async () => {
    const server = await Server.start({ apps, config: { ...config, websocket: { max_messages: 50 } } });
    try {
      const api = new Api(server, app), slow = [], stalled = [];
      for (const wire of Object.keys(wires)) {
        const client = await Binary.connect(server, { wire });
        await client.subscribe('busy');
        stalled.push(client);
        const calm = await Binary.connect(server, { wire });
        slow.push(calm);
      }
      for (const client of stalled) client.ws.pause();
      const body = 'x'.repeat(9000);
      await until(async () => {
        for (let i = 0; i < 100; i++) await api.publish('busy', 'e', body);
        return await server.metric('sockudo_slow_consumer_disconnects_total') >= stalled.length;
      }, 'slow consumers', 30000);
      for (const client of stalled) client.ws.resume();
      for (const client of stalled) {
        await until(() => client.closing, 'the close');
        assert.equal(client.closing.code, 4100);
        assert.deepEqual(client.faults, []);
      }
      const stopped = server.stop();
      for (const client of slow) {
        const error = await client.next(f => f.event === 'sockudo:error');
        assert.deepEqual(error.data, { code: 4200, message: 'Server shutting down' });
        await until(() => client.closing, 'the close');
        assert.equal(client.closing.code, 4200);
        assert.deepEqual(client.faults, []);
      }
      api.close();
      await stopped;
    } finally {
      if (server.running) await server.stop();
    }
  });
});
