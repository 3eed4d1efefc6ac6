// SPDX-License-Identifier: Apache-2.0
//
// prometheus.mjs - a Prometheus that scrapes servers of a test (test/load/lib/prometheus.mjs), by rules that are a hundred times faster.
//
//    const prometheus = await watch({ servers: { a: serverA, b: serverB }, rules: shortened(text, { constants: {...} }) })
//    const alerts = new Alerts(prometheus);  await alerts.shows(['SockudoDown'], async () => { …; return async () => { … }; })
//
// The transformation of the rules, so that minutes become parts of a second: every duration in a range, an offset, a subquery step
// or a `for` is divided by FASTER, and so is the scrape and evaluation interval (15 s) and the hour of a growth, `* 3600`. Thresholds
// stay, but for the deployment's own constants, which the caller may set. Nothing else is changed, so what is seen to fire is the
// shipped expression.
import assert from 'node:assert/strict';
import { Prometheus } from '../../load/lib/prometheus.mjs';
import { sleep, until } from './server.mjs';

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
    .replace(/offset (\d+)([smh])/g, shorter).replace(/for: (\d+)([smh])/g, shorter)
    .replace(/\* 3600\b/g, `* ${3600 / FASTER}`);
}

/* What goes on until it is told to stop: step() again and again, `every` ms. */
export function goOn(every, step) {
  let on = true;
  const ended = (async () => { while (on) { await step(); await sleep(every); } })();
  return async () => { on = false; await ended; };
}

/* The alerts of a Prometheus, as a test waits for them. */
export class Alerts {
  constructor(prometheus) { Object.assign(this, { prometheus, closing: [] }); }

  async isFiring(name) { return (await this.prometheus.firing())[name]; }
  fires(name, ms = 20_000) { return until(() => this.isFiring(name), `${name} to fire`, ms); }
  ends(name, ms = 20_000) { return until(async () => !await this.isFiring(name), `${name} to end`, ms); }
  async silent(names) {
    const all = await this.prometheus.firing();
    for (const name of names) assert.ok(!all[name], `${name} fires: ${JSON.stringify(all[name])}`);
  }

  /* begin() causes the fault and returns what ends it. */
  async shows(names, begin, { ms, endMs } = {}) {
    await this.silent(names);
    const end = await begin();
    let ended;
    this.closing.push(() => ended ??= end());
    await Promise.all(names.map(name => this.fires(name, ms)));
    await (ended ??= end());
    await Promise.all(names.map(name => this.ends(name, endMs)));
  }

  /* Whatever a test that failed has left behind. */
  async stop() {
    for (const end of this.closing) await end();
    await this.prometheus.stop();
  }
}

export const watch = ({ servers, rules, intervalMs = 15_000 / FASTER }) =>
  Prometheus.start({ targets: Object.fromEntries(Object.entries(servers).map(([name, s]) => [name, `127.0.0.1:${s.metricsPort}`])), rules, intervalMs });
