// append.mjs - durable appends: CPU against the sum of what cannot be avoided, latency against fdatasync.
// SPDX-License-Identifier: Apache-2.0
import { LOAD_CORE, SERVER_CORE, programs, load, median, medianOf, quietly, removeDir, runJson, tempDir } from './tools.mjs';
import { metrics, startServer, stopServer } from './server.mjs';
import { round } from './report.mjs';

const PUBLISHERS = 64;
const ROW_BYTES = 160; // a fragment of 40 bytes with its position, serials and receipt
const parts = `${programs}/parts`;

async function oneRun(o, rate) {
    const server = await startServer('durable');
    try {
        const before = await metrics(server);
        const found = await load('append', {
            ...server.target, connections: PUBLISHERS, channels: PUBLISHERS, channel: 'ai-bench', seconds: o.seconds,
            rate, verify: true,
        });
        const after = await metrics(server);
        const delta = (name) => (after[name] ?? NaN) - (before[name] ?? 0);
        found.batch = delta('sockudo_store_batch_size_sum') / delta('sockudo_store_batch_size_count');
        found.commit_ms = delta('sockudo_store_commit_latency_ms_sum') / delta('sockudo_store_commit_latency_ms_count');
        return found;
    } finally {
        await stopServer(server);
    }
}

/** Each unavoidable part by itself, on the server's core. */
function measureParts(run, o) {
    const seconds = String(o.quick ? 1 : 2);
    const dir = tempDir('parts');
    const echo = runJson(`${SERVER_CORE},${LOAD_CORE}`, [parts, 'echo', String(run.request_bytes),
        String(run.answer_bytes), String(PUBLISHERS), seconds, SERVER_CORE, LOAD_CORE]);
    const digest = runJson(SERVER_CORE, [parts, 'digest', String(run.canonical_bytes), String(run.body_bytes)]);
    const batch = String(Math.max(1, Math.round(run.batch || 1)));
    const put = runJson(SERVER_CORE, [parts, 'put', `${dir}/db`, String(ROW_BYTES), batch, seconds]);
    const sync = runJson(SERVER_CORE, [parts, 'fdatasync', dir, '1']);
    removeDir(dir);
    return {
        echo_us: echo.cpu_us, hmac_us: digest.hmac_us, md5_us: digest.md5_us, put_us: put.cpu_us,
        sum_us: echo.cpu_us + digest.hmac_us + digest.md5_us + put.cpu_us,
        sync_ms: sync.p50_ms, sync_p99_ms: sync.p99_ms,
    };
}

/** A machine like ours changes its speed by the minute: what stands before a run and what stands behind it count alike. */
const meanOf = (a, b) => Object.fromEntries(Object.keys(a).map((key) => [key, (a[key] + b[key]) / 2]));

export async function append(report, o) {
    report.line(`\n## Durable appends: ${PUBLISHERS} keep-alive publishers, synced before the acknowledgement, stored text read back`);
    const runs = [], sums = [];
    let before = measureParts(await oneRun({ ...o, seconds: 1 }, 0), o);
    for (let i = 0; i < o.rounds; i++) {
        runs.push(await quietly(() => oneRun(o, 0)));
        const after = measureParts(runs.at(-1), o);
        sums.push(meanOf(before, after));
        before = after;
    }
    const cpu = medianOf(runs, 'server_cpu_us_each'), sum = medianOf(sums, 'sum_us');
    const ofSum = median(runs.map((run, i) => run.server_cpu_us_each / sums[i].sum_us));
    report.table(['', 'appends / s', 'µs CPU each', 'batch', 'commit ms', 'ack p50 ms', 'p99', 'p99.9', 'max'],
        [['closed loop', round(medianOf(runs, 'appends_per_s')), round(cpu), round(medianOf(runs, 'batch')),
            round(medianOf(runs, 'commit_ms')),
            ...['p50', 'p99', 'p999', 'max'].map((p) => round(medianOf(runs, `ack_${p}_ms`)))]]);
    report.line('\nUnavoidable parts, CPU per append, measured before and after each run:');
    report.table(['echo of the same bytes', 'HMAC', 'MD5', `one put of ${ROW_BYTES} bytes in such a batch`, 'sum', 'server / sum'],
        [[...['echo_us', 'hmac_us', 'md5_us', 'put_us'].map((k) => `${round(medianOf(sums, k))} µs`), `${round(sum)} µs`,
            round(ofSum)]]);

    const rate = Math.floor(medianOf(runs, 'appends_per_s') / 2);
    const half = [];
    for (let i = 0; i < o.rounds; i++) half.push(await quietly(() => oneRun(o, rate)));
    const sync = medianOf(sums, 'sync_ms'), limit = 3 * sync + 2;
    report.line(`\nOn a schedule of ${rate} appends/s, half of that; one fdatasync takes ${round(sync)} ms (p99 ${round(medianOf(sums, 'sync_p99_ms'))} ms):`);
    report.table(['ack p50 ms', 'p99', 'p99.9', 'max', 'batch', 'µs CPU each'],
        [[...['p50', 'p99', 'p999', 'max'].map((p) => round(medianOf(half, `ack_${p}_ms`))),
            round(medianOf(half, 'batch')), round(medianOf(half, 'server_cpu_us_each'))]]);
    report.goal('append: CPU / sum of its unavoidable parts', ofSum, { atMost: 1.8 });
    report.goal('append: ack p99 at half the maximum rate (3 × fdatasync + 2 ms)', medianOf(half, 'ack_p99_ms'),
        { atMost: Number(limit.toFixed(2)), unit: ' ms' });
}
