// fanout.mjs - one message to many V1 subscribers, against a bare send() loop with the same bytes.
// SPDX-License-Identifier: Apache-2.0
import { SERVER_CORE, programs, freePort, load, medianOf, medianRatio, quietly, startPinned, stop } from './tools.mjs';
import { startServer, stopServer } from './server.mjs';
import { round } from './report.mjs';

export async function withSockudo(profile, work) {
    const server = await startServer(profile);
    try {
        return await work({ ...server.target, peer: 'sockudo' });
    } finally {
        await stopServer(server);
    }
}

export async function withBare(subscribers, work) {
    const port = await freePort();
    const child = await startPinned(SERVER_CORE, [`${programs}/bare_send`, String(port), String(subscribers)]);
    await new Promise((done) => setTimeout(done, 200));
    try {
        return await work({ port, 'server-pid': child.pid, peer: 'bare' });
    } finally {
        await stop(child);
    }
}

const kinds = (subscribers) => ({
    sockudo: (work) => withSockudo('plain', work),
    'bare send()': (work) => withBare(subscribers, work),
    'sockudo, durable': (work) => withSockudo('durable', work),
});

async function rates(subscribers, o) {
    const found = {};
    for (let round = 0; round < o.rounds; round++) {
        for (const [name, run] of Object.entries(kinds(subscribers))) {
            const one = await quietly(() =>
                run((target) => load('fanout', { ...target, subscribers, seconds: o.seconds, depth: 1 })));
            (found[name] ??= []).push(one);
        }
    }
    return found;
}

/** At half the rate that the server reached; the bare loop gets the same rate, and so waits less. */
async function latencies(subscribers, found, o) {
    const rate = Math.max(1, Math.floor(medianOf(found.sockudo, 'deliveries_per_s') / subscribers / 2));
    const at = { rate, results: {} };
    for (let round = 0; round < Math.max(1, o.rounds >> 1); round++) {
        for (const [name, run] of Object.entries(kinds(subscribers))) {
            if (name === 'sockudo, durable') continue;
            const one = await quietly(() => run((target) =>
                load('fanout', { ...target, subscribers, seconds: o.seconds, connections: 8, rate })));
            (at.results[name] ??= []).push(one);
        }
    }
    return at;
}

async function size(report, subscribers, o) {
    const found = await rates(subscribers, o);
    const ofBare = (name) => medianRatio(found[name], found['bare send()'], 'deliveries_per_cpu_s');
    report.table(['server', 'deliveries / CPU-s', 'of bare', 'µs CPU each', 'deliveries / s', 'one fan-out p99 ms'],
        Object.entries(found).map(([name, rounds]) => [name, round(medianOf(rounds, 'deliveries_per_cpu_s')),
            round(ofBare(name)), round(medianOf(rounds, 'server_cpu_us_each')),
            round(medianOf(rounds, 'deliveries_per_s')), round(medianOf(rounds, 'delivery_p99_ms'))]));
    const at = await latencies(subscribers, found, o);
    report.line(`\nLatency on a schedule of ${at.rate} publishes/s, half of what it reached in the closed loop:`);
    report.table(['server', 'p50 ms', 'p99 ms', 'p99.9 ms', 'max ms'],
        Object.entries(at.results).map(([name, rounds]) => [name,
            ...['p50', 'p99', 'p999', 'max'].map((p) => round(medianOf(rounds, `delivery_${p}_ms`)))]));
    const label = subscribers.toLocaleString('en-US');
    report.goal(`fan-out to ${label}: of a bare send() loop`,
        ofBare('sockudo'), { atLeast: 0.9 });
    report.goal(`fan-out to ${label}: p99 at half the maximum rate (bare loop: ` +
        `${round(medianOf(at.results['bare send()'], 'delivery_p99_ms'))} ms)`,
        medianOf(at.results.sockudo, 'delivery_p99_ms'), { atMost: 5, unit: ' ms' });
}

export async function fanout(report, o) {
    report.line('\n## Fan-out of one 100-byte message to V1 subscribers, one core');
    report.line('\nClosed loop: the next publish leaves when the last has reached everybody, so each delivery is one write.');
    for (const subscribers of [1000, 10000]) {
        report.line(`\n### ${subscribers.toLocaleString('en-US')} subscribers`);
        await size(report, subscribers, o);
    }
}
