// SPDX-License-Identifier: Apache-2.0
//
// plants.mjs - faults put into a record that was good: each must be caught, and by the criterion that is for it.
//
//    PLANTS[name] = { caughtBy, spoil(record, random) }: spoil() changes the record; false if there was nothing to spoil.
//
// A frame that is lost, doubled or out of order here is what a proxy on the subscriber's link would have made of it.
const appendsOf = s => s.frames.map((f, i) => [f, i]).filter(([f]) => f[3] === 'message.append' && f[5]);
const deltas = record => record.history.subscribers.filter(s => !s.slow && !s.params.includes('full') && appendsOf(s).length > 4);
const some = (list, random) => list[random.below(list.length)];
const spoken = record => record.history.channels.flatMap((c, k) => c.messages.filter(m => m.serial && m.ops.filter(o => o.acked).length > 3).map(m => ({ m, k })));
const halves = text => { const parts = text.split(/(?<=\])/); return parts; };

function inFrames(change) {
  return (record, random) => {
    const s = some(deltas(record), random);
    if (!s) return false;
    const list = appendsOf(s), at = list[1 + random.below(list.length - 3)][1];
    change(s.frames, at);
    return true;
  };
}
function inText(change) {
  return (record, random) => {
    const one = some(spoken(record), random);
    if (!one) return false;
    const parts = halves(one.m.texts[0]), acked = new Set(one.m.ops.filter(o => o.acked).map(o => o.i));
    const places = parts.map((p, i) => i).filter(i => acked.has(Number(/\.(\d+)\|/.exec(parts[i])[1])));
    change(parts, places[random.below(places.length - 1)], places);
    one.m.texts = one.m.texts.map(() => parts.join(''));
    return true;
  };
}

export const PLANTS = {
  'lost-frame': { caughtBy: 'b_subscribers_hold_the_text', spoil: inFrames((frames, at) => frames.splice(at, 1)) },
  'doubled-frame': { caughtBy: 'd_nothing_twice', spoil: inFrames((frames, at) => { frames[at][6] ||= 'm'; frames.splice(at, 0, frames[at]); }) },
  'reordered-frame': { caughtBy: 'c_serials_never_go_back', spoil: inFrames((frames, at) => { const [f] = frames.splice(at, 1), next = frames.findIndex((g, i) => i >= at && g[1] === f[1] && g[2]); if (next < 0) frames.splice(at - 1, 0, f); else frames.splice(next + 1, 0, f); }) },
  'lost-append': { caughtBy: 'a_acknowledged_once_in_order', spoil: inText((parts, at) => parts.splice(at, 1)) },
  'swapped-appends': { caughtBy: 'a_acknowledged_once_in_order', spoil: inText((parts, at, places) => { const next = places[places.indexOf(at) + 1]; [parts[at], parts[next]] = [parts[next], parts[at]]; }) },
  'doubled-append': { caughtBy: 'd_nothing_twice', spoil: inText((parts, at) => parts.splice(at, 0, parts[at])) },
  'split-brain': { caughtBy: 'a_acknowledged_once_in_order', spoil: (record, random) => { const { m } = some(spoken(record), random); m.texts[m.texts.length - 1] = m.texts[0].slice(0, -3); m.texts.push(m.texts[0]); return true; } },
  'open-stream': { caughtBy: 'e_active_streams_at_baseline', spoil: record => { record.gauges.after += 1; return true; } },
  'late-janitor': { caughtBy: 'e_active_streams_at_baseline', spoil: record => { record.gauges.tookMs = record.gauges.limitMs + 1; return true; } },
  'reset-required': { caughtBy: 'f_reset_required_zero', spoil: record => { record.resetRequired[0] = 1; return true; } },
  'memory-leak': { caughtBy: 'g_memory_and_descriptors_back', spoil: record => { record.resources.after.rss = record.resources.before.rss * 1.3; return true; } },
  'descriptor-leak': { caughtBy: 'g_memory_and_descriptors_back', spoil: record => { record.resources.after.fds = record.resources.before.fds * 1.06 + 9; return true; } },
  'other-receipt': { caughtBy: 'receipts_keep_their_serials', spoil: record => { const r = record.history.receipts[0]; if (r) r.again++; return Boolean(r); } },
  'refused-append': { caughtBy: 'nothing_refused', spoil: record => { record.history.refusals.push({ status: 400, text: 'planted' }); return true; } },
  'refused-resume': { caughtBy: 'b_subscribers_hold_the_text', spoil: (record, random) => { some(deltas(record), random).refused.push({ why: 'planted' }); return true; } },
  'lying-minority': { caughtBy: 'minority_cannot_acknowledge', spoil: record => { const op = spoken(record)[0].m.ops.find(o => o.acked); (record.silenced ??= []).push({ node: op.node, from: op.began, to: op.t }); return true; } },
  'long-silence': { caughtBy: 'live_again_in_time', spoil: record => { const to = record.faults[0].to; for (const s of record.history.subscribers) for (const f of s.frames) if (f[0] > to) f[0] += record.limits.liveMs + 1000; return true; } },
};
