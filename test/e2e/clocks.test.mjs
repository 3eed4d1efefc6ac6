// SPDX-License-Identifier: Apache-2.0
//
// clocks.test.mjs - servers on one PostgreSQL whose clocks are an hour ahead, an hour behind, and jump: time is the store's (chapter 4,
// 5.4 and 11.5; chapter 3, 8).
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Api, streaming } from './lib/api.mjs';
import { Postgres } from './lib/postgres.mjs';
import { demoApp, fresh, sleep, until } from './lib/server.mjs';
import { mint } from './lib/token.mjs';
import { V2 } from './lib/v2.mjs';
import { WrongClock } from './lib/wrong-clock.mjs';

const HOUR = 3600, TTL_MS = 2000;
const ok = answer => { assert.equal(answer.status, 200, answer.text); return answer.body; };

describe('clocks that are wrong', () => {
  let postgres, clocks, servers, apis, config;
  before(async () => {
    postgres = await Postgres.start();
    config = { ...postgres.config(), ai_transport: { rollup: { orphan_ttl_ms: TTL_MS } } };
    clocks = [new WrongClock(HOUR), new WrongClock(-HOUR)];
    servers = await Promise.all(clocks.map(clock => clock.start({ config })));
    apis = servers.map(server => new Api(server));
  });
  after(async () => {
    apis?.forEach(api => api.close());
    for (const server of servers ?? []) await server.stop();
    clocks?.forEach(clock => clock.remove());
    await postgres?.stop();
  });

  test('streams that speak live, silent ones end in time, whatever the clocks do', async () => {
    const names = apis.map(() => fresh('ai')), created = await Promise.all(apis.map((api, i) => api.create(names[i], '', { extras: streaming() })));
    const silent = fresh('ai'), began = Date.now(), { message_serial: serial } = await apis[1].create(silent, 'x', { extras: streaming() });
    let closedAt = 0;
    for (let i = 0; Date.now() - began < 2.5 * TTL_MS; i++) {
      if (i % 10 === 5) clocks[1].jump(servers[1], [3, -2, 5, -1][(i / 10 | 0) % 4] * HOUR);
      for (const k of [0, 1]) ok(await apis[k].append(names[k], created[k].message_serial, 'x'));
      if (!closedAt && (await apis[0].latest(silent, serial)).version.description === 'AI stream orphan timeout') closedAt = Date.now();
      await sleep(50);
    }
    assert.ok(closedAt - began >= TTL_MS - 100 && closedAt - began < TTL_MS + 2000, `closed after ${closedAt - began} ms`);
    for (const k of [0, 1]) assert.match((await apis[1 - k].latest(names[k], created[k].message_serial)).data, /^x+$/);
    assert.equal((await apis[0].versions(silent, serial, { limit: 10 })).body.items.length, 2, 'one version closes it');
  });

  test('what one has made the other may change: the newest version is the newest by its position [3.11]', async () => {
    const channel = fresh('ai'), { message_serial: serial, version_serial } = await apis[0].create(channel, 'a'); // an hour ahead
    const behind = ok(await apis[1].append(channel, serial, 'b')); // an hour behind
    const ahead = ok(await apis[0].append(channel, serial, 'c'));
    assert.deepEqual([behind, ahead].map(a => [a.status, a.delivery_serial]), [['applied', 2], ['applied', 3]]);
    assert.ok(version_serial < behind.version_serial && behind.version_serial < ahead.version_serial);
    for (const api of apis) {
      const item = await api.latest(channel, serial);
      assert.deepEqual([item.data, item.version.serial], ['abc', ahead.version_serial]);
    }
    assert.equal(ok(await apis[1].update(channel, serial, { data: 'd' })).delivery_serial, 4);
    assert.equal((await apis[0].latest(channel, serial)).data, 'd');
  });

  test('history and rewinds by time tell one time on both', async () => {
    const names = apis.map(() => fresh('ai'));
    for (const [k, api] of apis.entries()) ok(await api.publish(names[k], 'e', 'old'));
    await sleep(3500);
    for (const [k, api] of apis.entries()) {
      const channel = names[k];
      for (let i = 0; i < 2; i++) ok(await api.publish(channel, 'e', 'new'));
      const { items } = ok(await api.history(channel));
      assert.equal(items.length, 3);
      for (const item of items) assert.ok(Math.abs(item.published_at_ms - Date.now()) < 60_000, `server ${k}: ${item.published_at_ms - Date.now()} ms off`);
      const client = await V2.connect(servers[k]);
      await client.subscribe(channel, { rewind: { seconds: 3 } });
      await client.next(f => f.event === 'sockudo:rewind_complete');
      assert.deepEqual(client.of(channel).filter(f => f.event === 'e').map(f => f.data), ['new', 'new']);
      await client.close();
    }
  });

  test('a revocation lasts as long as it says, on a server that starts later too', async () => {
    clocks[1].jump(servers[1], -HOUR);
    ok(await apis[1].post('/revocations', { jti: 'stolen', ttl_seconds: 600 }));
    const clock = new WrongClock(2 * HOUR), late = await clock.start({ config });
    try {
      const token = jti => `token=${mint(demoApp, { jti, life: 4 * HOUR })}`;
      await (await V2.connect(late, { params: token('good') })).close();
      await assert.rejects(V2.connect(late, { params: token('stolen') }), /revoked/);
      await until(async () => await postgres.sql("SELECT count(*) FROM sockudo_history_notes WHERE encode(key, 'escape') LIKE 'revocation/%'") === '1', 'the note');
    } finally {
      await late.stop();
      clock.remove();
    }
  });
});
