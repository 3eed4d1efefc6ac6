// SPDX-License-Identifier: Apache-2.0
//
// alerts.mjs - the alert rules as an operator has them, over a run: a Prometheus beside it that says which of them fired, if any.
//
//    const alerts = await watchAlerts(run);  ...  await alerts.fired()  ...  await alerts.stop()
//
// The rules are evaluated as they are, with their own durations: a run that is to say something of those with `for: 5m` lasts longer.
import fs from 'node:fs';
import { Prometheus } from './prometheus.mjs';

const INTERVAL_MS = 15_000; // what the rules assume

/* fired(): null where nothing was asked for. Throws what is wrong with the rules, or that Prometheus is not there. */
export async function watchAlerts({ alertRules, metricsUrls }) {
  if (!alertRules) return { fired: async () => null, stop: async () => {} };
  const rules = fs.readFileSync(alertRules, 'utf8'), targets = Object.fromEntries(metricsUrls.map((url, i) => [`node-${i + 1}`, new URL(url).host]));
  const prometheus = await Prometheus.start({ targets, rules, intervalMs: INTERVAL_MS });
  return {
    fired: async () => ({
      rules: (await prometheus.rules()).length, intervalSeconds: INTERVAL_MS / 1000, seconds: (Date.now() - prometheus.startedMs) / 1000,
      scrapes: (await prometheus.value('sum(count_over_time(up[1d]))')) ?? 0, missed: (await prometheus.value('sum(count_over_time((up == 0)[1d:15s]))')) ?? 0,
      fired: Object.entries(await prometheus.fired()).map(([name, all]) => ({ name, instances: all.map(l => l.instance).filter(Boolean) })),
    }),
    stop: () => prometheus.stop(),
  };
}
