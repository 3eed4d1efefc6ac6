// start.mjs - spawn to first accepted connection.
// SPDX-License-Identifier: Apache-2.0
import { SERVER_CORE, load, median, removeDir, tempDir } from './tools.mjs';
import { command, plan, startServer, stopServer } from './server.mjs';
import { round } from './report.mjs';

/** An accepted connection is one that got an answer. */
async function oneStart(data) {
    const server = await plan('durable', { data });
    const env = Object.entries(server.env).map(([key, value]) => `${key}=${value}`);
    return load('start', { port: server.port }, ['env', '-C', data, ...env, 'taskset', '-c', SERVER_CORE, ...command]);
}

async function severalStarts(times, dataOf) {
    const found = [];
    for (let i = 0; i < times; i++) found.push((await oneStart(dataOf(i))).answered_ms);
    return found;
}

/** Fragments are stored by the server itself, through the API. */
async function fill(data, fragments) {
    const server = await startServer('durable', { data });
    try {
        await load('append', {
            ...server.target, connections: 512, channels: 64, channel: 'ai-fill', count: fragments, warmup: 0,
        });
        await stopServer(server, { keep: true, signal: 'SIGKILL' });
    } catch (error) {
        await stopServer(server);
        throw error;
    }
}

export async function start(report, o) {
    const fragments = o.quick ? 100000 : 1000000;
    report.line('\n## Start: spawn to first accepted connection (an answer to GET /live)');
    const empty = await severalStarts(o.rounds, () => tempDir('start'));
    const data = tempDir('filled');
    await fill(data, fragments);
    const [killed] = await severalStarts(1, () => data);
    const filled = await severalStarts(o.rounds, () => data);
    removeDir(data);
    const label = `${fragments.toLocaleString('en-US')} stored fragments`;
    report.table(['store', 'median ms', 'slowest ms'],
        [['empty', round(median(empty)), round(Math.max(...empty))],
            [label, round(median(filled)), round(Math.max(...filled))],
            [`${label}, after kill -9`, round(killed), round(killed)]]);
    report.goal('start: empty store', median(empty), { atMost: 100, unit: ' ms' });
    report.goal(`start: ${label}`, median(filled), { atMost: 1000, unit: ' ms' });
    report.goal(`start: ${label}, after kill -9`, killed, { atMost: 1000, unit: ' ms' });
}
