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
import { freePort, oneServer, program, releaseProgram, root, until } from './lib/server.mjs';
import { V2 } from './lib/v2.mjs';

const readme = fs.readFileSync(path.join(root, 'README.md'), 'utf8');
const blocks = [...readme.matchAll(/```(sh|js|toml|nginx)\n([\s\S]*?)```/g)].map(m => m[2]);
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

  test('shows several nodes at work, one of which dies and comes back', async () => {
    const fleet = path.join(folder, 'fleet'), generatorPort = await freePort();
    const script = block('tools/fleet start').replaceAll('build/fleet', fleet).replace('--nginx', `--nginx --program ${releaseProgram}`);
    const { status, stdout, stderr } = spawnSync('sh', ['-ec', script], { cwd: root, encoding: 'utf8', timeout: 60_000, env: { ...process.env, GENERATOR_PORT: String(generatorPort) } });
    try {
      assert.equal(status, 0, stdout + stderr);
      assert.match(stdout, /rivers find sea[^]*nginx/);
      assert.equal(stdout.match(/^node-\d +up /gm).length, 6);
      assert.ok(!fs.existsSync(fleet));
    } finally {
      if (fs.existsSync(fleet)) spawnSync(path.join(root, 'tools/fleet'), ['stop', fleet], { timeout: 60_000 });
    }
  });

  test('shows a configuration of several nodes that loads, and an nginx that does', () => {
    const toml = path.join(folder, 'nodes.toml');
    fs.writeFileSync(toml, `${block('[adapter]')}\n[[app_manager.array.apps]]\nid = "a"\nkey = "k"\nsecret = "s"\nenabled = true\n`);
    const { status, stdout, stderr } = spawnSync(program, ['--check-config', '--config', toml], { encoding: 'utf8', env: { ...process.env, POSTGRES_PASSWORD: 'p' } });
    assert.equal(status, 0, stderr);
    assert.equal(stderr.replace(/^.*not in Redis.*\n/m, ''), '', stdout);
    const conf = path.join(folder, 'nginx.conf'), bodies = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(k => `${k}_temp_path ${folder}/${k};`).join(' ');
    fs.writeFileSync(conf, `pid ${folder}/nginx.pid; error_log ${folder}/nginx.log; events {}\nhttp { access_log off; ${bodies}\n${block('proxy_pass').replaceAll(/node-\d:/g, '127.0.0.1:')} }\n`);
    const nginx = spawnSync('nginx', ['-t', '-q', '-c', conf, '-p', folder], { encoding: 'utf8', env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` } });
    assert.equal(nginx.status, 0, nginx.stderr);
  });

  test('names targets of make, and links to what is there', () => {
    const targets = new Set([...fs.readFileSync(path.join(root, 'Makefile'), 'utf8').matchAll(/^([a-z0-9-]+):/gm)].map(m => m[1]));
    for (const [, target] of readme.matchAll(/[`\n]make ([a-z0-9-]+)/g)) assert.ok(targets.has(target), target);
    const links = [...readme.matchAll(/\]\(([^)#]+)\)/g)].map(m => m[1]).filter(link => !link.includes('://'));
    assert.ok(links.length > 10);
    for (const link of links) assert.ok(fs.existsSync(path.join(root, link)), link);
    for (const [, folders] of readme.matchAll(/^\| (`[^|]*`) \|/gm)) {
      for (const [, name] of folders.matchAll(/`([^`]+)`/g)) assert.ok(fs.existsSync(path.join(root, name)), name);
    }
  });

  test('names files that exist', () => {
    for (const name of ['LICENSE', 'docs/architecture.md', 'tools/demo-generator.mjs', 'src/main.c', 'test/unit', 'test/sim', 'test/fuzz', 'bench'])
      assert.ok(fs.existsSync(path.join(root, name)), name);
    assert.ok(fs.readdirSync(path.join(root, 'config')).some(f => f.endsWith('.example.toml')));
  });
});
