// SPDX-License-Identifier: Apache-2.0
//
// presence.test.mjs - members that change (chapter 1, 5.8; chapter 4, 7.1; checklist S83 to S86).
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Api, channelAuth } from './lib/api.mjs';
import { demoApp, fresh, oneServer, sleep, until } from './lib/server.mjs';
import { V1, V2 } from './lib/v2.mjs';

const UPDATE = 'sockudo_internal:presence_update', ADDED = 'sockudo_internal:member_added', REMOVED = 'sockudo_internal:member_removed';

export function join(client, channel, user_id, user_info) {
  const channel_data = JSON.stringify({ user_id, ...(user_info ? { user_info } : {}) });
  return client.subscribe(channel, { channel_data, auth: channelAuth(demoApp, client.socketId, channel, channel_data) });
}
const update = (client, channel, data) => client.send('sockudo:presence_update', { channel, data });
const hash = acknowledgement => JSON.parse(acknowledgement.data).presence.hash;

async function errorAfter(client, act) {
  const from = client.frames.length;
  act();
  return (await client.next(f => /:error$/.test(f.event), { from })).data;
}

describe('members', () => {
  const held = oneServer({ before, after }, { config: { presence: { v2_ungraceful_timeout_seconds: 2 } } });

  test('an update changes the info without leave and join [44, S83]', async () => {
    const channel = fresh('presence');
    const old = await V1.connect(held.server), agent = await V2.connect(held.server), viewer = await V2.connect(held.server);
    await join(old, channel, 'old');
    await join(viewer, channel, 'viewer');
    await join(agent, channel, 'agent', { status: 'idle' });
    await viewer.next(f => f.event === ADDED);

    update(agent, channel, { status: 'thinking' });

    for (const client of [agent, viewer]) {
      const frame = await client.next(f => f.event === UPDATE && f.channel === channel);
      assert.equal(frame.data, '{"user_id":"agent","user_info":{"status":"thinking"}}');
    }
    await old.settle();
    assert.ok(!old.events(channel).some(e => e.endsWith('presence_update')), 'V1 hears nothing');
    assert.ok(!viewer.events(channel).includes(REMOVED));
    const late = await V2.connect(held.server);
    assert.deepEqual(hash(await join(late, channel, 'late')), { old: {}, viewer: {}, agent: { status: 'thinking' }, late: {} });
    for (const client of [old, agent, viewer, late]) await client.close();
  });

  test('1024 bytes pass, one more is 40009, the eleventh in a second 4301, a stranger 104009 [44]', async () => {
    const channel = fresh('presence');
    const client = await V2.connect(held.server);
    await join(client, channel, 'u');
    update(client, channel, 'x'.repeat(1022));
    await client.next(f => f.event === UPDATE);
    const large = await errorAfter(client, () => update(client, channel, 'x'.repeat(1023)));
    assert.deepEqual(large, { code: 40009, message: 'presence_update data exceeds 1024 bytes', name: 'payload_too_large' });
    const stranger = await errorAfter(client, () => update(client, fresh('presence'), 1));
    assert.deepEqual(stranger, { code: 104009, message: 'presence_update requires active membership', name: 'ai_presence_update_invalid' });
    await sleep(1000);
    const often = await errorAfter(client, () => { for (let i = 0; i < 11; i++) update(client, channel, i); });
    assert.equal(often.code, 4301);
    await client.close();
  });

  test('a V2 client that is cut off and resumes within the grace was never away, later it was [14, S85, S86]', async () => {
    const channel = fresh('presence');
    const watcher = await V2.connect(held.server), client = await V2.connect(held.server);
    await join(watcher, channel, 'w');
    await join(client, channel, 'u');
    client.cut();
    await client.openFrom(client.frames.length);
    await join(client, channel, 'u');
    await sleep(2500);
    assert.deepEqual(watcher.events(channel).slice(1), [ADDED]);
    client.cut();
    await watcher.next(f => f.event === REMOVED && f.channel === channel);
    await watcher.close();
  });

  test('a V1 client that is cut off is removed at once [S84]', async () => {
    const channel = fresh('presence');
    const watcher = await V2.connect(held.server), client = await V1.connect(held.server);
    await join(watcher, channel, 'w');
    await join(client, channel, 'u');
    client.cut();
    await watcher.next(f => f.event === REMOVED && f.channel === channel, { ms: 1000 });
    await watcher.close();
  });
});

describe('meta channels', () => {
  const held = oneServer({ before, after });
  const word = event => event.replace('sockudo_internal:', '');
  const said = (client, channel) => client.of(`[meta]${channel}`).slice(1).map(f => `${word(f.event)} ${f.data.subscription_count ?? f.data.user_id}`);

  test('a meta channel tells who comes and goes', async () => {
    const channel = fresh('orders');
    const meta = await V2.connect(held.server), one = await V1.connect(held.server), two = await V2.connect(held.server);
    await meta.subscribe(`[meta]${channel}`);
    await one.subscribe(channel);
    await two.subscribe(channel);
    await two.subscribe(channel); // again: nothing changes
    one.cut();
    await meta.next(() => said(meta, channel).length === 4);
    await two.close();
    await meta.next(f => f.event === 'sockudo_internal:channel_vacated');
    assert.deepEqual(said(meta, channel), ['channel_occupied 1', 'subscription_count 1', 'subscription_count 2', 'subscription_count 1', 'channel_vacated 0']);
    await meta.close();
  });

  test('a meta channel needs what its channel needs [22]', async () => {
    const channel = fresh('private');
    const meta = await V2.connect(held.server), member = await V2.connect(held.server), old = await V1.connect(held.server);
    await assert.rejects(meta.subscribe(`[meta]${channel}`), error => error.code === 4009);
    await assert.rejects(old.subscribe(`[meta]${channel}`), error => error.code === 4300);
    await meta.subscribe(`[meta]${channel}`, { auth: channelAuth(demoApp, meta.socketId, channel) });
    const presence = fresh('presence');
    await meta.subscribe(`[meta]${presence}`, { auth: channelAuth(demoApp, meta.socketId, presence) });
    await join(member, presence, 'u');
    update(member, presence, 1);
    await member.close();
    await meta.next(f => f.event === 'sockudo_internal:member_removed');
    assert.deepEqual(said(meta, presence), ['channel_occupied 1', 'subscription_count 1', 'member_added u', 'presence_update u', 'channel_vacated 0', 'member_removed u']);
    for (const client of [meta, old]) await client.close();
  });
});

describe('presence history', () => {
  const held = oneServer({ before, after }, { config: { presence_history: { enabled: true }, presence: { v2_ungraceful_timeout_seconds: 1 } } });
  const path = (channel, rest = '') => `/channels/${channel}/presence/history${rest}`;
  const facts = page => page.items.map(i => `${i.serial} ${i.event} ${i.user_id} ${i.cause}`);
  const log = async (api, channel) => facts((await api.get(path(channel), { direction: 'oldest_first' })).body);

  test('edges and updates are recorded, second tabs are not; snapshots fold them [39, 40]', async () => {
    const channel = fresh('presence'), api = new Api(held.server);
    const one = await V2.connect(held.server), tab = await V2.connect(held.server), lost = await V2.connect(held.server);
    await join(one, channel, 'u1');
    await join(tab, channel, 'u1');
    update(one, channel, { a: 1 });
    update(one, channel, { a: 2 });
    await one.next(f => f.data?.includes?.('"a":2'));
    one.unsubscribe(channel);
    await one.settle();
    await join(one, channel, 'u1');
    await join(lost, channel, 'u2');
    lost.cut();
    tab.unsubscribe(channel);
    await tab.settle();
    await one.next(f => f.event === REMOVED);
    await one.close();
    const expected = ['1 member_added u1 join', '2 member_updated u1 join', '3 member_updated u1 join', '4 member_added u2 join', '5 member_removed u2 timeout', '6 member_removed u1 disconnect'];
    await until(async () => (await log(api, channel)).length === 6, 'six rows');
    assert.deepEqual(await log(api, channel), expected);
    for (const [k, members] of [[1, ['u1']], [4, ['u1', 'u2']], [5, ['u1']], [6, []]]) {
      const { body } = await api.get(path(channel, '/snapshot'), { at_serial: k });
      assert.deepEqual(body.members.map(m => m.user_id), members);
      assert.equal(body.events_replayed, k);
    }
    const first = (await api.get(path(channel), { limit: 4 })).body;
    assert.equal(first.has_more, true);
    const second = (await api.get(path(channel), { limit: 4, cursor: first.next_cursor })).body;
    assert.deepEqual(facts(second).concat().reverse().concat(facts(first).reverse()), expected);
    assert.equal((await api.get(path('orders'))).status, 400);
    await tab.close();
    api.close();
  });

  test('members of a server that was killed are removed from its log when somebody comes', async () => {
    const channel = fresh('presence'), api = new Api(held.server);
    const client = await V2.connect(held.server);
    await join(client, channel, 'u1');
    await until(async () => (await log(api, channel)).length === 1, 'the row');
    await held.server.kill9();
    await held.server.restart();
    const again = await V2.connect(held.server);
    await join(again, channel, 'u2');
    await until(async () => (await log(api, channel)).length === 3, 'three rows');
    assert.deepEqual(await log(api, channel), ['1 member_added u1 join', '2 member_removed u1 orphan_cleanup', '3 member_added u2 join']);
    const { body } = await api.get(path(channel, '/snapshot'));
    assert.deepEqual(body.members.map(m => m.user_id), ['u2']);
    const reset = await api.post(path(channel, '/reset'), { confirm_channel: channel, confirm_operation: 'reset', reason: 'test' });
    assert.equal(reset.body.purged_events, 3);
    assert.deepEqual(await log(api, channel), ['1 member_added u2 join']);
    assert.equal(await held.server.metric('sockudo_presence_history_degraded_channels'), 0);
    await again.close();
    api.close();
  });

  test('the log holds together however often the server is killed amid comings and goings', async () => {
    const channels = [fresh('presence'), fresh('presence')], api = new Api(held.server);
    for (let round = 0; round < 4; round++) {
      const clients = [];
      let busy = true;
      const churn = Array.from({ length: 4 }, async (_, i) => {
        const client = await V2.connect(held.server);
        clients.push(client);
        for (let n = 0; busy; n++) {
          const channel = channels[n % 2];
          await join(client, channel, `u${(i + n) % 3}`);
          update(client, channel, n);
          if (n % 3) client.unsubscribe(channel);
        }
      });
      await sleep(150 + 40 * round);
      busy = false;
      await held.server.kill9();
      await Promise.all(churn.map(c => Promise.race([c.catch(() => {}), sleep(100)]))); // cut off in the middle
      for (const client of clients) client.ws?.destroy();
      await held.server.restart();
    }
    for (const channel of channels) {
      const last = await V2.connect(held.server);
      await join(last, channel, 'last');
      await until(async () => (await log(api, channel)).length > 0 && (await api.get(path(channel))).body.items[0].user_id === 'last', 'the last row');
      const { status, body } = await api.get(path(channel, '/snapshot'));
      assert.equal(status, 200, JSON.stringify(body));
      assert.equal(body.continuity.complete, true);
      assert.deepEqual(body.members.map(m => m.user_id), ['last']);
      assert.ok(body.events_replayed > 20, `only ${body.events_replayed} events`);
      await last.close();
    }
    api.close();
  });
});
