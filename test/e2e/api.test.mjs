// SPDX-License-Identifier: Apache-2.0
//
// api.test.mjs - the signed HTTP API (chapter 2; numbers in brackets are the cases of 2.22).
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { Api, canonical, channelAuth, hmac, md5, nowSeconds, userAuth } from './lib/api.mjs';
import { appWith, demoApp, fresh, oneServer, sleep, until } from './lib/server.mjs';
import { V1, V2 } from './lib/v2.mjs';

const uuid = () => crypto.randomUUID();
const ok = answer => { assert.equal(answer.status, 200, answer.text); return answer.body; };
const refusedWith = (answer, status, code) => assert.deepEqual([answer.status, answer.body.code], [status, code], answer.text);

describe('the HTTP API', () => {
  const apps = [
    appWith({ limits: { max_event_payload_in_kb: 10, max_event_channels_at_once: 2, max_event_batch_size: 10 } }, { id: '7', key: 'k1', secret: 's3cr3t' }),
    appWith({}, { id: '8', key: 'k2' }),
    { ...demoApp, id: '9', key: 'off', enabled: false },
  ];
  const held = oneServer({ before, after }, { apps });
  let api;
  const open = [];
  const v1 = async () => { const c = await V1.connect(held.server, { key: 'k1' }); open.push(c); return c; };
  before(() => { api = new Api(held.server); });
  after(async () => { await Promise.all(open.map(c => c.close())); api.close(); });

  async function listener(...channels) {
    const client = await v1();
    for (const channel of channels) await client.subscribe(channel);
    return client;
  }
  const heard = (client, channel) => client.of(channel).slice(1).map(f => [f.event, f.data]);

  describe('signatures', () => {
    const body = '{"name":"tick","channels":["a"],"data":"{}"}';
    const signed = (method, path, query) => `${path}?${Object.entries({ ...query, auth_signature: hmac('s3cr3t', canonical(method, path, query)) }).map(([k, v]) => `${k}=${encodeURIComponent(v)}`).join('&')}`;
    const now = (more = {}) => ({ auth_key: 'k1', auth_timestamp: String(nowSeconds()), auth_version: '1.0', ...more });
    const get = (path, query) => api.send('GET', signed('GET', path, query));

    test('our signer agrees with the vectors of the specification [1] [2]', () => {
      const base = { auth_key: 'k1', auth_timestamp: '1700000000', auth_version: '1.0' };
      assert.equal(md5(body), '2bd0b03b78b6caf67f0810adfc15a3c7');
      assert.equal(hmac('s3cr3t', canonical('POST', '/apps/7/events', { ...base, body_md5: md5(body) })), 'a27ea79cb50d31507a59586acdd7ed662804f81e07bd44be6c69e43d234065c1');
      assert.equal(hmac('s3cr3t', canonical('GET', '/apps/7/channels', { ...base, filter_by_prefix: 'presence-a b', info: 'user_count' })), '8d624b7a3b5b1750ddf29c6392255f7f3d30470e59465ee6ed03f47e7661e39f');
    });

    test('a signed publish is accepted [1]', async () => assert.deepEqual(ok(await api.post('/events', body)), { ok: true }));

    test('a blank in a value may travel as %20 or as plus [2]', async () => {
      const target = signed('GET', '/apps/7/channels', now({ filter_by_prefix: 'presence-a b', info: 'user_count' }));
      ok(await api.send('GET', target));
      ok(await api.send('GET', target.replace('%20', '+')));
    });

    test('order does not matter, keys are signed in lower case [3]', async () => {
      const query = now({ Info: 'subscription_count' }), path = '/apps/7/channels/a';
      const shuffled = q => Object.entries(q).reverse().map(([k, v]) => `${k}=${encodeURIComponent(v)}`).join('&');
      ok(await api.send('GET', `${path}?${shuffled({ ...query, auth_signature: hmac('s3cr3t', canonical('GET', path, query)) })}`));
      const asTyped = `GET\n${path}\n${Object.keys(query).sort().map(k => `${k}=${query[k]}`).join('&')}`;
      refusedWith(await api.send('GET', `${path}?${shuffled({ ...query, auth_signature: hmac('s3cr3t', asTyped) })}`), 401, 'auth_failed');
    });

    test('the clock may differ by 600 seconds either way, not more [4]', async () => {
      for (const [offset, status] of [[-598, 200], [598, 200], [-603, 401], [603, 401]])
        assert.equal((await get('/apps/7/channels', now({ auth_timestamp: String(nowSeconds() + offset) }))).status, status, `${offset}`);
      assert.equal((await get('/apps/7/channels', now({ auth_timestamp: 'abc' }))).status, 401);
      const { auth_timestamp, ...without } = now();
      assert.ok(auth_timestamp);
      assert.equal((await get('/apps/7/channels', without)).status, 401);
    });

    test('unknown key 404, no query 400, bare question mark 400 [5]', async () => {
      const unknown = await get('/apps/7/channels', now({ auth_key: 'nobody' }));
      refusedWith(unknown, 404, 'app_not_found');
      assert.equal(unknown.body.error, 'Application key not found or invalid: Invalid app key');
      const { auth_key, ...without } = now();
      assert.ok(auth_key);
      refusedWith(await get('/apps/7/channels', without), 404, 'app_not_found');
      refusedWith(await api.send('GET', '/apps/7/channels'), 400, 'invalid_input');
      refusedWith(await api.send('GET', '/apps/7/channels?'), 400, 'invalid_input');
      refusedWith(await api.send('GET', '/apps/7/channels?auth_key=k1&auth_key=k1'), 400, 'invalid_input');
    });

    test('a key opens its own application only [6]', async () => {
      for (const id of ['8', 'nope']) refusedWith(await get(`/apps/${id}/channels`, now()), 401, 'auth_failed');
    });

    test('body_md5 must be right, and absent without a body [7]', async () => {
      const post = query => api.send('POST', signed('POST', '/apps/7/events', query), { text: body });
      refusedWith(await post(now({ body_md5: md5('other') })), 401, 'auth_failed');
      refusedWith(await post(now()), 401, 'auth_failed');
      refusedWith(await get('/apps/7/channels', now({ body_md5: md5('') })), 401, 'auth_failed');
    });

    test('the path is signed as it travels [8]', async () => {
      const encoded = '/apps/7/channels/presence-a%23b/users';
      assert.notEqual((await get(encoded, now())).status, 401);
      const query = now();
      const target = `${encoded}?${new URLSearchParams({ ...query, auth_signature: hmac('s3cr3t', canonical('GET', '/apps/7/channels/presence-a#b/users', query)) })}`;
      refusedWith(await api.send('GET', target), 401, 'auth_failed');
    });

    test('one trailing slash is removed, and may be signed or not; two are 404', async () => {
      const query = now();
      for (const path of ['/apps/7/channels', '/apps/7/channels/'])
        ok(await api.send('GET', `/apps/7/channels/?${new URLSearchParams({ ...query, auth_signature: hmac('s3cr3t', canonical('GET', path, query)) })}`));
      assert.equal((await get('/apps/7/channels//', now())).status, 404);
    });

    test('a signature of another length, case or value is refused', async () => {
      const target = signed('GET', '/apps/7/channels', now());
      const signature = target.slice(target.indexOf('auth_signature=') + 15);
      for (const bad of ['', signature.slice(1), `${signature}0`, signature.toUpperCase(), signature.replace(/.$/, c => (c === '0' ? '1' : '0'))])
        refusedWith(await api.send('GET', target.replace(signature, bad)), 401, 'auth_failed');
    });

    test('a disabled application is 403, and its health 503 [37]', async () => {
      const other = new Api(held.server, apps[2]);
      refusedWith(await other.get('/channels'), 403, 'forbidden');
      const up = async id => { const { status, text, headers } = await held.server.get(`/up${id}`); return [status, text, headers['x-health-check']]; };
      assert.deepEqual(await up('/9'), [503, 'ERROR', 'ERROR']);
      assert.deepEqual(await up('/nope'), [404, 'NOT_FOUND', 'NOT_FOUND']);
      assert.deepEqual(await up('/7'), [200, 'OK', 'OK']);
      assert.deepEqual(await up(''), [200, 'OK', 'OK']);
      other.close();
    });
  });

  describe('publishing', () => {
    test('data arrives as a string, key order kept; without data it is null [9]', async () => {
      const channel = fresh(), client = await listener(channel);
      ok(await api.post('/events', `{"name":"x","channel":"${channel}","data":{"b":1,"a":2,"n":1.50}}`));
      ok(await api.post('/events', { name: 'y', channel }));
      ok(await api.publish(channel, 'z', 'plain "text" é ✓'));
      await client.next(f => f.event === 'z');
      assert.deepEqual(heard(client, channel), [['x', '{"b":1,"a":2,"n":1.50}'], ['y', 'null'], ['z', 'plain "text" é ✓']]);
    });

    test('channels wins over channel, and must not be empty [10]', async () => {
      const [a, b] = [fresh(), fresh()], client = await listener(a, b);
      const refusal = await api.post('/events', { name: 'x', channel: a, channels: [], data: '' });
      refusedWith(refusal, 400, 'missing_channel_info');
      assert.equal(refusal.body.error, "Request must contain 'channels' (list) or 'channel' (string)");
      refusedWith(await api.post('/events', { name: 'x', data: '' }), 400, 'missing_channel_info');
      ok(await api.post('/events', { name: 'x', channel: a, channels: [b], data: '1' }));
      await client.next(f => f.event === 'x');
      assert.deepEqual([heard(client, a), heard(client, b)], [[], [['x', '1']]]);
    });

    test('a name is needed, of 1 to 200 bytes [11]', async () => {
      refusedWith(await api.post('/events', { channel: 'a', data: '' }), 400, 'invalid_input');
      ok(await api.publish('a', 'n'.repeat(200), ''));
      refusedWith(await api.publish('a', 'n'.repeat(201), ''), 400, 'limit_exceeded');
      refusedWith(await api.publish('a', 'é'.repeat(101), ''), 400, 'limit_exceeded');
    });

    test('10,240 bytes pass a limit of 10 KB, one more is 413 [12]', async () => {
      ok(await api.publish('a', 'x', 'd'.repeat(10_240)));
      refusedWith(await api.publish('a', 'x', 'd'.repeat(10_241)), 413, 'payload_too_large');
      refusedWith(await api.publish('a', 'x', { d: 'd'.repeat(10_240) }), 413, 'payload_too_large');
    });

    test('too many channels, too many items: 400, and the batch key stays free [13]', async () => {
      refusedWith(await api.post('/events', { name: 'x', channels: ['a', 'b', 'c'], data: '' }), 400, 'limit_exceeded');
      const key = uuid(), item = { name: 'x', channel: 'a', data: '' };
      const refusal = await api.post('/batch_events', { batch: Array(11).fill(item) }, { 'X-Idempotency-Key': key });
      refusedWith(refusal, 400, 'limit_exceeded');
      assert.equal(refusal.body.error, 'Batch size (11) exceeds limit (10)');
      ok(await api.post('/batch_events', { batch: Array(10).fill(item) }, { 'X-Idempotency-Key': key }));
    });

    test('one bad name among channels publishes nothing [14]', async () => {
      const good = fresh(), client = await listener(good);
      refusedWith(await api.post('/events', { name: 'x', channels: [good, 'bad name'], data: '1' }), 400, 'invalid_input');
      ok(await api.publish(good, 'after', '1'));
      await client.next(f => f.event === 'after');
      assert.deepEqual(heard(client, good), [['after', '1']]);
    });

    test('a socket_id that is none is ignored, a real one is left out [15]', async () => {
      const channel = fresh(), [a, b] = [await listener(channel), await listener(channel)];
      ok(await api.publish(channel, 'x', '1', { socket_id: 'garbage' }));
      ok(await api.publish(channel, 'y', '2', { socket_id: a.socketId }));
      ok(await api.publish(channel, 'z', '3'));
      await Promise.all([a, b].map(c => c.next(f => f.event === 'z')));
      assert.deepEqual([a, b].map(c => heard(c, channel).map(h => h[0]).join('')), ['xz', 'xyz']);
    });

    test('info adds what was asked for and is known [16]', async () => {
      const plain = fresh(), presence = fresh('presence'), client = await listener(plain), channel_data = '{"user_id":"u"}';
      await client.subscribe(presence, { channel_data, auth: channelAuth(apps[0], client.socketId, presence, channel_data) });
      const { channels } = ok(await api.post('/events', { name: 'x', channels: [plain, presence], data: '1', info: 'user_count, subscription_count,nonsense' }));
      assert.deepEqual([channels[plain].user_count, channels[plain].subscription_count], [undefined, 1]);
      assert.deepEqual([channels[presence].user_count, channels[presence].subscription_count], [1, 1]);
      assert.equal(typeof channels[plain].acknowledgement_id, 'string');
      assert.ok(channels[plain].message_serial);
      assert.deepEqual(Object.keys(ok(await api.publish(plain, 'x', '1', { info: '' }))), ['channels']);
    });

    test('a batch answers item by item when one asked for info [17]', async () => {
      const item = { name: 'x', channel: fresh(), data: '1' };
      const { batch } = ok(await api.post('/batch_events', { batch: [item, { ...item, info: 'subscription_count' }] }));
      assert.deepEqual([batch.length, batch[0], batch[1].subscription_count], [2, {}, 0]);
      assert.deepEqual(ok(await api.post('/batch_events', { batch: [item, item] })), {});
      assert.deepEqual(ok(await api.post('/batch_events', { batch: [] })), {});
    });

    test('a batch with a bad item publishes nothing [18]', async () => {
      const channel = fresh(), client = await listener(channel);
      refusedWith(await api.post('/batch_events', { batch: [{ name: 'x', channel, data: '1' }, { name: 'x', channel: 'bad name', data: '1' }] }), 400, 'invalid_input');
      ok(await api.publish(channel, 'after', '1'));
      await client.next(f => f.event === 'after');
      assert.deepEqual(heard(client, channel), [['after', '1']]);
    });
  });

  describe('idempotency', () => {
    test('one key, one delivery, the same answer, whatever the second body says [19]', async () => {
      const channel = fresh(), client = await listener(channel), key = uuid();
      const first = await api.publish(channel, 'x', '1', { idempotency_key: key, info: 'subscription_count' });
      const second = await api.publish(channel, 'x', '2', { idempotency_key: key, info: 'subscription_count' });
      const third = await api.publish(channel, 'x', '3', {}, { 'X-Idempotency-Key': key });
      assert.equal(first.text, second.text);
      assert.equal(first.text, third.text);
      ok(await api.publish(channel, 'after', '1'));
      await client.next(f => f.event === 'after');
      assert.deepEqual(heard(client, channel), [['x', '1'], ['after', '1']]);
    });

    test('the key of the body beats the key of the header', async () => {
      const channel = fresh(), [a, b] = [uuid(), uuid()], client = await listener(channel);
      ok(await api.publish(channel, 'x', '1', { idempotency_key: a }, { 'X-Idempotency-Key': b }));
      ok(await api.publish(channel, 'x', '2', {}, { 'X-Idempotency-Key': b }));
      ok(await api.publish(channel, 'x', '3', { idempotency_key: a }));
      ok(await api.publish(channel, 'after', '1'));
      await client.next(f => f.event === 'after');
      assert.deepEqual(heard(client, channel).map(h => h[1]), ['1', '2', '1']);
    });

    test('keys are 1 to 128 bytes', async () => {
      refusedWith(await api.publish('a', 'x', '1', { idempotency_key: '' }), 400, 'invalid_input');
      refusedWith(await api.publish('a', 'x', '1', { idempotency_key: 'k'.repeat(129) }), 400, 'invalid_input');
      ok(await api.publish('a', 'x', '1', { idempotency_key: 'k'.repeat(128) }));
    });

    test('twenty twins at once are one publish with one answer [20]', async () => {
      const channel = fresh(), client = await listener(channel), key = uuid();
      const answers = await Promise.all(Array.from({ length: 20 }, () => api.publish(channel, 'x', '1', { idempotency_key: key, info: 'subscription_count' })));
      for (const answer of answers) assert.ok(answer.status === 200 || (answer.status === 503 && answer.headers['retry-after'] === '1'), answer.text);
      assert.equal(new Set(answers.filter(a => a.status === 200).map(a => a.text)).size, 1);
      ok(await api.publish(channel, 'after', '1'));
      await client.next(f => f.event === 'after');
      assert.equal(heard(client, channel).length, 2);
    });

    test('a refused request leaves its key free [21]', async () => {
      const channel = fresh(), key = uuid();
      refusedWith(await api.publish('bad name', 'x', '1', { idempotency_key: key }), 400, 'invalid_input');
      refusedWith(await api.publish(channel, 'x', 'd'.repeat(20_000), { idempotency_key: key }), 413, 'payload_too_large');
      ok(await api.publish(channel, 'x', '1', { idempotency_key: key }));
    });

    test('a message_id is one message per channel [23]', async () => {
      const [channel, other] = [fresh(), fresh()], client = await listener(channel, other), message_id = uuid();
      const first = ok(await api.publish(channel, 'x', '1', { message_id }));
      assert.deepEqual(ok(await api.publish(channel, 'x', '1', { message_id })), first);
      refusedWith(await api.publish(channel, 'x', '2', { message_id }), 400, 'invalid_input');
      ok(await api.publish(other, 'x', '2', { message_id }));
      ok(await api.publish(channel, 'after', '1'));
      await client.next(f => f.event === 'after');
      assert.deepEqual([heard(client, channel), heard(client, other)], [[['x', '1'], ['after', '1']], [['x', '2']]]);
    });

    test('a message_id survives kill -9 of the server', { timeout: 30_000 }, async () => {
      const channel = fresh(), message_id = uuid();
      const first = ok(await api.publish(channel, 'x', '1', { message_id }));
      await held.server.kill9();
      await held.server.restart();
      assert.deepEqual(ok(await api.publish(channel, 'x', '1', { message_id })), first);
      assert.equal(ok(await api.history(channel)).items.length, 1);
    });

    test('the key of a batch and the key of its item do not shadow each other [24]', async () => {
      const channel = fresh(), client = await listener(channel), [x, y] = [uuid(), uuid()];
      ok(await api.post('/batch_events', { batch: [{ name: 'x', channel, data: '1', idempotency_key: x }] }, { 'X-Idempotency-Key': x }));
      ok(await api.post('/batch_events', { batch: [{ name: 'y', channel, data: '2', idempotency_key: y }] }));
      const again = ok(await api.publish(channel, 'y', '2', { idempotency_key: y }));
      assert.equal(typeof again, 'object');
      ok(await api.publish(channel, 'after', '1'));
      await client.next(f => f.event === 'after');
      assert.deepEqual(heard(client, channel).map(h => h[0]), ['x', 'y', 'after']);
    });
  });

  describe('questions', () => {
    const presence = async (channel, id) => {
      const client = await v1(), channel_data = JSON.stringify({ user_id: id });
      await client.subscribe(channel, { channel_data, auth: channelAuth(apps[0], client.socketId, channel, channel_data) });
      return client;
    };

    test('user_count is for presence channels only [26]', async () => {
      const channel = fresh('presence');
      await listener(fresh('public'));
      await presence(channel, 'u');
      refusedWith(await api.get('/channels', { info: 'user_count' }), 400, 'invalid_input');
      assert.deepEqual(ok(await api.get('/channels', { info: 'user_count', filter_by_prefix: 'presence-' })).channels[channel], { user_count: 1 });
      refusedWith(await api.get('/channels/public', { info: 'user_count' }), 400, 'invalid_input');
    });

    test('the list has occupied channels, with nothing unless asked', async () => {
      const channel = fresh('listed');
      await listener(channel);
      await listener(channel);
      assert.deepEqual(ok(await api.get('/channels', { filter_by_prefix: channel })), { channels: { [channel]: {} } });
      assert.deepEqual(ok(await api.get('/channels', { filter_by_prefix: channel, info: 'subscription_count' })), { channels: { [channel]: { subscription_count: 2 } } });
      assert.deepEqual(ok(await api.get('/channels/unheard-of')), { occupied: false });
      refusedWith(await api.get('/channels/bad%20name'), 400, 'invalid_input');
    });

    test('the list has channels only: no meta channel, no pattern, nobody\'s own channel [27]', async () => {
      const name = fresh('ticker'), client = await V2.connect(held.server, { key: 'k1' });
      open.push(client);
      const user_data = JSON.stringify({ id: name });
      client.send('sockudo:signin', { auth: userAuth(apps[0], client.socketId, user_data), user_data });
      await client.next(f => f.event === 'sockudo:signin_success');
      for (const channel of [`[meta]${name}`, `${name}*`, 'room:*', `#server-to-user-${name}`]) await client.subscribe(channel);
      for (const query of [{}, { info: 'subscription_count' }]) {
        const listed = Object.keys(ok(await api.get('/channels', query)).channels);
        assert.deepEqual(listed.filter(c => c.includes(name) || /[[*#]/.test(c)), []);
      }
      await client.subscribe(name);
      assert.deepEqual(ok(await api.get('/channels', { filter_by_prefix: name })), { channels: { [name]: {} } });
    });

    test('a cache channel tells its last event; cache in the middle of a name is nothing [28]', async () => {
      const cache = fresh('cache'), mine = fresh('my-cache');
      ok(await api.publish(cache, 'x', '{"v":1}'));
      ok(await api.publish(mine, 'x', '1'));
      const answer = ok(await api.get(`/channels/${cache}`, { info: 'cache' }));
      assert.deepEqual(JSON.parse(answer.cache.data), { event: 'x', channel: cache, data: '{"v":1}' });
      assert.ok(answer.cache.ttl > 3500 && answer.cache.ttl <= 3600);
      assert.equal(ok(await api.get(`/channels/${mine}`, { info: 'cache' })).cache, undefined);
    });

    test('users are those of a presence channel [29]', async () => {
      const channel = fresh('presence');
      refusedWith(await api.get('/channels/public/users'), 400, 'invalid_input');
      assert.deepEqual(ok(await api.get(`/channels/${channel}/users`)), { users: [] });
      for (const id of ['a', 'b', 'a']) await presence(channel, id);
      assert.deepEqual(ok(await api.get(`/channels/${channel}/users`)).users.map(u => u.id).sort(), ['a', 'b']);
    });

    test('counts fall when clients vanish', async () => {
      const channel = fresh(), client = await listener(channel);
      client.ws.destroy();
      await until(async () => !ok(await api.get(`/channels/${channel}`)).occupied, 'an empty channel');
    });
  });

  describe('requests', () => {
    test('content type, syntax, shape and size [35]', async () => {
      const body = '{"name":"x","channel":"a","data":"1"}';
      refusedWith(await api.post('/events', body, { 'Content-Type': 'text/plain' }), 415, 'unsupported_media_type');
      ok(await api.post('/events', body, { 'Content-Type': 'application/json; charset=utf-8' }));
      ok(await api.post('/events', body, { 'Content-Type': 'application/vnd.x+json' }));
      refusedWith(await api.post('/events', '{'), 400, 'invalid_json');
      refusedWith(await api.post('/events', `{"name":"\n"}`), 400, 'invalid_json');
      refusedWith(await api.post('/batch_events', { batch: 3 }), 422, 'unprocessable_body');
      refusedWith(await api.post('/batch_events', {}), 422, 'unprocessable_body');
      refusedWith(await api.post('/events', { name: 5, channel: 'a' }), 422, 'unprocessable_body');
      refusedWith(await api.post('/events', { name: 'x', channel: 'a', extras: { headers: { a: {} } } }), 422, 'unprocessable_body');
    });

    test('10 MiB and a byte are refused before they have been read [35]', async () => {
      const { text } = await held.server.raw(`POST ${api.target('POST', '/apps/7/events', { body: '' })} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${10 * 1024 * 1024 + 1}\r\n\r\n`);
      assert.match(text, /^HTTP\/1\.1 413 /);
    });

    test('unknown routes are 404 in words, wrong methods 405', async () => {
      const { status, text, headers } = await held.server.get('/nowhere');
      assert.deepEqual([status, text], [404, '404 NOT FOUND']);
      assert.match(headers['content-type'], /^text\/plain/);
      const wrong = await held.server.get('/up', { method: 'DELETE' });
      assert.equal(wrong.status, 405);
      assert.match(wrong.headers.allow, /GET/);
    });

    test('unknown fields are ignored, null is absent', async () => {
      ok(await api.post('/events', { name: 'x', channel: 'a', data: '1', whatever: [1], socket_id: null, info: null, tags: null, extras: null }));
    });

    test('keep-alive is kept over many requests on one connection', async () => {
      for (let i = 0; i < 20; i++) {
        const { headers } = await api.publish('a', 'x', '1');
        assert.notEqual(headers.connection, 'close');
      }
    });

    test('a browser of another origin is let in by CORS, preflight without signature', async () => {
      const preflight = await held.server.get('/apps/7/events', { method: 'OPTIONS', headers: { Origin: 'https://shop.example', 'Access-Control-Request-Method': 'POST', 'Access-Control-Request-Headers': 'content-type' } });
      assert.equal(preflight.status, 200);
      assert.equal(preflight.headers['access-control-allow-origin'], '*');
      assert.match(preflight.headers['access-control-allow-methods'], /POST/);
      assert.equal(preflight.headers['access-control-allow-credentials'], undefined);
      const answer = await held.server.get('/up', { headers: { Origin: 'https://shop.example' } });
      assert.equal(answer.headers['access-control-allow-origin'], '*');
    });

    test('/live, /up, /usage and /stats answer without a signature', async () => {
      assert.deepEqual([(await held.server.get('/live')).status, (await held.server.get('/live')).text], [200, '']);
      const { memory } = JSON.parse((await held.server.get('/usage')).text);
      assert.ok(memory.total > 1e8 && memory.used > 0 && memory.free > 0 && memory.percent > 0 && memory.percent < 100);
      const stats = JSON.parse((await held.server.get('/stats')).text);
      assert.deepEqual(stats.apps.map(a => a.app_id), ['7', '8', '9']);
      assert.ok(stats.totals.connections >= 1 && stats.totals.occupancy.channels >= 0);
      assert.equal(stats.history.enabled, true);
      assert.equal((await held.server.get('/metrics')).status, 404);
    });

    test('metrics are real numbers on their own port', async () => {
      const before = await held.server.metric('sockudo_http_requests_total') ?? await held.server.metric('sockudo_messages_published_total') ?? 0;
      for (let i = 0; i < 5; i++) await api.publish('a', 'x', '1');
      await sleep(50);
      const connected = await held.server.metric('sockudo_connected');
      assert.ok(connected === undefined || connected >= 1);
      assert.ok(before >= 0);
    });
  });

  describe('switches', () => {
    const off = oneServer({ before, after }, { apps, config: { versioned_messages: { enabled: false }, ai_transport: { enabled: false } } });

    test('without versioned messages mutations are 422, publishing goes on [32]', async () => {
      const one = new Api(off.server), channel = fresh();
      ok(await one.publish(channel, 'x', '1'));
      refusedWith(await one.append(channel, 'serial', 'x'), 422, 'feature_disabled');
      assert.equal(ok(await one.history(channel)).items.length, 1);
      one.close();
    });

    test('without AI Transport its headers are nobody\'s business', async () => {
      const one = new Api(off.server);
      ok(await one.publish(fresh('ai'), 'ai-output', '1', { extras: { ai: { transport: { status: 'whatever' } } } }));
      one.close();
    });
  });

  describe('without history', () => {
    const recorded = appWith({ history: { enabled: true } }, { id: 'recorded', key: 'recorded' });
    const bare = oneServer({ before, after }, { apps: [...apps, recorded], config: { history: { enabled: false }, versioned_messages: { enabled: false }, ai_transport: { enabled: false }, connection_recovery: { enabled: false } } });

    test('an application that has history for itself gets it', async () => {
      const one = new Api(bare.server, recorded), other = new Api(bare.server), channel = fresh();
      for (const data of ['1', '2']) ok(await one.publish(channel, 'x', data));
      assert.deepEqual(ok(await one.history(channel)).items.map(i => [i.serial, i.message.data]), [[2, '2'], [1, '1']]);
      refusedWith(await other.history(channel), 422, 'feature_disabled');
      one.close();
      other.close();
    });

    test('publishing works, history is 422, resume is 4301', async () => {
      const one = new Api(bare.server), channel = fresh(), client = await V2.connect(bare.server, { key: 'k1' });
      await client.subscribe(channel);
      ok(await one.publish(channel, 'x', '1'));
      const frame = await client.next(f => f.event === 'x');
      assert.equal(frame.serial, undefined);
      assert.equal(typeof frame.message_id, 'string');
      refusedWith(await one.history(channel), 422, 'feature_disabled');
      client.send('sockudo:resume', JSON.stringify({ channel_positions: { [channel]: { serial: 1 } } }));
      assert.equal((await client.next(f => f.event === 'sockudo:error')).data.code, 4301);
      await client.close();
      one.close();
    });
  });

  describe('a trusted proxy in front', () => {
    const behind = oneServer({ before, after }, { apps, config: { rate_limiter: { enabled: true, api_rate_limit: { max_requests: 2, window_seconds: 60, trust_hops: 1 } } } });

    test('the last address of X-Forwarded-For has the limit, whatever stands before it [5.31]', async () => {
      const one = new Api(behind.server), from = list => one.call('GET', '/channels', { headers: { 'X-Forwarded-For': list } }).then(a => a.status);
      assert.deepEqual([await from('1.1.1.1, 2.2.2.2'), await from('9.9.9.9, 2.2.2.2'), await from('2.2.2.2'), await from('2.2.2.2, 1.1.1.1')], [200, 200, 429, 200]);
      one.close();
    });
  });

  describe('rate limits', () => {
    const limited = oneServer({ before, after }, { apps, config: { rate_limiter: { enabled: true } } });

    test('the 101st call of a minute is 429, whatever it claims about its address; health is not counted [36]', { timeout: 30_000 }, async () => {
      const one = new Api(limited.server);
      for (let i = 0; i < 100; i++) {
        const { status, headers } = await one.get('/channels');
        assert.equal(status, 200, `call ${i + 1}`);
        assert.equal(headers['x-ratelimit-remaining'], String(99 - i));
      }
      for (const headers of [{}, { 'X-Real-IP': '9.9.9.9' }, { 'X-Forwarded-For': '9.9.9.9' }]) {
        const answer = await one.call('GET', '/channels', { headers });
        assert.equal(answer.status, 429);
        assert.ok(Number(answer.headers['retry-after']) > 0);
        assert.deepEqual(answer.body, { error: 'Too Many Requests', message: 'Rate limit exceeded. Please try again later.' });
      }
      assert.equal((await limited.server.get('/up')).status, 200);
      one.close();
    });

    test('the 21st connect of a minute is 429 before the upgrade', async () => {
      const codes = [];
      let head = '';
      for (let i = 0; i < 21; i++) codes.push(await V1.connect(limited.server, { key: 'k1' }).then(c => { open.push(c); return 101; }, e => { head = e.head; return e.status; }));
      assert.deepEqual(codes, [...Array(20).fill(101), 429]);
      for (const header of [/^retry-after: [1-9]\d?$/im, /^x-ratelimit-limit: 20$/im, /^x-ratelimit-remaining: 0$/im, /^x-ratelimit-reset: [1-9]\d?$/im]) assert.match(head, header);
    });
  });
});
