// SPDX-License-Identifier: Apache-2.0
//
// fleet.mjs - several nodes on one PostgreSQL, with one Redis between them, all on free ports and ended with the tests.
//
//    const fleet = await Fleet.start({ nodes: 2 })
//    fleet.nodes[0] … are Servers;  await fleet.redis.kill(); await fleet.redis.start();  await fleet.stop()
import { execFile, spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { after } from 'node:test';
import { demoApp, freePort, merged, root, Server, sleep } from './server.mjs';

const run = promisify(execFile);
const running = new Set();
after(async () => { for (const service of running) await service.kill(); });

export class Redis {
  async start() {
    this.port ??= await freePort();
    this.process = spawn('redis-server', ['--port', String(this.port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'], { stdio: 'ignore' });
    running.add(this);
    for (let i = 0; i < 500; i++) {
      if (await answers(this.port)) return this;
      await sleep(10);
    }
    throw new Error('redis-server does not answer');
  }

  async kill() {
    running.delete(this);
    const ended = new Promise(resolve => this.process.once('exit', resolve));
    if (this.process.exitCode === null && this.process.kill('SIGKILL')) await ended;
  }
}

const answers = port => new Promise(resolve => {
  const socket = net.connect(port, '127.0.0.1', () => socket.write('PING\r\n'));
  socket.on('data', data => { socket.destroy(); resolve(data.toString().startsWith('+PONG')); }).on('error', () => resolve(false));
});

export class Postgres {
  async start() {
    this.folder ??= fs.mkdtempSync(path.join(os.tmpdir(), 'sockudo-pg-'));
    const { stdout } = await run(path.join(root, 'tools/postgres'), ['start', this.folder]);
    this.port = Number(stdout.trim().split('\n').at(-1));
    running.add(this);
    return this;
  }

  async kill() {
    running.delete(this);
    await run(path.join(root, 'tools/postgres'), ['kill', this.folder]);
  }

  async stop() {
    running.delete(this);
    await run(path.join(root, 'tools/postgres'), ['stop', this.folder]);
    fs.rmSync(this.folder, { recursive: true, force: true });
  }
}

export class Fleet {
  static async start({ nodes = 2, config = {}, apps = [demoApp], ...options } = {}) {
    const fleet = new Fleet();
    [fleet.redis, fleet.postgres] = await Promise.all([new Redis().start(), new Postgres().start()]);
    const shared = {
      history: { backend: 'postgres' }, versioned_messages: { driver: 'postgres' },
      cache: { driver: 'redis' },
      adapter: { driver: 'redis', cluster_health: { heartbeat_interval_ms: 300, node_timeout_ms: 1500, cleanup_interval_ms: 300 } },
      database: { redis: { host: '127.0.0.1', port: fleet.redis.port }, postgres: { host: '127.0.0.1', port: fleet.postgres.port, username: 'sockudo', password: 'x', database: 'sockudo' } },
    };
    fleet.options = { config: merged(shared, config), apps, ...options };
    fleet.nodes = [];
    for (let i = 0; i < nodes; i++) await fleet.add();
    return fleet;
  }

  async add() {
    const node = await Server.start(this.options);
    this.nodes.push(node);
    return node;
  }

  async stop() {
    await Promise.all(this.nodes.filter(n => n.running).map(n => n.stop()));
    await Promise.all([this.redis.kill(), this.postgres.stop()]);
  }
}
