// SPDX-License-Identifier: Apache-2.0
//
// scale-plan.test.mjs - the arithmetic of the scale runner's plans (chapter 4, 10.4), its verdicts, and what it says to bad input. No server.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';
import { agentCount, ordersOf } from '../load/lib/agents.mjs';
import { costsOf } from '../load/lib/backends.mjs';
import { readCalibration } from '../load/lib/calibration.mjs';
import { emptyHist, mergeHist, percentile, summary } from '../load/lib/hist.mjs';
import { slopeOf, valueOf } from '../load/lib/metrics.mjs';
import { readOptions } from '../load/lib/options.mjs';
import { nodesFor, perNode, planOf, ratesOf } from '../load/lib/plan.mjs';
import { loadSchema, violations } from '../load/lib/schema.mjs';
import { judge } from '../load/lib/verdict.mjs';
import { root } from './lib/server.mjs';

const runner = path.join(root, 'test/load/ai-scale-runner.mjs'), profiles = path.join(root, 'test/load/profiles');
const optionsOf = (name, ...more) => readOptions(['--profile', path.join(profiles, `${name}.json`), ...more], {});
const headline = () => optionsOf('headline-1m', '--unrolledFraction', '0').profile;
const run = (...args) => spawnSync(process.execPath, [runner, ...args], { encoding: 'utf8', cwd: os.tmpdir(), env: { PATH: process.env.PATH } });
const machine = { cores: 2, memoryBytes: 24 * 2 ** 30, networkBytesPerSecond: 1.25e9, nodesPerMachine: 53 };

describe('figures of chapter 4, 10.4', () => {
  test('the headline asks for 53 nodes, 66 with headroom', () => {
    assert.deepEqual(nodesFor(1e6), { full: 53, withHeadroom: 66 });
  });
  test('rates of the headline', () => {
    const rates = ratesOf(headline());
    assert.equal(rates.appends, 5e6);
    assert.equal(rates.tokensDelivered, 15e6);
    assert.deepEqual([rates.tokensDeliveredMin, rates.tokensDeliveredMax], [5e6, 25e6]);
    assert.equal(rates.framesAllRolled, 3.75e6);
    assert.equal(rates.storeWrites, 5e6 + 12500);
    assert.equal(rates.textBytes, 40e6);
    assert.equal(rates.textBytes * 1800, 72e9);
    assert.equal(rates.totalAppends, 9e9);
    assert.equal(rates.historyBytesPerResponse, 6400);
  });
  test('a node of 53, and of 5', () => {
    const of53 = perNode(headline(), 53), of5 = perNode(headline(), 5);
    assert.deepEqual([of53.logicalConnections, of53.provisionConnections, of53.connectionsAfterOneLoss, of53.survivesOneLoss], [18868, 23585, 19231, false]);
    assert.deepEqual([of53.activeStreams, Math.round(of53.appendRatePerSecond), Math.round(of53.framesPerSecond)], [944, 94340, 70755]);
    assert.equal((of53.rollupMemoryBytes / 2 ** 20).toFixed(1), '3.7');
    assert.deepEqual([of5.logicalConnections, of5.provisionConnections, of5.connectionsAfterOneLoss], [200000, 250000, 250000]);
    assert.deepEqual([of5.activeStreams, of5.appendRatePerSecond, of5.framesPerSecond, Math.round(of5.rollupMemoryBytes / 2 ** 20)], [10000, 1e6, 750000, 39]);
  });
  test('the soak: a million appends a second for a day', () => {
    const rates = ratesOf(optionsOf('soak-20pct').profile);
    assert.deepEqual([rates.appends, rates.tokensDelivered, rates.totalAppends], [1e6, 3e6, 86.4e9]);
  });
  test('the bottleneck is the resource that wants most machines', () => {
    const calibration = readCalibration(), few = planOf(headline(), { nodeCount: 66, calibration, machine });
    const narrow = planOf(headline(), { nodeCount: 66, calibration, machine: { ...machine, networkBytesPerSecond: 1e6 } });
    assert.equal(narrow.capacity.bottleneck, 'network');
    const most = few.capacity.resources.reduce((a, b) => (b.machines > a.machines ? b : a));
    assert.equal(few.capacity.bottleneck, most.name);
    assert.ok(few.capacity.machines.nodes >= few.capacity.resources.find(r => r.name === 'node cpu').machines);
  });
});

describe('profiles', () => {
  test('all are there, named as the chapter says, and only smoke runs unasked', () => {
    const names = fs.readdirSync(profiles).sort();
    assert.deepEqual(names, ['cancel-storm.json', 'five-nodes-full.json', 'five-nodes.json', 'headline-1m.json', 'healthy-hour.json', 'many-connections.json', 'reconnect-storm.json', 'smoke.json', 'soak-20pct.json']);
    for (const file of names) {
      const { run: how, profile } = optionsOf(file.slice(0, -5));
      assert.equal(profile.name, `ai-${file.slice(0, -5)}`);
      assert.equal(how.planning, file !== 'smoke.json');
      assert.equal(profile.requiresFleet, file !== 'smoke.json');
    }
  });
  test('flag beats environment beats profile beats default', () => {
    const env = { SOCKUDO_NODE_URLS: 'http://10.0.0.1:6001', SOCKUDO_APP_KEY: 'k2' };
    const { run: how, profile } = readOptions(['--duration', '3', '--key', 'k3', '--subscribersMax=1'], env);
    assert.deepEqual(how.urls, ['http://10.0.0.1:6001']);
    assert.deepEqual([how.key, how.secret, profile.durationSeconds, profile.subscribersPerSession, profile.meanResponseTokens, profile.tokenBytes], ['k3', 'app-secret', 3, { min: 1, max: 1 }, 120, 8]);
  });
  test('what agents are told adds up to the profile', () => {
    const { run: how, profile } = optionsOf('headline-1m', '--runId', 'r'), orders = ordersOf(how, profile, agentCount(how, profile));
    const sum = field => orders.reduce((all, o) => all + o[field], 0);
    assert.equal(orders.length, 56);
    assert.deepEqual([sum('connections'), sum('sessions'), sum('streams'), sum('samples')], [1e6, 250000, 50000, 1000]);
    assert.ok(Math.max(...orders.map(o => o.connections + o.streams)) <= 19000);
    assert.equal(new Set(orders.map(o => o.source)).size, 56);
    orders.slice(1).forEach((o, i) => assert.equal(o.first_session, orders[i].first_session + orders[i].sessions));
  });
});

describe('documented commands', () => {
  test('the plan of the headline is JSON that fits the schema, from anywhere', () => {
    const { status, stdout, stderr } = run('--profile', 'test/load/profiles/headline-1m.json', '--plan');
    const result = JSON.parse(stdout);
    assert.equal(status, 0);
    assert.equal(result.status, 'planned');
    assert.deepEqual(violations(loadSchema('scale-result.v2.schema.json'), result), []);
    assert.ok(!stdout.includes('app-secret'));
    assert.match(stderr, /Bottleneck: /);
  });
  test('every result that is kept fits the schema, and its README names it', () => {
    const kept = path.join(root, 'docs/specs/ai-transport-results'), schema = loadSchema('scale-result.v2.schema.json'), readme = fs.readFileSync(path.join(kept, 'README.md'), 'utf8');
    const results = fs.readdirSync(kept).filter(f => f.endsWith('.json') && f !== 'calibration.json');
    assert.ok(results.length > 0);
    for (const file of results) {
      const text = fs.readFileSync(path.join(kept, file), 'utf8'), result = JSON.parse(text), stem = path.basename(file, '.json');
      assert.deepEqual(violations(schema, result), [], file);
      assert.ok(readme.includes(`\`${stem}\``), `${stem} in README.md`);
      assert.match(fs.readFileSync(path.join(kept, `${stem}.md`), 'utf8'), result.status === 'planned' ? /: a plan, nothing was run/ : new RegExp(`: ${result.status}$`, 'm'));
      assert.equal(result.status === 'planned', stem.endsWith('-plan'), file);
      assert.ok(!text.includes('app-secret'));
    }
  });
  test('a schema violation names the field', () => {
    const schema = loadSchema('scale-result.v2.schema.json'), result = JSON.parse(run('--plan').stdout);
    delete result.plan.nodeCount;
    result.status = 'fine';
    assert.deepEqual(violations(schema, result).map(v => v.split(':')[0]).sort(), ['plan.nodeCount', 'status']);
  });
});

describe('bad input is refused with the name of the field', () => {
  const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'scale-')), 'p.json'), smoke = JSON.parse(fs.readFileSync(path.join(profiles, 'smoke.json')));
  const withProfile = change => { fs.writeFileSync(file, JSON.stringify({ ...smoke, ...change })); return run('--profile', file, '--plan'); };
  const refuses = ({ status, stderr, stdout }, pattern) => { assert.match(stderr, pattern); assert.equal(status, 2); assert.equal(stdout, ''); };
  test('a missing field', () => refuses(withProfile({ sessions: undefined }), /sessions: is missing/));
  test('a negative field', () => refuses(withProfile({ activeStreams: -3 }), /activeStreams: is -3, at least 1/));
  test('an unknown field', () => refuses(withProfile({ tokenPerSecond: 3 }), /tokenPerSecond: is unknown/));
  test('a field within a field', () => refuses(withProfile({ subscribersPerSession: { min: 1, max: 2, mean: 1 } }), /subscribersPerSession\.mean: is unknown/));
  test('a field of another type', () => refuses(withProfile({ durationSeconds: '15' }), /durationSeconds: is string, number is needed/));
  test('fewer connections than the sessions have subscribers at least', () => refuses(withProfile({ logicalConnections: 20 }), /logicalConnections: 20 are fewer/));
  test('no JSON', () => { fs.writeFileSync(file, '{'); refuses(run('--profile', file), /p\.json: .*JSON/); });
  test('no file', () => refuses(run('--profile', '/none.json'), /none\.json: cannot be read/));
  test('an unknown flag', () => refuses(run('--sesions', '3'), /--sesions: unknown flag/));
  test('a flag without value, and with a word for a number', () => { refuses(run('--sessions'), /--sessions: a value is missing/); refuses(run('--sessions', 'x'), /--sessions: "x" is no number/); });
  test('a negative flag', () => refuses(run('--durationSeconds', '-1', '--plan'), /durationSeconds: is -1/));
  test('a node that is not there', () => refuses(run('--urls', 'http://127.0.0.1:9', '--metricsUrls', 'http://127.0.0.1:9'), /--urls: http:\/\/127\.0\.0\.1:9 cannot be reached \(ECONNREFUSED\)/));
  test('an address that is none', () => refuses(run('--urls', 'nonsense'), /--urls: nonsense is no URL/));
  test('agents that are too few', () => {
    const { run: how, profile } = optionsOf('headline-1m', '--agents', '10.0.0.1:7000,10.0.0.2:7000');
    assert.equal(agentCount(how, profile), 2); // the runner compares with what is needed before it connects
  });
});

describe('figures', () => {
  const of = (...values) => ({ count: values.length, min: Math.min(...values), max: Math.max(...values), mean: values.reduce((a, b) => a + b) / values.length, buckets: values.map(v => [v, 1]) });
  test('histograms of agents merge as if one had seen all', () => {
    const all = mergeHist(mergeHist(emptyHist(), of(1e6, 2e6)), of(3e6, 9e6));
    assert.deepEqual([all.count, percentile(all, 50), percentile(all, 75), percentile(all, 100)], [4, 2e6, 3e6, 9e6]);
    assert.deepEqual(summary(all).p50, 2);
    assert.equal(summary(emptyHist()).p99, null);
  });
  test('a slope and its error', () => {
    const line = slopeOf([[0, 10], [1, 12], [2, 14], [3, 16]]);
    assert.deepEqual([line.slope, line.error, line.mean, line.seconds], [2, 0, 13, 3]);
    assert.equal(slopeOf([[0, 1], [1, 2]]), null);
  });
  test('what a run cost the backends is the difference of their counters', () => {
    const taken = (nodes, walBytes, outBytes) => ({ nodes, postgres: { walBytes, fullPages: 1, fsync: 'on', version: '15.1' }, redis: { inBytes: 0, outBytes, version: '7.0' } });
    const before = taken({ operations: 10, transactions: 5, published: 1, received: 3 }, 1000, 50), after = taken({ operations: 130, transactions: 15, published: 41, received: 63 }, 13000, 30050);
    const costs = costsOf(before, after, { creates: 10, appends: 100, ends: 10, frames: 20, frame_bytes: 8000 });
    assert.deepEqual([costs.operationsPerTransaction, costs.walBytesPerAppend, costs.busOutBytesPerReceived, costs.frameBytes], [12, 100, 500, 400]);
    const unknown = costsOf({ ...before, postgres: null, redis: null }, after, { creates: 1, appends: 1, ends: 0, frames: 0, frame_bytes: 0 });
    assert.deepEqual([unknown.walBytesPerAppend, unknown.busOutBytesPerReceived, unknown.frameBytes], [null, null, null]);
  });
  test('a family is the sum of its samples', () => assert.equal(valueOf('# a\na_b 9\na{x="1"} 2\na{x="2"} 3\n', 'a'), 5));
});

/* Facts of a run without fault, and what must not pass. */
describe('verdict', () => {
  const { profile } = optionsOf('smoke');
  const hist = ms => ({ count: 100, min: ms * 1e6, max: ms * 1e6, sum: 100 * ms * 1e6, buckets: new Map([[ms * 1e6, 100]]) });
  const points = (grow = {}) => Array.from({ length: 40 }, (_, i) => ({ seconds: i * 0.375, rssBytes: 100 * 2 ** 20 + i * (grow.rss ?? 0), fds: 50 + i * (grow.fds ?? 0), tasks: 2 + i * (grow.tasks ?? 0), cpuSeconds: i, startTime: grow.restart && i > 20 ? 2 : 1 }));
  const counts = over => ({ ...Object.fromEntries(['connect_attempts', 'lost', 'retries', 'request_failures', 'request_timeouts', 'abandoned', 'mismatches', 'missing', 'again', 'cut', 'altered', 'stray',
    'serial_steps_back', 'transcripts_unfinished', 'resumes_refused', 'resumes_late', 'cancels_moot', 'joins_wrong', 'samples_wrong', 'drops'].map(k => [k, 0])),
  tokens_due: 1000, creates: 5, ends: 5, appends: 990, tokens_checked: 2000, transcripts: 150, frames: 900, samples_read: 12, resumes: 3, joins: 5, joins_whole: 5, cancels: 4, cancels_seen: 4, cancels_ended: 4, ...over });
  const facts = ({ n = {}, grow, latency = {}, ...more } = {}) => ({
    counts: counts(n), latency: { unrolled_same: hist(3), rolled_first_same: hist(43), lag: hist(1), ...latency }, profile, dead: [], activeBefore: 0, activeAfter: 0,
    results: [{ slots_unfinished: 0, ready: 1000, run_seconds: 15, cpu_seconds: 3 }], expected: { connections: 1000, maxLost: 0, subscribers: 150 },
    nodes: [{ url: 'http://n', from: 0, to: 15, points: points(grow) }], ...more });
  const failing = what => judge(facts(what)).criteria.filter(c => c.passed === false).map(c => c.name);
  test('a clean run passes', () => assert.deepEqual([judge(facts()).status, failing()], ['passed', []]));
  const cases = {
    transcript_mismatches: { n: { mismatches: 1, missing: 1 } }, serial_steps_back: { n: { serial_steps_back: 1 } }, store_text_mismatches: { n: { samples_wrong: 1 } },
    request_failures: { n: { request_failures: 1 } }, offered_load_held: { n: { appends: 900 } }, connections_lost: { n: { lost: 1 } }, resumes_refused: { n: { resumes_refused: 1 } },
    resumes_late: { n: { resumes_late: 1 } }, late_joins_wrong: { n: { joins_wrong: 1 } }, cancels_stuck: { n: { cancels_ended: 3 } }, transcripts_unfinished: { n: { transcripts_unfinished: 1 } },
    append_delivery_p99_ms_unrolled: { latency: { unrolled_same: hist(26) } }, append_delivery_p99_ms_rolled: { latency: { rolled_first_same: hist(66) } },
    memory_flat: { grow: { rss: 4 * 2 ** 20 } }, descriptors_flat: { grow: { fds: 1 } }, tasks_flat: { grow: { tasks: 1 } }, nodes_restarted: { grow: { restart: true } },
    active_streams_back: { activeAfter: 1 }, agents_died: { dead: [{ agent: 1, where: 'here', phase: 'running', why: 'killed by SIGKILL' }] }, connections_held: { expected: { connections: 1001, maxLost: 0, subscribers: 150 } },
  };
  for (const [name, what] of Object.entries(cases)) test(`${name} alone fails the run`, () => assert.deepEqual([judge(facts(what)).status, failing(what)], ['failed', [name]]));
  const costs = over => ({ profile: { ...profile, minAppendsPerTransaction: 10, maxWalBytesPerAppend: 324, maxBusBytesPerFrame: 1.2 },
    costs: { operationsPerTransaction: 12, transactions: 9, walBytesPerAppend: 300, walFullPages: 0, fsync: 'on', busReceived: 40, busPublished: 30, busOutBytesPerReceived: 500, busInBytesPerPublished: 400, frameBytes: 580, ...over } });
  test('what it cost the backends is judged where the profile has a limit', () => {
    assert.deepEqual(failing(costs()), []);
    for (const [name, over] of [['appends_per_transaction', { operationsPerTransaction: 9 }], ['wal_bytes_per_append', { walBytesPerAppend: 325 }], ['bus_bytes_per_frame', { busOutBytesPerReceived: 700 }],
      ['wal_bytes_per_append', { walBytesPerAppend: null }]]) {
      assert.deepEqual([judge(facts(costs(over))).status, failing(costs(over))], ['failed', [name]]);
      assert.deepEqual(failing({ ...costs(over), profile }), [], 'no limit, no judgement');
    }
  });
  test('those with window 0 have a limit of their own where the profile says so', () => {
    const slow = { latency: { unrolled_same: hist(30) } };
    assert.deepEqual(failing(slow), ['append_delivery_p99_ms_unrolled']);
    assert.deepEqual(failing({ ...slow, profile: { ...profile, maxUnrolledDeliveryP99Ms: 31 } }), []);
  });
  test('a late or busy generator makes it invalid, not failed', () => {
    assert.equal(judge(facts({ latency: { lag: hist(6), unrolled_same: hist(40) } })).status, 'invalid');
    assert.equal(judge(facts({ results: [{ slots_unfinished: 0, ready: 1000, run_seconds: 15, cpu_seconds: 14 }] })).status, 'invalid');
    assert.equal(judge(facts({ machineBusy: 99, latency: { unrolled_same: hist(40) } })).status, 'invalid');
    assert.equal(judge(facts({ latency: { lag: hist(6) }, n: { mismatches: 1 } })).status, 'failed');
  });
  test('a day that grows by two percent an hour fails, one percent passes', () => {
    const day = perHour => ({ nodes: [{ url: 'http://n', from: 0, to: 86400, points: Array.from({ length: 200 }, (_, i) => ({ seconds: i * 432, rssBytes: 1e9 * (1 + perHour * i * 432 / 3600), fds: 5, tasks: 1, cpuSeconds: i, startTime: 1 })) }] });
    assert.deepEqual([failing(day(0.02 * 1.5)), failing(day(0.005))], [['memory_flat'], []]);
  });
  test('connections that wander between nodes are no leak, a node that keeps them is', () => {
    const two = (a, b) => ({ nodes: [a, b].map((fds, i) => ({ url: `http://n${i}`, from: 0, to: 15, missed: 0, points: points({ fds }) })) });
    assert.deepEqual([failing(two(2, -2)), failing(two(2, 0))], [[], ['descriptors_flat']]);
  });
  test('what was not exercised has no figure', () => {
    const found = judge(facts({ n: { cancels: 0, cancels_seen: 0, cancels_ended: 0 } })).criteria.find(c => c.name === 'cancels_stuck');
    assert.deepEqual([found.passed, found.measured], [null, null]);
  });
});
