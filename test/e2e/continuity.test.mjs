// SPDX-License-Identifier: Apache-2.0
//
// continuity.test.mjs - what a client may rely on when it was away: both tiers of resume, pages up to the attach, and what happens
// when the stream itself is in doubt. [3.n] are the cases of chapter 3, section 9.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Api, complete, streaming, userAuth } from './lib/api.mjs';
import { Server, appWith, demoApp, fresh, oneServer, root, sleep, until } from './lib/server.mjs';
import { V1, V2 } from './lib/v2.mjs';

const ok = answer => { assert.equal(answer.status, 200, answer.text); return answer.body; };

describe('channel_history over the socket', () => {
  const held = oneServer({ before, after }, {
    apps: [demoApp, appWith({ history: { enabled: false } }, { id: 'off', key: 'off' })],
    config: { history: { max_page_size: 50 } },
  });
  let api;
  const open = [];
  const connect = async (kind = V2, options) => { const c = await kind.connect(held.server, options); open.push(c); return c; };
  before(() => { api = new Api(held.server, demoApp); });
  after(async () => { await Promise.all(open.map(c => c.close())); api.close(); });

  const error = (client, from) => client.next(f => f.event.endsWith(':error'), { from });
  async function page(client, channel, data = {}, event = 'sockudo:channel_history') {
    const from = client.frames.length;
    client.send(event, { channel, ...data });
    const answer = await client.next(f => f.event === 'sockudo:channel_history' || f.event === 'sockudo:error', { from });
    assert.equal(answer.event, 'sockudo:channel_history', JSON.stringify(answer));
    assert.equal(answer.channel, channel);
    return answer.data;
  }
  async function refused(client, data, code, text, event = 'sockudo:channel_history') {
    const from = client.frames.length;
    client.send(event, data);
    const answer = await error(client, from);
    assert.equal(answer.data.code, code, JSON.stringify(answer));
    assert.match(answer.data.message, text);
    return answer;
  }

  test('is the same page as over HTTP, in every spelling of the request', async () => {
    const channel = fresh('ai'), client = await connect();
    const { message_serial: serial } = await api.create(channel, 'a');
    ok(await api.append(channel, serial, 'b'));
    ok(await api.publish(channel, 'note', 'second'));
    await client.subscribe(channel);
    const http = ok(await api.history(channel, { limit: 10 }));
    const expected = { ...http, bounds: { ...http.bounds, until_attach: false, attach_serial: 2 },
      items: http.items.map((item, i) => ({ ...item, operation_kind: ['create', 'append'][i] })) };
    for (const event of ['sockudo:channel_history', 'pusher:channel_history', 'channel_history'])
      for (const data of [{ limit: 10 }, { params: { limit: 10 } }])
        assert.deepEqual(await page(client, channel, data, event), expected);
    const from = client.frames.length;
    client.send('sockudo:channel_history', JSON.stringify({ params: { channel, limit: 10 } }));
    assert.deepEqual((await client.next(f => f.event === 'sockudo:channel_history', { from })).data, expected);
  });

  test('start, end and times bound it, words of the wrong type are ignored, the limit is capped [3.38]', async () => {
    const channel = fresh(), client = await connect();
    for (let i = 1; i <= 60; i++) ok(await api.publish(channel, 'n', i));
    await client.subscribe(channel);
    const serials = async data => (await page(client, channel, data)).items.map(i => i.serial);
    assert.deepEqual(await serials({ start: 3, end: 5, direction: 'forwards' }), [3, 4, 5]);
    assert.deepEqual(await serials({ params: { start_serial: 3, start: 9, end_serial: 4 } }), [4, 3]);
    assert.deepEqual(await serials({ limit: 'x', start: '59', cursor: null, direction: 7, until_attach: 'yes' }), (await serials({})));
    assert.equal((await page(client, channel, { limit: 5000 })).limit, 50);
    assert.equal((await page(client, channel)).limit, 50);
    const times = ok(await api.history(channel, { limit: 1, start_serial: 20, direction: 'forward' })).items[0].published_at_ms;
    assert.ok((await serials({ end_time_ms: times, direction: 'reverse' })).every(s => s <= 40));
    assert.deepEqual(await serials({ end_time_ms: 1 }), []);
  });

  test('refuses in the order of the checks, and echoes the request id', async () => {
    const channel = fresh(), client = await connect(), v1 = await connect(V1);
    await client.subscribe(channel);
    const old = v1.frames.length;
    v1.send('pusher:channel_history', { channel });
    assert.deepEqual((await error(v1, old)).data.code, 4000);
    await refused(client, {}, 4000, /Missing channel in channel_history message/);
    await refused(client, { channel: 'elsewhere' }, 4301, /^Client event error: Socket [\d.]+ is not subscribed to channel elsewhere$/);
    await refused(client, { channel, limit: 0 }, 4000, /History limit must be greater than 0/);
    await refused(client, { channel, direction: 'FORWARDS' }, 4000, /Unsupported history direction: FORWARDS/);
    await refused(client, { channel, start: 5, end: 4 }, 4000, /start_serial must be less than or equal to end_serial/);
    await refused(client, { channel, cursor: '!' }, 4000, /Invalid history cursor/);
    const answer = await refused(client, { channel, limit: 0, request_id: 'r-1' }, 4000, /limit/);
    assert.equal(answer.data.request_id, 'r-1');
    assert.equal((await page(client, channel, { request_id: 17 })).request_id, 17);
    assert.ok(!('request_id' in await page(client, channel)));
    const off = await connect(V2, { key: 'off' });
    await off.subscribe('plain');
    await refused(off, { channel: 'plain' }, 4300, /disabled by policy/);
    await refused(off, { channel: 'plain', limit: 0 }, 4300, /disabled by policy/);
  });

  test('a signed-in user needs the history capability, if there is a list of them', async () => {
    for (const [capabilities, allowed] of [[{ history: ['open-*'], subscribe: ['*'] }, false], [{ history: ['*'], subscribe: ['*'] }, true], [undefined, true]]) {
      const channel = fresh(), client = await connect(), user_data = JSON.stringify({ id: 'u1', ...(capabilities ? { capabilities } : {}) });
      client.send('sockudo:signin', { auth: userAuth(demoApp, client.socketId, user_data), user_data });
      await client.next(f => f.event === 'sockudo:signin_success');
      await client.subscribe(channel);
      if (allowed) assert.deepEqual((await page(client, channel)).items, []);
      else await refused(client, { channel }, 4009, /^Authentication error: Connection is not allowed to history channel '/);
    }
  });

  test('of three at once the third is refused and the first two are answered [3.38]', async () => {
    const channel = fresh(), client = await connect();
    ok(await api.publish(channel, 'n', 1));
    await client.subscribe(channel);
    const from = client.frames.length;
    client.ws.socket.cork(); // one read at the other end
    for (let id = 1; id <= 3; id++) client.send('sockudo:channel_history', { channel, request_id: id });
    client.ws.socket.uncork();
    await client.next(f => f.event === 'sockudo:channel_history' && f.data.request_id === 2, { from });
    const answers = client.frames.slice(from).map(f => [f.event, f.data.request_id, f.data.code]);
    assert.deepEqual(answers, [['sockudo:error', 3, 4301], ['sockudo:channel_history', 1, undefined], ['sockudo:channel_history', 2, undefined]]);
    assert.equal((await page(client, channel)).items.length, 1);
  });

  test('a cursor goes on with the same bounds only, and not after a resubscribe', async () => {
    const channel = fresh(), client = await connect();
    for (let i = 1; i <= 5; i++) ok(await api.publish(channel, 'n', i));
    await client.subscribe(channel);
    const first = await page(client, channel, { limit: 2, untilAttach: true });
    assert.deepEqual([first.bounds.end_serial, first.bounds.until_attach, first.bounds.attach_serial], [5, true, 5]);
    const second = await page(client, channel, { limit: 2, until_attach: true, cursor: first.next_cursor });
    assert.deepEqual(second.items.map(i => i.serial), [3, 2]);
    await refused(client, { channel, limit: 2, cursor: first.next_cursor }, 4000, /bounds do not match/);
    ok(await api.publish(channel, 'n', 6));
    await client.subscribe(channel);
    await refused(client, { channel, limit: 2, until_attach: true, cursor: first.next_cursor }, 4000, /bounds do not match/);
  });

  test('until_attach: the pages and what comes live are each message once, ten publishers at work [3.37]', { timeout: 60_000 }, async () => {
    const channel = fresh();
    let on = true, sent = 0;
    const publishers = Array.from({ length: 10 }, async (_, p) => { while (on) { ok(await api.publish(channel, 'n', `${p}-${sent++}`)); } });
    for (let round = 0; round < 8; round++) {
      const client = await connect();
      const ack = await client.subscribe(channel);
      const attach = JSON.parse(ack.data).attach_serial;
      const rows = [];
      for (let cursor = null; ;) {
        const got = await page(client, channel, { until_attach: true, limit: 50, cursor });
        assert.equal(got.bounds.attach_serial, attach);
        rows.unshift(...got.items.map(i => i.message.data).reverse());
        if (!got.has_more) break;
        cursor = got.next_cursor;
      }
      assert.equal(rows.length, attach);
      await client.next(f => f.event === 'n');
      const live = client.of(channel).filter(f => f.event === 'n').map(f => f.data);
      const all = [...rows, ...live];
      assert.equal(new Set(all).size, all.length, 'a message came twice');
      const stored = [];
      for (let cursor; ;) {
        const got = ok(await api.history(channel, { direction: 'oldest_first', limit: 50, ...(cursor ? { cursor } : {}) }));
        stored.push(...got.items.map(i => i.message.data));
        if (!got.has_more || stored.length >= all.length) break;
        cursor = got.next_cursor;
      }
      assert.deepEqual(stored.slice(0, all.length), all);
    }
    on = false;
    await Promise.all(publishers);
  });

  test('until_attach cannot be proven over a reset: 104005 [2.7]', async () => {
    const channel = fresh(), client = await connect();
    ok(await api.publish(channel, 'n', 1));
    await client.subscribe(channel);
    ok(await api.post(`/channels/${channel}/history/reset`, { confirm_channel: channel, confirm_operation: 'reset', reason: 'test' }));
    ok(await api.publish(channel, 'n', 2));
    await refused(client, { channel, until_attach: true }, 104005, /another one since/);
    assert.deepEqual((await page(client, channel)).items.map(i => i.message.data), ['2']);
  });
});

describe('many connections cut off at once', () => {
  const apps = [demoApp, appWith({ connection_recovery: { buffer_ttl_seconds: 0 } }, { id: 'cold', key: 'cold', secret: 'cold-secret' })];
  const held = oneServer({ before, after }, { apps });
  const program = path.join(root, 'build/release/sockudo-load');

  function load(args) {
    const file = path.join(held.server.folder, 'load.json');
    return new Promise((resolve, reject) => {
      let said = '';
      const child = spawn(program, ['resume', '--port', String(held.server.port), '--json', file, ...args]);
      for (const stream of [child.stdout, child.stderr]) stream.on('data', text => { said += text; });
      child.on('error', reject).on('exit', code => (code === 0 ? resolve(JSON.parse(fs.readFileSync(file, 'utf8'))) : reject(new Error(`exit ${code}: ${said}`))));
    });
  }

  for (const [tier, app] of [['hot', apps[0]], ['cold', apps[1]]])
    test(`from the ${tier} tier: every text is whole, nothing comes twice, and those who stayed hear everything [issue 4]`, { timeout: 120_000, skip: !fs.existsSync(program) }, async () => {
      const found = await load(['--app', app.id, '--key', app.key, '--secret', app.secret, '--subscribers', '300', '--live', '20', '--channels', '5',
        '--behind', '200', '--rate', '50', '--seconds', '1']);
      assert.deepEqual([found.back, found[tier], found.refused], [300, 300, 0]);
      assert.deepEqual([found.gaps_or_repeats, found.transcripts_different, found.live_incomplete, found.messages_wrong, found.lost], [0, 0, 0, 0, 0]);
      assert.ok(found.frames_replayed >= 300 && found.frames_replayed <= 3000, `${found.frames_replayed} frames for 300 connections`);
    });
});

describe('the two tiers of a resume', () => {
  const recovery = (id, connection_recovery, more = {}) => appWith({ connection_recovery, ...more }, { id, key: id, secret: `${id}-secret` });
  const apps = [demoApp,
    recovery('brief', { buffer_ttl_seconds: 1 }),
    recovery('cold', { buffer_ttl_seconds: 0 }),
    recovery('few', { max_buffer_size: 3 }),
    recovery('bare', {}, { history: { enabled: false } }),
    recovery('barebrief', { buffer_ttl_seconds: 1 }, { history: { enabled: false } }),
    recovery('nothing', { enabled: false }),
    recovery('short', { buffer_ttl_seconds: 0 }, { history: { retention_window_seconds: 2 } })];
  const held = oneServer({ before, after }, { apps, config: { event_name_filtering: { enabled: true }, history: { max_page_size: 2000 } } });
  const open = [], apis = {};
  const connect = async (key = 'app-key', options = {}) => { const c = await V2.connect(held.server, { key, ...options }); open.push(c); return c; };
  before(() => { for (const app of apps) apis[app.key] = new Api(held.server, app); });
  after(async () => { await Promise.all(open.map(c => c.close())); for (const api of Object.values(apis)) api.close(); });

  const say = async (key, channel, ...texts) => { for (const text of texts) ok(await apis[key].publish(channel, 'n', text)); };
  const heard = (client, channel) => client.of(channel).filter(f => f.event === 'n').map(f => f.data);
  const noFaults = (...clients) => clients.forEach(c => assert.deepEqual(c.faults, []));
  /* A client that has heard `1`, is cut off, and misses `2` and `3`. */
  async function wasAway(key, channel, options) {
    const client = await connect(key, options);
    await client.subscribe(channel);
    await say(key, channel, '1');
    await client.next(f => f.data === '1');
    client.cut();
    await say(key, channel, '2', '3');
    return client;
  }

  test('hot says hot, cold says cold, and the metrics count them [S41] [S42]', async () => {
    const before = await held.server.metric('sockudo_history_recovery_success_total', { source: 'hot', app_id: 'app-id' });
    for (const [key, source] of [['app-key', 'hot'], ['cold', 'cold']]) {
      const channel = fresh(), client = await wasAway(key, channel);
      const { recovered } = await client.reconnect();
      assert.deepEqual(recovered.map(r => [r.channel, r.source, r.replayed, r.position.serial]), [[channel, source, 2, 3]]);
      assert.deepEqual(heard(client, channel), ['1', '2', '3']);
      noFaults(client);
    }
    assert.equal(await held.server.metric('sockudo_history_recovery_success_total', { source: 'hot', app_id: 'app-id' }), before + 1);
    assert.ok(await held.server.metric('sockudo_recovery_buffer_bytes', { app_id: 'app-id' }) > 0);
    assert.equal(await held.server.metric('sockudo_recovery_buffer_bytes', { app_id: 'cold' }), 0);
  });

  test('what has expired from the buffer comes from the store, and its bytes are given back', async () => {
    const channel = fresh(), client = await wasAway('brief', channel);
    assert.ok(await held.server.metric('sockudo_recovery_buffer_bytes', { app_id: 'brief' }) > 0);
    await sleep(1500);
    const { recovered } = await client.reconnect();
    assert.deepEqual(recovered.map(r => [r.source, r.replayed]), [['cold', 2]]);
    await until(async () => await held.server.metric('sockudo_recovery_buffer_bytes', { app_id: 'brief' }) === 0, 'an empty buffer');
    noFaults(client);
  });

  test('channel_serials are served hot; after expiry continuity_unverifiable [3.31] [S40]', async () => {
    const channel = fresh(), client = await wasAway('brief', channel);
    const old = async () => {
      const c = await connect('brief');
      await c.subscribe(channel);
      c.send('sockudo:resume', JSON.stringify({ channel_serials: { [channel]: 1 } }));
      return [JSON.parse((await c.next(f => f.event === 'sockudo:resume_success')).data), heard(c, channel)];
    };
    const [hot, got] = await old();
    assert.deepEqual([hot.recovered.map(r => [r.source, r.replayed]), got], [[['hot', 2]], ['2', '3']]);
    await sleep(1500);
    const [cold] = await old();
    assert.deepEqual(cold.failed.map(f => [f.code, f.reason]), [['continuity_unverifiable', 'legacy_serial_only_position_cannot_use_cold_recovery']]);
    noFaults(client);
  });

  test('without durable history: frames carry positions, a resume is hot, and only then [4.7]', async () => {
    const channel = fresh(), client = await wasAway('bare', channel), v1 = await V1.connect(held.server, { key: 'bare' });
    open.push(v1);
    const { recovered } = await client.reconnect();
    assert.deepEqual(recovered.map(r => [r.source, r.replayed, r.position.serial]), [['hot', 2, 3]]);
    assert.deepEqual(heard(client, channel), ['1', '2', '3']);
    const frames = client.of(channel).filter(f => f.event === 'n');
    assert.deepEqual(frames.map(f => f.serial), [1, 2, 3]);
    assert.match(frames[0].stream_id, /^[0-9a-f]{8}-[0-9a-f]{4}-4/);
    const ack = client.frames.find(f => f.event === 'sockudo_internal:subscription_succeeded');
    assert.deepEqual([ack.data, ack.serial, ack.stream_id], ['{}', 0, frames[0].stream_id]);
    await v1.subscribe(channel);
    await say('bare', channel, '4');
    assert.deepEqual(Object.keys(await v1.next(f => f.data === '4')).sort(), ['channel', 'data', 'event']);
    client.positions.get(channel).stream_id = '00000000-0000-4000-8000-000000000000';
    const { failed } = await client.reconnect();
    assert.deepEqual(failed.map(f => [f.code, f.reason, f.current_stream_id, f.oldest_available_serial, f.newest_available_serial]), [['stream_reset', 'stream_id_mismatch', frames[0].stream_id, 1, 4]]);
    noFaults(client, v1);
  });

  test('without durable history what has expired is position_expired, the head is not', async () => {
    const channel = fresh(), client = await wasAway('barebrief', channel), other = await connect('barebrief');
    await other.subscribe(channel);
    await sleep(1500);
    const { failed } = await client.reconnect();
    assert.deepEqual(failed.map(f => [f.code, f.reason, f.oldest_available_serial, f.newest_available_serial]), [['position_expired', 'hot_replay_expired_and_durable_history_disabled', null, 3]]);
    other.cut();
    const { recovered } = await other.reconnect();
    assert.deepEqual(recovered.map(r => [r.source, r.replayed, r.position]), [['hot', 0, null]]);
  });

  test('with recovery off there are no positions', async () => {
    const channel = fresh(), client = await connect('nothing'), ack = await client.subscribe(channel);
    await say('nothing', channel, '1');
    assert.ok(!('stream_id' in ack) && !('serial' in ack));
    await client.next(f => f.data === '1');
    client.send('sockudo:resume', { channel_positions: { [channel]: { serial: 0 } } });
    assert.equal((await client.next(f => f.event === 'sockudo:error')).data.code, 4301);
  });

  test('the app\'s window counts frames in both tiers [3.28]', async () => {
    const channel = fresh('ai'), client = await connect('few'), api = apis.few;
    await client.subscribe(channel);
    const { message_serial: serial } = await api.create(channel, 'a');
    await client.next(f => f.serial === 1);
    client.cut();
    for (let i = 0; i < 300; i++) ok(await api.append(channel, serial, 'x'));
    const { recovered } = await client.reconnect();
    assert.deepEqual(recovered.map(r => [r.source, r.replayed]), [['hot', 1]]);
    assert.equal(client.text(channel, serial), 'a' + 'x'.repeat(300));
    client.cut();
    await say('few', channel, '1', '2', '3', '4');
    const { failed } = await client.reconnect();
    assert.deepEqual(failed.map(f => [f.code, f.reason]), [['position_expired', 'recovery_window_exceeded']]);
    noFaults(client);
  });

  for (const [key, source] of [['app-key', 'hot'], ['cold', 'cold']]) {
    test(`a filter hides the tail: the position is the last one examined (${source}) [3.35]`, async () => {
      const channel = fresh(), client = await connect(key);
      await client.subscribe(channel, { filter: { events: ['n'] } });
      await say(key, channel, '1');
      await client.next(f => f.data === '1');
      client.cut();
      await say(key, channel, '2');
      for (let i = 0; i < 3; i++) ok(await apis[key].publish(channel, 'hidden', 'x'));
      const { recovered } = await client.reconnect();
      assert.deepEqual(recovered.map(r => [r.source, r.replayed, r.position.serial]), [[source, 1, 5]]);
      assert.deepEqual(heard(client, channel), ['1', '2']);
      noFaults(client);
    });

    test(`rewind and resume together, tokens flowing: nothing twice, text equal, position at the head (${source}) [3.47] [3.48]`, { timeout: 60_000 }, async () => {
      const channel = fresh('ai'), client = await connect(key, { params: 'append_rollup_window=20' }), api = apis[key];
      await client.subscribe(channel, { rewind: 5 });
      const texts = new Map();
      let on = true;
      const writers = [0, 1].map(async w => {
        for (let m = 0; on; m++) {
          const { message_serial: serial } = await api.create(channel, `${w}.${m}:`, { extras: streaming() });
          texts.set(serial, `${w}.${m}:`);
          for (let i = 0; i < 40 && on; i++) {
            ok(await api.append(channel, serial, ` ${i}`, { extras: i === 39 ? complete : streaming() }));
            texts.set(serial, `${texts.get(serial)} ${i}`);
            await sleep(10);
          }
        }
      });
      const sources = [];
      for (let round = 0; round < 10; round++) {
        await sleep(60 + 13 * round);
        client.cut();
        await sleep(round % 3 ? 80 : 0);
        const { recovered, failed } = await client.reconnect();
        assert.deepEqual(failed, []);
        sources.push(...recovered.map(r => r.source));
      }
      on = false;
      await Promise.all(writers);
      for (const [serial, text] of texts) await until(() => client.text(channel, serial) === text, () => `${serial} to be ${text}, it is ${client.text(channel, serial)}; ${JSON.stringify(client.faults)}`);
      const head = ok(await api.get(`/channels/${channel}/history/state`)).stream;
      assert.ok(head.next_serial > 2);
      await say(key, channel, 'end');
      const last = await client.next(f => f.data === 'end');
      assert.equal(client.positions.get(channel).serial, last.serial);
      assert.deepEqual([...new Set(sources)], [source]);
      noFaults(client);
    });
  }

  test('expired short messages beside a long stream: no resume below them, the stream\'s versions stay [3.49] [S44]', { timeout: 20_000 }, async () => {
    const channel = fresh('ai'), client = await connect('short'), api = apis.short;
    await client.subscribe(channel);
    const { message_serial: serial } = await api.create(channel, 'a', { extras: streaming() });
    await client.next(f => f.serial === 1);
    client.cut();
    await say('short', channel, '1', '2');
    for (let i = 0; i < 6; i++) {
      await sleep(500);
      ok(await api.append(channel, serial, 'x', { extras: streaming() }));
    }
    const { failed } = await client.reconnect();
    assert.deepEqual(failed.map(f => [f.code, f.reason]), [['position_expired', 'version_replay_floor_is_ahead_of_requested_serial']]);
    assert.ok(failed[0].oldest_available_serial > 3 && failed[0].newest_available_serial === 9, JSON.stringify(failed));
    const versions = ok(await api.versions(channel, serial, { direction: 'oldest_first' }));
    assert.deepEqual(versions.items.map(i => i.data).join(''), 'axxxxxx');
  });

  test('filters that do less or more than they seem to are named in the log, once', async () => {
    const client = await connect(), lines = pattern => held.server.log().split('\n').filter(line => pattern.test(line));
    for (const channel of [fresh('ai'), fresh('ai')]) await client.subscribe(channel, { filter: { events: ['n'], tags: { key: 'k', cmp: 'ex' } } });
    await client.subscribe(fresh(), { filter: { key: 'k', cmp: 'ex' } });
    assert.equal(lines(/WARN session: app app-id: a subscription of the AI channel 'ai-/).length, 1);
    assert.equal(lines(/WARN session: app app-id: subscriptions have tag filters, which are not applied: tag_filtering.enabled = false/).length, 1);
  });

  test('a client page is capped at 1000 whatever the policy [S77]', async () => {
    const channel = fresh(), client = await connect();
    await client.subscribe(channel);
    for (const limit of [5000, 1001, 1000]) {
      const from = client.frames.length;
      client.send('sockudo:channel_history', { channel, limit });
      assert.equal((await client.next(f => f.event === 'sockudo:channel_history', { from })).data.limit, 1000);
    }
  });

  test('a serial as text is taken, and a failed channel is named inside the data too [1.42]', async () => {
    const channel = fresh(), client = await wasAway('app-key', channel);
    client.positions.get(channel).serial = '1';
    const { recovered } = await client.reconnect();
    assert.deepEqual(recovered.map(r => r.replayed), [2]);
    client.positions.get(channel).serial = '9007199254740993';
    const from = client.frames.length, { failed } = await client.reconnect();
    const said = await client.next(f => f.event === 'sockudo:resume_failed', { from });
    assert.deepEqual([said.channel, JSON.parse(said.data).channel, JSON.parse(said.data)], [channel, channel, failed[0]]);
    const events = client.frames.slice(from).map(f => f.event);
    assert.ok(events.indexOf('sockudo:resume_failed') < events.indexOf('sockudo:resume_success'));
  });

  test('ten thousand publishes racing subscribes: none before its success, none lost after it [1.40] [S74]', { timeout: 60_000 }, async () => {
    const channel = fresh(), api = apis['app-key'], total = 10_000;
    let next = 1;
    const publisher = async () => {
      while (next <= total) {
        const first = next;
        next += 10;
        ok(await api.post('/batch_events', { batch: Array.from({ length: 10 }, (_, j) => ({ channel, name: 'n', data: first + j })) }));
      }
    };
    const writing = Promise.all(Array.from({ length: 4 }, publisher));
    const clients = [];
    for (let i = 0; i < 20; i++) {
      const client = await connect('app-key', { params: i % 3 ? '' : 'append_rollup_window=500' });
      const ack = await client.subscribe(channel);
      const before = client.frames.slice(0, client.frames.indexOf(ack)).filter(f => f.channel === channel);
      assert.deepEqual(before, []);
      clients.push([client, ack]);
      await sleep(20);
    }
    await writing;
    const { newest_available_serial: newest } = ok(await api.history(channel, { limit: 1 })).continuity;
    assert.equal(newest, total);
    for (const [client, ack] of clients) {
      await until(() => client.positions.get(channel).serial === total, () => `${client.positions.get(channel).serial} to be ${total}`, 10_000);
      assert.deepEqual(client.of(channel).filter(f => f.event === 'n').map(f => f.serial), Array.from({ length: total - ack.serial }, (_, i) => ack.serial + 1 + i));
    }
    noFaults(...clients.map(([client]) => client));
  });

  test('a gate that is full ends the connection, and nothing was out of order before [3.25]', { timeout: 60_000 }, async () => {
    const channel = fresh(), client = await connect(), api = apis['app-key'], filling = 'x'.repeat(9000);
    for (let i = 1; i <= 1700; i += 10)
      ok(await api.post('/batch_events', { batch: Array.from({ length: 10 }, (_, j) => ({ channel, name: 'n', data: `${i + j} ${filling}` })) }));
    client.ws.pause(); // the rewind fills the socket, so the gate stays closed
    client.send('sockudo:subscribe', { channel, rewind: 1700 });
    await sleep(500);
    for (let i = 1701; i <= 2800; i += 10)
      ok(await api.post('/batch_events', { batch: Array.from({ length: 10 }, (_, j) => ({ channel, name: 'n', data: `${i + j} live` })) }));
    client.ws.resume();
    await until(() => client.closing, 'the end of the connection', 20_000);
    assert.equal(client.closing.code, 4100);
    const numbers = heard(client, channel).map(d => Number(d.split(' ')[0]));
    assert.deepEqual(numbers, numbers.map((_, i) => i + 1));
    assert.ok(numbers.length <= 1700, `${numbers.length} messages`);
    assert.match(client.find(f => f.event === 'sockudo:error').data.message, /while the subscription was being prepared/);
  });
});

describe('over a restart', () => {
  test('a kill in the middle of a stream: the resume is cold and the text whole [3.33]', { timeout: 60_000 }, async () => {
    const server = await Server.start({ apps: [demoApp] }), api = new Api(server), client = await V2.connect(server), channel = fresh('ai');
    await client.subscribe(channel);
    const { message_serial: serial } = await api.create(channel, '', { extras: streaming() });
    let text = '';
    for (let i = 0; i < 50; i++) { ok(await api.append(channel, serial, ` ${i}`)); text += ` ${i}`; }
    client.cut();
    for (let i = 50; i < 100; i++) { ok(await api.append(channel, serial, ` ${i}`)); text += ` ${i}`; }
    await server.kill9();
    await server.restart();
    for (let i = 100; i < 120; i++) { ok(await api.append(channel, serial, ` ${i}`)); text += ` ${i}`; }
    const { recovered, failed } = await client.reconnect();
    assert.deepEqual([failed, recovered.map(r => r.source)], [[], ['cold']]);
    assert.equal(client.text(channel, serial), text);
    assert.equal((await api.latest(channel, serial)).data, text);
    assert.deepEqual(client.faults, []);
    await client.close();
    api.close();
    await server.stop();
  });

  test('a channel without durable history has another stream then: stream_reset', { timeout: 60_000 }, async () => {
    const server = await Server.start({ apps: [appWith({ history: { enabled: false } })] }), api = new Api(server), client = await V2.connect(server), channel = fresh();
    await client.subscribe(channel);
    ok(await api.publish(channel, 'n', '1'));
    await client.next(f => f.data === '1');
    await server.kill9();
    await server.restart();
    const { failed } = await client.reconnect();
    assert.deepEqual(failed.map(f => [f.code, f.reason]), [['stream_reset', 'stream_id_mismatch']]);
    await client.close();
    api.close();
    await server.stop();
  });

  test('versioned messages switched off and on: positions keep rising, no hole [3.53]', { timeout: 60_000 }, async () => {
    const server = await Server.start({ apps: [demoApp], config: { ai_transport: { enabled: false } } }), api = new Api(server), client = await V2.connect(server), channel = fresh();
    const toml = fs.readFileSync(server.configFile, 'utf8');
    const restartWith = async on => {
      client.cut();
      await server.kill9();
      fs.writeFileSync(server.configFile, on ? toml : toml.replace(/versioned_messages = \{ enabled = true/, 'versioned_messages = { enabled = false'));
      await server.restart();
    };
    await client.subscribe(channel);
    ok(await api.publish(channel, 'n', '1'));
    await client.next(f => f.data === '1');
    for (const on of [false, true]) {
      await restartWith(on);
      for (const text of [`a${on}`, `b${on}`]) ok(await api.publish(channel, 'n', text));
      const { failed } = await client.reconnect();
      assert.deepEqual(failed, []);
    }
    const frames = client.of(channel).filter(f => f.event === 'n');
    assert.deepEqual(frames.map(f => f.data), ['1', 'afalse', 'bfalse', 'atrue', 'btrue']);
    assert.deepEqual(frames.map(f => f.serial), [1, 2, 3, 4, 5]);
    assert.equal(new Set(frames.map(f => f.stream_id)).size, 1);
    assert.deepEqual(client.faults, []);
    await client.close();
    api.close();
    await server.stop();
  });
});
