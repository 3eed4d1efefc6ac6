// SPDX-License-Identifier: Apache-2.0
//
// stats.test.mjs - /stats and /metrics count who is there: connections, users, what a sign-in said.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { userAuth } from './lib/api.mjs';
import { oneServer, until } from './lib/server.mjs';
import { mint } from './lib/token.mjs';
import { V2 } from './lib/v2.mjs';

describe('/stats', () => {
  const held = oneServer({ before, after });
  const totals = async () => {
    const { connections, authenticated_connections: authenticated, users, connections_with_meta: meta, occupancy } = JSON.parse((await held.server.get('/stats')).text).totals;
    return { connections, authenticated, users, meta, channels: occupancy.channels, subscriptions: occupancy.subscriptions };
  };
  const becomes = expected => until(async () => JSON.stringify(await totals()) === JSON.stringify(expected), () => JSON.stringify(expected));
  async function signedIn(user) {
    const client = await V2.connect(held.server), data = JSON.stringify(user);
    client.send('sockudo:signin', { auth: userAuth(held.server.apps[0], client.socketId, data), user_data: data });
    await client.next(f => f.event === 'sockudo:signin_success');
    return client;
  }

  test('counts users once, connections each, and channels without those of users', async () => {
    const nobody = await V2.connect(held.server);
    await becomes({ connections: 1, authenticated: 0, users: 0, meta: 0, channels: 0, subscriptions: 0 });
    const alice = await signedIn({ id: 'alice', meta: { plan: 'pro' } }), phone = await signedIn({ id: 'alice' });
    const bob = await V2.connect(held.server, { params: `token=${mint(held.server.apps[0], { client: 'bob' })}` });
    await nobody.subscribe('news');
    await bob.subscribe('news');
    await becomes({ connections: 4, authenticated: 3, users: 2, meta: 1, channels: 1, subscriptions: 2 });
    await alice.close();
    await becomes({ connections: 3, authenticated: 2, users: 2, meta: 0, channels: 1, subscriptions: 2 });
    for (const client of [nobody, phone, bob]) await client.close();
    await becomes({ connections: 0, authenticated: 0, users: 0, meta: 0, channels: 0, subscriptions: 0 });
  });

  test('a second sign-in replaces the first', async () => {
    const client = await signedIn({ id: 'alice', meta: 1 }), data = JSON.stringify({ id: 'carol' });
    client.send('sockudo:signin', { auth: userAuth(held.server.apps[0], client.socketId, data), user_data: data });
    await becomes({ connections: 1, authenticated: 1, users: 1, meta: 0, channels: 0, subscriptions: 0 });
    await client.close();
  });

  test('the runtime figures mean something', async () => {
    assert.equal(await held.server.metric('sockudo_tokio_workers_count'), 2);
    await V2.connect(held.server).then(c => c.close());
    assert.ok(await held.server.metric('sockudo_tokio_worker_mean_poll_duration_us') > 0);
    const budget = await held.server.metric('sockudo_connections_budget'), files = await held.server.metric('process_max_fds');
    assert.equal(budget, files > 2000 ? files - 1000 : Math.floor(files / 2));
  });
});
