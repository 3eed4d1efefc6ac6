// SPDX-License-Identifier: Apache-2.0
//
// laravel-echo.test.mjs - Laravel Echo on pusher-js, unchanged.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import EchoModule from 'laravel-echo';
import PusherModule from 'pusher-js';
import { Api } from './lib/api.mjs';
import { startAuthEndpoint } from './lib/auth-endpoint.mjs';
import { demoApp, fresh, oneServer, sleep, until } from './lib/server.mjs';

const Pusher = PusherModule.Pusher ?? PusherModule.default ?? PusherModule;
const Echo = EchoModule.default ?? EchoModule;

describe('laravel-echo', () => {
  const held = oneServer({ before, after });
  const echoes = [];
  let backend, api;
  before(async () => { backend = await startAuthEndpoint(demoApp); api = new Api(held.server, demoApp); });
  after(() => { echoes.forEach(e => e.disconnect()); backend.close(); api.close(); });

  async function connected(user, broadcaster = 'reverb') {
    const echo = new Echo({
      broadcaster, Pusher, key: 'app-key', cluster: 'mt1', wsHost: '127.0.0.1', wsPort: held.server.port, forceTLS: false, enabledTransports: ['ws'], disableStats: true,
      authEndpoint: `${backend.url}/auth`, auth: { headers: { 'X-User': user } },
    });
    echoes.push(echo);
    await until(() => echo.socketId(), 'a socket id');
    return echo;
  }
  const subscribed = channel => new Promise((resolve, reject) => channel.subscribed(() => resolve(channel)).error(reject));

  for (const broadcaster of ['reverb', 'pusher']) {
    test(`listens to a public channel as ${broadcaster}, with event names of PHP classes`, async () => {
      const echo = await connected('anna', broadcaster), name = fresh('orders');
      const channel = await subscribed(echo.channel(name));
      const heard = new Promise(resolve => channel.listen('OrderShipped', resolve));
      const dotted = new Promise(resolve => channel.listen('.order.shipped', resolve));
      await api.publish(name, 'App\\Events\\OrderShipped', { id: 1 });
      await api.publish(name, 'order.shipped', { id: 2 });
      assert.deepEqual(await heard, { id: 1 });
      assert.deepEqual(await dotted, { id: 2 });
    });
  }

  test('listens to a private channel, and is told when it may not', async () => {
    const echo = await connected('anna'), name = fresh('orders');
    const channel = await subscribed(echo.private(name));
    const heard = new Promise(resolve => channel.listen('.x', resolve));
    await api.publish(`private-${name}`, 'x', { ok: true });
    assert.deepEqual(await heard, { ok: true });
    const refusal = await new Promise(resolve => echo.private(fresh('forged')).error(resolve));
    assert.equal(refusal.status, 401);
  });

  test('join tells who is here, who joins and who leaves', async () => {
    const name = fresh('room'), [anna, bert] = await Promise.all([connected('anna'), connected('bert')]);
    const seen = [];
    const here = new Promise(resolve => anna.join(name).here(users => { seen.push(['here', users]); resolve(); }).joining(user => seen.push(['joining', user])).leaving(user => seen.push(['leaving', user])));
    await here;
    const both = await new Promise(resolve => bert.join(name).here(resolve));
    assert.deepEqual(both.map(u => u.name).sort(), ['Name of anna', 'Name of bert']);
    await until(() => seen.some(s => s[0] === 'joining'), 'joining');
    bert.leave(name);
    await until(() => seen.some(s => s[0] === 'leaving'), 'leaving');
    assert.deepEqual(seen, [['here', [{ name: 'Name of anna' }]], ['joining', { name: 'Name of bert' }], ['leaving', { name: 'Name of bert' }]]);
  });

  test('whispers reach the others and not the whisperer', async () => {
    const name = fresh('chat'), [anna, bert] = await Promise.all([connected('anna'), connected('bert')]);
    const [ca, cb] = await Promise.all([subscribed(anna.private(name)), subscribed(bert.private(name))]);
    let echoed = 0;
    ca.listenForWhisper('typing', () => echoed++);
    const heard = new Promise(resolve => cb.listenForWhisper('typing', resolve));
    ca.whisper('typing', { name: 'anna' });
    assert.deepEqual(await heard, { name: 'anna' });
    await sleep(50);
    assert.equal(echoed, 0);
  });

  test('toOthers leaves out the socket of the sender', async () => {
    const name = fresh('orders'), [anna, bert] = await Promise.all([connected('anna'), connected('bert')]);
    const [ca, cb] = await Promise.all([subscribed(anna.channel(name)), subscribed(bert.channel(name))]);
    let mine = 0;
    ca.listen('.x', () => mine++);
    const heard = new Promise(resolve => cb.listen('.x', resolve));
    await api.publish(name, 'x', { n: 1 }, { socket_id: anna.socketId() });
    await heard;
    await sleep(50);
    assert.equal(mine, 0);
  });
});
