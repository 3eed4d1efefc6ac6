// SPDX-License-Identifier: Apache-2.0
//
// shared-state.test.mjs - what nodes share in Redis beside the bus: idempotency keys, rate limits (chapter 2, 2.7 A and 2.17; chapter 5,
// 6.1 and 6.3; its edge case 29), and what a dead node left untold (src/channel/will.h).
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import fs from 'node:fs';
import path from 'node:path';
import { Fleet } from './lib/fleet.mjs';
import { Api } from './lib/api.mjs';
import { HookEndpoint } from './lib/hook-endpoint.mjs';
import { appWith, demoApp, fresh, root, Server, sleep, until } from './lib/server.mjs';
import { V2 } from './lib/v2.mjs';

const keyed = key => ({ 'X-Idempotency-Key': key });

describe('idempotency keys of two nodes', () => {
  let fleet, apis;
  before(async () => { fleet = await Fleet.start({ nodes: 2 }); apis = fleet.nodes.map(node => new Api(node, demoApp)); });
  after(async () => { apis.forEach(api => api.close()); await fleet.stop(); });

  test('a key posted to both is published once, and both answer the same bytes [5.29]', async () => {
    const channel = fresh('c'), key = fresh('key'), viewer = await V2.connect(fleet.nodes[1]);
    await viewer.subscribe(channel);
    const first = await apis[0].publish(channel, 'e', 'one', { info: 'subscription_count' }, keyed(key));
    const second = await apis[1].publish(channel, 'e', 'one', { info: 'subscription_count' }, keyed(key));
    assert.equal(first.status, 200, first.text);
    assert.deepEqual([second.status, second.text], [200, first.text]);
    await apis[1].publish(channel, 'e', 'last');
    await until(() => viewer.of(channel).some(f => f.data === 'last'), 'the last event');
    assert.deepEqual(viewer.of(channel).filter(f => f.event === 'e').map(f => f.data), ['one', 'last']);
    await viewer.close();
  });

  test('twins at the same moment: one event, answers alike', async () => {
    const channel = fresh('c'), viewer = await V2.connect(fleet.nodes[0]);
    await viewer.subscribe(channel);
    for (let i = 0; i < 20; i++) {
      const key = fresh('twin');
      const answers = await Promise.all(apis.map(api => api.publish(channel, 'e', `${i}`, {}, keyed(key))));
      assert.deepEqual(answers.map(a => [a.status, a.text]), [[200, answers[0].text], [200, answers[0].text]]);
    }
    await apis[0].publish(channel, 'e', 'last');
    await until(() => viewer.of(channel).some(f => f.data === 'last'), 'the last event');
    assert.deepEqual(viewer.of(channel).filter(f => f.event === 'e').map(f => f.data), [...Array(20).keys()].map(String).concat('last'));
    await viewer.close();
  });

  test('a batch and its items are known at the other node; a failed request gives its key back', async () => {
    const channel = fresh('c'), key = fresh('batch'), item = fresh('item');
    const batch = [{ name: 'e', channel, data: 'a', idempotency_key: item, info: 'subscription_count' }, { name: 'e', channel, data: 'b', info: 'subscription_count' }];
    const first = await apis[0].post('/batch_events', { batch }, keyed(key)), second = await apis[1].post('/batch_events', { batch }, keyed(key));
    assert.equal(first.status, 200, first.text);
    assert.equal(second.text, first.text);
    const other = await apis[1].post('/batch_events', { batch: [batch[0]] }, keyed(fresh('batch')));
    assert.deepEqual(other.body, { batch: [{}] });
    const conflict = { message_id: fresh('m') };
    assert.equal((await apis[0].publish(channel, 'e', 'x', conflict)).status, 200);
    const refused = fresh('refused');
    assert.equal((await apis[0].publish(channel, 'e', 'y', conflict, keyed(refused))).status, 400);
    assert.equal((await apis[1].publish(channel, 'e', 'y', {}, keyed(refused))).status, 200);
  });

  test('the last event of a cache channel is there for a subscriber of another node that has not listened', async () => {
    const channel = fresh('cache'), viewer = () => V2.connect(fleet.nodes[1]);
    const none = await viewer();
    await none.subscribe(channel);
    await until(() => none.of(channel).some(f => f.event.endsWith('cache_miss')), 'a miss');
    await none.close();
    const other = fresh('cache');
    assert.equal((await apis[0].publish(other, 'e', 'old')).status, 200);
    assert.equal((await apis[0].publish(other, 'e', 'kept')).status, 200);
    await sleep(100);
    const late = await viewer();
    await late.subscribe(other);
    await until(() => late.of(other).some(f => f.event === 'e'), 'the last event');
    assert.deepEqual(late.of(other).filter(f => f.event === 'e').map(f => f.data), ['kept']);
    assert.ok(!late.of(other).some(f => f.event.endsWith('cache_miss')));
    await late.close();
    // Published at a node that nobody has listened at since: what node 0 has kept itself is older.
    assert.equal((await apis[1].publish(other, 'e', 'newer')).status, 200);
    await sleep(100);
    const first = await V2.connect(fleet.nodes[0]);
    await first.subscribe(other);
    await until(() => first.of(other).some(f => f.event === 'e'), 'the newer event');
    assert.deepEqual(first.of(other).filter(f => f.event === 'e').map(f => f.data), ['newer']);
    await first.close();
  });

  test('config/production.example.toml starts as it is, and its two nodes share keys', async () => {
    const text = fs.readFileSync(path.join(root, 'config/production.example.toml'), 'utf8').replace('${PORT:-6001}', '{{port}}').replace('port = 9601', 'port = {{metrics}}');
    const env = { REDIS_PORT: String(fleet.redis.port), POSTGRES_PORT: String(fleet.postgres.port), POSTGRES_PASSWORD: 'x', POSTGRES_USER: 'sockudo', SOCKUDO_APP_ID: demoApp.id,
      SOCKUDO_APP_KEY: demoApp.key, SOCKUDO_APP_SECRET: demoApp.secret, SOCKUDO_ALLOWED_ORIGIN: '*' };
    const nodes = await Promise.all([0, 1].map(() => Server.start({ text, env })));
    const [a, b] = nodes.map(node => new Api(node, demoApp)), key = fresh('key'), channel = fresh('private-ai');
    const first = await a.publish(channel, 'ai-output', 'x', { message_id: fresh('m') }, keyed(key)), second = await b.publish(channel, 'ai-output', 'x', { message_id: fresh('m') }, keyed(key));
    assert.deepEqual([first.status, second.status, second.text], [200, 200, first.text], first.text);
    assert.equal(first.headers['x-ratelimit-limit'], '20000');
    assert.equal((await nodes[0].get('/up')).status, 200);
    [a, b].forEach(api => api.close());
    await Promise.all(nodes.map(node => node.stop()));
  });

  test('without Redis a key is refused with 503, an event without one goes through; then all is as before', async () => {
    const channel = fresh('c'), key = fresh('key');
    await fleet.redis.kill9();
    const refused = await apis[0].publish(channel, 'e', 'one', {}, keyed(key));
    assert.deepEqual([refused.status, refused.body.code ?? refused.body.error], [503, 'service_unavailable'], refused.text);
    assert.match(refused.text, /Idempotency coordination is temporarily unavailable/);
    assert.equal((await apis[0].publish(channel, 'e', 'plain')).status, 200);
    await until(async () => (await fleet.nodes[0].get('/up')).status === 503, '/up to say so');
    await fleet.redis.restart();
    assert.deepEqual((await apis[0].history(channel)).body.items.map(i => i.message.data), ['plain'], 'nothing was published without its claim');
    await until(async () => (await apis[0].publish(channel, 'e', 'one', {}, keyed(key))).status === 200, 'the key to be taken', 30000);
    assert.deepEqual((await apis[0].history(channel)).body.items.map(i => i.message.data), ['one', 'plain']);
    await until(async () => (await fleet.nodes[0].get('/up')).status === 200, '/up to recover', 30000);
    assert.ok(await fleet.nodes[0].metric('sockudo_cache_failures_total', { cache: 'cache' }) >= 1);
  });
});

describe('rate limits of two nodes', () => {
  const limit = { max_requests: 6, window_seconds: 3 };
  let fleet, apis;
  before(async () => {
    fleet = await Fleet.start({ nodes: 2, config: { rate_limiter: { enabled: true, driver: 'redis', api_rate_limit: limit, websocket_rate_limit: limit } } });
    apis = fleet.nodes.map(node => new Api(node, demoApp));
  });
  after(async () => { apis.forEach(api => api.close()); await fleet.stop(); });
  const left = answer => [answer.status, answer.headers['x-ratelimit-remaining']];

  test('an address has one window for both, which slides', async () => {
    const answers = [];
    for (let i = 0; i < 8; i++) answers.push(await apis[i % 2].publish('c', 'e', 'x'.repeat(i * 1000)));
    assert.deepEqual(answers.map(left), [[200, '5'], [200, '4'], [200, '3'], [200, '2'], [200, '1'], [200, '0'], [429, '0'], [429, '0']]);
    assert.deepEqual([answers[7].headers['retry-after'], answers[7].body.error], ['3', 'Too Many Requests']);
    await sleep(3100);
    assert.deepEqual(left(await apis[1].publish('c', 'e', 'x')), [200, '5']);
    await sleep(3100);
  });

  test('two hundred at once on kept connections: exactly the limit passes', async () => {
    const answers = await Promise.all(Array.from({ length: 200 }, (_, i) => apis[i % 2].publish('c', 'e', 'x')));
    assert.deepEqual([answers.filter(a => a.status === 200).length, answers.filter(a => a.status === 429).length], [6, 194]);
    await sleep(3100);
  });

  test('connections are counted over both nodes, on their own', async () => {
    const clients = await Promise.all(Array.from({ length: 6 }, (_, i) => V2.connect(fleet.nodes[i % 2])));
    for (const node of fleet.nodes) {
      const { text } = await node.raw(`GET /app/${demoApp.key}?protocol=7 HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`);
      assert.match(text, /^HTTP\/1.1 429 /);
    }
    assert.equal((await apis[0].publish('c', 'e', 'x')).status, 200);
    await Promise.all(clients.map(c => c.close()));
  });

  test('without Redis each node keeps the limit itself, and says so in a metric', async () => {
    await fleet.redis.kill9();
    await sleep(3100);
    for (const [i, api] of apis.entries()) {
      const answers = [];
      for (let n = 0; n < 8; n++) answers.push(await api.publish('c', 'e', 'x'));
      assert.deepEqual(answers.map(a => a.status), [200, 200, 200, 200, 200, 200, 429, 429]);
      assert.ok(await fleet.nodes[i].metric('sockudo_rate_limiter_fallback_total', { limiter: 'api' }) >= 8);
    }
  });
});

describe('what only a node that has gone knew', () => {
  const types = ['channel_vacated', 'member_removed'];
  let fleet, hook;
  before(async () => {
    hook = await HookEndpoint.start();
    fleet = await Fleet.start({ nodes: 3, apps: [appWith({ webhooks: [{ url: hook.url, event_types: types }] })] });
  });
  after(async () => { await fleet.stop(); await hook.stop(); });
  const holds = async (node, channels, user = 'u1') => {
    const client = await V2.connect(node);
    for (const channel of channels) await client.subscribe(channel, channel.startsWith('presence') ? { channel_data: JSON.stringify({ user_id: user }) } : {});
    await sleep(200);
  };
  const isToldOnce = async (channels, presence) => {
    const wanted = [...channels.map(c => `channel_vacated ${c}`), `member_removed ${presence} u1`].sort();
    const told = () => hook.events().filter(e => channels.includes(e.channel)).map(e => [e.name, e.channel, e.user_id].filter(Boolean).join(' ')).sort();
    await until(() => told().length >= wanted.length, () => JSON.stringify(told()), 15_000);
    await sleep(500);
    assert.deepEqual(told(), wanted);
  };

  test('is told to webhooks once, by one of the others: killed, then stopped', { timeout: 60_000 }, async () => {
    const names = () => [fresh('c'), fresh('private'), fresh('presence')];
    const killed = names(), stopped = names(), room = fresh('presence');
    await holds(fleet.nodes[2], [...killed, room]);
    await fleet.nodes[2].kill9();
    await holds(fleet.nodes[0], [room], 'u2'); // comes back at once, and u1 does not
    await isToldOnce(killed, killed[2]);
    const inRoom = () => hook.events().filter(e => e.channel === room);
    await until(() => inRoom().length > 0, 'u1 is told of', 10_000);
    assert.deepEqual(inRoom(), [{ name: 'member_removed', channel: room, user_id: 'u1' }]);
    await holds(fleet.nodes[1], stopped);
    await fleet.nodes[1].stop();
    await isToldOnce(stopped, stopped[2]);
    assert.equal(hook.events().length, 9);
  });
});
