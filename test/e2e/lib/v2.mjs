// SPDX-License-Identifier: Apache-2.0
//
// v2.mjs - a client of Protocol V2 that behaves as the SDKs do by default, and keeps everything it saw:
// it drops a frame whose message_id is among the last 1000, keeps the position of any frame with channel and serial, wants a
// string before it appends to it, and sends its subscribes and one resume when it is back.
//
//    const client = await V2.connect(server, { params: 'append_mode=full' })
//    await client.subscribe('ai-1', { rewind: 5 })
//    client.frames, client.of('ai-1'), client.text('ai-1', messageSerial)
//    client.cut(); await client.reconnect()
//
// What must never happen lands in client.faults.
import { channelAuth } from './api.mjs';
import { until, within } from './server.mjs';
import { WsClient } from './ws-client.mjs';

const SEEN_MAX = 1000;

export class V2 {
  static async connect(server, options) {
    const client = new this(server, options);
    await client.open();
    return client;
  }

  constructor(server, { params = '', key = server.apps[0].key, onFrame, protocol = 2, name = 'client' } = {}) {
    Object.assign(this, { server, params, key, onFrame, protocol, name });
    this.prefix = protocol === 2 ? 'sockudo' : 'pusher';
    this.frames = [];          // all that was not dropped, in order
    this.faults = [];
    this.seen = new Map();    // message_id -> number of the connection it came by
    this.connection = 0;
    this.positions = new Map(); // channel -> {stream_id, serial, last_message_id}
    this.wanted = new Map();    // channel -> what was asked for
    this.messages = new Map();  // channel -> message serial -> {data, status, deleted, frames}
  }

  async open() {
    const ws = await WsClient.connect(`${this.server.url}/app/${this.key}?protocol=${this.protocol}${/\bclient=/.test(this.params) ? '' : '&client=e2e'}&version=1&${this.params}`);
    this.ws = ws;
    this.connection++;
    ws.onFrame = text => { if (this.ws === ws) this.take(text); };
    ws.onClose = (code, reason) => { if (this.ws === ws) this.closing = { code, reason }; };
    this.closing = null;
    const first = await this.next(f => f.event === `${this.prefix}:connection_established` || f.event === `${this.prefix}:error`);
    if (first.event.endsWith('error')) throw Object.assign(new Error(first.data.message), { code: first.data.code, client: this });
    this.established = first;
    this.socketId = JSON.parse(first.data).socket_id;
    return this;
  }

  send(event, data, more = {}) { this.ws.send(JSON.stringify({ event, ...(data === undefined ? {} : { data }), ...more })); }

  take(text) {
    const frame = JSON.parse(typeof text === 'string' ? text : text.toString());
    if (frame.message_id !== undefined) {
      if (this.seen.has(frame.message_id)) {
        /* A rewind shows again what an earlier connection had seen; nothing else may. */
        const again = this.wanted.get(frame.channel)?.rewind !== undefined && this.seen.get(frame.message_id) !== this.connection;
        if (!again) this.faults.push(`twice: ${text}`);
        return;
      }
      this.seen.set(frame.message_id, this.connection);
      if (this.seen.size > SEEN_MAX) this.seen.delete(this.seen.keys().next().value);
    }
    if (frame.channel !== undefined && frame.serial !== undefined)
      this.positions.set(frame.channel, { stream_id: frame.stream_id, serial: frame.serial, last_message_id: frame.message_id });
    this.frames.push(frame);
    if (this.paging?.channel === frame.channel && /^sockudo:message\./.test(frame.event)) this.paging.held.push([frame, text]);
    else this.reduce(frame, text);
    this.onFrame?.(frame);
  }

  reduce(frame, text) {
    const headers = frame.extras?.headers ?? {};
    const serial = headers.sockudo_message_serial;
    if (text.includes('sockudo_append_fragment')) this.faults.push(`internal key: ${text}`);
    if (serial === undefined || frame.channel === undefined) return;
    if (!this.messages.has(frame.channel)) this.messages.set(frame.channel, new Map());
    const all = this.messages.get(frame.channel), known = all.get(serial);
    const message = known ?? { frames: 0 };
    switch (headers.sockudo_action) {
      case 'message.append':
        if (typeof known?.data !== 'string') { this.faults.push(`append without a base: ${text}`); return; }
        message.data = this.params.includes('append_mode=full') ? frame.data : message.data + frame.data;
        break;
      case 'message.create': case 'message.update': case 'message.delete': message.data = frame.data; break;
      default: this.faults.push(`unknown action: ${text}`); return;
    }
    message.deleted = headers.sockudo_action === 'message.delete';
    message.status = frame.extras?.ai?.transport?.status;
    message.frames++;
    all.set(serial, message);
  }

  /* Subscribes and reads pages up to the attach; what comes live meanwhile waits, and is dropped if a page had it. */
  async subscribeWithHistory(channel, { limit = 50 } = {}) {
    let cursor;
    this.paging = { channel, held: [] };
    await this.subscribe(channel);
    do {
      const from = this.frames.length;
      this.send('sockudo:channel_history', { channel, until_attach: true, limit, direction: 'oldest_first', ...(cursor ? { cursor } : {}) });
      const page = await this.next(f => (f.event === 'sockudo:channel_history' && f.channel === channel) || f.event === 'sockudo:error', { from });
      if (page.event === 'sockudo:error') throw Object.assign(new Error(page.data.message), { code: page.data.code });
      for (const { message } of page.data.items) this.takeItem(channel, message);
      cursor = page.data.next_cursor;
    } while (cursor);
    const { held } = this.paging;
    this.paging = null;
    for (const [frame, text] of held) if (frame.serial > (this.known(channel, frame.extras.headers.sockudo_message_serial)?.at ?? 0)) this.reduce(frame, text);
  }

  known(channel, serial) { return this.messages.get(channel)?.get(serial); }

  /* A read item: the message as it is at its delivery serial. */
  takeItem(channel, item) {
    if (item.message_serial === undefined) return;
    if (!this.messages.has(channel)) this.messages.set(channel, new Map());
    this.messages.get(channel).set(item.message_serial, { data: item.data, status: item.extras?.ai?.transport?.status, deleted: item.action === 'delete', frames: 0, at: item.delivery_serial });
  }

  /* Everything but what it wants, as a page that was loaded anew. */
  forget() {
    for (const kept of [this.seen, this.positions, this.messages]) kept.clear();
    this.paging = null;
  }

  of(channel) { return this.frames.filter(f => f.channel === channel); }
  events(channel) { return this.of(channel).map(f => f.event); }
  text(channel, serial) { return this.messages.get(channel)?.get(serial)?.data; }
  status(channel, serial) { return this.messages.get(channel)?.get(serial)?.status; }
  find(test) { return this.frames.find(test); }

  /* The first frame from `from` on that matches, now or within ms. */
  async next(test, { from = 0, ms = 5000, what } = {}) {
    return until(() => this.frames.slice(from).find(test), what ?? (() => `a frame that matches ${test}; ${this.name} has ${JSON.stringify(this.frames.slice(-8))}${this.closing ? ` and was closed ${this.closing.code}` : ''}`), ms);
  }

  request(channel, data = {}) {
    const app = this.server.apps.find(a => a.key === this.key);
    const needsAuth = /^(private|presence)-/.test(channel) && data.auth === undefined;
    return { channel, ...(needsAuth ? { auth: channelAuth(app, this.socketId, channel, data.channel_data) } : {}), ...data };
  }

  /* Signs what needs a signature. Resolves with the acknowledgement, throws on a subscription error. */
  async subscribe(channel, data = {}) {
    const from = this.frames.length;
    this.wanted.set(channel, data);
    this.send(`${this.prefix}:subscribe`, this.request(channel, data));
    const answer = await this.next(f => f.channel === channel && (f.event === `${this.prefix}_internal:subscription_succeeded` || f.event === `${this.prefix}:subscription_error`), { from });
    if (answer.event.endsWith('error')) {
      this.wanted.delete(channel);
      const error = this.frames.slice(from).find(f => f.event === `${this.prefix}:error`);
      throw Object.assign(new Error(answer.data.error), { code: error?.data.code, answer, error });
    }
    return answer;
  }

  unsubscribe(channel) {
    this.wanted.delete(channel);
    this.send(`${this.prefix}:unsubscribe`, { channel });
  }

  cut() {
    this.ws.destroy();
    this.ws = null;
  }

  /* As an SDK comes back: subscribes, then one resume for all it has a position of. */
  async reconnect({ resume = true, subscribe = true } = {}) {
    this.ws?.destroy();
    const from = this.frames.length;
    await this.openFrom(from);
    if (!subscribe) return null;
    for (const [channel, data] of this.wanted) this.send('sockudo:subscribe', this.request(channel, data));
    const positions = Object.fromEntries([...this.positions].filter(([channel]) => this.wanted.has(channel)));
    if (!resume || !Object.keys(positions).length) return null;
    this.send('sockudo:resume', JSON.stringify({ channel_positions: positions }));
    const answer = await this.next(f => f.event === 'sockudo:resume_success', { from });
    return JSON.parse(answer.data);
  }

  async openFrom(from) {
    const held = this.frames;
    this.frames = [];
    try {
      await this.open();
    } finally {
      this.frames = held.slice(0, from).concat(this.frames);
    }
  }

  /* Everything sent before has been handled and answered. */
  async settle() {
    const from = this.frames.length;
    this.send(`${this.prefix}:ping`, {});
    await this.next(f => f.event === `${this.prefix}:pong`, { from });
  }

  async close() {
    const ws = this.ws;
    this.ws = null;
    if (ws?.open) await within(ws.close(), 1000);
    ws?.destroy();
  }
}

/* A client of Protocol V1 with the same handles. */
export class V1 extends V2 {
  static async connect(server, options = {}) {
    const client = new V1(server, { ...options, protocol: 7 });
    await client.open();
    return client;
  }
}
