// SPDX-License-Identifier: Apache-2.0
//
// plot.mjs - line charts as SVG, without anything else.
//
//    chart({ title, x: 'seconds', y: 'MiB', lines: [{ name, points: [[0, 1], [5, 2]] }], log: false, marks: [{ from, to, name }] })
const WIDTH = 860, HEIGHT = 360, LEFT = 70, RIGHT = 190, TOP = 40, BOTTOM = 48;
const COLOURS = ['#1b6ca8', '#c8553d', '#3a7d44', '#8d5a97', '#b8860b', '#2a9d8f', '#6c757d', '#e07a5f'];
const LINES_MAX = 8;
const escape = text => String(text).replace(/[&<>"]/g, c => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }[c]));
const short = v => (Math.abs(v) >= 1e6 ? `${+(v / 1e6).toPrecision(3)} M` : Math.abs(v) >= 1e4 ? `${+(v / 1e3).toPrecision(3)} k` : `${+v.toPrecision(3)}`);

/* Round steps that cover [low, high]. */
function ticks(low, high, count = 5) {
  if (high <= low) return [low, low + 1];
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(m => m * power).find(s => s >= rough);
  const list = [];
  for (let v = Math.floor(low / step) * step; v <= high + step * 0.999; v += step) list.push(+v.toPrecision(12));
  return list;
}

function powers(low, high) {
  const list = [];
  for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p++) list.push(10 ** p);
  return list;
}

export function chart({ title, x, y, lines, log = false, fromZero = false, xTicks, limit, marks = [] }) {
  const shown = lines.filter(l => l.points.length).slice(0, LINES_MAX), all = shown.flatMap(l => l.points).filter(([, v]) => !log || v > 0);
  if (all.length === 0) return null;
  const ys = all.map(p => p[1]).concat(limit === undefined ? [] : [limit.value]), xs = all.map(p => p[0]);
  const low = Math.min(...ys), high = Math.max(...ys), side = log ? powers(low, high) : ticks(fromZero ? Math.min(0, low) : low, high);
  const floor = xTicks ?? ticks(Math.min(...xs), Math.max(...xs), 8).map(v => ({ at: v, label: short(v) }));
  const place = v => (log ? Math.log10(v) : v), [y0, y1] = [place(side[0]), place(side[side.length - 1])], [x0, x1] = [floor[0].at, floor[floor.length - 1].at];
  const px = v => (LEFT + (v - x0) / (x1 - x0 || 1) * (WIDTH - LEFT - RIGHT)).toFixed(1), py = v => (HEIGHT - BOTTOM - (place(v) - y0) / (y1 - y0 || 1) * (HEIGHT - TOP - BOTTOM)).toFixed(1);
  const text = (tx, ty, what, more = '') => `<text x="${tx}" y="${ty}" ${more}>${escape(what)}</text>`;
  const parts = [`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`, `<rect width="${WIDTH}" height="${HEIGHT}" fill="white"/>`,
    text(LEFT, 22, title, 'font-size="15" font-weight="bold"'), text((WIDTH - RIGHT + LEFT) / 2, HEIGHT - 10, x, 'text-anchor="middle"'), text(LEFT - 60, TOP - 6, y)];
  for (const { from, to, name } of marks) parts.push(`<rect x="${px(from)}" y="${TOP}" width="${Math.max(2, px(to) - px(from))}" height="${HEIGHT - TOP - BOTTOM}" fill="#c8553d" opacity="0.25"><title>${escape(name)}</title></rect>`);
  for (const v of side) parts.push(`<path d="M${LEFT} ${py(v)}H${WIDTH - RIGHT}" stroke="#ddd"/>`, text(LEFT - 6, Number(py(v)) + 4, short(v), 'text-anchor="end"'));
  for (const { at, label } of floor) parts.push(text(px(at), HEIGHT - BOTTOM + 18, label, 'text-anchor="middle"'));
  if (limit) parts.push(`<path d="M${LEFT} ${py(limit.value)}H${WIDTH - RIGHT}" stroke="#b00" stroke-dasharray="6 4"/>`, text(WIDTH - RIGHT + 8, Number(py(limit.value)) + 4, limit.name, 'fill="#b00"'));
  shown.forEach((line, i) => {
    const d = line.points.filter(([, v]) => !log || v > 0).map(([a, b], at) => `${at ? 'L' : 'M'}${px(a)} ${py(b)}`).join('');
    parts.push(`<path d="${d}" fill="none" stroke="${COLOURS[i]}" stroke-width="1.6"/>`, `<path d="M${WIDTH - RIGHT + 8} ${TOP + 18 * i + 8}h18" stroke="${COLOURS[i]}" stroke-width="3"/>`,
      text(WIDTH - RIGHT + 32, TOP + 18 * i + 12, line.name));
  });
  if (lines.length > LINES_MAX) parts.push(text(WIDTH - RIGHT + 8, TOP + 18 * LINES_MAX + 12, `and ${lines.length - LINES_MAX} more`));
  return `${parts.join('\n')}\n</svg>\n`;
}

/* A latency distribution: percentiles on an axis of nines. hist: of nanoseconds, see hist.mjs. */
export function percentiles(title, named, percentile) {
  const nines = [0, 1, 2, 3, 4].map(n => ({ at: n, label: `${+(100 - 100 / 10 ** n).toFixed(n)} %` }));
  const lines = named.filter(({ hist }) => hist.count).map(({ name, hist }) => ({
    name, points: Array.from({ length: 81 }, (_, i) => i / 20).filter(n => hist.count >= 10 ** n).map(n => [n, percentile(hist, 100 - 100 / 10 ** n) / 1e6]) }));
  return chart({ title, x: 'share of deliveries', y: 'ms', lines, log: true, xTicks: nines });
}
