// SPDX-License-Identifier: Apache-2.0
//
// faults.test.mjs - what the server says and does when its surroundings fail it: ports, disks, configurations, signals.
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, describe, test } from 'node:test';
import { Api, complete, streaming } from './lib/api.mjs';
import { Server, freePort, fresh, program, root, sleep, until, within } from './lib/server.mjs';
import { V1, V2 } from './lib/v2.mjs';

const folders = [];
after(() => folders.forEach(f => fs.rmSync(f, { recursive: true, force: true })));
function folder() {
  const made = fs.mkdtempSync(path.join(os.tmpdir(), 'sockudo-faults-'));
  folders.push(made);
  return made;
}

/* Starts a server that must refuse: its exit code and what it said. */
async function refusal(options) {
  const server = await Server.start({ ready: false, ...options });
  const end = await within(server.exited, 10_000);
  if (!end) { server.process.kill('SIGKILL'); assert.fail(`it started:\n${server.log()}`); }
  const log = server.log();
  server.complain();
  fs.rmSync(server.folder, { recursive: true, force: true });
  return { code: end.code, log };
}

const asRoot = process.getuid() === 0;

describe('start', () => {
  test('a port in use is named, exit 1', async () => {
    const first = await Server.start();
    const { code, log } = await refusal({ config: { port: first.port } });
    assert.equal(code, 1);
    assert.match(log, new RegExp(String(first.port)));
    assert.match(log, /in use/i);
    await first.stop();
  });

  test('a data directory is locked by one process', async () => {
    const first = await Server.start();
    const { code, log } = await refusal({ dataDir: first.dataDir });
    assert.equal(code, 1);
    assert.match(log, /lock|in use|another process/i);
    assert.ok(log.includes(first.dataDir));
    await first.stop();
  });

  test('a data path that is a file, or cannot be made, is named, exit 1', async () => {
    const file = path.join(folder(), 'file');
    fs.writeFileSync(file, 'not a directory');
    for (const dataDir of [file, path.join(file, 'below'), '/proc/nope/data']) {
      const { code, log } = await refusal({ dataDir });
      assert.equal(code, 1);
      assert.ok(log.includes(dataDir), log);
    }
  });

  test('a data directory nobody may read is named, exit 1', { skip: !asRoot && 'needs root to drop privileges' }, async () => {
    const locked = folder();
    fs.chmodSync(locked, 0o700);
    const copy = path.join(folder(), 'sockudo');
    fs.chmodSync(path.dirname(copy), 0o755);
    fs.copyFileSync(program, copy);
    fs.chmodSync(copy, 0o755);
    const config = path.join(path.dirname(copy), 'c.toml');
    fs.writeFileSync(config, `[history]\nenabled = true\nbackend = "rocksdb"\n[database.rocksdb]\npath = "${locked}/data"\n[rate_limiter]\nenabled = false\n[queue]\ndriver = "memory"\n`);
    const { status, stdout, stderr } = spawnSync(copy, ['--config', config], { uid: 65534, gid: 65534, cwd: '/tmp', encoding: 'utf8', timeout: 10_000 });
    assert.equal(status, 1, stderr);
    assert.match(stdout + stderr, new RegExp(`${locked}/data`));
    assert.match(stdout + stderr, /permission/i);
  });

  test('a corrupt store is not opened, and the message says how to proceed', { timeout: 60_000 }, async () => {
    const dataDir = path.join(folder(), 'data');
    const server = await Server.start({ dataDir }), api = new Api(server), channel = fresh('ai');
    for (let i = 0; i < 50; i++) await api.create(channel, `message ${i}`);
    api.close();
    await server.stop();
    const victims = execFileSync('find', [dataDir, '-type', 'f', '(', '-name', 'MANIFEST*', '-o', '-name', '*.sst', ')'], { encoding: 'utf8' }).trim().split('\n').filter(Boolean);
    assert.ok(victims.length > 0);
    for (const victim of victims) {
      const bytes = fs.readFileSync(victim);
      for (let i = 0; i < bytes.length; i += 3) bytes[i] ^= 0x55;
      fs.writeFileSync(victim, bytes);
    }
    const { code, log } = await refusal({ dataDir });
    assert.equal(code, 1);
    assert.match(log, /corrupt/i);
    assert.ok(log.includes(dataDir), log);
    assert.match(log, /backup|restore|move|remove|delete/i);
  });

  test('a configuration that does not exist, does not parse, or does not make sense ends it with exit 1', async () => {
    const says = async (text, expected) => {
      const { code, log } = await refusal({ text });
      assert.equal(code, 1, log);
      assert.match(log, expected);
    };
    await says('port = = 5\n', /server\.toml.*(line )?1/s);
    await says('[ai_transport]\nenabled = true\n', /ai_transport\.enabled requires history\.enabled/);
    await says('port = "many"\n', /port/);
    await says('[cache]\ndriver = "redis-cluster"\n', /cache\.driver/);
    await says('secret_file = "${NOPE}"\nother = "${ALSO}"\n', /unresolved environment variables in config: NOPE, ALSO/);
    const gone = spawnSync(program, ['--config', '/nowhere/x.toml'], { encoding: 'utf8', timeout: 10_000 });
    assert.equal(gone.status, 1);
    assert.match(gone.stdout + gone.stderr, /\/nowhere\/x\.toml/);
    const flag = spawnSync(program, ['--nonsense'], { encoding: 'utf8', timeout: 10_000 });
    assert.equal(flag.status, 2);
  });

  test('a file without applications starts, and /up is 503 ERROR [5.1]', async () => {
    const server = await Server.start({ apps: [] }), up = await server.get('/up');
    assert.deepEqual([up.status, up.text, up.headers['x-health-check']], [503, 'ERROR', 'ERROR']);
    assert.equal((await server.get('/live')).status, 200);
    await server.stop();
  });

  test('a cache of nothing is fine where nothing needs it [5.52]', async () => {
    const server = await Server.start({ config: { cache: { driver: 'none' }, idempotency: { enabled: false } } }), api = new Api(server);
    assert.equal((await api.publish('c', 'e', '1')).status, 200);
    assert.equal((await server.get('/up')).text, 'OK');
    api.close();
    await server.stop();
  });

  test('without the Redis of its bus it ends with 1, or starts and says DEGRADED, as adapter.fallback_to_local has it [5.22]', async () => {
    const redis = { port: await freePort(), host: '127.0.0.1' }; // nobody listens there
    const config = fallback_to_local => ({ idempotency: { enabled: false }, history: { enabled: false }, versioned_messages: { enabled: false }, ai_transport: { enabled: false },
      adapter: { driver: 'redis', fallback_to_local }, database: { redis } });
    const [{ code, log }, server] = await Promise.all([refusal({ config: config(false) }), Server.start({ config: config(true) })]);
    assert.equal(code, 1);
    assert.match(log, new RegExp(`adapter: no connection to Redis at 127\\.0\\.0\\.1:${redis.port}, and adapter\\.fallback_to_local = false`));
    const up = await server.get('/up'), api = new Api(server), client = await V2.connect(server);
    assert.deepEqual([up.status, up.text], [200, 'DEGRADED']);
    await client.subscribe('c');
    assert.equal((await api.publish('c', 'e', 'served here')).status, 200);
    await client.next(f => f.data === 'served here');
    await client.close();
    api.close();
    await server.stop();
  });

  test('an unknown key is a warning with the nearest known name', async () => {
    const server = await Server.start({ config: { histroy: { enabled: true } } });
    assert.match(server.log(), /histroy.*history/);
    await server.stop();
  });

  test('a busy metrics port is a warning', async () => {
    const blocker = net.createServer().listen(0, '127.0.0.1');
    await new Promise(resolve => blocker.on('listening', resolve));
    const server = await Server.start({ config: { metrics: { port: blocker.address().port } } });
    assert.match(server.log(), new RegExp(`${blocker.address().port}`));
    await server.stop();
    blocker.close();
  });

  test('without any configuration it is the demo profile on 127.0.0.1, and says so', async () => {
    const [port, metricsPort, cwd] = [await freePort(), await freePort(), folder()];
    const child = spawn(program, [], { cwd, env: { ...process.env, PORT: port, METRICS_PORT: metricsPort } });
    let log = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', part => { log += part; });
    const ended = new Promise(resolve => child.on('exit', resolve));
    try {
      const get = target => fetch(`http://127.0.0.1:${port}${target}`);
      await until(() => get('/up').then(async a => a.status === 200 && await a.text() === 'OK', () => false), () => `the demo profile:\n${log}`);
      const page = await get('/');
      assert.equal(page.status, 200);
      assert.match(page.headers.get('content-type'), /^text\/html/);
      assert.equal(await page.text(), fs.readFileSync(path.join(root, 'src/api/demo_page.html'), 'utf8'));
      assert.match(log, /public/i);
      assert.equal(fs.statSync(path.join(cwd, 'data')).mode & 0o777, 0o700);
    } finally {
      child.kill('SIGTERM');
    }
    assert.equal(await ended, 0);
  });
});

describe('stop', () => {
  test('SIGTERM tells every client 4200, refuses new ones, flushes what was pending, and ends with 0', { timeout: 30_000 }, async () => {
    const server = await Server.start(), api = new Api(server), channel = fresh('ai');
    const old = await V1.connect(server), young = await V2.connect(server, { params: 'append_rollup_window=500' });
    for (const client of [old, young]) await client.subscribe(channel);
    const { message_serial: serial } = await api.create(channel, '', { extras: streaming() });
    for (const part of ['one ', 'two ', 'three']) await api.append(channel, serial, part);
    const closes = [old, young].map(c => c.ws.closed);
    server.process.kill('SIGTERM');
    const codes = (await Promise.all(closes)).map(c => c.code);
    assert.deepEqual(codes, [4200, 4200]);
    assert.deepEqual([old, young].map(c => c.frames.at(-1)).map(f => [f.event, f.data.code]), [['pusher:error', 4200], ['sockudo:error', 4200]]);
    assert.equal(young.text(channel, serial), 'one two three');
    assert.deepEqual(await server.exited, { code: 0, signal: null });
    api.close();
    server.complain();
  });

  test('while it drains /live is 200, /up 503 DRAINING and an upgrade 503', { timeout: 30_000 }, async () => {
    const server = await Server.start({ config: { shutdown_grace_period: 3 } });
    const deaf = await V1.connect(server);
    deaf.ws.pause();
    server.process.kill('SIGTERM');
    await sleep(100);
    const seen = await Promise.all([server.get('/live'), server.get('/up'), V1.connect(server).then(() => ({ status: 101 }), e => ({ status: e.status }))]);
    assert.deepEqual([seen[0].status, seen[1].status, seen[1].text, seen[2].status], [200, 503, 'DRAINING', 503]);
    const started = Date.now();
    assert.deepEqual(await server.exited, { code: 0, signal: null });
    assert.ok(Date.now() - started < 8000);
    deaf.ws.destroy();
    server.complain();
  });

  test('it ends at once when nobody is connected, and a restart finds everything', async () => {
    const dataDir = path.join(folder(), 'data'), channel = fresh('ai');
    const server = await Server.start({ dataDir }), api = new Api(server);
    const { message_serial: serial } = await api.create(channel, 'kept', { extras: streaming() });
    await api.append(channel, serial, ' and more', { extras: complete });
    api.close();
    const started = Date.now();
    assert.deepEqual(await server.stop(), { code: 0, signal: null });
    assert.ok(Date.now() - started < 3000);
    const again = await Server.start({ dataDir }), second = new Api(again);
    assert.equal((await second.latest(channel, serial)).data, 'kept and more');
    second.close();
    await again.stop();
  });

  test('a stop under load answers or refuses every append, and keeps each that it acknowledged', { timeout: 30_000 }, async () => {
    const dataDir = path.join(folder(), 'data'), channel = fresh('ai');
    const server = await Server.start({ dataDir }), api = new Api(server);
    const { message_serial: serial } = await api.create(channel, '', { extras: streaming() });
    let acknowledged = '', running = true;
    const publisher = (async () => {
      for (let i = 0; running; i++) {
        const answer = await api.append(channel, serial, `${i},`).catch(() => null);
        if (answer?.status !== 200) return;
        acknowledged += `${i},`;
      }
    })();
    await sleep(300);
    await server.stop();
    running = false;
    await publisher;
    api.close();
    const again = await Server.start({ dataDir }), second = new Api(again);
    const { data } = await second.latest(channel, serial);
    assert.ok(data.startsWith(acknowledged) && acknowledged.length > 0, `${acknowledged.slice(-20)} / ${data.slice(-20)}`);
    assert.ok(data.length - acknowledged.length < 12);
    second.close();
    await again.stop();
  });
});

describe('a full disk', () => {
  const mount = folder();
  const mounted = asRoot && spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=96m', 'none', mount]).status === 0;
  after(() => mounted && spawnSync('umount', ['-l', mount]));

  test('acknowledges nothing that is not stored, and carries on when there is room again', { skip: !mounted && 'needs a mount', timeout: 120_000 }, async () => {
    const server = await Server.start({ dataDir: path.join(mount, 'data') }), api = new Api(server), channel = fresh('ai'), kept = [];
    await api.create(channel, 'the first');
    const ballast = path.join(mount, 'ballast');
    let refused = null;
    const fill = () => { try { execFileSync('dd', ['if=/dev/zero', `of=${ballast}`, 'oflag=append', 'conv=notrunc', 'bs=64k', 'status=none'], { stdio: 'ignore' }); } catch { /* full is what we want */ } };
    fill();
    for (let i = 0; i < 4000 && !refused; i++) {
      const data = `${i}:${'x'.repeat(30_000)}`, answer = await api.publish(channel, 'ai-output', data, { message_id: `m${i}` });
      if (answer.status === 200) kept.push(`${i}`);
      else refused = { answer, i, data };
    }
    assert.ok(refused, 'it never refused');
    assert.equal(refused.answer.status, 503, refused.answer.text);
    assert.equal(refused.answer.headers['retry-after'], '1');
    let refusals = 0;
    for (let n = 0, end = Date.now() + 3000; Date.now() < end; n++, await sleep(30)) { // the store opens itself anew meanwhile; what that frees is filled again
      fill();
      const { status, text } = await api.publish(channel, 'ai-output', `w${n}:${'x'.repeat(30_000)}`, { message_id: `w${n}` });
      assert.ok(status === 200 || status === 503, text);
      if (status === 200) kept.push(`w${n}`);
      else refusals++;
      assert.equal((await server.get('/live')).status, 200);
    }
    assert.ok(refusals > 3, `${refusals} refusals`);
    fs.rmSync(ballast);
    await until(async () => (await api.publish(channel, 'ai-output', refused.data, { message_id: `m${refused.i}` })).status === 200, 'room again', 30_000);
    kept.push(`${refused.i}`);
    await api.publish(channel, 'ai-output', 'last:', { message_id: 'last' });
    kept.push('last');
    await server.kill9();
    await server.restart();
    const stored = [];
    for (let cursor; ;) {
      const { body } = await api.history(channel, { direction: 'oldest_first', ...(cursor ? { cursor } : {}) });
      stored.push(...body.items.map(i => i.message.data.split(':')[0]));
      if (!body.has_more) break;
      cursor = body.next_cursor;
    }
    assert.deepEqual(stored.slice(1), kept);
    api.close();
    await server.stop();
  });
});

describe('configuration files', () => {
  test('no example lies where it would end the demo profile', () => {
    for (const name of ['config.toml', 'config.json']) assert.ok(!fs.existsSync(path.join(root, 'config', name)));
  });

  test('--print-config shows the effective values and no secret', () => {
    const { status, stdout } = spawnSync(program, ['--print-config'], { encoding: 'utf8', cwd: folder(), timeout: 10_000 });
    assert.equal(status, 0);
    assert.match(stdout, /port = 6001/);
    assert.ok(!stdout.includes('app-secret'));
  });
});
