// SPDX-License-Identifier: Apache-2.0
//
// hanging-names.mjs - run in a network namespace of its own whose name server (127.0.0.1:53) never answers: two webhooks, one
// to a name, one to an address. Prints as JSON how long the second one waited for its events, and how long the end took.
import dgram from 'node:dgram';
import { Api } from './api.mjs';
import { HookEndpoint } from './hook-endpoint.mjs';
import { Server, appWith, fresh, sleep, until } from './server.mjs';

const names = dgram.createSocket('udp4');
let asked = 0;
names.on('message', () => { asked++; });
await new Promise(resolve => names.bind(53, '127.0.0.1', resolve));
const hook = await HookEndpoint.start(), event_types = ['message_version_created'];
const server = await Server.start({ apps: [appWith({ webhooks: [
  { url: 'http://hangs.example/', event_types, request_timeout_ms: 500, retry: { initial_backoff_ms: 100 } }, { url: hook.url, event_types },
] })] });
const api = new Api(server), waited = [];
for (let i = 0; i < 30; i++) {
  const begun = Date.now();
  await api.create(fresh('ai'), 'x');
  await until(() => hook.events().length > i);
  waited.push(Date.now() - begun);
  await sleep(50);
}
const retries = await server.metric('sockudo_webhook_retries_total');
api.close();
const begun = Date.now();
await server.stop();
console.log(JSON.stringify({ asked, retries, waited_ms: Math.max(...waited), stop_ms: Date.now() - begun }));
process.exit(0);
