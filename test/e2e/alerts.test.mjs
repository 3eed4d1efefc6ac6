// SPDX-License-Identifier: Apache-2.0
//
// alerts.test.mjs - the alert rules: what promtool says of them.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { root } from './lib/server.mjs';

const folder = path.join(root, 'ops/prometheus');
const rules = fs.readFileSync(path.join(folder, 'sockudo.rules.yml'), 'utf8');
const alerts = [...rules.matchAll(/- alert: (\w+)/g)].map(m => m[1]);

function promtool(...args) {
  const { status, stdout, stderr } = spawnSync('promtool', args, { cwd: folder, encoding: 'utf8', timeout: 120_000 });
  assert.equal(status, 0, stdout + stderr);
  return stdout;
}

describe('the alert rules', () => {
  test('are rules', () => {
    assert.match(promtool('check', 'rules', 'sockudo.rules.yml'), /SUCCESS/);
  });

  test('fire, stay silent and end as their tests say', { timeout: 150_000 }, () => {
    const tests = fs.readFileSync(path.join(folder, 'sockudo.test.yml'), 'utf8');
    for (const name of alerts) assert.ok(tests.includes(`"${name}"`), `${name} has no test`);
    promtool('test', 'rules', 'sockudo.test.yml');
  });
});
