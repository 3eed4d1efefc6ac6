// SPDX-License-Identifier: Apache-2.0
//
// oracle.mjs - one judgement for every scenario, of a record and nothing else: judge(record) -> [{ name, passed, checked, detail }].
//
//    record.history   what the agent noted (agent.mjs history(), publisher.mjs, subscriber.mjs)
//    record.faults    [{ name, from, to, … }]: broken at `from`, whole again at `to`, milliseconds of the agent's clock
//    record.silenced  [{ node, from, to }]: times in which that node must not have acknowledged anything
//    record.gauges    { baseline, after, tookMs, limitMs };  record.resetRequired: per node
//    record.resources { before: { rss, fds }, after: { rss, fds } };  record.limits { liveMs, growth }
//
// The criteria are those of chapter 4, section 11.5; letters in their names are its.
const TOKEN = /\[(\d+)\.(\d+)\.(\d+)\|x*\]/y;
const SAMPLES = 5, STALE_RSS_BYTES = 4 << 20, SPARE_FDS = 8;

/* The indices of the tokens in a text of message k.number, in order; null if there is anything else in it. */
export function tokensOf(text, k, number) {
  const found = [];
  if (typeof text !== 'string') return null;
  for (let at = TOKEN.lastIndex = 0; at < text.length; at = TOKEN.lastIndex) {
    TOKEN.lastIndex = at;
    const hit = TOKEN.exec(text);
    if (!hit || Number(hit[1]) !== k || Number(hit[2]) !== number) return null;
    found.push(Number(hit[3]));
  }
  return found;
}

class Criterion {
  constructor(name) { Object.assign(this, { name, checked: 0, faults: 0, samples: [] }); }
  check(good, what) {
    this.checked++;
    if (good) return;
    this.faults++;
    if (this.samples.length < SAMPLES) this.samples.push(what());
  }
  done(may = false) { return { name: this.name, passed: this.faults === 0 && (may || this.checked > 0), checked: this.checked, faults: this.faults, samples: this.samples }; }
}

const eachMessage = (history, visit) => history.channels.forEach((c, k) => c.messages.filter(m => m.serial).forEach(m => visit(m, k, c)));
const isDuplicated = list => new Set(list).size !== list.length;

/* (a) every acknowledged append in the text once, in the order of acknowledgement; all nodes read the same text. */
function acknowledgedIsThere({ history }) {
  const c = new Criterion('a_acknowledged_once_in_order');
  eachMessage(history, (m, k) => {
    const where = `channel ${k} message ${m.number}`;
    c.check(m.texts.length > 0 && m.texts.every(t => t !== null && t === m.texts[0]), () => `${where}: the nodes read ${m.texts.map(t => (t === null ? 'nothing' : `${t.length} bytes`)).join(', ')}`);
    const found = tokensOf(m.texts[0], k, m.number), acked = m.ops.filter(o => o.acked).map(o => o.i), wanted = new Set(acked);
    c.check(found !== null, () => `${where}: text that nobody wrote: ${String(m.texts[0]).slice(0, 80)}`);
    const kept = (found ?? []).filter(i => wanted.has(i));
    c.check(kept.join() === acked.join(), () => `${where}: acknowledged ${differs(acked, kept)}`);
  });
  return c.done();
}

function differs(wanted, got) {
  const at = wanted.findIndex((w, i) => w !== got[i]);
  return `${wanted.length} tokens, the text has ${got.length}; first difference at ${at}: ${wanted[at]} wanted, ${got[at]} there`;
}

/* (b) every subscriber ends with the text that the store has; its resumes were answered. */
function subscribersHoldTheText({ history }) {
  const c = new Criterion('b_subscribers_hold_the_text');
  for (const [n, s] of history.subscribers.entries()) {
    c.check(s.refused.length === 0, () => `subscriber ${n} was refused: ${JSON.stringify(s.refused[0])}`);
    const texts = reduce(s);
    for (const m of history.channels[s.channel].messages.filter(one => one.serial)) {
      const has = texts.get(m.serial);
      c.check(has === m.texts[0], () => `subscriber ${n} (${s.params}), channel ${s.channel} message ${m.number}: has ${has === undefined ? 'nothing' : `${has.length} bytes`}, the store ${m.texts[0]?.length}`);
    }
  }
  return c.done();
}

/* What a client makes of its frames. */
function reduce({ frames, params }) {
  const texts = new Map(), full = params.includes('append_mode=full');
  for (const [, , , action, serial, data] of frames) {
    if (action === 'message.append') texts.set(serial, full ? data : (texts.get(serial) ?? '<no base>') + data);
    else if (action) texts.set(serial, data ?? '');
  }
  return texts;
}

/* (c) no serial goes back on a connection. Snapshots of a late resume (chapter 3, 4.6) are as of an earlier position by nature. */
function serialsGrow({ history }) {
  const c = new Criterion('c_serials_never_go_back');
  for (const [n, s] of history.subscribers.entries()) {
    let newest = 0, connection = 0;
    for (const [t, number, serial, action, , , , resuming] of s.frames) {
      if (number !== connection) { connection = number; newest = 0; }
      if (!serial || (resuming && action === 'message.update')) continue;
      c.check(serial > newest, () => `subscriber ${n}, connection ${number}, at ${t}: ${serial} after ${newest}`);
      newest = Math.max(newest, serial);
    }
  }
  return c.done();
}

/* (d) nothing twice: no token in a text, acknowledged or not, and no frame at a subscriber. */
function nothingTwice({ history }) {
  const c = new Criterion('d_nothing_twice');
  eachMessage(history, (m, k) => {
    const found = tokensOf(m.texts[0], k, m.number) ?? [], tried = new Set(m.ops.map(o => o.i));
    c.check(!isDuplicated(found), () => `channel ${k} message ${m.number}: token ${found.find((i, at) => found.indexOf(i) !== at)} is there twice`);
    c.check(found.every(i => tried.has(i)), () => `channel ${k} message ${m.number}: a token that was never sent`);
  });
  for (const [n, s] of history.subscribers.entries()) {
    const ids = s.frames.map(f => f[6]).filter(Boolean);
    c.check(!isDuplicated(ids), () => `subscriber ${n}: the frame ${ids.find((id, at) => ids.indexOf(id) !== at)} came twice`);
  }
  return c.done();
}

/* A retried op_id: `duplicate`, and the serials of the first acknowledgement. */
function receiptsHold({ history }) {
  const c = new Criterion('receipts_keep_their_serials');
  for (const r of history.receipts) c.check(r.status === 'duplicate' && r.again === r.ds, () => `channel ${r.channel} message ${r.message} token ${r.i}: ${r.ds} first, then ${r.status} ${r.again}`);
  eachMessage(history, (m, k) => {
    const serials = m.ops.filter(o => o.acked).map(o => o.ds);
    c.check(serials.every((s, i) => i === 0 || s > serials[i - 1]), () => `channel ${k} message ${m.number}: acknowledged serials do not grow`);
  });
  return c.done();
}

function nothingRefused({ history }) {
  const c = new Criterion('nothing_refused');
  c.check(history.counts.acks > 0, () => 'nothing was acknowledged at all');
  for (const r of history.refusals) c.check(false, () => JSON.stringify(r));
  return c.done();
}

/* What a node acknowledged while it could not reach the store is a lie. */
function minorityIsSilent({ history, silenced = [] }) {
  const c = new Criterion('minority_cannot_acknowledge');
  for (const { node, from, to } of silenced)
    eachMessage(history, (m, k) => m.ops.forEach(o => c.check(!(o.acked && o.node === node && o.began >= from && o.t <= to), () => `channel ${k}: node${node} acknowledged token ${o.i} at ${o.t}, cut off since ${from}`)));
  return c.done(silenced.length === 0);
}

/* Time from `to` until every publisher had an acknowledgement and every subscriber what it was for. null: none was begun after it. */
export function liveAgain(history, to) {
  const firsts = history.channels.map(c => c.messages.flatMap(m => m.ops).find(o => o.acked && o.t >= to && o.ds > 0));
  const times = firsts.map((op, k) => (op ? Math.max(op.t, ...history.subscribers.filter(s => s.channel === k && !s.slow).map(s => s.frames.find(f => f[2] >= op.ds)?.[0] ?? Infinity)) : null)).filter(t => t !== null);
  return times.length ? Math.max(...times) - to : null;
}

function aliveInTime({ history, faults, limits }) {
  const c = new Criterion('live_again_in_time');
  for (const f of faults) {
    f.liveMs = liveAgain(history, f.to);
    if (f.liveMs !== null) c.check(f.liveMs <= limits.liveMs, () => `${f.name}: live again ${f.liveMs} ms after it was whole, ${limits.liveMs} allowed`);
  }
  return c.done();
}

function gaugesReturn({ gauges }) {
  const c = new Criterion('e_active_streams_at_baseline');
  c.check(gauges.after !== null && gauges.after <= gauges.baseline && gauges.tookMs <= gauges.limitMs, () => `${gauges.after} open streams after ${gauges.tookMs} ms, ${gauges.baseline} before; ${gauges.limitMs} ms allowed`);
  return c.done();
}

function nothingNeedsReset({ resetRequired }) {
  const c = new Criterion('f_reset_required_zero');
  resetRequired.forEach((n, i) => c.check(n === 0, () => `node${i}: ${n} channels need a reset`));
  return c.done();
}

/* (g) what grew. The spare parts are what a process of this size changes by itself: the heap keeps the room that a backlog took, once
 * (redis-failover: 7 to 9 MiB of three nodes, after 4 failovers as after 12). */
function resourcesReturn({ resources: { before, after }, limits: { growth }, nodes }) {
  const c = new Criterion('g_memory_and_descriptors_back');
  c.check(after.rss <= before.rss * (1 + growth) + STALE_RSS_BYTES * (nodes?.before.length ?? 1), () => `memory ${(before.rss / 1048576).toFixed(1)} -> ${(after.rss / 1048576).toFixed(1)} MiB`);
  c.check(after.fds <= before.fds * (1 + growth) + SPARE_FDS, () => `descriptors ${before.fds} -> ${after.fds}`);
  return c.done();
}

/* What a scenario asks beyond that: { name, passed, detail }. */
const extras = ({ extra = [] }) => extra.map(e => ({ name: e.name, passed: e.passed, checked: 1, faults: e.passed ? 0 : 1, samples: [e.detail] }));

export const judge = record => [acknowledgedIsThere, subscribersHoldTheText, serialsGrow, nothingTwice, gaugesReturn, nothingNeedsReset, resourcesReturn, receiptsHold, nothingRefused, minorityIsSilent, aliveInTime]
  .map(criterion => criterion(record)).concat(extras(record));
