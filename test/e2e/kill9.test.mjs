// SPDX-License-Identifier: Apache-2.0
//
// kill9.test.mjs - the promise: what was acknowledged is there, once, in order, whatever is killed.
//
//    publisher   append, append, append …   each with its op_id, repeated until it is acknowledged
//    server      ───╳────╳──────╳─────      kill -9, at a random moment in the stream, then started again
//    subscribers ───╮╭───╮╭─────╮╭────      three, with different windows, back by resume
//
// After every restart: stored text = all acknowledged appends in order, perhaps with the one that is under way;
// each subscriber's text is a beginning of it. At the end all are equal. SOCKUDO_KILLS sets the number of kills (50).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Api, complete, streaming } from './lib/api.mjs';
import { Server, releaseProgram, sleep, until } from './lib/server.mjs';
import { V2 } from './lib/v2.mjs';

const KILLS = Number(process.env.SOCKUDO_KILLS ?? 50);
const CHANNEL = 'ai-kill9';

/* Repeats until the server answers 200, as an SDK would with message_id or op_id. */
async function insist(request) {
  for (;;) {
    const answer = await request().catch(() => null);
    if (answer?.status === 200) return answer.body;
    if (answer && answer.status < 500) throw new Error(`${answer.status} ${answer.text}`);
    await sleep(5);
  }
}

class Publisher {
  constructor(api, serial) { Object.assign(this, { api, serial, acknowledged: '', pending: '', count: 0, duplicates: 0, running: true }); }

  async run() {
    while (this.running) await this.append(`${this.count},`);
    await this.append('end', { extras: complete });
  }

  async append(fragment, more = {}) {
    this.pending = fragment;
    const op_id = `op-${this.count++}`;
    const { status } = await insist(() => this.api.append(CHANNEL, this.serial, fragment, { op_id, ...more }));
    if (status === 'duplicate') this.duplicates++;
    this.acknowledged += fragment;
    this.pending = '';
  }
}

/* Stays attached while the server comes and goes. */
class Follower {
  constructor(server, params) { Object.assign(this, { client: new V2(server, { params, name: params }), failures: [], resumes: 0, running: true }); }

  async start() {
    await this.client.open();
    await this.client.subscribe(CHANNEL);
    this.loop = this.follow();
  }

  async follow() {
    while (this.running) {
      if (this.client.ws?.open) { await sleep(5); continue; }
      try {
        const answer = await this.client.reconnect();
        this.resumes++;
        this.failures.push(...(answer?.failed ?? []));
      } catch { await sleep(20); }
    }
  }

  async stop() { this.running = false; await this.loop; await this.client.close(); }
}

test(`after ${KILLS} kills in mid-stream the text is exactly what was acknowledged, and every subscriber has it`, { timeout: 600_000 }, async t => {
  const server = await Server.start({ use: releaseProgram, config: { ai_transport: { max_appends_per_message: 1_000_000, max_accumulated_message_bytes: 64 << 20 }, connection_recovery: { max_buffer_size: 1000, max_positions: 1_000_000 } } });
  const api = new Api(server);
  const followers = ['', 'append_rollup_window=0', 'append_mode=full'].map(params => new Follower(server, params));
  try {
    for (const follower of followers) await follower.start();
    const { message_serial: serial } = await api.create(CHANNEL, '', { extras: streaming() });
    const publisher = new Publisher(api, serial), publishing = publisher.run();
    publishing.catch(() => {});

    for (let kill = 1; kill <= KILLS; kill++) {
      await sleep(20 + Math.random() * 120);
      await server.kill9();
      const atDeath = publisher.acknowledged;
      await server.restart();
      const stored = (await insist(() => api.get(api.path(CHANNEL, serial)))).item.data;
      const allowed = publisher.acknowledged + publisher.pending;
      assert.ok(stored.startsWith(atDeath), `kill ${kill}: acknowledged …${atDeath.slice(-40)}, stored …${stored.slice(-40)}`);
      assert.ok(allowed.startsWith(stored) || stored.startsWith(publisher.acknowledged), `kill ${kill}: more is stored than was sent`);
      for (const { client } of followers) {
        const text = client.text(CHANNEL, serial) ?? '', now = (await api.latest(CHANNEL, serial)).data;
        assert.ok(now.startsWith(text), `kill ${kill}: "${client.name}" has …${text.slice(-40)} of …${now.slice(-40)}`);
      }
    }

    publisher.running = false;
    await publishing;
    const expected = publisher.acknowledged;
    assert.equal((await api.latest(CHANNEL, serial)).data, expected);
    for (const follower of followers) {
      const { client } = follower;
      await until(() => client.text(CHANNEL, serial)?.length >= expected.length, () => `the end at "${client.name}", which has ${client.text(CHANNEL, serial)?.length} of ${expected.length}`, 10_000);
      assert.equal(client.text(CHANNEL, serial), expected, client.name);
      assert.deepEqual(follower.failures, [], `no resume failed at "${client.name}"`);
      assert.deepEqual(client.faults, [], client.name);
      assert.ok(follower.resumes >= KILLS / 2, `${follower.resumes} resumes`);
    }
    const versions = [];
    for (let cursor; ;) {
      const { body } = await api.versions(CHANNEL, serial, { direction: 'oldest_first', ...(cursor ? { cursor } : {}) });
      versions.push(...body.items.map(i => i.data));
      if (!body.has_more) break;
      cursor = body.next_cursor;
    }
    assert.equal(versions.join(''), expected);
    assert.equal(versions.length, publisher.count + 1, 'one version per append, and the create');
    t.diagnostic(`${publisher.count} appends, ${publisher.duplicates} of them found again after a crash`);
  } finally {
    await Promise.all(followers.map(f => f.stop().catch(() => {})));
    api.close();
    if (server.running) await server.stop().catch(() => {});
  }
});
