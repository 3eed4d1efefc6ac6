// SPDX-License-Identifier: Apache-2.0
//
// scenarios.mjs - what is broken, and how: a table. Each has the fleet it needs, the load, the limit until it must be live again, and
// run(rig), which breaks things while the load goes on. rig.fault(name, detail, broken) notes when it began and when all was whole.
import { setTimeout as sleep } from 'node:timers/promises';

const LOAD = { streams: 120, subscribers: 3, perSecond: 8, messageTokens: 60, tokenBytes: 24, orphans: 3, requestTimeoutMs: 1500 };

/* SIGKILL the node that all publishers speak to, at a random phase of its commits; they go on at the next. */
async function nodeKill(rig) {
  const { nodes } = rig.fleet, times = rig.short ? 4 : 20;
  let home = 0;
  for (let i = 0; i < times; i++) {
    rig.tell({ type: 'home', node: home });
    await sleep(rig.random.between(400, 1000));
    const victim = nodes[home], open = (await victim.figures(['sockudo_ai_active_streams']))?.sockudo_ai_active_streams;
    await sleep(rig.random.between(0, 50));
    await rig.fault(`SIGKILL node${home}`, { publishers: rig.scenario.load.streams, open_streams: open }, async () => { await victim.kill(); rig.tell({ type: 'home', node: (home + 1) % nodes.length }); });
    await victim.start();
    home = (home + 1) % nodes.length;
  }
  rig.notes.push(history => `${history.counts.duplicates} retries were answered duplicate: killed between commit and acknowledgement`);
}

export const SCENARIOS = {
  'node-kill': { what: 'SIGKILL of the owner of all open streams, at random phases', nodes: 3, load: LOAD, liveMs: 5000, run: nodeKill },
};
export const SHORT = ['node-kill'];
