// tools.mjs - processes, pinned and ended by id; ports; temporary directories; medians.
// SPDX-License-Identifier: Apache-2.0
import { spawn, spawnSync } from 'node:child_process';
import { closeSync, copyFileSync, mkdirSync, mkdtempSync, openSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

export const root = process.cwd();
export const bench = `${root}/build/bench`;
export const workDir = `${bench}/work`;
/** Copies of the programs under test: a build beside us must not change them between two rounds. */
export const programs = `${bench}/programs`;
export const SERVER_CORE = '0';
export const LOAD_CORE = '1';

/** With BENCH_BUILD=no what is there is used. */
export function build() {
    const release = `${root}/build/release`;
    const made = process.env.BENCH_BUILD === 'no' ||
        spawnSync('make', ['--no-print-directory', '-s', '-j2', 'all', 'bench-parts'], { stdio: 'inherit' }).status === 0;
    if (!made) throw new Error('the build failed');
    rmSync(programs, { recursive: true, force: true });
    mkdirSync(programs, { recursive: true });
    for (const name of ['sockudo', 'sockudo-load', ...readdirSync(`${release}/bench`).map((n) => `bench/${n}`)])
        if (!/\.[od]$/.test(name)) copyFileSync(`${release}/${name}`, `${programs}/${name.replace('bench/', '')}`);
}

/** On one core, and before whatever else the machine is doing (where that is allowed). */
export const pinned = (core, command) => ['-c', core, 'nice', '-n', '-20', ...command];

const running = new Set();
const directories = new Set();

/** A directory of its own, on the same disk for all, removed at the end. */
export function tempDir(name) {
    const path = mkdtempSync(`${workDir}/${name}-`);
    directories.add(path);
    return path;
}

export function removeDir(path) {
    rmSync(path, { recursive: true, force: true });
    directories.delete(path);
}

export function endAll() {
    for (const child of running) child.kill('SIGKILL');
    running.clear();
    for (const path of directories) rmSync(path, { recursive: true, force: true });
    directories.clear();
}

export async function freePort() {
    const server = createServer();
    await new Promise((done) => server.listen(0, '127.0.0.1', done));
    const { port } = server.address();
    await new Promise((done) => server.close(done));
    return port;
}

function opens(port) {
    return new Promise((done) => {
        const socket = connect(port, '127.0.0.1');
        socket.once('connect', () => { socket.destroy(); done(true); });
        socket.once('error', () => done(false));
    });
}

/** A process on a core, its output in `log`; resolved once it listens on `port` (if given). */
export async function startPinned(core, command, { port, env, cwd, log = `${workDir}/last.log` } = {}) {
    const output = openSync(log, 'w');
    const child = spawn('taskset', pinned(core, command),
                        { stdio: ['ignore', output, output], cwd, env: { ...process.env, ...env } });
    closeSync(output);
    running.add(child);
    child.ended = new Promise((done) => child.once('exit', (code, signal) => {
        running.delete(child);
        done(code ?? signal);
    }));
    for (let i = 0; port && i < 500; i++) {
        if (await opens(port)) return child;
        if (child.exitCode !== null) break;
        await sleep(20);
    }
    if (!port) return child;
    throw new Error(`${command[0]} does not listen: ${readFileSync(log, 'utf8').slice(-600)}`);
}

export async function stop(child, signal = 'SIGTERM') {
    child.kill(signal);
    const timer = setTimeout(() => child.kill('SIGKILL'), 15000);
    const code = await child.ended;
    clearTimeout(timer);
    return code;
}

/** Runs a program to its end and parses the JSON it printed last. */
export function runJson(core, command) {
    const ran = spawnSync('taskset', pinned(core, command), { encoding: 'utf8', maxBuffer: 1 << 26 });
    const line = ran.stdout.trim().split('\n').pop();
    if (ran.status !== 0) throw new Error(`${command.join(' ')}: ${ran.stderr.slice(-600)}`);
    return JSON.parse(line);
}

/** What other processes, or the host, may take of the machine during a round, in cores. */
const OTHERS_MAX = 0.1;
export const rounds = { tries: 3, disturbed: 0, all: 0, others: 0 };

/** run() until a round was disturbed little, at most rounds.tries times; the least disturbed one. */
export async function quietly(run) {
    let best;
    for (let i = 0; i < rounds.tries; i++) {
        const one = await run();
        if (!best || one.others_cpu_share < best.others_cpu_share) best = one;
        if (best.others_cpu_share <= OTHERS_MAX) break;
        await sleep(500);
    }
    rounds.all++;
    rounds.others = Math.max(rounds.others, best.others_cpu_share);
    if (best.others_cpu_share > OTHERS_MAX) rounds.disturbed++;
    return best;
}

/** sockudo-load on its core; its figures. What it complains about is an error. */
export async function load(mode, options, command = []) {
    const file = `${workDir}/load-${mode}.json`;
    const args = [mode, '--json', file];
    for (const [key, value] of Object.entries(options)) {
        if (value === true) args.push(`--${key}`);
        else if (value !== undefined && value !== false) args.push(`--${key}`, String(value));
    }
    if (command.length) args.push('--', ...command);
    rmSync(file, { force: true });
    const child = spawn('taskset', pinned(LOAD_CORE, [`${programs}/sockudo-load`, ...args]),
                        { stdio: ['ignore', 'pipe', 'pipe'] });
    running.add(child);
    let said = '';
    child.stdout.on('data', () => {});
    child.stderr.on('data', (text) => { said += text; });
    const code = await new Promise((done) => child.once('close', done));
    running.delete(child);
    if (code !== 0) {
        let figures = '';
        try { figures = readFileSync(file, 'utf8'); } catch { /* it never got that far */ }
        throw new Error(`sockudo-load ${args.join(' ')} ended with ${code}: ${said.slice(-600)} ${figures}`);
    }
    return JSON.parse(readFileSync(file, 'utf8'));
}

export function median(values) {
    const sorted = values.filter((v) => Number.isFinite(v)).sort((a, b) => a - b);
    if (sorted.length === 0) return NaN;
    const middle = sorted.length >> 1;
    return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** The median of one figure over several rounds. */
export const medianOf = (rounds, key) => median(rounds.map((r) => r[key]));

/** The median of what a figure is, in each round, as a share of the same figure of another server. */
export const medianRatio = (rounds, others, key) => median(rounds.map((r, i) => r[key] / others[i][key]));

export { sleep };
