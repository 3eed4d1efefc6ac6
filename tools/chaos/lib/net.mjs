// SPDX-License-Identifier: Apache-2.0
//
// net.mjs - a network of our own for the hosts of a run, made of network namespaces, and gone with it.
//
//      root ──────┐ client 10.A.3.0/24 (the runner: /live, metrics)
//      agent ─────┤
//      node0 ─────┼── bus 10.A.1.0/24 ──── redis0, redis1, sentinel
//      node1 ─────┤                          three bridges in one more namespace ("hub"); a host has one link per bridge,
//      node2 ─────┴── store 10.A.2.0/24 ── pg  so "node1 no longer reaches the bus" is one link down
//
// Where namespaces are not permitted, Loopback has the same methods, on 127.0.0.1: what cuts links is not possible there.
// Names begin with sc<pid of the runner>-, so a later run finds what a killed one left (sweep()).
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';

const NETS = { bus: 1, store: 2, client: 3 };
const PREFIX = 'sc';
const ip = (...args) => execFileSync('ip', args, { stdio: ['ignore', 'pipe', 'pipe'] }).toString();
const batch = (namespace, lines) => execFileSync('ip', [...(namespace ? ['-n', namespace] : []), '-batch', '-'], { input: `${lines.join('\n')}\n`, stdio: ['pipe', 'pipe', 'pipe'] });

const alive = pid => { try { process.kill(pid, 0); return true; } catch (error) { return error.code === 'EPERM'; } };
const namespaces = () => { try { return fs.readdirSync('/run/netns'); } catch { return []; } };

function removeNamespace(name) {
  const found = spawnSync('ip', ['netns', 'pids', name]).stdout?.toString() ?? '';
  for (const pid of found.split('\n').filter(Boolean)) try { process.kill(Number(pid), 'SIGKILL'); } catch { /* it has ended */ }
  spawnSync('ip', ['netns', 'del', name]);
}

/* What runners left that are no more. */
export function sweep() {
  for (const name of namespaces()) {
    const owner = name.match(/^sc(\d+)-/);
    if (owner && !alive(Number(owner[1]))) removeNamespace(name);
  }
}

/* null, or why namespaces cannot be had. */
export function whyNot() {
  if (process.env.AI_CHAOS_LOOPBACK) return 'AI_CHAOS_LOOPBACK is set';
  const name = `${PREFIX}${process.pid}-probe`;
  const made = spawnSync('sh', ['-c', `ip netns add ${name} && ip -n ${name} link add probe type bridge`]);
  spawnSync('ip', ['netns', 'del', name]);
  return made.status === 0 ? null : `network namespaces are not permitted here: ${(made.stderr?.toString() || made.error?.message || 'no ip(8)').trim()}`;
}

/* An A that no address or route of this machine uses. */
function freeSubnet() {
  const used = ip('-4', 'addr') + ip('-4', 'route');
  for (let i = 0; i < 128; i++) {
    const a = 64 + (process.pid + i) % 128;
    if (!used.includes(`10.${a}.`)) return a;
  }
  throw new Error('no 10.A.0.0/16 is free');
}

export class Net {
  isolated = true;
  hosts = new Map(); // name -> number of its addresses

  constructor() {
    this.a = freeSubnet();
    this.hub = this.space('hub');
    process.on('exit', this.atExit = () => this.remove());
    ip('netns', 'add', this.hub);
    batch(this.hub, Object.keys(NETS).flatMap(n => [`link add ${n} type bridge`, `link set ${n} up`]));
    ip('link', 'add', `${PREFIX}${process.pid}`, 'type', 'veth', 'peer', 'name', 'root-c', 'netns', this.hub);
    batch(this.hub, ['link set root-c master client up']);
    batch(null, [`addr add 10.${this.a}.3.254/24 dev ${PREFIX}${process.pid}`, `link set ${PREFIX}${process.pid} up`]);
  }

  space(host) { return `${PREFIX}${process.pid}-${host}`; }
  port(wanted) { return wanted; }
  address(host, network) { return `10.${this.a}.${NETS[network]}.${this.hosts.get(host)}`; }

  add(host, networks) {
    const space = this.space(host);
    this.hosts.set(host, this.hosts.size + 10);
    ip('netns', 'add', space);
    batch(this.hub, networks.flatMap(n => [`link add ${host}-${n[0]} type veth peer name ${n} netns ${space}`, `link set ${host}-${n[0]} master ${n} up`]));
    batch(space, ['link set lo up', ...networks.flatMap(n => [`addr add ${this.address(host, n)}/24 dev ${n}`, `link set ${n} up`])]);
  }

  /* The command that runs argv there; it becomes argv, so its pid is argv's. */
  command(host, argv) { return ['ip', 'netns', 'exec', this.space(host), ...argv]; }

  link(host, network, up) { batch(this.hub, [`link set ${host}-${network[0]} ${up ? 'up' : 'down'}`]); }

  /* One direction only: what `host` sends to `to` vanishes, the other way is open. */
  oneWay(host, to, network, open) { batch(this.space(host), [`route ${open ? 'del' : 'add'} blackhole ${this.address(to, network)}/32`]); }

  set(host, name, value) { execFileSync('ip', ['netns', 'exec', this.space(host), 'sysctl', '-qw', `${name}=${value}`]); }

  remove() {
    process.off('exit', this.atExit);
    for (const name of namespaces().filter(n => n.startsWith(this.space('')))) removeNamespace(name);
    spawnSync('ip', ['link', 'del', `${PREFIX}${process.pid}`]); // the other end is gone, but perhaps not yet this one
    this.hosts.clear();
  }
}

export class Loopback {
  isolated = false;
  add() { /* all are here */ }
  address() { return '127.0.0.1'; }
  command(host, argv) { return argv; }
  set() { /* not for the whole machine */ }
  remove() { /* nothing was made */ }
  port() {
    return new Promise(resolve => {
      const probe = net.createServer().listen(0, '127.0.0.1', () => { const { port } = probe.address(); probe.close(() => resolve(port)); });
    });
  }
}
