// SPDX-License-Identifier: Apache-2.0
//
// browser.test.mjs - `make run` as a person sees it: the terminal, then the page in Chromium, clicked through.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { chromium } from 'playwright-core';
import { freePort, logFolder, root, sleep, until } from './lib/server.mjs';

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const built = fs.existsSync(path.join(root, 'build/release/sockudo'));

async function startDemo(once) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'sockudo-demo-'));
  const [port, metricsPort, generatorPort] = [await freePort(), await freePort(), await freePort()];
  const env = { ...process.env, PORT: port, METRICS_PORT: metricsPort, GENERATOR_PORT: generatorPort, SOCKUDO_DATA_DIR: path.join(folder, 'data'), SOCKUDO_DEMO_LOGS: path.join(folder, 'logs'), ...(once ? { SOCKUDO_DEMO_ONCE: '1' } : {}) };
  const child = spawn(path.join(root, 'tools/run-demo'), [], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const demo = { child, folder, port, output: '', url: `http://127.0.0.1:${port}/?generator=${generatorPort}` };
  for (const stream of [child.stdout, child.stderr]) stream.on('data', part => { demo.output += part; });
  demo.exited = new Promise(resolve => child.on('exit', (code, signal) => resolve({ code, signal })));
  demo.remove = () => fs.rmSync(folder, { recursive: true, force: true });
  return demo;
}

describe('the demo', { skip: !built && 'build/release/sockudo is not built' }, () => {
  test('shows its first stream in the terminal and ends when asked to', { timeout: 60_000 }, async () => {
    const demo = await startDemo(true);
    assert.deepEqual(await demo.exited, { code: 0, signal: null }, demo.output);
    assert.match(demo.output, /rivers/);
    demo.remove();
  });

  describe('in Chromium', { skip: !fs.existsSync(CHROMIUM) && 'there is no Chromium' }, () => {
    let demo, context, page;
    const errors = [];
    before(async () => {
      demo = await startDemo(false);
      await until(() => demo.output.includes('Ctrl-C'), () => `the demo: ${demo.output}`, 40_000);
      context = await chromium.launchPersistentContext(path.join(demo.folder, 'profile'), { executablePath: CHROMIUM, headless: true, args: FLAGS, viewport: { width: 1280, height: 900 } });
      page = context.pages()[0] ?? await context.newPage();
      page.on('pageerror', error => errors.push(error.message));
      await page.goto(demo.url);
    });
    after(async () => {
      await context?.close();
      demo?.child.kill('SIGTERM');
      if (demo) assert.deepEqual(await demo.exited, { code: 0, signal: null });
      demo?.remove();
    });

    const texts = () => page.$$eval('.viewer .text', areas => areas.map(a => [...a.children].map(c => c.textContent).join('\n')));
    const states = () => page.$$eval('.viewer', cards => cards.map(c => c.dataset.state));
    const check = () => page.$eval('#check', c => c.dataset.check);
    const streaming = () => page.$$eval('.viewer .streaming', found => found.length);
    const shot = name => { fs.mkdirSync(logFolder, { recursive: true }); return page.screenshot({ path: path.join(logFolder, name), fullPage: true }); };
    const growing = async index => { const before = (await texts())[index].length; await until(async () => (await texts())[index].length > before + 20, `viewer ${index} to grow`, 10_000); };

    test('opens with three live viewers that hold the first stream', { timeout: 30_000 }, async () => {
      await until(async () => (await states()).join() === 'live,live,live', async () => (await states()).join());
      await until(async () => (await texts()).every(t => t.includes('rivers')), 'the first stream, by rewind');
      assert.equal(new Set(await texts()).size, 1);
    });

    test('streams a prompt into all of them; one is cut, comes back, a late joiner comes, and all texts are equal', { timeout: 90_000 }, async () => {
      await page.fill('#prompt', 'Tell me about lighthouses');
      await page.click('#ask button');
      await until(async () => (await texts()).every(t => t.includes('Tell me about lighthouses')), 'the prompt in each viewer');
      await until(async () => await streaming() === 3, 'three growing texts');
      for (const index of [0, 1, 2]) await growing(index);

      await page.click('.viewer:nth-child(2) .cut');
      await until(async () => (await states())[1] === 'cut', 'the cut to show');
      const held = (await texts())[1];
      await growing(0);
      assert.equal((await texts())[1], held, 'a cut viewer stands still');
      await shot('demo-cut.png');

      await page.click('#late');
      await until(async () => (await texts()).length === 4 && (await texts())[3].includes('lighthouses'), 'the late joiner');
      await page.click('.viewer:nth-child(2) .cut');
      await until(async () => (await states()).join() === 'live,live,live,live', async () => (await states()).join());
      await growing(1);
      await shot('demo.png');

      const figures = await page.$$eval('.figure b', all => all.map(b => b.textContent));
      assert.ok(Number(figures[0]) > 5 && Number(figures[1]) > 5, figures.join());
      assert.match(figures[2], /ms · .*ms/);

      await until(async () => await streaming() === 0, 'the end of the answer', 60_000);
      await until(async () => await check() === 'identical', check);
      const all = await texts();
      assert.equal(new Set(all).size, 1, all.join('\n---\n'));
      assert.ok(all[0].length > 500);
      assert.equal(await page.$('.numbers.bad'), null, 'no frame came twice');
      assert.deepEqual(errors, []);
    });

    test('a reload shows everything again', { timeout: 30_000 }, async () => {
      const before = (await texts())[0];
      await page.reload();
      await until(async () => (await texts()).length === 3 && (await texts()).every(t => t === before), 'the same text after a reload');
      await sleep(100);
      assert.equal(await check(), 'identical');
    });
  });
});
