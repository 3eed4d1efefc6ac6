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
import { Server, freePort, program, until } from './lib/server.mjs';

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

  test('asks Redis, with the password and for the time', async () => {
    const port = await freePort();
    const redis = spawn('redis-server', ['--port', port, '--bind', '127.0.0.1', '--requirepass', 'secret word', '--save', '', '--dir', folder], { stdio: 'ignore' });
    try {
      await until(() => new Promise(resolve => { const s = net.connect(port, '127.0.0.1', () => { s.destroy(); resolve(true); }).on('error', () => resolve(false)); }), 'redis');
      const bus = password => `[adapter]\ndriver = "redis"\n[idempotency]\nenabled = false\n[database.redis]\nhost = "127.0.0.1"\nport = ${port}\npassword = "${password}"\n[queue]\ndriver = "memory"\n${app}`;
      const right = await examine(bus('secret word'));
      assert.equal(right.status, 0, right.text);
      says(right.found, 'backends', /^ok redis: 127\.0\.0\.1:\d+ connects in/);
      assert.ok(!right.found.clock.some(line => line.includes('redis')), right.text);
      const wrong = await examine(bus('guess'));
      assert.equal(wrong.status, 1);
      says(wrong.found, 'backends', /^FAIL redis does not let us in: .*(WRONGPASS|NOAUTH|invalid)/i);
    } finally {
      redis.kill();
    }
    await new Promise(resolve => redis.on('exit', resolve));
    const gone = await examine(`[adapter]\ndriver = "redis"\n[idempotency]\nenabled = false\n[database.redis]\nhost = "127.0.0.1"\nport = ${port}\n[queue]\ndriver = "memory"\n${app}`);
    assert.equal(gone.status, 1);
    says(gone.found, 'backends', /^FAIL redis: cannot reach .*refused/i);
  });

  test('refuses other words, and a configuration that does not load', async () => {
    assert.equal(spawnSync(program, ['nurse'], { cwd: folder, timeout: 10_000 }).status, 2);
    const { status, text } = await examine('port = = 1\n');
    assert.equal(status, 1);
    assert.match(text, /line 1|:1/);
  });
});
