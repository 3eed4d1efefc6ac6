#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
//
// ai-scale-runner.mjs - plans a scale run, or runs it with load agents and judges it (chapter 4, section 10; test/load/README.md).
//
//    node test/load/ai-scale-runner.mjs --profile test/load/profiles/headline-1m.json --plan
//    node test/load/ai-scale-runner.mjs --profile … --execute --urls http://10.0.0.1:6001,… --metricsUrls … --output result.json
//
// The result goes to standard output and to --output, all else to standard error.
// Exit: 0 planned or passed, 1 failed, 2 bad input, 3 invalid (the generator was late: the run says nothing).
import fs from 'node:fs';
import os from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { Agents, agentCount, ordersOf } from './lib/agents.mjs';
import { watchAlerts } from './lib/alerts.mjs';
import { costsOf, takeBackends } from './lib/backends.mjs';
import { machineOf, readCalibration } from './lib/calibration.mjs';
import { summary } from './lib/hist.mjs';
import { startLeak } from './lib/leak.mjs';
import { reach, Sampler, scrapeAll, valueOf, withoutText } from './lib/metrics.mjs';
import { BadInput, helpText, readOptions } from './lib/options.mjs';
import { agentsNeeded, nodesFor, planOf, SOCKETS_PER_NODE } from './lib/plan.mjs';
import { planText, resultText, writeFiles } from './lib/report.mjs';
import { loadSchema, violations } from './lib/schema.mjs';
import { judge, merged, totalsOf } from './lib/verdict.mjs';

const SCHEMA = 'sockudo.ai-transport.scale-result.v2';
const EXIT = { planned: 0, passed: 0, failed: 1, invalid: 3 };
const SAMPLES_MAX = 64, SETTLE_MS = 2000, BACK_TO_BASELINE_MS = 7000, CONNECT_STALL_MS = 60000;
const say = text => process.stderr.write(`${text}\n`);

/* ---- before ---- */

function host() {
  return { hostname: os.hostname(), cpuModel: os.cpus()[0]?.model ?? 'unknown', loadAverage: os.loadavg().map(v => Number(v.toFixed(2))), platform: os.platform(), release: os.release(), cpus: os.cpus().length, totalMemoryBytes: os.totalmem() };
}

function skeleton(run, profile, plan) {
  const { secret, key, postgresUrl, redisUrl, ...shown } = run;
  return { schema: SCHEMA, status: 'planned', runId: run.runId, generatedAt: new Date().toISOString(), profile: profile.name, scale: run.scale, host: host(),
    configuration: { ...shown, workload: profile }, plan };
}

/* Throws when a node or its metrics cannot be reached: better now than after the ramp. */
async function checkNodes(run) {
  if (run.urls.length !== run.metricsUrls.length) throw new BadInput(`--metricsUrls: ${run.metricsUrls.length} for ${run.urls.length} nodes in --urls`);
  const wrong = (await Promise.all(run.urls.map(async u => [u, await reach(u)]))).filter(([, why]) => why);
  if (wrong.length) throw new BadInput(`--urls: ${wrong.map(([u, why]) => `${u} cannot be reached (${why})`).join('; ')}`);
  const before = await scrapeAll(run.metricsUrls), silent = before.filter(m => !m.ok);
  if (silent.length) throw new BadInput(`--metricsUrls: ${silent.map(m => `${m.url} (${m.error})`).join('; ')}`);
  return before;
}

function checkAgents(run, profile, count) {
  const needed = agentsNeeded(profile);
  if (count < needed) throw new BadInput(`--agents: ${count} are too few for ${profile.logicalConnections} connections: ${needed} are needed, ${SOCKETS_PER_NODE} sockets each`);
  if (run.agents.length === 0 && !fs.existsSync(run.agentProgram)) throw new BadInput(`--agentProgram ${run.agentProgram}: is not there (make builds it)`);
}

/* ---- while it runs ---- */

/* Of all cores, in ticks: [busy or stolen, all]. */
function cpuTicks() {
  const t = fs.readFileSync('/proc/stat', 'utf8').split('\n')[0].trim().split(/\s+/).slice(1, 9).map(Number), all = t.reduce((a, b) => a + b, 0);
  return [all - t[3] - t[4], all];
}

/* Notes and tells how things stand, each second. */
class Progress {
  constructor(agents, verbose, total) { Object.assign(this, { agents, verbose, total, ticks: cpuTicks(), timeline: [], startedMs: Date.now(), told: 0 }); }
  start() { this.timer = setInterval(() => this.note(), 1000); return this; }
  stop() { clearInterval(this.timer); }
  note() {
    const { agents } = this, at = (Date.now() - this.startedMs) / 1000;
    const point = { seconds: at, phase: agents.phase, ...Object.fromEntries(['ready', 'appends', 'frames', 'tokens', 'mismatches', 'failures', 'lost', 'connect_failures'].map(f => [f, agents.total(f)])) };
    const ticks = cpuTicks();
    point.machineBusyPercent = ticks[1] > this.ticks[1] ? (ticks[0] - this.ticks[0]) / (ticks[1] - this.ticks[1]) * 100 : 0;
    this.ticks = ticks;
    this.timeline.push(point);
    if (at - this.told < (this.verbose ? 1 : at < 60 ? 5 : 30)) return;
    this.told = at;
    const rate = this.timeline.length > 1 ? (point.appends - this.timeline[this.timeline.length - 2].appends) : 0;
    say(`${at.toFixed(0).padStart(6)} s  ${point.phase.padEnd(10)} ${point.ready}/${this.total} connections  ${point.appends} appends (${rate}/s)  ${point.tokens} tokens checked  `
      + `${point.mismatches} mismatches  ${point.failures} failures  lag p99 ${agents.most('lag_p99_ms').toFixed(2)} ms  cpu ${(agents.most('cpu') * 100).toFixed(0)} %${agents.dead.length ? `  ${agents.dead.length} AGENTS DEAD` : ''}`);
  }
}

/* Ready, or a reason: an agent that died does not hold the others up, one that makes no progress does. */
async function waitReady(agents) {
  let best = -1, since = Date.now();
  const done = agents.ready().then(() => true);
  for (;;) {
    if (await Promise.race([done, sleep(500).then(() => false)])) return null;
    const ready = agents.total('ready');
    if (ready > best) { best = ready; since = Date.now(); }
    if (Date.now() - since > CONNECT_STALL_MS) return `no connection was added for ${CONNECT_STALL_MS / 1000} s; ${ready} are open, ${agents.total('connect_failures')} attempts failed`;
  }
}

const sumOf = (scrapes, name) => (scrapes.every(s => s.ok) ? scrapes.reduce((all, s) => all + (valueOf(s.text, name) ?? 0), 0) : null);

/* Open streams must be back where they were within the orphan window and two seconds. */
async function waitBaseline(run, before, dead) {
  // An agent that died left streams open; nobody but the janitor will end those.
  const baseline = sumOf(before, 'sockudo_ai_active_streams'), until = Date.now() + (dead.length ? 0 : BACK_TO_BASELINE_MS);
  for (;;) {
    const after = await scrapeAll(run.metricsUrls), active = sumOf(after, 'sockudo_ai_active_streams');
    if ((active !== null && active <= baseline) || Date.now() > until) return { after, baseline, active };
    await sleep(500);
  }
}

async function execute(run, profile) {
  const before = await checkNodes(run), count = agentCount(run, profile);
  checkAgents(run, profile, count);
  const backendsBefore = await takeBackends(run, before).catch(error => { throw new BadInput(error.message); });
  const alerts = await watchAlerts(run).catch(error => { throw new BadInput(`--alertRules ${run.alertRules}: ${error.message}`); });
  const agents = Agents.start(ordersOf(run, profile, count), { addresses: run.agents, program: run.agentProgram, silenceMs: run.agentSilenceMs });
  const stopAll = () => { agents.stop(); process.exit(130); };
  process.once('SIGINT', stopAll).once('SIGTERM', stopAll);
  const progress = new Progress(agents, run.verbose, profile.logicalConnections).start();
  try {
    const stalled = await waitReady(agents);
    if (stalled) throw new BadInput(stalled);
    if (agents.dead.length === agents.list.length) throw new BadInput(`agents: ${agents.dead[0].why}`);
    await sleep(Math.min(SETTLE_MS, 100 + profile.durationSeconds * 50));
    const startMs = Date.now() + 300, intervalMs = Math.min(5000, Math.max(250, profile.durationSeconds * 1000 / 40));
    agents.go(startMs);
    const leak = run.plant === 'leak' ? startLeak(run.urls, run.key) : () => 0;
    const sampler = new Sampler(run.metricsUrls, intervalMs).start();
    const from = (startMs - sampler.startedMs) / 1000, to = from + profile.durationSeconds;
    const results = await agents.results();
    const series = sampler.stop(), leaked = leak();
    const { after, baseline, active } = await waitBaseline(run, before, agents.dead);
    progress.note();
    return { before, after, backends: { before: backendsBefore, after: await takeBackends(run, after) }, alerts: await alerts.fired(), activeBefore: baseline, activeAfter: active, results, dead: agents.dead, count, leaked, series, timeline: progress.timeline,
      nodes: series.map(n => ({ ...n, from, to })) };
  } finally {
    progress.stop();
    agents.stop();
    await alerts.stop();
    process.off('SIGINT', stopAll).off('SIGTERM', stopAll);
  }
}

/* ---- afterwards ---- */

function measured(profile, facts, counts) {
  const seconds = profile.durationSeconds, inRun = n => n.points.filter(p => p.seconds >= n.from && p.seconds <= n.to);
  const cpu = facts.nodes.map(n => { const p = inRun(n); return p.length < 2 ? 0 : (p[p.length - 1].cpuSeconds - p[0].cpuSeconds) / (p[p.length - 1].seconds - p[0].seconds); });
  return {
    appendsPerSecond: counts.appends / seconds, framesPerSecond: counts.append_frames / seconds, nodeCpuCores: cpu.reduce((a, b) => a + b, 0),
    agentCpuCores: facts.results.reduce((all, r) => all + r.cpu_seconds / r.run_seconds, 0), nodeMemoryBytes: facts.nodes.reduce((all, n) => all + (inRun(n).pop()?.rssBytes ?? 0), 0),
  };
}

const LATENCY_KEYS = ['unrolled_same', 'unrolled_cross', 'rolled_first_same', 'rolled_first_cross', 'rolled_all_same', 'rolled_all_cross', 'ack', 'lag', 'resume', 'cancel', 'join', 'read_back'];

/* Names of version 1 first; what is ours follows. */
function workloadOf(facts, counts, latency) {
  const faults = facts.results.flatMap(r => r.faults).slice(0, SAMPLES_MAX), v1 = h => { const { mean, p999, ...rest } = summary(h); return rest; };
  const causes = {};
  for (const r of facts.results) for (const [why, n] of Object.entries(r.causes)) causes[why] = (causes[why] ?? 0) + n;
  return {
    skipped: false, appendsAttempted: counts.tokens_due - counts.creates - counts.ends, failures: counts.request_failures + counts.abandoned, failureSamples: faults,
    appendRequestLatencyMs: v1(merged(latency, 'ack')), appendToLatestLatencyMs: v1(merged(latency, 'read_back')),
    serialAudit: { sampled: counts.frames, numeric: true, monotonic: counts.serial_steps_back === 0 },
    transcriptAudit: { sampled: counts.transcripts, mismatches: counts.mismatches, samples: faults },
    counts, connectionFailures: causes, latencyMs: Object.fromEntries(LATENCY_KEYS.map(k => [k, summary(merged(latency, k))])),
  };
}

function finish(run, profile, base, facts) {
  const { counts, latency } = totalsOf(facts.results);
  const costs = facts.results.length ? costsOf(facts.backends.before, facts.backends.after, counts) : null;
  const expected = { connections: Math.max(profile.logicalConnections, facts.results.reduce((all, r) => all + r.sockets, 0)), maxLost: profile.maxLostConnections, subscribers: facts.results.reduce((all, r) => all + r.subscribers, 0) };
  const busy = facts.timeline.filter(p => p.phase === 'running').map(p => p.machineBusyPercent).sort((a, b) => a - b);
  const verdict = facts.results.length === 0
    ? { status: 'failed', criteria: [{ name: 'agents_died', kind: 'correctness', limit: 0, measured: facts.dead.length, passed: false, detail: facts.dead.map(d => d.why).join('; ') }] }
    : judge({ ...facts, counts, costs, latency, profile, expected, machineBusy: run.agents.length || busy.length === 0 ? null : busy[Math.floor(busy.length * 0.9)] });
  return {
    ...base, status: verdict.status, criteria: verdict.criteria, metrics: { before: facts.before.map(withoutText), after: facts.after.map(withoutText) },
    workload: facts.results.length ? workloadOf(facts, counts, latency) : { skipped: true },
    prediction: { predicted: base.plan.prediction, measured: facts.results.length ? measured(profile, facts, counts) : {} },
    ...(costs ? { backends: costs } : {}),
    ...(facts.alerts ? { alerts: facts.alerts } : {}),
    agents: { count: facts.count, died: facts.dead, cpuSeconds: facts.results.map(r => r.cpu_seconds), rssBytes: facts.results.map(r => r.rss_bytes) },
    resources: { intervalSeconds: facts.series[0]?.points[1] ? facts.series[0].points[1].seconds - facts.series[0].points[0].seconds : 0, nodes: facts.series },
    timeline: facts.timeline, planted: { kind: run.plant, count: run.plant === 'leak' ? facts.leaked : counts.planted ?? 0 }, durationSeconds: profile.durationSeconds,
  };
}

function give(run, found, facts) {
  const result = JSON.parse(JSON.stringify(found)); // as whoever reads it will see it
  const wrong = violations(loadSchema('scale-result.v2.schema.json'), result);
  if (wrong.length) throw new Error(`the result does not fit its own schema: ${wrong.slice(0, 5).join('; ')}`);
  if (run.output) writeFiles(run.output, result, facts);
  process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
  return EXIT[result.status];
}

async function main() {
  const { run, profile, help } = readOptions(process.argv.slice(2));
  if (help) { say(helpText()); return 0; }
  // A plan without addresses is for as many nodes as it takes.
  const nodeCount = run.planning && !run.urlsGiven ? nodesFor(profile.logicalConnections).withHeadroom : run.urls.length;
  const base = skeleton(run, profile, planOf(profile, { nodeCount, metricsNodeCount: run.urlsGiven ? run.metricsUrls.length : nodeCount, calibration: readCalibration(run.calibration), machine: machineOf(run) }));
  if (run.planning) {
    say(planText(profile, base.plan));
    return give(run, { ...base, workload: { skipped: true } });
  }
  const facts = await execute(run, profile), result = finish(run, profile, base, facts);
  if (!result.workload.skipped) say(`\n${resultText(result)}`);
  return give(run, result, { ...facts, latency: totalsOf(facts.results).latency });
}

main().then(code => { process.exitCode = code; }, error => {
  say(error instanceof BadInput ? `ai-scale-runner: ${error.message}` : error.stack);
  process.exitCode = 2;
});
