// SPDX-License-Identifier: Apache-2.0
//
// drops.test.mjs - connections that break at random moments while tokens flow, a thousand times, in every way of coming back.
//
//    publishers   one message after the other on each channel: create, appends, a terminal append
//    clients      as the SDKs are: they drop a message_id that they have seen among the last 1,000, keep the position of any frame
//                 with channel and serial, and need a base before an append. Each is cut after a random time and comes back by
//                 `resume`              positions only
//                 `rewind and resume`   SDKs repeat `rewind` on each reconnect, and resume too
//                 `rewind`              no position: what it knows of messages is thrown away with the connection
//                 `history`             no position: pages up to the attach, live from there
//
// At the end every client's transcript is compared with what was acknowledged, whole. SOCKUDO_DROPS sets the number of drops.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { test } from 'node:test';
import { Api, complete, streaming } from './lib/api.mjs';
import { Server, releaseProgram, sleep, until } from './lib/server.mjs';
import { V2 } from './lib/v2.mjs';

const DROPS = Number(process.env.SOCKUDO_DROPS ?? 1000);
const CHANNELS = ['ai-drops-a', 'ai-drops-b'];
const random = n => crypto.randomInt(n);

/* Message after message, token after token, until told to stop; all = message serial -> text. */
class Publisher {
  constructor(api, channel) { Object.assign(this, { api, channel, all: new Map(), running: true, tokens: 0 }); }

  async run() {
    while (this.running) {
      const { message_serial: serial } = await this.api.create(this.channel, '', { extras: streaming() });
      this.all.set(serial, '');
      const tokens = 5 + random(60);
      for (let i = 0; i < tokens; i++) await this.append(serial, i === tokens - 1);
    }
  }

  async append(serial, last) {
    const text = `${this.tokens++}${'~'.repeat(random(12))} `;
    const answer = await this.api.append(this.channel, serial, text, { op_id: crypto.randomUUID(), extras: last ? complete : streaming() });
    assert.equal(answer.status, 200, answer.text);
    this.all.set(serial, this.all.get(serial) + text);
    if (random(4) === 0) await sleep(random(8));
  }
}

/* Comes back by subscribe (and resume) as its way is; drops counts. */
class Client {
  constructor(server, way, params) {
    Object.assign(this, { way, drops: 0, failed: [], client: new V2(server, { params, name: `${way} ${params}` }) });
  }

  ask() { return /rewind/.test(this.way) ? { rewind: 100 } : {}; }

  async start() {
    await this.client.open();
    for (const channel of CHANNELS) await this.subscribe(channel);
  }

  async subscribe(channel) {
    if (this.way === 'history') await this.client.subscribeWithHistory(channel);
    else await this.client.subscribe(channel, this.ask());
  }

  async drop() {
    await sleep(random(30));
    this.client.cut();
    this.drops++;
    if (random(3) === 0) await sleep(random(60));
    if (/resume/.test(this.way)) {
      const answer = await this.client.reconnect();
      this.failed.push(...(answer?.failed ?? []));
    } else {
      this.client.forget();
      await this.client.reconnect({ resume: false, subscribe: false });
      for (const channel of CHANNELS) await this.subscribe(channel);
    }
  }
}

test(`${DROPS} drops at random moments, every way of coming back: all transcripts equal`, { timeout: 300_000 }, async t => {
  const server = await Server.start({ use: releaseProgram, config: { connection_recovery: { max_buffer_size: 10_000, max_positions: 1_000_000 }, history: { max_page_size: 1000 } } });
  const api = new Api(server);
  const ways = ['resume', 'resume', 'rewind and resume', 'rewind', 'history'];
  const params = ['', 'append_mode=full', 'append_rollup_window=0', 'append_rollup_window=500', 'append_rollup_window=20&append_mode=full'];
  const clients = ways.flatMap((way, i) => [new Client(server, way, params[i]), new Client(server, way, params[(i + 2) % params.length])]);
  try {
    for (const client of clients) await client.start();
    const publishers = CHANNELS.map(channel => new Publisher(api, channel)), publishing = publishers.map(p => p.run());
    const share = Math.ceil(DROPS / clients.length);
    const dropping = clients.map(async client => { for (let i = 0; i < share; i++) await client.drop(); });
    await Promise.race([Promise.all(dropping), ...publishing]);
    for (const publisher of publishers) publisher.running = false;
    await Promise.all(publishing);
    for (const { all, channel } of publishers) {
      const wanted = [...all].slice(-100);
      for (const { way, client, failed } of clients) {
        const mine = /^(rewind|history)$/.test(way) ? wanted : [...all];
        await until(() => mine.every(([serial, text]) => client.text(channel, serial) === text), () => difference(client, channel, mine), 10_000);
        assert.deepEqual([client.faults, failed], [[], []], `${way} ${client.params}`);
      }
    }
    const tokens = publishers.reduce((sum, p) => sum + p.tokens, 0), drops = clients.reduce((sum, c) => sum + c.drops, 0);
    assert.ok(drops >= DROPS && tokens > DROPS / 2, `${drops} drops, ${tokens} tokens`);
    t.diagnostic(`${drops} drops, ${tokens} tokens, ${publishers.reduce((sum, p) => sum + p.all.size, 0)} messages, ${clients.length} clients`);
  } finally {
    await Promise.all(clients.map(c => c.client.close()));
    api.close();
    await server.stop();
  }
});

function difference(client, channel, wanted) {
  const wrong = wanted.filter(([serial, text]) => client.text(channel, serial) !== text);
  const [serial, text] = wrong[0];
  return `${client.name}: ${wrong.length} of ${wanted.length} texts equal; ${serial} is ${JSON.stringify(client.text(channel, serial))} and should be ${JSON.stringify(text)}`;
}
