// SPDX-License-Identifier: Apache-2.0
//
// streaming-doc.test.mjs - what docs/streaming.md shows works as it stands; only ports and the provider's address are ours.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Api } from './lib/api.mjs';
import { demoApp, oneServer, root, sleep } from './lib/server.mjs';
import { bodies } from './lib/stream.mjs';

const doc = fs.readFileSync(path.join(root, 'docs/streaming.md'), 'utf8');
const blocks = [...doc.matchAll(/```(sh|js|python)\n([\s\S]*?)```/g)].map(m => m[2]);
const block = containing => {
  const found = blocks.filter(b => b.includes(containing));
  assert.equal(found.length, 1, `one block with ${containing}`);
  return found[0];
};

describe('docs/streaming.md', () => {
  const held = oneServer({ before, after }, { apps: [demoApp] });
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'sockudo-streaming-'));
  let provider, asked, api;
  before(async () => {
    api = new Api(held.server, demoApp);
    provider = http.createServer((request, response) => {
      asked = { url: request.url, authorization: request.headers.authorization, body: '' };
      request.on('data', part => { asked.body += part; }).on('end', async () => {
        response.writeHead(200, { 'Content-Type': 'text/event-stream' });
        for (const part of bodies.openai(['Hello', ' from', ' the model'])) { response.write(part); await sleep(10); }
        response.end();
      });
    });
    await new Promise(resolve => provider.listen(0, '127.0.0.1', resolve));
  });
  after(() => { provider.close(); api.close(); fs.rmSync(folder, { recursive: true, force: true }); });
  const ours = text => text.replaceAll('6001', String(held.server.port)).replaceAll('https://api.openai.com', `http://127.0.0.1:${provider.address().port}`);
  const run = (command, args, text) => new Promise(resolve => {
    const child = spawn(command, args, { cwd: folder, env: { ...process.env, OPENAI_API_KEY: 'sk-test' }, timeout: 20000 });
    let stdout = '', stderr = '';
    child.stdout.on('data', part => { stdout += part; });
    child.stderr.on('data', part => { stderr += part; });
    child.on('close', code => resolve({ code, stdout, stderr }));
    child.stdin.end(text);
  });
  const lines = text => text.trim().split('\n').map(l => JSON.parse(l));

  test('curl: a provider is piped through, and the message is read as events', async () => {
    const { code, stdout, stderr } = await run('sh', ['-s'], ours(`${block('api.openai.com')}\n${block('/dev/null')}`));
    assert.equal(code, 0, stderr);
    const [json, events] = [stdout.slice(0, stdout.indexOf('retry:')), stdout.slice(stdout.indexOf('retry:'))];
    const acks = lines(json);
    assert.deepEqual(acks.at(-1), { end: 'complete', appends: 4, bytes: 20 });
    assert.deepEqual([asked.url, asked.authorization, JSON.parse(asked.body).stream], ['/v1/chat/completions', 'Bearer sk-test', true]);
    assert.equal((await api.latest('ai-1', acks[0].message_serial)).data, 'Hello from the model');
    assert.match(events, /event: snapshot\nid: [\w-]+:5\ndata: {.*"data":"Hello from the model".*}\n\nevent: end\n/);
  });

  test('Node.js: token by token', async () => {
    fs.writeFileSync(path.join(folder, 'write.mjs'), ours(block('readline')));
    const { code, stdout, stderr } = await run(process.execPath, ['write.mjs']);
    assert.equal(code, 0, stderr);
    const acks = lines(stdout);
    assert.deepEqual(acks.at(-1), { end: 'complete', appends: 4, bytes: 15 });
    assert.equal((await api.latest('ai-1', acks[0].message_serial)).data, 'Hello from Node');
  });

  test('Python: written and read back', async () => {
    fs.writeFileSync(path.join(folder, 'both.py'), ours(block('import hashlib')));
    const { code, stdout, stderr } = await run('python3', ['both.py']);
    assert.equal(code, 0, stderr);
    assert.deepEqual(stdout.trim().split('\n'), ["{'end': 'complete', 'appends': 4, 'bytes': 17}", 'Hello from Python', 'None']);
  });
});
