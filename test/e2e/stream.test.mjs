// SPDX-License-Identifier: Apache-2.0
//
// stream.test.mjs - streaming append over real sockets: curl, Node's http, what breaks off and is continued (docs/streaming.md).
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import crypto from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { Api, nowSeconds } from './lib/api.mjs';
import { demoApp, fresh, oneServer, Server, sleep, until } from './lib/server.mjs';
import { AppendStream, bodies, EventReader } from './lib/stream.mjs';
import { V2 } from './lib/v2.mjs';

const uuid = () => crypto.randomUUID();
const words = n => Array.from({ length: n }, (_, i) => `w${i}é `);

describe('streams over HTTP', () => {
  const held = oneServer({ before, after }, { apps: [demoApp] });
  let api;
  const readers = [];
  before(() => { api = new Api(held.server, demoApp); });
  after(async () => { await Promise.all(readers.map(r => r.close())); api.close(); });
  const open = (channel, query, options) => new AppendStream(api, channel, query, options);
  const read = (...args) => { const r = new EventReader(api, ...args); readers.push(r); return r; };
  const creating = (more = {}) => ({ name: 'ai-output', message_id: uuid(), format: 'ndjson', ...more });
  const send = (channel, query, body, options) => open(channel, query, options).end(body);

  describe('append', () => {
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

    test('what comes together becomes an append each', async () => {
      const channel = fresh('ai'), parts = words(1000);
      const stream = await send(channel, creating(), bodies.ndjson(parts).join(''));
      assert.deepEqual(stream.acks.at(-1), { end: 'complete', appends: 1001, bytes: Buffer.byteLength(parts.join('')) });
      assert.ok(stream.acks.length < 200, `${stream.acks.length} lines`);
      const item = await api.latest(channel, stream.serial);
      assert.deepEqual([item.data, item.delivery_serial], [parts.join(''), 1002]);
    });

    for (const [name, format] of [['openai', 'sse'], ['responses', 'sse'], ['anthropic', 'sse'], ['ndjson', 'ndjson']])
      test(`the body of ${name} becomes a message, whatever the cuts`, async () => {
        const channel = fresh('ai'), parts = ['Hello ', 'wörld', ' \u{1f30d}', '"\n"'], body = Buffer.from(bodies[name](parts).join(''));
        const stream = open(channel, creating({ format }));
        for (let at = 0; at < body.length; at += 7) stream.write(body.subarray(at, at + 7));
        await stream.end();
        const item = await api.latest(channel, stream.serial);
        assert.deepEqual([item.data, item.extras.ai.transport.status, stream.acks.at(-1).end], [parts.join(''), 'complete', 'complete']);
      });

    test('text: the end of the body ends the message, a character is never cut', async () => {
      const channel = fresh('ai'), text = Buffer.from('größer\u{1f30d}');
      const stream = open(channel, creating({ format: 'text' }));
      for (const byte of text) { stream.write(Buffer.from([byte])); await sleep(2); }
      await stream.end();
      const versions = (await api.versions(channel, stream.serial, { direction: 'oldest_first' })).body.items;
      assert.equal(versions.map(v => v.data).join(''), text.toString());
      assert.equal((await api.latest(channel, stream.serial)).extras.ai.transport.status, 'complete');
    });

    test('what breaks off stays open, and goes on exactly, wherever it broke', async () => {
      const parts = words(12), whole = parts.join(''), body = Buffer.from(bodies.ndjson(parts).join(''));
      for (let at = 1; at < body.length; at += 5) {
        const channel = fresh('ai'), query = creating();
        const first = open(channel, query).write(body.subarray(0, at));
        await until(() => first.status);
        await first.breakOff();
        const again = await until(async () => {
          const retry = await send(channel, query, body); /* the same from its beginning */
          return retry.status === 200 && retry.acks.at(-1).end === 'complete' && retry;
        });
        const item = await api.latest(channel, again.serial);
        assert.equal(item.data, whole, `broken at ${at}`);
        assert.equal(item.delivery_serial, parts.length + 2, `broken at ${at}`);
      }
    });

    test('a retry may begin at any byte that is acknowledged', async () => {
      const parts = words(8), channel = fresh('ai'), query = creating({ format: 'text' });
      const first = open(channel, query).write(parts.slice(0, 4).join(''));
      const bytes = Buffer.byteLength(parts.slice(0, 4).join(''));
      await first.acked(bytes);
      await first.breakOff();
      const serial = first.serial, rest = Buffer.from(parts.join(''));
      const done = await send(channel, { message_serial: serial, from: bytes, format: 'text' }, rest.subarray(bytes));
      assert.equal(done.acks.at(-1).end, 'complete');
      assert.equal((await api.latest(channel, serial)).data, parts.join(''));
      for (const from of [0, 4, bytes]) { /* a replay of all of it stores nothing */
        const replay = await send(channel, { message_serial: serial, from, format: 'text' }, rest.subarray(from));
        assert.equal(replay.acks.at(-1).end, 'complete');
      }
      assert.equal((await api.latest(channel, serial)).data, parts.join(''));
      const item = await api.latest(channel, serial);
      assert.equal(item.delivery_serial, (await api.versions(channel, serial)).body.items.length);
    });

    test('another text where something is stored already is refused', async () => {
      const channel = fresh('ai'), first = await send(channel, creating(), '{"data":"abc"}\n');
      assert.deepEqual(first.acks.at(-1), { end: 'open', appends: 1, bytes: 3 });
      const other = await send(channel, { message_serial: first.serial, from: 1, format: 'ndjson' }, '{"data":"bX"}\n');
      const line = other.acks.at(-1);
      assert.deepEqual([line.status, line.code, line.ai_code, line.seq], [400, 'invalid_input', 104006, 1]);
      const beyond = await send(channel, { message_serial: first.serial, from: 4, format: 'ndjson' }, '{"data":"x"}\n');
      assert.deepEqual([beyond.status, JSON.parse(beyond.text).error], [400, "from is 4, but the message's text has 3 bytes"]);
    });

    test('two writers at once never mix: one goes on, the other is told to continue', async () => {
      const channel = fresh('ai'), query = creating(), parts = words(300), body = bodies.ndjson(parts).join('');
      const answers = await Promise.all([send(channel, query, body), send(channel, query, body)]);
      assert.ok(answers.some(a => a.acks.at(-1).end === 'complete'), answers.map(a => a.text.slice(-300)).join('\n'));
      const item = await api.latest(channel, answers.find(a => a.serial).serial);
      assert.equal(item.data, parts.join(''));
    });

    test('a bad record ends the stream with what is wrong with it; what was before it is stored', async () => {
      const cases = [['{"data":1}', "'data' must be a string"], ['nonsense', 'a line is not JSON'], ['{"data":""}', 'append request data must not be empty'], ['{"data":"x","status":"odd"}', "'status' must be"],
        ['{"data":"x","extras":{"ai":{"transport":{"status":"odd"}}}}', 'extras.ai.transport.status has invalid value']];
      for (const [line, why] of cases) {
        const channel = fresh('ai'), stream = await send(channel, creating(), `{"data":"good"}\n${line}\n{"data":"never"}\n`);
        const last = stream.acks.at(-1);
        assert.ok(last.error.includes(why), `${last.error} for ${line}`);
        assert.deepEqual([last.seq, last.bytes], [2, 4]);
        assert.equal((await api.latest(channel, stream.serial)).data, 'good');
      }
    });

    test('parameters are named when they are wrong', async () => {
      const cases = [[{ format: 'xml' }, 400, 'format must be'], [{ format: undefined }, 415, 'Say what the body is'], [{ message_serial: 'x' }, 400, 'either message_id'], [{ message_id: undefined }, 400, 'either message_id'],
        [{ extras: '[]' }, 400, 'extras must be a JSON object'], [{ name: undefined }, 400, 'Event name is required'], [{ from: 'x' }, 400, "'from' must be"], [{ from: 1 }, 400, 'from is 1'],
        [{ message_id: undefined, message_serial: 'x' }, 400, 'from is required'], [{ message_id: undefined, message_serial: 'x', from: 0 }, 404, 'was not found'], [{ end: 'x' }, 400, 'end must be'],
        [{ message_id: 'x'.repeat(65) }, 400, 'message_id must be'], [{ body_md5: 'x' }, 401, 'body_md5 must not be present']];
      for (const [change, status, why] of cases) {
        const query = Object.fromEntries(Object.entries({ ...creating(), ...change }).filter(([, v]) => v !== undefined));
        const stream = await send(fresh('ai'), query, '{"data":"x"}\n');
        assert.equal(stream.status, status, stream.text);
        assert.ok(JSON.parse(stream.text).error.includes(why), stream.text);
      }
    });

    test('PUT as curl -T makes it, with Expect: 100-continue; on a channel without AI too', async () => {
      const channel = fresh('plain'), query = { name: 'log', message_id: uuid() };
      const url = `http://127.0.0.1:${held.server.port}${api.target('PUT', `/apps/${api.app.id}/channels/${channel}/messages/stream`, { query: { ...query, format: 'text' } })}`;
      const curl = spawn('curl', ['-sSN', '-T', '.', '-H', 'Expect: 100-continue', url]);
      let out = '', errors = '';
      curl.stdout.on('data', d => { out += d; });
      curl.stderr.on('data', d => { errors += d; });
      curl.stdin.write('one ');
      await until(() => out.includes('"bytes":4'), () => `an acknowledgement, got ${out} ${errors}`);
      curl.stdin.end('two');
      assert.equal(await new Promise(resolve => curl.on('close', resolve)), 0, errors);
      const acks = out.trim().split('\n').map(l => JSON.parse(l));
      assert.deepEqual(acks.at(-1), { end: 'complete', appends: 2, bytes: 7 });
      assert.equal((await api.latest(channel, acks[0].message_serial)).data, 'one two');
    });

    test('subscribers see the appends of a stream as any others', async () => {
      const channel = fresh('ai'), client = await V2.connect(held.server);
      await client.subscribe(channel);
      const parts = words(50);
      const stream = await send(channel, creating(), bodies.ndjson(parts).join(''));
      await until(() => client.text(channel, stream.serial) === parts.join(''), () => client.text(channel, stream.serial));
      assert.deepEqual(client.faults, []);
      await client.close();
    });
  });

  describe('read', () => {
    test('a snapshot, what is appended, the end', async () => {
      const channel = fresh('ai'), stream = open(channel, creating()).write('{"data":"Hel"}\n');
      await stream.acked(3);
      const reader = read(channel, stream.serial);
      const snapshot = await reader.until(e => e.event === 'snapshot');
      assert.deepEqual([snapshot.data.data, reader.headers['content-type'], reader.headers['cache-control']], ['Hel', 'text/event-stream', 'no-store']);
      await stream.end('{"data":"lo"}\n{"data":"!","status":"complete"}\n');
      await reader.done;
      assert.equal(reader.transcript, 'Hello!');
      assert.deepEqual(reader.events.at(-1).data, { status: 'complete' });
      const [streamId, position] = reader.lastId.split(':');
      assert.deepEqual([streamId, position], [snapshot.data.stream_id, '4']);
      const over = read(channel, stream.serial, { since: reader.lastId });
      await over.done;
      assert.equal(over.status, 204);
    });

    test('Last-Event-ID continues exactly, from every position', async () => {
      const channel = fresh('ai'), parts = words(20), stream = open(channel, creating());
      const other = await api.create(channel, 'between');
      for (const [i, data] of parts.entries()) {
        stream.write(`${JSON.stringify({ data })}\n`);
        await stream.acked(Buffer.byteLength(parts.slice(0, i + 1).join('')));
        if (i % 3 === 0) await api.append(channel, other.message_serial, `o${i}`);
      }
      const positions = (await api.versions(channel, stream.serial, { direction: 'oldest_first' })).body.items;
      const streamId = (await read(channel, stream.serial).until(e => e.event === 'snapshot')).data.stream_id;
      let text = '';
      for (const version of positions) {
        text += version.data;
        const reader = read(channel, stream.serial, { since: `${streamId}:${version.delivery_serial}` });
        const missing = parts.join('').slice(text.length);
        if (missing) await until(() => reader.transcript === missing, () => `${missing} after ${version.delivery_serial}, got ${reader.text}`);
        assert.ok(reader.events.every(e => e.event === 'append'));
      }
      const late = readers.at(-3);
      await stream.end('{"data":"end","status":"complete"}\n');
      await late.done;
      assert.equal(late.events.at(-1).event, 'end');
    });

    test('readers see what WebSockets see, the same frames', async () => {
      const channel = fresh('ai'), stream = open(channel, creating()), client = await V2.connect(held.server);
      await until(() => stream.serial);
      await client.subscribe(channel);
      const pair = [read(channel, stream.serial), read(channel, stream.serial)];
      await Promise.all(pair.map(r => r.until(e => e.event === 'snapshot')));
      for (const data of words(30)) { stream.write(`${JSON.stringify({ data })}\n`); await sleep(3); }
      await stream.end('{"status":"complete"}\n');
      await Promise.all(pair.map(r => r.done));
      const appends = r => r.events.filter(e => e.event === 'append').map(e => e.data);
      assert.deepEqual(appends(pair[0]), appends(pair[1]));
      assert.equal(pair[0].transcript, words(30).join(''));
      await client.close();
    });

    test('pages of other origins may read and write', async () => {
      const channel = fresh('ai'), { message_serial: serial } = await api.create(channel, 'a'), headers = { Origin: 'https://app.example' };
      const reader = read(channel, serial, { headers });
      await reader.until(e => e.event === 'snapshot');
      assert.equal(reader.headers['access-control-allow-origin'], '*');
      for (const path of [`/messages/${serial}/stream`, '/messages/stream']) {
        const preflight = await api.send('OPTIONS', `/apps/${demoApp.id}/channels/${channel}${path}`, { headers: { ...headers, 'Access-Control-Request-Method': 'PUT' } });
        assert.equal(preflight.status, 200);
        assert.match(preflight.headers['access-control-allow-methods'], /PUT/);
      }
      const stream = open(channel, creating(), { headers });
      await until(() => stream.headers);
      assert.equal(stream.headers['access-control-allow-origin'], '*');
      await stream.end();
    });

    test('append_rollup_window is a reader\'s choice as it is a WebSocket\'s', async () => {
      const channel = fresh('ai'), stream = open(channel, creating());
      await until(() => stream.serial);
      const [each, joined] = [0, 500].map(window => read(channel, stream.serial, { query: { auth_key: demoApp.key, append_rollup_window: window } }));
      await Promise.all([each, joined].map(r => r.until(e => e.event === 'snapshot')));
      for (const data of words(20)) { stream.write(`${JSON.stringify({ data })}\n`); await sleep(5); }
      await stream.end('{"status":"complete"}\n');
      await Promise.all([each.done, joined.done]);
      const appends = r => r.events.filter(e => e.event === 'append').length;
      assert.deepEqual([each.transcript, joined.transcript], [words(20).join(''), words(20).join('')]);
      assert.equal(appends(each), 21);
      assert.ok(appends(joined) <= 4, `${appends(joined)} events`);
      const wrong = read(channel, stream.serial, { query: { auth_key: demoApp.key, append_rollup_window: 30 } });
      await wrong.done;
      assert.equal(wrong.status, 400);
    });

    test('an update replaces, a delete ends; another message of the channel is not shown', async () => {
      const channel = fresh('ai'), { message_serial: serial } = await api.create(channel, 'a'), reader = read(channel, serial);
      await reader.until(e => e.event === 'snapshot');
      await api.create(channel, 'other');
      await api.update(channel, serial, { data: 'b' });
      await api.remove(channel, serial);
      await reader.done;
      assert.deepEqual(reader.events.map(e => [e.event, e.data.data ?? e.data.status]), [['snapshot', 'a'], ['update', 'b'], ['delete', 'b'], ['end', 'deleted']]);
    });

    test('a position that cannot be continued is answered with a snapshot; one that is none, with 400', async () => {
      const channel = fresh('ai'), { message_serial: serial } = await api.create(channel, 'a');
      for (const since of [`${uuid()}:1`, 'x:99999']) assert.equal((await read(channel, serial, { since }).until(e => e.event === 'snapshot')).data.data, 'a');
      for (const since of ['x', ':1', 'x:y', 'x:-1']) {
        const reader = read(channel, serial, { since });
        await reader.done;
        assert.equal(reader.status, 400, since);
      }
    });

    test('who may subscribe may read, and nobody else', async () => {
      const channel = fresh('private-ai'), open_ = fresh('ai'), { message_serial: secret } = await api.create(channel, 'a'), { message_serial: known } = await api.create(open_, 'b');
      const now = nowSeconds();
      const token = may => {
        const part = o => Buffer.from(JSON.stringify(o)).toString('base64url');
        const text = `${part({ alg: 'HS256', kid: demoApp.key })}.${part({ iat: now, exp: now + 60, jti: uuid(), 'x-sockudo-client-id': 'u1', 'x-sockudo-capability': may })}`;
        return `${text}.${crypto.createHmac('sha256', demoApp.secret).update(text).digest('base64url')}`;
      };
      const status = async (...args) => { const r = read(...args); await Promise.race([r.done, until(() => r.status)]); return r.status; };
      assert.equal(await status(channel, secret), 200);
      assert.equal(await status(channel, secret, { query: { auth_key: demoApp.key } }), 401);
      assert.equal(await status(channel, secret, { query: { token: token({ [channel]: ['subscribe'] }) } }), 200);
      assert.equal(await status(channel, secret, { query: { token: token({ [channel]: ['publish'] }) } }), 403);
      assert.equal(await status(channel, secret, { query: { token: 'x.y.z' } }), 401);
      assert.equal(await status(open_, known, { query: { auth_key: demoApp.key } }), 200);
      assert.equal(await status(open_, known, { query: { auth_key: 'wrong' } }), 404);
      assert.equal(await status(open_, known, { query: {} }), 404);
      assert.equal(await status(channel, secret, { params: { auth_timestamp: String(now - 5000) } }), 401);
      assert.equal(await status(channel, secret, { params: { auth_timestamp: String(now - 5000), expires: String(now + 100) } }), 200);
      assert.equal(await status(channel, secret, { params: { auth_timestamp: String(now - 5000), expires: String(now - 1) } }), 401);
      assert.equal(await status(channel, secret, { params: { expires: String(now + 90000) } }), 401);
      assert.equal(await status(channel, '00000000000000000099:00000000:00000000000000000099'), 404);
    });
  });
});

describe('streams over HTTP when the server goes', () => {
  test('SIGTERM: writers and readers are told where they were, and the server leaves', async () => {
    const server = await Server.start(), api = new Api(server), channel = fresh('ai');
    const stream = new AppendStream(api, channel, { name: 'ai-output', message_id: uuid(), format: 'ndjson' }).write('{"data":"abc"}\n');
    await stream.acked(3);
    const reader = new EventReader(api, channel, stream.serial);
    await reader.until(e => e.event === 'snapshot');
    const begun = Date.now();
    const [stopped] = await Promise.all([server.stop(), stream.done, reader.done]);
    assert.deepEqual([stopped.code, stopped.signal], [0, null]);
    assert.ok(Date.now() - begun < 4000, `${Date.now() - begun} ms`);
    assert.deepEqual([stream.acks.at(-1).status, stream.acks.at(-1).bytes], [503, 3]);
    assert.equal(reader.events.at(-1).event, 'snapshot');
    api.close();
  });
});
