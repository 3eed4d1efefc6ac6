// SPDX-License-Identifier: Apache-2.0
//
// scenarios.mjs - what is broken, and how: a table. Each has the fleet it needs, the load, the limit until it must be live again, and
// run(rig), which breaks things while the load goes on. rig.fault(name, detail, broken) notes when it began and when all was whole.
import { setTimeout as sleep } from 'node:timers/promises';
import { until } from './fleet.mjs';
import { deliveries, percentile } from './report.mjs';

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

/* One node after the other ends as it is told and comes back, as an upgrade does it, while everybody goes on. */
async function rollingRestart(rig) {
  const GAP_MS = 2000, ends = [];
  for (const node of rig.fleet.nodes) {
    await sleep(rig.random.between(500, 1000));
    await rig.fault(`SIGTERM ${node.host}`, {}, async () => { await node.stop(); ends.push({ host: node.host, ...await node.exited }); });
    await node.start();
    await sleep(rig.short ? 500 : 2000);
  }
  rig.extra.push(() => ({ name: 'each_node_ended_with_0', passed: ends.length === rig.fleet.nodes.length && ends.every(e => e.code === 0), detail: ends.map(e => `${e.host} ${e.signal ?? e.code}`).join(', ') }));
  rig.extra.push(history => noLongerGap(history, rig.faults[0].from, rig.faults.at(-1).to, GAP_MS));
}

/* How long any subscriber went without a frame while its publisher spoke: no more than what a reconnect takes. */
function noLongerGap(history, from, to, limitMs) {
  let worst = 0;
  for (const s of history.subscribers) {
    const times = [from, ...s.frames.map(f => f[0]).filter(t => t > from && t < to), to];
    times.forEach((t, i) => { worst = Math.max(worst, i ? t - times[i - 1] : 0); });
  }
  return { name: 'no_gap_beyond_a_reconnect', passed: worst <= limitMs, detail: `longest time without a frame ${worst.toFixed(0)} ms, allowed ${limitMs}`, measured: { worst } };
}

/* The master dies and Sentinel promotes the replica, by turns; then both die and come back empty. */
async function redisFailover(rig) {
  const { redis, sentinel } = rig.fleet, name = r => `${r.address}:${r.port}`;
  for (let i = 0; i < (rig.short ? 1 : 4); i++) {
    await sleep(rig.random.between(500, 1500));
    const before = await sentinel.master(), old = redis.find(r => name(r) === before), other = redis.find(r => r !== old);
    await rig.fault(`SIGKILL ${old.host}, the master`, {}, async () => {
      await old.kill();
      await until(async () => await sentinel.master() === name(other) && (await other.cli('role')).startsWith('master'), 'Sentinel promotes the replica', 15_000);
    });
    await sleep(500);
    await old.start({ replicaOf: other });
    await until(async () => /master_link_status:up/.test(await old.cli('info', 'replication')), 'the old master is a replica', 15_000);
    await until(async () => /slaves=1/.test(await sentinel.cli('info', 'sentinel')), 'Sentinel knows it', 15_000);
    await sleep(rig.short ? 1000 : 3000);
  }
  await rig.fault('SIGKILL of both, back empty', {}, async () => {
    await Promise.all(redis.map(r => r.kill()));
    await sleep(rig.short ? 1000 : rig.random.between(1000, 10_000));
    const named = await sentinel.master(), master = redis.find(r => name(r) === named) ?? redis[0];
    await master.start();
    await redis.find(r => r !== master).start({ replicaOf: master });
    await until(async () => { const now = await sentinel.master(); return redis.some(r => name(r) === now) && (await redis.find(r => name(r) === now).cli('role')).startsWith('master'); }, 'Sentinel names a master', 20_000);
  });
  await sleep(2000);
  const dropped = await figure(rig, 'sockudo_horizontal_transport_messages_dropped_total');
  rig.notes.push(`${dropped} messages were dropped by the bus and counted; every subscriber has the text all the same`);
}

const figure = async (rig, name) => (await Promise.all(rig.fleet.nodes.map(n => n.figures([name])))).reduce((all, f) => all + (f?.[name] ?? 0), 0);

/* Every way to cut one node off, both directions or one. What is cut from the store acknowledges nothing. */
async function partition(rig) {
  const { net, fleet: { nodes } } = rig;
  const cut = (network, to) => [
    [`${network} link down`, [network], (host, up) => net.link(host, network, up)],
    [`nothing from the node reaches ${to}`, [network], (host, up) => net.oneWay(host, to, network, up)],
    [`nothing from ${to} reaches the node`, [network], (host, up) => net.oneWay(to, host, network, up)],
  ];
  const all = [...cut('bus', 'redis0'), ...cut('store', 'pg'), ['bus and store links down', ['bus', 'store'], (host, up) => { net.link(host, 'bus', up); net.link(host, 'store', up); }]];
  for (const [what, networks, set] of rig.short ? [all[0], all[3]] : all) {
    const victim = rig.random.below(nodes.length), { host } = nodes[victim];
    await rig.fault(`node${victim}: ${what}`, { networks }, async () => {
      set(host, false);
      const from = rig.now();
      await sleep(rig.random.between(1500, rig.short ? 2000 : 4000));
      if (networks.includes('store')) rig.silenced.push({ node: victim, from, to: rig.now() });
      set(host, true);
    });
    await sleep(rig.short ? 2500 : 6000);
  }
}

/* One socket in a hundred reads 1 kB/s, or not at all: it is cut, and nobody else notices. */
async function slowSubscriber(rig) {
  const counted = 'sockudo_slow_consumer_disconnects_total', before = await figure(rig, counted), { slowSockets } = rig.scenario.load;
  await sleep(BASE_MS);
  const fault = await rig.fault(`${slowSockets} sockets read 1 kB/s or stop`, {}, async () => {
    rig.tell({ type: 'slow' });
    for (const end = Date.now() + 20_000; Date.now() < end && await figure(rig, counted) - before < slowSockets;) await sleep(1000); // asking costs the nodes something, too
    await sleep(1000);
    rig.tell({ type: 'unslow' });
  });
  const cut = await figure(rig, counted) - before;
  rig.extra.push(() => ({ name: 'slow_ones_are_cut', passed: cut >= slowSockets, detail: `${cut} of ${slowSockets} were cut` }));
  rig.extra.push(history => othersUnchanged(history, fault));
  await sleep(SETTLE_MS + BASE_MS);
}

/* The p99 of each second, and the median of those: the machine has bursts of its own, in either. Base: before, and after all is well again. */
const SPARE_MS = 3, BASE_MS = 8000, SETTLE_MS = 2000; // SPARE_MS: of a scheduler that has other things to do
export function othersUnchanged(history, { from, to }) {
  const seconds = new Map();
  for (const [t, ms] of deliveries(history)) seconds.set(Math.floor(t / 1000), [...(seconds.get(Math.floor(t / 1000)) ?? []), ms]);
  const p99s = (a, b) => [...seconds].filter(([s]) => s * 1000 >= a && s * 1000 + 1000 <= b).map(([, all]) => percentile(all, 99));
  const slow = p99s(from, to), base = [...p99s(from - BASE_MS, from), ...p99s(to + SETTLE_MS, to + SETTLE_MS + BASE_MS)];
  const [before, during] = [base, slow].map(all => percentile(all, 50));
  const passed = base.length >= 8 && slow.length >= 3 && during <= before * 1.1 + SPARE_MS;
  return { name: 'others_p99_unchanged', passed, detail: `p99 of a second, median: ${before?.toFixed(1)} ms of ${base.length} before and after, ${during?.toFixed(1)} ms of ${slow.length} while they were slow (worst ${Math.max(...base).toFixed(1)}, ${Math.max(...slow).toFixed(1)} ms)`, measured: { before, during } };
}

/* Clocks an hour wrong, and one that jumps by hours, while every publisher goes from node to node. */
async function clockSkew(rig) {
  const { nodes } = rig.fleet, HOUR = 3600;
  const set = (node, seconds) => { nodes[node].setFault({ aheadMs: seconds * 1000 }); rig.tell({ type: 'ahead', node, seconds }); };
  rig.tell({ type: 'home', node: 'alternate' });
  await sleep(500);
  await rig.fault('node0 an hour ahead, node1 an hour behind', {}, async () => { set(0, HOUR); set(1, -HOUR); });
  const { api } = await import('./probe.mjs'), honest = await api(nodes[0]);
  rig.extra.push(() => ({ name: 'the_skew_is_real', passed: honest === 401, detail: `a request signed by the true clock was answered ${honest} by the node that is an hour ahead` }));
  for (const hours of rig.short ? [3, -2] : [3, -2, 5, -5, 1, 0, 12, -12]) {
    await sleep(rig.random.between(800, 2000));
    await rig.fault(`node2 jumps to ${hours} h`, {}, async () => set(2, hours * HOUR));
  }
  await sleep(1500);
}

async function postgresKill(rig) {
  const { postgres, nodes } = rig.fleet;
  for (let i = 0; i < (rig.short ? 1 : 4); i++) {
    await sleep(rig.random.between(500, 1500));
    await rig.fault('SIGKILL PostgreSQL', {}, async () => {
      await postgres.kill();
      const from = rig.now();
      await sleep(rig.random.between(300, 2500));
      nodes.forEach((_, node) => rig.silenced.push({ node, from, to: rig.now() }));
      await postgres.start();
    });
    await sleep(3000);
  }
}

/* No file of an embedded store may grow, then all may again. */
async function diskFull(rig) {
  const [node] = rig.fleet.nodes;
  for (let i = 0; i < (rig.short ? 1 : 3); i++) {
    await sleep(rig.random.between(500, 1500));
    await rig.fault('the disk is full', {}, async () => {
      node.setFault({ diskFull: true });
      const from = rig.now() + 20; // a write that had begun may still end well
      await sleep(rig.random.between(500, 2500));
      rig.silenced.push({ node: 0, from, to: rig.now() });
      node.setFault({ diskFull: false });
    });
    await sleep(2500);
  }
  const lived = node.running;
  rig.extra.push(history => ({ name: 'it_lived_and_refused', passed: lived && history.counts.retries > 20, detail: `${history.counts.retries} appends had to be repeated; the node ${lived ? 'lived on' : 'died'}` }));
  await rig.fault('SIGKILL of the node', {}, async () => { await node.kill(); await node.start(); });
  await sleep(2000);
}

/* Every sync fails for a while: nothing may be acknowledged. Then the node is killed, and what was acknowledged must be there. */
async function fsyncError(rig) {
  const [node] = rig.fleet.nodes;
  for (let i = 0; i < (rig.short ? 1 : 3); i++) {
    await sleep(rig.random.between(500, 1500));
    await rig.fault('every sync fails', {}, async () => {
      node.setFault({ syncFails: true });
      const from = rig.now() + 20; // a sync that had begun may still end well
      await sleep(rig.random.between(500, 2500));
      rig.silenced.push({ node: 0, from, to: rig.now() });
      node.setFault({ syncFails: false });
    });
    await sleep(2500);
  }
  await rig.fault('SIGKILL of the node', {}, async () => { await node.kill(); await node.start(); });
  await sleep(2000);
}

const embedded = { nodes: 1, embedded: true, load: { ...LOAD, streams: 60 } };
const slowLoad = { ...LOAD, streams: 20, subscribers: 20, perSecond: 8, tokenBytes: 2500, slowSockets: 4, modes: ['append_rollup_window=0'] };
export const SCENARIOS = {
  'node-kill': { what: 'SIGKILL of the owner of all open streams, at random phases', nodes: 3, load: LOAD, liveMs: 5000, run: nodeKill },
  'rolling-restart': { what: 'SIGTERM and a start of each node in turn', nodes: 5, load: { ...LOAD, streams: 200, subscribers: 2, perSecond: 4 }, liveMs: 2000, run: rollingRestart },
  'redis-failover': { what: 'Redis dies: failover by Sentinel, then both die and come back empty', nodes: 3, sentinel: true, load: LOAD, liveMs: 5000, run: redisFailover },
  partition: { what: 'a node off the bus, the store, both, in one direction or both', nodes: 3, needsLinks: true, load: LOAD, liveMs: 10_000, run: partition },
  'slow-subscriber': { what: '1 % of the sockets read 1 kB/s or stop', nodes: 3, needsLinks: true, smallSocketBuffers: true, warmUpMs: 10_000, config: { websocket: { max_bytes: 65_536 } }, load: slowLoad, liveMs: 5000, run: slowSubscriber },
  'clock-skew': { what: 'wall clocks hours apart, and jumping', nodes: 3, shim: true, load: LOAD, liveMs: 3000, run: clockSkew },
  'postgres-kill': { what: 'SIGKILL of PostgreSQL', nodes: 3, load: LOAD, liveMs: 10_000, run: postgresKill },
  'disk-full': { what: 'no room for the embedded store', ...embedded, shim: true, liveMs: 5000, run: diskFull },
  'fsync-error': { what: 'the embedded store cannot sync', ...embedded, shim: true, liveMs: 5000, run: fsyncError },
};
export const SHORT = ['node-kill', 'disk-full'];
