// SPDX-License-Identifier: Apache-2.0
//
// fleet.mjs - N nodes on this machine, with the PostgreSQL and Redis they share, below one directory. See usage() below.
//
//    DIR/fleet.json           what was started: processes (with their start times: a reused pid is nobody of ours), ports
//    DIR/node-1/server.toml   its configuration; server.log, data/
//    DIR/redis.log, DIR/nginx/; PostgreSQL's data lies in a directory of its own below /tmp
//
// A start that fails in the middle stops what it had started. A stop ends with nothing left: no process, and no file unless --keep.
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const READY_MS = 30000, STOP_MS = 20000;
const OPTIONS = {
  nodes: ['3', 'how many'], store: ['postgres', 'postgres, rocksdb or memory; the last two are each node\'s own'], bus: ['redis', 'redis or none'],
  port: ['0', 'of the first node, the others follow; 0 = free ones'], 'metrics-port': ['0', 'the same for metrics'], host: ['127.0.0.1', 'where nodes listen'],
  workers: ['', 'threads of a node'], cpus: ['', 'cores for all of it, as taskset names them (0 or 0-1); default: any'], program: [path.join(root, 'build/release/sockudo'), 'the server'], config: ['', 'a file in TOML that is appended to each node\'s configuration'],
  nginx: [false, 'one address in front of all nodes'], keep: [false, 'stop: leave the directory'],
};

function usage() {
  const lines = Object.entries(OPTIONS).map(([name, [initial, what]]) => `  --${name.padEnd(13)} ${what}${initial ? ` (${path.isAbsolute(initial) ? path.relative(root, initial) : initial})` : ''}`);
  return ['usage: tools/fleet start DIR [--option value]...   starts it and waits until each node is ready',
    '       tools/fleet status DIR                         a line for each process; exit 1 if one is not well',
    '       tools/fleet env DIR                            addresses for the scale runner, as shell exports',
    '       tools/fleet kill DIR NODE                      SIGKILL to that node (from 1)',
    '       tools/fleet revive DIR NODE                    starts it again with the same configuration and data',
    '       tools/fleet stop DIR [--keep]                  ends all and removes the directory', ...lines].join('\n');
}

class Fault extends Error {}

/* ---- processes ---- */

/* Field 22 of /proc/PID/stat: with it a pid means one process for ever. A zombie counts as ended. */
function startedAt(pid) {
  try {
    const fields = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /s, '').split(' ');
    return fields[0] === 'Z' ? null : fields[19];
  } catch { return null; }
}
const alive = ({ pid, since }) => pid !== undefined && startedAt(pid) === since;

/* taskset becomes the command, so the pid is the command's; children stay on these cores, too. */
const pinned = (cpus, command, args) => (cpus ? ['taskset', ['-c', cpus, command, ...args]] : [command, args]);

function launch(fleet, command, args, { cwd, log }) {
  const out = fs.openSync(log, 'a');
  const child = spawn(...pinned(fleet.options.cpus, command, args), { cwd, detached: true, stdio: ['ignore', out, out] });
  fs.closeSync(out);
  child.on('error', () => {});
  child.unref();
  if (child.pid === undefined) throw new Fault(`${command} cannot be started`);
  return { pid: child.pid, since: startedAt(child.pid) };
}

async function end(process_, signal = 'SIGTERM') {
  if (!alive(process_)) return true;
  process.kill(process_.pid, signal);
  for (const until = Date.now() + STOP_MS; alive(process_) && Date.now() < until;) await sleep(20);
  if (!alive(process_)) return true;
  process.kill(process_.pid, 'SIGKILL');
  while (alive(process_)) await sleep(20);
  return false;
}

/* ---- ports, readiness ---- */

const isFree = (host, port) => new Promise(resolve => {
  const probe = net.createServer().on('error', () => resolve(false));
  probe.listen(port, host, () => probe.close(() => resolve(true)));
});

/* Below the ephemeral range: no outgoing connection takes it meanwhile. */
async function portOf(host, wanted, taken) {
  if (wanted !== 0) {
    if (!await isFree(host, wanted)) throw new Fault(`port ${wanted} of ${host} is in use`);
    return wanted;
  }
  for (;;) {
    const port = 10000 + Math.floor(Math.random() * 20000);
    if (taken.has(port) || !await isFree(host, port)) continue;
    taken.add(port);
    return port;
  }
}

const answer = (host, port, target) => new Promise(resolve => {
  http.get({ host, port, path: target, agent: false, timeout: 2000 }, response => { response.resume(); resolve(response.statusCode); })
    .on('timeout', function late() { this.destroy(); }).on('error', () => resolve(0));
});
const accepts = port => new Promise(resolve => {
  const socket = net.connect(port, '127.0.0.1').once('connect', () => { socket.destroy(); resolve(true); }).once('error', () => resolve(false));
});

async function waitFor(what, condition, process_, log) {
  for (const until = Date.now() + READY_MS; Date.now() < until; await sleep(30)) {
    if (await condition()) return;
    if (process_ && !alive(process_)) break;
  }
  const said = fs.existsSync(log) ? fs.readFileSync(log, 'utf8').slice(-1500) : '';
  throw new Fault(`${what} ${process_ && !alive(process_) ? 'ended at its start' : `was not ready within ${READY_MS / 1000} s`}:\n${said}`);
}

/* ---- the fleet and its file ---- */

const fileOf = dir => path.join(dir, 'fleet.json');
const save = fleet => fs.writeFileSync(fileOf(fleet.dir), `${JSON.stringify(fleet, null, 2)}\n`);
function load(dir) {
  try { return JSON.parse(fs.readFileSync(fileOf(dir), 'utf8')); } catch { throw new Fault(`${dir}: no fleet was started there`); }
}

function tools(command, fleet) {
  const ran = spawnSync(...pinned(fleet.options.cpus, path.join(root, 'tools/postgres'), [command, fleet.postgres.dir]), { encoding: 'utf8' });
  if (ran.status !== 0) throw new Fault(`tools/postgres ${command}: ${ran.stderr.trim()}`);
  return ran.stdout.trim();
}

/* Root's PostgreSQL runs as another user (tools/postgres), who has to get there: not below DIR, which may be private. */
function startPostgres(fleet) {
  fleet.postgres = { dir: fs.mkdtempSync(path.join(os.tmpdir(), 'sockudo-fleet-pg-')) };
  fs.chmodSync(fleet.postgres.dir, 0o755);
  save(fleet);
  fleet.postgres.port = Number(tools('start', fleet));
  const pid = Number(fs.readFileSync(path.join(fleet.postgres.dir, 'data/postmaster.pid'), 'utf8').split('\n')[0]);
  Object.assign(fleet.postgres, { pid, since: startedAt(pid) });
}

async function startRedis(fleet, taken) {
  const port = await portOf('127.0.0.1', 0, taken), log = path.join(fleet.dir, 'redis.log');
  fleet.redis = { port, ...launch(fleet, 'redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', fleet.dir], { cwd: fleet.dir, log }) };
  save(fleet);
  await waitFor('redis-server', () => accepts(port), fleet.redis, log);
}

/* ---- nodes ---- */

function configOf(fleet, node) {
  const { store, bus, workers } = fleet.options;
  const lines = [`port = ${node.port}`, `host = "${fleet.host}"`, ...(workers ? [`workers = ${workers}`] : []), 'shutdown_grace_period = 5',
    `instance.process_id = "node-${node.number}"`, '[metrics]', `host = "${fleet.host}"`, `port = ${node.metricsPort}`, '[rate_limiter]', 'enabled = false',
    '[connection_recovery]', 'enabled = true', '[ai_transport]', 'enabled = true', 'channels = [{ prefix = "private-ai-" }, { prefix = "ai-" }]',
    '[history]', 'enabled = true', `backend = "${store}"`, '[versioned_messages]', 'enabled = true', `driver = "${store}"`,
    '[database.rocksdb]', `path = "${path.join(node.dir, 'data')}"`,
    '[[app_manager.array.apps]]', 'id = "app-id"', 'key = "app-key"', 'secret = "app-secret"', 'enabled = true',
    'policy = { features = { enable_client_messages = true, enable_user_authentication = true } }'];
  if (fleet.postgres) lines.push('[database.postgres]', 'host = "127.0.0.1"', `port = ${fleet.postgres.port}`, 'username = "sockudo"', 'password = "sockudo"', 'database = "sockudo"');
  if (fleet.redis) lines.push('[database.redis]', 'host = "127.0.0.1"', `port = ${fleet.redis.port}`);
  lines.push('[adapter]', `driver = "${bus === 'redis' ? 'redis' : 'local'}"`);
  if (bus === 'redis') lines.push('[cache]', 'driver = "redis"');
  return `${lines.join('\n')}\n${fleet.options.config ? fs.readFileSync(fleet.options.config, 'utf8') : ''}`;
}

function launchNode(fleet, node) {
  Object.assign(node, launch(fleet, fleet.options.program, ['--config', path.join(node.dir, 'server.toml')], { cwd: node.dir, log: path.join(node.dir, 'server.log') }));
  save(fleet);
}
const nodeReady = (fleet, node) => waitFor(`node ${node.number}`, async () => await answer(fleet.host, node.port, '/up/app-id') === 200, node, path.join(node.dir, 'server.log'));

async function startNodes(fleet, taken) {
  const { port, 'metrics-port': metricsPort } = fleet.options;
  for (let i = 0; i < Number(fleet.options.nodes); i++) {
    const node = { number: i + 1, dir: path.join(fleet.dir, `node-${i + 1}`) };
    node.port = await portOf(fleet.host, Number(port) && Number(port) + i, taken);
    node.metricsPort = await portOf(fleet.host, Number(metricsPort) && Number(metricsPort) + i, taken);
    fs.mkdirSync(node.dir);
    fs.writeFileSync(path.join(node.dir, 'server.toml'), configOf(fleet, node));
    fleet.nodes.push(node);
    launchNode(fleet, node);
    if (i === 0) await nodeReady(fleet, node); // it makes the tables; the others find them
  }
  await Promise.all(fleet.nodes.map(node => nodeReady(fleet, node)));
}

async function startNginx(fleet, taken) {
  const dir = path.join(fleet.dir, 'nginx'), port = await portOf(fleet.host, 0, taken), log = path.join(dir, 'error.log');
  fs.mkdirSync(dir);
  fs.writeFileSync(path.join(dir, 'nginx.conf'), `daemon off;\npid ${dir}/nginx.pid;\nerror_log ${log};\nworker_rlimit_nofile 20000;\nevents { worker_connections 19000; }\nhttp {
  access_log off;\n  ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(k => `${k}_temp_path ${dir}/${k};`).join(' ')}
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  upstream nodes {\n${fleet.nodes.map(n => `    server ${fleet.host}:${n.port};`).join('\n')}\n    keepalive 64;\n  }
  server {\n    listen ${fleet.host}:${port};\n    client_max_body_size 20m;\n    location / {\n      proxy_pass http://nodes;\n      proxy_http_version 1.1;\n      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;\n      proxy_set_header Host $http_host;\n      proxy_read_timeout 1h;\n      proxy_buffering off;\n    }\n  }\n}\n`);
  fleet.nginx = { port, ...launch(fleet, 'nginx', ['-c', path.join(dir, 'nginx.conf'), '-p', dir], { cwd: dir, log }) };
  save(fleet);
  await waitFor('nginx', () => accepts(port), fleet.nginx, log);
}

/* ---- commands ---- */

function checkOptions(o) {
  const among = (name, words) => { if (!words.includes(o[name])) throw new Fault(`--${name} ${o[name]}: one of ${words.join(', ')} is needed`); };
  among('store', ['postgres', 'rocksdb', 'memory']);
  among('bus', ['redis', 'none']);
  if (!(Number(o.nodes) >= 1 && Number(o.nodes) <= 1000 && Number.isInteger(Number(o.nodes)))) throw new Fault(`--nodes ${o.nodes}: a whole number from 1 to 1000 is needed`);
  for (const name of ['port', 'metrics-port']) if (!/^\d+$/.test(o[name]) || Number(o[name]) > 65535) throw new Fault(`--${name} ${o[name]}: is no port`);
  if (o.cpus && spawnSync('taskset', ['-c', o.cpus, 'true']).status !== 0) throw new Fault(`--cpus ${o.cpus}: taskset finds no such cores here`);
  o.program = path.resolve(o.program);
  if (!fs.existsSync(o.program)) throw new Fault(`--program ${o.program}: is not there (make builds it)`);
  if (o.config && !fs.existsSync(o.config)) throw new Fault(`--config ${o.config}: is not there`);
}

async function start(dir, options) {
  checkOptions(options);
  if (fs.existsSync(fileOf(dir))) throw new Fault(`${dir}: a fleet was started there; stop it first`);
  fs.mkdirSync(dir, { recursive: true });
  const fleet = { dir, host: options.host, options, nodes: [] }, taken = new Set();
  save(fleet);
  try {
    if (options.store === 'postgres') startPostgres(fleet);
    if (options.bus === 'redis') await startRedis(fleet, taken);
    await startNodes(fleet, taken);
    if (options.nginx) await startNginx(fleet, taken);
    save(fleet);
  } catch (error) {
    await stopAll(fleet);
    fs.rmSync(dir, { recursive: true, force: true });
    throw error;
  }
  return status(dir);
}

async function status(dir) {
  const fleet = load(dir);
  let well = true;
  const tell = (name, process_, port, fine, more = '') => { well &&= fine; console.log(`${name.padEnd(9)} ${fine ? 'up  ' : 'DOWN'}  pid ${String(process_.pid ?? '-').padEnd(8)} port ${port}${more}`); };
  if (fleet.postgres) tell('postgres', fleet.postgres, fleet.postgres.port, alive(fleet.postgres));
  if (fleet.redis) tell('redis', fleet.redis, fleet.redis.port, alive(fleet.redis));
  for (const node of fleet.nodes) tell(`node-${node.number}`, node, node.port, alive(node) && await answer(fleet.host, node.port, '/up/app-id') === 200, `  metrics ${node.metricsPort}  ${path.relative('.', node.dir)}/server.log`);
  if (fleet.nginx) tell('nginx', fleet.nginx, fleet.nginx.port, alive(fleet.nginx));
  return well ? 0 : 1;
}

/* Nodes first, while what they need is there. True if all ended by themselves. */
async function stopAll(fleet) {
  const ended = await Promise.all([...fleet.nodes, fleet.nginx ?? {}].map(p => end(p)));
  const redis = await end(fleet.redis ?? {});
  if (fleet.postgres) {
    try { tools('stop', fleet); } catch (error) { if (alive(fleet.postgres)) throw error; }
    fs.rmSync(fleet.postgres.dir, { recursive: true, force: true });
  }
  fleet.nodes.filter((_, i) => !ended[i]).forEach(n => console.error(`node ${n.number} did not end within ${STOP_MS / 1000} s of SIGTERM and was killed`));
  return ended.every(Boolean) && redis;
}

async function stop(dir, { keep }) {
  const clean = await stopAll(load(dir));
  if (keep) fs.rmSync(fileOf(dir));
  else fs.rmSync(dir, { recursive: true, force: true });
  return clean ? 0 : 1;
}

function env(dir) {
  const fleet = load(dir), list = pick => fleet.nodes.map(n => `http://${fleet.host}:${pick(n)}`).join(',');
  console.log(`export SOCKUDO_NODE_URLS=${list(n => n.port)}\nexport SOCKUDO_METRICS_URLS=${list(n => n.metricsPort)}\nexport SOCKUDO_APP_ID=app-id SOCKUDO_APP_KEY=app-key SOCKUDO_APP_SECRET=app-secret`);
  if (fleet.postgres) console.log(`export SOCKUDO_POSTGRES_URL=postgres://sockudo@127.0.0.1:${fleet.postgres.port}/sockudo`);
  if (fleet.redis) console.log(`export SOCKUDO_REDIS_URL=redis://127.0.0.1:${fleet.redis.port}`);
  if (fleet.nginx) console.log(`export SOCKUDO_FRONT_URL=http://${fleet.host}:${fleet.nginx.port}`);
  return 0;
}

function nodeOf(fleet, number) {
  const node = fleet.nodes.find(n => String(n.number) === number);
  if (!node) throw new Fault(`there is no node ${number}; they are 1 to ${fleet.nodes.length}`);
  return node;
}

async function revive(dir, number) {
  const fleet = load(dir), node = nodeOf(fleet, number);
  if (alive(node)) throw new Fault(`node ${number} is alive`);
  launchNode(fleet, node);
  await nodeReady(fleet, node);
  return 0;
}

function readArguments(args) {
  const options = Object.fromEntries(Object.entries(OPTIONS).map(([name, [initial]]) => [name, initial])), words = [];
  for (let i = 0; i < args.length; i++) {
    if (!args[i].startsWith('--')) { words.push(args[i]); continue; }
    const name = args[i].slice(2);
    if (!(name in OPTIONS)) throw new Fault(`${args[i]}: unknown option\n${usage()}`);
    options[name] = OPTIONS[name][0] === false ? true : args[++i];
    if (options[name] === undefined) throw new Fault(`--${name}: a value is missing`);
  }
  return { words, options };
}

async function main() {
  const { words: [command, where, number], options } = readArguments(process.argv.slice(2));
  if (!command || !where) { console.error(usage()); return 2; }
  const dir = path.resolve(where);
  switch (command) {
    case 'start': return start(dir, options);
    case 'status': return status(dir);
    case 'env': return env(dir);
    case 'kill': await end(nodeOf(load(dir), number), 'SIGKILL'); return 0;
    case 'revive': return revive(dir, number);
    case 'stop': return stop(dir, options);
    default: throw new Fault(`${command}: unknown command\n${usage()}`);
  }
}

main().then(code => { process.exitCode = code; }, error => {
  console.error(error instanceof Fault ? `fleet: ${error.message}` : error.stack);
  process.exitCode = 2;
});
