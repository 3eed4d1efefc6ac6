// SPDX-License-Identifier: Apache-2.0
//
// alerts-fleet.test.mjs - alerts that need a bus, a database or hours: real faults, seen by a real Prometheus (see alerts.test.mjs).
//
// SockudoRollupRatioLow has only promtool's tests: nothing that one can do to a server delivers an append twice.
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Api, complete } from './lib/api.mjs';
import { Fleet } from './lib/fleet.mjs';
import { Alerts, goOn, shortened, watch } from './lib/prometheus.mjs';
import { Server, releaseProgram, root, until } from './lib/server.mjs';
import { AppendStream } from './lib/stream.mjs';
import { V2 } from './lib/v2.mjs';

const rules = fs.readFileSync(path.join(root, 'ops/prometheus/sockudo.rules.yml'), 'utf8');

describe('a real Prometheus sees of a fleet', { timeout: 120_000 }, () => {
  let fleet, api, alerts, reader;
  before(async () => {
    fleet = await Fleet.start({ use: releaseProgram, config: { instance: { process_id: 'first' } } });
    api = new Api(fleet.nodes[0]);
    reader = await V2.connect(fleet.nodes[1]);
    await reader.subscribe('news');
    alerts = new Alerts(await watch({ servers: fleet.nodes, rules: shortened(rules) }));
    await until(async () => await alerts.prometheus.value('count(up == 1)') === 2, 'both nodes', 15_000);
  });
  after(async () => {
    await alerts?.stop();
    api?.close();
    await reader?.close();
    await fleet?.stop();
  });
  const publish = (n = 1) => Promise.all(Array.from({ length: n }, (_, i) => api.post('/events', { name: 'x', channel: 'news', data: `${i}` })));

  test('a bus that takes nothing: what waits for it grows, then is lost', () => alerts.shows(['SockudoBusQueueGrows', 'SockudoBusDrops'], async () => {
    const more = goOn(10, () => publish(50));
    fleet.redis.freeze();
    return async () => { fleet.redis.thaw(); await more(); };
  }, { ms: 40_000 }));

  test('a database that is gone: writes fail', () => alerts.shows(['SockudoHistoryWritesFail'], async () => {
    const more = goOn(50, () => api.create('ai-a', 'x', { extras: complete }).catch(() => null));
    await fleet.postgres.kill();
    return async () => { await fleet.postgres.restart(); await more(); };
  }, { ms: 30_000 }));

  test('another node with the name of one of these', () => alerts.shows(['SockudoNodeConflict'], async () => {
    const twin = await fleet.add();
    return () => twin.stop();
  }));
});

describe('a real Prometheus sees within hours', { timeout: 240_000 }, () => {
  let server, api, alerts;
  before(async () => {
    server = await Server.start({ use: releaseProgram, config: { ai_transport: { rollup: { orphan_ttl_ms: 3_600_000 } } } });
    api = new Api(server);
    alerts = new Alerts(await watch({ servers: { leaks: server }, rules: shortened(rules, { constants: { warm_up_seconds: 5 } }) }));
  });
  after(async () => {
    await alerts?.stop();
    api?.close();
    await server?.stop();
  });

  /* Requests that never end are descriptors and memory that never come back. */
  test('memory and descriptors that only grow', () => alerts.shows(['SockudoMemoryGrows', 'SockudoDescriptorsGrow'], async () => {
    const open = [], more = goOn(250, async () => {
      const stream = new AppendStream(api, `ai-leak-${open.length}`, { name: 'ai-output', message_id: 'm', format: 'ndjson' });
      open.push(stream.write(`{"data":"${'x'.repeat(8000)}"}\n`));
    });
    return async () => { await more(); await Promise.all(open.map(s => s.end('{"status":"complete"}\n'))); };
  }, { ms: 150_000, endMs: 80_000 }));
});
