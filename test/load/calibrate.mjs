#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
//
// calibrate.mjs - measures on this machine what the plans calculate with, and writes build/scale/calibration.json (or the file named).
//
//    idle run     4,000 connections, next to no load          memory per connection of node, agent and kernel
//    two runs     10,000 appends a second, 1 and 4 listeners  CPU of an append and of a frame: two equations, two unknowns
//    store runs   the same over PostgreSQL, and over Redis    their CPU per write, where this build can
//
// CPU comes from the processes' own clocks, so a busy machine disturbs little; a run whose transcripts fail is no measurement.
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { measuredFile } from './lib/calibration.mjs';
import { root } from './lib/options.mjs';
import { loadSchema, violations } from './lib/schema.mjs';

const IDLE = 4000, STREAMS = 100, ENGINE_STREAMS = 30, SECONDS = 8, TICK_MS = 10;
const fleetTool = path.join(root, 'tools/fleet'), runner = path.join(root, 'test/load/ai-scale-runner.mjs');
const output = process.argv[2] ?? measuredFile;
const say = text => process.stderr.write(`${text}\n`);

async function fleet(command, dir, ...more) {
  const ran = spawnSync(fleetTool, [command, dir, ...more], { encoding: 'utf8' });
  if (ran.status !== 0) throw new Error(ran.stderr.trim());
}

/* Nodes of its own for what() to measure, one unless options say more; always ended. */
async function withNode(options, what) {
  const dir = fs.mkdtempSync('/tmp/sockudo-calibrate-');
  try {
    await fleet('start', dir, '--nodes', '1', '--workers', '1', ...options);
    return await what(JSON.parse(fs.readFileSync(path.join(dir, 'fleet.json'))));
  } finally {
    await fleet('stop', dir).catch(() => {});
    fs.rmSync(dir, { recursive: true, force: true });
  }
}

const WIDE = { maxAppendDeliveryP99Ms: 1e6, maxScheduleLagP99Ms: 1e6, maxAgentCpuPercent: 100, memoryAllowanceMiB: 1e6, cancelProbability: 0, reconnectProbability: 0, historyOnJoinProbability: 0, fullFraction: 0 };

function run({ nodes, host }, values) {
  const list = port => nodes.map(n => `http://${host}:${n[port]}`).join(',');
  const flags = Object.entries({ ...WIDE, ...values, urls: list('port'), metricsUrls: list('metricsPort') }).flatMap(([k, v]) => [`--${k}`, String(v)]);
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [runner, ...flags], { stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '', said = '';
    child.stdout.on('data', text => { out += text; });
    child.stderr.on('data', text => { said += text; });
    child.on('close', () => {
      const result = out && JSON.parse(out);
      if (!result || result.workload.skipped || result.workload.transcriptAudit.mismatches || result.workload.failures) reject(new Error(`a run failed:\n${said.slice(-2000)}`));
      else resolve(result);
    });
  });
}

const rssOf = pid => Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) * 1024;
const slab = () => Number(/SUnreclaim:\s+(\d+)/.exec(fs.readFileSync('/proc/meminfo', 'utf8'))[1]) * 1024;
/* CPU of a process and of its children, those that ended too, in seconds. */
function cpuOf(pid) {
  const one = p => { try { return fs.readFileSync(`/proc/${p}/stat`, 'utf8').replace(/^.*\) /s, '').split(' ').map(Number); } catch { return null; } };
  const all = fs.readdirSync('/proc').filter(p => /^\d+$/.test(p)).map(one).filter(f => f && f[1] === pid), own = one(pid);
  return (own[11] + own[12] + own[13] + own[14] + all.reduce((sum, f) => sum + f[11] + f[12], 0)) * TICK_MS / 1000;
}
const sizeOf = dir => fs.readdirSync(dir, { withFileTypes: true }).reduce((sum, e) => sum + (e.isDirectory() ? sizeOf(path.join(dir, e.name)) : fs.statSync(path.join(dir, e.name)).size), 0);

const loaded = (streams, subscribers) => ({ logicalConnections: streams * subscribers, sessions: streams, activeStreams: streams, tokensPerSecond: 100, meanResponseTokens: 400, durationSeconds: SECONDS,
  subscribersMin: subscribers, subscribersMax: subscribers, unrolledFraction: 1, sampleTranscriptCount: 5 });

async function idle() {
  say(`${IDLE} idle connections`);
  return withNode(['--store', 'rocksdb', '--bus', 'none'], async fleetOf => {
    const few = await run(fleetOf, { logicalConnections: 10, sessions: 1, activeStreams: 1, tokensPerSecond: 1, durationSeconds: 2, subscribersMin: 1, subscribersMax: 1 });
    const before = rssOf(fleetOf.nodes[0].pid), slabBefore = slab();
    let slabMost = 0;
    const watch = setInterval(() => { slabMost = Math.max(slabMost, slab()); }, 200);
    const many = await run(fleetOf, { logicalConnections: IDLE, sessions: 1, activeStreams: 1, tokensPerSecond: 1, durationSeconds: 3, subscribersMin: 1, subscribersMax: 1 });
    clearInterval(watch);
    const most = Math.max(...many.resources.nodes[0].points.map(p => p.rssBytes)), agent = r => r.agents.rssBytes[0];
    return { nodeBytes: Math.max(0, most - before) / IDLE, nodeBase: before, agentBytes: Math.max(0, agent(many) - agent(few)) / IDLE, agentBase: agent(few), kernel: Math.max(0, slabMost - slabBefore) / IDLE / 2 };
  });
}

async function load() {
  say(`${STREAMS * 100} appends a second, one subscriber, then four`);
  return withNode(['--store', 'rocksdb', '--bus', 'none'], async fleetOf => {
    const data = path.join(fleetOf.nodes[0].dir, 'data'), before = sizeOf(data);
    const one = await run(fleetOf, loaded(STREAMS, 1)), four = await run(fleetOf, loaded(STREAMS, 4));
    const of = r => { const c = r.workload.counts, m = r.prediction.measured; return { ops: c.creates + c.appends + c.ends, frames: c.frames, node: m.nodeCpuCores * SECONDS, agent: m.agentCpuCores * SECONDS, c }; };
    const a = of(one), b = of(four);
    // node = x * ops + y * frames, twice.
    const solve = side => {
      const det = a.ops * b.frames - b.ops * a.frames, x = (a[side] * b.frames - b[side] * a.frames) / det, y = (a.ops * b[side] - b.ops * a[side]) / det;
      return { cpuUsPerAppend: Math.max(0, x) * 1e6, cpuUsPerFrame: Math.max(0, y) * 1e6 };
    };
    return { node: solve('node'), agent: solve('agent'), bytesPerFrame: b.c.frame_bytes / b.frames + 4, bytesPerRequest: (b.c.request_bytes + b.c.answer_bytes) / b.ops, stored: (sizeOf(data) - before) / (a.ops + b.ops) };
  });
}

/* CPU that a process we start beside the node spends per write; null where this build cannot. */
async function engine(name, options, pidOf, subscribers) {
  say(`the same over ${name}`);
  try {
    return await withNode(options, async fleetOf => {
      const before = cpuOf(pidOf(fleetOf)), { workload: { counts: c } } = await run(fleetOf, loaded(ENGINE_STREAMS, subscribers));
      return (cpuOf(pidOf(fleetOf)) - before) / (c.creates + c.appends + c.ends) * 1e6;
    });
  } catch (error) {
    say(`  not measured: ${error.message.trim().split('\n').slice(-1)}`);
    return null;
  }
}

const round = v => Number(v.toPrecision(4));
const rounded = object => Object.fromEntries(Object.entries(object).map(([k, v]) => [k, round(v)]));

async function main() {
  const memory = await idle(), cpu = await load();
  const postgres = await engine('PostgreSQL', ['--store', 'postgres', '--bus', 'none'], f => f.postgres.pid, 1);
  const redis = await engine('Redis', ['--nodes', '2', '--store', 'postgres', '--bus', 'redis'], f => f.redis.pid, 2); // the second one listens at the other node
  const calibration = {
    measuredAt: new Date().toISOString(), host: { model: os.cpus()[0].model, cpus: os.cpus().length, totalMemoryBytes: os.totalmem() },
    node: rounded({ ...cpu.node, bytesPerConnection: memory.nodeBytes, baseBytes: memory.nodeBase }), agent: rounded({ ...cpu.agent, bytesPerConnection: memory.agentBytes, baseBytes: memory.agentBase }),
    wire: rounded({ bytesPerFrame: cpu.bytesPerFrame, bytesPerRequest: cpu.bytesPerRequest }), kernelBytesPerSocket: round(memory.kernel), storeBytesPerAppend: round(cpu.stored),
    postgres: postgres ? { cpuUsPerWrite: round(postgres) } : null, redis: redis ? { cpuUsPerMessage: round(redis) } : null,
  };
  const wrong = violations(loadSchema('calibration.schema.json'), calibration);
  if (wrong.length) throw new Error(wrong.join('; '));
  fs.mkdirSync(path.dirname(output), { recursive: true });
  fs.writeFileSync(output, `${JSON.stringify(calibration, null, 2)}\n`);
  say(`${JSON.stringify(calibration, null, 2)}\n${output}`);
}

main().catch(error => { say(`calibrate: ${error.message}`); process.exitCode = 1; });
