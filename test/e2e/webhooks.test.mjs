// SPDX-License-Identifier: Apache-2.0
//
// webhooks.test.mjs - what an endpoint is told over real sockets: once, signed, in batches, again after it failed, and after kill -9.
//
// The events here are message_version_created: one per stored version, so a test makes as many as it wants.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, test } from 'node:test';
import Pusher from 'pusher';
import { Api, hmac } from './lib/api.mjs';
import { HookEndpoint, answering, garbage, hanging, oneAfterTheOther } from './lib/hook-endpoint.mjs';
import { Server, appWith, fresh, root, sleep, until } from './lib/server.mjs';
import { V2 } from './lib/v2.mjs';

const version = 'message_version_created';
const hooks = [];
after(() => Promise.all(hooks.map(hook => hook.stop().catch(() => {}))));
async function endpoint(behave) {
  const hook = await HookEndpoint.start(behave);
  hooks.push(hook);
  return hook;
}
const app = (...webhooks) => appWith({ webhooks });
const to = (hook, more = {}) => ({ url: hook.url, event_types: [version], ...more });
async function serve(webhooks, config = {}) {
  const server = await Server.start({ apps: [app(...webhooks)], config });
  return { server, api: new Api(server), async stop() { this.api.close(); return server.stop(); } };
}

describe('a webhook', () => {
  test('is one signed POST that the official library accepts', async () => {
    const hook = await endpoint();
    const s = await serve([to(hook, { headers: { 'X-Custom': 'as given' } })]);
    const channel = fresh('ai');
    const { message_serial } = await s.api.create(channel, 'hello');
    await s.api.append(channel, message_serial, ' you');
    await hook.event(e => e.action === 'message.append');
    const [request] = hook.requests;
    assert.equal(request.method, 'POST');
    assert.equal(request.headers['content-type'], 'application/json');
    assert.equal(request.headers['x-pusher-key'], 'app-key');
    assert.equal(request.headers['x-custom'], 'as given');
    assert.equal(request.headers['x-pusher-signature'], hmac('app-secret', request.raw));
    assert.match(request.raw, /^{"time_ms":\d{13},"events":\[{"name":"message_version_created","channel":"/);
    const pusher = new Pusher({ appId: 'app-id', key: 'app-key', secret: 'app-secret', host: '127.0.0.1', port: '1' });
    for (const each of hook.requests) {
      const webhook = pusher.webhook({ headers: each.headers, rawBody: each.raw });
      assert.ok(webhook.isValid());
      assert.deepEqual(webhook.getEvents(), each.body.events);
      assert.ok(Math.abs(webhook.getTime() - Date.now()) < 10_000);
    }
    const [created, appended] = hook.events(version);
    assert.deepEqual({ ...created, version_serial: '' }, { name: version, channel, message_serial, version_serial: '', action: 'message.create' });
    assert.equal(appended.message_serial, message_serial);
    assert.ok(appended.version_serial > created.version_serial);
    await s.stop();
  });

  test('is not sent what it did not ask for, and batches keep their order', async () => {
    const [all, some, none] = [await endpoint(), await endpoint(), await endpoint()];
    const s = await serve([to(all), to(some, { filter: { channel_prefix: 'private-', channel_namespace: 'orders' } }), to(none, { event_types: ['cache_miss'] })],
      { webhooks: { batching: { size: 2, duration: 300 } } });
    const [a, b] = ['ai-1', 'ai-2'];
    for (const channel of [a, b, a, b, a]) await s.api.create(channel, 'x');
    await until(() => all.events().length === 5);
    assert.deepEqual(all.requests.map(r => r.body.events.map(e => e.channel)), [[a, b], [a, b], [a]]);
    assert.deepEqual([some.requests.length, none.requests.length], [0, 0]);
    await s.stop();
  });

  test('is told when a channel is occupied and vacated, not of its meta channel', async () => {
    const hook = await endpoint();
    const s = await serve([to(hook, { event_types: ['channel_occupied', 'channel_vacated'] })]);
    const channel = fresh('c'), client = await V2.connect(s.server);
    await client.subscribe(`[meta]${channel}`);
    await client.subscribe(channel);
    await hook.event(e => e.name === 'channel_occupied' && e.channel === channel);
    await client.close();
    await hook.event(e => e.name === 'channel_vacated' && e.channel === channel, 10_000);
    assert.equal(hook.events().length, 2);
    await s.stop();
  });

  test('is told everything that 2.19.3 lists for clients, members, caches and runs', { timeout: 30_000 }, async () => {
    const hook = await endpoint();
    const s = await serve([to(hook, { event_types: ['member_added', 'member_updated', 'member_removed', 'client_event', 'cache_miss', 'subscription_count',
      'ai_run_started', 'ai_turn_started', 'ai_run_ended', 'ai_cancel_requested', version] })]);
    const presence = fresh('presence'), cache = fresh('cache'), ai = fresh('ai');
    const client = await V2.connect(s.server);
    await client.subscribe(presence, { channel_data: '{"user_id":"u1"}' });
    await client.subscribe(cache);
    client.send('client-wave', { hand: 'left' }, { channel: presence });
    client.send('sockudo:presence_update', { channel: presence, data: { status: 'thinking' } });
    await s.api.publish(ai, 'ai-run-start', '{}', { extras: { ai: { transport: { 'run-id': 'r1', 'run-client-id': 'bot' } } } });
    await s.api.publish(ai, 'ai-run-end', '{}', { extras: { ai: { transport: { 'run-id': 'r1', 'run-reason': 'complete' } } } });
    await hook.event(e => e.name === 'ai_run_ended');
    await hook.event(e => e.name === 'member_updated');
    await client.close();
    await hook.event(e => e.name === 'member_removed', 25_000);
    const first = name => hook.events(name)[0];
    assert.deepEqual(first('member_added'), { name: 'member_added', channel: presence, user_id: 'u1' });
    assert.deepEqual(first('member_updated'), { name: 'member_updated', channel: presence, user_id: 'u1', user_info: { status: 'thinking' } });
    assert.deepEqual(first('member_removed'), { name: 'member_removed', channel: presence, user_id: 'u1' });
    assert.deepEqual(first('client_event'), { name: 'client_event', channel: presence, event: 'client-wave', data: { hand: 'left' }, socket_id: client.socketId, user_id: 'u1' });
    assert.deepEqual(first('cache_miss'), { name: 'cache_miss', channel: cache, data: '{}' });
    assert.deepEqual(first('subscription_count'), { name: 'subscription_count', channel: cache, subscription_count: 1 });
    assert.deepEqual(first('ai_run_started'), { name: 'ai_run_started', channel: ai, run_id: 'r1', client_id: 'bot' });
    assert.deepEqual(first('ai_turn_started'), { name: 'ai_turn_started', channel: ai, turn_id: 'r1', client_id: 'bot' });
    assert.deepEqual(first('ai_run_ended'), { name: 'ai_run_ended', channel: ai, run_id: 'r1', reason: 'complete', error_code: null });
    for (const name of ['member_added', 'member_updated', 'member_removed', 'client_event', 'cache_miss', 'ai_run_started', 'ai_run_ended']) assert.equal(hook.events(name).length, 1, name);
    await s.stop();
  });

  test('answered 500 is tried again after 1 s and 2 s, with the same body', { timeout: 30_000 }, async () => {
    const hook = await endpoint(oneAfterTheOther(answering(500), answering(429), answering(200)));
    const s = await serve([to(hook)]);
    await s.api.create(fresh('ai'), 'x');
    await hook.request(3, 10_000);
    await sleep(300);
    const [first, second, third] = hook.requests;
    assert.equal(hook.requests.length, 3);
    assert.equal(new Set(hook.requests.map(r => r.raw)).size, 1);
    assert.equal(new Set(hook.requests.map(r => r.headers['x-pusher-signature'])).size, 1);
    assert.ok(second.at - first.at >= 990 && second.at - first.at < 3000, `first gap ${second.at - first.at}`);
    assert.ok(third.at - second.at >= 1980 && third.at - second.at < 6000, `second gap ${third.at - second.at}`);
    assert.equal(await s.server.metric('sockudo_webhook_retries_total'), 2);
    assert.equal(await s.server.metric('sockudo_webhook_delivered_total'), 1);
    assert.equal(await s.server.metric('sockudo_webhook_queue_depth'), 0);
    await s.stop();
  });

  test('follows no redirect: a 302 is an answer, and a final one', async () => {
    const other = await endpoint(), hook = await endpoint((request, response) => response.writeHead(302, { Location: other.url }).end());
    const s = await serve([to(hook)]);
    await s.api.create(fresh('ai'), 'x');
    await until(async () => await s.server.metric('sockudo_webhook_dead_letters_total') === 1);
    assert.deepEqual([hook.requests.length, other.requests.length], [1, 0]);
    await s.stop();
  });

  test('stays out of the private network when that is asked for', async () => {
    const hook = await endpoint();
    const s = await serve([to(hook, { retry: { enabled: false } })], { webhooks: { block_private_addresses: true } });
    await s.api.create(fresh('ai'), 'x');
    await until(async () => await s.server.metric('sockudo_webhook_dead_letters_total') === 1);
    assert.equal((await s.api.get('/webhooks/dead_letters')).body.dead_letters[0].error, 'address_blocked');
    assert.equal(hook.requests.length, 0);
    await s.stop();
  });

  test('goes over TLS only to an endpoint whose certificate is trusted', { timeout: 30_000 }, async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'sockudo-hook-'));
    const [key, cert] = [path.join(folder, 'key.pem'), path.join(folder, 'cert.pem')];
    execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', key, '-out', cert, '-days', '1', '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'], { stdio: 'ignore' });
    const hook = await endpoint();
    await hook.stop();
    await hook.restart({ key: fs.readFileSync(key), cert: fs.readFileSync(cert) });
    const target = { ...to(hook, { retry: { enabled: false } }), url: `https://localhost:${hook.port}/hook` };
    const s = await serve([target]);
    await s.api.create(fresh('ai'), 'x');
    await until(async () => await s.server.metric('sockudo_webhook_dead_letters_total') === 1);
    assert.equal((await s.api.get('/webhooks/dead_letters')).body.dead_letters[0].error, 'tls');
    assert.equal(hook.requests.length, 0);
    await s.stop();
    const trusting = { server: await Server.start({ apps: [app(target)], env: { SSL_CERT_FILE: cert } }) };
    const api = new Api(trusting.server);
    await api.create(fresh('ai'), 'x');
    const request = await hook.request();
    assert.equal(request.headers['x-pusher-signature'], hmac('app-secret', request.raw));
    api.close();
    await trusting.server.stop();
    fs.rmSync(folder, { recursive: true });
  });

  test('survives garbage, an endless answer, and an endpoint that is gone for a while', { timeout: 30_000 }, async () => {
    const endless = (request, response) => { response.writeHead(200); const pour = () => { while (!response.destroyed && response.write(Buffer.alloc(65536))); }; response.on('drain', pour); pour(); };
    const [bad, loud, away] = [await endpoint(oneAfterTheOther(garbage, answering(200))), await endpoint(endless), await endpoint()];
    await away.stop();
    const s = await serve([bad, loud, away].map(hook => to(hook, { retry: { initial_backoff_ms: 100, max_backoff_ms: 200 } })));
    await s.api.create(fresh('ai'), 'x');
    await bad.request(2, 10_000);
    await loud.request();
    await sleep(500);
    await away.restart();
    await away.request(1, 10_000);
    await until(async () => await s.server.metric('sockudo_webhook_queue_depth') === 0, 'an empty queue');
    assert.equal(await s.server.metric('sockudo_webhook_delivered_total'), 3);
    assert.equal(loud.requests.length, 1);
    assert.equal(await s.server.metric('sockudo_webhook_dead_letters'), 0);
    await s.stop();
  });
});

describe('dead letters', () => {
  const path = '/webhooks/dead_letters';

  test('are listed with their reason, page by page, and replayed', { timeout: 30_000 }, async () => {
    const gone = await endpoint(answering(410)), down = await endpoint(answering(503));
    const s = await serve([to(gone), to(down, { retry: { max_attempts: 2, initial_backoff_ms: 50 }, event_types: ['cache_miss', version], filter: { channel_suffix: 'last' } })]);
    const list = async query => (await s.api.get(path, query)).body;
    assert.deepEqual(await list(), { dead_letters: [], next: null });
    const channels = [fresh('ai'), fresh('ai'), `${fresh('ai')}-last`];
    for (const [i, channel] of channels.entries()) {
      await s.api.create(channel, 'x');
      await gone.request(i + 1);
    }
    await until(async () => (await list()).dead_letters.length === 4, 'four dead letters');
    const { dead_letters } = await list();
    const [first] = dead_letters, tired = dead_letters.find(d => d.webhook === 1);
    assert.deepEqual({ ...first, id: 0, bytes: 0, time_ms: 0, dead_at_ms: 0 }, { id: 0, app_id: 'app-id', webhook: 0, url: new URL(gone.url).origin, reason: 'permanent_status', error: 'http_status', last_status: 410, attempts: 1, events: 1, bytes: 0, time_ms: 0, dead_at_ms: 0 });
    assert.deepEqual([tired.reason, tired.last_status, tired.attempts], ['retries_exhausted', 503, 2]);
    const page = await list({ limit: '3' });
    assert.deepEqual([page.dead_letters.length, page.next], [3, page.dead_letters[2].id]);
    assert.deepEqual((await list({ limit: '3', after: page.next })).dead_letters.length, 1);
    assert.equal(await s.server.metric('sockudo_webhook_dead_letters_total'), 4);
    assert.equal(await s.server.metric('sockudo_webhook_dead_letters'), 4);

    gone.behave = answering(200);
    const before = gone.requests.length;
    assert.deepEqual((await s.api.post(`${path}/replay`, { id: first.id })).body, { replayed: 1, left: 3 });
    await gone.request(before + 1);
    assert.equal(gone.requests.at(-1).raw, gone.requests[0].raw);
    assert.deepEqual((await s.api.call('POST', `${path}/replay`)).body, { replayed: 3, left: 0 });
    await until(() => gone.requests.slice(before).flatMap(r => r.body.events).length === 3, 'every event again');
    await until(async () => (await list()).dead_letters.length === 1, 'the endpoint that is down is a dead letter again');
    await s.stop();
  });

  test('refuse what makes no sense, and whoever does not sign', async () => {
    const hook = await endpoint(), s = await serve([to(hook)]);
    const status = async promise => (await promise).status;
    assert.equal(await status(s.api.get(path, { limit: '0' })), 400);
    assert.equal(await status(s.api.get(path, { after: 'x' })), 400);
    assert.equal(await status(s.api.post(`${path}/replay`, { limit: 1001 })), 400);
    assert.equal(await status(s.api.post(`${path}/replay`, { limit: 'many' })), 422);
    assert.equal(await status(s.api.post(`${path}/replay`, { id: 'nope' })), 400);
    assert.equal(await status(s.api.post(`${path}/replay`, { id: '00000000000000ff' })), 404);
    assert.equal((await s.server.get(`/apps/app-id${path}`)).status, 400);
    await s.stop();
    const without = await Server.start(), api = new Api(without);
    assert.equal(await without.metric('sockudo_webhook_dead_letters_total'), 0);
    assert.deepEqual((await api.get(path)).body, { dead_letters: [], next: null });
    assert.equal((await api.call('POST', `${path}/replay`)).status, 422);
    api.close();
    await without.stop();
  });
});

describe('the queue', () => {
  test('outlives kill -9: what was accepted is delivered, at least once', { timeout: 60_000 }, async () => {
    const hook = await endpoint();
    await hook.stop();
    const s = await serve([to(hook)]);
    const sent = [];
    for (let i = 0; i < 40; i++) sent.push((await s.api.create(fresh('ai'), 'x')).message_serial);
    await until(async () => await s.server.metric('sockudo_webhook_queue_depth') > 0 && await s.server.metric('sockudo_webhook_inbox_events') === 0);
    await s.server.kill9();
    await hook.restart();
    await s.server.restart();
    await until(() => new Set(hook.events().map(e => e.message_serial)).size === sent.length, 'every event', 10_000);
    assert.deepEqual(new Set(hook.events().map(e => e.message_serial)), new Set(sent));
    await until(async () => await s.server.metric('sockudo_webhook_queue_depth') === 0);
    await s.server.kill9();
    const before = hook.requests.length;
    await s.server.restart();
    await s.api.create(fresh('ai'), 'after');
    await hook.request(before + 1);
    assert.equal(hook.requests.length, before + 1); /* nothing comes a second time */
    await s.stop();
  });

  test('is on disk when SIGTERM ends the server, which does not wait for a hanging endpoint', { timeout: 30_000 }, async () => {
    const hook = await endpoint(hanging);
    const s = await serve([to(hook)]);
    const { message_serial } = await s.api.create(fresh('ai'), 'x');
    await hook.request();
    await s.api.create(fresh('ai'), 'y');
    const begun = Date.now();
    s.server.process.kill('SIGTERM');
    await s.server.exited;
    assert.ok(Date.now() - begun < 4000, `${Date.now() - begun} ms`);
    hook.behave = answering(200);
    await s.server.restart();
    await until(() => hook.events().length >= 3, 'both events after the start');
    assert.equal(hook.events().filter(e => e.message_serial === message_serial).length, 2);
    await s.stop();
  });

  test('of a hanging endpoint delays neither other endpoints nor appends', { timeout: 60_000 }, async () => {
    const fine = await endpoint(), stuck = await Promise.all(Array.from({ length: 30 }, () => endpoint(hanging)));
    const appends = async s => {
      const channel = fresh('ai'), { message_serial } = await s.api.create(channel, '');
      const took = [];
      for (let i = 0; i < 200; i++) {
        const begun = performance.now();
        const { status } = await s.api.append(channel, message_serial, 'x');
        assert.equal(status, 200);
        took.push(performance.now() - begun);
      }
      return took.sort((a, b) => a - b);
    };
    const calm = await serve([to(fine)]);
    await appends(calm);
    const usual = await appends(calm);
    await calm.stop();
    fine.requests.length = 0;
    const s = await serve([...stuck.map(hook => to(hook)), to(fine)]);
    await s.api.create(fresh('ai'), 'first');
    await until(() => stuck.filter(hook => hook.requests.length > 0).length >= 10, 'hanging requests');
    const hung = await appends(s);
    await until(() => fine.events().length >= 202, 'the other endpoint', 8000);
    const median = times => times[times.length >> 1];
    /* Compared with the same machine a moment ago: no wait of a time-out, a slot or a retry is in it. */
    assert.ok(median(hung) < 10 * median(usual) + 50, `median ${median(hung)} ms, usually ${median(usual)} ms`);
    assert.ok(stuck.every(hook => hook.requests.length <= 1));
    assert.equal((await s.server.get('/up')).text, 'OK');
    await s.stop();
  });

  const alone = ['-m', '-n', 'sh', '-c', 'ip link set lo up && mount --bind "$1" /etc/resolv.conf && shift && exec "$@"', 'sh'];
  const file = path.join(os.tmpdir(), `resolv-${process.pid}.conf`);
  fs.writeFileSync(file, 'nameserver 127.0.0.1\n');
  after(() => fs.rmSync(file));
  const cannot = spawnSync('unshare', [...alone, file, 'true']).status !== 0 && 'needs a network namespace';
  test('of an endpoint whose name server hangs delays nobody, not even the end', { timeout: 60_000, skip: cannot }, () => {
    const script = path.join(root, 'test/e2e/lib/hanging-names.mjs');
    const said = JSON.parse(execFileSync('unshare', [...alone, file, process.execPath, script], { encoding: 'utf8', timeout: 50_000 }));
    assert.ok(said.asked > 0 && said.retries > 0, JSON.stringify(said));
    assert.ok(said.waited_ms < 2000 && said.stop_ms < 4000, JSON.stringify(said));
  });

  test('of eight apps: a hanging endpoint each, and none hears of another app', { timeout: 30_000 }, async () => {
    const apps = await Promise.all(Array.from({ length: 8 }, async (_, i) => {
      const [fine, gone, stuck] = await Promise.all([endpoint(), endpoint(answering(404)), endpoint(hanging)]);
      return { fine, gone, stuck, app: appWith({ webhooks: [to(stuck), to(fine), to(gone)] }, { id: `app-${i}`, key: `key-${i}`, secret: `secret-${i}` }) };
    }));
    const server = await Server.start({ apps: apps.map(a => a.app) });
    for (const a of apps) {
      a.api = new Api(server, a.app);
      a.channel = fresh(`ai-${a.app.id}`);
      await a.api.create(a.channel, 'x');
    }
    for (const a of apps) {
      const request = await a.fine.request();
      assert.equal(request.headers['x-pusher-signature'], hmac(a.app.secret, request.raw));
      assert.deepEqual(request.body.events.map(e => e.channel), [a.channel]);
      const { dead_letters } = await until(async () => { const { body } = await a.api.get('/webhooks/dead_letters'); return body.dead_letters.length > 0 && body; });
      assert.deepEqual(dead_letters.map(d => [d.app_id, d.webhook]), [[a.app.id, 2]]);
      a.api.close();
    }
    await server.stop();
  });

  test('says when it is full: dead letters, /up DEGRADED, and other endpoints go on', { timeout: 30_000 }, async () => {
    const full = await endpoint(hanging), fine = await endpoint();
    const s = await serve([to(full), to(fine)], { queue: { reliability: { memory_capacity: 4 } }, webhooks: { batching: { enabled: false } } });
    for (let i = 0; i < 10; i++) {
      await s.api.create(fresh('ai'), 'x');
      await fine.request(i + 1);
    }
    assert.equal(await s.server.metric('sockudo_webhook_dead_letters_total'), 8);
    const { body } = await s.api.get('/webhooks/dead_letters');
    assert.deepEqual(new Set(body.dead_letters.map(d => d.reason)), new Set(['queue_full']));
    const up = await s.server.get('/up');
    assert.deepEqual([up.status, up.text, up.headers['x-health-check']], [200, 'DEGRADED', 'DEGRADED']);
    await s.stop();
  });

  test('lives in memory with the memory store, and is emptied before the end', { timeout: 30_000 }, async () => {
    const hook = await endpoint();
    const s = await serve([to(hook)], { history: { backend: 'memory' }, versioned_messages: { driver: 'memory' }, webhooks: { batching: { duration: 2000 } } });
    await s.api.create(fresh('ai'), 'x');
    await s.stop();
    assert.equal(hook.events(version).length, 1);
  });

  test('driver none means no webhooks', async () => {
    const hook = await endpoint();
    const s = await serve([to(hook)], { queue: { driver: 'none' } });
    await s.api.create(fresh('ai'), 'x');
    await sleep(300);
    assert.equal(hook.requests.length, 0);
    await s.stop();
  });

  test('shows no secret in its log, and every series at 0', async () => {
    const hook = await endpoint(answering(401));
    const secretive = { ...to(hook, { headers: { Authorization: 'Bearer hush' } }), url: hook.url.replace('//', '//user:pass@') + '?token=t0ken' };
    const s = await serve([secretive]);
    for (const name of ['events_total', 'events_dropped_total', 'delivered_total', 'retries_total', 'dead_letters_total', 'dead_letters_dropped_total', 'dead_letters', 'queue_depth', 'in_flight'])
      assert.equal(await s.server.metric(`sockudo_webhook_${name}`), 0, name);
    await s.api.create(fresh('ai'), 'x');
    const request = await hook.request();
    assert.equal(request.headers.authorization, 'Bearer hush');
    await until(async () => await s.server.metric('sockudo_webhook_dead_letters_total') === 1);
    const { text } = await s.api.get('/webhooks/dead_letters');
    for (const secret of ['hush', 'user:pass', 't0ken', 'app-secret']) assert.ok(!(s.server.log() + text).includes(secret), secret);
    await s.stop();
  });
});
