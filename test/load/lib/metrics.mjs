// SPDX-License-Identifier: Apache-2.0
//
// metrics.mjs - what nodes say of themselves, before, after and while a run goes on, and whether it grows.
import http from 'node:http';

const INTERESTING = /^(process_|sockudo_(connected|ai_active_streams|active_streams|appends_|tokio_|flush_latency_count|history_(degraded|reset)|horizontal_(transport|broadcast)_|history_recovery_|rate_limit_triggered|store_|slow_consumer))/;
const SERIES = {
  rssBytes: 'process_resident_memory_bytes', fds: 'process_open_fds', cpuSeconds: 'process_cpu_seconds_total', tasks: 'sockudo_tokio_active_tasks',
  connected: 'sockudo_connected', activeStreams: 'sockudo_ai_active_streams', startTime: 'process_start_time_seconds',
};

function get(url, timeout) {
  return new Promise((resolve, reject) => {
    const request = http.get(url, { agent: false, timeout }, response => {
      let text = '';
      response.setEncoding('utf8').on('data', part => { text += part; }).on('error', reject);
      response.on('end', () => (response.statusCode === 200 ? resolve(text) : reject(new Error(`answers ${response.statusCode}`))));
    });
    request.on('timeout', () => request.destroy(new Error(`no answer within ${timeout} ms`))).on('error', reject);
  });
}

/* Sum of a family's samples; undefined if there is none. */
export function valueOf(text, name) {
  let sum;
  for (const line of text.split('\n')) {
    if (!line.startsWith(name) || !'{ '.includes(line[name.length])) continue;
    sum = (sum ?? 0) + Number(line.slice(line.lastIndexOf(' ') + 1));
  }
  return sum;
}

export async function scrape(url, timeout = 5000) {
  try {
    const text = await get(url, timeout);
    return { url, ok: true, bytes: Buffer.byteLength(text), text, interesting: text.split('\n').filter(l => INTERESTING.test(l)).slice(0, 200) };
  } catch (error) {
    return { url, ok: false, error: error.message || error.code };
  }
}

export const scrapeAll = urls => Promise.all(urls.map(u => scrape(u)));
export const withoutText = ({ text, ...rest }) => rest;

/* Is a node there? */
export async function reach(url, timeout = 5000) {
  try { await get(new URL('/live', url).href, timeout); return null; } catch (error) { return error.code ?? error.message; }
}

/* One point per node each intervalMs, until stop(). */
export class Sampler {
  constructor(urls, intervalMs) {
    Object.assign(this, { urls, intervalMs, series: urls.map(url => ({ url, points: [], missed: 0 })) });
  }
  start() { this.startedMs = Date.now(); this.timer = setInterval(() => this.take(), this.intervalMs); return this; }
  async take() {
    await Promise.all(this.series.map(async one => {
      const atMs = Date.now(), found = await scrape(one.url, Math.max(1000, this.intervalMs));
      if (!found.ok) { one.missed++; return; }
      one.points.push({ seconds: (atMs - this.startedMs) / 1000, ...Object.fromEntries(Object.entries(SERIES).map(([k, name]) => [k, valueOf(found.text, name) ?? null])) });
    }));
  }
  stop() { clearInterval(this.timer); return this.series; }
}

/* Least squares over [x, y]: slope with its standard error, mean, and how long the line is. */
export function slopeOf(points) {
  const n = points.length;
  if (n < 3) return null;
  const meanX = points.reduce((s, [x]) => s + x, 0) / n, meanY = points.reduce((s, [, y]) => s + y, 0) / n;
  let xx = 0, xy = 0;
  for (const [x, y] of points) { xx += (x - meanX) ** 2; xy += (x - meanX) * (y - meanY); }
  if (xx === 0) return null;
  const slope = xy / xx;
  const rest = points.reduce((s, [x, y]) => s + (y - meanY - slope * (x - meanX)) ** 2, 0);
  return { slope, error: Math.sqrt(rest / Math.max(1, n - 2) / xx), mean: meanY, seconds: points[n - 1][0] - points[0][0], points: n };
}

const WARM_UP = 0.2;
/* The line through a node's field from 20 % of the run on. */
export function trend(node, field, fromSeconds, toSeconds) {
  const start = fromSeconds + WARM_UP * (toSeconds - fromSeconds);
  return slopeOf(node.points.filter(p => p.seconds >= start && p.seconds <= toSeconds && p[field] !== null).map(p => [p.seconds, p[field]]));
}
