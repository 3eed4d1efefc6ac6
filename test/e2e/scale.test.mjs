// SPDX-License-Identifier: Apache-2.0
//
// scale.test.mjs - the scale runner: a short smoke that passes, planted faults that must not, agents that die, a fleet of three nodes.
//
// Other tests keep this machine busy, so the limits of time are wide here; everything else is judged as in earnest.
import assert from 'node:assert/strict';
import { execFile, spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { loadSchema, violations } from '../load/lib/schema.mjs';
import { freePort, releaseProgram, root, Server, sleep, until } from './lib/server.mjs';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'scale-e2e-'));
const agentProgram = process.env.SOCKUDO_LOAD_PROGRAM ?? path.join(root, 'build/release/sockudo-load');
const skip = !fs.existsSync(agentProgram) && 'the load program is not built';
const wide = ['--maxAppendDeliveryP99Ms', '1500', '--maxScheduleLagP99Ms', '2000', '--maxAgentCpuPercent', '100', '--maxMachineBusyPercent', '100', '--agentProgram', agentProgram];
const small = ['--logicalConnections', '120', '--sessions', '30', '--activeStreams', '5', '--tokensPerSecond', '40', '--meanResponseTokens', '30', '--drainMs', '800'];
const quiet = ['--cancelProbability', '0', '--reconnectProbability', '0', '--historyOnJoinProbability', '0'];
const failed = result => result.criteria.filter(c => c.passed === false).map(c => c.name);
const at = server => ['--urls', `http://127.0.0.1:${server.port}`, '--metricsUrls', `http://127.0.0.1:${server.metricsPort}`];
after(() => fs.rmSync(folder, { recursive: true, force: true }));

/* Gone, or waiting for an init that does not care. */
const hasEnded = pid => { try { return / Z /.test(fs.readFileSync(`/proc/${pid}/stat`, 'utf8')); } catch { return true; } };

/* Runs it to its end; .child is its process meanwhile. */
function run(name, ...more) {
  const file = path.join(folder, `${name}.json`);
  let child;
  const done = new Promise(resolve => {
    child = execFile(process.execPath, [path.join(root, 'test/load/ai-scale-runner.mjs'), '--output', file, ...wide, ...small, ...more], { maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
      resolve({ code: error ? error.code : 0, stderr, stdout, result: stdout ? JSON.parse(stdout) : null, file });
    });
  });
  return Object.assign(done, { child });
}

describe('a scale run against one node', { skip }, () => {
  let server;
  before(async () => { server = await Server.start({ use: releaseProgram }); });
  after(async () => { await server.stop(); });

  test('ten seconds in which everything happens: passed, and on paper', async () => {
    const { code, result, stderr, file } = await run('smoke', ...at(server), '--duration', '10', '--cancelProbability', '0.3', '--reconnectProbability', '0.3', '--historyOnJoinProbability', '0.5',
      '--fullFraction', '0.3', '--dropFraction', '0.2', '--resumeWithinSeconds', '20', '--runId', 'smoke');
    assert.deepEqual(failed(result), [], stderr);
    assert.equal(result.status, 'passed', stderr);
    assert.equal(code, 0);
    assert.deepEqual(violations(loadSchema('scale-result.v2.schema.json'), JSON.parse(fs.readFileSync(file))), []);
    const { counts } = result.workload;
    for (const what of ['appends', 'tokens_checked', 'cancels_ended', 'resumes', 'joins_whole', 'samples_read', 'frames_unrolled', 'frames_full']) assert.ok(counts[what] > 0, `${what}: ${counts[what]}`);
    assert.ok(counts.tokens_checked >= counts.appends, 'each token is checked at each subscriber');
    assert.deepEqual(result.criteria.filter(c => c.passed === null), [], 'nothing was left out');
    for (const kind of ['latency', 'rates', 'connections', 'memory', 'descriptors', 'tasks', 'cpu']) assert.match(fs.readFileSync(path.join(folder, `smoke-${kind}.svg`), 'utf8'), /^<svg[\s\S]*<path[\s\S]*<\/svg>\n$/);
    assert.match(fs.readFileSync(path.join(folder, 'smoke.md'), 'utf8'), /# ai-smoke: passed/);
    assert.match(stderr, /\d s {2}running/);
  });

  test('planted faults, each found by the criterion it is for', async () => {
    const plants = { drop: ['transcript_mismatches'], reorder: ['transcript_mismatches', 'serial_steps_back'], delay: ['append_delivery_p99_ms_rolled', 'append_delivery_p99_ms_unrolled'] };
    const found = await Promise.all(Object.keys(plants).map(kind => run(kind, ...at(server), '--plant', kind, '--duration', '4', ...quiet, '--drainMs', kind === 'delay' ? '3000' : '800')));
    Object.entries(plants).forEach(([kind, wanted], i) => {
      assert.deepEqual(failed(found[i].result).filter(n => !n.endsWith('_flat')).sort(), wanted.sort(), found[i].stderr); // three runs at one node: its resources move
      assert.deepEqual([found[i].result.status, found[i].code], ['failed', 1], kind);
      assert.ok(found[i].result.planted.count > 0);
    });
    // Messages of two tokens: what is reordered is often the last one, with only the end behind it.
    const last = await run('reorder-last', ...at(server), '--plant', 'reorder', '--duration', '4', ...quiet, '--meanResponseTokens', '2', '--logicalConnections', '600', '--sessions', '600');
    assert.deepEqual(failed(last.result).filter(n => !n.endsWith('_flat')).sort(), ['serial_steps_back', 'transcript_mismatches'], last.stderr);
    // Where it happened: session, message, token.
    assert.match(found[0].result.workload.transcriptAudit.samples[0], /^missing: session \d+ message \d+ token \d+/);
  });

  test('a leak in the node', async () => {
    const { code, result } = await run('leak', ...at(server), '--plant', 'leak', '--duration', '4', '--memoryAllowanceMiB', '5', ...quiet);
    assert.deepEqual(failed(result).filter(n => n !== 'tasks_flat').sort(), ['descriptors_flat', 'memory_flat']);
    assert.equal(code, 1);
  });

  test('an alert that fires under a run fails it; rules that are none are refused before it', async () => {
    const rulesOf = (name, text) => { const file = path.join(folder, name); fs.writeFileSync(file, text); return ['--alertRules', file]; };
    const rules = rulesOf('rules.yml', `groups: [{ name: test, interval: 200ms, rules: [
      { alert: Always, expr: 'vector(1)' }, { alert: Never, expr: 'vector(1) < 1' }, { alert: NotYet, expr: 'vector(1)', for: 1h }] }]`);
    const fires = await run('alert', ...at(server), ...rules, '--duration', '3', ...quiet);
    assert.deepEqual([failed(fires.result), fires.result.status, fires.code], [['alerts_fired'], 'failed', 1], fires.stderr);
    assert.deepEqual([fires.result.alerts.rules, fires.result.alerts.fired.map(a => a.name)], [3, ['Always']]);
    const refused = await run('no-rules', ...at(server), ...rulesOf('bad.yml', "groups: [{ name: test, rules: [{ alert: A, expr: 'sum(' }] }]"), '--duration', '3');
    assert.equal(refused.code, 2);
    assert.match(refused.stderr, /--alertRules .*bad\.yml: Prometheus does not start: .*(parse|unexpected|could not)/s);
  });

  test('an agent that dies in the middle is named, the other one judged by itself', async () => {
    const shot = run('shot', ...at(server), '--duration', '5', '--loadGenerators', '2', '--verbose', ...quiet);
    let said = '';
    shot.child.stderr.on('data', text => { said += text; });
    await until(() => / running /.test(said), 'the run to begin', 15000);
    const [pid] = spawnSync('pgrep', ['-P', String(shot.child.pid), 'sockudo-load'], { encoding: 'utf8' }).stdout.trim().split('\n').map(Number);
    assert.ok(pid > 0);
    process.kill(pid, 'SIGKILL');
    const dead = await shot;
    assert.equal(dead.code, 1);
    assert.ok(failed(dead.result).includes('agents_died'));
    assert.match(dead.result.agents.died[0].why, /killed by SIGKILL/);
    assert.equal(dead.result.agents.died[0].phase, 'running');
    assert.equal(dead.result.workload.transcriptAudit.mismatches, 0, 'what the other agent saw counts for itself');
    assert.ok(dead.result.workload.counts.tokens_checked > 0);
    assert.match(dead.stderr, /AGENTS DEAD/);
  });

  test('an agent that hangs is named, too, and the run ends', async () => {
    const shot = run('hang', ...at(server), '--duration', '3', '--loadGenerators', '2', '--verbose', '--agentSilenceMs', '4000', ...quiet);
    let said = '';
    shot.child.stderr.on('data', text => { said += text; });
    await until(() => / running /.test(said), 'the run to begin', 15000);
    const [pid] = spawnSync('pgrep', ['-P', String(shot.child.pid), 'sockudo-load'], { encoding: 'utf8' }).stdout.trim().split('\n').map(Number);
    assert.ok(pid > 0);
    process.kill(pid, 'SIGSTOP');
    const { code, result } = await shot;
    assert.equal(code, 1);
    assert.deepEqual(result.agents.died.map(d => d.why), ['said nothing for 4 s']);
    assert.ok(hasEnded(pid));
  });

  test('what cannot be reached is refused by the name of its flag, before a connection is made', async () => {
    for (const [flag, value, pattern] of [['--metricsUrls', 'http://127.0.0.1:9', /--metricsUrls: http:\/\/127\.0\.0\.1:9\/metrics \(/], ['--postgresUrl', 'postgres://127.0.0.1:9/x', /--postgresUrl: .*refused/],
      ['--redisUrl', 'redis://127.0.0.1:9', /--redisUrl: .*ECONNREFUSED/], ['--agents', '127.0.0.1:9', /agents: .*127\.0\.0\.1:9: ECONNREFUSED/], ['--redisUrl', 'nonsense', /--redisUrl: .*Invalid URL/]]) {
      const { code, stdout, stderr } = await run('unreachable', ...at(server), flag, value);
      assert.match(stderr, pattern);
      assert.deepEqual([code, stdout], [2, ''], flag);
    }
  });

  test('agents that wait at an address take their orders there', async () => {
    const ports = [await freePort(), await freePort()];
    const agents = ports.map(port => spawn(agentProgram, ['agent', '--listen', String(port)], { stdio: 'ignore' }));
    try {
      await sleep(300);
      const { code, result, stderr } = await run('remote', ...at(server), '--duration', '2', '--agents', ports.map(p => `127.0.0.1:${p}`).join(','), ...quiet);
      assert.deepEqual([code, result?.status, result?.agents.count], [0, 'passed', 2], stderr);
    } finally { for (const agent of agents) agent.kill(); }
  });

  test('what an agent does not understand it says, by the name of the field', () => {
    const say = line => spawnSync(agentProgram, ['agent'], { input: `${line}\n`, encoding: 'utf8' });
    for (const [line, message] of [['{', 'start: not a JSON object'], ['{"seeed":1}', 'seeed: unknown field'], ['{"agent":-1}', 'agent: a whole number from 0 to 4294967295 is needed']]) {
      const { status, stdout } = say(line);
      assert.deepEqual([status, JSON.parse(stdout)], [2, { type: 'error', message }]);
    }
  });
});

describe('a fleet', { skip }, () => {
  const dir = path.join(folder, 'fleet');
  const fleet = (...args) => spawnSync(path.join(root, 'tools/fleet'), args, { encoding: 'utf8' });
  after(() => { if (fs.existsSync(dir)) fleet('stop', dir); });

  test('three nodes over PostgreSQL and Redis: a run in which one is killed and comes back, and nothing is left behind', async () => {
    const started = fleet('start', dir, '--nodes', '3', '--program', releaseProgram, '--nginx');
    assert.equal(started.status, 0, started.stderr);
    assert.match(started.stdout, /postgres +up[\s\S]*redis +up[\s\S]*node-3 +up[\s\S]*nginx +up/);
    const { nodes, postgres, redis, nginx, host } = JSON.parse(fs.readFileSync(path.join(dir, 'fleet.json'))), list = pick => nodes.map(n => `http://${host}:${pick(n)}`).join(',');
    assert.equal((await fetch(`http://${host}:${nginx.port}/up/app-id`)).status, 200);
    assert.equal(fleet('start', dir).status, 2, 'a second one in its place');

    const going = run('fleet', '--urls', list(n => n.port), '--metricsUrls', list(n => n.metricsPort), '--duration', '8', '--reconnectProbability', '0.5', '--maxLostConnections', '200', '--maxNodeRestarts', '1',
      '--maxAppendDeliveryP99Ms', '5000', '--verbose');
    let said = '';
    going.child.stderr.on('data', text => { said += text; });
    await until(() => / running /.test(said), 'the run to begin', 15000);
    await sleep(2000);
    assert.equal(fleet('kill', dir, '2').status, 0);
    assert.equal(fleet('status', dir).status, 1);
    assert.equal(fleet('revive', dir, '2').status, 0);
    assert.equal(fleet('status', dir).status, 0);
    const { code, result, stderr } = await going;
    assert.deepEqual([code, failed(result)], [0, []], stderr);
    assert.ok(result.workload.latencyMs.unrolled_cross.count > 0, 'deliveries crossed nodes');
    assert.ok(result.workload.counts.lost > 0 && result.workload.counts.resumes > 0, 'the kill was felt');

    assert.equal(fleet('stop', dir).status, 0);
    assert.ok(!fs.existsSync(dir));
    assert.ok(!fs.existsSync(postgres.dir));
    for (const { pid } of [...nodes, postgres, redis, nginx]) assert.ok(hasEnded(pid), `process ${pid}`);
  });

  test('a local run that is ended in the middle leaves nothing but what it was told to', async () => {
    const place = path.join(folder, 'place'), pids = () => spawnSync('pgrep', ['-f', place], { encoding: 'utf8' }).stdout.trim();
    fs.mkdirSync(place, { mode: 0o755 });
    fs.chmodSync(folder, 0o755); // PostgreSQL has to get there as another user
    const local = spawn(path.join(root, 'tools/scale-local'), ['smoke', path.join(folder, 'local'), '--nodes', '2', '--program', releaseProgram],
      { env: { ...process.env, TMPDIR: place, SCALE_FLAGS: `--agentProgram ${agentProgram} --verbose` }, stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    local.stderr.on('data', text => { said += text; });
    const over = new Promise(resolve => { local.on('close', resolve); });
    await until(() => / running /.test(said), 'the run to begin', 30000);
    assert.notEqual(pids(), '');
    local.kill('SIGTERM');
    assert.equal(await over, 130, said);
    assert.deepEqual(fs.readdirSync(place), []);
    assert.equal(pids(), '');
  });

  test('bad input is refused by name, and a start that fails leaves nothing', () => {
    for (const [args, pattern] of [[['--store', 'mongo'], /--store mongo/], [['--nodes', '0'], /--nodes 0/], [['--color', 'red'], /--color: unknown/], [['--program', '/none'], /--program \/none/], [['--cpus', '512'], /--cpus 512: taskset finds no such cores/], [['--nodes'], /--nodes: a value is missing/]]) {
      const { status, stderr } = fleet('start', dir, ...args);
      assert.match(stderr, pattern);
      assert.equal(status, 2);
    }
    const bad = path.join(folder, 'bad.toml');
    fs.writeFileSync(bad, '[nonsense\n');
    assert.match(fleet('start', dir, '--nodes', '1', '--store', 'rocksdb', '--bus', 'none', '--program', releaseProgram, '--config', bad).stderr, /node 1 ended at its start/);
    assert.ok(!fs.existsSync(dir));
  });
});
