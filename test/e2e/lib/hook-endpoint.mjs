// SPDX-License-Identifier: Apache-2.0
//
// hook-endpoint.mjs - somebody who is told by webhooks, well or badly.
//
//    const hook = await HookEndpoint.start()
//    hook.behave = (request, response) => response.writeHead(500).end()      default: 200
//    hook.requests, hook.events(), await hook.event(e => e.name === 'x')
//    await hook.stop(), await hook.restart()     gone and back, on the same port
import http from 'node:http';
import https from 'node:https';
import { freePort, until } from './server.mjs';

export const answering = status => (request, response) => { response.writeHead(status).end(); };
export const hanging = () => {};
/* Bytes that are no HTTP. */
export const garbage = (request, response) => { response.socket.end('\u0001\u0002 this is not HTTP\r\n\r\n'); };
/* The first answers, one by one; then the last one for ever. */
export const oneAfterTheOther = (...behaviours) => (request, response) =>
  (behaviours.length > 1 ? behaviours.shift() : behaviours[0])(request, response);

export class HookEndpoint {
  static async start(behave = answering(200)) {
    const hook = new HookEndpoint();
    Object.assign(hook, { behave, requests: [], sockets: new Set(), port: await freePort() });
    await hook.restart();
    return hook;
  }

  get url() { return `http://127.0.0.1:${this.port}/hook`; }

  /* tls: key and certificate, for https. */
  async restart(tls) {
    this.server = (tls ? https : http).createServer(tls ?? {}, (request, response) => {
      const parts = [];
      request.on('data', part => parts.push(part)).on('end', () => {
        const raw = Buffer.concat(parts).toString();
        const seen = { at: Date.now(), method: request.method, url: request.url, headers: request.headers, raw, body: JSON.parse(raw) };
        this.requests.push(seen);
        this.behave(seen, response);
      });
    });
    this.server.on('connection', socket => { this.sockets.add(socket); socket.on('close', () => this.sockets.delete(socket)).on('error', () => {}); });
    await new Promise((resolve, reject) => this.server.on('error', reject).listen(this.port, '127.0.0.1', resolve));
  }

  stop() {
    for (const socket of this.sockets) socket.destroy();
    return new Promise(resolve => this.server.close(resolve));
  }

  events(name) { return this.requests.flatMap(r => r.body.events).filter(e => name === undefined || e.name === name); }
  event(wanted, ms = 5000) { return until(() => this.events().find(wanted), () => `an event among ${JSON.stringify(this.events()).slice(0, 500)}`, ms); }
  request(count = 1, ms = 5000) { return until(() => this.requests.length >= count && this.requests[count - 1], `${count} requests`, ms); }
}
