// SPDX-License-Identifier: Apache-2.0
//
// publisher.mjs - speaks in one channel: create, token by token, end, next message. One operation at a time, each with its op_id, repeated
// as it was at the next node until it is acknowledged, or given up now and then: what was never acknowledged may be there once, or not.
//
// A token says who it is: [channel.message.index|xxx]. See oracle.mjs for what is recorded.
import { setTimeout as sleep } from 'node:timers/promises';
import { complete, streaming } from '../../../test/e2e/lib/api.mjs';

const AGAIN_MS = 30, TRIES_MAX = 1500, GIVE_UP = 0.1, ASK_AGAIN = 0.02, JUMP_MS = 500;

export class Publisher {
  constructor(agent, k, random) {
    Object.assign(this, { agent, k, random, name: `ai-${agent.order.prefix}-${k}`, messages: [], lastSerial: 0 });
  }

  async run() {
    await sleep(this.random.below(1000 / this.agent.order.perSecond));
    for (let number = 0; this.agent.speaking; number++) await this.message(number);
  }

  async message(number) {
    const { order } = this.agent, m = { number, serial: null, ended: false, orphan: false, ops: [], texts: [] };
    this.messages.push(m);
    const id = `${order.prefix}-${this.k}-${number}`;
    // message_id is no key for retries here (idempotency is off: it wants a cache in Redis): a create that got no answer may stay alone.
    const made = await this.insist(m, 'create', (api, _, tries) => api.publish(this.name, 'ai-output', '', { message_id: `${id}-${tries}`, extras: streaming() }));
    if (!made) return;
    ({ message_serial: m.serial } = made.body.channels[this.name]);
    const length = Math.round(order.messageTokens * this.random.between(0.5, 1.5));
    let due = this.agent.now();
    for (let i = 0; i < length && this.agent.speaking; i++) {
      const head = `[${this.k}.${number}.${i}|`, token = `${head}${'x'.repeat(Math.max(0, order.tokenBytes - head.length - 1))}]`;
      const op = await this.append(m, i, token);
      if (op.refused) return;
      due = Math.max(due + 1000 / order.perSecond, this.agent.now() - 1000 / order.perSecond);
      await sleep(Math.max(0, due - this.agent.now()));
    }
    m.orphan = !this.agent.speaking && this.k < order.orphans;
    if (!m.orphan) m.ended = Boolean(await this.insist(m, 'end', (api, op) => api.append(this.name, m.serial, '', { op_id: op, extras: complete })));
  }

  async append(m, index, token) {
    const op = { i: index, t0: this.agent.now(), t: null, acked: false, status: null, ds: null, node: null, tries: 0, unanswered: 0, gaveUp: false, refused: false };
    m.ops.push(op);
    const answer = await this.insist(m, op, (api, id) => api.append(this.name, m.serial, token, { op_id: id }));
    if (answer && this.random.chance(ASK_AGAIN)) await this.askAgain(m, op, token);
    return op;
  }

  /* What was acknowledged, asked of another node: the same serials, and nothing new. */
  async askAgain(m, op, token) {
    const node = this.random.below(this.agent.apis.length);
    const answer = await this.agent.apis[node].append(this.name, m.serial, token, { op_id: this.opId(m, op.i) }).catch(() => null);
    if (answer?.status === 200) this.agent.receipts.push({ channel: this.k, message: m.number, i: op.i, node, ds: op.ds, again: answer.body.delivery_serial, status: answer.body.status });
  }

  opId(m, what) { return `${this.agent.order.prefix}-${this.k}-${m.number}-${what}`; }

  /* The answer, or null: given up, or refused. op: an operation to note things in, or the name of one that is never given up. */
  async insist(m, op, request) {
    const { agent, random } = this, named = typeof op === 'string', note = named ? {} : op, id = this.opId(m, named ? op : op.i);
    let node = this.nodeToAsk();
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      note.tries = tries + 1;
      const began = agent.now(), answer = await request(agent.apis[node], id, tries).catch(() => null), t = agent.now();
      if (answer?.status === 200) { this.acked(note, node, answer.body, began, t); return answer; }
      agent.counts.retries++;
      if (!answer) { note.unanswered = (note.unanswered ?? 0) + 1; agent.counts.unanswered++; }
      const stale = answer?.status === 401 && await this.clockJumped(node, began, t);
      if (answer && answer.status < 500 && !stale) {
        note.refused = true;
        agent.refusals.push({ channel: this.k, message: m.number, op: id, node, status: answer.status, text: answer.text.slice(0, 200), t });
        return null;
      }
      if (!named && !stale && random.chance(GIVE_UP)) { note.gaveUp = true; agent.counts.gaveUp++; return null; }
      node = (node + 1) % agent.apis.length;
      await sleep(AGAIN_MS);
    }
    agent.refusals.push({ channel: this.k, message: m.number, op: id, node, status: 0, text: `no acknowledgement after ${TRIES_MAX} tries`, t: agent.now() });
    return null;
  }

  /* A request was signed by another clock than the node's if that jumped about then; on a busy machine the answer comes sooner than the news. */
  async clockJumped(node, began, t) {
    await sleep(JUMP_MS);
    const { jumpedAt = -Infinity } = this.agent.nodes[node];
    return began < jumpedAt + JUMP_MS && t > jumpedAt - 2 * JUMP_MS;
  }

  nodeToAsk() {
    const { home, apis } = this.agent;
    return home === 'alternate' ? this.random.below(apis.length) : home ?? this.k % apis.length;
  }

  acked(note, node, body, began, t) {
    const { counts } = this.agent, ds = body.delivery_serial ?? body.channels?.[this.name]?.delivery_serial ?? 0;
    counts.acks++;
    if (body.status === 'duplicate') counts.duplicates++;
    Object.assign(note, { acked: true, began, t, node, ds, status: body.status });
    this.lastSerial = Math.max(this.lastSerial, ds);
  }
}
