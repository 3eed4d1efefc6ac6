// resume.mjs - connections that are cut off at once and come back together, while others go on listening.
// SPDX-License-Identifier: Apache-2.0
import { load, medianOf, quietly } from './tools.mjs';
import { startServer, stopServer } from './server.mjs';
import { round } from './report.mjs';

const BEHIND = 200;
const PACE = 5000; // connections per second; 0: as fast as server and load can, which leaves neither time for anybody else

async function oneRun(o, connections, { cold, ramp }) {
    // With buffers that expire before they are asked for, everything comes from the store.
    const server = await startServer('durable', cold ? { env: { CONNECTION_RECOVERY_BUFFER_TTL: '1' } } : {});
    try {
        return await load('resume', {
            ...server.target, subscribers: connections, channels: connections / 100, live: connections / 50, rate: 200, ramp,
            behind: BEHIND, seconds: o.seconds, rest: cold ? 2 : undefined,
        });
    } finally {
        await stopServer(server);
    }
}

export async function resume(report, o) {
    const connections = o.quick ? 2000 : 10000;
    report.line(`\n## ${connections.toLocaleString('en-US')} connections cut off at once, ${BEHIND} tokens behind, all text compared`);
    const kinds = [['hot', { ramp: PACE }], ['cold', { ramp: PACE, cold: true }], ['hot', { ramp: 0 }]];
    const rows = [], goals = [];
    for (const [tier, kind] of kinds) {
        const runs = [];
        for (let i = 0; i < o.rounds; i++) runs.push(await quietly(() => oneRun(o, connections, kind)));
        for (const run of runs) run.p99_ratio = run.live_during_p99_ms / run.live_before_p99_ms;
        rows.push([tier, kind.ramp ? `${kind.ramp} / s` : 'at once', ...['all_back_s', 'caught_up_p50_ms', 'caught_up_p99_ms', 'live_before_p99_ms',
            'live_during_p99_ms', 'server_cpu_us_each', 'server_mib_before', 'server_mib_most'].map((key) => round(medianOf(runs, key)))]);
        if (kind.ramp) goals.push([tier, runs]);
    }
    report.table(['source', 'coming', 'all back s', 'one, p50 ms', 'p99', 'live p99 before ms', 'during', 'µs CPU each', 'MiB before', 'most'], rows);
    for (const [tier, runs] of goals) {
        report.goal(`resume (${tier}): live p99 while ${PACE} a second come back, against before`, medianOf(runs, 'p99_ratio'), { atMost: 2 });
        report.goal(`resume (${tier}): memory at most, beyond that before`,
            medianOf(runs, 'server_mib_most') - medianOf(runs, 'server_mib_before'), { atMost: 64, unit: ' MiB' });
    }
}
