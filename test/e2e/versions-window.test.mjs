// SPDX-License-Identifier: Apache-2.0
//
// versions-window.test.mjs - versions that go before their message's place in history does (chapter 3, 1.1, 1.9, 2.4 and 8.6).
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { Api, complete, streaming } from './lib/api.mjs';
import { fresh, oneServer, until } from './lib/server.mjs';
import { V2 } from './lib/v2.mjs';

describe('a version window of two seconds, history for a day', () => {
  const held = oneServer({ before, after }, {
    config: {
      connection_recovery: { enabled: true }, versioned_messages: { enabled: true, retention_window_seconds: 2 },
      history: { enabled: true, retention_window_seconds: 86400, purge_interval_seconds: 1 },
    },
  });
  let api;
  before(() => { api = new Api(held.server); });
  after(() => api.close());
  const ok = answer => { assert.equal(answer.status, 200, answer.text); return answer.body; };
  const versions = async (channel, serial) => ok(await api.versions(channel, serial, { direction: 'oldest_first' })).items.map(i => i.data);

  test('the latest text stays, an open stream keeps all, a retry is still a duplicate, resume below says so [3.46] [3.49]', async () => {
    const channel = fresh('ai'), client = await V2.connect(held.server);
    await client.subscribe(channel);
    const { message_serial: done } = await api.create(channel, 'a', { extras: streaming() });
    const retried = { op_id: crypto.randomUUID() };
    ok(await api.append(channel, done, 'b', retried));
    await until(() => client.text(channel, done) === 'ab');
    client.cut();
    ok(await api.append(channel, done, 'c', { extras: complete }));
    const { message_serial: open } = await api.create(channel, 'o', { extras: streaming() });
    ok(await api.append(channel, open, 'p'));

    await until(async () => (await versions(channel, done)).length === 1, 'the versions to go', 20000);

    assert.deepEqual(await versions(channel, done), ['abc']);
    assert.equal((await api.latest(channel, done)).data, 'abc');
    assert.deepEqual(ok(await api.history(channel)).items.map(i => i.message.data), ['op', 'abc']);
    assert.deepEqual(await versions(channel, open), ['o', 'p']);
    assert.equal(ok(await api.append(channel, done, 'b', retried)).status, 'duplicate');
    await held.server.kill9(); // and with it what the memory could still replay
    await held.server.restart();
    assert.deepEqual(await versions(channel, done), ['abc']);
    const { failed } = await client.reconnect();
    assert.deepEqual(failed.map(f => [f.channel, f.code]), [[channel, 'position_expired']]);
    ok(await api.append(channel, open, 'q'));
    assert.equal((await api.latest(channel, open)).data, 'opq');
    await client.close();
  });
});
