// SPDX-License-Identifier: Apache-2.0
//
// prometheus.mjs - a Prometheus of our own for a test (Debian's package), asked over its HTTP API.
//
//    const prometheus = await Prometheus.start({ servers: { a: serverA, b: serverB }, rules: shortened(text, { constants: {...} }) })
//    await prometheus.value('sum(sockudo_connected)')       the first sample as a number, or undefined
//    await prometheus.firing()                              { SockudoDown: [{ instance: 'b', ... }] }
//
// The transformation of the rules, so that minutes become parts of a second: every duration in a range, an offset, a subquery step
// or a `for` is divided by FASTER, and so is the scrape and evaluation interval (15 s). Thresholds stay, but for the deployment's own
// constants, which the caller may set. Nothing else is changed, so what is seen to fire is the shipped expression.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { after } from 'node:test';
import { freePort, until } from './server.mjs';

export const FASTER = 100;
const units = { s: 1000, m: 60_000, h: 3_600_000 };
const shorter = (all, n, unit) => all.replace(n + unit, `${Math.round(n * units[unit] / FASTER)}ms`);

export function shortened(rules, { constants = {} } = {}) {
  for (const [name, value] of Object.entries(constants)) {
    const line = new RegExp(`(sockudo:const:${name}', expr: vector\\()[\\d.]+`);
    if (!line.test(rules)) throw new Error(`the rules have no constant ${name}`);
    rules = rules.replace(line, `$1${value}`);
  }
  return rules.replace(/\[(\d+)([smh])(?=[\]:])/g, shorter).replace(/:(\d+)([smh])\]/g, shorter)
    .replace(/offset (\d+)([smh])/g, shorter).replace(/for: (\d+)([smh])/g, shorter);
}

const launched = new Set();
after(() => { for (const process of launched) process.kill('SIGKILL'); });

export class Prometheus {
  static async start({ servers, rules, interval = 15_000 / FASTER }) {
    const p = new Prometheus();
    p.port = await freePort();
    p.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'sockudo-prometheus-'));
    const targets = Object.entries(servers).map(([instance, s]) => ({ targets: [`127.0.0.1:${s.metricsPort}`], labels: { instance } }));
    const every = `${interval}ms`;
    fs.writeFileSync(path.join(p.folder, 'prometheus.yml'), JSON.stringify({
      global: { scrape_interval: every, scrape_timeout: every, evaluation_interval: every },
      rule_files: rules === undefined ? [] : ['rules.yml'],
      scrape_configs: [{ job_name: 'sockudo', static_configs: targets }],
    }));
    if (rules !== undefined) fs.writeFileSync(path.join(p.folder, 'rules.yml'), rules);
    p.process = spawn('prometheus', [`--config.file=${p.folder}/prometheus.yml`, `--storage.tsdb.path=${p.folder}/data`,
      `--web.listen-address=127.0.0.1:${p.port}`, `--query.lookback-delta=${20 * interval}ms`], { stdio: ['ignore', 'pipe', 'pipe'] });
    p.said = '';
    for (const stream of [p.process.stdout, p.process.stderr]) stream.on('data', part => { p.said += part; });
    p.exited = new Promise(resolve => p.process.on('exit', resolve).on('error', resolve));
    launched.add(p.process);
    await until(() => p.get('/-/ready').then(a => a.status === 200, () => false), () => `Prometheus:\n${p.said}`, 20_000);
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

  async firing() {
    const { data } = JSON.parse((await this.get('/api/v1/alerts')).text), all = {};
    for (const { state, labels } of data.alerts) if (state === 'firing') (all[labels.alertname] ??= []).push(labels);
    return all;
  }

  async stop() {
    this.process.kill('SIGTERM');
    await this.exited;
    fs.rmSync(this.folder, { recursive: true, force: true });
  }
}
