// SPDX-License-Identifier: Apache-2.0
//
// subscriber.mjs - one WebSocket on one channel, in one of four modes. When it is cut off it goes to the next node and resumes.
// It notes each frame and thinks nothing of it: [time, connection, serial, action, message serial, data, message id, while resuming].
import { setTimeout as sleep } from 'node:timers/promises';
import { WsClient } from '../../../test/e2e/lib/ws-client.mjs';

const MODES = ['append_rollup_window=0', 'append_rollup_window=20', 'append_rollup_window=100', 'append_mode=full'];
const AGAIN_MS = 50, CONNECT_MS = 3000, SLOW_TURN_MS = 1000, SLOW_BYTES = 1024, SLOW_CONSUMER = 4100;

export class Subscriber {
  constructor(agent, channel, j) {
    Object.assign(this, { agent, channel, name: agent.publishers[channel].name, node: (channel + j) % agent.nodes.length, frames: [], resumes: 0, refused: [], cuts: [], slow: null });
    const modes = agent.order.modes ?? MODES;
    this.params = modes[(channel + j * 3) % modes.length];
    this.connection = 0;
    this.serial = null;
    this.over = false;
    this.ready = new Promise(resolve => { this.becomeReady = resolve; });
  }

  open() { this.connect(); return this.ready; }

  async connect() {
    const { host, port } = this.agent.nodes[this.node], number = ++this.connection;
    try {
      const ws = await WsClient.connect(`ws://${host}:${port}/app/${this.agent.order.app.key}?protocol=2&client=chaos&version=1&${this.params}`, { timeout: CONNECT_MS });
      if (this.over) return ws.destroy();
      this.ws = ws;
      this.resuming = false;
      ws.onFrame = text => { if (this.ws === ws) this.take(JSON.parse(text), text, number); };
      ws.onClose = (code, reason) => { if (this.ws === ws) this.lost(code, reason); };
    } catch { this.lost(0, 'no connection'); }
  }

  async lost(code, reason) {
    clearInterval(this.reading);
    this.ws = null;
    if (this.over) return;
    if (code) this.cuts.push({ t: this.agent.now(), code, reason, node: this.node });
    this.slow &&= 'was slow'; // it was cut for it: now it is one as all others
    this.node = (this.node + 1) % this.agent.nodes.length;
    await sleep(AGAIN_MS);
    if (!this.over) this.connect();
  }

  /* One write, so that the server reads subscribe and resume together, as SDKs send them. */
  subscribe() {
    const { socket } = this.ws;
    socket.cork();
    this.ws.send(JSON.stringify({ event: 'sockudo:subscribe', data: { channel: this.name } }));
    if (this.serial !== null) {
      this.resuming = true;
      this.ws.send(JSON.stringify({ event: 'sockudo:resume', data: { channel_positions: { [this.name]: { stream_id: this.streamId, serial: this.serial } } } }));
    }
    socket.uncork();
  }

  take(frame, text, number) {
    const now = this.agent.now(), { event } = frame;
    if (event.endsWith(':connection_established')) this.subscribe();
    else if (event.endsWith('subscription_succeeded')) this.attached(frame);
    else if (event === 'sockudo:resume_failed') this.refusedResume(frame.data, now);
    else if (event === 'sockudo:resume_success') { this.resuming = false; this.resumes++; this.agent.counts.resumes++; }
    else if (event.endsWith(':ping')) this.ws.send('{"event":"pusher:pong","data":{}}');
    else if (event.endsWith(':error') && ((frame.data.code >= 4200 && frame.data.code < 4300) || (frame.data.code === SLOW_CONSUMER && this.slow))) this.cuts.push({ t: now, code: frame.data.code, reason: frame.data.message, node: this.node }); // "reconnect", says the protocol
    else if (event.endsWith(':error')) this.refused.push({ t: now, why: text.slice(0, 200) });
    else if (frame.channel === this.name) this.note(frame, now, number);
  }

  /* A store that cannot answer now is no reason to give the position up (docs/recovery.md): elsewhere, with the same one. */
  refusedResume(why, now) {
    if (JSON.parse(why).code !== 'persistence_unavailable') { this.refused.push({ t: now, why }); return; }
    const { ws } = this;
    this.lost('resume_failed', why);
    ws.destroy();
  }

  attached(frame) {
    this.streamId = frame.stream_id ?? this.streamId;
    this.serial ??= frame.serial ?? 0;
    this.becomeReady();
  }

  note(frame, now, number) {
    const headers = frame.extras?.headers ?? {};
    this.frames.push([now, number, frame.serial ?? 0, headers.sockudo_action ?? '', headers.sockudo_message_serial ?? '', frame.data, frame.message_id ?? '', this.resuming ? 1 : 0]);
    this.agent.counts.frames++;
    if (frame.serial) this.serial = frame.serial;
    if (frame.stream_id) this.streamId = frame.stream_id;
  }

  readSlowly(how) {
    this.slow = how;
    if (!this.ws) return;
    const { socket } = this.ws;
    socket.removeAllListeners('data');
    socket.pause();
    if (how === 'stopped') return;
    this.reading = setInterval(() => {
      const bytes = socket.read(SLOW_BYTES);
      if (bytes) this.ws?.take(bytes);
    }, SLOW_TURN_MS);
  }

  /* As all others from now on; if it was cut, it finds that out. */
  readOn() {
    clearInterval(this.reading);
    if (!this.slow) return;
    this.slow = 'was slow';
    const { ws } = this;
    if (!ws || ws.socket.listenerCount('data')) return;
    ws.socket.on('data', data => ws.take(data));
    ws.socket.resume();
  }

  hasAll(serial) { return this.serial !== null && this.serial >= serial && this.ws !== null && !this.resuming; }
  close() { this.over = true; clearInterval(this.reading); this.ws?.destroy(); }
  record() { return { channel: this.channel, params: this.params, slow: this.slow, connections: this.connection, resumes: this.resumes, refused: this.refused, cuts: this.cuts, frames: this.frames }; }
}
