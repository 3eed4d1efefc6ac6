// SPDX-License-Identifier: Apache-2.0
//
// ws-client.mjs - a WebSocket client (RFC 6455) that shows what is on the wire and hides nothing.
//
//    const ws = await WsClient.connect('ws://127.0.0.1:6001/app/key?protocol=2')
//    ws.onFrame = text => …        a whole text or binary message
//    ws.onClose = (code, reason) => …   1006 when there was no Close frame
//    ws.send(text), ws.close(), ws.destroy()
//
// For tests it can misbehave: sendFrame() sets every bit, pause() stops reading, autoPong = false stays silent.
import crypto from 'node:crypto';
import net from 'node:net';

export const OP = { CONTINUE: 0, TEXT: 1, BINARY: 2, CLOSE: 8, PING: 9, PONG: 10 };

export class WsClient {
  static connect(url, { headers = {}, timeout = 5000, onFrame, onClose } = {}) {
    return new Promise((resolve, reject) => {
      const { hostname, port, pathname, search } = new URL(url);
      const socket = net.connect({ host: hostname, port: Number(port) });
      const client = new WsClient(socket, { onFrame, onClose });
      const timer = setTimeout(() => { socket.destroy(); reject(new Error('no answer to the upgrade')); }, timeout);
      const fail = error => { clearTimeout(timer); socket.destroy(); reject(error); };
      client.onUpgrade = (status, head) => {
        clearTimeout(timer);
        if (status === 101) return resolve(client);
        fail(Object.assign(new Error(`upgrade refused: ${status}`), { status, head }));
      };
      socket.once('error', fail).once('close', () => fail(new Error('closed before the upgrade')));
      const all = { Host: `${hostname}:${port}`, Upgrade: 'websocket', Connection: 'Upgrade', 'Sec-WebSocket-Version': '13',
        'Sec-WebSocket-Key': crypto.randomBytes(16).toString('base64'), ...headers };
      socket.on('connect', () => socket.write(`GET ${pathname}${search} HTTP/1.1\r\n${Object.entries(all).map(([k, v]) => `${k}: ${v}\r\n`).join('')}\r\n`));
    });
  }

  constructor(socket, { onFrame = () => {}, onClose = () => {} }) {
    Object.assign(this, { socket, onFrame, onClose, autoPong: true, open: true, pings: 0, rest: Buffer.alloc(0), parts: [] });
    socket.setNoDelay(true);
    socket.on('data', data => this.take(data));
    socket.on('error', () => {});
    socket.on('close', () => this.ended(1006, ''));
    this.closed = new Promise(resolve => { this.resolveClosed = resolve; });
  }

  ended(code, reason) {
    if (!this.open) return;
    this.open = false;
    this.onClose(code, reason);
    this.resolveClosed({ code, reason });
  }

  take(data) {
    this.rest = this.rest.length ? Buffer.concat([this.rest, data]) : data;
    if (this.onUpgrade) {
      const end = this.rest.indexOf('\r\n\r\n');
      if (end < 0) return;
      const head = this.rest.subarray(0, end).toString(), answer = this.onUpgrade;
      this.onUpgrade = null;
      this.rest = this.rest.subarray(end + 4);
      answer(Number(head.split(' ')[1]), head);
      // Whoever awaited connect() gets the chance to set its handlers before the first frame.
      return void setImmediate(() => this.frames());
    }
    this.frames();
  }

  frames() {
    for (let frame; !this.onUpgrade && (frame = this.nextFrame());) this.handle(frame);
  }

  nextFrame() {
    const b = this.rest;
    if (b.length < 2) return null;
    let at = 2, size = b[1] & 127;
    if (size === 126) { if (b.length < 4) return null; size = b.readUInt16BE(2); at = 4; }
    else if (size === 127) { if (b.length < 10) return null; size = Number(b.readBigUInt64BE(2)); at = 10; }
    if (b.length < at + size) return null;
    this.rest = b.subarray(at + size);
    return { fin: b[0] >> 7, op: b[0] & 15, payload: b.subarray(at, at + size) };
  }

  handle({ fin, op, payload }) {
    if (op === OP.PING) { this.pings++; if (this.autoPong) this.sendFrame(OP.PONG, payload); return; }
    if (op === OP.PONG) { this.onPong?.(payload); return; }
    if (op === OP.CLOSE) {
      if (this.socket.writable) this.sendFrame(OP.CLOSE, payload.subarray(0, 2));
      this.socket.end();
      this.ended(payload.length >= 2 ? payload.readUInt16BE(0) : 1005, payload.subarray(2).toString());
      return;
    }
    this.parts.push(payload);
    if (!fin) return;
    const whole = this.parts.length === 1 ? this.parts[0] : Buffer.concat(this.parts);
    this.parts = [];
    this.onFrame(op === OP.BINARY ? Buffer.from(whole) : whole.toString());
  }

  // mask: null sends what no client may send. reserved: the three bits after FIN.
  sendFrame(op, payload = '', { fin = true, mask = crypto.randomBytes(4), reserved = 0 } = {}) {
    const body = Buffer.from(payload), n = body.length;
    const head = Buffer.alloc(n < 126 ? 2 : n < 65536 ? 4 : 10);
    head[0] = (fin ? 0x80 : 0) | (reserved << 4) | op;
    head[1] = (mask ? 0x80 : 0) | (n < 126 ? n : n < 65536 ? 126 : 127);
    if (head.length === 4) head.writeUInt16BE(n, 2);
    if (head.length === 10) head.writeBigUInt64BE(BigInt(n), 2);
    const copy = Buffer.from(body);
    if (mask) for (let i = 0; i < n; i++) copy[i] ^= mask[i & 3];
    this.socket.write(Buffer.concat(mask ? [head, mask, copy] : [head, copy]));
  }

  send(text) { this.sendFrame(OP.TEXT, text); }
  ping(payload = '') { this.sendFrame(OP.PING, payload); }
  pause() { this.socket.pause(); }
  resume() { this.socket.resume(); }
  destroy() { this.socket.destroy(); }
  close(code = 1000, reason = '') {
    const payload = Buffer.alloc(2 + Buffer.byteLength(reason));
    payload.writeUInt16BE(code);
    payload.write(reason, 2);
    this.sendFrame(OP.CLOSE, payload);
    return this.closed;
  }
}
