// accumulated.mjs - what an append costs when much has been appended before.
// SPDX-License-Identifier: Apache-2.0
import { load, medianOf, medianRatio, quietly } from './tools.mjs';
import { startServer, stopServer } from './server.mjs';
import { round } from './report.mjs';

const SIZES = { '1 KB': 1024, '1 MB': 1 << 20 };

async function oneRun(bytes, o) {
    const server = await startServer('long');
    try {
        return await load('append', {
            ...server.target, connections: 64, channels: 64, channel: 'ai-bench', accumulated: bytes,
            'appends-per-message': 0, warmup: 0, settle: 4, count: o.quick ? 20000 : 40000, verify: true,
        });
    } finally {
        await stopServer(server);
    }
}

export async function accumulated(report, o) {
    report.line('\n## An append to a message of 1 MB against one to a message of 1 KB');
    report.line('\n64 messages, each grown first, then four seconds of rest (64 MB are flushed and compacted); then appends of 40 bytes, the server\'s CPU for each.');
    const found = {};
    for (let i = 0; i < o.rounds; i++)
        for (const [name, bytes] of Object.entries(SIZES)) (found[name] ??= []).push(await quietly(() => oneRun(bytes, o)));
    report.table(['accumulated', 'µs CPU each', 'appends / s', 'ack p99 ms'],
        Object.entries(found).map(([name, rounds]) => [name, round(medianOf(rounds, 'server_cpu_us_each')),
            round(medianOf(rounds, 'appends_per_s')), round(medianOf(rounds, 'ack_p99_ms'))]));
    report.goal('append: cost at 1 MB / at 1 KB accumulated', medianRatio(found['1 MB'], found['1 KB'],
        'server_cpu_us_each'), { atMost: 1.1 });
}
