// SPDX-License-Identifier: Apache-2.0
//
// redis.mjs - a real redis-server for a test: a free port, a folder that goes away, nothing saved.
//
//    const redis = await Redis.start()                    or { args: ['--requirepass', 'p'] }
//    redis.port, redis.url
//    await redis.command('PUBSUB', 'CHANNELS', '*')       an answer as JavaScript values; throws an error reply
//    await redis.kill9(); await redis.restart()           the same port, empty
//    redis.freeze(); redis.thaw()                         SIGSTOP, SIGCONT
//    await redis.stop()
//
//    const sentinel = await Redis.sentinel(redis)         watches it as `mymaster`, gives up after 500 ms
//
// What is still running when the test file ends is killed.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after } from 'node:test';
import { freePort, until } from './server.mjs';

const running = new Set();
after(async () => { for (const redis of running) await redis.stop(); });

/* One value of RESP2 at `at`, and where the next begins; null while it is incomplete. */
function parse(bytes, at) {
  const end = bytes.indexOf('\r\n', at);
  if (end < 0) return null;
  const line = bytes.toString('latin1', at + 1, end), next = end + 2;
  switch (String.fromCharCode(bytes[at])) {
    case '+': return { value: line, next };
    case '-': return { value: new Error(line), next };
    case ':': return { value: Number(line), next };
    case '$': {
      const size = Number(line);
      if (size < 0) return { value: null, next };
      return bytes.length < next + size + 2 ? null : { value: bytes.toString('utf8', next, next + size), next: next + size + 2 };
    }
    case '*': {
      const value = [];
      let from = next;
      for (let i = 0; i < Number(line); i++) {
        const item = parse(bytes, from);
        if (!item) return null;
        value.push(item.value);
        from = item.next;
      }
      return { value, next: from };
    }
    default: throw new Error(`not the Redis protocol: ${line}`);
  }
}

export class Redis {
  static async start({ args = [] } = {}) {
    const redis = new Redis();
    redis.port = await freePort();
    redis.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'sockudo-redis-'));
    redis.words = ['--port', String(redis.port), '--bind', '127.0.0.1', '--dir', redis.folder, '--save', '', ...args];
    await redis.restart();
    return redis;
  }

  static async sentinel(master) {
    const redis = new Redis();
    redis.port = await freePort();
    redis.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'sockudo-sentinel-'));
    const file = path.join(redis.folder, 'sentinel.conf');
    fs.writeFileSync(file, `port ${redis.port}\nbind 127.0.0.1\ndir ${redis.folder}\nsentinel monitor mymaster 127.0.0.1 ${master.port} 1\n`
      + 'sentinel down-after-milliseconds mymaster 500\nsentinel failover-timeout mymaster 3000\n');
    redis.words = [file, '--sentinel'];
    await redis.restart();
    return redis;
  }

  get url() { return `redis://127.0.0.1:${this.port}`; }

  async restart() {
    this.child = spawn('redis-server', this.words, { stdio: ['ignore', fs.openSync(path.join(this.folder, 'log'), 'a'), 'inherit'] });
    this.exited = new Promise(resolve => this.child.once('exit', resolve).once('error', resolve));
    running.add(this);
    await until(() => this.child.exitCode !== null || this.command('PING').then(() => true, error => /NOAUTH/.test(error.message)),
      `redis-server on port ${this.port}`);
    if (this.child.exitCode !== null) throw new Error(`redis-server: ${fs.readFileSync(path.join(this.folder, 'log'), 'utf8').slice(-500)}`);
  }

  /* One connection for each: simple, and it needs no closing. */
  command(...words) {
    return new Promise((resolve, reject) => {
      let bytes = Buffer.alloc(0);
      const socket = net.connect(this.port, '127.0.0.1').on('error', reject).on('close', () => reject(new Error('closed')));
      socket.on('data', chunk => {
        bytes = Buffer.concat([bytes, chunk]);
        const answer = parse(bytes, 0);
        if (!answer) return;
        socket.destroy();
        if (answer.value instanceof Error) reject(answer.value); else resolve(answer.value);
      });
      socket.write(`*${words.length}\r\n${words.map(w => `$${Buffer.byteLength(String(w))}\r\n${w}\r\n`).join('')}`);
    });
  }

  freeze() { this.child.kill('SIGSTOP'); }
  thaw() { this.child.kill('SIGCONT'); }

  async kill9() {
    this.child.kill('SIGKILL');
    await this.exited;
  }

  async stop() {
    running.delete(this);
    if (this.child.exitCode === null && this.child.signalCode === null) await this.kill9();
    fs.rmSync(this.folder, { recursive: true, force: true });
  }
}
