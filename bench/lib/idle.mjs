// idle.mjs - memory and wake-ups of idle V2 connections.
// SPDX-License-Identifier: Apache-2.0
import { load, medianOf, quietly } from './tools.mjs';
import { startServer, stopServer } from './server.mjs';
import { round } from './report.mjs';

const CONNECTIONS = 15000;

async function oneRun(profile, connections, seconds) {
    const server = await startServer(profile);
    try {
        return await load('idle', { ...server.target, subscribers: connections, protocol: 2, seconds });
    } finally {
        await stopServer(server);
    }
}

export async function idle(report, o) {
    report.line(`\n## ${CONNECTIONS.toLocaleString('en-US')} idle V2 connections, one worker`);
    const seconds = o.quick ? 5 : 20, runs = [], none = [];
    for (let i = 0; i < Math.max(1, o.rounds >> 1); i++) {
        none.push(await quietly(() => oneRun('durable', 0, seconds)));
        runs.push(await quietly(() => oneRun('durable', CONNECTIONS, seconds)));
    }
    report.line('\nUser memory is what the process allocated (`Anonymous` of smaps_rollup) with them minus without them; ' +
        'a wake-up is a voluntary context switch of any of its threads.');
    report.table(['connections', 'bytes each', 'RSS bytes each', 'wake-ups / s', 'CPU ‰ of a core'],
        [[0, '–', '–', round(medianOf(none, 'wakeups_per_s')), round(medianOf(none, 'idle_cpu_permille'))],
            [CONNECTIONS, round(medianOf(runs, 'anonymous_bytes_each')), round(medianOf(runs, 'rss_bytes_each')),
                round(medianOf(runs, 'wakeups_per_s')), round(medianOf(runs, 'idle_cpu_permille'))]]);
    report.goal('idle V2 connection: user memory', medianOf(runs, 'anonymous_bytes_each'), { atMost: 512, unit: ' bytes' });
    report.goal('idle V2 connections: wake-ups beyond those without any connection',
        medianOf(runs, 'wakeups_per_s') - medianOf(none, 'wakeups_per_s'), { atMost: 1, unit: ' / s' });
}
