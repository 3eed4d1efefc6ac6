// SPDX-License-Identifier: Apache-2.0
//
// connections.test.mjs - HTTP and WebSocket from the outside, good and bad (chapter 1, section 13; numbers in brackets are its cases).
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import net from 'node:net';
import zlib from 'node:zlib';
import { after, before, describe, test } from 'node:test';
import { Api, channelAuth, userAuth } from './lib/api.mjs';
import { Server, appWith, demoApp, fresh, oneServer, sleep, until, within } from './lib/server.mjs';
import { V1, V2 } from './lib/v2.mjs';
import { OP, WsClient } from './lib/ws-client.mjs';

const SHOP = { name: 'shop' };
const apps = [
  appWith({ channels: { channel_namespaces: [SHOP] } }),
  { ...demoApp, id: '2', key: 'off', enabled: false },
  appWith({ channels: { allowed_origins: ['*.example.com'] } }, { id: '3', key: 'origins' }),
  appWith({ limits: { max_connections: 1 } }, { id: '4', key: 'single' }),
  appWith({ limits: { max_client_events_per_second: 10 } }, { id: '5', key: 'limited' }),
  appWith({ limits: { max_client_events_per_second: 10, terminate_on_limit: true } }, { id: '6', key: 'strict' }),
  appWith({ limits: { max_presence_members_per_channel: 2 } }, { id: '7', key: 'small' }),
  appWith({ features: { enable_client_messages: false, enable_user_authentication: false } }, { id: '8', key: 'plain' }),
];
const app = key => apps.find(a => a.key === key);

const refused = (server, target) => WsClient.connect(`${server.url}${target}`).then(ws => { ws.destroy(); return 101; }, error => error.status);
const member = (client, channel, userId, info) => {
  const channel_data = JSON.stringify({ user_id: userId, ...(info ? { user_info: info } : {}) });
  return { channel_data, auth: channelAuth(app(client.key), client.socketId, channel, channel_data) };
};
const join = (client, channel, userId, info) => client.subscribe(channel, member(client, channel, userId, info));

async function errorAfter(client, act) {
  const from = client.frames.length;
  await act();
  const frame = await client.next(f => /^(pusher|sockudo):error$/.test(f.event), { from });
  return frame.data;
}

/* The error frame and the close code that a connection with this URL ends with. */
async function rejection(server, target, headers) {
  const frames = [];
  const ws = await WsClient.connect(`${server.url}${target}`, { headers });
  ws.onFrame = text => frames.push(JSON.parse(text));
  const { code } = await ws.closed;
  return { code, error: frames[0]?.data, events: frames.map(f => f.event) };
}

describe('handshake', () => {
  const held = oneServer({ before, after }, { apps });

  test('an unknown key gets error frame and close 4001 [1]', async () => {
    const { code, error } = await rejection(held.server, '/app/nobody?protocol=7');
    assert.equal(code, 4001);
    assert.deepEqual(error, { code: 4001, message: 'Application does not exist' });
  });

  test('a disabled application gets 4003 [1]', async () => {
    const { code, error } = await rejection(held.server, '/app/off?protocol=7');
    assert.equal(code, 4003);
    assert.equal(error.code, 4003);
  });

  test('a protocol that is no number up to 255 is 400, any other is V1 [2]', async () => {
    assert.equal(await refused(held.server, '/app/app-key?protocol=abc'), 400);
    assert.equal(await refused(held.server, '/app/app-key?protocol=300'), 400);
    const client = await V2.connect(held.server, { protocol: 99 }).catch(e => e.client);
    assert.equal(client.frames[0].event, 'pusher:connection_established');
    await client.close();
  });

  test('V1 ignores format and stays JSON [2]', async () => {
    const client = await V1.connect(held.server, { params: 'format=protobuf' });
    assert.equal(client.established.event, 'pusher:connection_established');
    await client.close();
  });

  test('V2 refuses parameters it does not know with 400 before the upgrade [3]', async () => {
    for (const bad of ['format=avro', 'append_mode=snapshot', 'append_mode=FULL', 'append_rollup_window=60', 'append_rollup_window=30', 'append_rollup_window=x', 'echo_messages=yes'])
      assert.equal(await refused(held.server, `/app/app-key?protocol=2&${bad}`), 400, bad);
    assert.equal(await refused(held.server, '/app/app-key?protocol=2&append_rollup_window=40'), 101);
    assert.equal(await refused(held.server, '/app/app-key?protocol=2&append_mode='), 101);
    assert.equal(await refused(held.server, '/app/app-key?protocol=7&append_rollup_window=30&append_mode=x'), 101);
  });

  test('only the listed origins are let in [4]', async () => {
    const from = async origin => {
      const ws = await WsClient.connect(`${held.server.url}/app/origins?protocol=7`, { headers: origin ? { Origin: origin } : {} });
      const first = await new Promise(resolve => { ws.onFrame = text => resolve(JSON.parse(text)); });
      const code = first.event === 'pusher:error' ? (await ws.closed).code : 0;
      ws.destroy();
      return code;
    };
    assert.equal(await from('https://example.com'), 0);
    assert.equal(await from('https://a.example.com'), 0);
    assert.equal(await from('https://evilexample.com'), 4009);
    assert.equal(await from(null), 4009);
  });

  test('of two connects at a limit of one, one is told 4004 [5]', async () => {
    const both = await Promise.all([1, 2].map(() => V1.connect(held.server, { key: 'single' }).then(c => c, e => e)));
    assert.equal(both.filter(c => c instanceof V1).length, 1);
    assert.equal(both.find(c => c instanceof Error).code, 4004);
    await Promise.all(both.filter(c => c instanceof V1).map(c => c.close()));
    const again = await until(() => V1.connect(held.server, { key: 'single' }).catch(() => null), 'the place of the one that left');
    await again.close();
  });

  test('the V2 greeting carries a string and a message_id, a pong neither [6]', async () => {
    const client = await V2.connect(held.server);
    assert.equal(typeof client.established.data, 'string');
    assert.equal(typeof client.established.message_id, 'string');
    assert.match(JSON.parse(client.established.data).socket_id, /^\d+\.\d+$/);
    assert.equal(JSON.parse(client.established.data).activity_timeout, 120);
    client.send('sockudo:ping', {});
    assert.deepEqual(await client.next(f => f.event === 'sockudo:pong'), { event: 'sockudo:pong' });
    await client.close();
  });

  test('either spelling of ping is answered in the family of the connection [7]', async () => {
    const old = await V1.connect(held.server), young = await V2.connect(held.server);
    old.send('sockudo:ping', {});
    young.send('pusher:ping', {});
    await old.next(f => f.event === 'pusher:pong');
    await young.next(f => f.event === 'sockudo:pong');
    await Promise.all([old.close(), young.close()]);
  });

  test('no subprotocol is echoed, no extension taken; a frame that is compressed all the same is 1002, whatever it would become [33]', async () => {
    const socket = net.connect(held.server.port, '127.0.0.1');
    let got = '';
    socket.on('data', data => { got += data.toString('latin1'); });
    socket.write(`GET /app/app-key?protocol=2 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${crypto.randomBytes(16).toString('base64')}\r\n`
      + 'Sec-WebSocket-Protocol: chat, pusher\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n');
    await until(() => got.includes('connection_established'), () => got);
    socket.destroy();
    assert.match(got, /^HTTP\/1\.1 101 /);
    assert.doesNotMatch(got, /sec-websocket-(protocol|extensions)/i);
    const bomb = zlib.deflateRawSync(Buffer.alloc(32 << 20));
    const ws = await WsClient.connect(`${held.server.url}/app/app-key?protocol=2`, { headers: { 'Sec-WebSocket-Extensions': 'permessage-deflate' } });
    ws.sendFrame(OP.TEXT, bomb, { reserved: 4 });
    assert.equal((await ws.closed).code, 1002);
  });

  test('a plain GET of the socket route is asked to upgrade with 426', async () => {
    assert.equal((await held.server.get('/app/app-key')).status, 426);
  });

  test('the demo page is not served outside the demo profile', async () => {
    assert.equal((await held.server.get('/')).status, 404);
  });
});

describe('heartbeats', { concurrency: true }, () => {
  const held = oneServer({ before, after }, { apps, config: { activity_timeout: 2 } });

  test('a silent V1 client is pinged, then closed with 4201 after 30 s; one that talks instead of answering stays [8]', async () => {
    const silent = await V1.connect(held.server), talker = await V1.connect(held.server);
    await talker.subscribe('private-a');
    await silent.next(f => f.event === 'pusher:ping', { ms: 6000 });
    assert.ok(!('data' in silent.find(f => f.event === 'pusher:ping')));
    const speaking = setInterval(() => talker.send('client-x', {}, { channel: 'private-a' }), 5000);
    const { code } = await silent.ws.closed;
    clearInterval(speaking);
    assert.equal(code, 4201);
    assert.equal(talker.closing, null);
    await talker.close();
  });

  test('a V2 client that ignores native pings is closed with 4201, one that answers is not [9]', async () => {
    const deaf = await V2.connect(held.server), good = await V2.connect(held.server);
    deaf.ws.autoPong = false;
    const { code } = await deaf.ws.closed;
    assert.equal(code, 4201);
    assert.ok(deaf.ws.pings > 0 && good.ws.pings > 0);
    assert.equal(good.closing, null);
    assert.equal(good.find(f => f.event === 'sockudo:ping'), undefined);
    await good.close();
  });
});

describe('channels', () => {
  const held = oneServer({ before, after }, { apps, config: { presence: { v2_ungraceful_timeout_seconds: 2 } } });
  const open = [];
  const v1 = async o => { const c = await V1.connect(held.server, o); open.push(c); return c; };
  const v2 = async o => { const c = await V2.connect(held.server, o); open.push(c); return c; };
  after(() => Promise.all(open.map(c => c.close())));

  test('a wrong signature is refused on every kind of private channel, and is no membership [10]', async () => {
    const client = await v1();
    for (const channel of ['private-a', 'presence-a', 'private-encrypted-a', 'private-cache-a', 'presence-cache-a', 'private-mycache-1']) {
      const error = await client.subscribe(channel, { auth: 'app-key:00', channel_data: '{"user_id":"1"}' }).then(() => null, e => e);
      assert.equal(error?.code, 4009, channel);
      assert.deepEqual({ ...error.answer.data, error: '' }, { type: 'AuthError', error: '', status: 401 });
      assert.equal(error.error.channel, channel);
    }
    const api = new Api(held.server);
    for (const channel of ['private-a', 'presence-a', 'private-encrypted-a', 'private-cache-a', 'presence-cache-a', 'private-mycache-1'])
      assert.deepEqual((await api.get(`/channels/${channel}`)).body, { occupied: false }, channel);
    api.close();
  });

  test('a private channel without auth is refused with 4009', async () => {
    const client = await v1();
    client.send('pusher:subscribe', { channel: 'private-b' });
    const refusal = await client.next(f => f.event === 'pusher:subscription_error');
    assert.deepEqual([refusal.channel, refusal.data.status], ['private-b', 401]);
    assert.equal(client.find(f => f.event === 'pusher:error').data.code, 4009);
  });

  test('presence without channel_data is refused with 4000 when nobody signed in [11]', async () => {
    const client = await v1();
    const auth = channelAuth(demoApp, client.socketId, 'presence-a');
    await assert.rejects(client.subscribe('presence-a', { auth }), { code: 4000 });
    await client.settle();
  });

  test('a numeric user_id becomes its digits, a missing one is 4300 [12]', async () => {
    const client = await v1(), channel = fresh('presence');
    const answer = await join(client, channel, 7);
    assert.deepEqual(JSON.parse(answer.data).presence, { ids: ['7'], hash: { 7: {} }, count: 1 });
    const other = fresh('presence'), channel_data = '{}';
    await assert.rejects(client.subscribe(other, { channel_data, auth: channelAuth(demoApp, client.socketId, other, channel_data) }), { code: 4300 });
  });

  test('two sockets of one user are one member: one added, one removed [13]', async () => {
    const channel = fresh('presence'), watcher = await v1(), first = await v1(), second = await v1();
    await join(watcher, channel, 'w', { name: 'W' });
    await join(first, channel, 'u', { name: 'U' });
    const answer = await join(second, channel, 'u', { name: 'U' });
    assert.equal(JSON.parse(answer.data).presence.count, 2);
    assert.deepEqual(JSON.parse(answer.data).presence.hash, { w: { name: 'W' }, u: { name: 'U' } });
    first.unsubscribe(channel);
    await first.settle();
    await watcher.settle();
    assert.deepEqual(watcher.events(channel).slice(1), ['pusher_internal:member_added']);
    assert.deepEqual(JSON.parse(watcher.of(channel)[1].data), { user_id: 'u', user_info: { name: 'U' } });
    await second.close();
    const gone = await watcher.next(f => f.event === 'pusher_internal:member_removed');
    assert.deepEqual(JSON.parse(gone.data), { user_id: 'u' });
  });

  test('a V2 client cut off keeps its place for the lease, and loses it after [14]', async () => {
    const channel = fresh('presence'), watcher = await v2(), guest = await v2();
    await join(watcher, channel, 'w');
    await join(guest, channel, 'g');
    guest.cut();
    await sleep(700);
    const back = await v2();
    await join(back, channel, 'g');
    await sleep(2500);
    assert.deepEqual(watcher.events(channel).slice(1), ['sockudo_internal:member_added']);
    back.ws.destroy();
    await watcher.next(f => f.event === 'sockudo_internal:member_removed', { ms: 6000 });
  });

  test('a clean close removes the member at once [14]', async () => {
    const channel = fresh('presence'), watcher = await v2(), guest = await v2();
    await join(watcher, channel, 'w');
    await join(guest, channel, 'g');
    await guest.close();
    await watcher.next(f => f.event === 'sockudo_internal:member_removed', { ms: 1000 });
  });

  test('who signed in as A and joined as B leaves as B [15]', async () => {
    const channel = fresh('presence'), watcher = await v1(), guest = await v1();
    await join(watcher, channel, 'w');
    const user_data = JSON.stringify({ id: 'A' });
    guest.send('pusher:signin', { auth: userAuth(demoApp, guest.socketId, user_data), user_data });
    const signed = await guest.next(f => f.event === 'pusher:signin_success');
    assert.equal(signed.data.user_data, user_data);
    await join(guest, channel, 'B');
    await guest.close();
    const gone = await watcher.next(f => f.event === 'pusher_internal:member_removed');
    assert.equal(JSON.parse(gone.data).user_id, 'B');
  });

  test('a full presence channel lets a member in again, but nobody new [16]', async () => {
    const channel = fresh('presence');
    const [a, b, again, late] = await Promise.all([1, 2, 3, 4].map(() => v1({ key: 'small' })));
    await join(a, channel, 'a');
    await join(b, channel, 'b');
    await join(again, channel, 'b');
    await assert.rejects(join(late, channel, 'c'), { code: 4100 });
    await late.settle();
  });

  test('subscribing twice is acknowledged twice and counted once [17]', async () => {
    const channel = fresh('presence'), watcher = await v1(), guest = await v1();
    await join(watcher, channel, 'w');
    await join(guest, channel, 'g');
    await join(guest, channel, 'g');
    await watcher.settle();
    assert.equal(watcher.events(channel).filter(e => e.endsWith('member_added')).length, 1);
    const { body } = await new Api(held.server).get(`/channels/${channel}`, { info: 'subscription_count,user_count' });
    assert.deepEqual(body, { occupied: true, subscription_count: 2, user_count: 2 });
  });

  test('a name with a colon needs a configured namespace, on V1 and on V2 [18]', async () => {
    for (const client of [await v1(), await v2()]) {
      await assert.rejects(client.subscribe('orders:1'), { code: 4300, message: /Unknown channel namespace 'orders'/ });
      await client.subscribe('shop:1');
    }
  });

  test('names of 200 bytes pass; 201, a blank and nothing do not [19]', async () => {
    const client = await v1();
    await client.subscribe('n'.repeat(200));
    await client.subscribe('a,b;c');
    await assert.rejects(client.subscribe('n'.repeat(201)), { code: 4300 });
    await assert.rejects(client.subscribe('a b'), { code: 4300 });
    assert.equal((await errorAfter(client, () => client.send('pusher:subscribe', { channel: '' }))).code, 4300);
    await client.settle();
  });

  test('a subscribe without channel is 4000', async () => {
    const client = await v1();
    assert.equal((await errorAfter(client, () => client.send('pusher:subscribe', {}))).code, 4000);
  });

  test('data of a subscribe may be a JSON string', async () => {
    const client = await v1(), channel = fresh();
    client.send('pusher:subscribe', JSON.stringify({ channel, auth: '' }));
    const ack = await client.next(f => f.channel === channel);
    assert.deepEqual(ack, { event: 'pusher_internal:subscription_succeeded', channel, data: '{}' });
  });

  test('nothing arrives after an unsubscribe, and a second one does no harm', async () => {
    const client = await v1(), channel = fresh(), api = new Api(held.server);
    await client.subscribe(channel);
    client.unsubscribe(channel);
    client.unsubscribe(channel);
    client.send('pusher:unsubscribe', channel);
    await client.settle();
    await api.publish(channel, 'x', '1');
    await client.settle();
    assert.deepEqual(client.events(channel), ['pusher_internal:subscription_succeeded']);
    api.close();
  });

  test('a client event needs a subscription to a private channel and the feature [24]', async () => {
    const client = await v1(), plain = await v1({ key: 'plain' });
    await client.subscribe('public');
    assert.equal((await errorAfter(client, () => client.send('client-x', {}, { channel: 'public' }))).code, 4301);
    assert.equal((await errorAfter(client, () => client.send('client-x', {}, { channel: 'private-never' }))).code, 4301);
    assert.equal((await errorAfter(client, () => client.send('client-x', {}))).code, 4301);
    await plain.subscribe('private-a');
    assert.equal((await errorAfter(plain, () => plain.send('client-x', {}, { channel: 'private-a' }))).code, 4301);
    await client.settle();
    await plain.settle();
  });

  test('client event data travels byte for byte, whatever its keys are called [25]', async () => {
    const channel = fresh('private'), sender = await v1(), receiver = await v1(), raw = [];
    await sender.subscribe(channel);
    await receiver.subscribe(channel);
    receiver.ws.onFrame = text => { raw.push(text); receiver.take(text); };
    const data = '{"channel":"x","user_data":5,"n":1.50,"e":"\\u00e9\\/","b":1,"a":12345678901234567890}';
    sender.ws.send(`{"event":"client-odd","channel":"${channel}","data":${data}}`);
    sender.ws.send(`{"event":"client-text","channel":"${channel}","data":"plain"}`);
    sender.ws.send(`{"event":"client-none","channel":"${channel}"}`);
    await receiver.next(f => f.event === 'client-none');
    assert.equal(raw[0], `{"event":"client-odd","channel":"${channel}","data":${data}}`);
    assert.equal(receiver.find(f => f.event === 'client-text').data, 'plain');
    assert.equal(receiver.find(f => f.event === 'client-none').data, null);
  });

  test('presence client events name the member; V1 senders hear no echo, V2 senders do unless they asked not to [26]', async () => {
    const channel = fresh('presence');
    const old = await v1(), echoed = await v2(), quiet = await v2({ params: 'echo_messages=false' });
    await join(old, channel, 'old');
    await join(echoed, channel, 'echoed');
    await join(quiet, channel, 'quiet');
    for (const client of [old, echoed, quiet]) client.send('client-hi', { from: client.socketId }, { channel });
    const heard = client => client.of(channel).filter(f => f.event === 'client-hi').map(f => f.user_id).sort();
    await until(() => heard(echoed).length === 3 && heard(old).length === 2 && heard(quiet).length === 2, () => `heard ${[old, echoed, quiet].map(heard).join(' | ')}`);
    await sleep(100);
    assert.deepEqual([old, echoed, quiet].map(heard), [['echoed', 'quiet'], ['echoed', 'old', 'quiet'], ['echoed', 'old']]);
  });

  test('the eleventh event of a window of ten is 4301, or ends the connection if the app says so [27]', async () => {
    const limited = await v1({ key: 'limited' }), strict = await v1({ key: 'strict' });
    await limited.subscribe('private-a');
    await strict.subscribe('private-a');
    const ended = strict.ws.closed;
    for (let i = 0; i < 11; i++) {
      limited.send('client-x', {}, { channel: 'private-a' });
      strict.send('client-x', {}, { channel: 'private-a' });
    }
    assert.equal((await limited.next(f => f.event === 'pusher:error')).data.code, 4301);
    await limited.settle();
    assert.equal((await ended).code, 4301);
    assert.equal(strict.frames.filter(f => f.event === 'pusher:error').length, 1);
  });

  test('unknown events are ignored, broken frames are 4000, and the connection stays [28]', async () => {
    const client = await v1();
    client.send('foo:bar', {});
    client.send('pusher:nonsense', {});
    await client.settle();
    assert.deepEqual(client.frames.map(f => f.event), ['pusher:connection_established', 'pusher:pong']);
    for (const text of ['{}', '{', '[]', '7', '{"event":5}']) {
      const { code } = await errorAfter(client, () => client.ws.send(text));
      assert.equal(code, 4000, text);
    }
    await client.settle();
  });

  test('of a publish with everything, V1 sees event, channel and data only [29]', async () => {
    const channel = fresh(), old = await v1(), young = await v2(), api = new Api(held.server);
    await old.subscribe(channel);
    await young.subscribe(channel);
    const { status } = await api.publish(channel, 'order.created', { id: 7 }, { tags: { region: 'eu' }, extras: { headers: { tenant: 'a', n: 5, ok: true } }, message_id: 'm-29', idempotency_key: 'k-29' });
    assert.equal(status, 200);
    const plain = await old.next(f => f.event === 'order.created'), full = await young.next(f => f.event === 'order.created');
    assert.deepEqual(plain, { event: 'order.created', channel, data: '{"id":7}' });
    assert.equal(full.data, '{"id":7}');
    assert.equal(full.message_id, 'm-29');
    assert.deepEqual(full.tags, { region: 'eu' });
    assert.equal(full.extras.headers.tenant, 'a');
    assert.equal(full.extras.headers.n, 5);
    assert.equal(full.extras.headers.ok, true);
    assert.ok(full.serial >= 1 && typeof full.stream_id === 'string');
    assert.ok(!('idempotency_key' in full));
    api.close();
  });

  test('a text of 65,536 bytes is taken, one more is 1009, whole or in fragments [33]', async () => {
    const fits = await v1(), frame = n => { const start = '{"event":"x","data":"', end = '"}'; return start + 'a'.repeat(n - start.length - end.length) + end; };
    fits.ws.send(frame(65536));
    await fits.settle();
    const whole = await v1(), parts = await v1();
    whole.ws.send(frame(65537));
    assert.equal((await whole.ws.closed).code, 1009);
    parts.ws.sendFrame(OP.TEXT, 'a'.repeat(40000), { fin: false });
    parts.ws.sendFrame(OP.CONTINUE, 'a'.repeat(40000), { fin: true });
    assert.equal((await parts.ws.closed).code, 1009);
  });

  test('sign-in is refused where it is off or badly signed, and the connection stays [35]', async () => {
    const user_data = JSON.stringify({ id: 'u' });
    const plain = await v1({ key: 'plain' }), client = await v1();
    assert.equal((await errorAfter(plain, () => plain.send('pusher:signin', { auth: userAuth(app('plain'), plain.socketId, user_data), user_data }))).code, 4009);
    assert.equal((await errorAfter(client, () => client.send('pusher:signin', { auth: 'app-key:beef', user_data }))).code, 4009);
    const numeric = JSON.stringify({ id: 5 });
    assert.equal((await errorAfter(client, () => client.send('pusher:signin', { auth: userAuth(demoApp, client.socketId, numeric), user_data: numeric }))).code, 4009);
    await client.settle();
    await plain.settle();
  });

  test('a cache channel answers with cache_miss, and after a publish with that event [38]', async () => {
    const channel = fresh('cache'), first = await v1(), second = await v1(), api = new Api(held.server);
    await first.subscribe(channel);
    assert.deepEqual(await first.next(f => f.event === 'pusher:cache_miss'), { event: 'pusher:cache_miss', channel, data: '{}' });
    await api.publish(channel, 'state', 'v1');
    await second.subscribe(channel);
    assert.equal((await second.next(f => f.event === 'state')).data, 'v1');
    assert.deepEqual(second.events(channel), ['pusher_internal:subscription_succeeded', 'state']);
    api.close();
  });

  test('terminate closes the sockets of that user with 4009 and nobody else [48]', async () => {
    const client = await v1(), other = await v1(), api = new Api(held.server);
    for (const [c, id] of [[client, 'victim'], [other, 'bystander']]) {
      const user_data = JSON.stringify({ id });
      c.send('pusher:signin', { auth: userAuth(demoApp, c.socketId, user_data), user_data });
      await c.next(f => f.event === 'pusher:signin_success');
    }
    const ended = client.ws.closed;
    assert.deepEqual((await api.post('/users/victim/terminate_connections', {})).body, { ok: true });
    assert.equal((await ended).code, 4009);
    await other.settle();
    assert.deepEqual((await api.post('/users/nobody/terminate_connections', {})).body, { ok: true });
    api.close();
  });
});

describe('frames on the wire', () => {
  const held = oneServer({ before, after }, { apps });
  const connect = () => WsClient.connect(`${held.server.url}/app/app-key?protocol=7`);
  const closedBy = async act => { const ws = await connect(); act(ws); const { code } = await ws.closed; return code; };

  test('an unmasked frame is 1002', async () => {
    assert.equal(await closedBy(ws => ws.sendFrame(OP.TEXT, '{"event":"pusher:ping"}', { mask: null })), 1002);
  });
  test('a reserved bit is 1002', async () => assert.equal(await closedBy(ws => ws.sendFrame(OP.TEXT, '{}', { reserved: 4 })), 1002));
  test('a reserved opcode is 1002', async () => assert.equal(await closedBy(ws => ws.sendFrame(3, 'x')), 1002));
  test('a continuation without a beginning is 1002', async () => assert.equal(await closedBy(ws => ws.sendFrame(OP.CONTINUE, 'x')), 1002));
  test('a new message inside another is 1002', async () => assert.equal(await closedBy(ws => { ws.sendFrame(OP.TEXT, 'a', { fin: false }); ws.sendFrame(OP.TEXT, 'b'); }), 1002));
  test('a fragmented control frame is 1002', async () => assert.equal(await closedBy(ws => ws.sendFrame(OP.PING, 'x', { fin: false })), 1002));
  test('a control frame over 125 bytes is 1002', async () => assert.equal(await closedBy(ws => ws.sendFrame(OP.PING, 'x'.repeat(126))), 1002));
  test('a close frame with one byte is 1002', async () => assert.equal(await closedBy(ws => ws.sendFrame(OP.CLOSE, 'x')), 1002));
  test('a close code nobody may send is 1002', async () => assert.equal(await closedBy(ws => ws.close(1005)), 1002));
  test('invalid UTF-8 in a text is 1007', async () => assert.equal(await closedBy(ws => ws.sendFrame(OP.TEXT, Buffer.from([0x22, 0xc3, 0x28]))), 1007));
  test('invalid UTF-8 over the edge of two fragments is 1007', async () => assert.equal(await closedBy(ws => { ws.sendFrame(OP.TEXT, Buffer.from([0xe2, 0x82]), { fin: false }); ws.sendFrame(OP.CONTINUE, Buffer.from([0x28])); }), 1007));
  test('a close frame is answered in kind', async () => {
    const ws = await connect();
    assert.equal((await ws.close(1000)).code, 1000);
  });

  test('fragments with a ping between them make one message, and the ping is answered with its payload', async () => {
    const ws = await connect(), got = [];
    ws.onFrame = text => got.push(JSON.parse(text).event);
    const pong = new Promise(resolve => { ws.onPong = payload => resolve(payload.toString()); });
    ws.sendFrame(OP.TEXT, '{"event":"pusher', { fin: false });
    ws.ping('in between');
    ws.sendFrame(OP.CONTINUE, '', { fin: false });
    ws.sendFrame(OP.CONTINUE, ':ping"}');
    assert.equal(await pong, 'in between');
    await until(() => got.includes('pusher:pong'));
    ws.destroy();
  });

  test('frames that arrive byte by byte, and many in one packet, are all understood', async () => {
    const ws = await connect(), got = [];
    ws.onFrame = text => got.push(JSON.parse(text).event);
    const frame = Buffer.alloc(6 + 23);
    frame[0] = 0x81; frame[1] = 0x80 | 23;
    frame.write('{"event":"pusher:ping"}', 6);
    for (const byte of frame) { ws.socket.write(Buffer.from([byte])); await sleep(1); }
    ws.socket.write(Buffer.concat(Array(100).fill(frame)));
    await until(() => got.filter(e => e === 'pusher:pong').length === 101);
    ws.destroy();
  });

  test('binary frames with JSON are taken as text', async () => {
    const ws = await connect(), got = [];
    ws.onFrame = text => got.push(JSON.parse(text).event);
    ws.sendFrame(OP.BINARY, '{"event":"pusher:ping"}');
    await until(() => got.includes('pusher:pong'));
    ws.destroy();
  });

  test('frames sent together with the upgrade request are handled', async () => {
    const socket = net.connect(held.server.port, '127.0.0.1');
    const key = crypto.randomBytes(16).toString('base64');
    const frame = Buffer.alloc(6 + 23);
    frame[0] = 0x81; frame[1] = 0x80 | 23;
    frame.write('{"event":"pusher:ping"}', 6);
    socket.write(Buffer.concat([Buffer.from(`GET /app/app-key?protocol=7 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n\r\n`), frame]));
    let got = '';
    socket.on('data', data => { got += data.toString('latin1'); });
    await until(() => got.includes('pusher:pong'), () => got);
    const accept = crypto.createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
    assert.ok(got.includes(accept));
    socket.destroy();
  });
});

describe('HTTP on the wire', () => {
  const held = oneServer({ before, after }, { apps });

  test('a malformed request is 400 and closes', async () => {
    for (const bad of ['GARBAGE\r\n\r\n', 'GET / HTTP/9.9\r\n\r\n', 'GET /up HTTP/1.1\r\nHost : x\r\n\r\n', 'POST /apps/app-id/events HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n',
      'POST /apps/app-id/events HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n', 'GET /up HTTP/1.1\r\nA: \0\r\n\r\n']) {
      const { text } = await held.server.raw(bad);
      assert.ok(text === '' || /^HTTP\/1\.1 (400|404|501|505) /.test(text), `${JSON.stringify(bad)} -> ${text}`);
      assert.ok(!/^HTTP\/1\.1 200 /.test(text), bad);
    }
    assert.equal((await held.server.get('/up')).status, 200);
  });

  test('headers beyond any reason are refused, and memory stays', async () => {
    const { text } = await held.server.raw(`GET /up HTTP/1.1\r\nHost: x\r\n${'X-Long: '}${'a'.repeat(1 << 20)}\r\n\r\n`);
    assert.ok(text === '' || /^HTTP\/1\.1 (400|414|431) /.test(text), text.slice(0, 100));
    assert.equal((await held.server.get('/up')).status, 200);
  });

  test('headers that come too slowly end the connection while others are served', { timeout: 60_000 }, async () => {
    const socket = net.connect(held.server.port, '127.0.0.1');
    const ended = new Promise(resolve => socket.on('close', resolve).on('error', () => {}).on('data', () => {}));
    socket.write('GET /up HTTP/1.1\r\nHost: x\r\n');
    const drip = setInterval(() => socket.write('X'), 1000);
    assert.equal((await held.server.get('/up')).status, 200);
    const first = await within(ended.then(() => 'ended'), 45_000) ?? 'still open';
    clearInterval(drip);
    socket.destroy();
    assert.equal(first, 'ended');
  });

  test('pipelined requests are answered in their order', async () => {
    const { text } = await held.server.raw('GET /live HTTP/1.1\r\nHost: x\r\n\r\nGET /up HTTP/1.1\r\nHost: x\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    assert.deepEqual([...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(m => m[1]), ['200', '200', '404']);
    assert.match(text, /404 NOT FOUND$/);
  });

  test('a chunked body is taken like any other', async () => {
    const api = new Api(held.server), body = '{"name":"x","channel":"c","data":"1"}';
    const target = api.target('POST', '/apps/app-id/events', { body });
    const chunks = [...body.match(/.{1,7}/g)].map(part => `${part.length.toString(16)}\r\n${part}\r\n`).join('');
    const { text } = await held.server.raw(`POST ${target} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n${chunks}0\r\n\r\n`);
    assert.match(text, /^HTTP\/1\.1 200 /);
    assert.match(text, /{"ok":true}$/);
  });

  test('HEAD is answered where GET is, without a body', async () => {
    const answer = await held.server.get('/up', { method: 'HEAD' });
    assert.equal(answer.status, 200);
    assert.equal(answer.text, '');
  });

  test('Expect: 100-continue is answered before the body', async () => {
    const api = new Api(held.server), body = '{"name":"x","channel":"c","data":"1"}';
    const socket = net.connect(held.server.port, '127.0.0.1');
    let got = '';
    socket.on('data', data => { got += data; });
    socket.write(`POST ${api.target('POST', '/apps/app-id/events', { body })} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\nExpect: 100-continue\r\n\r\n`);
    await until(() => /^HTTP\/1\.1 100 /.test(got), () => `100, got ${got}`);
    socket.write(body);
    await until(() => got.includes('{"ok":true}'), () => got);
    socket.destroy();
  });
});

describe('a reader that does not read', () => {
  const held = oneServer({ before, after }, { apps, config: { websocket: { max_messages: 200 }, connection_recovery: { max_buffer_size: 2000 } } });

  test('is closed with 4100 while others miss nothing, and finds everything again by resume [34]', { timeout: 60_000 }, async () => {
    const channel = fresh(), api = new Api(held.server), data = 'x'.repeat(16_000);
    const slow = await V2.connect(held.server), good = await V2.connect(held.server);
    await slow.subscribe(channel);
    await good.subscribe(channel);
    slow.ws.pause();
    let total = 0;
    const publish = async count => { for (const end = total + count; total < end; total++) assert.equal((await api.publish(channel, 'n', `${total}:${data}`)).status, 200); };
    for (let closed = 0; closed === 0; closed = await held.server.metric('sockudo_slow_consumer_disconnects_total')) {
      assert.ok(total < 5000, 'the queue is bounded');
      await publish(50);
    }
    await publish(50);
    const numbers = client => client.of(channel).filter(f => f.event === 'n').map(f => Number(f.data.split(':')[0])), all = [...Array(total).keys()];
    await until(() => numbers(good).length === total, () => `${total} at the good reader, has ${numbers(good).length}`, 15_000);
    assert.deepEqual(numbers(good), all);
    const ended = slow.ws.closed;
    slow.ws.resume();
    assert.equal((await ended).code, 4100);
    const got = numbers(slow);
    assert.ok(got.length < total);
    assert.deepEqual(got, all.slice(0, got.length), 'what it got is a beginning without holes');
    assert.deepEqual((await slow.reconnect()).failed, []);
    await until(() => numbers(slow).length >= total, () => `the rest: ${numbers(slow).length} of ${total}, closed ${JSON.stringify(slow.closing)}`, 15_000);
    assert.deepEqual(numbers(slow), all, 'nothing is missing, nothing came twice');
    assert.deepEqual(slow.faults, []);
    await good.close();
    await slow.close();
    api.close();
  });
});
