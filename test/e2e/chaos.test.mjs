// SPDX-License-Identifier: Apache-2.0
//
// chaos.test.mjs - the chaos runner's words and its judgement (chapter 4, 11.1 and 11.5); what it does to a fleet is the phase `chaos`.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { describe, test } from 'node:test';
import { judge } from '../../tools/chaos/lib/oracle.mjs';
import { PLANTS } from '../../tools/chaos/lib/plants.mjs';
import { othersUnchanged } from '../../tools/chaos/lib/scenarios.mjs';
import { Random } from '../../tools/chaos/lib/random.mjs';
import { root } from './lib/server.mjs';

const runner = (...words) => spawnSync(path.join(root, 'tools/chaos/ai-chaos-runner.sh'), words, { encoding: 'utf8' });

/* Two channels, a message each of eight tokens; three nodes, two subscribers a channel; one fault in the middle. */
function goodRecord() {
  const token = (k, i) => `[${k}.0.${i}|xxx]`, text = k => Array.from({ length: 8 }, (_, i) => token(k, i)).join('');
  const channels = [0, 1].map(k => ({ name: `c${k}`, messages: [{ number: 0, serial: `m${k}`, ended: true, texts: [text(k), text(k), text(k)],
    ops: Array.from({ length: 8 }, (_, i) => ({ i, acked: i !== 5, ds: i !== 5 ? i + 2 : null, began: 1000 + i * 10, t: 1005 + i * 10, node: i % 3 })) }] }));
  const frames = k => [[999, 1, 1, 'message.create', `m${k}`, '', `id-${k}-c`, 0], ...Array.from({ length: 8 }, (_, i) => [1006 + i * 10, 1, i + 2, 'message.append', `m${k}`, token(k, i), `id-${k}-${i}`, 0])];
  return {
    scenario: 'test', history: { counts: { acks: 14 }, refusals: [], receipts: [{ channel: 0, message: 0, i: 1, ds: 3, again: 3, status: 'duplicate' }], channels,
      subscribers: [0, 0, 1, 1].map(channel => ({ channel, params: 'append_rollup_window=0', slow: null, refused: [], cuts: [], frames: frames(channel) })) },
    faults: [{ name: 'fault', from: 1030, to: 1040 }], gauges: { baseline: 0, after: 0, tookMs: 10, limitMs: 100 }, resetRequired: [0, 0, 0],
    resources: { before: { rss: 1e8, fds: 50 }, after: { rss: 1e8, fds: 50 } }, limits: { liveMs: 500, growth: 0.05 },
  };
}

describe('the oracle', () => {
  test('passes what is right, an append that was never acknowledged there or not', () => {
    const record = goodRecord();
    assert.deepEqual(judge(record).filter(c => !c.passed), []);
    const { messages } = record.history.channels[0];
    messages[0].texts = messages[0].texts.map(t => t.replace('[0.0.5|xxx]', ''));
    for (const s of record.history.subscribers.filter(one => one.channel === 0)) s.frames = s.frames.filter(f => f[5] !== '[0.0.5|xxx]');
    assert.deepEqual(judge(record).filter(c => !c.passed), []);
  });

  for (const [name, plant] of Object.entries(PLANTS))
    test(`planted ${name} is caught by ${plant.caughtBy}`, () => {
      for (let seed = 1; seed <= 20; seed++) {
        const record = goodRecord();
        assert.ok(plant.spoil(record, new Random(seed)));
        const failed = judge(record).filter(c => !c.passed).map(c => c.name);
        assert.ok(failed.includes(plant.caughtBy), `seed ${seed}: ${failed}`);
      }
    });

  test('every criterion has a fault that it alone is named for', () => {
    const named = new Set(Object.values(PLANTS).map(p => p.caughtBy));
    assert.deepEqual(judge(goodRecord()).map(c => c.name).filter(n => !named.has(n)), []);
  });

  test('a record in which nothing happened does not pass', () => {
    const record = goodRecord();
    Object.assign(record.history, { channels: [], subscribers: [], counts: { acks: 0 } });
    const failed = judge(record).filter(c => !c.passed).map(c => c.name);
    for (const name of ['a_acknowledged_once_in_order', 'b_subscribers_hold_the_text', 'c_serials_never_go_back', 'nothing_refused', 'live_again_in_time']) assert.ok(failed.includes(name), name);
  });
});

describe('the command', () => {
  test('an unknown scenario, option or plant: exit 64, and what there is [12.48]', () => {
    for (const words of [['foo'], ['--foo'], ['node-kill', '--plant', 'foo'], ['--seed', 'x'], ['--judge', '/nowhere']]) {
      const { status, stderr } = runner(...words);
      assert.equal(status, 64, words.join(' '));
      assert.ok(stderr.includes(words.at(-1)), stderr);
    }
    assert.match(runner('foo').stderr, /node-kill/);
  });
  test('help names every scenario', () => assert.match(runner('--help').stdout, /node-kill/));
});

test('the p99 of the others: a burst of the machine says nothing, every second slower does', () => {
  const fault = { from: 10_000, to: 18_000 }, latency = { calm: () => 10, burst: s => (s === 12 || s === 5 ? 400 : 10), harmed: s => (s >= 10 && s < 18 ? 30 : 10) };
  const history = of => {
    const acked = [], frames = [];
    for (let t = 0, ds = 1; t < 30_000; t += 20, ds++) {
      acked.push({ acked: true, ds, began: t });
      frames.push([t + of(Math.floor(t / 1000)), 0, ds]);
    }
    return { channels: [{ messages: [{ ops: acked }] }], subscribers: [{ params: 'window=0', channel: 0, frames }] };
  };
  const passed = Object.fromEntries(Object.entries(latency).map(([name, of]) => [name, othersUnchanged(history(of), fault).passed]));
  assert.deepEqual(passed, { calm: true, burst: true, harmed: false });
});
