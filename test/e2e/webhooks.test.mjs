// SPDX-License-Identifier: Apache-2.0
//
// webhooks.test.mjs - what an endpoint is told over real sockets: once, signed, in batches, again after it failed, and after kill -9.
//
// The events here are message_version_created: one per stored version, so a test makes as many as it wants.
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import Pusher from 'pusher';
import { Api, hmac } from './lib/api.mjs';
import { HookEndpoint, answering } from './lib/hook-endpoint.mjs';
import { Server, appWith, fresh, sleep, until } from './lib/server.mjs';

const version = 'message_version_created';
const hooks = [];
after(() => Promise.all(hooks.map(hook => hook.stop().catch(() => {}))));
async function endpoint(behave) {
  const hook = await HookEndpoint.start(behave);
  hooks.push(hook);
  return hook;
}
const app = (...webhooks) => appWith({ webhooks });
const to = (hook, more = {}) => ({ url: hook.url, event_types: [version], ...more });
async function serve(webhooks, config = {}) {
  const server = await Server.start({ apps: [app(...webhooks)], config });
  return { server, api: new Api(server), async stop() { this.api.close(); return server.stop(); } };
}

describe('a webhook', () => {
  test('is one signed POST that the official library accepts', async () => {
    const hook = await endpoint();
    const s = await serve([to(hook, { headers: { 'X-Custom': 'as given' } })]);
    const channel = fresh('ai');
    const { message_serial } = await s.api.create(channel, 'hello');
    await s.api.append(channel, message_serial, ' you');
    await hook.event(e => e.action === 'message.append');
    const [request] = hook.requests;
    assert.equal(request.method, 'POST');
    assert.equal(request.headers['content-type'], 'application/json');
    assert.equal(request.headers['x-pusher-key'], 'app-key');
    assert.equal(request.headers['x-custom'], 'as given');
    assert.equal(request.headers['x-pusher-signature'], hmac('app-secret', request.raw));
    assert.match(request.raw, /^{"time_ms":\d{13},"events":\[{"name":"message_version_created","channel":"/);
    const pusher = new Pusher({ appId: 'app-id', key: 'app-key', secret: 'app-secret', host: '127.0.0.1', port: '1' });
    for (const each of hook.requests) {
      const webhook = pusher.webhook({ headers: each.headers, rawBody: each.raw });
      assert.ok(webhook.isValid());
      assert.deepEqual(webhook.getEvents(), each.body.events);
      assert.ok(Math.abs(webhook.getTime() - Date.now()) < 10_000);
    }
    const [created, appended] = hook.events(version);
    assert.deepEqual({ ...created, version_serial: '' }, { name: version, channel, message_serial, version_serial: '', action: 'message.create' });
    assert.equal(appended.message_serial, message_serial);
    assert.ok(appended.version_serial > created.version_serial);
    await s.stop();
  });
});
