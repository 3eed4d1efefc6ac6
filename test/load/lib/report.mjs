// SPDX-License-Identifier: Apache-2.0
//
// report.mjs - plans and results for people.
import fs from 'node:fs';
import path from 'node:path';
import { percentile } from './hist.mjs';
import { chart, percentiles } from './plot.mjs';

const UNITS = [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e4, 'k', 1e3]];
export function amount(value) {
  if (value === null || value === undefined) return '-';
  for (const [from, letter, by = from] of UNITS) if (Math.abs(value) >= from) return `${+(value / by).toPrecision(4)} ${letter}`;
  return String(+value.toPrecision(4));
}
const bytes = v => (v === null || v === undefined ? '-' : v >= 2 ** 30 ? `${+(v / 2 ** 30).toPrecision(3)} GiB` : `${+(v / 2 ** 20).toPrecision(3)} MiB`);
const pad = (rows, right = 1) => {
  const widths = rows[0].map((_, i) => Math.max(...rows.map(r => String(r[i]).length)));
  return rows.map(r => `  ${r.map((c, i) => (i >= right ? String(c).padStart(widths[i]) : String(c).padEnd(widths[i]))).join('  ')}`.trimEnd());
};

/* ---- the plan ---- */

export function planText(profile, plan) {
  const { capacity: c, perNode: n } = plan, r = c.rates, shown = resource => (resource.unit.startsWith('bytes') ? bytes(resource.demand) + (resource.unit.endsWith('/s') ? '/s' : '') : `${amount(resource.demand)} ${resource.unit}`);
  return [
    `Plan of ${profile.name}: ${amount(profile.logicalConnections)} connections, ${amount(profile.sessions)} sessions, ${amount(profile.activeStreams)} active streams of ${profile.tokensPerSecond} tokens/s, ${profile.durationSeconds} s`,
    '',
    ...pad([
      ['appends', `${amount(r.appends)}/s`, `${amount(r.totalAppends)} in all`],
      ['tokens delivered', `${amount(r.tokensDelivered)}/s`, `${amount(r.tokensDeliveredMin)} to ${amount(r.tokensDeliveredMax)}/s`],
      [`frames, window ${profile.rollupWindowMs} ms`, `${amount(r.framesAllRolled)}/s`, `${amount(r.frames)}/s with ${profile.unrolledFraction * 100} % unrolled, late joins, first tokens`],
      ['store writes', `${amount(r.storeWrites)}/s`, `text ${bytes(r.textBytes)}/s, ${bytes(c.database.textBytesOfRun)} in all; stored ${bytes(c.database.storedBytesOfRun)}`],
      ['history per response', `${amount(r.historyBytesPerResponse)} bytes`, ''],
      ['bus messages', `${amount(c.redis.messagesPerSecond)}/s`, plan.nodeCount > 1 ? '' : 'one node: none'],
    ]),
    '',
    `With ${plan.nodeCount} nodes, each:`,
    ...pad([
      ['connections', amount(n.logicalConnections), `provision for ${amount(n.provisionConnections)}`],
      ['after the loss of a node', amount(n.connectionsAfterOneLoss), n.survivesOneLoss ? 'fits' : 'more than 19,000 sockets: does not fit'],
      ['active streams', amount(n.activeStreams), `95th percentile ${amount(n.activeStreamsP95)}; tracking ${bytes(n.rollupMemoryBytes)}`],
      ['appends', `${amount(n.appendRatePerSecond)}/s`, ''],
      ['frames', `${amount(n.framesPerSecond)}/s`, `${amount(n.framesPerSecondExpected)}/s expected`],
    ]),
    '',
    `Nodes of 19,000 sockets: ${c.nodesForConnections.full} (full), ${c.nodesForConnections.withHeadroom} with 20 % headroom. Agents: ${c.agents} at least.`,
    '',
    `Machines of ${c.machine.cores} cores, ${bytes(c.machine.memoryBytes)}, ${amount(c.machine.networkBytesPerSecond)} bytes/s (coefficients: ${c.calibration.file}, ${c.calibration.measuredAt}, ${c.calibration.host.cpus} cores of ${c.calibration.host.model ?? 'an unnamed kind'}):`,
    ...pad([['resource', 'demand', 'machines'], ...c.resources.map(x => [x.name, shown(x), amount(x.machines)])]),
    `Bottleneck: ${c.bottleneck}. Machines: ${c.machines.nodes} for nodes, ${c.machines.agents} for agents`
      + `, ${c.database.measured ? `${c.machines.database} for the database` : 'the database is not calibrated'}, ${c.redis.measured ? `${c.machines.redis} for Redis` : 'Redis is not calibrated'}.`,
    '',
  ].join('\n');
}

/* ---- the result ---- */

const mark = c => (c.passed === null ? 'not exercised' : c.passed ? 'ok' : 'FAILED');
const rowOf = c => [c.name, c.measured === null ? '-' : String(c.measured), c.limit === null ? '-' : String(c.limit), mark(c), c.detail ?? ''];

const BACKENDS = {
  operationsPerTransaction: 'appends per transaction', transactions: 'transactions', walBytesPerAppend: 'write-ahead log, bytes per append', walFullPages: 'full pages in it', fsync: 'fsync', postgresVersion: 'PostgreSQL',
  busPublished: 'payloads published', busReceived: 'payloads that reached a node', busInBytesPerPublished: 'bytes to Redis per payload published', busOutBytesPerReceived: 'bytes from Redis per payload that reached a node',
  frameBytes: 'mean frame at subscribers, bytes', redisVersion: 'Redis',
};
const backendRows = found => Object.entries(BACKENDS).filter(([k]) => found[k] !== null && found[k] !== undefined).map(([k, name]) => [name, typeof found[k] === 'number' ? amount(found[k]) : found[k]]);

function predictionRows({ predicted, measured }) {
  const off = (a, b) => (a && b ? `${((b / a - 1) * 100).toFixed(0)} %` : '-');
  const show = { nodeMemoryBytes: bytes };
  return Object.keys(predicted).map(k => [k, (show[k] ?? amount)(predicted[k]), (show[k] ?? amount)(measured[k]), off(predicted[k], measured[k])]);
}

export function resultText(result) {
  const { workload: w } = result;
  return [
    `${result.profile} ${result.runId}: ${result.status.toUpperCase()}${result.scale !== 1 ? ` (scale ${result.scale})` : ''}`, '',
    ...pad([['criterion', 'measured', 'limit', '', ''], ...result.criteria.map(rowOf)], 99), '',
    ...pad([['latency, ms', 'count', 'p50', 'p95', 'p99', 'p99.9', 'max'], ...Object.entries(w.latencyMs).filter(([, h]) => h.count).map(([k, h]) => [k, amount(h.count), h.p50, h.p95, h.p99, h.p999, h.max].map(v => v ?? '-'))]), '',
    ...pad([['prediction and measurement', 'predicted', 'measured', 'off by'], ...predictionRows(result.prediction)]), '',
    ...pad([['what it cost the backends', ''], ...backendRows(result.backends)]), '',
    ...(w.transcriptAudit.samples.length ? ['First faults:', ...w.transcriptAudit.samples.slice(0, 10).map(s => `  ${s}`), ''] : []),
  ].join('\n');
}

const started = ({ configuration: { command } }) => (command ? ['', `Again: \`${command}\``] : []);
const machineText = host => `${host.hostname}: ${host.cpus} CPUs (${host.cpuModel}), ${bytes(host.totalMemoryBytes)}, ${host.platform} ${host.release}, load average ${host.loadAverage.join(' ')} at the start.`;

function planMarkdown(result) {
  return [`# ${result.profile}: a plan, nothing was run`, '', `${result.generatedAt}, made on ${machineText(result.host)}`, ...started(result), '', '```', planText(result.configuration.workload, result.plan), '```', ''].join('\n');
}

export function resultMarkdown(result, plots) {
  const table = (head, rows) => [`| ${head.join(' | ')} |`, `|${head.map(() => ' --- |').join('')}`, ...rows.map(r => `| ${r.map(c => String(c ?? '-').replace(/\|/g, '\\|')).join(' | ')} |`), ''];
  const { workload: w, host } = result;
  return [
    `# ${result.profile}: ${result.status}`, '',
    `Run ${result.runId}, ${result.generatedAt}, ${result.durationSeconds} s, scale ${result.scale}. ${machineText(host)} `
      + `${result.configuration.urls.length} nodes, ${result.agents.count} agents, placement ${result.configuration.placement}${result.configuration.plant === 'none' ? '' : `, planted fault: ${result.configuration.plant}`}.`, ...started(result), '',
    '## Criteria', '', ...table(['criterion', 'measured', 'limit', 'verdict', 'detail'], result.criteria.map(rowOf)),
    '## Latency', '', ...table(['', 'count', 'p50', 'p95', 'p99', 'p99.9', 'max (ms)'], Object.entries(w.latencyMs).map(([k, h]) => [k, h.count, h.p50, h.p95, h.p99, h.p999, h.max])),
    '## Prediction and measurement', '', ...table(['', 'predicted', 'measured', 'off by'], predictionRows(result.prediction)),
    '## What it cost the backends', '', ...table(['', ''], backendRows(result.backends ?? {})),
    '## Counts', '', ...table(['', ''], Object.entries(w.counts)),
    ...(w.transcriptAudit.samples.length ? ['## First faults', '', ...w.transcriptAudit.samples.map(s => `    ${s}`), ''] : []),
    ...(result.agents.died.length ? ['## Agents that died', '', ...result.agents.died.map(d => `* agent ${d.agent} (${d.where}) while ${d.phase}: ${d.why}`), ''] : []),
    ...plots.map(p => `![${p.title}](${p.file})\n`),
  ].join('\n');
}

/* ---- files ---- */

const byNode = (series, field, scale = 1) => series.map(n => ({ name: new URL(n.url).host, points: n.points.filter(p => p[field] !== null).map(p => [p.seconds, p[field] / scale]) }));
const rateByNode = (series, field) => series.map(n => ({ name: new URL(n.url).host,
  points: n.points.slice(1).map((p, i) => [p.seconds, (p[field] - n.points[i][field]) / Math.max(1e-3, p.seconds - n.points[i].seconds)]) }));
const perSecond = (timeline, field) => timeline.slice(1).map((p, i) => [p.seconds, (p[field] - timeline[i][field]) / Math.max(1e-3, p.seconds - timeline[i].seconds)]);

function charts({ series, timeline, latency, limit }) {
  const named = keys => keys.map(name => ({ name, hist: latency[name] })).filter(l => l.hist);
  return [
    ['latency', 'Append to delivery, from when a token was due', percentiles('Append to delivery', named(['unrolled_same', 'unrolled_cross', 'rolled_first_same', 'rolled_first_cross', 'ack', 'lag']), percentile)],
    ['rates', 'Rates', chart({ title: 'Per second', x: 'seconds', y: '1/s', fromZero: true, lines: [['appends', 'appends'], ['frames received', 'frames'], ['tokens checked', 'tokens']].map(([name, f]) => ({ name, points: perSecond(timeline, f) })) })],
    ['connections', 'Connections', chart({ title: 'Connections', x: 'seconds', y: '', fromZero: true, lines: [{ name: 'open, by agents', points: timeline.map(p => [p.seconds, p.ready]) }, ...byNode(series, 'connected')] })],
    ['memory', 'Resident memory', chart({ title: 'Resident memory', x: 'seconds', y: 'MiB', fromZero: true, lines: byNode(series, 'rssBytes', 2 ** 20) })],
    ['descriptors', 'Open descriptors', chart({ title: 'Open descriptors', x: 'seconds', y: '', fromZero: true, lines: byNode(series, 'fds') })],
    ['tasks', 'Tasks', chart({ title: 'Tasks', x: 'seconds', y: '', fromZero: true, lines: byNode(series, 'tasks') })],
    ['cpu', 'CPU of nodes', chart({ title: 'CPU of nodes', x: 'seconds', y: 'cores', fromZero: true, lines: rateByNode(series, 'cpuSeconds') })],
  ].filter(([, , svg]) => svg !== null);
}

/* The result at `output`, its report and plots beside it; facts: of a run, undefined for a plan. */
export function writeFiles(output, result, facts) {
  const folder = path.dirname(output), stem = path.basename(output, '.json');
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(output, `${JSON.stringify(result, null, 2)}\n`);
  if (!facts) {
    fs.writeFileSync(path.join(folder, `${stem}.md`), planMarkdown(result));
    return;
  }
  const plots = charts(facts).map(([name, title, svg]) => {
    const file = `${stem}-${name}.svg`;
    fs.writeFileSync(path.join(folder, file), svg);
    return { title, file };
  });
  fs.writeFileSync(path.join(folder, `${stem}.md`), resultMarkdown(result, plots));
}
