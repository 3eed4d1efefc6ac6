// SPDX-License-Identifier: Apache-2.0
//
// presence.test.mjs - members that change (chapter 1, 5.8; chapter 4, 7.1; checklist S83 to S86).
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { channelAuth } from './lib/api.mjs';
import { demoApp, fresh, oneServer, sleep } from './lib/server.mjs';
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
