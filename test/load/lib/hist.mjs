// SPDX-License-Identifier: Apache-2.0
//
// hist.mjs - histograms as agents write them down (src/base/hist.h): counts by the highest value of a bucket. They merge by addition.
export const emptyHist = () => ({ count: 0, min: Infinity, max: 0, sum: 0, buckets: new Map() });

export function mergeHist(into, { count, min, max, mean, buckets }) {
  if (count === 0) return into;
  into.count += count;
  into.sum += mean * count;
  into.min = Math.min(into.min, min);
  into.max = Math.max(into.max, max);
  for (const [end, n] of buckets) into.buckets.set(end, (into.buckets.get(end) ?? 0) + n);
  return into;
}

export const sortedBuckets = h => [...h.buckets].sort((a, b) => a[0] - b[0]);

/* The smallest value such that `percent` of all are at or below it; at most 0.1 % too high, never above the maximum. */
export function percentile(h, percent) {
  if (h.count === 0) return null;
  const rank = Math.max(1, Math.ceil((percent / 100) * h.count - 1e-9));
  let seen = 0;
  for (const [end, n] of sortedBuckets(h)) {
    seen += n;
    if (seen >= rank) return Math.min(end, h.max);
  }
  return h.max;
}

const ms = ns => (ns === null ? null : Math.round(ns / 1e3) / 1e3);

/* Figures in milliseconds of a histogram of nanoseconds; null where there is nothing. */
export const summary = h => ({
  count: h.count, mean: h.count ? ms(h.sum / h.count) : null, p50: ms(percentile(h, 50)), p95: ms(percentile(h, 95)), p99: ms(percentile(h, 99)),
  p999: ms(percentile(h, 99.9)), max: h.count ? ms(h.max) : null,
});
