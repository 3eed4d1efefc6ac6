// SPDX-License-Identifier: Apache-2.0
//
// postgres.test.mjs - servers on one PostgreSQL: they feed one message together, and live through what happens to it (chapter 3, 8.2, 8.4).
// What a single server on it answers is tested in messages.test.mjs, over both stores.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Api } from './lib/api.mjs';
import { Postgres } from './lib/postgres.mjs';
import { fresh, Server, sleep, until } from './lib/server.mjs';

const ok = answer => { assert.equal(answer.status, 200, answer.text); return answer.body; };

describe('postgres', () => {
  let postgres, servers, apis;
  before(async () => {
    postgres = await Postgres.start();
    servers = await Promise.all([1, 2].map(() => Server.start({ config: postgres.config() })));
    apis = servers.map(server => new Api(server));
  });
  after(async () => {
    apis?.forEach(api => api.close());
    for (const server of servers ?? []) await server.stop();
    await postgres?.stop();
  });

  test('two servers append by turns to one message: positions rise, both read the same text', async () => {
    const channel = fresh('ai'), { message_serial: serial } = await apis[0].create(channel, '');
    let expected = '', versionBefore = '';
    for (let i = 0; i < 100; i++) {
      const body = ok(await apis[i % 2].append(channel, serial, `<${i}>`));
      assert.equal(body.delivery_serial, i + 2);
      assert.ok(body.version_serial > versionBefore);
      versionBefore = body.version_serial;
      expected += `<${i}>`;
      assert.equal((await apis[(i + 1) % 2].latest(channel, serial)).data, expected);
    }
  });

  test('two servers at once: no fragment is lost, none is there twice', async () => {
    const channel = fresh('ai'), { message_serial: serial } = await apis[0].create(channel, '');
    const bodies = (await Promise.all(Array.from({ length: 200 }, (_, i) => apis[i % 2].append(channel, serial, `<${i}>`)))).map(ok);
    assert.deepEqual(bodies.map(b => b.delivery_serial).sort((a, b) => a - b), Array.from({ length: 200 }, (_, i) => i + 2));
    const inOrder = bodies.map((b, i) => [b.delivery_serial, `<${i}>`]).sort((a, b) => a[0] - b[0]).map(p => p[1]).join('');
    for (const api of apis) assert.equal((await api.latest(channel, serial)).data, inOrder);
  });

  test('an op_id that one server has applied is a duplicate on the other', async () => {
    const channel = fresh('ai'), { message_serial: serial } = await apis[0].create(channel, '');
    const first = ok(await apis[0].append(channel, serial, 'a', { op_id: 'op-1' }));
    const again = ok(await apis[1].append(channel, serial, 'a', { op_id: 'op-1' }));
    assert.deepEqual([again.status, again.delivery_serial], ['duplicate', first.delivery_serial]);
    assert.equal((await apis[1].latest(channel, serial)).data, 'a');
  });

  test('a database that dies: 503 and an /up that says so; the retry gives the one true answer when it is back', async () => {
    const channel = fresh('ai'), { message_serial: serial } = await apis[0].create(channel, '');
    ok(await apis[0].append(channel, serial, 'a', { op_id: 'op-a' }));
    await postgres.kill();
    const refused = await apis[0].append(channel, serial, 'b', { op_id: 'op-b' });
    assert.deepEqual([refused.status, refused.body.code], [503, 'backpressure'], refused.text);
    await until(async () => (await servers[0].get('/up')).status !== 200, '/up to notice');
    await postgres.restart();
    await until(async () => (await servers[0].get('/up')).status === 200, '/up to be content again', 20000);
    const retry = ok(await apis[0].append(channel, serial, 'b', { op_id: 'op-b' }));
    assert.equal(retry.delivery_serial, 3);
    assert.equal(ok(await apis[0].append(channel, serial, 'a', { op_id: 'op-a' })).status, 'duplicate');
    assert.equal((await until(async () => { const a = await apis[1].get(`/channels/${channel}/messages/${serial}`); return a.status === 200 && a.body; }, 'the other server', 20000)).item.data, 'ab');
  });

  test('a server finds no database: it says where it looked, and ends', async () => {
    const lonely = await Server.start({ config: { ...postgres.config(), database: { postgres: { host: '127.0.0.1', port: 1, username: 'sockudo' } } }, ready: false });
    assert.equal((await lonely.exited).code, 1);
    assert.match(lonely.log(), /cannot connect to PostgreSQL at 127\.0\.0\.1:1 \(database\.postgres/);
  });

  test('tables of a newer release are refused', async () => {
    const other = postgres.config('newer'), once = await Server.start({ config: other });
    await once.stop();
    await postgres.sql('UPDATE newer_schema SET version = 99');
    const late = await Server.start({ config: other, ready: false });
    assert.equal((await late.exited).code, 1);
    assert.match(late.log(), /migrated by a newer release/);
  });

  test('a stopped server leaves nothing behind: the next one goes on where it was', async () => {
    const config = postgres.config('again'), channel = fresh('ai');
    let server = await Server.start({ config }), api = new Api(server);
    const { message_serial: serial } = await api.create(channel, 'x');
    api.close();
    await server.stop();
    server = await Server.start({ config });
    api = new Api(server);
    assert.equal(ok(await api.append(channel, serial, 'y')).delivery_serial, 2);
    assert.equal((await api.latest(channel, serial)).data, 'xy');
    api.close();
    await server.stop();
    await sleep(50);
    assert.equal(await postgres.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'sockudo%' AND query LIKE '%again_%'"), '0');
  });
});
