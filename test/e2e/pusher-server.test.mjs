// SPDX-License-Identifier: Apache-2.0
//
// pusher-server.test.mjs - the `pusher` package from npm, the official library of backends, unchanged.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import Pusher from 'pusher';
import { channelAuth } from './lib/api.mjs';
import { appWith, fresh, oneServer, until } from './lib/server.mjs';
import { V1 } from './lib/v2.mjs';

describe('the pusher package', () => {
  const app = appWith({ limits: { max_event_payload_in_kb: 10 } });
  const held = oneServer({ before, after }, { apps: [app] });
  let pusher;
  before(() => { pusher = new Pusher({ appId: 'app-id', key: 'app-key', secret: 'app-secret', host: '127.0.0.1', port: String(held.server.port), useTLS: false }); });

  async function member(channel, userId) {
    const client = await V1.connect(held.server);
    const { auth, channel_data } = pusher.authorizeChannel(client.socketId, channel, { user_id: userId, user_info: { n: userId } });
    await client.subscribe(channel, { auth, channel_data });
    return client;
  }
  async function signedIn(id) {
    const client = await V1.connect(held.server);
    client.send('pusher:signin', pusher.authenticateUser(client.socketId, { id }));
    await client.next(f => f.event === 'pusher:signin_success');
    return client;
  }

  test('trigger reaches one channel and many', async () => {
    const [a, b] = [fresh(), fresh()], client = await V1.connect(held.server);
    await client.subscribe(a);
    await client.subscribe(b);
    const response = await pusher.trigger(a, 'one', { v: 1 });
    assert.equal(response.status, 200);
    assert.deepEqual(await response.json(), { ok: true });
    await pusher.trigger([a, b], 'both', 'text');
    await until(() => client.events(b).includes('both'));
    assert.deepEqual(client.of(a).slice(1).map(f => [f.event, f.data]), [['one', '{"v":1}'], ['both', 'text']]);
    await client.close();
  });

  test('trigger leaves a socket out and asks for counts', async () => {
    const channel = fresh('presence'), one = await member(channel, 'a'), two = await member(channel, 'b');
    const response = await pusher.trigger(channel, 'x', '1', { socket_id: one.socketId, info: 'user_count,subscription_count' });
    const { acknowledgement_id, user_count, subscription_count } = (await response.json()).channels[channel];
    assert.deepEqual([user_count, subscription_count, typeof acknowledgement_id], [2, 2, 'string']);
    await two.next(f => f.event === 'x');
    await one.settle();
    assert.ok(!one.events(channel).includes('x'));
    await Promise.all([one.close(), two.close()]);
  });

  test('triggerBatch keeps its order', async () => {
    const channel = fresh(), client = await V1.connect(held.server);
    await client.subscribe(channel);
    const response = await pusher.triggerBatch([1, 2, 3, 4, 5].map(n => ({ channel, name: `e${n}`, data: { n } })));
    assert.deepEqual(await response.json(), {});
    await client.next(f => f.event === 'e5');
    assert.deepEqual(client.events(channel).slice(1), ['e1', 'e2', 'e3', 'e4', 'e5']);
    await client.close();
  });

  test('trigger refuses data over the limit of the app with 413', async () => {
    await assert.rejects(pusher.trigger(fresh(), 'x', 'y'.repeat(10_241)), error => error.status === 413);
    assert.equal((await pusher.trigger(fresh(), 'x', 'y'.repeat(10_240))).status, 200);
  });

  test('get lists channels, tells of one, and lists its users', async () => {
    const channel = fresh('presence'), one = await member(channel, 'a'), again = await member(channel, 'a'), two = await member(channel, 'b');
    const list = await (await pusher.get({ path: '/channels', params: { filter_by_prefix: 'presence-', info: 'user_count' } })).json();
    assert.deepEqual(list.channels[channel], { user_count: 2 });
    const info = await (await pusher.get({ path: `/channels/${channel}`, params: { info: 'user_count,subscription_count' } })).json();
    assert.deepEqual(info, { occupied: true, subscription_count: 3, user_count: 2 });
    const { users } = await (await pusher.get({ path: `/channels/${channel}/users` })).json();
    assert.deepEqual(users.map(u => u.id).sort(), ['a', 'b']);
    await Promise.all([one, again, two].map(c => c.close()));
    await until(async () => !(await (await pusher.get({ path: `/channels/${channel}` })).json()).occupied, 'an empty channel');
  });

  test('its signatures of private channels are accepted', async () => {
    const channel = fresh('private'), client = await V1.connect(held.server);
    const { auth } = pusher.authorizeChannel(client.socketId, channel);
    assert.equal(auth, channelAuth(app, client.socketId, channel));
    await client.subscribe(channel, { auth });
    await client.close();
  });

  test('sendToUser reaches every socket of that user, and nobody else', async () => {
    const [one, two, other] = await Promise.all([signedIn('sam'), signedIn('sam'), signedIn('tim')]);
    await pusher.sendToUser('sam', 'note', { for: 'sam' });
    for (const client of [one, two]) {
      const frame = await client.next(f => f.event === 'note');
      assert.deepEqual([frame.channel, frame.data], ['#server-to-user-sam', '{"for":"sam"}']);
    }
    await other.settle();
    assert.equal(other.find(f => f.event === 'note'), undefined);
    await Promise.all([one, two, other].map(c => c.close()));
  });

  test('terminateUserConnections closes them with 4009', async () => {
    const client = await signedIn('zoe'), ended = client.ws.closed;
    assert.deepEqual(await (await pusher.terminateUserConnections('zoe')).json(), { ok: true });
    assert.equal((await ended).code, 4009);
    assert.equal(client.find(f => f.event === 'pusher:error').data.message, 'You got disconnected by the app.');
  });

  test('a wrong secret is refused with 401', async () => {
    const thief = new Pusher({ appId: 'app-id', key: 'app-key', secret: 'guess', host: '127.0.0.1', port: String(held.server.port), useTLS: false });
    await assert.rejects(thief.trigger('a', 'x', '1'), error => error.status === 401);
  });
});
