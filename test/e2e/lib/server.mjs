// SPDX-License-Identifier: Apache-2.0
//
// server.mjs - one server of our own for a test: free ports, a data directory that goes away, a configuration in TOML.
//
//    const server = await Server.start({ config: { websocket: { max_messages: 50 } } })
//    server.port, server.url, server.dataDir, server.log()
//    await server.stop()          SIGTERM; { code, signal }; throws when a sanitizer had something to say
//    await server.kill9(); await server.restart()
//
// SOCKUDO_PROGRAM names the program; else the ASan build, else the release build.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../../..', import.meta.url));
export const logFolder = path.join(root, 'build/test-logs');
export const program = process.env.SOCKUDO_PROGRAM
  ?? ['build/asan/sockudo', 'build/release/sockudo'].map(p => path.join(root, p)).find(p => fs.existsSync(p)) ?? 'build/asan/sockudo';
export const releaseProgram = fs.existsSync(path.join(root, 'build/release/sockudo')) ? path.join(root, 'build/release/sockudo') : program;

export const sleep = ms => new Promise(resolve => setTimeout(resolve, ms));

/* What the promise gives, or null after ms; keeps nothing waiting behind it. */
export function within(promise, ms) {
  let timer;
  return Promise.race([promise, new Promise(resolve => { timer = setTimeout(resolve, ms, null); })]).finally(() => clearTimeout(timer));
}

/* Waits until condition() is truthy and returns it. */
export async function until(condition, what = 'the condition', ms = 5000) {
  const deadline = Date.now() + ms;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`waited ${ms} ms in vain for ${typeof what === 'function' ? what() : what}`);
    await sleep(5);
  }
}

/* Below the ephemeral range, so that no outgoing connection takes it meanwhile. */
export async function freePort() {
  for (;;) {
    const port = 10000 + Math.floor(Math.random() * 22000);
    const free = await new Promise(resolve => {
      const probe = net.createServer().on('error', () => resolve(false));
      probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
    });
    if (free) return port;
  }
}

function toToml(value) {
  if (Array.isArray(value)) return `[${value.map(toToml).join(', ')}]`;
  if (value !== null && typeof value === 'object') return `{ ${Object.entries(value).map(([k, v]) => `${tomlKey(k)} = ${toToml(v)}`).join(', ')} }`;
  return JSON.stringify(value);
}
const tomlKey = key => /^[\w-]+$/.test(key) ? key : JSON.stringify(key);
const tomlText = config => Object.entries(config).map(([k, v]) => `${tomlKey(k)} = ${toToml(v)}\n`).join('');

const isTable = v => v !== null && typeof v === 'object' && !Array.isArray(v);
export function merged(base, over) {
  const all = { ...base };
  for (const [k, v] of Object.entries(over)) all[k] = isTable(v) && isTable(base[k]) ? merged(base[k], v) : v;
  return all;
}

export const demoApp = {
  id: 'app-id', key: 'app-key', secret: 'app-secret', enabled: true,
  policy: { features: { enable_client_messages: true, enable_user_authentication: true } },
};
/* The same app with more in its policy: appWith({ limits: { max_connections: 1 } }). */
export const appWith = (policy, top = {}) => ({ ...demoApp, ...top, policy: merged(demoApp.policy, policy) });

const baseConfig = {
  host: '127.0.0.1', workers: 2,
  shutdown_grace_period: 5,
  rate_limiter: { enabled: false },
  queue: { driver: 'memory' },
  history: { enabled: true, backend: 'rocksdb' },
  versioned_messages: { enabled: true, driver: 'rocksdb' },
  connection_recovery: { enabled: true },
  ai_transport: { enabled: true, channels: [{ prefix: 'private-ai-' }, { prefix: 'ai-' }] },
};

let started = 0;
const launched = new Set();
/* What a failed test leaves running must not keep its file from ending. */
after(() => { for (const process of launched) process.kill('SIGKILL'); });

export class Server {
  /* apps: all of them, the demo's by default. text: a configuration as it stands, with {{port}}, {{metrics}}, {{data}} filled in. */
  static async start({ config = {}, apps = [demoApp], text, env = {}, args = [], use = program, ready = true, dataDir } = {}) {
    const server = new Server();
    server.port = await freePort();
    server.metricsPort = await freePort();
    server.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'sockudo-e2e-'));
    server.dataDir = dataDir ?? path.join(server.folder, 'data');
    server.configFile = path.join(server.folder, 'server.toml');
    server.apps = apps;
    const all = merged(merged(baseConfig, { port: server.port, metrics: { host: '127.0.0.1', port: server.metricsPort }, database: { rocksdb: { path: server.dataDir } } }), config);
    all.app_manager = { array: { apps } };
    const given = text?.replace(/{{(\w+)}}/g, (_, name) => ({ port: server.port, metrics: server.metricsPort, data: server.dataDir }[name]));
    fs.writeFileSync(server.configFile, given ?? tomlText(all));
    Object.assign(server, { env, args, use });
    fs.mkdirSync(logFolder, { recursive: true });
    server.logFile = path.join(logFolder, `server-${process.pid}-${++started}.log`);
    fs.writeFileSync(server.logFile, '');
    server.launch();
    if (ready) await server.ready();
    return server;
  }

  get url() { return `ws://127.0.0.1:${this.port}`; }
  log() { return fs.readFileSync(this.logFile, 'utf8'); }

  launch() {
    const out = fs.openSync(this.logFile, 'a');
    // A leak check at each of fifty kills would cost more than it finds: only a clean end looks for leaks, by itself.
    const sanitizers = { ASAN_OPTIONS: `detect_leaks=1:exitcode=99`,
      UBSAN_OPTIONS: 'print_stacktrace=1' };
    this.process = spawn(this.use, ['--config', this.configFile, ...this.args], { cwd: this.folder, env: { ...process.env, ...sanitizers, ...this.env }, stdio: ['ignore', out, out] });
    fs.closeSync(out);
    this.exited = new Promise(resolve => {
      this.process.on('exit', (code, signal) => resolve({ code, signal })).on('error', error => resolve({ code: -1, signal: null, error }));
    });
    this.running = true;
    const { process: child } = this;
    launched.add(child);
    this.exited.then(() => { this.running = false; launched.delete(child); });
  }

  async ready(ms = 15000) {
    const deadline = Date.now() + ms;
    while (Date.now() < deadline) {
      if (!this.running) throw new Error(`the server ended at start:\n${this.log().slice(-3000)}`);
      if (await this.get('/live').then(answer => answer.status === 200, () => false)) return this;
      await sleep(10);
    }
    throw new Error(`the server was not ready after ${ms} ms:\n${this.log().slice(-3000)}`);
  }

  /* A plain, unsigned request. */
  get(target, { method = 'GET', headers = {}, body } = {}) {
    return new Promise((resolve, reject) => {
      http.request({ host: '127.0.0.1', port: this.port, path: target, method, headers, agent: false }, response => {
        let text = '';
        response.setEncoding('utf8').on('data', part => { text += part; }).on('end', () => resolve({ status: response.statusCode, headers: response.headers, text }));
      }).on('error', reject).end(body);
    });
  }

  /* Everything one raw connection answers until it is closed or silent. */
  raw(bytes, { silence = 500, ms = 5000 } = {}) {
    return new Promise(resolve => {
      const socket = net.connect(this.port, '127.0.0.1');
      let got = '', timer = setTimeout(done, ms);
      function done(closed = false) { clearTimeout(timer); socket.destroy(); resolve({ text: got, closed }); }
      socket.on('connect', () => socket.write(bytes)).on('error', () => done(true)).on('close', () => done(true));
      socket.on('data', data => { got += data.toString('latin1'); clearTimeout(timer); timer = setTimeout(done, silence); });
    });
  }

  /* The sum of the series with these labels; undefined if there is none. */
  async metric(name, labels = {}) {
    const text = await new Promise((resolve, reject) => http.get({ host: '127.0.0.1', port: this.metricsPort, path: '/metrics', agent: false }, response => {
      let all = '';
      response.on('data', part => { all += part; }).on('end', () => resolve(all));
    }).on('error', reject));
    const lines = text.split('\n').filter(line => line.startsWith(name) && /[{ ]/.test(line[name.length]) && Object.entries(labels).every(([k, v]) => line.includes(`${k}="${v}"`)));
    return lines.length ? lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0) : undefined;
  }

  async stop({ signal = 'SIGTERM', ms = 20000 } = {}) {
    if (this.running) this.process.kill(signal);
    const end = await within(this.exited, ms);
    if (!end) {
      this.process.kill('SIGKILL');
      throw new Error(`the server did not end within ${ms} ms of ${signal}:\n${this.log().slice(-3000)}`);
    }
    fs.rmSync(this.folder, { recursive: true, force: true });
    this.complain();
    return end;
  }

  complain() {
    const found = this.log().match(/^.*(ERROR: (Address|Leak|Thread)Sanitizer|runtime error:|Assertion .* failed)[\s\S]*/m);
    if (found) throw new Error(`a sanitizer or an assertion spoke:\n${found[0].slice(0, 6000)}`);
  }

  async kill9() {
    this.process.kill('SIGKILL');
    await this.exited;
  }

  async restart() {
    this.launch();
    await this.ready();
  }
}

/* before/after of a test file: one server for all of its tests. options may be a function that finds them out. */
export function oneServer(hooks, options) {
  const holder = {};
  hooks.before(async () => { holder.server = await Server.start(typeof options === 'function' ? await options() : options); });
  hooks.after(async () => {
    const { server } = holder;
    if (!server) return;
    const alive = server.running;
    await server.stop();
    assert.ok(alive, `the server died during the tests:\n${server.log().slice(-3000)}`);
  });
  return holder;
}

let names = 0;
/* A channel nobody else uses. */
export const fresh = (prefix = 'c') => `${prefix}-${process.pid}-${++names}`;
