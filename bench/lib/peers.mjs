// peers.mjs - the same fan-out by servers that others wrote.
// SPDX-License-Identifier: Apache-2.0
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { SERVER_CORE, bench, freePort, load, medianOf, quietly, root, sleep, startPinned, stop, tempDir, removeDir } from './tools.mjs';
import { withBare, withSockudo } from './fanout.mjs';
import { round } from './report.mjs';

const WS_VERSION = '8.23.0';
const CENTRIFUGO_VERSION = 'v5.4.9';
const NCHAN = '/usr/lib/nginx/modules/ngx_nchan_module.so';

/** Runs a quiet command; its last words as an error when it fails. */
function must(command, args, options) {
    const ran = spawnSync(command, args, { encoding: 'utf8', ...options });
    if (ran.status !== 0) throw new Error(`${command} ${args[0]}: ${(ran.stderr ?? ran.error?.message ?? '').slice(-300)}`);
}

async function withWs(work) {
    const home = `${bench}/node`;
    if (!existsSync(`${home}/node_modules/ws`)) {
        mkdirSync(home, { recursive: true });
        must('npm', ['install', '--silent', '--prefix', home, `ws@${WS_VERSION}`]);
    }
    const port = await freePort();
    const child = await startPinned(SERVER_CORE, ['node', `${root}/bench/peers/ws_server.cjs`, home, String(port)], { port });
    try {
        return await work({ port, 'server-pid': child.pid, peer: 'ws' });
    } finally {
        await stop(child);
    }
}

function nginxConfig(dir, port) {
    return `load_module ${NCHAN};
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid ${dir}/nginx.pid;
error_log ${dir}/error.log error;
events { worker_connections 19000; use epoll; multi_accept on; }
http {
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path ${dir}/body; proxy_temp_path ${dir}/proxy; fastcgi_temp_path ${dir}/fastcgi;
    uwsgi_temp_path ${dir}/uwsgi; scgi_temp_path ${dir}/scgi;
    nchan_shared_memory_size 256M;
    server {
        listen 127.0.0.1:${port} backlog=4096;
        location = /pub { nchan_publisher; nchan_channel_id $arg_id; nchan_message_buffer_length 1; }
        location = /sub { nchan_subscriber websocket; nchan_channel_id $arg_id; nchan_subscriber_first_message newest; }
    }
}
`;
}

async function withNchan(work) {
    if (!existsSync(NCHAN)) throw new Error('libnginx-mod-nchan is not installed');
    const dir = tempDir('nginx'), port = await freePort();
    writeFileSync(`${dir}/nginx.conf`, nginxConfig(dir, port));
    const master = await startPinned(SERVER_CORE, ['nginx', '-e', `${dir}/error.log`, '-p', dir, '-c', `${dir}/nginx.conf`], { port });
    await sleep(200);
    const worker = readFileSync(`/proc/${master.pid}/task/${master.pid}/children`, 'utf8').trim().split(' ')[0];
    try {
        return await work({ port, 'server-pid': worker, peer: 'nchan' });
    } finally {
        await stop(master);
        removeDir(dir);
    }
}

/** From the Go module proxy, built in a module that only requires it. */
function buildCentrifugo() {
    const binary = `${bench}/bin/centrifugo`;
    if (existsSync(binary)) return binary;
    const dir = `${bench}/centrifugo-src`;
    mkdirSync(dir, { recursive: true });
    writeFileSync(`${dir}/go.mod`, `module bench\ngo 1.23\nrequire github.com/centrifugal/centrifugo/v5 ${CENTRIFUGO_VERSION}\n`);
    must('go', ['build', '-o', binary, 'github.com/centrifugal/centrifugo/v5'],
        { cwd: dir, env: { ...process.env, GOPATH: `${bench}/go`, GOFLAGS: '-modcacherw -mod=mod' } });
    return binary;
}

async function withCentrifugo(work) {
    const binary = buildCentrifugo();
    const dir = tempDir('centrifugo'), port = await freePort();
    writeFileSync(`${dir}/config.json`, JSON.stringify({
        allow_anonymous_connect_without_token: true, allow_subscribe_for_client: true,
        allow_subscribe_for_anonymous: true, api_insecure: true, log_level: 'error',
    }));
    const child = await startPinned(SERVER_CORE, [binary, '--config', `${dir}/config.json`, '--address', '127.0.0.1',
        '--port', String(port)], { port });
    try {
        return await work({ port, 'server-pid': child.pid, peer: 'centrifugo' });
    } finally {
        await stop(child);
        removeDir(dir);
    }
}

const servers = (subscribers) => ({
    sockudo: (work) => withSockudo('plain', work),
    'bare send()': (work) => withBare(subscribers, work),
    [`ws ${WS_VERSION} on Node ${process.version}`]: withWs,
    'nginx + nchan (Debian 12)': withNchan,
    [`Centrifugo ${CENTRIFUGO_VERSION}`]: withCentrifugo,
});

async function size(report, subscribers, o) {
    const found = {}, missing = {};
    for (let i = 0; i < Math.max(1, Math.ceil(o.rounds / 2)); i++) {
        for (const [name, run] of Object.entries(servers(subscribers))) {
            if (missing[name]) continue;
            try {
                (found[name] ??= []).push(await quietly(() => run((target) =>
                    load('fanout', { ...target, subscribers, seconds: o.seconds, depth: 1, drain: 30 }))));
            } catch (error) {
                missing[name] = error.message.split('\n')[0].slice(0, 300);
                console.error(`${name}: ${error.message}`);
            }
        }
    }
    const own = medianOf(found.sockudo ?? [], 'deliveries_per_cpu_s');
    report.line(`\n### ${subscribers.toLocaleString('en-US')} subscribers`);
    report.table(['server', 'deliveries / CPU-s', 'of sockudo', 'deliveries / s', 'one fan-out p50 ms', 'p99 ms'],
        Object.entries(found).filter(([, rounds]) => rounds.length).map(([name, rounds]) => [name,
            round(medianOf(rounds, 'deliveries_per_cpu_s')), round(medianOf(rounds, 'deliveries_per_cpu_s') / own),
            round(medianOf(rounds, 'deliveries_per_s')), round(medianOf(rounds, 'delivery_p50_ms')),
            round(medianOf(rounds, 'delivery_p99_ms'))]));
    for (const [name, why] of Object.entries(missing)) report.line(`\n**Skipped: ${name}: ${why}**`);
}

export async function peers(report, o) {
    report.line('\n## Peers: the same fan-out, same machine, same load program');
    report.line('\nNo history anywhere; the bytes of a frame are the same but for Centrifugo, which has an envelope of its own.');
    for (const subscribers of [1000, 10000]) await size(report, subscribers, o);
}
