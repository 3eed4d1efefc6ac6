// server.mjs - sockudo as the benchmarks start it.
// SPDX-License-Identifier: Apache-2.0
import { SERVER_CORE, programs, freePort, startPinned, stop, tempDir, removeDir, workDir } from './tools.mjs';

// Without any file the server runs its demo profile: durable history, versioned messages and AI Transport on, rate
// limits off. `plain` takes away what a plain Pusher server does not have.
const profiles = {
    durable: {},
    plain: {
        HISTORY_ENABLED: 'false', VERSIONED_MESSAGES_ENABLED: 'false', AI_TRANSPORT_ENABLED: 'false',
        CONNECTION_RECOVERY_ENABLED: 'false',
    },
    // Nothing is orphaned while it waits to be measured.
    streams: { AI_TRANSPORT_ROLLUP_ORPHAN_TTL_MS: '3600000' },
    long: {
        AI_TRANSPORT_MAX_ACCUMULATED_MESSAGE_BYTES: '1073741824', AI_TRANSPORT_MAX_APPENDS_PER_MESSAGE: '10000000',
    },
};

export const command = [`${programs}/sockudo`];

/** Environment and ports of a server that is not started yet. */
export async function plan(profile, { workers = 1, data = tempDir('data'), env: more = {} } = {}) {
    const port = await freePort(), metricsPort = await freePort();
    const env = {
        ...profiles[profile], PORT: port, METRICS_PORT: metricsPort, METRICS_HOST: '127.0.0.1',
        SOCKUDO_WORKERS: workers, SOCKUDO_DATA_DIR: data, RATE_LIMITER_ENABLED: 'false', LOG_OUTPUT_FORMAT: 'text', ...more,
    };
    return { port, metricsPort, data, env: Object.fromEntries(Object.entries(env).map(([k, v]) => [k, String(v)])) };
}

export async function startServer(profile, options) {
    const server = await plan(profile, options);
    // Its own directory: no configuration file there.
    server.child = await startPinned(SERVER_CORE, command, {
        port: server.port, env: server.env, cwd: server.data, log: `${workDir}/server.log`,
    });
    server.pid = server.child.pid;
    server.target = { port: server.port, 'server-pid': server.pid };
    return server;
}

export async function stopServer(server, { keep = false, signal = 'SIGTERM' } = {}) {
    const code = await stop(server.child, signal);
    if (!keep) removeDir(server.data);
    return code;
}

/** One number per metric name, labels summed; histograms appear as name_sum and name_count. */
export async function metrics(server) {
    const text = await (await fetch(`http://127.0.0.1:${server.metricsPort}/metrics`)).text();
    const sums = {};
    for (const line of text.split('\n')) {
        const [, name, value] = /^([a-zA-Z_:][\w:]*)(?:\{.*\})? (\S+)/.exec(line) ?? [];
        if (name && !line.startsWith('#')) sums[name] = (sums[name] ?? 0) + Number(value);
    }
    return sums;
}
