// stream.mjs - streaming append against one signed request per token: the same appends, both durable, turn by turn in one run.
// SPDX-License-Identifier: Apache-2.0
import { load, median, medianOf, quietly } from './tools.mjs';
import { startServer, stopServer } from './server.mjs';
import { round } from './report.mjs';

const STREAMS = 64, AHEAD = 64;

async function oneRun(o, how) {
    const server = await startServer('durable');
    try {
        return await load('append', {
            ...server.target, connections: STREAMS, channels: STREAMS, channel: 'ai-bench', seconds: o.seconds, verify: true, ...how,
        });
    } finally {
        await stopServer(server);
    }
}

export async function stream(report, o) {
    report.line(`\n## Streaming append: ${STREAMS} messages at a time, 1000 tokens of 40 bytes each, durable, stored text read back`);
    const requests = [], streams = [], waiting = [];
    for (let i = 0; i < o.rounds; i++) {
        requests.push(await quietly(() => oneRun(o, {})));
        streams.push(await quietly(() => oneRun(o, { streaming: true, ahead: AHEAD })));
        waiting.push(await quietly(() => oneRun(o, { streaming: true, ahead: 1 })));
    }
    const row = (name, runs) => [name, round(medianOf(runs, 'appends_per_s')), round(medianOf(runs, 'server_cpu_us_each')),
        round(median(runs.map((run, i) => requests[i].server_cpu_us_each / run.server_cpu_us_each)))];
    report.table(['', 'appends / s', 'µs CPU each', 'appends per CPU-second, of one request each'],
        [row('a signed request per token', requests), row(`one request per message, at most ${AHEAD} tokens not acknowledged`, streams),
            row('one request per message, each token acknowledged before the next', waiting)]);
    report.goal('streaming append: appends per CPU-second / those of one signed request per token',
        median(streams.map((run, i) => requests[i].server_cpu_us_each / run.server_cpu_us_each)), { atLeast: 4 });
}
