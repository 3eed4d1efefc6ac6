// SPDX-License-Identifier: Apache-2.0
//
// wildcard.test.mjs - one subscription, many channels, on several shards (chapter 1, 5.2; cases 20 and 21).
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Api, streaming } from './lib/api.mjs';
import { fresh, oneServer, until } from './lib/server.mjs';
import { V1, V2 } from './lib/v2.mjs';

const CHANNELS = 24; // enough to have some on every shard

describe('wildcards', () => {
  const held = oneServer({ before, after }, { config: { workers: 3 } });
  const data = (client, prefix) => client.frames.filter(f => f.channel?.startsWith(prefix) && !f.event.startsWith('sockudo')).map(f => `${f.channel}=${f.data}`);

  test('channels of all shards reach watchers of all shards, once each, nothing before the success [20]', async () => {
    const prefix = fresh('orders'), api = new Api(held.server);
    const clients = await Promise.all(Array.from({ length: 6 }, () => V2.connect(held.server)));
    for (const client of clients) {
      await client.subscribe(`${prefix}-*`);
      await client.subscribe('*');
    }
    await clients[0].subscribe(`${prefix}-3`);
    const sent = [];
    for (let i = 0; i < CHANNELS; i++)
      for (const text of ['a', 'b']) {
        assert.equal((await api.publish(`${prefix}-${i}`, 'e', `${text}${i}`)).status, 200);
        sent.push(`${prefix}-${i}=${text}${i}`);
      }
    for (const client of clients) {
      await until(() => data(client, prefix).length >= sent.length, `all frames; ${data(client, prefix).length} of ${sent.length}`);
      await client.settle();
      assert.deepEqual(data(client, prefix).sort(), [...sent].sort());
      assert.deepEqual(client.faults, []);
      await client.close();
    }
    api.close();
  });

  test('private channels stay private, V1 and two stars are refused [20]', async () => {
    const name = fresh('x'), api = new Api(held.server);
    const client = await V2.connect(held.server), old = await V1.connect(held.server), member = await V2.connect(held.server);
    await client.subscribe('*');
    await member.subscribe(`private-${name}`);
    await api.publish(`private-${name}`, 'e', 'secret');
    await api.publish(name, 'e', 'open');
    await client.next(f => f.channel === name && f.event === 'e');
    await member.next(f => f.event === 'e');
    assert.ok(!client.frames.some(f => f.data === 'secret'));
    for (const [who, pattern] of [[old, '*'], [client, 'a*b*'], [client, 'private-*'], [client, 'presence-*']])
      await assert.rejects(who.subscribe(pattern), error => error.code === 4300, pattern);
    for (const c of [client, old, member]) await c.close();
    api.close();
  });

  test('an exact and a wildcard subscription make one copy, if either filter accepts [21]', async () => {
    const name = fresh('ticks'), api = new Api(held.server);
    const client = await V2.connect(held.server);
    await client.subscribe(name, { filter: { events: ['x', 'both'] } });
    await client.subscribe(`${name.slice(0, -1)}*`, { filter: { events: ['y', 'both'] } });
    for (const event of ['x', 'neither', 'y', 'both']) await api.publish(name, event, event);
    await client.next(f => f.event === 'both');
    await client.settle();
    assert.deepEqual(client.events(name).filter(e => !e.startsWith('sockudo')), ['x', 'y', 'both']);
    await client.close();
    api.close();
  });

  test('a stream comes whole: fragments, and full text where it is asked for', async () => {
    const channel = fresh('ai-room'), api = new Api(held.server);
    const delta = await V2.connect(held.server), full = await V2.connect(held.server, { params: 'append_mode=full' });
    await delta.subscribe('ai-*');
    await full.subscribe('ai-*');
    const { message_serial } = await api.create(channel, '', { extras: streaming() });
    let text = '';
    for (let i = 0; i < 30; i++) {
      text += `${i} `;
      assert.equal((await api.append(channel, message_serial, `${i} `)).status, 200);
    }
    for (const client of [delta, full]) {
      await until(() => client.text(channel, message_serial) === text, () => `the text; it is ${client.text(channel, message_serial)}`);
      assert.deepEqual(client.faults, []);
      await client.close();
    }
    api.close();
  });

  test('channels of a wildcard are resumed: nothing is missing, nothing comes twice', async () => {
    const prefix = fresh('ai-resume'), api = new Api(held.server);
    const client = await V2.connect(held.server);
    await client.subscribe(`${prefix}-*`);
    const channels = Array.from({ length: 6 }, (_, i) => `${prefix}-${i}`);
    const serials = await Promise.all(channels.map(async c => (await api.create(c, '', { extras: streaming() })).message_serial));
    const texts = channels.map(() => '');
    let streaming_on = true;
    const streams = channels.map(async (channel, i) => {
      for (let n = 0; streaming_on || n < 40; n++) {
        texts[i] += `${n} `;
        assert.equal((await api.append(channel, serials[i], `${n} `)).status, 200);
      }
    });
    for (let round = 0; round < 4; round++) {
      await until(() => channels.every((c, i) => (client.text(c, serials[i]) ?? '').length > 20 * round), 'some of each stream');
      client.cut();
      await new Promise(resolve => setTimeout(resolve, 60));
      const from = client.frames.length;
      await client.openFrom(from);
      client.send('sockudo:subscribe', client.request(`${prefix}-*`));
      client.send('sockudo:resume', { channel_positions: Object.fromEntries([...client.positions].filter(([c]) => c.startsWith(prefix))) });
      const { recovered, failed } = JSON.parse((await client.next(f => f.event === 'sockudo:resume_success', { from })).data);
      assert.deepEqual(failed, []);
      assert.equal(recovered.length, channels.length);
    }
    streaming_on = false;
    await Promise.all(streams);
    for (const [i, channel] of channels.entries())
      await until(() => client.text(channel, serials[i]) === texts[i], () => `the text of ${channel}: ${client.text(channel, serials[i])} is not ${texts[i]}`);
    assert.deepEqual(client.faults, []);
    await client.close();
    api.close();
  });
});
