// SPDX-License-Identifier: Apache-2.0
//
// pusher-js.test.mjs - pusher-js from npm, unchanged, as a product would use it.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import PusherModule from 'pusher-js';
import { Api } from './lib/api.mjs';
import { startAuthEndpoint } from './lib/auth-endpoint.mjs';
import { appWith, demoApp, fresh, oneServer, sleep, until } from './lib/server.mjs';

const Pusher = PusherModule.Pusher ?? PusherModule.default ?? PusherModule;

const once = (target, event, ms = 5000) => new Promise((resolve, reject) => {
  const timer = setTimeout(() => reject(new Error(`no ${event} within ${ms} ms`)), ms);
  const handler = data => { clearTimeout(timer); target.unbind(event, handler); resolve(data); };
  target.bind(event, handler);
});

describe('pusher-js', () => {
  const held = oneServer({ before, after }, { apps: [appWith({ features: { enable_watchlist_events: true } })] });
  const clients = [];
  let backend, api;
  before(async () => { backend = await startAuthEndpoint(demoApp); api = new Api(held.server, demoApp); });
  after(() => { clients.forEach(c => c.disconnect()); backend.close(); api.close(); });

  function client({ user = 'u1', key = 'app-key', watchlist, ...more } = {}) {
    const pusher = new Pusher(key, {
      wsHost: '127.0.0.1', wsPort: held.server.port, forceTLS: false, enabledTransports: ['ws'], disableStats: true, cluster: 'mt1',
      channelAuthorization: { endpoint: `${backend.url}/auth`, transport: 'ajax', headers: { 'X-User': user } },
      userAuthentication: { endpoint: `${backend.url}/user-auth`, transport: 'ajax', headers: { 'X-User': user, ...(watchlist && { 'X-Watchlist': watchlist.join() }) } }, ...more,
    });
    clients.push(pusher);
    return pusher;
  }
  async function connected(options) {
    const pusher = client(options);
    if (pusher.connection.state !== 'connected') await once(pusher.connection, 'connected');
    return pusher;
  }
  async function subscribed(pusher, name) {
    const channel = pusher.subscribe(name);
    if (!channel.subscribed) await once(channel, 'pusher:subscription_succeeded');
    return channel;
  }

  test('connects and has a socket id, AI Transport being on and unused [S90]', async () => {
    const pusher = await connected();
    assert.match(pusher.connection.socket_id, /^\d+\.\d+$/);
  });

  test('hears a publish on a public channel, parsed', async () => {
    const pusher = await connected(), name = fresh('news');
    const channel = await subscribed(pusher, name), heard = once(channel, 'story');
    assert.deepEqual((await api.publish(name, 'story', { title: 'Ünïcode ✓', n: 1 })).body, { ok: true });
    assert.deepEqual(await heard, { title: 'Ünïcode ✓', n: 1 });
  });

  test('is left out when the publish names its socket', async () => {
    const [a, b] = await Promise.all([connected(), connected()]), name = fresh('news');
    const [ca, cb] = await Promise.all([subscribed(a, name), subscribed(b, name)]);
    let mine = 0;
    ca.bind('x', () => mine++);
    const other = once(cb, 'x');
    await api.publish(name, 'x', '1', { socket_id: a.connection.socket_id });
    await other;
    await sleep(50);
    assert.equal(mine, 0);
  });

  test('joins a private channel through the auth endpoint', async () => {
    const pusher = await connected(), name = fresh('private');
    const channel = await subscribed(pusher, name), heard = once(channel, 'x');
    await api.publish(name, 'x', 'secret');
    assert.equal(await heard, 'secret');
  });

  test('is told on the channel when the signature is wrong, and stays connected', async () => {
    const pusher = await connected(), channel = pusher.subscribe(fresh('private-forged'));
    const error = await once(channel, 'pusher:subscription_error');
    assert.equal(error.status, 401);
    assert.equal(error.type, 'AuthError');
    assert.equal(pusher.connection.state, 'connected');
  });

  test('is told on the channel when the endpoint refuses', async () => {
    const pusher = await connected(), channel = pusher.subscribe(fresh('private-forbidden'));
    assert.equal((await once(channel, 'pusher:subscription_error')).status, 403);
  });

  test('sees members come and go on a presence channel', async () => {
    const name = fresh('presence'), [a, b] = await Promise.all([connected({ user: 'anna' }), connected({ user: 'bert' })]);
    const ca = await subscribed(a, name);
    assert.equal(ca.members.count, 1);
    assert.deepEqual(ca.members.me, { id: 'anna', info: { name: 'Name of anna' } });
    const added = once(ca, 'pusher:member_added');
    const cb = await subscribed(b, name);
    assert.deepEqual(await added, { id: 'bert', info: { name: 'Name of bert' } });
    assert.equal(cb.members.count, 2);
    assert.deepEqual(cb.members.get('anna').info, { name: 'Name of anna' });
    const removed = once(ca, 'pusher:member_removed');
    b.disconnect();
    assert.equal((await removed).id, 'bert');
    assert.equal(ca.members.count, 1);
  });

  test('exchanges client events on private and presence channels', async () => {
    const [a, b] = await Promise.all([connected({ user: 'anna' }), connected({ user: 'bert' })]);
    for (const name of [fresh('private'), fresh('presence')]) {
      const [ca, cb] = await Promise.all([subscribed(a, name), subscribed(b, name)]);
      let echoed = 0;
      ca.bind('client-typing', () => echoed++);
      const heard = new Promise(resolve => cb.bind('client-typing', (data, metadata) => resolve({ data, metadata })));
      assert.ok(ca.trigger('client-typing', { on: true }));
      const { data, metadata } = await heard;
      assert.deepEqual(data, { on: true });
      assert.equal(metadata?.user_id, name.startsWith('presence') ? 'anna' : undefined);
      assert.equal(echoed, 0);
    }
  });

  test('unsubscribes, and comes back to the same channel', async () => {
    const pusher = await connected(), name = fresh('news');
    await subscribed(pusher, name);
    pusher.unsubscribe(name);
    await until(async () => !(await api.get(`/channels/${name}`)).body.occupied, 'an empty channel');
    const channel = await subscribed(pusher, name), heard = once(channel, 'x');
    await api.publish(name, 'x', '2');
    assert.equal(await heard, 2);
  });

  test('an unknown key is error 4001, and it does not try again', async () => {
    const pusher = client({ key: 'nobody' });
    const error = await once(pusher.connection, 'error');
    assert.equal(error.error?.data?.code ?? error.data?.code, 4001);
    await until(() => ['failed', 'disconnected'].includes(pusher.connection.state), () => `an end, state is ${pusher.connection.state}`);
    await sleep(1200);
    assert.ok(['failed', 'disconnected'].includes(pusher.connection.state));
  });

  test('keeps the connection by its own pings', async () => {
    const pusher = await connected({ activityTimeout: 300, pongTimeout: 500 });
    let changes = 0;
    pusher.connection.bind('state_change', () => changes++);
    await sleep(1500);
    assert.equal(pusher.connection.state, 'connected');
    assert.equal(changes, 0);
  });

  test('signs in, and gets what is sent to its user', async () => {
    const pusher = await connected({ user: 'carla' });
    const heard = new Promise(resolve => pusher.user.bind('greeting', resolve));
    pusher.signin();
    await pusher.user.signinDonePromise;
    await until(() => pusher.user.serverToUserChannel?.subscribed, 'the channel of the user');
    assert.equal(pusher.user.user_data.id, 'carla');
    await api.publish('#server-to-user-carla', 'greeting', { hello: 'carla' });
    assert.deepEqual(await heard, { hello: 'carla' });
  });

  test('is told who of its watchlist is online, comes and goes [46]', async () => {
    const signedIn = async options => { const pusher = await connected(options); pusher.signin(); await pusher.user.signinDonePromise; return pusher; };
    await signedIn({ user: 'erin' });
    const watcher = await connected({ user: 'walt', watchlist: ['erin', 'finn'] }), told = [];
    for (const name of ['online', 'offline']) watcher.user.watchlist.bind(name, event => told.push([name, event.user_ids]));
    watcher.signin();
    await watcher.user.signinDonePromise;
    assert.deepEqual(told.splice(0), [['online', ['erin']], ['offline', ['finn']]]);
    const first = await signedIn({ user: 'finn' }), second = await signedIn({ user: 'finn' });
    await until(() => told.length > 0, 'finn to come');
    second.disconnect();
    await sleep(200);
    assert.deepEqual(told.splice(0), [['online', ['finn']]], 'a second tab is nothing new, nor is its end');
    first.disconnect();
    await until(() => told.length > 0, 'finn to go');
    assert.deepEqual(told, [['offline', ['finn']]]);
  });

  test('forced to reconnect, or told that the server ends [47] [48], it is back at once and has its channels', async () => {
    const pusher = await connected({ user: 'dora' }), name = fresh('news');
    pusher.signin();
    await pusher.user.signinDonePromise;
    const channel = await subscribed(pusher, name), first = pusher.connection.socket_id;
    const told = once(pusher.connection, 'error');
    const ended = new Promise(resolve => pusher.connection.bind('error', () => resolve(Date.now()))), tries = new Promise(resolve => pusher.connection.bind('connecting', () => resolve(Date.now())));
    assert.deepEqual((await api.post('/users/dora/force_reconnect', {})).body, { ok: true });
    assert.deepEqual((await told).error?.data ?? (await told).data, { code: 4200, message: 'Force reconnect requested by the app.' });
    await until(() => pusher.connection.state === 'connected' && pusher.connection.socket_id !== first, () => `a new connection, state is ${pusher.connection.state}`);
    assert.ok(await tries - await ended < 900, 'where it may not come at once it waits a second');
    await until(() => channel.subscribed, 'the subscription');
    const heard = once(channel, 'x');
    await api.publish(name, 'x', 'again');
    assert.equal(await heard, 'again');
  });

  test('gets the last event of a cache channel, or is told there is none', async () => {
    const pusher = await connected(), name = fresh('cache');
    const channel = pusher.subscribe(name);
    await once(channel, 'pusher:cache_miss');
    await api.publish(name, 'state', { v: 1 });
    const other = await connected(), late = other.subscribe(name);
    assert.deepEqual(await once(late, 'state'), { v: 1 });
  });

  test('comes back by itself after the server was restarted', { timeout: 60_000 }, async () => {
    const pusher = await connected(), name = fresh('news');
    const channel = await subscribed(pusher, name);
    await held.server.kill9();
    await until(() => pusher.connection.state !== 'connected', 'the loss to be noticed');
    await held.server.restart();
    await until(() => pusher.connection.state === 'connected' && channel.subscribed, 'the connection (after a failed attempt pusher-js waits 15 s)', 40_000);
    const heard = once(channel, 'x');
    await api.publish(name, 'x', 'again');
    assert.equal(await heard, 'again');
  });
});
