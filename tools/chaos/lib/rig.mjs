// SPDX-License-Identifier: Apache-2.0
//
// rig.mjs - one scenario from an empty machine to a record: network, fleet, warm-up, load with faults, and what is left afterwards.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { Fleet, app, root } from './fleet.mjs';
import { Random } from './random.mjs';

const FIGURES = ['sockudo_ai_active_streams', 'sockudo_history_reset_required_channels', 'process_resident_memory_bytes', 'process_open_fds',
  'sockudo_horizontal_transport_messages_dropped_total', 'sockudo_appends_received_total'];
const TTL_MS = 5000, SETTLE_MS = 4000, BASELINE_MS = 2000;
const now = () => Math.round((performance.timeOrigin + performance.now()) * 10) / 10;

/* The load agent as a process of the host "agent". */
class Load {
  constructor(rig, name, more) {
    const { net, fleet, scenario } = rig, [file, ...args] = net.command('agent', [process.execPath, path.join(root, 'tools/chaos/lib/agent.mjs')]);
    this.historyFile = path.join(rig.folder, `${name}.json`);
    this.waiting = new Map();
    this.child = spawn(file, args, { stdio: ['pipe', 'pipe', fs.openSync(path.join(rig.folder, `${name}.log`), 'a')] });
    process.on('exit', this.atExit = () => this.child.kill('SIGKILL'));
    this.child.stdin.on('error', () => {});
    this.child.once('exit', code => { process.off('exit', this.atExit); this.ended = `the load agent ended with ${code}: see ${name}.log`; for (const w of this.waiting.values()) w.reject(new Error(this.ended)); });
    readline.createInterface({ input: this.child.stdout }).on('line', line => this.take(JSON.parse(line), rig));
    this.tell({ type: 'start', seed: rig.seed, prefix: `${name}-${rig.seed}`, app, historyFile: this.historyFile, nodes: fleet.nodes.map(n => ({ host: n.host4, port: n.port })), slowSockets: 0, ...scenario.load, ...more });
  }

  take(message, rig) {
    if (message.type === 'progress') {
      rig.progress.push({ t: now(), ...message });
      if (process.env.AI_CHAOS_VERBOSE) process.stderr.write(`${JSON.stringify(message)}\n`);
    }
    if (message.type === 'error') process.stderr.write(`agent: ${message.message}\n`);
    this.waiting.get(message.type)?.resolve(message);
  }

  tell(order) { this.child.stdin.write(`${JSON.stringify(order)}\n`); }
  hear(type, ms) {
    if (this.ended) return Promise.reject(new Error(this.ended));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`the load agent did not say ${type} within ${ms} ms`)), ms);
      this.waiting.set(type, { resolve: message => { clearTimeout(timer); resolve(message); }, reject: error => { clearTimeout(timer); reject(error); } });
    });
  }

  async finish() { this.tell({ type: 'finish' }); await this.hear('done', 120_000); }
}

export class Rig {
  constructor({ name, scenario, net, folder, seed, short }) {
    Object.assign(this, { name, scenario, net, folder, seed, short, random: new Random(seed), faults: [], silenced: [], extra: [], notes: [], progress: [] });
    fs.mkdirSync(folder, { recursive: true });
  }

  tell(order) { this.load.tell(order); }
  now() { return now(); }

  /* broken() is done when all is whole again. */
  async fault(name, detail, broken) {
    const one = { name, ...detail, from: now() };
    this.faults.push(one);
    await broken(one);
    one.to = now();
    return one;
  }

  async run() {
    const { scenario, net } = this, { what, run, load, liveMs, ...options } = scenario;
    this.fleet = new Fleet(net, this.folder, { orphanTtlMs: TTL_MS, ...options });
    try {
      await this.fleet.start();
      if (scenario.smallSocketBuffers) this.shrinkSockets();
      await this.session('warm-up', { orphans: 0 }, () => sleep(scenario.warmUpMs ?? (this.short ? 2000 : 6000)));
      await sleep(SETTLE_MS);
      const before = await this.figures();
      this.startedAt = now();
      const file = await this.session('load', {}, async () => { await sleep(BASELINE_MS); await run(this); await sleep(BASELINE_MS); });
      const gauges = await this.waitGauges(before);
      await sleep(Math.max(0, SETTLE_MS - gauges.tookMs));
      const after = await this.figures();
      return this.record(JSON.parse(fs.readFileSync(file)), before, after, gauges);
    } catch (error) {
      throw this.dead() ? new Error(`${error.message}; ${this.dead()}`) : error;
    } finally {
      this.load?.child.kill('SIGKILL');
      await this.fleet.stop();
    }
  }

  /* So that it is the server's buffer that fills, not the kernel's. */
  shrinkSockets() {
    this.net.set('agent', 'net.ipv4.tcp_rmem', '4096 16384 32768');
    for (const { host } of this.fleet.nodes) this.net.set(host, 'net.ipv4.tcp_wmem', '4096 16384 32768');
  }

  async session(name, more, during) {
    this.load = new Load(this, name, more);
    await this.load.hear('ready', 60_000);
    this.tell({ type: 'speak' });
    await during();
    if (this.dead()) throw new Error(this.dead());
    await this.load.finish();
    return this.load.historyFile;
  }

  /* Who ended though nobody asked. */
  dead() { return this.fleet.nodes.map(n => n.died).filter(Boolean).join('; '); }

  figures() { return Promise.all(this.fleet.nodes.map(n => n.figures(FIGURES))); }

  /* Open streams are back where they were within the orphan window and two seconds. */
  async waitGauges(before) {
    const began = now(), limitMs = TTL_MS + 2000, baseline = sum(before, FIGURES[0]);
    for (;;) {
      const after = sum(await this.figures(), FIGURES[0]), tookMs = Math.round(now() - began);
      if ((after !== null && after <= baseline) || tookMs > limitMs + 500) return { baseline, after, tookMs, limitMs };
      await sleep(100);
    }
  }

  record(history, before, after, gauges) {
    const pair = list => ({ rss: sum(list, 'process_resident_memory_bytes'), fds: sum(list, 'process_open_fds') });
    return {
      scenario: this.name, seed: this.seed, short: this.short, startedAt: this.startedAt, isolated: this.net.isolated, history, faults: this.faults, silenced: this.silenced, extra: [() => ({ name: 'no_node_died_by_itself', passed: !this.dead(), detail: this.dead() }), ...this.extra].map(e => e(history)),
      notes: this.notes.map(n => (typeof n === 'function' ? n(history) : n)), gauges, resetRequired: after.map(f => f?.sockudo_history_reset_required_channels ?? null),
      resources: { before: pair(before), after: pair(after) }, limits: { liveMs: this.scenario.liveMs, growth: 0.05 }, nodes: { before, after }, progress: this.progress,
    };
  }
}

function sum(list, name) { return list.every(f => f && f[name] !== null) ? list.reduce((all, f) => all + f[name], 0) : null; }
