// SPDX-License-Identifier: Apache-2.0
//
// doctor.test.mjs - `sockudo doctor` finds what is wrong, says where to read on, and tells by its exit status.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, describe, test } from 'node:test';
import { Postgres } from './lib/postgres.mjs';
import { Redis } from './lib/redis.mjs';
import { Server, freePort, program } from './lib/server.mjs';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'sockudo-doctor-'));
after(() => fs.rmSync(folder, { recursive: true, force: true }));

/* The findings about each subject, as "ok text", "WARN text", "FAIL text". */
async function examine(toml, env = {}) {
  const file = path.join(folder, `${Math.random()}.toml`), [port, metricsPort] = [await freePort(), await freePort()];
  fs.writeFileSync(file, toml);
  const { status, stdout, stderr } = spawnSync(program, ['doctor', '--config', file], { cwd: folder, encoding: 'utf8', timeout: 20_000, env: { ...process.env, PORT: port, METRICS_PORT: metricsPort, HOST: '127.0.0.1', ...env } });
  assert.ok(!/Sanitizer|runtime error/.test(stderr), stderr);
  const found = {};
  for (const [, verdict, subject, text] of stdout.matchAll(/^(ok|WARN|FAIL) +(\w+) +(.*)$/gm)) (found[subject] ??= []).push(`${verdict} ${text}`);
  return { status, found, text: stdout + stderr };
}
const says = (found, subject, expected) => assert.ok(found[subject]?.some(line => expected.test(line)), `${subject}: ${JSON.stringify(found[subject])}`);

const app = '[[app_manager.array.apps]]\nid = "a"\nkey = "k"\nsecret = "not-public"\nenabled = true\n';
const stored = `[history]\nenabled = true\nbackend = "rocksdb"\n[versioned_messages]\ndriver = "rocksdb"\n[queue]\ndriver = "memory"\n`;

describe('the doctor', () => {
  test('has nothing to fail about where a server can run, and measures the disk', async () => {
    const { status, found, text } = await examine(`max_connections = 1000\n${stored}${app}`);
    assert.equal(status, 0, text);
    says(found, 'limits', /^ok .*room for 1\d+ connections.*plan for 800$/);
    says(found, 'port', /^ok clients/);
    says(found, 'data', /^(ok|WARN) a synced write takes [\d.]+ ms/);
    says(found, 'data', /will be made in/);
    assert.match(text, /\n\d+ fine, \d+ warnings, 0 failures\n/);
    assert.ok(!fs.existsSync(path.join(folder, 'data')));
    assert.deepEqual(fs.readdirSync(folder).filter(name => name.startsWith('.doctor')), []);
  });

  test('sees a running server at its port, and disturbs nothing', async () => {
    const server = await Server.start();
    const { status, stdout } = spawnSync(program, ['doctor', '--config', server.configFile], { cwd: server.folder, encoding: 'utf8', timeout: 20_000 });
    assert.equal(status, 0, stdout);
    assert.match(stdout, /ok +port +clients: a server answers/);
    assert.match(stdout, /ok +port +metrics: a server answers/);
    await server.stop();
  });

  test('fails for a port that something else has', async () => {
    const other = net.createServer(socket => socket.end('go away\r\n')).listen(0, '127.0.0.1');
    await new Promise(resolve => other.on('listening', resolve));
    const child = spawn(program, ['doctor'], { cwd: folder, env: { ...process.env, PORT: other.address().port, METRICS_PORT: await freePort() } });
    let text = '';
    child.stdout.on('data', part => { text += part; });
    assert.equal(await new Promise(resolve => child.on('exit', resolve)), 1);
    assert.match(text, /FAIL +port .*in use\n +-> docs\/runbook\.md#doctor-port/);
    other.close();
  });

  test('fails for more connections than files', async () => {
    const { status, found } = await examine(`max_connections = 4000000000\n${app}`);
    assert.equal(status, 1);
    says(found, 'limits', /^FAIL max_connections = 4000000000, but \d+ open files leave room for \d+$/);
  });

  test('fails for a data directory that cannot be one', async () => {
    fs.writeFileSync(path.join(folder, 'file'), '');
    for (const name of ['file', 'file/below']) {
      const { status, found } = await examine(`${stored}[database.rocksdb]\npath = "${folder}/${name}"\n${app}`);
      assert.equal(status, 1);
      says(found, 'data', /^FAIL .*cannot be a directory/);
    }
  });

  test('fails for a clock that was set back', async () => {
    const data = path.join(folder, 'future');
    fs.mkdirSync(data);
    fs.writeFileSync(path.join(data, '000004.log'), '');
    const at = Date.now() / 1000 + 3600;
    fs.utimesSync(path.join(data, '000004.log'), at, at);
    const { status, found } = await examine(`${stored}[database.rocksdb]\npath = "${data}"\n${app}`);
    assert.equal(status, 1);
    says(found, 'clock', /^FAIL .*(3599|3600)\.\d s in the future/);
  });

  test('knows the pitfalls of a configuration', async () => {
    const { found } = await examine(`shutdown_grace_period = 0\n[history]\nenabled = true\nbackend = "memory"\n[versioned_messages]\nenabled = true\ndriver = "memory"\n[ai_transport]\nenabled = true\n[ai_transport.rollup]\norphan_ttl_ms = 3600000\n[metrics]\nenabled = false\n[rate_limiter]\nenabled = true\ndriver = "memory"\n[queue]\ndriver = "memory"\n${app.replace('"k"', '"app-key"').replace('not-public', 'app-secret')}`, { HOST: '0.0.0.0' });
    for (const expected of [/^FAIL app a has the public demo key/, /any web page/, /a restart forgets/, /token by token/, /orphan_ttl_ms/, /no alert can fire/, /shutdown_grace_period/])
      says(found, 'configuration', expected);
  });

  const redisAt = (port, more = '', sections = '[adapter]\ndriver = "redis"\n[idempotency]\nenabled = false\n') => `${sections}[database.redis]\nhost = "127.0.0.1"\nport = ${port}\n${more}[queue]\ndriver = "memory"\n${app}`;

  test('asks Redis, with the password and for the time', async () => {
    const redis = await Redis.start({ args: ['--requirepass', 'secret word'] });
    const right = await examine(redisAt(redis.port, 'password = "secret word"\n'));
    assert.equal(right.status, 0, right.text);
    says(right.found, 'redis', /^ok 127\.0\.0\.1:\d+ \(bus\): Redis \d+\.\d+\.\d+, connects in/);
    says(right.found, 'redis', /^ok a round trip takes [\d.]+ ms/);
    says(right.found, 'redis', /^ok maxmemory-policy noeviction without a limit/);
    says(right.found, 'clock', /^ok the clock of Redis is -?0\.\d s apart/);
    const acl = await Redis.start({ args: ['--user', 'few', 'on', '>pw', '&*', '+publish', '+subscribe', '+unsubscribe', '+select', '+role'] }); // all that a bus needs
    const few = await examine(redisAt(acl.port, 'username = "few"\npassword = "pw"\n'));
    assert.equal(few.status, 0, few.text);
    says(few.found, 'redis', /^ok 127.* \(bus\): Redis \?, connects in/);
    await acl.stop();
    const wrong = await examine(redisAt(redis.port, 'password = "guess"\n'));
    assert.equal(wrong.status, 1);
    says(wrong.found, 'redis', /^FAIL 127.* \(bus\): .*WRONGPASS/);
    assert.match(wrong.text, /-> docs\/runbook\.md#doctor-redis/);
    const none = await examine(redisAt(redis.port));
    assert.equal(none.status, 1);
    says(none.found, 'redis', /^FAIL .*NOAUTH/);
    redis.freeze();
    const mute = await examine(redisAt(redis.port, 'password = "secret word"\n'));
    redis.thaw();
    says(mute.found, 'redis', /^FAIL .*no answer in time/);
    await redis.stop();
    const gone = await examine(redisAt(redis.port));
    assert.equal(gone.status, 1);
    says(gone.found, 'redis', /^FAIL .*refused/i);
  });

  test('warns of a Redis that may evict what nodes remember, and of a replica', async () => {
    const master = await Redis.start({ args: ['--maxmemory', '100mb', '--maxmemory-policy', 'allkeys-lru'] });
    const bus = await examine(redisAt(master.port));
    says(bus.found, 'redis', /^ok maxmemory-policy allkeys-lru/);
    const cache = await examine(redisAt(master.port, '', '[adapter]\ndriver = "redis"\n[cache]\ndriver = "redis"\n'));
    assert.equal(cache.status, 0, cache.text);
    says(cache.found, 'redis', /\(bus, cache\)/);
    says(cache.found, 'redis', /^WARN maxmemory-policy allkeys-lru may evict/);
    const replica = await Redis.start({ args: ['--replicaof', '127.0.0.1', String(master.port)] });
    const { status, found } = await examine(redisAt(replica.port));
    assert.equal(status, 1);
    says(found, 'redis', /^FAIL it is a slave/);
    await replica.stop();
    await master.stop();
  });

  test('asks every Sentinel where the master is, and the master then', async () => {
    const master = await Redis.start(), sentinel = await Redis.sentinel(master), nobody = await freePort();
    const sentinels = ports => `[adapter]\ndriver = "redis"\n[idempotency]\nenabled = false\n[database.redis]\nname = "mymaster"\nsentinels = [${ports.map(p => `{ host = "127.0.0.1", port = ${p} }`).join(', ')}]\n[queue]\ndriver = "memory"\n${app}`;
    const one = await examine(sentinels([nobody, sentinel.port]));
    assert.equal(one.status, 0, one.text);
    says(one.found, 'redis', /^WARN sentinel .*refused/i);
    says(one.found, 'redis', new RegExp(`^ok sentinel .*the master is 127.0.0.1:${master.port}`));
    says(one.found, 'redis', new RegExp(`^ok 127.0.0.1:${master.port} \\(bus\\): Redis`));
    const none = await examine(sentinels([nobody]));
    assert.equal(none.status, 1);
    says(none.found, 'redis', /^FAIL no Sentinel knows/);
    await sentinel.stop();
    await master.stop();
  });

  test('works with PostgreSQL as the store will, and measures', async () => {
    const postgres = await Postgres.start();
    const at = (more = '', prefix = 'sockudo_history', user = 'sockudo') => `[history]\nenabled = true\nbackend = "postgres"\n[history.postgres]\ntable_prefix = "${prefix}"\n[versioned_messages]\nenabled = true\ndriver = "postgres"\n[database.postgres]\nhost = "127.0.0.1"\nport = ${postgres.port}\nusername = "${user}"\npassword = "any"\ndatabase = "sockudo"\n${more}[queue]\ndriver = "memory"\n${app}`;
    try {
      const empty = await examine(at());
      assert.equal(empty.status, 0, empty.text);
      says(empty.found, 'postgres', /^ok 127\.0\.0\.1:\d+: PostgreSQL 1\d\.\d+, connects in [\d.]+ ms, without TLS/);
      says(empty.found, 'postgres', /^ok the tables sockudo_history_\* will be made by the first node/);
      says(empty.found, 'postgres', /^ok a round trip takes [\d.]+ ms/);
      says(empty.found, 'postgres', /^(ok|WARN) a commit takes [\d.]+ ms/);
      says(empty.found, 'postgres', /^ok \d+ of 197 connections are in use; a node takes 6: room for \d+ more nodes/);
      says(empty.found, 'postgres', /^WARN fsync or full_page_writes is off/);
      says(empty.found, 'clock', /^ok the clock of PostgreSQL is -?0\.\d s apart/);
      assert.equal(await postgres.sql("SELECT count(*) FROM pg_class WHERE relname LIKE 'sockudo%'"), '0'); // it has changed nothing

      const server = await Server.start({ config: postgres.config() });
      assert.match(server.log(), /store postgres at 127\.0\.0\.1:\d+\/sockudo, tables sockudo_history_\*/);
      await server.stop();
      says((await examine(at())).found, 'postgres', /^ok the tables sockudo_history_\* have schema version (\d+), ours/);
      await postgres.sql('UPDATE sockudo_history_schema SET version = 99');
      const newer = await examine(at());
      assert.equal(newer.status, 1);
      says(newer.found, 'postgres', /^FAIL .*migrated by a newer release/);

      await postgres.sql('CREATE ROLE stranger LOGIN; CREATE TABLE taken_streams (a text)');
      const stranger = await examine(at('', 'other', 'stranger'));
      assert.equal(stranger.status, 1);
      says(stranger.found, 'postgres', /^FAIL the tables other_\* are not there, and the role may not create any/);
      says((await examine(at('', 'taken'))).found, 'postgres', /^FAIL .*another program's/);
      says((await examine(at('pool_max = 3\n', 'other'))).found, 'postgres', /a node takes 3: room for/);
      says((await examine(at('', 'other', 'nobody'))).found, 'postgres', /^FAIL .*role "nobody" does not exist/);
      const busy = await Promise.all(Array.from({ length: 193 }, () => new Promise((resolve, reject) => {
        // A start packet of protocol 3 as sockudo; trust lets it in.
        const words = Buffer.from('user\0sockudo\0database\0sockudo\0\0'), head = Buffer.alloc(8);
        head.writeInt32BE(8 + words.length);
        head.writeInt32BE(196608, 4);
        const socket = net.connect(postgres.port, '127.0.0.1', () => socket.write(Buffer.concat([head, words]))).on('error', reject);
        socket.on('data', bytes => { if (bytes.includes('Z')) resolve(socket); });
      })));
      says((await examine(at('', 'other'))).found, 'postgres', /^WARN 19\d of 197 connections are in use; a node takes 6: room for 0 more nodes/);
      busy.forEach(socket => socket.destroy());
    } finally {
      await postgres.stop();
    }
    const gone = await examine(at());
    assert.equal(gone.status, 1);
    says(gone.found, 'postgres', /^FAIL 127\.0\.0\.1:\d+: .*refused/i);
    assert.match(gone.text, /-> docs\/runbook\.md#doctor-postgres/);
  });

  test('refuses other words, and a configuration that does not load', async () => {
    assert.equal(spawnSync(program, ['nurse'], { cwd: folder, timeout: 10_000 }).status, 2);
    const { status, text } = await examine('port = = 1\n');
    assert.equal(status, 1);
    assert.match(text, /line 1|:1/);
  });
});
