// SPDX-License-Identifier: Apache-2.0
//
// dashboard.test.mjs - the Grafana dashboard against a server with something to do: every metric it names is exported, and every
// expression gives samples in a real Prometheus.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Api, complete, streaming } from './lib/api.mjs';
import { watch } from './lib/prometheus.mjs';
import { Server, root, sleep, until } from './lib/server.mjs';
import { V2 } from './lib/v2.mjs';

const board = JSON.parse(fs.readFileSync(path.join(root, 'ops/grafana/sockudo.json'), 'utf8'));
const panels = board.panels.filter(p => p.type !== 'row');
const meant = text => text.replaceAll('${metrics_prefix}', 'sockudo_').replaceAll('$instance', '.*').replaceAll('$__rate_interval', '3s');

describe('the dashboard', { timeout: 60_000 }, () => {
  let server, api, prometheus, client, working = true, work;
  before(async () => {
    server = await Server.start();
    api = new Api(server);
    client = await V2.connect(server);
    await client.subscribe('ai-load');
    work = (async () => {
      while (working) {
        const { message_serial: serial } = await api.create('ai-load', '', { extras: streaming() });
        for (let i = 0; i < 20; i++) await api.append('ai-load', serial, 'x');
        await api.append('ai-load', serial, '.', { extras: complete });
        await sleep(20);
      }
    })();
    prometheus = await watch({ servers: { here: server }, intervalMs: 250 });
    await until(async () => await prometheus.value('sum(rate(sockudo_appends_received_total[3s]))') > 0, 'appends in Prometheus', 20_000);
    await sleep(1500);
  });
  after(async () => {
    working = false;
    await work;
    await client.close();
    api.close();
    await prometheus.stop();
    await server.stop();
  });

  test('lays its panels side by side, each once', () => {
    const ids = board.panels.map(p => p.id), places = board.panels.map(p => `${p.gridPos.x},${p.gridPos.y}`);
    assert.equal(new Set(ids).size, ids.length);
    assert.equal(new Set(places).size, places.length);
    for (const panel of panels) assert.ok(panel.targets.length > 0 && panel.gridPos.x + panel.gridPos.w <= 24, panel.title);
  });

  test('names nothing that the server does not export', async () => {
    const text = await (await fetch(`http://127.0.0.1:${server.metricsPort}/metrics`)).text();
    const exported = new Set([...text.matchAll(/^(\w+)[{ ]/gm)].map(m => m[1]));
    const named = new Set(panels.flatMap(p => p.targets).flatMap(t => meant(t.expr).match(/\b(sockudo|process)_\w+/g) ?? []));
    assert.ok(named.size > 50, `${named.size} metrics`);
    assert.deepEqual([...named].filter(name => !exported.has(name)), []);
  });

  test('shows something in every panel', async () => {
    for (const { title, targets } of panels)
      for (const { expr } of targets) assert.ok((await prometheus.query(meant(expr))).length > 0, `${title}: ${expr} is empty`);
  });

  test('shows the load for what it is', async () => {
    const shown = title => prometheus.value(meant(panels.find(p => p.title === title).targets[0].expr));
    assert.equal(await shown('Connections'), 1);
    assert.ok(await shown('Appends') > 20);
    assert.ok(await shown('Stream bytes') > 20);
    assert.equal(await shown('Writes that succeed'), 100);
    assert.equal(await shown('Degraded channels'), 0);
  });
});
