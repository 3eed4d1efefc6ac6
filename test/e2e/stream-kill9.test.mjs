// SPDX-License-Identifier: Apache-2.0
//
// stream-kill9.test.mjs - the server is killed again and again under a streaming append and its readers.
//
//    writer    one message; after each kill the rest of the text, from the byte that was acknowledged last
//    readers   Node: Last-Event-ID by hand; Chromium: an EventSource, which comes back by itself (docs/streaming.md, as it stands)
//
// After each restart: what was acknowledged is a beginning of what is stored, that is a beginning of the text. At the end all are equal.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { chromium } from 'playwright-core';
import { Api } from './lib/api.mjs';
import { releaseProgram, root, Server, sleep, until } from './lib/server.mjs';
import { AppendStream, EventReader } from './lib/stream.mjs';

const KILLS = Number(process.env.SOCKUDO_STREAM_KILLS ?? 8), CHANNEL = 'ai-1';
const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const TEXT = Array.from({ length: 40 * KILLS }, (_, i) => `wörd ${i} `);
const WHOLE = Buffer.from(TEXT.join(''));

class Writer {
  constructor(api) { Object.assign(this, { api, acked: 0, tries: 0, query: { name: 'ai-output', message_id: crypto.randomUUID(), format: 'ndjson' } }); }

  async run() {
    while (!this.done) {
      this.tries++;
      const stream = new AppendStream(this.api, CHANNEL, { ...this.query, from: this.acked });
      stream.done.then(() => { stream.over = true; });
      for (let at = this.acked; at < WHOLE.length && !stream.over;) {
        const word = this.wordAt(at);
        stream.write(`${JSON.stringify({ data: word.toString() })}\n`);
        at += word.length;
        this.take(stream);
        await sleep(10);
      }
      if (!stream.over) await stream.end('{"status":"complete"}\n');
      this.take(stream);
      if (!this.done) await sleep(20);
    }
  }

  wordAt(at) { const end = WHOLE.indexOf(' ', WHOLE.indexOf(' ', at) + 1); return WHOLE.subarray(at, end < 0 ? WHOLE.length : end + 1); }

  take(stream) {
    for (const line of stream.acks) {
      this.serial ??= line.message_serial;
      if (line.error && line.status < 500 && line.status !== 408) throw new Error(JSON.stringify(line));
      if (line.bytes > this.acked && !line.error) this.acked = line.bytes;
      this.done ||= line.end === 'complete';
    }
  }
}

/* Comes back with the id of the last event; what it has made of the events so far. */
class Reader {
  constructor(api, serial) { Object.assign(this, { api, serial, text: '', comebacks: 0 }); }
  async run() {
    while (!this.ended) {
      const reader = new EventReader(this.api, CHANNEL, this.serial, { query: { auth_key: 'app-key' }, since: this.id });
      await reader.done;
      for (const event of reader.events) {
        this.id = event.id;
        if (event.event === 'append') this.text += event.data.data;
        else if (event.event === 'end') this.ended = true;
        else this.text = event.data.data;
      }
      this.comebacks++;
      await sleep(20);
    }
  }
}

describe('a streaming append under kill -9', { timeout: 120_000 }, () => {
  let server, api, context, page;
  before(async () => {
    server = await Server.start({ use: releaseProgram });
    api = new Api(server);
    if (!fs.existsSync(CHROMIUM)) return;
    context = await chromium.launchPersistentContext(fs.mkdtempSync(path.join(os.tmpdir(), 'sockudo-chromium-')), { executablePath: CHROMIUM, headless: true, args: FLAGS });
    page = context.pages()[0] ?? await context.newPage();
  });
  after(async () => { await context?.close(); api.close(); await server.stop(); });

  test('stores every word once, in order, and every reader has them all', async () => {
    const writer = new Writer(api), writing = writer.run();
    await until(() => writer.serial, 'the message');
    const reader = new Reader(api, writer.serial), reading = reader.run();
    if (page) {
      const snippet = /```js\n(const url = [\s\S]*?)```/.exec(fs.readFileSync(path.join(root, 'docs/streaming.md'), 'utf8'))[1];
      await page.goto(`http://127.0.0.1:${server.port}/up`);
      await page.evaluate(`{ const serial = ${JSON.stringify(writer.serial)};\n${snippet.replaceAll('6001', String(server.port)).replace('const source', 'window.source')} }`);
    }
    for (let kill = 0; kill < KILLS; kill++) {
      await sleep(100 + Math.random() * 300);
      await server.kill9();
      const acked = writer.acked;
      await server.restart();
      const stored = Buffer.from((await until(() => api.latest(CHANNEL, writer.serial).catch(() => null), 'the message')).data);
      assert.ok(stored.length >= acked, `kill ${kill}: ${stored.length} bytes stored, ${acked} acknowledged`);
      assert.ok(WHOLE.subarray(0, stored.length).equals(stored), `kill ${kill}: ${stored}`);
    }
    await writing;
    await reading;
    const item = await api.latest(CHANNEL, writer.serial);
    assert.equal(item.data, WHOLE.toString());
    assert.equal(item.extras.ai.transport.status, 'complete');
    assert.equal(reader.text, WHOLE.toString());
    assert.ok(writer.tries > KILLS / 2 && reader.comebacks > KILLS / 2, `${writer.tries} tries, ${reader.comebacks} readers`);
    if (!page) return;
    let shown = '';
    await until(async () => { shown = await page.evaluate('source.readyState + document.body.textContent'); return shown === `2${WHOLE}`; }, () => `all text and a source at rest: ${shown}`, 20_000);
  });
});
