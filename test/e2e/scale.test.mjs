// SPDX-License-Identifier: Apache-2.0
//
// scale.test.mjs - the scale runner against one node: a short smoke that passes, and planted faults that must not.
//
// Other tests keep this machine busy, so the limits of time are wide here; everything else is judged as in earnest.
import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { loadSchema, violations } from '../load/lib/schema.mjs';
import { releaseProgram, root, Server, until } from './lib/server.mjs';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'scale-e2e-'));
const wide = ['--maxAppendDeliveryP99Ms', '300', '--maxScheduleLagP99Ms', '2000', '--maxAgentCpuPercent', '100'];
const small = ['--logicalConnections', '120', '--sessions', '30', '--activeStreams', '5', '--tokensPerSecond', '40', '--meanResponseTokens', '30', '--drainMs', '800'];
const failed = result => result.criteria.filter(c => c.passed === false).map(c => c.name);

/* Runs it to its end. atSecond: what to do meanwhile, with its process. */
function run(server, output, ...more) {
  const file = path.join(folder, `${output}.json`);
  const args = [path.join(root, 'test/load/ai-scale-runner.mjs'), '--urls', `http://127.0.0.1:${server.port}`, '--metricsUrls', `http://127.0.0.1:${server.metricsPort}`, '--output', file, ...wide, ...small, ...more];
  let child;
  const done = new Promise(resolve => {
    child = execFile(process.execPath, args, { maxBuffer: 1 << 26 }, (error, stdout, stderr) => resolve({ code: error ? error.code : 0, stderr, stdout, result: stdout ? JSON.parse(stdout) : null, file }));
  });
  return Object.assign(done, { child });
}

describe('a scale run against one node', { skip: !fs.existsSync(path.join(root, 'build/release/sockudo-load')) && 'the load program is not built' }, () => {
  let server;
  before(async () => { server = await Server.start({ use: releaseProgram }); });
  after(async () => { await server.stop(); fs.rmSync(folder, { recursive: true, force: true }); });

  test('ten seconds in which everything happens: passed, and on paper', async () => {
    const { code, result, stderr, file } = await run(server, 'smoke', '--duration', '10', '--cancelProbability', '0.3', '--reconnectProbability', '0.3', '--historyOnJoinProbability', '0.5',
      '--dropFraction', '0.2', '--resumeWithinSeconds', '20', '--runId', 'smoke');
    assert.deepEqual(failed(result), [], stderr);
    assert.equal(result.status, 'passed', stderr);
    assert.equal(code, 0);
    assert.deepEqual(violations(loadSchema('scale-result.v2.schema.json'), JSON.parse(fs.readFileSync(file))), []);
    const { counts } = result.workload;
    for (const what of ['appends', 'tokens_checked', 'cancels_ended', 'resumes', 'joins_whole', 'samples_read', 'frames_unrolled']) assert.ok(counts[what] > 0, `${what}: ${counts[what]}`);
    assert.ok(counts.tokens_checked >= counts.appends, 'each token is checked at each subscriber');
    assert.deepEqual(result.criteria.filter(c => c.passed === null), [], 'nothing was left out');
    for (const kind of ['latency', 'rates', 'connections', 'memory', 'descriptors', 'tasks', 'cpu']) assert.match(fs.readFileSync(path.join(folder, `smoke-${kind}.svg`), 'utf8'), /^<svg[\s\S]*<path[\s\S]*<\/svg>\n$/);
    assert.match(fs.readFileSync(path.join(folder, 'smoke.md'), 'utf8'), /# ai-smoke: passed/);
    assert.match(stderr, /5 s {2}running/);
  });

  test('planted faults, each found by the criterion it is for', async () => {
    const plants = { drop: ['transcript_mismatches'], reorder: ['transcript_mismatches', 'serial_steps_back'], delay: ['append_delivery_p99_ms_rolled', 'append_delivery_p99_ms_unrolled'] };
    const quiet = ['--duration', '4', '--cancelProbability', '0', '--reconnectProbability', '0', '--historyOnJoinProbability', '0'];
    const found = await Promise.all(Object.keys(plants).map(kind => run(server, kind, '--plant', kind, ...quiet)));
    Object.entries(plants).forEach(([kind, wanted], i) => {
      assert.deepEqual(failed(found[i].result).sort(), wanted.sort(), found[i].stderr);
      assert.deepEqual([found[i].result.status, found[i].code], ['failed', 1], kind);
      assert.ok(found[i].result.planted.count > 0);
    });
    // Where it happened: session, message, token.
    assert.match(found[0].result.workload.transcriptAudit.samples[0], /^missing: session \d+ message \d+ token \d+/);
  });

  test('a planted leak, and an agent that dies in the middle', async () => {
    const leaking = run(server, 'leak', '--plant', 'leak', '--duration', '5', '--memoryAllowanceMiB', '6');
    const { code, result } = await leaking;
    assert.deepEqual(failed(result).filter(n => n !== 'tasks_flat').sort(), ['descriptors_flat', 'memory_flat']);
    assert.equal(code, 1);

    const shot = run(server, 'shot', '--duration', '6', '--loadGenerators', '2', '--verbose');
    let said = '', killed;
    shot.child.stderr.on('data', text => { said += text; });
    await until(() => / running /.test(said), 'the run to begin', 15000);
    const [pid] = spawnSync('pgrep', ['-P', String(shot.child.pid), 'sockudo-load'], { encoding: 'utf8' }).stdout.trim().split('\n').map(Number);
    process.kill(killed = pid, 'SIGKILL');
    const dead = await shot;
    assert.ok(killed > 0);
    assert.equal(dead.code, 1);
    assert.ok(failed(dead.result).includes('agents_died'));
    assert.match(dead.result.agents.died[0].why, /killed by SIGKILL/);
    assert.equal(dead.result.agents.died[0].phase, 'running');
    assert.equal(dead.result.workload.transcriptAudit.mismatches, 0, 'what the other agent saw counts for itself');
    assert.match(dead.stderr, /AGENTS DEAD/);
  });
});
