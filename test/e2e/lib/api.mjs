// SPDX-License-Identifier: Apache-2.0
//
// api.mjs - the signed HTTP API, written from chapter 2 of the specification and nothing else.
//
//    const api = new Api(server)
//    const { status, body } = await api.publish('orders', 'created', 'data', { message_id: 'm1' })
import crypto from 'node:crypto';
import http from 'node:http';

export const md5 = body => crypto.createHash('md5').update(body).digest('hex');
export const hmac = (secret, text) => crypto.createHmac('sha256', secret).update(text).digest('hex');
export const nowSeconds = () => Math.floor(Date.now() / 1000);

/* What a backend gives to a client that wants to subscribe. */
export const channelAuth = (app, socketId, channel, channelData) =>
  `${app.key}:${hmac(app.secret, channelData === undefined ? `${socketId}:${channel}` : `${socketId}:${channel}:${channelData}`)}`;
export const userAuth = (app, socketId, userData) => `${app.key}:${hmac(app.secret, `${socketId}::user::${userData}`)}`;

export function canonical(method, path, query) {
  const lower = Object.entries(query).map(([k, v]) => [k.toLowerCase(), v]).sort((a, b) => (a[0] < b[0] ? -1 : 1));
  return `${method}\n${path}\n${lower.map(([k, v]) => `${k}=${v}`).join('&')}`;
}

export class Api {
  constructor(server, app = server.apps[0]) {
    this.server = server;
    this.app = app;
    this.agent = new http.Agent({ keepAlive: true, maxSockets: 128 });
  }

  /* The parameters of a signed request; change them to make a bad one. */
  params(method, path, { query = {}, body } = {}) {
    const all = { auth_key: this.app.key, auth_timestamp: String(nowSeconds() + (this.server.aheadSeconds ?? 0)), auth_version: '1.0', ...query };
    if (body !== undefined) all.body_md5 = md5(body);
    return { ...all, auth_signature: hmac(this.app.secret, canonical(method, path, all)) };
  }

  target(method, path, options) {
    const encoded = Object.entries(this.params(method, path, options)).map(([k, v]) => `${encodeURIComponent(k)}=${encodeURIComponent(v)}`);
    return `${path}?${encoded.join('&')}`;
  }

  /* path: below /apps/<id>, encoded as it shall travel. body: an object, or text as it stands. */
  call(method, path, { query, body, headers = {} } = {}) {
    const text = body === undefined || typeof body === 'string' ? body : JSON.stringify(body);
    return this.send(method, this.target(method, `/apps/${this.app.id}${path}`, { query, body: text }), { text, headers });
  }

  send(method, target, { text, headers = {} } = {}) {
    const all = text === undefined ? headers : { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text), ...headers };
    return new Promise((resolve, reject) => {
      const request = http.request({ host: this.server.host ?? '127.0.0.1', port: this.server.port, path: target, method, headers: all, agent: this.agent, timeout: this.server.timeoutMs ?? 15000 }, response => {
        let got = '';
        response.setEncoding('utf8').on('data', part => { got += part; }).on('error', reject).on('end', () => {
          let body = got;
          try { body = JSON.parse(got); } catch { /* text, then */ }
          resolve({ status: response.statusCode, headers: response.headers, body, text: got });
        });
      });
      request.on('error', reject).on('timeout', () => request.destroy(new Error('no answer'))).end(text);
    });
  }

  get(path, query) { return this.call('GET', path, { query }); }
  post(path, body, headers) { return this.call('POST', path, { body, headers }); }

  publish(channel, name, data, more = {}, headers) { return this.post('/events', { name, channel, data, ...more }, headers); }

  /* A versioned create: its acknowledgement, with message_id given so that there is one. */
  async create(channel, data = '', more = {}) {
    const answer = await this.publish(channel, more.name ?? 'ai-output', data, { message_id: crypto.randomUUID(), ...more });
    if (answer.status !== 200) throw new Error(`create: ${answer.status} ${answer.text}`);
    return answer.body.channels[channel];
  }

  path(channel, serial, rest = '') { return `/channels/${encodeURIComponent(channel)}/messages/${serial}${rest}`; }
  append(channel, serial, data, more = {}) { return this.post(this.path(channel, serial, '/append'), { data, ...more }); }
  update(channel, serial, body) { return this.post(this.path(channel, serial, '/update'), body); }
  remove(channel, serial, body = {}) { return this.post(this.path(channel, serial, '/delete'), body); }
  async latest(channel, serial) { return (await this.get(this.path(channel, serial))).body.item; }
  versions(channel, serial, query) { return this.get(this.path(channel, serial, '/versions'), query); }
  history(channel, query) { return this.get(`/channels/${encodeURIComponent(channel)}/history`, query); }
  close() { this.agent.destroy(); }
}

/* extras as an agent sends them. */
export const streaming = (more = {}) => ({ ai: { transport: { status: 'streaming', ...more } } });
export const complete = { ai: { transport: { status: 'complete' } } };
export const cancelled = { ai: { transport: { status: 'cancelled' } } };
