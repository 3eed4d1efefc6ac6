// SPDX-License-Identifier: Apache-2.0
//
// fleet.test.mjs - several nodes on one PostgreSQL and one Redis (design, "Cluster"; chapter 3, 9: 9, 11, 12, 33, 50 to 52; chapter 5, 5).
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { Fleet } from './lib/fleet.mjs';
import { Api, complete, streaming, userAuth } from './lib/api.mjs';
import { appWith, demoApp, fresh, sleep, until } from './lib/server.mjs';
import { V2 } from './lib/v2.mjs';

const uuid = () => crypto.randomUUID();
describe('a fleet of three', () => {
  let fleet, apis;
  const open = [];
  const connect = async (node, options) => { const c = await V2.connect(fleet.nodes[node], options); open.push(c); return c; };
  const ok = answer => { assert.equal(answer.status, 200, answer.text); return answer.body; };
  before(async () => {
    fleet = await Fleet.start({ nodes: 3, apps: [appWith({ features: { enable_watchlist_events: true } }), appWith({ limits: { max_connections: 2 } }, { id: '2', key: 'two' })], config: { connection_recovery: { enabled: true } } });
    apis = fleet.nodes.map(node => new Api(node, demoApp));
  });
  after(async () => { await Promise.all(open.map(c => c.close())); apis.forEach(api => api.close()); await fleet.stop(); });

  test('tokens fed through all nodes in turn are in order at subscribers of all nodes, in every mode and window', async () => {
    const channel = fresh('ai'), params = ['append_rollup_window=0', 'append_rollup_window=20', 'append_mode=full', 'append_rollup_window=500&append_mode=full'];
    const clients = [];
    for (const node of [0, 1, 2]) for (const p of params) { const c = await connect(node, { params: p }); await c.subscribe(channel); clients.push(c); }
    const { message_serial: serial } = await apis[0].create(channel, '', { extras: streaming() });
    let text = '';
    for (let i = 0; i < 90; i++) {
      const { status } = ok(await apis[i % 3].append(channel, serial, `${i} `, { op_id: uuid() }));
      assert.equal(status, 'applied');
      text += `${i} `;
    }
    ok(await apis[1].append(channel, serial, 'end', { extras: complete }));
    for (const c of clients) await until(() => c.text(channel, serial) === `${text}end`, () => `${c.params}: ${JSON.stringify(c.text(channel, serial))}`);
    for (const c of clients) {
      assert.deepEqual(c.faults, []);
      const serials = c.of(channel).filter(f => f.serial && f.extras).map(f => f.serial);
      assert.deepEqual(serials, [...new Set(serials)].sort((a, b) => a - b));
    }
    for (const api of apis) assert.equal((await api.latest(channel, serial)).data, `${text}end`);
  });

  test('a hundred concurrent appends through all nodes: one order for everybody [3.9]', async () => {
    const channel = fresh('ai'), viewers = await Promise.all([0, 1, 2].map(node => connect(node, { params: 'append_rollup_window=0' })));
    for (const viewer of viewers) await viewer.subscribe(channel);
    const { message_serial: serial } = await apis[0].create(channel, '', { extras: streaming() });
    const answers = await Promise.all(Array.from({ length: 100 }, (_, i) => apis[i % 3].append(channel, serial, `${i},`, { op_id: uuid() })));
    assert.deepEqual(answers.map(ok).map(a => a.delivery_serial).sort((a, b) => a - b), Array.from({ length: 100 }, (_, i) => i + 2));
    const { data } = await apis[2].latest(channel, serial);
    for (const viewer of viewers) {
      await until(() => viewer.text(channel, serial)?.length === data.length, 'the whole text');
      assert.deepEqual([viewer.text(channel, serial), viewer.faults], [data, []]);
    }
  });

  test('a client that loses its node resumes at another, gapless [3.33]', async () => {
    const channel = fresh('ai'), client = await connect(0);
    await client.subscribe(channel);
    const { message_serial: serial } = await apis[0].create(channel, '', { extras: streaming() });
    let text = '';
    for (let i = 0; i < 30; i++) {
      ok(await apis[i % 3].append(channel, serial, `${i} `));
      text += `${i} `;
      if (i === 10) client.cut();
      if (i === 20) { client.server = fleet.nodes[2]; assert.deepEqual((await client.reconnect()).failed, []); }
    }
    await until(() => client.text(channel, serial) === text, () => client.text(channel, serial));
    assert.deepEqual(client.faults, []);
  });

  test('presence is one list over all nodes; a user at two nodes is one member', async () => {
    const channel = fresh('presence'), data = id => ({ channel_data: JSON.stringify({ user_id: id, user_info: { n: id } }) });
    const members = frame => JSON.parse(frame.data).presence.ids.sort();
    const a = await connect(0), b = await connect(1), again = await connect(2);
    assert.deepEqual(members(await a.subscribe(channel, data('ua'))), ['ua']);
    assert.deepEqual(members(await b.subscribe(channel, data('ub'))), ['ua', 'ub']);
    await a.next(f => f.event === 'sockudo_internal:member_added' && f.data.includes('ub'));
    assert.deepEqual(members(await again.subscribe(channel, data('ua'))), ['ua', 'ub']);
    assert.deepEqual(ok(await apis[2].get(`/channels/${channel}`, { info: 'subscription_count,user_count' })).user_count, 2);
    assert.deepEqual(ok(await apis[1].get(`/channels/${channel}/users`)).users.map(u => u.id).sort(), ['ua', 'ub']);
    a.unsubscribe(channel);
    await sleep(300);
    assert.ok(!b.find(f => /member_removed/.test(f.event)), 'ua is still there, at another node');
    again.unsubscribe(channel);
    await b.next(f => f.event === 'sockudo_internal:member_removed' && f.data.includes('ua'));
  });

  test('counts, channel lists and terminate reach all nodes', async () => {
    const channel = fresh('counted'), clients = await Promise.all([0, 1, 2].map(node => connect(node)));
    for (const c of clients) await c.subscribe(channel);
    assert.equal(ok(await apis[0].get(`/channels/${channel}`, { info: 'subscription_count' })).subscription_count, 3);
    assert.ok(channel in ok(await apis[1].get('/channels', { filter_by_prefix: 'counted' })).channels);
    const data = { channel_data: JSON.stringify({ user_id: 'gone' }) }, presence = fresh('presence');
    await clients[2].subscribe(presence, data);
    for (const api of apis) { // whichever node is asked, whoever is there
      const { channels } = ok(await api.post('/events', { name: 'e', channels: [channel, presence], data: '1', info: 'subscription_count,user_count' }));
      assert.deepEqual([channels[channel], channels[presence]].map(c => [c.subscription_count, c.user_count]), [[3, undefined], [1, 1]]);
    }
    ok(await apis[0].post('/users/gone/terminate_connections', {}));
    await until(() => clients[2].closing?.code === 4009, 'the close');
  });

  test('the quota of an app is the fleet\'s, and a place given back is free at every node [1.5]', async () => {
    const first = await connect(0, { key: 'two' }), second = await connect(1, { key: 'two' });
    const third = () => connect(2, { key: 'two' }).then(c => c, e => e.code);
    await until(async () => { const c = await third(); await c.close?.(); return c === 4004; }, 'a refusal');
    await sleep(300);
    assert.equal(await third(), 4004);
    await first.close();
    const late = await until(async () => { const c = await third(); return c === 4004 ? null : c; }, 'the place');
    await Promise.all([second, late].map(c => c.close()));
  });

  test('who is watched may be at any node [1.46]', async () => {
    const signIn = async (node, user) => {
      const c = await connect(node), user_data = JSON.stringify(user);
      c.send('sockudo:signin', { auth: userAuth(demoApp, c.socketId, user_data), user_data });
      await c.next(f => f.event === 'sockudo:signin_success');
      return c;
    };
    const told = c => c.frames.filter(f => f.event === 'sockudo_internal:watchlist_events').map(f => f.data.events.map(e => `${e.name} ${e.user_ids}`).join(' '));
    const here = await signIn(0, { id: 'here' }), watchers = [await signIn(1, { id: 'w1', watchlist: ['here', 'there'] }), await signIn(2, { id: 'w2', watchlist: ['there', 'here'] })];
    const there = [await signIn(2, { id: 'there' }), await signIn(0, { id: 'there' })];
    for (const w of watchers) await until(() => told(w).length === 2, () => `${told(w)}`);
    await there[0].close();
    await sleep(300);
    await there[1].close();
    for (const w of watchers) await until(() => told(w).length === 3, () => `${told(w)}`);
    for (const w of watchers) assert.deepEqual(told(w), ['online here offline there', 'online there', 'offline there']);
    for (const c of [here, ...watchers]) await c.close();
  });

  test('terminate and force_reconnect close each socket of the user, on every node [2.30] [1.48]', async () => {
    const clients = await Promise.all([0, 1, 2, 0].map(node => connect(node))), other = clients.pop();
    const signIn = async (c, id) => {
      const user_data = JSON.stringify({ id });
      c.send('sockudo:signin', { auth: userAuth(demoApp, c.socketId, user_data), user_data });
      await c.next(f => f.event === 'sockudo:signin_success');
    };
    const closedWith = code => until(() => clients.every(c => c.closing), () => `the closes: ${clients.map(c => c.closing?.code)}`)
      .then(() => assert.deepEqual(clients.map(c => [c.closing.code, c.frames.at(-1).data.code]), clients.map(() => [code, code])));
    for (const c of clients) await signIn(c, 'everywhere');
    await signIn(other, 'elsewhere');
    ok(await apis[1].post('/users/everywhere/force_reconnect', {}));
    await closedWith(4200);
    for (const c of clients) { await c.openFrom(0); await signIn(c, 'everywhere'); }
    ok(await apis[2].post('/users/everywhere/terminate_connections', {}));
    await closedWith(4009);
    await other.settle();
  });

  test('Redis is killed and comes back empty in mid-stream: a delay, nothing more', async () => {
    const channel = fresh('ai'), clients = await Promise.all([0, 1, 2].map(node => connect(node)));
    for (const c of clients) await c.subscribe(channel);
    const { message_serial: serial } = await apis[0].create(channel, '', { extras: streaming() });
    let text = '';
    for (let i = 0; i < 60; i++) {
      if (i === 20) await fleet.redis.kill9();
      if (i === 40) await fleet.redis.restart();
      ok(await apis[i % 3].append(channel, serial, `${i} `));
      text += `${i} `;
      await sleep(10);
    }
    for (const c of clients) {
      await until(() => c.text(channel, serial) === text, () => `${c.name} has ${c.text(channel, serial)}`, 15_000);
      assert.deepEqual(c.faults, []);
    }
  });

  test('who subscribes while Redis is away is served, and hears what it missed when Redis is back [5.22]', async () => {
    const channel = fresh(), late = await connect(1);
    await fleet.redis.kill9();
    try {
      await until(async () => (await fleet.nodes[1].get('/up')).text !== 'OK', '/up to say so');
      await late.subscribe(channel);
      ok(await apis[0].publish(channel, 'n', 'elsewhere'));
      ok(await apis[1].publish(channel, 'n', 'here'));
    } finally { await fleet.redis.restart(); }
    await until(() => late.of(channel).filter(f => f.event === 'n').length === 2, () => JSON.stringify(late.of(channel)), 10_000);
    assert.deepEqual(late.of(channel).filter(f => f.event === 'n').map(f => [f.data, f.serial]), [['elsewhere', 1], ['here', 2]]);
    await until(async () => (await fleet.nodes[1].get('/up')).text === 'OK', '/up to be OK again', 10_000);
  });

  test('a node is killed in mid-stream: what it had acknowledged is everywhere, its members are gone', async () => {
    const channel = fresh('ai'), room = fresh('presence'), viewer = await connect(1), lost = await connect(2);
    await viewer.subscribe(channel);
    await viewer.subscribe(room, { channel_data: JSON.stringify({ user_id: 'stays' }) });
    await lost.subscribe(room, { channel_data: JSON.stringify({ user_id: 'dies' }) });
    await viewer.next(f => f.event === 'sockudo_internal:member_added' && f.data.includes('dies'));
    const { message_serial: serial } = await apis[2].create(channel, '', { extras: streaming() });
    let text = '';
    for (let i = 0; i < 40; i++) {
      if (i === 20) await fleet.nodes[2].kill9();
      ok(await apis[i < 20 ? 2 : i % 2].append(channel, serial, `${i} `));
      text += `${i} `;
    }
    await until(() => viewer.text(channel, serial) === text, () => viewer.text(channel, serial));
    await viewer.next(f => f.event === 'sockudo_internal:member_removed' && f.data.includes('dies'), { ms: 8000 });
    await fleet.nodes[2].restart();
    const late = await connect(2);
    await late.subscribe(channel, { rewind: 1 });
    await until(() => late.text(channel, serial) === text, 'the text at the restarted node');
    assert.deepEqual([viewer.faults, late.faults], [[], []]);
  });

  test('a thousand messages of one node are heard at another in their order, none twice [5.24]', async () => {
    const channel = fresh(), client = await connect(1);
    await client.subscribe(channel);
    for (let i = 0; i < 1000; i += 10) ok(await apis[0].post('/batch_events', { batch: Array.from({ length: 10 }, (_, j) => ({ channel, name: 'n', data: `${i + j}` })) }));
    const heard = () => client.of(channel).filter(f => f.event === 'n').map(f => f.data);
    await until(() => heard().length >= 1000, () => `${heard().length} of 1000`);
    assert.deepEqual(heard(), Array.from({ length: 1000 }, (_, i) => `${i}`));
  });

  test('a node that is told to stop closes with 4200, and its members are gone without a timeout; a new one is heard at once [5.23] [5.26]', async () => {
    const room = fresh('presence'), channel = fresh(), viewer = await connect(0), going = await connect(2);
    await viewer.subscribe(channel);
    await viewer.subscribe(room, { channel_data: JSON.stringify({ user_id: 'stays' }) });
    await going.subscribe(room, { channel_data: JSON.stringify({ user_id: 'goes' }) });
    await viewer.next(f => f.event === 'sockudo_internal:member_added' && f.data.includes('goes'));
    fleet.nodes[2].process.kill('SIGTERM');
    await viewer.next(f => f.event === 'sockudo_internal:member_removed' && f.data.includes('goes'), { ms: 1200 }); // a dead node's: after 1500
    assert.equal(going.closing.code, 4200);
    await fleet.nodes[2].exited;
    await fleet.nodes[2].restart();
    const api = new Api(fleet.nodes[2], demoApp);
    ok(await api.publish(channel, 'early', '1', { extras: { ephemeral: true } })); // nothing to read from a store
    api.close();
    await viewer.next(f => f.event === 'early', { ms: 1000 });
    await sleep(50);
    assert.equal(viewer.of(room).filter(f => /member_removed/.test(f.event)).length, 1);
  });

  test('a node that was only asleep is back with its members, and reads what was not sent to it', async () => {
    const room = fresh('presence'), channel = fresh(), viewer = await connect(0), sleeper = await connect(1);
    await sleeper.subscribe(channel);
    await viewer.subscribe(room, { channel_data: JSON.stringify({ user_id: 'stays' }) });
    await sleeper.subscribe(room, { channel_data: JSON.stringify({ user_id: 'sleeps' }) });
    await viewer.next(f => f.event === 'sockudo_internal:member_added' && f.data.includes('sleeps'));
    fleet.nodes[1].process.kill('SIGSTOP');
    try {
      await viewer.next(f => f.event === 'sockudo_internal:member_removed' && f.data.includes('sleeps'), { ms: 4000 });
      ok(await apis[0].publish(channel, 'meanwhile', '1'));
    } finally { fleet.nodes[1].process.kill('SIGCONT'); }
    await sleeper.next(f => f.event === 'meanwhile', { ms: 4000 });
    await until(() => viewer.of(room).filter(f => /member_added/.test(f.event) && f.data.includes('sleeps')).length === 2, 'the member to be back');
    assert.deepEqual(ok(await apis[2].get(`/channels/${room}/users`)).users.map(u => u.id).sort(), ['sleeps', 'stays']);
  });

  test('PostgreSQL is killed in mid-stream: 503 meanwhile, nothing acknowledged is lost, then it goes on by itself', async () => {
    const channel = fresh('ai'), clients = await Promise.all([0, 1, 2].map(node => connect(node)));
    for (const c of clients) await c.subscribe(channel);
    const { message_serial: serial } = await apis[0].create(channel, '', { extras: streaming() });
    let text = '', refusals = 0;
    const insist = async (i, deadline = Date.now() + 20_000) => {
      for (;;) {
        const answer = await apis[i % 3].append(channel, serial, `${i} `, { op_id: `op-${i}` }).catch(() => null);
        if (answer?.status === 200) return;
        if (answer) assert.equal(answer.status, 503, answer.text);
        refusals++;
        assert.ok(Date.now() < deadline, 'the store does not come back');
        await sleep(50);
      }
    };
    for (let i = 0; i < 30; i++) {
      if (i === 10) { await fleet.postgres.kill(); setTimeout(() => fleet.postgres.restart(), 1000); }
      await insist(i);
      text += `${i} `;
    }
    assert.ok(refusals > 0);
    await until(async () => (await apis[1].latest(channel, serial))?.data === text, 'node 1 reads the text', 15_000); // node 1 may not have met it yet
    for (const c of clients) await until(() => c.text(channel, serial) === text, () => `${c.text(channel, serial)}`, 15_000);
  });
});

/* A node must go when it is told, whatever else hangs. */
describe('leaving', () => {
  const GRACE_S = 2;
  let fleet;
  before(async () => { fleet = await Fleet.start({ nodes: 1, config: { shutdown_grace_period: GRACE_S } }); });
  after(() => fleet.stop());

  const leaves = async (node, { code, within = GRACE_S * 1000 + 3000 }) => {
    const began = Date.now();
    node.process.kill('SIGTERM');
    assert.deepEqual(await Promise.race([node.exited, sleep(within + 5000)]), { code, signal: null });
    assert.ok(Date.now() - began < within, `after ${Date.now() - began} ms`);
  };
  const busyNode = async () => {
    const node = await fleet.add(), api = new Api(node, demoApp), channel = fresh('ai'), viewer = await V2.connect(node);
    await viewer.subscribe(channel);
    const { message_serial: serial } = await api.create(channel, '', { extras: streaming() });
    assert.equal((await api.append(channel, serial, 'kept', {})).status, 200);
    return { node, api, channel, serial, viewer };
  };
  const textAt = async ({ channel, serial }) => { const api = new Api(fleet.nodes[0], demoApp); try { return (await api.latest(channel, serial)).data; } finally { api.close(); } };

  test('with a Redis that hangs: 0, in its grace period', async () => {
    const one = await busyNode();
    fleet.redis.freeze();
    try { await leaves(one.node, { code: 0 }); } finally { fleet.redis.thaw(); one.api.close(); }
    assert.equal(await textAt(one), 'kept');
  });

  test('with a PostgreSQL that hangs and an append under way: 0, soon after its grace period, and nothing was acknowledged that is not there', async () => {
    const one = await busyNode();
    await fleet.postgres.freeze();
    const answer = one.api.append(one.channel, one.serial, ' lost?', {}).catch(() => null);
    try { await sleep(100); await leaves(one.node, { code: 0 }); } finally { await fleet.postgres.thaw(); one.api.close(); }
    const acked = (await answer)?.status === 200, text = await textAt(one);
    assert.ok(text === 'kept lost?' || (!acked && text === 'kept'), text);
  });

  test('told twice it leaves at once, with 1', async () => {
    const one = await busyNode();
    await fleet.postgres.freeze();
    const append = one.api.append(one.channel, one.serial, ' lost?', {}).catch(() => null);
    try {
      await sleep(100);
      setTimeout(() => one.node.process.kill('SIGTERM'), 500);
      await leaves(one.node, { code: 1, within: 1500 });
    } finally { await fleet.postgres.thaw(); one.api.close(); await append; }
  });

  test('SIGHUP: nothing is read anew, and it says so', async () => {
    const [node] = fleet.nodes;
    node.process.kill('SIGHUP');
    await until(() => /SIGHUP/.test(node.log()), 'a line of it in the log');
    assert.equal((await node.get('/live')).status, 200);
  });
});

describe('two nodes with one name', () => {
  test('both say so, in the log and in a figure, and work on', async () => {
    const fleet = await Fleet.start({ nodes: 2, config: { instance: { process_id: 'copied' } } });
    const conflicts = async node => Number(/^sockudo_horizontal_node_conflicts_total\S* (\d+)/m.exec(await (await fetch(`http://127.0.0.1:${node.metricsPort}/metrics`)).text())?.[1]);
    try {
      for (const node of fleet.nodes) {
        await until(async () => await conflicts(node) === 1, 'the conflict to be counted');
        assert.match(node.log(), /ERROR cluster: node \S+ has the instance\.process_id copied, as this one/);
        assert.equal((await node.get('/up')).text, 'OK');
      }
    } finally {
      await fleet.stop();
    }
  });
});
