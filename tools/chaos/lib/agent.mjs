// SPDX-License-Identifier: Apache-2.0
//
// agent.mjs - the load of a chaos run, a process of its own: publishers that insist, subscribers that come back, and a record of it all.
//
//    stdin, a line each   {"type":"start", …}  {"type":"speak"}  {"type":"home","node":n}  {"type":"ahead","node":n,"seconds":s}
//                         {"type":"pace","perSecond":n}  {"type":"slow"}  {"type":"unslow"}  {"type":"finish"}
//    stdout               {"type":"ready"}  {"type":"progress","acks":…}  {"type":"done"}: the history is in the file
//
// It judges nothing: oracle.mjs reads the record (see there for its shape). Times are milliseconds of this process's clock.
import fs from 'node:fs';
import readline from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { Api } from '../../../test/e2e/lib/api.mjs';
import { Publisher } from './publisher.mjs';
import { Subscriber } from './subscriber.mjs';
import { Random } from './random.mjs';

const say = message => process.stdout.write(`${JSON.stringify(message)}\n`);
const CATCH_UP_MS = 15_000, READERS = 8;

class Agent {
  constructor(order) {
    Object.assign(this, { order, home: null, speaking: true, refusals: [], receipts: [], counts: { acks: 0, retries: 0, unanswered: 0, duplicates: 0, gaveUp: 0, frames: 0, resumes: 0 } });
    this.nodes = order.nodes.map(n => ({ ...n, timeoutMs: order.requestTimeoutMs, apps: [order.app], aheadSeconds: 0 }));
    this.apis = this.nodes.map(node => new Api(node, order.app));
    this.publishers = Array.from({ length: order.streams }, (_, k) => new Publisher(this, k, new Random(order.seed * 7919 + k)));
    this.subscribers = this.publishers.flatMap((p, k) => Array.from({ length: order.subscribers }, (_, j) => new Subscriber(this, k, j)));
  }

  now() { return Math.round((performance.timeOrigin + performance.now()) * 10) / 10; }

  async open() {
    for (let i = 0; i < this.subscribers.length; i += 50) await Promise.all(this.subscribers.slice(i, i + 50).map(s => s.open()));
  }

  /* Some sockets, no two of them the same. */
  slowDown() {
    const random = new Random(this.order.seed + 1);
    for (let i = 0; i < this.order.slowSockets;) {
      const s = this.subscribers[random.below(this.subscribers.length)];
      if (s.slow) continue;
      s.readSlowly(i++ % 2 ? 'stopped' : '1kB/s');
    }
  }

  speak() { this.publishing = this.publishers.map(p => p.run()); }

  async finish() {
    this.speaking = false;
    await Promise.all(this.publishing);
    await this.readTexts();
    const until = Date.now() + CATCH_UP_MS;
    while (Date.now() < until && !this.subscribers.every(s => s.hasAll(this.publishers[s.channel].lastSerial))) await sleep(20);
    await sleep(200); // what comes now is too much
    for (const s of this.subscribers) s.close();
    fs.writeFileSync(this.order.historyFile, JSON.stringify(this.history()));
    this.apis.forEach(api => api.close());
  }

  /* The final text of every message, as each node reads it. */
  async readTexts() {
    const wanted = this.publishers.flatMap(p => p.messages.filter(m => m.serial).map(m => ({ p, m })));
    await Promise.all(Array.from({ length: READERS }, async () => {
      for (let one; (one = wanted.pop());) one.m.texts = await Promise.all(this.apis.map(api => textOf(api, one.p.name, one.m.serial)));
    }));
  }

  history() {
    return {
      order: { ...this.order, app: undefined }, counts: this.counts, refusals: this.refusals, receipts: this.receipts,
      channels: this.publishers.map(p => ({ name: p.name, messages: p.messages })), subscribers: this.subscribers.map(s => s.record()),
    };
  }
}

/* Tries again for a while: what is asked is whether the text is there, not how soon. */
async function textOf(api, channel, serial) {
  for (let i = 0; ; i++) {
    const item = await api.latest(channel, serial).catch(() => null);
    if (item || i === 20) return item ? item.data : null;
    await sleep(100);
  }
}

let agent, progress;
const orders = {
  async start(order) { agent = new Agent(order); await agent.open(); say({ type: 'ready', sockets: agent.subscribers.length }); },
  speak() { agent.speak(); progress = setInterval(() => say({ type: 'progress', ...agent.counts }), 250); },
  home({ node }) { agent.home = node; },
  ahead({ node, seconds }) { Object.assign(agent.nodes[node], { aheadSeconds: seconds, jumpedAt: agent.now() }); },
  slow() { agent.slowDown(); },
  unslow() { for (const s of agent.subscribers) s.readOn(); },
  pace({ perSecond }) { agent.order.perSecond = perSecond; },
  async finish() { await agent.finish(); clearInterval(progress); say({ type: 'done', ...agent.counts }); process.exit(0); },
};
process.on('unhandledRejection', error => { say({ type: 'error', message: error.stack }); process.exit(1); });
readline.createInterface({ input: process.stdin }).on('line', async line => {
  const order = JSON.parse(line);
  await orders[order.type](order);
}).on('close', () => process.exit(1));
