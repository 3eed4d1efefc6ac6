// SPDX-License-Identifier: Apache-2.0
//
// tokens.test.mjs - capability tokens, what they allow, and their end (chapter 4, section 4; numbers in brackets: cases of chapter 4,
// section 12; "1/36" is a case of chapter 1, "3/12" of chapter 3, S an item of the checklist).
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Api, channelAuth, nowSeconds, userAuth } from './lib/api.mjs';
import { Server, appWith, demoApp, fresh, oneServer, sleep, until, within } from './lib/server.mjs';
import { EventReader } from './lib/stream.mjs';
import { mint } from './lib/token.mjs';
import { V1, V2 } from './lib/v2.mjs';

const ALL = ['subscribe', 'publish', 'history', 'presence'];
const DENIED = { error: 'mutations not permitted on this channel', code: 'mutable_not_permitted', ai_code: 93002, status: 403 };
const apps = [
  appWith({ channels: { channel_namespaces: [{ name: 'room' }, { name: 'Room' }] } }),
  { ...demoApp, id: '2', key: 'other', secret: 'other-secret' },
];
const [app] = apps;

const withToken = (server, token, Client = V2) => Client.connect(server, { params: `token=${token}` });
const holder = (server, options) => withToken(server, mint(app, options));
const refresh = (client, token) => client.send('sockudo:auth', { token });

/* Why a connection with that token did not come about. */
async function refusal(server, token, Client = V2) {
  const failed = await withToken(server, token, Client).then(() => assert.fail('the token was taken'), error => error);
  const { client } = failed;
  await until(() => client.closing, 'the close frame');
  assert.deepEqual(client.frames.map(f => f.event), [`${client.prefix}:error`], 'one error frame and no established');
  assert.equal(client.closing.code, 4009);
  assert.equal(failed.code, 4009);
  assert.equal(String(client.closing.reason), failed.message);
  return failed.message;
}

async function errorAfter(client, act) {
  const from = client.frames.length;
  act();
  return (await client.next(f => /:error$/.test(f.event), { from })).data;
}
const denied = (operation, channel) => ({ code: 4009, message: `Authentication error: Connection is not allowed to ${operation} channel '${channel}'` });

describe('which tokens are taken', () => {
  const held = oneServer({ before, after }, { apps });

  test('a good one, with - or _ in operations, nbf a little ahead, capability as text [37]', async () => {
    const now = nowSeconds();
    for (const options of [
      {}, { may: { a: ['annotation-publish', 'message_update_own', 'push_subscribe'] } }, { claims: { nbf: now + 29 } },
      { claims: { 'x-sockudo-capability': JSON.stringify({ '*': ALL }) } }, { claims: { exp: now - 20 } }, { life: 86400 }, { claims: { iat: now + 25 } },
      { may: Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`c${i}`, ['publish']])) },
    ]) {
      const client = await holder(held.server, options);
      assert.equal(client.established.event, 'sockudo:connection_established');
      await client.close();
    }
  });

  test('the rest gets error 4009, close 4009 and no established frame [37, 1/36, S78]', async () => {
    const now = nowSeconds();
    const table = [
      [{ header: { alg: 'none' } }, /alg must be HS256/],
      [{ header: { alg: 'RS256' } }, /alg must be HS256/],
      [{ header: { alg: 'HS384' } }, /alg must be HS256/],
      [{ header: { kid: 'other' } }, /kid must be the app key/],
      [{ header: { kid: undefined } }, /kid must be the app key/],
      [{ secret: 'guess' }, /signature is invalid/],
      [{ claims: { exp: now - 31 } }, /capability token expired/],
      [{ claims: { exp: now + 86401, iat: now } }, /lifetime exceeds 86400/],
      [{ claims: { exp: now + 25 * 3600 } }, /lifetime exceeds 86400/],
      [{ claims: { iat: now + 33 } }, /iat is in the future/],
      [{ claims: { nbf: now + 33 } }, /not valid yet/],
      [{ claims: { jti: undefined } }, /jti must be/],
      [{ claims: { jti: 'j'.repeat(129) } }, /jti must be/],
      [{ claims: { 'x-sockudo-client-id': '' } }, /x-sockudo-client-id must be/],
      [{ may: Object.fromEntries(Array.from({ length: 101 }, (_, i) => [`c${i}`, ['publish']])) }, /more than 100 patterns/],
      [{ may: { a: ['fly'] } }, /unknown operation/],
      [{ may: { '': ['publish'] } }, /empty pattern/],
      [{ claims: { pad: 'x'.repeat(8192) } }, /larger than 8192 bytes/],
    ];
    for (const [options, why] of table) {
      const text = await refusal(held.server, mint(app, options));
      assert.match(text, /^Authentication error: /);
      assert.match(text, why);
    }
    assert.match(await refusal(held.server, 'nonsense'), /malformed/);
    assert.match(await refusal(held.server, ''), /malformed/);
    assert.match(await refusal(held.server, mint(apps[1])), /kid must be the app key/);
  });

  test('V1 takes none [1/36]', async () => {
    assert.equal(await refusal(held.server, mint(app), V1), 'Authentication error: capability tokens require protocol V2');
    const client = await V1.connect(held.server);
    const error = await errorAfter(client, () => client.send('pusher:auth', { token: mint(app) }));
    assert.deepEqual(error, { code: 4009, message: 'Authentication error: capability tokens require protocol V2' });
    await client.settle();
    await client.close();
  });
});

describe('what a token allows', () => {
  const held = oneServer({ before, after }, { apps });
  let api;
  before(() => { api = new Api(held.server); });
  after(() => api.close());

  test('only what it lists, on the channels that its patterns match [38, S79]', async () => {
    const client = await holder(held.server, { may: { 'room:*': ['subscribe'] } });
    await client.subscribe('room:1');
    await assert.rejects(client.subscribe('Room:1'), { message: denied('subscribe', 'Room:1').message });
    await assert.rejects(client.subscribe('room'), { code: 4009 });
    await client.subscribe('room:*'); /* a wildcard is asked for by its own text */
    await assert.rejects(client.subscribe('*'), { message: denied('subscribe', '*').message });
    await assert.rejects(client.subscribe('room*'), { message: denied('subscribe', 'room*').message });
    await assert.rejects(client.subscribe('room:2', { rewind: 1 }), { message: denied('history', 'room:2').message });
    const error = await errorAfter(client, () => client.send('sockudo:channel_history', { channel: 'room:1' }));
    assert.match(error.message, /not allowed to history channel 'room:1'/);
    const { message_serial } = await api.create('room:1', 'x', { name: 'note' });
    const answer = await api.append('room:1', message_serial, 'y', { socket_id: client.socketId });
    assert.deepEqual(answer.body, DENIED);
    await client.close();
  });

  test('publishing needs publish, presence needs subscribe and presence [38]', async () => {
    const client = await holder(held.server, { may: { 'private-a': ['subscribe'], 'private-b': ['subscribe', 'publish'], 'presence-a': ['subscribe'], 'presence-b': ['subscribe', 'presence'] } });
    await client.subscribe('private-a');
    await client.subscribe('private-b');
    assert.deepEqual(await errorAfter(client, () => client.send('client-x', 1, { channel: 'private-a' })), denied('publish', 'private-a'));
    const from = client.frames.length;
    client.send('client-x', 1, { channel: 'private-b' });
    await client.next(f => f.event === 'client-x', { from });
    for (const [channel, fine] of [['presence-a', false], ['presence-b', true]]) {
      const channel_data = JSON.stringify({ user_id: 'alice' });
      const attempt = client.subscribe(channel, { channel_data, auth: channelAuth(app, client.socketId, channel, channel_data) });
      if (fine) await attempt;
      else await assert.rejects(attempt, { message: denied('presence', channel).message });
    }
    await client.close();
  });

  test('it is who the connection is, and never a signature', async () => {
    const client = await holder(held.server, { client: 'auth0|7' });
    await client.subscribe('#server-to-user-auth0|7', { auth: '' });
    await assert.rejects(client.subscribe('private-a', { auth: 'app-key:00' }), { code: 4009 });
    const user_data = JSON.stringify({ id: 'u1' });
    const error = await errorAfter(client, () => client.send('sockudo:signin', { auth: userAuth(app, client.socketId, user_data), user_data }));
    assert.deepEqual(error, { code: 4009, message: 'Authentication error: signin is not allowed on capability-token authenticated connections' });
    await api.post('/users/auth0%7C7/terminate_connections', {});
    await until(() => client.closing, 'the end');
    assert.equal(client.closing.code, 4009);
  });
});

describe('refresh and expiry', { concurrency: true }, () => {
  const held = oneServer({ before, after }, { apps });

  test('a refresh is answered, and what it allows counts from then on [S82]', async () => {
    const channel = fresh('private-a');
    const client = await holder(held.server, { may: { [channel]: ['subscribe'] } });
    await client.subscribe(channel);
    const exp = nowSeconds() + 100;
    refresh(client, mint(app, { jti: 'second', may: { 'private-b': ['subscribe'] }, claims: { exp } }));
    const frame = await client.next(f => f.event === 'sockudo:auth_success');
    assert.deepEqual(frame.data, { client_id: 'alice', jti: 'second', exp });
    await client.subscribe('private-b');
    const api = new Api(held.server);
    await api.publish(channel, 'e', 'still subscribed');
    await client.next(f => f.event === 'e');
    client.unsubscribe(channel);
    await assert.rejects(client.subscribe(channel), { code: 4009 });
    api.close();
    await client.close();
  });

  test('the client stays the same, and a bad refresh changes nothing [39, 1/37]', async () => {
    const client = await holder(held.server);
    assert.deepEqual(await errorAfter(client, () => refresh(client, mint(app, { client: 'bob' }))),
      { code: 4009, message: 'Authentication error: capability token refresh cannot change client_id' });
    assert.deepEqual(await errorAfter(client, () => client.send('sockudo:auth', {})),
      { code: 4000, message: 'Invalid message format: sockudo:auth requires data.token' });
    assert.match((await errorAfter(client, () => refresh(client, mint(app, { secret: 'x' })))).message, /signature is invalid/);
    await client.subscribe('private-a');
    client.send('sockudo:auth', JSON.stringify({ token: mint(app) }));
    await client.next(f => f.event === 'sockudo:auth_success');
    await client.close();
  });

  test('a refresh in time: no token_expired [39]', async () => {
    const client = await holder(held.server, { life: 2 });
    refresh(client, mint(app, { life: 60 }));
    await client.next(f => f.event === 'sockudo:auth_success');
    await sleep(3000);
    assert.equal(client.find(f => f.event === 'sockudo:token_expired'), undefined);
    await client.close();
  });

  test('at exp token_expired 40142, 30 s later close 4009; a refresh just before keeps the socket [40, 1/37, S80]', async () => {
    const left = await holder(held.server, { life: 1 }), kept = await holder(held.server, { life: 1 });
    const frame = await left.next(f => f.event === 'sockudo:token_expired');
    const told = Date.now();
    assert.deepEqual(frame.data, { code: 40142, reason: 'expired' });
    assert.deepEqual((await kept.next(f => f.event === 'sockudo:token_expired')).data, { code: 40142, reason: 'expired' });
    await left.subscribe(fresh('private-a')); /* the old capabilities still work */
    await sleep(28500);
    assert.equal(left.closing, null);
    refresh(kept, mint(app));
    await kept.next(f => f.event === 'sockudo:auth_success');
    await until(() => left.closing, 'the close after the grace');
    const waited = Date.now() - told;
    assert.ok(waited > 29500 && waited < 36000, `closed after ${waited} ms`);
    assert.equal(left.closing.code, 4009);
    assert.equal(String(left.closing.reason), 'capability token expired');
    assert.deepEqual(left.frames.at(-1).data, { code: 4009, message: 'capability token expired' });
    await sleep(1500);
    assert.equal(kept.closing, null);
    await kept.settle();
    await kept.close();
  });
});

describe('revocation', () => {
  const held = oneServer({ before, after }, { apps });
  let api;
  before(() => { api = new Api(held.server); });
  after(() => api.close());
  const revoke = body => api.post('/revocations', body);

  async function assertRevoked(client) {
    await until(() => client.closing, 'the close of a revoked token');
    assert.equal(client.closing.code, 4009);
    assert.equal(String(client.closing.reason), 'capability token revoked');
    const [told, error] = client.frames.slice(-2);
    assert.equal(told.event, 'sockudo:token_expired');
    assert.deepEqual(told.data, { code: 40160, reason: 'revoked' });
    assert.deepEqual(error.data, { code: 4009, message: 'capability token revoked' });
  }

  test('by client: all its sockets, on every shard, and no way back [41]', async () => {
    const clients = await Promise.all(Array.from({ length: 12 }, () => holder(held.server, { client: 'eve' })));
    const others = [await holder(held.server, { client: 'alice' }), await V2.connect(held.server)];
    const { status, body } = await revoke({ client_id: 'eve', ttl_seconds: 600, reason: 'left the company' });
    assert.equal(status, 200);
    assert.deepEqual(body, { revoked_jti: false, revoked_client_id: true, closed_connections: 12 });
    for (const client of clients) await assertRevoked(client);
    for (let i = 0; i < 4; i++)
      assert.equal(await refusal(held.server, mint(app, { client: 'eve' })), 'Authentication error: capability token revoked');
    for (const client of others) { await client.settle(); await client.close(); }
  });

  test('by jti: that token only, at connect and at refresh [41, S81]', async () => {
    const one = mint(app, { jti: 'one' }), two = mint(app, { jti: 'two' });
    const first = await withToken(held.server, one), second = await withToken(held.server, two);
    assert.deepEqual((await revoke({ jti: 'one' })).body, { revoked_jti: true, revoked_client_id: false, closed_connections: 1 });
    await assertRevoked(first);
    await refusal(held.server, one);
    assert.deepEqual(await errorAfter(second, () => refresh(second, one)), { code: 4009, message: 'Authentication error: capability token revoked' });
    await second.settle();
    await second.close();
  });

  test('who reads a message as server-sent events with such a token is ended, too', async () => {
    const channel = fresh('ai'), { message_serial: serial } = await api.create(channel, 'a');
    const token = mint(app, { client: 'sid', may: { [channel]: ['subscribe'] } });
    const readers = Array.from({ length: 4 }, () => new EventReader(api, channel, serial, { query: { token } }));
    const other = new EventReader(api, channel, serial, { query: { token: mint(app) } });
    for (const reader of [...readers, other]) await reader.until(e => e.event === 'snapshot');
    assert.equal((await revoke({ client_id: 'sid', ttl_seconds: 600 })).body.closed_connections, 4);
    for (const reader of readers) assert.ok(await within(reader.done, 3000), 'the end of the response');
    const again = new EventReader(api, channel, serial, { query: { token } });
    await again.done;
    assert.equal(again.status, 401);
    await api.append(channel, serial, 'b');
    await other.until(e => e.event === 'append');
    await other.close();
  });

  test('the request names a token or a client [41]', async () => {
    const answer = await revoke({});
    assert.equal(answer.status, 401);
    assert.deepEqual(answer.body, { error: 'revocation requires jti or client_id', code: 'auth_failed', status: 401 });
    assert.equal((await revoke({ jti: 7 })).status, 422);
    assert.equal((await revoke({ jti: '' })).status, 400);
    assert.equal((await revoke({ jti: 'j', ttl_seconds: 'x' })).status, 422);
  });

  test('it ends with its time, and is counted', async () => {
    const before_ = await held.server.metric('sockudo_capability_revocations');
    await revoke({ client_id: 'carol', ttl_seconds: 2 });
    assert.equal(await held.server.metric('sockudo_capability_revocations'), before_ + 1);
    await refusal(held.server, mint(app, { client: 'carol' }));
    await until(async () => (await held.server.metric('sockudo_capability_revocations')) === before_, 'the end of the revocation', 8000);
    await (await holder(held.server, { client: 'carol' })).close();
  });

  test('another application is not concerned', async () => {
    await revoke({ client_id: 'dora', ttl_seconds: 600 });
    const client = await V2.connect(held.server, { key: 'other', params: `token=${mint(apps[1], { client: 'dora' })}` });
    await client.close();
  });
});

test('a revocation is in force after kill -9 and after a clean restart', async t => {
  const server = await Server.start({ apps });
  t.after(() => server.stop());
  const api = new Api(server);
  t.after(() => api.close());
  const token = mint(app, { client: 'mallory', jti: 'stolen' });
  await (await withToken(server, token)).close();
  assert.equal((await api.post('/revocations', { jti: 'stolen', ttl_seconds: 600 })).status, 200);
  assert.equal((await api.post('/revocations', { client_id: 'oscar', expires_at: nowSeconds() + 600 })).status, 200);
  await server.kill9();
  await server.restart();
  assert.equal(await refusal(server, token), 'Authentication error: capability token revoked');
  server.process.kill('SIGTERM');
  await server.exited;
  await server.restart();
  assert.equal(await refusal(server, token), 'Authentication error: capability token revoked');
  assert.equal(await refusal(server, mint(app, { client: 'oscar' })), 'Authentication error: capability token revoked');
  await (await holder(server, { client: 'mallory' })).close();
});

describe('mutations in the name of a socket', () => {
  const held = oneServer({ before, after }, { apps });
  let api;
  before(() => { api = new Api(held.server); });
  after(() => api.close());
  const may = (...operations) => ({ '*': [...ALL, ...operations] });

  test('the socket is connected, speaks V2, and is who the request says [3/12, S16]', async () => {
    const { message_serial: serial } = await api.create('chat', 'x', { name: 'note' });
    const v1 = await V1.connect(held.server), nobody = await V2.connect(held.server), alice = await holder(held.server, { may: may('message-append-any') });
    const append = more => api.append('chat', serial, 'y', more).then(({ status, body }) => [status, body.error]);
    assert.deepEqual(await append({ socket_id: 'x' }), [400, 'Invalid socket_id: x']);
    assert.deepEqual(await append({ socket_id: '1.2' }), [401, "Mutation actor socket '1.2' is not connected"]);
    assert.deepEqual(await append({ socket_id: v1.socketId }), [401, 'Mutation actor socket must use protocol V2']);
    assert.deepEqual(await append({ socket_id: nobody.socketId, client_id: 'bob' }), [401, 'Mutation actor socket is not signed in with an identified client']);
    assert.deepEqual(await append({ socket_id: alice.socketId, client_id: 'bob' }), [401, "Requested client_id 'bob' does not match authenticated actor 'alice'"]);
    assert.deepEqual(await append({ socket_id: nobody.socketId }), [403, DENIED.error]);
    assert.equal((await append({ socket_id: alice.socketId, client_id: 'alice' }))[0], 200);
    const gone = alice.socketId;
    for (const client of [v1, nobody, alice]) await client.close();
    await until(async () => (await append({ socket_id: gone }))[0] === 401, 'the socket to be gone');
  });

  test('a socket of any shard is found, by a request to any', async () => {
    const { message_serial: serial } = await api.create('chat', '', { name: 'note' });
    const clients = await Promise.all(Array.from({ length: 8 }, () => holder(held.server, { may: may('message-append-any') })));
    const answers = await Promise.all(clients.flatMap(c => [1, 2, 3].map(() => api.append('chat', serial, 'y', { socket_id: c.socketId }))));
    assert.deepEqual(answers.map(a => a.status), Array(24).fill(200));
    assert.equal((await api.latest('chat', serial)).data, 'y'.repeat(24));
    for (const client of clients) await client.close();
  });

  test('own: what this client made, over HTTP or over its socket [3/12, S17]', async () => {
    const channel = fresh('private-own');
    const alice = await holder(held.server, { may: may('message-update-own', 'message-delete-own') }), bob = await holder(held.server, { client: 'bob', may: may('message-update-own') });
    await alice.subscribe(channel);
    alice.send('client-note', 'mine', { channel });
    const note = await alice.next(f => f.event === 'client-note');
    const serial = note.extras.headers.sockudo_message_serial;
    assert.equal((await api.update(channel, serial, { data: 'changed', socket_id: alice.socketId })).status, 200);
    assert.deepEqual((await api.update(channel, serial, { data: 'forged', socket_id: bob.socketId })).body, DENIED);
    assert.deepEqual((await api.append(channel, serial, 'more', { socket_id: alice.socketId })).body, DENIED);
    assert.equal((await api.latest(channel, serial)).data, 'changed');
    assert.equal((await api.latest(channel, serial)).version.client_id, 'alice');
    await alice.next(f => f.event === 'sockudo:message.update'); /* the actor sees it, too */

    const created = await api.create(channel, 'x', { name: 'note', client_id: 'bob' }), anonymous = await api.create(channel, 'x', { name: 'note' });
    assert.equal((await api.update(channel, created.message_serial, { data: 'y', socket_id: bob.socketId })).status, 200);
    const posted = await api.create(channel, 'x', { name: 'note', socket_id: bob.socketId }); /* in the name of his socket */
    assert.equal((await api.update(channel, posted.message_serial, { data: 'y', socket_id: bob.socketId })).status, 200);
    assert.deepEqual((await api.update(channel, created.message_serial, { data: 'y', socket_id: alice.socketId })).body, DENIED);
    assert.deepEqual((await api.update(channel, anonymous.message_serial, { data: 'y', socket_id: bob.socketId })).body, DENIED);
    assert.equal((await api.remove(channel, serial, { socket_id: alice.socketId })).status, 200);
    for (const client of [alice, bob]) await client.close();
  });

  test('any: a moderator, here one who signed in with capabilities [S18]', async () => {
    const { message_serial: serial } = await api.create('chat', 'rude', { name: 'note', client_id: 'bob' });
    const moderator = await V2.connect(held.server);
    const user_data = JSON.stringify({ id: 'mod', capabilities: { message_delete_any: ['ch*'], 'message-update-any': ['other'] } });
    moderator.send('sockudo:signin', { auth: userAuth(app, moderator.socketId, user_data), user_data });
    await moderator.next(f => f.event === 'sockudo:signin_success');
    assert.deepEqual((await api.update('chat', serial, { data: 'polite', socket_id: moderator.socketId })).body, DENIED);
    assert.equal((await api.remove('chat', serial, { socket_id: moderator.socketId })).status, 200);
    assert.equal((await api.latest('chat', serial)).version.client_id, 'mod');
    await moderator.close();
  });

  test('a token without publish may not mutate whatever else it lists', async () => {
    const { message_serial: serial } = await api.create('chat', 'x', { name: 'note' });
    const client = await holder(held.server, { may: { '*': ['message-append-any'] } });
    assert.deepEqual((await api.append('chat', serial, 'y', { socket_id: client.socketId })).body, DENIED);
    refresh(client, mint(app, { may: { '*': ['message-append-any', 'publish'] } }));
    await client.next(f => f.event === 'sockudo:auth_success');
    assert.equal((await api.append('chat', serial, 'y', { socket_id: client.socketId })).status, 200);
    await client.close();
  });
});
