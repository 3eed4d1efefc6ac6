// SPDX-License-Identifier: Apache-2.0
//
// report.mjs - what a scenario leaves in RESULT_DIR: <scenario>.json (the result), .txt (for people), .svg (time line), history.json.
import fs from 'node:fs';
import path from 'node:path';
import { chart } from '../../../test/load/lib/plot.mjs';

const SCHEMA = 'sockudo.ai-transport.chaos-result.v1';

export function resultOf(record, criteria, plants, command) {
  const { history, nodes, faults } = record, { counts } = history;
  return {
    schema: SCHEMA, scenario: record.scenario, status: criteria.every(c => c.passed) && plants.every(p => p.caught) ? 'passed' : 'failed', generatedAt: new Date().toISOString(),
    seed: record.seed, replay: command, network: record.isolated ? 'namespaces' : 'loopback', limits: record.limits, criteria, plants,
    faults: faults.map(f => ({ ...f, from: (f.from - record.startedAt) / 1000, to: (f.to - record.startedAt) / 1000 })), notes: record.notes,
    counts: { ...counts, channels: history.channels.length, subscribers: history.subscribers.length, messages: history.channels.reduce((n, c) => n + c.messages.length, 0), receiptsAskedAgain: history.receipts.length, cuts: history.subscribers.reduce((n, s) => n + s.cuts.length, 0) },
    gauges: record.gauges, resources: record.resources, nodes, deliveryMs: latencies(history),
  };
}

/* From acknowledgement to frame, of all tokens at subscribers without a window. */
export function deliveries(history) {
  const acked = history.channels.map(c => new Map(c.messages.flatMap(m => m.ops).filter(o => o.acked).map(o => [o.ds, o.began])));
  return history.subscribers.filter(s => s.params.endsWith('window=0') && !s.slow).flatMap(s => s.frames.filter(f => acked[s.channel].has(f[2])).map(f => [f[0], f[0] - acked[s.channel].get(f[2])]));
}
export function percentile(list, p) { const sorted = list.slice().sort((a, b) => a - b); return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p / 100))] : null; }
function latencies(history) { const all = deliveries(history).map(d => d[1]); return { p50: percentile(all, 50), p99: percentile(all, 99), max: percentile(all, 100), count: all.length }; }

export function textOf(result) {
  const lines = [`${result.scenario}: ${result.status}   seed ${result.seed}, ${result.network}`, `  replay: ${result.replay}`];
  for (const f of result.faults) lines.push(`  ${f.from.toFixed(2).padStart(7)} s  ${f.name}, whole after ${((f.to - f.from) * 1000).toFixed(0)} ms, live again ${f.liveMs == null ? '-' : `${f.liveMs.toFixed(0)} ms later`}${f.open_streams === undefined ? '' : `; ${f.open_streams} open streams`}`);
  for (const c of result.criteria) lines.push(`  ${c.passed ? 'ok    ' : 'FAILED'} ${c.name.padEnd(34)} ${c.checked} checked${c.faults ? `, ${c.faults} faults` : ''}`, ...(c.passed ? [] : c.samples.map(s => `           ${s}`)));
  for (const p of result.plants) lines.push(`  ${p.caught ? 'ok    ' : 'FAILED'} planted ${p.name.padEnd(26)} ${p.caught ? `caught by ${p.by.join(', ')}` : `not caught by ${p.caughtBy}`}`);
  const { counts: c, resources: r, deliveryMs: d } = result;
  lines.push(`  ${c.acks} acknowledged, ${c.retries} retries, ${c.unanswered} unanswered, ${c.duplicates} answered duplicate, ${c.gaveUp} given up; ${c.frames} frames, ${c.resumes} resumes`,
    `  delivery p50 ${d.p50} ms, p99 ${d.p99} ms, max ${d.max} ms; memory ${(r.before.rss / 1048576).toFixed(1)} -> ${(r.after.rss / 1048576).toFixed(1)} MiB, descriptors ${r.before.fds} -> ${r.after.fds}; open streams back after ${result.gauges.tookMs} ms`,
    ...result.notes.map(n => `  ${n}`));
  return lines.join('\n');
}

function timeline(record, result) {
  const { history, startedAt } = record, bin = t => Math.floor((t - startedAt) / 250), acks = [], frames = [], late = [];
  for (const c of history.channels) for (const m of c.messages) for (const o of m.ops) if (o.acked) acks[bin(o.t)] = (acks[bin(o.t)] ?? 0) + 4;
  for (const s of history.subscribers) for (const f of s.frames) frames[bin(f[0])] = (frames[bin(f[0])] ?? 0) + 4;
  for (const [t, ms] of deliveries(history)) (late[bin(t)] ??= []).push(ms);
  const length = Math.max(acks.length, frames.length), line = (list, f = v => v ?? 0) => Array.from({ length }, (_, i) => [i / 4, f(list[i])]);
  const marks = result.faults.map(f => ({ from: f.from, to: f.to, name: f.name }));
  return [
    chart({ title: `${record.scenario}, seed ${record.seed}: throughput; shaded: broken`, x: 'seconds', y: 'per second', fromZero: true, marks, lines: [{ name: 'acknowledged', points: line(acks) }, { name: 'frames', points: line(frames) }] }),
    chart({ title: 'sent to delivered, p99 of a quarter second', x: 'seconds', y: 'ms', log: true, marks, lines: [{ name: 'p99 (window 0)', points: line(late, l => (l ? Math.max(0.1, percentile(l, 99)) : 0)).filter(p => p[1] > 0) }] }),
  ];
}

export function write(folder, record, result) {
  const name = path.join(folder, record.scenario);
  fs.writeFileSync(`${name}.json`, `${JSON.stringify(result, null, 2)}\n`);
  fs.writeFileSync(`${name}.txt`, `${textOf(result)}\n`);
  const [upper, lower] = timeline(record, result);
  if (upper) fs.writeFileSync(`${name}.svg`, upper);
  if (lower) fs.writeFileSync(`${name}-latency.svg`, lower);
  fs.writeFileSync(`${name}.history.json`, JSON.stringify({ ...record, progress: [] }));
}
