// SPDX-License-Identifier: Apache-2.0
//
// agents.mjs - load agents (src/load/mode_agent.c): started here, or waiting at an address, and spoken to in lines of JSON.
//
//    const agents = await Agents.start(orders, { addresses, program, onProgress })
//    await agents.ready();  agents.go(atMs);  const results = await agents.results()
//
// An agent that ends before its result, or says nothing for silenceMs, has died: it is kept as such, never averaged away.
import { spawn } from 'node:child_process';
import net from 'node:net';
import { PROFILE_DEFAULTS } from './options.mjs';
import { agentsNeeded } from './plan.mjs';

const MILLION = 1e6;
const ppm = fraction => Math.round(fraction * MILLION);

/* Share i of `total` things among n: whole numbers that add up. */
export const share = (total, i, n) => Math.floor(total * (i + 1) / n) - Math.floor(total * i / n);
const before = (total, i, n) => Math.floor(total * i / n);

/* The start orders of all agents. */
export function ordersOf(run, p, count) {
  const nodes = run.urls.map(u => new URL(u)).map(u => `${u.hostname}:${u.port || 80}`);
  const ownAddress = i => (nodes.every(n => n.startsWith('127.')) && count > 1 ? `127.1.${i >> 8}.${(i & 255) + 1}` : '');
  const exactly = (name, i) => share(p[name], i, count);
  return Array.from({ length: count }, (_, i) => ({
    type: 'start', agent: i, seed: run.seed, run: run.runId, app: run.appId, key: run.key, secret: run.secret,
    channel: `${run.channelPrefix}-${p.name}-${run.runId}`, source: ownAddress(i), nodes, plant: i === 0 && run.plant !== 'leak' ? run.plant : 'none',
    first_session: before(p.sessions, i, count), sessions: exactly('sessions', i), streams: exactly('activeStreams', i), connections: exactly('logicalConnections', i),
    subscribers_min: p.subscribersPerSession.min, subscribers_max: p.subscribersPerSession.max, interval_ns: Math.round(1e9 / p.tokensPerSecond),
    mean_tokens: p.meanResponseTokens, token_bytes: p.tokenBytes, duration_ms: Math.round(p.durationSeconds * 1000), ramp_per_s: Math.ceil(p.rampPerSecond / count),
    window_ms: p.rollupWindowMs, unrolled_ppm: ppm(p.unrolledFraction), full_ppm: ppm(p.fullFraction), cancel_ppm: ppm(p.cancelProbability), reconnect_ppm: ppm(p.reconnectProbability),
    join_ppm: ppm(p.historyOnJoinProbability), drop_ppm: ppm(p.dropFraction), drop_at_ms: Math.round(p.durationSeconds * 1000 / 3),
    resume_within_ms: Math.round(p.resumeWithinSeconds * 1000), cancel_count: exactly('cancelCount', i), samples: exactly('sampleTranscriptCount', i),
    request_timeout_ms: p.requestTimeoutMs, drain_ms: run.drainMs, node_local: run.placement === 'node-local' ? 1 : 0,
    clock_skew_ms: Math.abs(p.clientClockSkewMs), clock_behind: p.clientClockSkewMs < 0 ? 1 : 0,
  }));
}

/* How many agents: what the sockets want, and the profile; with fewer sessions than that, one each. */
export const agentCount = (run, p) => run.agents.length || Math.min(p.sessions, p.activeStreams, Math.max(p.loadGenerators ?? PROFILE_DEFAULTS.loadGenerators, agentsNeeded(p)));

class Agent {
  constructor(index, where) {
    Object.assign(this, { index, where, rest: '', said: '', progress: null, result: null, died: null, heardMs: Date.now() });
    this.isReady = new Promise(resolve => { this.becomeReady = resolve; });
    this.isOver = new Promise(resolve => { this.becomeOver = resolve; });
  }

  local(program) {
    this.child = spawn(program, ['agent'], { stdio: ['pipe', 'pipe', 'pipe'] });
    this.child.stderr.on('data', text => { this.said = (this.said + text).slice(-2000); });
    this.child.on('error', error => this.end(`cannot be started: ${error.message}`));
    this.child.on('close', (code, signal) => this.end(signal ? `killed by ${signal}` : `ended with ${code}`));
    this.attach(this.child.stdout, this.child.stdin);
  }

  remote(address) {
    const [host, port] = address.split(':');
    this.socket = net.connect({ host, port: Number(port) });
    this.socket.on('error', error => this.end(`${address}: ${error.code ?? error.message}`)).on('close', () => this.end('the connection ended'));
    this.attach(this.socket, this.socket);
  }

  attach(from, to) {
    this.to = to;
    to.on('error', () => {});
    from.setEncoding('utf8').on('data', text => {
      const lines = (this.rest + text).split('\n');
      this.rest = lines.pop();
      for (const line of lines) this.take(JSON.parse(line));
    });
  }

  take(message) {
    if (this.died) return;
    this.heardMs = Date.now();
    if (message.type === 'progress') this.progress = message;
    if (message.type === 'error') this.said = message.message;
    if (message.type === 'ready') { this.progress = { ...message, phase: 'waiting' }; this.becomeReady(); }
    if (message.type === 'result') { this.result = message; this.becomeOver(); }
  }

  end(why) {
    if (this.result || this.died) return;
    this.died = { agent: this.index, where: this.where, why: this.said ? `${why}: ${this.said.trim()}` : why, phase: this.progress?.phase ?? 'start', progress: this.progress };
    this.becomeReady();
    this.becomeOver();
  }

  send(order) { this.to.write(`${JSON.stringify(order)}\n`); }
  stop() { this.child?.kill('SIGKILL'); this.socket?.destroy(); }
}

export class Agents {
  static start(orders, { addresses, program, silenceMs }) {
    const all = new Agents();
    // One that hangs, or whose machine is gone, must not hold the others' results up.
    all.watch = setInterval(() => {
      for (const a of all.list) if (!a.result && !a.died && Date.now() - a.heardMs > silenceMs) a.end(`said nothing for ${silenceMs / 1000} s`);
    }, 500);
    all.list = orders.map((order, i) => {
      const agent = new Agent(i, addresses[i] ?? 'here');
      if (addresses.length) agent.remote(addresses[i]);
      else agent.local(program);
      agent.send(order);
      return agent;
    });
    return all;
  }

  get dead() { return this.list.filter(a => a.died).map(a => a.died); }
  ready() { return Promise.all(this.list.map(a => a.isReady)); }
  results() { return Promise.all(this.list.map(a => a.isOver)).then(() => this.list.map(a => a.result).filter(Boolean)); }
  go(atMs) { for (const agent of this.list) if (!agent.died) agent.send({ type: 'go', at_ms: atMs }); }
  stop() { clearInterval(this.watch); for (const agent of this.list) agent.stop(); }

  /* Sums over those that live. */
  total(field) { return this.list.reduce((all, a) => all + (a.progress?.[field] ?? 0), 0); }
  most(field) { return Math.max(0, ...this.list.map(a => a.progress?.[field] ?? 0)); }
  get phase() { return this.list.find(a => !a.died && !a.result)?.progress?.phase ?? 'start'; }
}
