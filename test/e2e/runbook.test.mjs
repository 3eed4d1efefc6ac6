// SPDX-License-Identifier: Apache-2.0
//
// runbook.test.mjs - docs/runbook.md is true: each trouble is caused, its symptom is seen with the document's own commands, its cure
// cures. Every command block is executed; only ports are ours. (The alerts themselves: alerts.test.mjs; the doctor: doctor.test.mjs.)
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { after, describe, test } from 'node:test';
import { Api, complete, streaming } from './lib/api.mjs';
import { rotSegment } from './lib/damage.mjs';
import { Server, appWith, program, root, sleep, until } from './lib/server.mjs';
import { mint } from './lib/token.mjs';
import { V2 } from './lib/v2.mjs';

const text = fs.readFileSync(path.join(root, 'docs/runbook.md'), 'utf8');
const blocks = [...text.matchAll(/^```sh\n([\s\S]*?)^```/gm)].map(m => m[1]);
const used = new Set();
const tools = blocks.slice(0, 2);

const bin = fs.mkdtempSync(path.join(os.tmpdir(), 'sockudo-runbook-'));
fs.symlinkSync(program, path.join(bin, 'sockudo'));
after(() => fs.rmSync(bin, { recursive: true, force: true }));

/* Executes the block of the section that contains this, as it stands; what it prints. */
async function follow(server, section, containing, variables = {}) {
  const part = text.split(/^#+ /m).find(s => s.startsWith(`${section}\n`)), found = blocks.filter(b => part?.includes(b) && b.includes(containing));
  assert.equal(found.length, 1, `one block with ${containing} in ${section}`);
  used.add(found[0]);
  const script = [...tools, found[0]].join('\n').replaceAll('127.0.0.1:6001', `127.0.0.1:${server.port}`).replaceAll('127.0.0.1:9601', `127.0.0.1:${server.metricsPort}`);
  const { stdout, stderr } = await promisify(execFile)('sh', ['-ec', script], { env: { ...process.env, ...variables, PATH: `${bin}:${process.env.PATH}` }, timeout: 20_000 });
  assert.equal(stderr, '');
  return stdout;
}

/* The sum of the series in the output of `figure`. */
const sum = (output, name) => output.split('\n').filter(l => l.includes(name)).reduce((all, l) => all + Number(l.slice(l.lastIndexOf(' '))), 0);

async function withServer(options, body) {
  const server = await Server.start(options), api = new Api(server);
  try {
    return await body(server, api);
  } finally {
    api.close();
    if (server.running) await server.stop();
  }
}

/* The cure of a configuration: another value, and a restart. */
async function reconfigure(server, from, to) {
  const before = fs.readFileSync(server.configFile, 'utf8');
  assert.ok(before.includes(from), before);
  fs.writeFileSync(server.configFile, before.replace(from, to));
  server.process.kill('SIGTERM');
  await server.exited;
  await server.restart();
}

describe('the runbook', { timeout: 120_000 }, () => {
  test('has a section for every alert and every subject of the doctor', () => {
    const anchors = new Set([...text.matchAll(/^#+ (.*)$/gm)].map(m => m[1].toLowerCase().replace(/[^\w -]/g, '').replaceAll(' ', '-')));
    const rules = fs.readFileSync(path.join(root, 'ops/prometheus/sockudo.rules.yml'), 'utf8');
    const links = [...rules.matchAll(/runbook\.md#(\S+)/g), ...text.matchAll(/\]\(#([^)]+)\)/g)].map(m => m[1]);
    for (const file of ['doctor.c', 'doctor_backends.c', 'doctor_disk.c', 'doctor_net.c'])
      for (const [, subject] of fs.readFileSync(path.join(root, 'src/ops', file), 'utf8').matchAll(/doctor_say\(\w+, [^"]*?"(\w+)"/g)) links.push(`doctor-${subject}`);
    assert.ok(links.length > 25);
    for (const link of links) assert.ok(anchors.has(link), link);
  });

  test('names figures that exist', () => withServer({}, async server => {
    const exported = await (await fetch(`http://127.0.0.1:${server.metricsPort}/metrics`)).text();
    const named = new Set([...text.matchAll(/`([a-z]+(?:_[a-z]+){1,5})(?:\{[^`]*\})?`/g)].map(m => m[1]).filter(n => /_(total|channels|bytes|depth|tasks|ratio|latency|streams|budget|messages|ops|ms|open)$/.test(n)));
    const keys = new Set(['stream_idle_timeout_seconds', 'default_window_ms', 'min_window_ms', 'max_window_ms', 'orphan_ttl_ms', 'retention_window_seconds']);
    assert.ok(named.size > 15, [...named].join());
    for (const name of named) if (!keys.has(name)) assert.ok(exported.includes(`sockudo_${name}`), name);
  }));

  test('the state of the node', () => withServer({}, async server => {
    const said = await follow(server, 'Runbook: a server that streams AI answers', 'sockudo doctor', { config: server.configFile });
    assert.match(said, /^OK\n\{"memory".*\n?ok +limits/s);
  }));

  test('a damaged channel: log, figures and answers tell of it from the first reader to the reset', () => withServer({}, async (server, api) => {
    const channel = 'ai-rot', stats = async () => JSON.parse((await server.get('/stats')).text).history, lines = pattern => server.log().split('\n').filter(l => pattern.test(l));
    const { message_serial: serial } = await api.create(channel, '', { extras: streaming() });
    for (let i = 0; i < 99; i++) await api.append(channel, serial, `${i},`);
    await api.append(channel, serial, '.', { extras: complete });
    server.process.kill('SIGTERM');
    await server.exited;
    rotSegment(server, 1, 1);
    await server.restart();
    api.agent.destroy();
    assert.equal((await stats()).degraded_channels, 0);
    assert.equal((await api.history(channel)).status, 503);
    await until(async () => (await stats()).degraded_channels === 1, 'the damage to be marked'); // by the store, a moment after the reader met it
    assert.equal((await stats()).reset_required_channels, 0);
    assert.equal(lines(/ERROR store: channel ai-rot of app app-id is degraded: store_rows_damaged/).length, 1);
    assert.equal((await api.publish(channel, 'note', 'still taken')).status, 200);
    server.process.kill('SIGTERM');
    await server.exited;
    await server.restart(); // who reads only this start's log must learn of it
    assert.equal(lines(/channel ai-rot of app app-id is degraded/).length, 2);
    assert.equal((await stats()).degraded_channels, 1);

    const said = await follow(server, 'SockudoHistoryDegraded', 'history/reset', { channel });
    assert.match(said, /"durable_state":"degraded".*"reason":"store_rows_damaged".*\n\{"ok":true,"operation":"reset"/s);
    assert.equal((await stats()).degraded_channels, 0);
    assert.equal(lines(/INFO store: channel ai-rot of app app-id is healthy again/).length, 1);
    assert.equal(lines(/WARN api: history of channel ai-rot of app app-id was reset by me: damaged rows; \d+ messages are gone/).length, 1);
    await api.publish(channel, 'note', 'anew');
    assert.deepEqual((await api.history(channel)).body.items.map(i => i.message.data), ['anew']);
  }));

  test('a mutation is refused (93002)', () => withServer({}, async (server, api) => {
    const channel = 'ai-1', { message_serial: serial } = await api.create(channel, 'x', { extras: streaming() });
    const agent = may => V2.connect(server, { params: `token=${mint(server.apps[0], { may: { '*': ['subscribe', 'publish', ...may] } })}` });
    const weak = await agent([]), strong = await agent(['message-append-any']);
    const refused = await api.append(channel, serial, 'y', { socket_id: weak.socketId });
    assert.deepEqual([refused.status, refused.body.ai_code], [403, 93002]);
    assert.equal(sum(await follow(server, 'A mutation is refused', '93002'), '93002'), 1);
    assert.equal((await api.append(channel, serial, 'y', { socket_id: strong.socketId })).status, 200);
    assert.match(await follow(server, 'A mutation is refused', '/append', { channel, serial }), /"status":"applied"/);
    assert.equal((await api.latest(channel, serial)).data, 'xy more');
    for (const client of [weak, strong]) await client.close();
  }));

  test('history is too short', () => withServer({ config: { history: { max_messages_per_channel: 5 } } }, async (server, api) => {
    const channel = 'news';
    /* Away for twenty messages and a restart: the code of the failure, or what it was served from. */
    const away = async meanwhile => {
      const client = await V2.connect(server);
      await client.subscribe(channel);
      await api.publish(channel, 'n', 'seen');
      await client.next(f => f.event === 'n');
      client.cut();
      for (let i = 0; i < 20; i++) await api.publish(channel, 'n', `${i}`);
      api.agent.destroy();
      await meanwhile();
      const { recovered, failed } = await client.reconnect();
      const texts = client.frames.filter(f => f.event === 'n').map(f => f.data);
      await client.close();
      return { failed: failed?.map(f => f.code), recovered: recovered?.length, last: texts.at(-1), count: texts.length };
    };
    const before = await away(async () => { server.process.kill('SIGTERM'); await server.exited; await server.restart(); });
    assert.deepEqual(before.failed, ['position_expired']);
    const said = await follow(server, 'History is too short', 'history/state', { channel });
    assert.equal(sum(said, 'position_expired'), 1);
    assert.equal(JSON.parse(said.slice(said.indexOf('{"channel"'))).stream.retained.retained_messages, 5);
    const cured = await away(() => reconfigure(server, '"max_messages_per_channel" = 5', '"max_messages_per_channel" = 1000').catch(() => reconfigure(server, 'max_messages_per_channel = 5', 'max_messages_per_channel = 1000')));
    assert.equal(cured.failed?.length ?? 0, 1, 'what is gone stays gone');
    const later = await away(async () => { server.process.kill('SIGTERM'); await server.exited; await server.restart(); });
    assert.deepEqual([later.failed?.length ?? 0, later.last, later.count], [0, '19', 21]);
  }));

  test('a run never ends', () => withServer({ config: { ai_transport: { rollup: { orphan_ttl_ms: 3_600_000 } } } }, async (server, api) => {
    const channel = 'ai-left', open = [];
    for (let i = 0; i < 2; i++) open.push(await api.create(channel, 'Hel', { extras: streaming() }));
    const [{ message_serial: serial }, other] = open;
    await api.append(channel, serial, 'lo');
    await sleep(300);
    assert.equal(sum(await follow(server, 'A run never ends', 'ai_orphans_closed_total'), 'sockudo_ai_active_streams'), 2);
    assert.match(await follow(server, 'A run never ends', 'cancelled', { channel, serial }), /"status":"applied"/);
    assert.equal(sum(await follow(server, 'A run never ends', 'ai_orphans_closed_total'), 'sockudo_ai_active_streams'), 1);
    assert.equal((await api.latest(channel, serial)).extras.ai.transport.status, 'cancelled');
    api.agent.destroy();
    await reconfigure(server, 'orphan_ttl_ms = 3600000', 'orphan_ttl_ms = 300');
    await until(async () => await server.metric('sockudo_ai_orphans_closed_total') === 1, 'the janitor');
    assert.equal(await server.metric('sockudo_ai_active_streams'), 0);
    assert.equal((await api.latest(channel, other.message_serial)).extras.ai.transport['error-code'], 'orphan_timeout');
  }));

  test('publishes after a suspend', () => withServer({}, async (server, api) => {
    const channel = 'ai-run', transport = (more = {}) => ({ extras: { ai: { transport: { 'run-id': 'r1', ...more } } } });
    const { message_serial: serial } = await api.create(channel, 'first', { message_id: 'part-1', ...transport({ status: 'streaming' }) });
    const suspended = await api.publish(channel, 'ai-run-suspend', '{}', { message_id: 'suspend-1', ...transport() });
    assert.equal(suspended.status, 200, suspended.text);
    assert.equal((await api.append(channel, serial, ' stray', { op_id: 'op-1' })).status, 200, 'the server does not judge the order');
    const said = await follow(server, 'Publishes after a suspend', 'history', { channel, serial });
    const [history, versions] = said.trim().split('\n').map(l => JSON.parse(l));
    assert.deepEqual(history.items.map(i => [i.message_id, i.event_name.startsWith('ai-run')]).map(([id]) => id).includes('suspend-1'), true);
    assert.ok(JSON.stringify(versions).includes(' stray'), said);
    assert.equal((await api.append(channel, serial, ' stray', { op_id: 'op-1' })).body.status, 'duplicate');
    assert.match(await follow(server, 'Publishes after a suspend', '"complete"', { channel, serial }), /"status":"applied"/);
    const refused = await api.append(channel, serial, ' and more', { op_id: 'op-2' });
    assert.deepEqual([refused.status, refused.body.error], [400, 'cannot append to a terminal message']);
    assert.equal((await api.latest(channel, serial)).data, 'first stray');
  }));

  test('clients reconnect in a loop', () => withServer({}, async (server, api) => {
    const bad = mint(server.apps[0], { life: -60, claims: {} }), look = () => follow(server, 'Clients reconnect in a loop', 'new_connections_total');
    const attempt = () => V2.connect(server, { params: `token=${bad}` }).then(c => c.close().then(() => 0), e => e.code ?? e.status);
    for (let i = 0; i < 10; i++) assert.equal(await attempt(), 4009);
    assert.equal(sum(await look(), 'error_type="token"'), 10);
    api.agent.destroy();
    const config = fs.readFileSync(server.configFile, 'utf8');
    fs.writeFileSync(server.configFile, config.replace(/^rate_limiter = .*$/m, 'rate_limiter = { enabled = true, driver = "memory", websocket_rate_limit = { max_requests = 3, window_seconds = 60 } }'));
    server.process.kill('SIGTERM');
    await server.exited;
    await server.restart();
    const codes = [];
    for (let i = 0; i < 10; i++) codes.push(await attempt());
    assert.deepEqual(codes.slice(3), Array(7).fill(429));
    const said = await look();
    assert.deepEqual([sum(said, 'error_type="token"'), sum(said, 'websocket_connect')], [3, 7]);
    fs.writeFileSync(server.configFile, config); // the client has learnt to fetch a new token
    server.process.kill('SIGTERM');
    await server.exited;
    await server.restart();
    const client = await V2.connect(server, { params: `token=${mint(server.apps[0])}` });
    assert.equal(sum(await look(), 'error_type="token"'), 0);
    await client.close();
  }));

  test('rollup is tuned badly', () => withServer({ config: { ai_transport: { rollup: { default_window_ms: 500 } } } }, async (server, api) => {
    const measure = async channel => {
      const client = await V2.connect(server);
      await client.subscribe(channel);
      const { message_serial: serial } = await api.create(channel, '', { extras: streaming() });
      for (let end = Date.now() + 1500; Date.now() < end; await sleep(4)) await api.append(channel, serial, 'x');
      await sleep(600);
      await client.close();
      const said = await follow(server, 'Rollup is tuned badly', 'rollup_ratio_sum');
      return { ratio: sum(said, 'rollup_ratio_sum') / sum(said, 'rollup_ratio_count'), wait_ms: sum(said, 'flush_latency_sum') / sum(said, 'flush_latency_count') };
    };
    const jerky = await measure('ai-a');
    api.agent.destroy();
    await reconfigure(server, 'default_window_ms = 500', 'default_window_ms = 20');
    const smooth = await measure('ai-b');
    assert.ok(jerky.wait_ms > 100 && jerky.wait_ms <= 550, JSON.stringify(jerky));
    assert.ok(smooth.wait_ms < 40 && smooth.ratio < jerky.ratio / 3, JSON.stringify({ jerky, smooth }));
  }));

  test('no command was left out', () => {
    assert.deepEqual(blocks.filter(b => !used.has(b) && !tools.includes(b)), []);
  });
});
