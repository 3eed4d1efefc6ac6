// SPDX-License-Identifier: Apache-2.0
//
// stream.test.mjs - streaming append over real sockets: curl, Node's http, what breaks off and is continued (docs/streaming.md).
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import crypto from 'node:crypto';
import http from 'node:http';
import { after, before, describe, test } from 'node:test';
import { Api } from './lib/api.mjs';
import { demoApp, fresh, oneServer, sleep, until } from './lib/server.mjs';
import { V2 } from './lib/v2.mjs';

const uuid = () => crypto.randomUUID();
const lines = text => text.split('\n').filter(Boolean).map(l => JSON.parse(l));

/* A streaming append whose body is written piece by piece. */
class Stream {
  constructor(api, channel, query, { headers = {}, method = 'POST' } = {}) {
    const path = `/apps/${api.app.id}/channels/${encodeURIComponent(channel)}/messages/stream`;
    this.text = '';
    this.request = http.request({ host: '127.0.0.1', port: api.server.port, path: api.target(method, path, { query }), method, headers: { 'Transfer-Encoding': 'chunked', ...headers } });
    this.request.on('error', () => {});
    this.done = new Promise(resolve => this.request.on('response', response => {
      this.status = response.statusCode;
      this.headers = response.headers;
      response.setEncoding('utf8').on('data', part => { this.text += part; }).on('error', () => {}).on('close', () => resolve(this));
    }).on('close', () => resolve(this)));
    this.request.flushHeaders();
  }
  write(piece) { this.request.write(piece); return this; }
  end(piece) { this.request.end(piece); return this.done; }
  get acks() { return lines(this.text); }
}

describe('streaming append', () => {
  const held = oneServer({ before, after }, { apps: [demoApp] });
  let api;
  before(() => { api = new Api(held.server, demoApp); });
  after(() => api.close());
  const open = (channel, query, options) => new Stream(api, channel, query, options);
  const creating = (more = {}) => ({ name: 'ai-output', message_id: uuid(), format: 'ndjson', ...more });

  test('records become appends, acknowledged with their positions; the last one ends the message', async () => {
    const channel = fresh('ai');
    const stream = open(channel, creating());
    stream.write('{"data":"Hel"}\n{"data":');
    await until(() => stream.acks.length === 2);
    stream.write('"lo"}\n');
    await until(() => stream.acks.length === 3);
    await stream.end('{"data":"!","status":"complete"}\n');
    const [head, ...rest] = stream.acks;
    assert.deepEqual([stream.status, stream.headers['content-type']], [200, 'application/x-ndjson']);
    assert.deepEqual([head.delivery_serial, head.history_serial, head.bytes, head.status], [1, 1, 0, 'applied']);
    assert.deepEqual(rest.slice(0, 3).map(a => [a.seq, a.delivery_serial, a.bytes, a.status]), [[1, 2, 3, 'applied'], [2, 3, 5, 'applied'], [3, 4, 6, 'applied']]);
    assert.deepEqual(rest[3], { end: 'complete', appends: 3, bytes: 6 });
    const item = await api.latest(channel, head.message_serial);
    assert.deepEqual([item.data, item.extras.ai.transport.status], ['Hello!', 'complete']);
  });
});
