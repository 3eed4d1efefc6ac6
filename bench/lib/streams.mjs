// streams.mjs - tens of thousands of open streams on one core: what they cost, and whether flushes leave in time.
// SPDX-License-Identifier: Apache-2.0
import { load, median, medianOf, quietly } from './tools.mjs';
import { startServer, stopServer } from './server.mjs';
import { round } from './report.mjs';

const OPEN = 20000, IDLE = 100000, WINDOW_MS = 40, SLACK_MS = 2;
const extras = JSON.stringify({ ai: { transport: { status: 'streaming' } } });
const profile = 'streams';

/** Of all flushes until now: [left within the window and its slack, all]. */
async function flushes(server) {
    const text = await (await fetch(`http://127.0.0.1:${server.metricsPort}/metrics`)).text();
    const sum = (pattern) => [...text.matchAll(pattern)].reduce((total, [, value]) => total + Number(value), 0);
    return [sum(new RegExp(`^sockudo_flush_latency_bucket\\{.*le="${WINDOW_MS + SLACK_MS}".*\\} (\\S+)`, 'gm')),
        sum(/^sockudo_flush_latency_count\{.*\} (\S+)/gm)];
}

/** `streams` open messages in as many channels, two subscribers of each, `rate` appends a second over all. */
async function oneRun(streams, rate, seconds) {
    const server = await startServer(profile);
    try {
        const [inTime, all] = await flushes(server);
        const groups = Math.min(500, streams);
        const found = await load('streams', {
            ...server.target, channel: 'ai-bench', channels: streams, streams, groups, subscribers: 2 * groups, protocol: 2,
            window: WINDOW_MS, rate, seconds, extras,
        });
        const [inTimeAfter, allAfter] = await flushes(server);
        found.in_time = (inTimeAfter - inTime) / (allAfter - all);
        return found;
    } finally {
        await stopServer(server);
    }
}

async function idleRun(streams, seconds) {
    const server = await startServer(profile);
    try {
        return await load('streams', { ...server.target, channel: 'ai-bench', channels: streams, streams, rate: 0, seconds, extras });
    } finally {
        await stopServer(server);
    }
}

export async function streams(report, o) {
    const rounds = Math.max(1, o.rounds >> 1), seconds = o.quick ? 5 : 15;
    report.line(`\n## Open streams, one worker on one core, two subscribers of each, window ${WINDOW_MS} ms`);
    const cases = [[OPEN, OPEN / 4], [OPEN, OPEN / 2], [OPEN, OPEN], [OPEN / 100, OPEN]], rows = [], results = [];
    for (const [count, rate] of cases) {
        const runs = [];
        for (let i = 0; i < rounds; i++) runs.push(await quietly(() => oneRun(count, rate, seconds)));
        results.push(runs);
        rows.push([count, rate, round(medianOf(runs, 'server_cpu_us_each')), round(medianOf(runs, 'server_cpu_percent')),
            ...['ack_p99_ms', 'delivery_p50_ms', 'delivery_p99_ms'].map((k) => round(medianOf(runs, k))),
            `${(100 * Math.min(...runs.map((run) => run.in_time))).toFixed(3)} %`, runs.reduce((n, run) => n + run.missing + run.order_errors, 0)]);
    }
    report.table(['open streams', 'appends / s', 'µs CPU each', '% of the core', 'ack p99 ms', 'delivery p50 ms', 'p99', `flushes within ${WINDOW_MS + SLACK_MS} ms`, 'missing or out of order'], rows);
    const idle = [];
    for (let i = 0; i < rounds; i++) idle.push(await quietly(() => idleRun(IDLE, seconds)));
    report.line(`\n${IDLE.toLocaleString('en-US')} open streams without an append: ${round(medianOf(idle, 'server_cpu_percent'))} % of a core.`);

    const whole = results[2];
    report.goal(`${OPEN} open streams at 1 append/s: share of flushes within window + ${SLACK_MS} ms`, Math.min(...whole.map((run) => run.in_time)), { atLeast: 0.999 });
    report.goal('cost of an append at 20,000/s against 5,000/s, as many streams open (linear: at most 1)',
        median(whole.map((run) => run.server_cpu_us_each)) / medianOf(results[0], 'server_cpu_us_each'), { atMost: 1.1 });
    report.goal(`${IDLE} idle open streams: CPU`, medianOf(idle, 'server_cpu_percent'), { atMost: 1, unit: ' % of a core' });
}
