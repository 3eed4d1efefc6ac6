// SPDX-License-Identifier: Apache-2.0
//
// backends.mjs - what a run costs PostgreSQL and Redis: their own counters before and after it, and the nodes'.
//
//    const before = await takeBackends(run, scrapes);  ...  costsOf(before, after, counts)
//
// Somebody else at the same database or Redis is counted, too: measure with ones of your own.
import { execFile } from 'node:child_process';
import net from 'node:net';
import { valueOf } from './metrics.mjs';

const TIMEOUT_MS = 5000;
const NODE_SUMS = { operations: 'sockudo_store_batch_size_sum', transactions: 'sockudo_store_batch_size_count', published: 'sockudo_horizontal_broadcast_published_total',
  received: 'sockudo_horizontal_broadcast_received_total' };

/* pg_stat_wal is as fresh as the sessions that report to it, pg_current_wal_insert_lsn() always is. */
function postgres(url) {
  const sql = 'SELECT (pg_current_wal_insert_lsn() - $$0/0$$)::bigint, (SELECT wal_fpi FROM pg_stat_wal), current_setting($$fsync$$), current_setting($$server_version$$)';
  return new Promise((resolve, reject) => {
    execFile('psql', ['-X', '-q', '-t', '-A', '-w', '-d', url, '-c', sql], { timeout: TIMEOUT_MS }, (error, out, said) => {
      if (error) { reject(new Error(error.code === 'ENOENT' ? 'psql is not installed' : said.trim().split('\n')[0] || error.message)); return; }
      const [walBytes, fullPages, fsync, version] = out.trim().split('|');
      resolve({ walBytes: Number(walBytes), fullPages: Number(fullPages), fsync, version });
    });
  });
}

/* INFO: an inline command, a bulk string. */
function redis(address) {
  const url = new URL(address);
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host: url.hostname, port: Number(url.port || 6379), timeout: TIMEOUT_MS });
    let text = '';
    const field = name => new RegExp(`^${name}:(.*?)\r?$`, 'm').exec(text)?.[1];
    socket.on('connect', () => socket.write(`${url.password ? `AUTH ${decodeURIComponent(url.password)}\r\n` : ''}INFO everything\r\n`));
    socket.on('timeout', () => socket.destroy(new Error(`no answer within ${TIMEOUT_MS} ms`))).on('error', reject);
    socket.setEncoding('utf8').on('data', part => {
      text += part;
      if (/^-/m.test(text)) socket.destroy(new Error(/^-(.*?)\r?$/m.exec(text)[1]));
      if (!/^db0:|^# Keyspace/m.test(text)) return;
      resolve({ inBytes: Number(field('total_net_input_bytes')), outBytes: Number(field('total_net_output_bytes')), version: field('redis_version') });
      socket.destroy();
    });
  });
}

const sums = scrapes => Object.fromEntries(Object.entries(NODE_SUMS).map(([k, name]) => [k, scrapes.reduce((all, s) => all + (valueOf(s.text ?? '', name) ?? 0), 0)]));

/* Throws with the flag's name when a backend that was named does not answer. */
export async function takeBackends(run, scrapes) {
  const asked = async (flag, take) => {
    if (!run[flag]) return null;
    try { return await take(run[flag]); } catch (error) { throw new Error(`--${flag}: ${error.message}`); }
  };
  return { postgres: await asked('postgresUrl', postgres), redis: await asked('redisUrl', redis), nodes: sums(scrapes) };
}

const ratio = (a, b) => (b > 0 ? a / b : null);

/* Null where a backend was not named, or nothing happened. */
export function costsOf(before, after, counts) {
  const nodes = Object.fromEntries(Object.keys(NODE_SUMS).map(k => [k, after.nodes[k] - before.nodes[k]])), operations = counts.creates + counts.appends + counts.ends;
  const wal = before.postgres && after.postgres.walBytes - before.postgres.walBytes;
  const bus = before.redis && { inBytes: after.redis.inBytes - before.redis.inBytes, outBytes: after.redis.outBytes - before.redis.outBytes };
  return {
    postgresVersion: before.postgres?.version ?? null, fsync: before.postgres?.fsync ?? null, redisVersion: before.redis?.version ?? null,
    operationsPerTransaction: ratio(nodes.operations, nodes.transactions), transactions: nodes.transactions,
    walBytesPerAppend: before.postgres ? ratio(wal, operations) : null, walFullPages: before.postgres ? after.postgres.fullPages - before.postgres.fullPages : null,
    busPublished: nodes.published, busReceived: nodes.received, busInBytesPerPublished: bus && ratio(bus.inBytes, nodes.published),
    busOutBytesPerReceived: bus && ratio(bus.outBytes, nodes.received), frameBytes: ratio(counts.frame_bytes, counts.frames),
  };
}
