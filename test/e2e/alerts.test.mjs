// SPDX-License-Identifier: Apache-2.0
//
// alerts.test.mjs - the alert rules: what promtool says of them, and what a real Prometheus makes of five real servers in real trouble.
//
// The rules that it loads are the shipped ones, a hundred times faster (lib/prometheus.mjs says how). Each fault is caused, not
// pretended; each alert must be silent before, fire, and end when the fault has. What needs a fleet, or hours: alerts-fleet.test.mjs.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Api, complete, streaming } from './lib/api.mjs';
import { loseRow, rotSegment } from './lib/damage.mjs';
import { Alerts, goOn, shortened, watch } from './lib/prometheus.mjs';
import { AppendStream } from './lib/stream.mjs';
import { Server, appWith, demoApp, releaseProgram, root, sleep, until } from './lib/server.mjs';
import { V2 } from './lib/v2.mjs';

const folder = path.join(root, 'ops/prometheus');
const rules = fs.readFileSync(path.join(folder, 'sockudo.rules.yml'), 'utf8');
const names = [...rules.matchAll(/- alert: (\w+)/g)].map(m => m[1]);

function promtool(...args) {
  const { status, stdout, stderr } = spawnSync('promtool', args, { cwd: folder, encoding: 'utf8', timeout: 120_000 });
  assert.equal(status, 0, stdout + stderr);
  return stdout;
}

describe('the alert rules', () => {
  test('are rules', () => {
    assert.match(promtool('check', 'rules', 'sockudo.rules.yml'), /SUCCESS/);
  });

  test('fire, stay silent and end as their tests say', { timeout: 150_000 }, () => {
    const tests = fs.readFileSync(path.join(folder, 'sockudo.test.yml'), 'utf8');
    for (const name of names) assert.ok(tests.includes(`"${name}"`), `${name} has no test`);
    promtool('test', 'rules', 'sockudo.test.yml');
  });
});

const asApp = id => appWith({}, { id, key: `${id}-key`, secret: `${id}-secret` });

/* Rows of two channels rot while the server is down: one can go on without them, one cannot. */
async function damage(server) {
  const api = new Api(server);
  for (const channel of ['ai-rot', 'ai-lost']) {
    const { message_serial: serial } = await api.create(channel, '', { extras: streaming() });
    for (let i = 0; i < 99; i++) await api.append(channel, serial, `${i},`);
    if (channel === 'ai-rot') await api.append(channel, serial, '.', { extras: complete }); // folded: the newest rows of the other are not
  }
  api.close();
  server.process.kill('SIGTERM');
  await server.exited;
  rotSegment(server, 1, 1);
  loseRow(server, 2, 90);
  await server.restart();
}

describe('a real Prometheus sees', { timeout: 120_000 }, () => {
  const servers = {}, apis = {};
  let prometheus, alerts;
  const start = async (name, options) => {
    servers[name] = await Server.start({ use: releaseProgram, ...options });
    apis[name] = new Api(servers[name]);
  };
  before(async () => {
    await start('full', { config: { max_connections: 40 } });
    await start('limit', { config: { rate_limiter: { enabled: true, driver: 'memory', api_rate_limit: { max_requests: 5, window_seconds: 1 }, websocket_rate_limit: { max_requests: 1000, window_seconds: 1 } } } });
    await start('left', { apps: [asApp('left')], config: { ai_transport: { rollup: { orphan_ttl_ms: 3_600_000 } } } });
    await start('stall', { config: { workers: 1 } });
    await start('rot');
    const rules = shortened(fs.readFileSync(path.join(folder, 'sockudo.rules.yml'), 'utf8'), { constants: { storm_connects_per_second: 30, rollup_ratio_max: 8 } });
    prometheus = await watch({ servers, rules });
    alerts = new Alerts(prometheus);
  });
  after(async () => {
    await alerts?.stop();
    for (const api of Object.values(apis)) api.close();
    for (const server of Object.values(servers)) if (server.running) await server.stop();
  });

  // Side by side, as they happen to different servers or figures: their minutes are the same minutes.
  test('each fault, and its end', { concurrency: true }, async t => {
    await until(async () => await prometheus.value('count(up == 1)') === 5, 'five servers', 15_000);
    await sleep(2000);
    assert.deepEqual(await prometheus.firing(), {});
    await Promise.all([
      t.test('requests that pile up', () => alerts.shows(['SockudoTasksGrow'], async () => {
        const open = [], more = goOn(250, () => {
          const stream = new AppendStream(apis.full, `ai-hung-${open.length}`, { name: 'ai-output', message_id: 'm', format: 'ndjson' });
          open.push(stream.write('{"data":"x"}\n'));
        });
        return async () => { await more(); await Promise.all(open.map(s => s.breakOff())); };
      }, { ms: 80_000 })),

      t.test('more connections than planned', () => alerts.shows(['SockudoConnectionsOverBudget'], async () => {
        const clients = [];
        for (let i = 0; i < 34; i++) clients.push(await V2.connect(servers.full));
        return () => Promise.all(clients.map(c => c.close()));
      })),

      t.test('a limiter that goes on refusing', () => alerts.shows(['SockudoRateLimitStillTriggered'], async () => goOn(20, async () => {
        await apis.limit.get('/channels');
      }), { ms: 30_000 })),

      t.test('a reconnect storm that nothing shapes', () => alerts.shows(['SockudoReconnectStormNotShaped'], async () => goOn(1, async () => {
        const clients = await Promise.all(Array.from({ length: 4 }, () => V2.connect(servers.left)));
        await Promise.all(clients.map(c => c.close()));
      }))),

      t.test('streams that nobody ends', () => alerts.shows(['SockudoStreamsDoNotReturn'], async () => {
        const open = [];
        for (let i = 0; i < 3; i++) open.push(await apis.left.create('ai-left', 'begun', { extras: streaming() }));
        for (const m of open) await apis.left.append('ai-left', m.message_serial, ' and left');
        return async () => { for (const m of open) await apis.left.append('ai-left', m.message_serial, '.', { extras: complete }); };
      })),

      t.test('a process that stalls: late windows, slow broadcasts', () => alerts.shows(['SockudoFlushLate', 'SockudoBroadcastSlow'], async () => {
        const reader = await V2.connect(servers.stall);
        await reader.subscribe('ai-stall');
        const { message_serial: serial } = await apis.stall.create('ai-stall', '', { extras: streaming() });
        const feed = goOn(5, () => apis.stall.append('ai-stall', serial, 'x'));
        const stalls = goOn(250, async () => {
          servers.stall.process.kill('SIGSTOP');
          await sleep(100);
          servers.stall.process.kill('SIGCONT');
        });
        return async () => { await stalls(); await feed(); await reader.close(); }; // on a busy machine some flushes are late without any stall
      }, { ms: 30_000 })),

      t.test('resumes that fail', () => alerts.shows(['SockudoRecoveryFailures'], async () => goOn(100, async () => {
        const client = await V2.connect(servers.limit);
        await client.subscribe('ai-gone');
        client.send('sockudo:resume', JSON.stringify({ channel_positions: { 'ai-gone': { stream_id: '00000000-0000-4000-8000-000000000000', serial: 3 } } }));
        await client.next(f => f.event === 'sockudo:resume_failed');
        await client.close();
      }))),

      t.test('a window that holds too much', () => alerts.shows(['SockudoRollupRatioHigh'], async () => {
        const reader = await V2.connect(servers.full, { params: 'append_rollup_window=500' });
        await reader.subscribe('ai-wide');
        const stream = new AppendStream(apis.full, 'ai-wide', { name: 'ai-output', message_id: 'm', format: 'ndjson' });
        const feed = goOn(5, () => stream.write('{"data":"x"}\n{"data":"y"}\n'));
        return async () => { await feed(); await stream.end('{"status":"complete"}\n'); await reader.close(); };
      }, { ms: 30_000 })),

      t.test('rows that are gone, until their channels are reset', async () => {
        await alerts.silent(['SockudoHistoryDegraded', 'SockudoHistoryResetRequired']);
        await damage(servers.rot);
        apis.rot.close();
        await Promise.all([alerts.fires('SockudoHistoryDegraded'), alerts.fires('SockudoHistoryResetRequired')]);
        await apis.rot.history('ai-rot');
        await until(async () => await prometheus.value('sum(sockudo_history_degraded_channels)') === 2, 'both channels');
        for (const channel of ['ai-rot', 'ai-lost']) {
          const { status, text } = await apis.rot.post(`/channels/${channel}/history/reset`, { confirm_channel: channel, confirm_operation: 'reset', reason: 'rows are damaged', requested_by: 'test' });
          assert.equal(status, 200, text);
        }
        await Promise.all([alerts.ends('SockudoHistoryDegraded'), alerts.ends('SockudoHistoryResetRequired')]);
      }),
    ]);
  });

  test('a server that is gone', async () => {
    await alerts.silent(['SockudoDown']);
    await servers.rot.kill9();
    await alerts.fires('SockudoDown');
    await servers.rot.restart();
    await alerts.ends('SockudoDown');
  });
});
