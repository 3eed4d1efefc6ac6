// SPDX-License-Identifier: Apache-2.0
//
// golden.test.mjs - the ten golden scenarios (chapter 3, appendix B), in both append modes and with rollup windows of 0 and 40 ms.
//
// Compared is what everybody must see alike: the order of events, the channel, the action, the text that each message amounts to
// after each frame, rising positions. A rolled-up frame may stand for several appends, so a run of texts may be thinned out, but
// never end elsewhere.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { Api } from './lib/api.mjs';
import { demoApp, fresh, oneServer, until } from './lib/server.mjs';
import { V2 } from './lib/v2.mjs';

const uuid = () => crypto.randomUUID();
const T = transport => ({ ai: { transport, codec: {} } });

/* What a scenario does, and [event, text] that a client has seen at its end. */
const scenarios = {
  normalTurn: {
    async run(s) {
      await s.event('ai-run-start', { 'run-id': 'r1', 'invocation-id': 'i1' });
      await s.create('', { 'run-id': 'r1', status: 'streaming', stream: 'true', role: 'assistant' });
      await s.append('hello', { status: 'streaming' });
      await s.append(' world', { status: 'complete' });
      await s.event('ai-run-end', { 'run-id': 'r1', 'run-reason': 'complete' });
    },
    sees: [['ai-run-start'], ['ai-output', ''], ['append', 'hello'], ['append', 'hello world'], ['ai-run-end']],
  },
  cancelTurn: {
    async run(s) {
      await s.event('ai-run-start', { 'run-id': 'r1' });
      await s.event('ai-cancel', { 'run-id': 'r1', 'input-client-id': 'u1' });
      await s.event('ai-run-end', { 'run-id': 'r1', 'run-reason': 'cancelled' });
    },
    sees: [['ai-run-start'], ['ai-cancel'], ['ai-run-end']],
  },
  abortPartial: {
    async run(s) {
      await s.create('', { 'run-id': 'r1', status: 'streaming', stream: 'true', role: 'assistant' });
      await s.append('partial', { status: 'streaming' });
      await s.update('partial', { status: 'cancelled' });
    },
    sees: [['ai-output', ''], ['append', 'partial'], ['update', 'partial']],
  },
  errorTurn: {
    async run(s) {
      await s.event('ai-run-start', { 'run-id': 'r1' });
      await s.event('ai-run-end', { 'run-id': 'r1', 'run-reason': 'error', 'error-code': 'overloaded', 'error-message': 'try later' });
    },
    sees: [['ai-run-start'], ['ai-run-end']],
  },
  suspendedContinuation: {
    async run(s) {
      await s.event('ai-run-start', { 'run-id': 'r1', 'invocation-id': 'i1' });
      await s.event('ai-run-suspend', { 'run-id': 'r1', 'invocation-id': 'i1' });
      await s.event('ai-run-resume', { 'run-id': 'r1', 'invocation-id': 'i2' });
    },
    sees: [['ai-run-start'], ['ai-run-suspend'], ['ai-run-resume']],
  },
  regenerate: {
    async run(s) {
      await s.create('', { 'run-id': 'r2', status: 'streaming', stream: 'true', role: 'assistant' });
      await s.append('new answer', { status: 'complete', 'msg-regenerate': 'old-codec-id' });
    },
    sees: [['ai-output', ''], ['append', 'new answer']],
  },
  edit: {
    async run(s) {
      await s.event('ai-input', { parent: 'p1', role: 'user' }, 'edited');
      await s.event('ai-output', { parent: 'p1', role: 'assistant', discrete: 'true' }, 'answer');
    },
    sees: [['ai-input', 'edited'], ['ai-output', 'answer']],
  },
  concurrentTurns: {
    async run(s) {
      for (const [event, run] of [['start', 'A'], ['start', 'B'], ['end', 'B'], ['end', 'A']])
        await s.event(`ai-run-${event}`, { 'run-id': run, ...(event === 'end' ? { 'run-reason': 'complete' } : {}) });
    },
    sees: [['ai-run-start'], ['ai-run-start'], ['ai-run-end'], ['ai-run-end']],
    inOrder: { key: 'run-id', values: ['A', 'B', 'B', 'A'] },
  },
  lateJoinHistory: {
    noSocket: true,
    async run(s) {
      await s.create('', { 'run-id': 'r1', status: 'streaming', stream: 'true' });
      await s.append('late-state', { status: 'complete' });
      const item = await s.api.latest(s.channel, s.serial);
      assert.deepEqual([item.data, item.action, item.delivery_serial, item.history_serial, item.message_serial, item.name], ['late-state', 'append', 2, 1, s.serial, 'ai-output']);
      assert.ok(item.version.serial > s.serial && item.version.timestamp_ms > 0);
    },
    sees: [],
  },
  recoverySmoke: {
    async run(s) { await s.event('ai-output', { 'run-id': 'r1', discrete: 'true', status: 'complete' }, 'recoverable'); },
    sees: [['ai-output', 'recoverable']],
  },
};

/* One run of a scenario against the server. */
class Scenario {
  constructor(api, channel) { Object.assign(this, { api, channel, operations: 0 }); }
  async event(name, transport, data = '{}') { this.operations++; await this.api.create(this.channel, data, { name, extras: T(transport) }); }
  async create(data, transport) { this.operations++; this.serial = (await this.api.create(this.channel, data, { message_id: uuid(), extras: T(transport) })).message_serial; }
  async append(data, transport) { this.operations++; this.ok(await this.api.append(this.channel, this.serial, data, { op_id: uuid(), extras: T(transport) })); }
  async update(data, transport) { this.operations++; this.ok(await this.api.update(this.channel, this.serial, { data, op_id: uuid(), extras: T(transport) })); }
  ok(answer) { assert.equal(answer.status, 200, answer.text); }
}

/* The frames of a channel as [event or action, text after it]; frames of one and the same kind of append may have been joined. */
function seen(client, channel) {
  const texts = new Map(), rows = [];
  for (const frame of client.of(channel)) {
    if (/subscription_succeeded/.test(frame.event)) continue;
    const headers = frame.extras.headers, serial = headers.sockudo_message_serial;
    const full = client.params.includes('append_mode=full');
    texts.set(serial, headers.sockudo_action === 'message.append' && !full ? texts.get(serial) + frame.data : frame.data);
    rows.push({ event: frame.event.replace(/^sockudo:message\./, ''), text: texts.get(serial), frame });
  }
  return rows;
}

/* got is wanted, but for appends that were joined into a later one. */
function assertThinned(got, wanted) {
  let at = 0;
  for (const [event, text] of wanted) {
    const row = got[at];
    const same = row?.event === event && (text === undefined || row.text === text);
    if (same) at++;
    else assert.ok(event === 'append' && row?.event === 'append' && row.text.startsWith(text), `wanted ${event} ${text}, got ${row?.event} ${row?.text}`);
  }
  assert.equal(at, got.length, `more frames than wanted: ${got.slice(at).map(r => r.event)}`);
}

describe('golden scenarios', () => {
  const held = oneServer({ before, after }, { config: { connection_recovery: { enabled: true } } });
  let api;
  before(() => { api = new Api(held.server, demoApp); });
  after(() => api.close());

  for (const [name, scenario] of Object.entries(scenarios))
    for (const mode of ['delta', 'full'])
      for (const window of [0, 40])
        test(`${name}, ${mode}, window ${window}`, async () => {
          const channel = fresh(`private-ai-${name.toLowerCase()}`), run = new Scenario(api, channel);
          const client = scenario.noSocket ? null : await V2.connect(held.server, { params: `append_mode=${mode}&append_rollup_window=${window}` });
          await client?.subscribe(channel);
          await scenario.run(run);
          if (!client) return;
          /* Each operation takes one position. */
          await until(() => seen(client, channel).at(-1)?.frame.serial === run.operations, 'the last frame');
          const rows = seen(client, channel);
          assertThinned(rows, scenario.sees);
          if (window === 0) assert.equal(rows.length, scenario.sees.length, 'nothing may be joined without a window');
          const serials = rows.map(r => r.frame.serial);
          assert.deepEqual(serials, [...serials].sort((a, b) => a - b));
          assert.ok(rows.every(r => r.frame.channel === channel && r.frame.stream_id === rows[0].frame.stream_id));
          if (scenario.inOrder) assert.deepEqual(rows.map(r => r.frame.extras.ai.transport[scenario.inOrder.key]), scenario.inOrder.values);
          if (run.serial) assert.equal(client.text(channel, run.serial), (await api.latest(channel, run.serial)).data);
          assert.deepEqual(client.faults, []);
          await client.close();
        });
});
