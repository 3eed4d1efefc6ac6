// SPDX-License-Identifier: Apache-2.0
//
// readme.test.mjs - what README.md tells a newcomer to type works as it stands; only ports and paths are ours.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { oneServer, program, root, until } from './lib/server.mjs';
import { V2 } from './lib/v2.mjs';

const readme = fs.readFileSync(path.join(root, 'README.md'), 'utf8');
const blocks = [...readme.matchAll(/```(sh|js)\n([\s\S]*?)```/g)].map(m => m[2]);
const block = containing => {
  const found = blocks.filter(b => b.includes(containing));
  assert.equal(found.length, 1, `one block with ${containing}`);
  return found[0];
};

describe('the README', () => {
  const held = oneServer({ before, after });
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'sockudo-readme-'));
  const ours = text => text.replaceAll('6001', String(held.server.port));
  let subscriber, heard = '';
  before(async () => {
    fs.symlinkSync(fileURLToPath(new URL('./node_modules', import.meta.url)), path.join(folder, 'node_modules'));
    fs.writeFileSync(path.join(folder, 'subscribe.mjs'), ours(block("from 'pusher-js'")));
    fs.writeFileSync(path.join(folder, 'publish.mjs'), ours(block("from 'pusher'")));
    subscriber = spawn(process.execPath, ['subscribe.mjs'], { cwd: folder });
    for (const stream of [subscriber.stdout, subscriber.stderr]) stream.on('data', part => { heard += part; });
    await until(() => heard.includes('subscribed'), () => `a subscription: ${heard}`, 10_000);
  });
  after(() => { subscriber?.kill(); fs.rmSync(folder, { recursive: true, force: true }); });

  test('publishes with curl, and the subscriber hears it', async () => {
    const { stdout, stderr } = spawnSync('sh', ['-c', ours(block('openssl md5'))], { encoding: 'utf8', timeout: 10_000 });
    assert.equal(stdout, '{"ok":true}', stderr);
    await until(() => heard.includes("hello from curl"), () => heard);
  });

  test('publishes with the pusher package, and the subscriber hears it', async () => {
    const { stdout, stderr } = spawnSync(process.execPath, ['publish.mjs'], { cwd: folder, encoding: 'utf8', timeout: 10_000 });
    assert.equal(stdout, '200 {"ok":true}\n', stderr);
    await until(() => heard.includes('hello from node'), () => heard);
  });

  test('mints a token that a connection takes', async () => {
    fs.writeFileSync(path.join(folder, 'token.mjs'), block('x-sockudo-capability'));
    const { stdout, stderr } = spawnSync(process.execPath, ['token.mjs'], { cwd: folder, encoding: 'utf8', timeout: 10_000 });
    assert.equal(stderr, '');
    const client = await V2.connect(held.server, { params: `token=${stdout.trim()}` });
    await client.subscribe('room-1');
    await assert.rejects(client.subscribe('news'), { code: 4009 });
    await client.close();
  });

  test('names flags that exist', () => {
    const { status, stdout } = spawnSync(program, ['--help'], { encoding: 'utf8' });
    assert.equal(status, 0);
    for (const flag of ['--config', '--check-config', '--print-config']) assert.ok(stdout.includes(flag), flag);
  });

  test('names files that exist', () => {
    for (const name of ['LICENSE', 'docs/architecture.md', 'tools/demo-generator.mjs', 'src/main.c', 'test/unit', 'test/sim', 'test/fuzz', 'bench'])
      assert.ok(fs.existsSync(path.join(root, name)), name);
    assert.ok(fs.readdirSync(path.join(root, 'config')).some(f => f.endsWith('.example.toml')));
  });
});
