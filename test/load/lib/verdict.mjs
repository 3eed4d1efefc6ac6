// SPDX-License-Identifier: Apache-2.0
//
// verdict.mjs - every criterion of chapter 4, 10.3, judged.
//
//    failed    a criterion does not hold
//    invalid   the generator was late or busy, so that latencies say nothing; what is not latency is judged all the same
//    passed    all hold that were exercised; what was not has passed: null, and no figure
import { emptyHist, mergeHist, summary } from './hist.mjs';
import { trend } from './metrics.mjs';

const FD_SLACK = 8, TASK_SLACK = 8, OFFERED_MIN = 0.99;

export const totalsOf = results => {
  const counts = {}, latency = {};
  for (const result of results) {
    for (const [k, v] of Object.entries(result.counts)) counts[k] = (counts[k] ?? 0) + v;
    for (const [k, h] of Object.entries(result.latency)) latency[k] = mergeHist(latency[k] ?? emptyHist(), h);
  }
  return { counts, latency };
};
export const merged = (latency, ...names) => names.reduce((all, name) => mergeHist(all, asWritten(latency[name] ?? emptyHist())), emptyHist());
const asWritten = h => ({ ...h, mean: h.count ? h.sum / h.count : 0, buckets: [...h.buckets] });

const round = (v, digits = 3) => (v === null ? null : Number(v.toFixed(digits)));
const none = (name, limit, reason) => ({ name, kind: 'correctness', limit, measured: null, passed: null, detail: reason });
const atMost = (name, limit, measured, more = {}) => ({ name, kind: 'correctness', limit, measured: round(measured), passed: measured <= limit, ...more });

/* ---- correctness ---- */

function transcripts({ counts: n, expected }) {
  const kinds = `missing ${n.missing}, again ${n.again}, cut ${n.cut}, altered ${n.altered}, stray ${n.stray}`;
  if (n.tokens_checked === 0) return [{ ...none('transcript_mismatches', 0, 'no token was delivered'), passed: !expected.subscribers }];
  return [
    atMost('transcript_mismatches', 0, n.mismatches, { detail: `${kinds}; of ${n.tokens_checked} tokens at ${n.transcripts} subscribers, all compared byte by byte` }),
    atMost('transcripts_unfinished', 0, n.transcripts_unfinished),
    atMost('serial_steps_back', 0, n.serial_steps_back, { detail: `of ${n.frames} frames` }),
    n.samples_read ? atMost('store_text_mismatches', 0, n.samples_wrong, { detail: `of ${n.samples_read} messages read back` }) : none('store_text_mismatches', 0, 'no message was read back'),
  ];
}

function load({ counts: n, results, dead, expected }) {
  const operations = n.creates + n.appends + n.ends, offered = n.tokens_due ? operations / n.tokens_due : 0;
  const unfinished = results.reduce((all, r) => all + r.slots_unfinished, 0), ready = results.reduce((all, r) => all + r.ready, 0);
  return [
    atMost('agents_died', 0, dead.length, { detail: dead.map(d => `agent ${d.agent} (${d.where}) in phase ${d.phase}: ${d.why}`).join('; ') || undefined }),
    atMost('request_failures', 0, n.request_failures + n.abandoned + unfinished, { detail: `${n.retries} requests were repeated, ${n.request_timeouts} of them after a time-out` }),
    { name: 'offered_load_held', kind: 'correctness', limit: OFFERED_MIN, measured: round(offered, 4), passed: offered >= OFFERED_MIN, detail: `${operations} of ${n.tokens_due} operations that were due` },
    { name: 'connections_held', kind: 'correctness', limit: expected.connections, measured: ready, passed: ready >= expected.connections, detail: 'open at the end' },
    atMost('connections_lost', expected.maxLost, n.lost, { detail: 'ended although nobody cut them' }),
  ];
}

function upsets({ counts: n, profile: p }) {
  const list = [];
  const resumed = n.resumes ? [atMost('resumes_refused', 0, n.resumes_refused, { detail: `of ${n.resumes}` }), atMost('resumes_late', 0, n.resumes_late, { detail: `not back within ${p.resumeWithinSeconds} s` })]
    : [none('resumes_refused', 0, 'no subscriber was cut off')];
  list.push(...resumed);
  if (p.dropFraction > 0) list.push({ name: 'drop_storm', kind: 'correctness', limit: Math.floor(p.dropFraction * p.logicalConnections * 0.9), measured: n.drops, passed: n.drops >= Math.floor(p.dropFraction * p.logicalConnections * 0.9), detail: 'connections cut' });
  list.push(n.joins ? atMost('late_joins_wrong', 0, n.joins_wrong, { detail: `of ${n.joins}, ${n.joins_whole} of them followed to the end` }) : none('late_joins_wrong', 0, 'nobody joined late'));
  list.push(n.cancels ? atMost('cancels_stuck', 0, n.cancels - n.cancels_moot - Math.min(n.cancels_seen, n.cancels_ended), { detail: `of ${n.cancels}; ${n.cancels_moot} came when the message had just ended` })
    : none('cancels_stuck', 0, 'nobody cancelled'));
  if (p.cancelCount > 0) list.push({ name: 'cancel_storm', kind: 'correctness', limit: p.cancelCount, measured: n.cancels, passed: n.cancels >= p.cancelCount, detail: 'cancels sent' });
  return list;
}

/* ---- latency ---- */

function latencies({ latency, profile: p }) {
  const one = (name, limit, hist, detail) => (hist.count === 0 ? { ...none(name, limit, 'no such delivery'), kind: 'latency' }
    : { ...atMost(name, limit, summary(hist).p99, { detail }), kind: 'latency' });
  return [
    one('append_delivery_p99_ms_unrolled', p.maxUnrolledDeliveryP99Ms ?? p.maxAppendDeliveryP99Ms, merged(latency, 'unrolled_same', 'unrolled_cross'), 'window 0: every token, from when it was due'),
    one('append_delivery_p99_ms_rolled', p.maxAppendDeliveryP99Ms + p.rollupWindowMs, merged(latency, 'rolled_first_same', 'rolled_first_cross'), `window ${p.rollupWindowMs} ms: the first token of each frame`),
  ];
}

/* ---- resources ---- */

function flat(name, nodes, field, judge) {
  const lines = nodes.map(node => ({ url: node.url, line: trend(node, field, node.from, node.to) }));
  if (lines.length === 0 || lines.some(l => l.line === null)) return { ...none(name, null, 'fewer than three samples of a node after the warm-up'), passed: false };
  const judged = lines.map(({ url, line }) => ({ url, ...judge(line) }));
  const worst = judged.reduce((a, b) => (b.excess > a.excess ? b : a));
  return { name, kind: 'correctness', limit: worst.limit, measured: round(worst.measured), passed: judged.every(j => j.excess <= 0), detail: `${worst.detail}; worst node ${worst.url}` };
}

/* What the line surely grew by: less its uncertainty. */
const sureGrowth = line => Math.max(0, line.slope - 2 * line.error) * line.seconds;

/* Whoever comes back finds another node, so connections wander: what all nodes hold together is what must not grow. */
function together(nodes, field) {
  const ticks = Math.min(...nodes.map(n => n.points.length));
  if (nodes.length < 2 || nodes.some(n => n.missed > 0)) return nodes;
  return [{ url: 'all together', from: nodes[0].from, to: nodes[0].to, points: nodes[0].points.slice(0, ticks).map((p, i) => ({ seconds: p.seconds, [field]: nodes.reduce((all, n) => all + n.points[i][field], 0) })) }];
}

const wasRestarted = n => new Set(n.points.map(x => x.startTime)).size > 1;

function resources({ nodes, profile: p, activeBefore, activeAfter }) {
  const MiB = 2 ** 20;
  // In less than an hour a slope in percent says little: buffers that fill once would look like a leak. Then growth itself is judged.
  const memory = line => {
    const perHour = line.mean ? (line.slope * 3600 / line.mean) * 100 : 0, grown = sureGrowth(line) / MiB, over = `in ${round(line.seconds, 0)} s of ${round(line.mean / MiB, 0)} MiB`;
    if (line.seconds < 3600 && p.memoryAllowanceMiB > 0) return { limit: p.memoryAllowanceMiB, measured: grown, excess: grown - p.memoryAllowanceMiB, detail: `MiB grown ${over}` };
    return { limit: p.maxMemorySlopePercentPerHour, measured: perHour, excess: grown > 0 ? perHour - p.maxMemorySlopePercentPerHour : 0, detail: `percent an hour, ${over}` };
  };
  const steady = slack => line => ({ limit: slack, measured: line.slope * line.seconds, excess: sureGrowth(line) - slack, detail: `grown in ${round(line.seconds, 0)} s` });
  const restarted = nodes.filter(wasRestarted).map(n => n.url), names = ['memory_flat', 'descriptors_flat', 'tasks_flat'];
  // The connections of a node that dies go to others: what those use then is no leak.
  const list = p.maxNodeRestarts > 0 && restarted.length > 0 ? names.map(name => none(name, null, 'a node was started anew, as was allowed'))
    : [flat(names[0], nodes, 'rssBytes', memory), flat(names[1], together(nodes, 'fds'), 'fds', steady(FD_SLACK)), flat(names[2], nodes, 'tasks', steady(TASK_SLACK))];
  list.push(atMost('nodes_restarted', p.maxNodeRestarts, restarted.length, { detail: restarted.join(', ') || undefined }));
  list.push(activeAfter === null ? { ...none('active_streams_back', activeBefore, 'a node did not say'), passed: false }
    : { name: 'active_streams_back', kind: 'correctness', limit: activeBefore, measured: activeAfter, passed: activeAfter <= activeBefore, detail: 'open streams of all nodes, before and after' });
  return list;
}

/* ---- what it cost the backends ---- */

/* Only what the profile has a limit for; the figures themselves are in the result's `backends`. */
function spent({ costs: c, profile: p }) {
  const one = (name, limit, measured, holds, detail) => {
    if (!limit) return [];
    return [measured === null ? { ...none(name, limit, 'the runner was not told where, or nothing happened'), kind: 'cost', passed: false } : { name, kind: 'cost', limit, measured: round(measured, 2), passed: holds, detail }];
  };
  if (!c) return [];
  const frames = c.busOutBytesPerReceived !== null && c.frameBytes ? c.busOutBytesPerReceived / c.frameBytes : null;
  return [
    ...one('appends_per_transaction', p.minAppendsPerTransaction, c.operationsPerTransaction, c.operationsPerTransaction >= p.minAppendsPerTransaction, `${c.transactions} transactions`),
    ...one('wal_bytes_per_append', p.maxWalBytesPerAppend, c.walBytesPerAppend, c.walBytesPerAppend <= p.maxWalBytesPerAppend, `${c.walFullPages} full pages among them, fsync ${c.fsync}`),
    ...one('bus_bytes_per_frame', p.maxBusBytesPerFrame, frames, frames <= p.maxBusBytesPerFrame, `times the mean frame of ${round(c.frameBytes, 0)} bytes; from Redis ${round(c.busOutBytesPerReceived, 0)} bytes for each of `
      + `${c.busReceived} that reached a node, to Redis ${round(c.busInBytesPerPublished, 0)} for each of ${c.busPublished}`),
  ];
}

/* Only of a run that was watched. */
function alerts({ alerts: seen }) {
  if (!seen) return [];
  const detail = seen.fired.map(a => `${a.name} at ${a.instances.join(', ') || 'the fleet'}`).join('; ') || `of ${seen.rules}, evaluated every ${seen.intervalSeconds} s for ${round(seen.seconds, 0)} s`;
  return [atMost('alerts_fired', 0, seen.fired.length, { detail })];
}

/* ---- is the run worth anything ---- */

function validity({ latency, results, profile: p, machineBusy = null }) {
  const lag = summary(latency.lag ?? emptyHist()).p99, cpu = Math.max(0, ...results.map(r => (r.run_seconds ? r.cpu_seconds / r.run_seconds : 0))) * 100;
  return [
    { ...atMost('generator_lag_p99_ms', p.maxScheduleLagP99Ms, lag ?? Infinity, { detail: 'between when an operation could have left an agent and when it did' }), kind: 'validity' },
    { ...atMost('generator_cpu_percent', p.maxAgentCpuPercent, cpu, { detail: 'of a core, busiest agent' }), kind: 'validity' },
    { ...(machineBusy === null ? none('generator_machine_busy_percent', p.maxMachineBusyPercent, 'agents are elsewhere')
      : atMost('generator_machine_busy_percent', p.maxMachineBusyPercent, machineBusy, { detail: 'of all cores, by whomever, in nine of ten seconds' })), kind: 'validity' },
  ];
}

export function judge(facts) {
  const criteria = [...load(facts), ...transcripts(facts), ...upsets(facts), ...latencies(facts), ...resources(facts), ...spent(facts), ...alerts(facts), ...validity(facts)];
  const bad = kind => criteria.some(c => c.kind === kind && c.passed === false);
  let status = 'passed';
  if (bad('correctness')) status = 'failed';
  else if (bad('validity')) status = 'invalid';
  else if (bad('latency') || bad('cost')) status = 'failed';
  return { status, criteria };
}
