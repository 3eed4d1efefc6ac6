// SPDX-License-Identifier: Apache-2.0
//
// limits.test.mjs - docs/limits.md against a server: its figures exist, and what nobody has paid for is not kept.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { Api } from './lib/api.mjs';
import { fresh, oneServer } from './lib/server.mjs';
import { V2 } from './lib/v2.mjs';

describe('limits', () => {
  const held = oneServer({ before, after }, { config: { rate_limiter: { enabled: true } } });

  test('every figure of docs/limits.md is one of /metrics', async () => {
    const text = await (await fetch(`http://127.0.0.1:${held.server.metricsPort}/metrics`)).text();
    const rows = readFileSync(new URL('../../docs/limits.md', import.meta.url), 'utf8').split('\n').filter(line => line.startsWith('| '));
    const names = rows.flatMap(row => row.split('|').length > 5 ? [...row.split('|').at(-2).matchAll(/`([a-z_]+)`/g)].map(m => m[1]) : []);
    assert.ok(names.length > 30, `only ${names.length} names were found`);
    for (const name of names) assert.ok(text.includes(`# TYPE sockudo_${name} `), `there is no ${name}`);
  });

  // 2,000 connections with nothing but the public key would otherwise be worth 20 GB.
  test('a forged request is refused before its body has come, and its connection closed', async () => {
    const query = `auth_key=app-key&auth_timestamp=${Math.floor(Date.now() / 1000)}&body_md5=${'0'.repeat(32)}&auth_signature=${'0'.repeat(64)}`;
    const { text } = await held.server.raw(`POST /apps/app-id/events?${query} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10000000\r\n\r\n{`);
    assert.match(text, /^HTTP\/1\.1 401 [^]*Connection: close[^]*Invalid API signature/);
  });
});

describe('a short send queue', () => {
  const held = oneServer({ before, after }, { config: { websocket: { max_messages: 20 } } });

  // A replay left 64 frames of the queue to what is live, and so never began where it has fewer.
  test('a rewind goes through it at the pace of the socket', async () => {
    const api = new Api(held.server), channel = fresh();
    for (let i = 0; i < 60; i++) await api.publish(channel, 'e', String(i));
    const client = await V2.connect(held.server);
    await client.subscribe(channel, { rewind: 60 });
    await client.next(f => f.event === 'sockudo:rewind_complete' && f.channel === channel);
    assert.deepEqual(client.frames.filter(f => f.event === 'e').map(f => f.data), Array.from({ length: 60 }, (_, i) => String(i)));
    await client.close();
    api.close();
  });
});
