// SPDX-License-Identifier: Apache-2.0
//
// prometheus.mjs - a Prometheus of our own (Debian's package), asked over its HTTP API.
//
//    const prometheus = await Prometheus.start({ targets: { a: '127.0.0.1:9601' }, rules: text, intervalMs: 15_000 })
//    await prometheus.value('sum(sockudo_connected)')       the first sample as a number, or undefined
//    await prometheus.firing()                              { SockudoDown: [{ instance: 'b', ... }] }, now
//    await prometheus.fired()                               the same, at any time since the start
//    await prometheus.rules()                               [{ name, query, duration, ... }]
//    await prometheus.stop()                                its folder goes, too; so it does when this process ends
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const READY_MS = 20_000;

const launched = new Set();
process.on('exit', () => { for (const one of launched) one.process.kill('SIGKILL'); });

const freePort = () => new Promise((resolve, reject) => {
  const server = net.createServer().on('error', reject).listen(0, '127.0.0.1', () => { const { port } = server.address(); server.close(() => resolve(port)); });
});

export class Prometheus {
  static async start({ targets, rules, intervalMs = 15_000 }) {
    const p = new Prometheus(), every = `${intervalMs}ms`;
    p.startedMs = Date.now();
    p.port = await freePort();
    p.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'sockudo-prometheus-'));
    fs.writeFileSync(path.join(p.folder, 'prometheus.yml'), JSON.stringify({
      global: { scrape_interval: every, scrape_timeout: every, evaluation_interval: every },
      rule_files: rules === undefined ? [] : ['rules.yml'],
      scrape_configs: [{ job_name: 'sockudo', static_configs: Object.entries(targets).map(([instance, address]) => ({ targets: [address], labels: { instance } })) }],
    }));
    if (rules !== undefined) fs.writeFileSync(path.join(p.folder, 'rules.yml'), rules);
    p.process = spawn('prometheus', [`--config.file=${p.folder}/prometheus.yml`, `--storage.tsdb.path=${p.folder}/data`,
      `--web.listen-address=127.0.0.1:${p.port}`, `--query.lookback-delta=${20 * intervalMs}ms`], { stdio: ['ignore', 'pipe', 'pipe'] });
    p.said = '';
    for (const stream of [p.process.stdout, p.process.stderr]) stream.on('data', part => { p.said += part; });
    p.exited = new Promise(resolve => p.process.on('exit', resolve).on('error', error => { p.said += error.message; resolve(); }));
    p.exited.then(() => { launched.delete(p); p.gone = true; });
    launched.add(p);
    for (const until = Date.now() + READY_MS; !await p.get('/-/ready').then(a => a.status === 200, () => false); await sleep(50)) {
      if (p.gone || Date.now() > until) { await p.stop(); throw new Error(`Prometheus does not start: ${p.said.trim()}`); }
    }
    return p;
  }

  get(target) {
    return new Promise((resolve, reject) => http.get({ host: '127.0.0.1', port: this.port, path: target, agent: false }, response => {
      let text = '';
      response.on('data', part => { text += part; }).on('end', () => resolve({ status: response.statusCode, text }));
    }).on('error', reject));
  }

  /* The samples of an expression; throws what Prometheus says is wrong with it. */
  async query(expr) {
    const { text } = await this.get(`/api/v1/query?query=${encodeURIComponent(expr)}`), answer = JSON.parse(text);
    if (answer.status !== 'success') throw new Error(`${expr}: ${answer.error}`);
    return answer.data.result;
  }
  async value(expr) {
    const [first] = await this.query(expr);
    return first && Number(first.value[1]);
  }

  /* The alerting rules that it goes by. */
  async rules() { return JSON.parse((await this.get('/api/v1/rules?type=alert')).text).data.groups.flatMap(g => g.rules); }

  async firing() {
    const { data } = JSON.parse((await this.get('/api/v1/alerts')).text), all = {};
    for (const { state, labels } of data.alerts) if (state === 'firing') (all[labels.alertname] ??= []).push(labels);
    return all;
  }
  async fired() {
    const all = {}, seconds = Math.ceil((Date.now() - this.startedMs) / 1000);
    for (const { metric } of await this.query(`count_over_time(ALERTS{alertstate="firing"}[${seconds}s])`)) (all[metric.alertname] ??= []).push(metric);
    return all;
  }

  async stop() {
    this.process.kill('SIGTERM');
    await this.exited;
    fs.rmSync(this.folder, { recursive: true, force: true });
  }
}
