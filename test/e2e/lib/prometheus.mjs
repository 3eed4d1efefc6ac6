// SPDX-License-Identifier: Apache-2.0
//
// prometheus.mjs - a Prometheus that scrapes servers of a test (test/load/lib/prometheus.mjs), by rules that are a hundred times faster.
//
//    const prometheus = await watch({ servers: { a: serverA, b: serverB }, rules: shortened(text, { constants: {...} }) })
//
// The transformation of the rules, so that minutes become parts of a second: every duration in a range, an offset, a subquery step
// or a `for` is divided by FASTER, and so is the scrape and evaluation interval (15 s). Thresholds stay, but for the deployment's own
// constants, which the caller may set. Nothing else is changed, so what is seen to fire is the shipped expression.
import { Prometheus } from '../../load/lib/prometheus.mjs';

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

export const watch = ({ servers, rules, intervalMs = 15_000 / FASTER }) =>
  Prometheus.start({ targets: Object.fromEntries(Object.entries(servers).map(([name, s]) => [name, `127.0.0.1:${s.metricsPort}`])), rules, intervalMs });
