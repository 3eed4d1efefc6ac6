// SPDX-License-Identifier: Apache-2.0
//
// plan.mjs - what a workload needs, by the formulas of chapter 4, 10.4, with coefficients measured by `make calibrate`.
//
//    const plan = planOf(profile, { nodeCount: 53, calibration, machine })
//
// All rates are per second, all sizes bytes, unless the name says otherwise. Nothing here talks to anybody.
export const SOCKETS_PER_NODE = 19000;    // of 20,000 open files
export const HEADROOM = 0.8;              // of sockets: what is used of a node when all is well
export const CPU_TARGET = 0.7;            // of cores
const STREAM_TRACKING = 4096;

const ceil = Math.ceil;
const sum = list => list.reduce((a, b) => a + b, 0);

export const agentsNeeded = p => Math.max(1, ceil((p.logicalConnections + p.activeStreams) / SOCKETS_PER_NODE));

/* ---- rates ---- */

export function ratesOf(p) {
  const { min, max } = p.subscribersPerSession;
  // Sessions share the connections there are: none has more subscribers than leave the others their minimum.
  const mean = Math.min((min + max) / 2, p.logicalConnections / p.sessions), rate = p.tokensPerSecond, streams = p.activeStreams;
  const ingress = streams * rate;
  const framesRolled = Math.min(rate, p.rollupWindowMs > 0 ? 1000 / p.rollupWindowMs : rate), messages = ingress / p.meanResponseTokens;
  // The first token and the end of a message wait for nobody. A late joiner takes single fragments for half a message on average.
  const framesOfSubscribers = streams * mean * (p.unrolledFraction * rate + (1 - p.unrolledFraction) * framesRolled) + 2 * messages * mean;
  return {
    meanSubscribers: mean, appends: ingress, tokensDelivered: ingress * mean, tokensDeliveredMin: ingress * min, tokensDeliveredMax: ingress * max,
    frames: framesOfSubscribers + streams * p.historyOnJoinProbability * rate / 2,
    framesAllRolled: streams * mean * framesRolled, otherWrites: 2 * ingress / p.meanResponseTokens, storeWrites: ingress * (1 + 2 / p.meanResponseTokens),
    textBytes: ingress * p.tokenBytes, totalAppends: ingress * p.durationSeconds, appendsPerStream: Math.round(rate * p.durationSeconds),
    messages, historyBytesPerResponse: p.meanResponseTokens * p.tokenBytes,
  };
}

export function nodesFor(connections) {
  return { full: ceil(connections / SOCKETS_PER_NODE), withHeadroom: ceil(connections / (HEADROOM * SOCKETS_PER_NODE)) };
}

export function perNode(p, nodeCount) {
  const rates = ratesOf(p), n = nodeCount, c = p.logicalConnections;
  return {
    logicalConnections: ceil(c / n), provisionConnections: ceil(c / (HEADROOM * n)), connectionsAfterOneLoss: n > 1 ? ceil(c / (n - 1)) : null,
    survivesOneLoss: n > 1 && c / (n - 1) <= SOCKETS_PER_NODE, activeStreams: ceil(p.activeStreams / n),
    // Streams fall on nodes like balls into bins: the 95th percentile of a Poisson distribution, near enough.
    activeStreamsP95: ceil(p.activeStreams / n + 1.645 * Math.sqrt(p.activeStreams / n)),
    appendRatePerSecond: rates.appends / n, framesPerSecond: rates.framesAllRolled / n, framesPerSecondExpected: rates.frames / n, rollupMemoryBytes: ceil(p.activeStreams / n) * STREAM_TRACKING,
  };
}

/* ---- resources ---- */

/* One line each: what is wanted of a resource, what a machine has of it, how many machines that makes. measured: whether the coefficients are. */
function resources(p, nodeCount, k, machine) {
  const rates = ratesOf(p), c = p.logicalConnections;
  const wire = rates.frames * k.wire.bytesPerFrame + rates.storeWrites * k.wire.bytesPerRequest;
  const list = [
    { name: 'sockets', unit: 'node processes of 19,000 sockets', demand: nodesFor(c).withHeadroom, perMachine: machine.nodesPerMachine },
    { name: 'node cpu', unit: 'cores', demand: cpuOf(rates, k.node), perMachine: machine.cores * CPU_TARGET },
    { name: 'node memory', unit: 'bytes', demand: memoryOf(p, nodeCount, k), perMachine: machine.memoryBytes * HEADROOM },
    { name: 'network', unit: 'bytes/s', demand: wire, perMachine: machine.networkBytesPerSecond * CPU_TARGET },
    { name: 'agent cpu', unit: 'cores', demand: cpuOf(rates, k.agent), perMachine: machine.cores * CPU_TARGET },
    { name: 'agent memory', unit: 'bytes', demand: c * (k.agent.bytesPerConnection + k.kernelBytesPerSocket) + agentsNeeded(p) * k.agent.baseBytes, perMachine: machine.memoryBytes * HEADROOM },
  ];
  if (k.postgres) list.push({ name: 'database', unit: 'cores', demand: rates.storeWrites * k.postgres.cpuUsPerWrite / 1e6, perMachine: machine.cores * CPU_TARGET });
  if (k.redis && nodeCount > 1) list.push({ name: 'redis', unit: 'cores', demand: rates.storeWrites * k.redis.cpuUsPerMessage / 1e6, perMachine: CPU_TARGET });
  for (const one of list) one.machines = one.demand / one.perMachine;
  return list;
}

const cpuOf = (rates, side) => (rates.storeWrites * side.cpuUsPerAppend + rates.frames * side.cpuUsPerFrame) / 1e6;
const memoryOf = (p, nodeCount, k) => p.logicalConnections * (k.node.bytesPerConnection + k.kernelBytesPerSocket) + nodeCount * k.node.baseBytes + p.activeStreams * STREAM_TRACKING;

/* Kinds share nothing: nodes and agents stand on machines of their own, the database and Redis too. */
function machinesNeeded(list) {
  const most = names => ceil(Math.max(0, ...list.filter(r => names.includes(r.name)).map(r => r.machines)) - 1e-9);
  const of = { nodes: most(['sockets', 'node cpu', 'node memory', 'network']), agents: most(['agent cpu', 'agent memory']), database: most(['database']), redis: most(['redis']) };
  return { ...of, total: sum(Object.values(of)) };
}

export function capacityOf(p, { nodeCount, calibration: k, machine }) {
  const list = resources(p, nodeCount, k, machine), rates = ratesOf(p);
  const worst = list.reduce((a, b) => (b.machines > a.machines ? b : a));
  return {
    rates, nodesForConnections: nodesFor(p.logicalConnections), agents: agentsNeeded(p), machine, calibration: { measuredAt: k.measuredAt, host: k.host, file: k.file },
    resources: list, bottleneck: worst.name, machines: machinesNeeded(list),
    database: { writesPerSecond: rates.storeWrites, textBytesPerSecond: rates.textBytes, textBytesOfRun: rates.textBytes * p.durationSeconds,
      storedBytesOfRun: rates.storeWrites * p.durationSeconds * k.storeBytesPerAppend, measured: Boolean(k.postgres) },
    redis: { messagesPerSecond: nodeCount > 1 ? p.activeStreams * Math.min(p.tokensPerSecond, p.unrolledFraction > 0 || !p.rollupWindowMs ? p.tokensPerSecond : 1000 / p.rollupWindowMs) : 0,
      measured: Boolean(k.redis) },
  };
}

/* What a run of this workload should show. */
export function predict(p, { nodeCount, calibration: k }) {
  const rates = ratesOf(p);
  return {
    appendsPerSecond: rates.appends * (p.meanResponseTokens / (p.meanResponseTokens + 2)), framesPerSecond: rates.frames,
    nodeCpuCores: cpuOf(rates, k.node), agentCpuCores: cpuOf(rates, k.agent),
    nodeMemoryBytes: nodeCount * k.node.baseBytes + p.logicalConnections * k.node.bytesPerConnection + p.activeStreams * STREAM_TRACKING,
  };
}

/* ---- the plan of version 1, whose names stay ---- */

export function planOf(p, { nodeCount, metricsNodeCount = nodeCount, generators = Math.max(p.loadGenerators, agentsNeeded(p)), calibration, machine }) {
  const rates = ratesOf(p), { min, max } = p.subscribersPerSession, share = v => v / generators;
  return {
    nodeCount, metricsNodeCount, loadGenerators: generators, appendsPerStream: rates.appendsPerStream,
    aggregate: { appendRatePerSecond: rates.appends, fanoutPerSecondMin: rates.tokensDeliveredMin, fanoutPerSecondMax: rates.tokensDeliveredMax,
      expectedTotalAppends: rates.totalAppends, expectedSubscriberDevicesMin: p.sessions * min, expectedSubscriberDevicesMax: p.sessions * max },
    perNode: perNode(p, nodeCount),
    perGenerator: { logicalConnections: share(p.logicalConnections), sessions: share(p.sessions), activeStreams: share(p.activeStreams), appendRatePerSecond: share(rates.appends),
      fanoutPerSecondMin: share(rates.tokensDeliveredMin), fanoutPerSecondMax: share(rates.tokensDeliveredMax) },
    capacity: capacityOf(p, { nodeCount, calibration, machine }), prediction: predict(p, { nodeCount, calibration }),
  };
}
