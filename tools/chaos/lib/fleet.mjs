// SPDX-License-Identifier: Apache-2.0
//
// fleet.mjs - the processes of a run: nodes, Redis (with replica and Sentinel), PostgreSQL; each a host of net.mjs, ended by pid.
//
//    const fleet = new Fleet(net, { folder, nodes: 3, sentinel: true, config });  await fleet.start();  …  await fleet.stop()
//    fleet.nodes[1].kill();  await fleet.nodes[1].start();  fleet.redis[0] …;  await fleet.postgres.kill()
import { execFile, execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { scrape, valueOf } from '../../../test/load/lib/metrics.mjs';

export const root = fileURLToPath(new URL('../../..', import.meta.url));
export const program = process.env.SOCKUDO_PROGRAM ?? path.join(root, 'build/release/sockudo');
const shim = path.join(root, 'build/release/chaos-shim.so');
const run = promisify(execFile);
const UP_MS = 90_000, END_MS = 15_000;

export const app = { id: 'app-id', key: 'app-key', secret: 'app-secret', enabled: true, policy: { features: { enable_client_messages: true } } };
const isTable = v => v !== null && typeof v === 'object' && !Array.isArray(v);
export const merged = (base, over) => Object.entries(over).reduce((all, [k, v]) => ({ ...all, [k]: isTable(v) && isTable(all[k]) ? merged(all[k], v) : v }), base);

/* One process of one host. */
export class Service {
  constructor(net, host, folder) { Object.assign(this, { net, host, folder, log: path.join(folder, `${host}.log`), running: false }); }

  launch(argv, env = {}) {
    const [file, ...args] = this.net.command(this.host, argv), out = fs.openSync(this.log, 'a');
    this.process = spawn(file, args, { cwd: this.folder, env: { ...process.env, ...env }, stdio: ['ignore', out, out] });
    fs.closeSync(out);
    this.running = true;
    this.ending = false;
    const child = this.process;
    this.exited = new Promise(resolve => child.once('exit', (code, signal) => { if (this.process === child) this.running = false;
      if (!this.ending) this.died = `${this.host} ended by itself: ${signal ?? `exit ${code}`}`;
      resolve({ code, signal }); }).once('error', () => resolve({ code: -1 })));
    process.on('exit', this.atExit = () => child.kill('SIGKILL'));
    this.exited.then(() => process.off('exit', this.atExit));
  }

  signal(name) { this.ending = true; if (this.running) this.process.kill(name); }
  async kill() { this.signal('SIGKILL'); await this.exited; }
  async stop() {
    if (!this.running) return;
    this.signal('SIGTERM');
    const slow = setTimeout(() => { this.died = `${this.host} did not end within ${END_MS} ms of SIGTERM`; this.signal('SIGKILL'); }, END_MS);
    await this.exited;
    clearTimeout(slow);
  }
}

export class Node extends Service {
  constructor(fleet, index) {
    super(fleet.net, `node${index}`, fleet.folder);
    Object.assign(this, { fleet, index, data: path.join(fleet.folder, `data${index}`), faults: path.join(fleet.folder, `faults${index}`) });
    fs.writeFileSync(this.faults, Buffer.alloc(16));
  }

  async place() {
    this.net.add(this.host, ['client', 'bus', 'store']);
    this.host4 = this.net.address(this.host, 'client');
    this.port = await this.net.port(6001 + this.index);
    this.metricsPort = await this.net.port(9601 + this.index);
    this.file = path.join(this.folder, `${this.host}.json`);
  }

  get url() { return `http://${this.host4}:${this.port}`; }
  get metricsUrl() { return `http://${this.host4}:${this.metricsPort}/metrics`; }

  async start() {
    fs.writeFileSync(this.file, JSON.stringify(merged(this.fleet.config(this), { host: '0.0.0.0', port: this.port, metrics: { host: '0.0.0.0', port: this.metricsPort } }), null, 1));
    this.launch([program, '--config', this.file], this.fleet.options.shim ? { LD_PRELOAD: shim, CHAOS_FAULTS: this.faults } : {});
    await this.up();
  }

  /* Answers for the app, as chapter 4, 11.1 wants it. */
  async up(ms = UP_MS) {
    const until = Date.now() + ms;
    for (;;) {
      if (!this.running) throw new Error(`${this.host} ended at start: ${fs.readFileSync(this.log, 'utf8').slice(-800)}`);
      if (await answers(`${this.url}/up/${app.id}`)) return;
      if (Date.now() > until) throw new Error(`${this.host} is not up after ${ms} ms: ${fs.readFileSync(this.log, 'utf8').slice(-800)}`);
      await sleep(20);
    }
  }

  /* tools/chaos/shim.c: the first 8 bytes are milliseconds that its wall clock is ahead, byte 8 makes every sync fail, byte 9 every write to a file. */
  setFault({ aheadMs, syncFails, diskFull }) {
    const fd = fs.openSync(this.faults, 'r+'), bytes = Buffer.alloc(8);
    if (aheadMs !== undefined) { bytes.writeBigInt64LE(BigInt(aheadMs)); fs.writeSync(fd, bytes, 0, 8, 0); }
    if (syncFails !== undefined) fs.writeSync(fd, Buffer.from([syncFails ? 1 : 0]), 0, 1, 8);
    if (diskFull !== undefined) fs.writeSync(fd, Buffer.from([diskFull ? 1 : 0]), 0, 1, 9);
    fs.closeSync(fd);
  }

  async figures(names) {
    const found = await scrape(this.metricsUrl);
    return found.ok ? Object.fromEntries(names.map(n => [n, valueOf(found.text, n) ?? null])) : null;
  }
}

const answers = url => new Promise(resolve => {
  http.get(url, { agent: false, timeout: 1000 }, response => { response.resume(); resolve(response.statusCode === 200); }).on('error', () => resolve(false)).on('timeout', function late() { this.destroy(); });
});

export class Redis extends Service {
  async place(port) { this.net.add(this.host, ['bus']); this.address = this.net.address(this.host, 'bus'); this.port = await this.net.port(port); }

  async start({ replicaOf } = {}) {
    const more = replicaOf ? ['--replicaof', replicaOf.address, String(replicaOf.port)] : [];
    this.launch(['redis-server', '--port', String(this.port), '--bind', this.address, '--protected-mode', 'no', '--save', '', '--appendonly', 'no', '--repl-diskless-sync-delay', '0', ...more]);
    await this.ready();
  }

  async ready() { await until(() => this.cli('ping').then(text => text.startsWith('PONG')), `${this.host} answers`); }
  async cli(...words) {
    const [file, ...args] = this.net.command(this.host, ['redis-cli', '-h', this.address, '-p', String(this.port), ...words]);
    return (await run(file, args, { timeout: 3000 }).catch(error => ({ stdout: `ERR ${error.message}` }))).stdout;
  }
}

export class Sentinel extends Redis {
  async start({ master }) {
    const file = path.join(this.folder, 'sentinel.conf');
    fs.writeFileSync(file, [`port ${this.port}`, `bind ${this.address}`, 'protected-mode no', `sentinel monitor mymaster ${master.address} ${master.port} 1`,
      'sentinel down-after-milliseconds mymaster 500', 'sentinel failover-timeout mymaster 3000', ''].join('\n'));
    this.launch(['redis-server', file, '--sentinel']);
    await this.ready();
    await until(async () => /slave0|slaves=1/.test(await this.cli('info', 'sentinel')), 'Sentinel knows the replica', 15_000);
  }
  async master() { return (await this.cli('sentinel', 'get-master-addr-by-name', 'mymaster')).trim().split('\n').join(':'); }
}

export class Postgres extends Service {
  constructor(net, folder) { super(net, 'pg', folder); this.dir = fs.mkdtempSync('/tmp/sockudo-chaos-pg-'); }

  async tool(command) {
    const [file, ...args] = this.net.command(this.host, [path.join(root, 'tools/postgres'), command, this.dir]);
    const env = { ...process.env, POSTGRES_OPTIONS: '-c listen_addresses=*' };
    return (await run(file, args, { env })).stdout.trim().split('\n').at(-1);
  }

  async place() { this.net.add(this.host, ['store']); this.address = this.net.address(this.host, 'store'); }

  async start() {
    this.port = Number(await this.tool('start'));
    this.pid = Number(fs.readFileSync(path.join(this.dir, 'data/postmaster.pid'), 'utf8').split('\n')[0]);
    process.on('exit', this.atExit = () => { try { execFileSync(path.join(root, 'tools/postgres'), ['kill', this.dir], { stdio: 'ignore' }); } catch { /* it is gone */ } fs.rmSync(this.dir, { recursive: true, force: true }); });
    const rules = path.join(this.dir, 'data/pg_hba.conf');
    if (!fs.readFileSync(rules, 'utf8').includes('10.0.0.0/8')) {
      fs.appendFileSync(rules, 'host all all 10.0.0.0/8 trust\n');
      process.kill(this.pid, 'SIGHUP');
    }
    this.running = true;
  }

  async kill() { process.off('exit', this.atExit); this.running = false; await this.tool('kill'); }
  async stop() {
    if (this.running) await this.kill();
    fs.rmSync(this.dir, { recursive: true, force: true });
  }
}

export async function until(condition, what, ms = 10_000) {
  const deadline = Date.now() + ms;
  while (!await condition()) {
    if (Date.now() > deadline) throw new Error(`waited ${ms} ms in vain until ${what}`);
    await sleep(20);
  }
}

export class Fleet {
  /* options: nodes, sentinel (Redis with replica and Sentinel), embedded (one node on RocksDB), shim, config */
  constructor(net, folder, options) {
    Object.assign(this, { net, folder, options });
    this.nodes = Array.from({ length: options.nodes }, (_, i) => new Node(this, i));
    this.redis = [];
    if (!options.embedded) {
      this.redis = Array.from({ length: options.sentinel ? 2 : 1 }, (_, i) => new Redis(net, `redis${i}`, folder));
      if (options.sentinel) this.sentinel = new Sentinel(net, 'sentinel', folder);
      this.postgres = new Postgres(net, folder);
    }
  }

  async start() {
    const { redis, sentinel, postgres, nodes } = this;
    for (const [i, one] of redis.entries()) await one.place(Number(process.env.AI_REDIS_HOST_PORT ?? 26379) + (this.net.isolated ? 0 : i));
    await sentinel?.place(26380);
    await postgres?.place();
    for (const node of nodes) await node.place();
    this.net.add('agent', ['client']);
    const starting = postgres?.start();
    for (const [i, one] of redis.entries()) await one.start(i ? { replicaOf: redis[0] } : {});
    await sentinel?.start({ master: redis[0] });
    await starting;
    await Promise.all(nodes.map(node => node.start()));
  }

  config(node) {
    const { orphanTtlMs = 8000, config = {}, embedded } = this.options;
    const base = {
      workers: 2, shutdown_grace_period: 5, rate_limiter: { enabled: false }, queue: { driver: 'memory' }, idempotency: { enabled: false },
      app_manager: { array: { apps: [app] } }, connection_recovery: { enabled: true, buffer_ttl_seconds: 3 },
      ai_transport: { enabled: true, channels: [{ prefix: 'ai-' }], rollup: { orphan_ttl_ms: orphanTtlMs } },
    };
    const store = embedded ? 'rocksdb' : 'postgres';
    return merged(merged(base, { history: { enabled: true, backend: store }, versioned_messages: { enabled: true, driver: store }, ...(embedded ? { database: { rocksdb: { path: node.data } } } : this.shared()) }), config);
  }

  shared() {
    const { redis: [first], sentinel, postgres } = this;
    const redis = sentinel ? { sentinels: [{ host: sentinel.address, port: sentinel.port }], name: 'mymaster' } : { host: first.address, port: first.port };
    return {
      adapter: { driver: 'redis', cluster_health: { heartbeat_interval_ms: 300, node_timeout_ms: 1500, cleanup_interval_ms: 300 } },
      database: { redis, postgres: { host: postgres.address, port: postgres.port, username: 'sockudo', password: 'x', database: 'sockudo' } },
    };
  }

  async stop() {
    await Promise.all(this.nodes.map(n => n.stop()));
    await Promise.all([...this.redis, ...(this.sentinel ? [this.sentinel] : [])].map(r => r.kill()));
    await this.postgres?.stop();
  }
}
