// SPDX-License-Identifier: Apache-2.0
//
// continuity.test.mjs - what a client may rely on when it was away: both tiers of resume, pages up to the attach, and what happens
// when the stream itself is in doubt. [3.n] are the cases of chapter 3, section 9.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Api } from './lib/api.mjs';
import { appWith, demoApp, fresh, oneServer, root } from './lib/server.mjs';
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
