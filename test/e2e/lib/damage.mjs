// SPDX-License-Identifier: Apache-2.0
//
// damage.mjs - rows of a stopped server's data directory that rot, or are gone (src/store/row.h; `ldb` is of Debian's rocksdb-tools).
//
// Each leaves a file that RocksDB finds nothing wrong with: what is missed is missed by our own store.
import { execFileSync } from 'node:child_process';

const ldb = (server, ...args) => execFileSync('ldb', [`--db=${server.dataDir}`, ...args], { encoding: 'utf8', timeout: 20_000 });
const hex = (n, bytes) => n.toString(16).padStart(2 * bytes, '0');
const letter = c => hex(c.charCodeAt(0), 1);

/* cid: channels count from 1, in the order in which they were first written to. */
export const loseRow = (server, cid, delivery) => ldb(server, 'delete', '--hex', `0x${letter('L')}${hex(cid, 8)}${hex(delivery, 8)}`);
/* The text of 64 fragments of the message at that place in history. */
export const rotSegment = (server, cid, history, segment = 0) =>
  ldb(server, 'put', '--hex', `0x${letter('S')}${hex(cid, 8)}${hex(history, 8)}${hex(segment, 4)}`, `0x${Buffer.from('rot').toString('hex')}`);
