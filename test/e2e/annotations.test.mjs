// SPDX-License-Identifier: Apache-2.0
//
// annotations.test.mjs - reactions on messages, over real sockets (chapter 3, section 7 and edge cases 41 to 43; chapter 2, 2.12).
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Api, userAuth } from './lib/api.mjs';
import { appWith, demoApp, fresh, oneServer, until } from './lib/server.mjs';
import { V1, V2 } from './lib/v2.mjs';

describe('annotations', () => {
  const app = appWith({ channels: { annotations_enabled: true }, features: { enable_user_authentication: true } });
  const held = oneServer({ before, after }, {
    apps: [app, appWith({}, { id: '2', key: 'without' }), appWith({ channels: { annotations_enabled: true }, limits: { max_event_payload_in_kb: 1 } }, { id: '3', key: 'small' })],
    config: { connection_recovery: { enabled: true }, annotations: { enabled: true } },
  });
  let api;
  const open = [];
  const connect = async (kind = V2, options) => { const c = await kind.connect(held.server, options); open.push(c); return c; };
  before(() => { api = new Api(held.server, app); });
  after(async () => { await Promise.all(open.map(c => c.close())); api.close(); });

  const ok = answer => { assert.equal(answer.status, 200, answer.text); return answer.body; };
  const refused = (answer, status, code, text) => {
    assert.deepEqual([answer.status, answer.body.code], [status, code], answer.text);
    if (text) assert.match(answer.body.error, text);
  };
  const annotate = (by, channel, serial, body) => by.post(by.path(channel, serial, '/annotations'), body);
  const list = (channel, serial, query) => api.get(api.path(channel, serial, '/annotations'), query);
  const remove = (channel, serial, annotation) => api.call('DELETE', api.path(channel, serial, `/annotations/${annotation}`));
  const summaries = (client, channel) => client.of(channel).filter(f => f.event === 'sockudo_internal:message');
  const events = (client, channel) => client.of(channel).filter(f => f.event === 'sockudo_internal:annotation');
  const like = { type: 'reactions:distinct.v1', name: 'like', clientId: 'u1' };

  test('S45 annotations can be created and deleted; a second delete is quiet [3.42]', async () => {
    const channel = fresh('ai'), { message_serial: serial } = await api.create(channel, 'x');
    const viewer = await connect();
    await viewer.subscribe(channel);
    const { annotationSerial } = ok(await annotate(api, channel, serial, like));
    assert.equal(annotationSerial, 'ann:00000000000000000001');
    const gone = ok(await remove(channel, serial, annotationSerial));
    assert.deepEqual(gone, { annotationSerial: 'ann:00000000000000000002', deletedAnnotationSerial: annotationSerial });
    await until(() => summaries(viewer, channel).length === 2, 'two summaries');
    assert.deepEqual(ok(await remove(channel, serial, annotationSerial)), { annotationSerial, deletedAnnotationSerial: annotationSerial });
    refused(await remove(channel, serial, gone.annotationSerial), 400, 'invalid_input', /Only annotation.create events can be deleted/);
    ok(await annotate(api, channel, serial, { ...like, clientId: 'u9' }));
    await until(() => summaries(viewer, channel).length === 3, 'the third summary');
    assert.deepEqual(summaries(viewer, channel).map(f => f.data.annotations.summary['reactions:distinct.v1']),
      [{ like: { total: 1, clientIds: ['u1'], clipped: false } }, {}, { like: { total: 1, clientIds: ['u9'], clipped: false } }]);
    assert.deepEqual(viewer.faults, []);
  });

  test('S46 S47 S48 a summary to everybody on V2, then the event to those who asked [3.43]', async () => {
    const channel = fresh('ai'), { message_serial: serial } = await api.create(channel, 'x');
    const plain = await connect(), old = await connect(V1);
    for (const client of [plain, old]) await client.subscribe(channel);
    const modes = ['SUBSCRIBE', 'ANNOTATION_SUBSCRIBE'], nobody = await connect(), curious = await connect();
    await assert.rejects(nobody.subscribe(channel, { modes }), { code: 4009 }, 'closed to whoever has no capabilities');
    const userData = JSON.stringify({ id: 'u7', capabilities: { 'annotation-subscribe': ['*'] } });
    curious.send('sockudo:signin', { auth: userAuth(app, curious.socketId, userData), user_data: userData });
    await curious.next(f => f.event === 'sockudo:signin_success');
    await curious.subscribe(channel, { modes });
    ok(await annotate(api, channel, serial, like));
    await until(() => events(curious, channel).length === 1, 'the event');
    assert.deepEqual(curious.of(channel).slice(1).map(f => f.event), ['sockudo_internal:message', 'sockudo_internal:annotation']);
    const [raw] = events(curious, channel);
    assert.deepEqual({ ...raw.data, id: '', timestamp: 0 }, { action: 'annotation.create', id: '', serial: 'ann:00000000000000000001', messageSerial: serial, ...like, timestamp: 0 });
    await until(() => summaries(plain, channel).length === 1, 'the summary');
    const [frame] = summaries(plain, channel);
    assert.deepEqual(frame, { event: 'sockudo_internal:message', channel, data: { action: 'message.summary', serial, annotations: { summary: { 'reactions:distinct.v1': { like: { total: 1, clientIds: ['u1'], clipped: false } } } } }, extras: { ephemeral: true } });
    assert.equal(events(plain, channel).length, 0);
    assert.deepEqual(old.of(channel).filter(f => /annotation|internal:message/.test(f.event)), []);
    for (const client of [plain, curious]) for (const f of client.of(channel)) if (/internal:(message|annotation)$/.test(f.event)) assert.ok(!('serial' in f));
    assert.equal(ok(await api.history(channel)).items.length, 1); // an annotation is no message
    assert.equal(ok(await api.append(channel, serial, 'y')).delivery_serial, 2);
  });

  test('whoever subscribes gets the summaries after the acknowledgement, newest messages first', async () => {
    const channel = fresh('ai'), made = [];
    for (let i = 0; i < 3; i++) made.push((await api.create(channel, `m${i}`)).message_serial);
    for (const serial of [made[1], made[0], made[2]]) ok(await annotate(api, channel, serial, like));
    const late = await connect();
    await late.subscribe(channel);
    await until(() => summaries(late, channel).length === 3, 'three summaries');
    assert.deepEqual(summaries(late, channel).map(f => f.data.serial), [made[2], made[1], made[0]]);
    assert.match(late.of(channel)[0].event, /subscription_succeeded/);
  });

  test('they are there after kill -9', async () => {
    const channel = fresh('ai'), { message_serial: serial } = await api.create(channel, 'x');
    const { annotationSerial } = ok(await annotate(api, channel, serial, like));
    await held.server.kill9();
    await held.server.restart();
    const late = await connect();
    await late.subscribe(channel);
    await until(() => summaries(late, channel).length === 1, 'the summary');
    ok(await remove(channel, serial, annotationSerial));
    await until(() => summaries(late, channel).length === 2, 'the new summary');
    assert.deepEqual(summaries(late, channel)[1].data.annotations.summary, { 'reactions:distinct.v1': {} });
  });

  test('unique, multiple and total fold as chapter 3 says [3.41]', async () => {
    const channel = fresh('ai'), { message_serial: serial } = await api.create(channel, 'x');
    const viewer = await connect();
    await viewer.subscribe(channel);
    const last = async (type, count) => {
      await until(() => summaries(viewer, channel).filter(f => type in f.data.annotations.summary).length === count, type);
      return summaries(viewer, channel).filter(f => type in f.data.annotations.summary).at(-1).data.annotations.summary[type];
    };
    const put = async body => ok(await annotate(api, channel, serial, body)).annotationSerial;
    const liked = await put({ ...like, type: 'r:unique.v1' });
    await put({ ...like, type: 'r:unique.v1', name: 'love' });
    assert.deepEqual(Object.keys(await last('r:unique.v1', 2)), ['love']);
    ok(await remove(channel, serial, liked));
    assert.deepEqual(await last('r:unique.v1', 3), {});
    const clap = { type: 'c:multiple.v1', name: 'clap' };
    const mine = await put({ ...clap, clientId: 'u1', count: 3 });
    await put({ ...clap, clientId: 'u1', count: 2 });
    await put({ ...clap, count: 4 });
    assert.equal((await last('c:multiple.v1', 3)).clap.total, 9);
    ok(await remove(channel, serial, mine));
    assert.equal((await last('c:multiple.v1', 4)).clap.total, 4);
    await put({ type: 't:total.v1', count: 5 });
    assert.deepEqual(await last('t:total.v1', 1), { total: 1 });
  });

  test('pages list the events of one message, ascending, also of one type only', async () => {
    const channel = fresh('ai'), { message_serial: serial } = await api.create(channel, 'x'), { message_serial: other } = await api.create(channel, 'y');
    for (let i = 0; i < 5; i++) ok(await annotate(api, channel, i % 2 ? other : serial, { ...like, clientId: `u${i}`, data: { n: i } }));
    ok(await annotate(api, channel, serial, { type: 't:total.v1' }));
    const first = ok(await list(channel, serial, { limit: 2 }));
    assert.deepEqual([first.messageSerial, first.limit, first.hasMore, first.items.length], [serial, 2, true, 2]);
    assert.deepEqual(first.items[0], { action: 'annotation.create', id: first.items[0].id, serial: 'ann:00000000000000000001', messageSerial: serial, type: like.type, name: 'like', clientId: 'u0', data: { n: 0 }, timestamp: first.items[0].timestamp });
    const rest = ok(await list(channel, serial, { from_serial: first.nextCursor }));
    assert.deepEqual([rest.hasMore, rest.nextCursor, rest.items.map(i => i.serial)], [false, null, ['ann:00000000000000000005', 'ann:00000000000000000006']]);
    assert.equal(ok(await list(channel, serial, { type: 't:total.v1' })).items.length, 1);
    refused(await list(channel, serial, { from_serial: 'x y' }), 400, 'invalid_input');
  });

  test('a summary too large for a frame is clipped, its total stays exact [3.43]', async () => {
    const small = new Api(held.server, held.server.apps[2]);
    const channel = fresh('ai'), { message_serial: serial } = await small.create(channel, 'x');
    const viewer = await connect(V2, { key: 'small' });
    await viewer.subscribe(channel);
    for (let i = 0; i < 40; i++) ok(await annotate(small, channel, serial, { type: 'f:flag.v1', clientId: `client-number-${String(i).padStart(30, '0')}` }));
    await until(() => summaries(viewer, channel).length === 40, 'forty summaries');
    const flag = summaries(viewer, channel).at(-1).data.annotations.summary['f:flag.v1'];
    assert.deepEqual([flag.total, flag.clipped, flag.clientIds.length], [40, true, 16]);
    small.close();
  });

  test('bad requests are refused with the reason [3.42]', async () => {
    const channel = fresh('ai'), { message_serial: serial } = await api.create(channel, 'x');
    for (const type of ['a:flag.v2', 'a:sum.v1', 'flag.v1', 'a:b:flag.v1'])
      refused(await annotate(api, channel, serial, { type, clientId: 'u' }), 400, 'invalid_input', /annotation/);
    refused(await annotate(api, channel, serial, { type: 'a:flag.v1' }), 400, 'invalid_input', /clientId/);
    refused(await annotate(api, channel, serial, { type: 'a:distinct.v1', clientId: 'u' }), 400, 'invalid_input', /name/);
    refused(await annotate(api, channel, serial, { type: 'a:total.v1', count: 0 }), 400, 'invalid_input', /count/);
    refused(await annotate(api, channel, serial, {}), 422, 'unprocessable_body', /type/);
    const nobody = serial.replace(/.$/, '9');
    refused(await annotate(api, channel, nobody, like), 404, 'not_found');
    refused(await remove(channel, serial, 'ann:00000000000000000009'), 404, 'not_found');
    const without = new Api(held.server, held.server.apps[1]);
    const made = await without.create(channel, 'x');
    refused(await annotate(without, channel, made.message_serial, like), 403, 'forbidden', /disabled by channel policy/);
    without.close();
  });

  test('in the name of a socket: as whom it is, by what it may', async () => {
    const channel = fresh('ai'), { message_serial: serial } = await api.create(channel, 'x');
    const as = async (id, operations) => {
      const client = await connect(), userData = JSON.stringify({ id, capabilities: Object.fromEntries(operations.map(o => [o, ['*']])) });
      client.send('sockudo:signin', { auth: userAuth(app, client.socketId, userData), user_data: userData });
      await client.next(f => f.event === 'sockudo:signin_success');
      return client.socketId;
    };
    const anna = await as('anna', ['annotation-publish', 'annotation_delete_own', 'annotation-subscribe']), boss = await as('boss', ['annotation-delete-any']), nobody = (await connect()).socketId;
    const flag = { type: 'f:flag.v1' };
    const { annotationSerial: hers } = ok(await annotate(api, channel, serial, { ...flag, socketId: anna }));
    const { annotationSerial: other } = ok(await annotate(api, channel, serial, { ...flag, clientId: 'bob' }));
    assert.equal(ok(await list(channel, serial, { socket_id: anna })).items[0].clientId, 'anna');
    refused(await annotate(api, channel, serial, { ...flag, socketId: anna, clientId: 'bob' }), 401, 'auth_failed');
    refused(await annotate(api, channel, serial, { ...flag, socketId: boss }), 403, 'forbidden');
    refused(await annotate(api, channel, serial, { ...flag, socketId: '1.2' }), 401, 'auth_failed');
    refused(await list(channel, serial, { socket_id: nobody }), 403, 'forbidden');
    const removeAs = (annotation, socket_id) => api.call('DELETE', api.path(channel, serial, `/annotations/${annotation}`), { query: { socket_id } });
    refused(await removeAs(other, anna), 403, 'forbidden');
    refused(await removeAs(hers, nobody), 403, 'forbidden');
    ok(await removeAs(hers, anna));
    ok(await removeAs(other, boss));
  });

  test('a reset of the history forgets them', async () => {
    const channel = fresh('ai'), { message_serial: serial } = await api.create(channel, 'x');
    ok(await annotate(api, channel, serial, like));
    ok(await api.post(`/channels/${channel}/history/reset`, { confirm_channel: channel, confirm_operation: 'reset', reason: 'test' }));
    const again = await api.create(channel, 'y');
    assert.equal(ok(await list(channel, again.message_serial)).items.length, 0);
    const late = await connect();
    await late.subscribe(channel);
    await late.settle();
    assert.deepEqual(summaries(late, channel), []);
  });
});
