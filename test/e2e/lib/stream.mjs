// SPDX-License-Identifier: Apache-2.0
//
// stream.mjs - the two streaming requests, as a plain HTTP client makes them (docs/streaming.md).
//
//    const stream = new AppendStream(api, 'ai-1', { name: 'ai-output', message_id: 'm1', format: 'ndjson' });
//    stream.write('{"data":"Hel"}\n'); await stream.end('{"data":"lo","status":"complete"}\n'); stream.acks
//    const reader = new EventReader(api, 'ai-1', serial); await reader.until(e => e.event === 'end'); reader.events
import http from 'node:http';
import { until } from './server.mjs';

const base = (api, channel) => `/apps/${api.app.id}/channels/${encodeURIComponent(channel)}/messages`;

export class AppendStream {
  constructor(api, channel, query, { headers = {}, method = 'POST' } = {}) {
    this.text = '';
    this.request = http.request({ host: '127.0.0.1', port: api.server.port, path: api.target(method, `${base(api, channel)}/stream`, { query }), method, headers: { 'Transfer-Encoding': 'chunked', ...headers } });
    this.request.on('error', () => {});
    this.done = new Promise(resolve => this.request.on('response', response => {
      this.status = response.statusCode;
      this.headers = response.headers;
      response.setEncoding('utf8').on('data', part => { this.text += part; }).on('error', () => {}).on('close', () => resolve(this));
    }).on('close', () => resolve(this)));
    this.request.flushHeaders();
  }
  write(piece) { this.request.write(piece); return this; }
  end(piece) { this.request.end(piece); return this.done; }
  breakOff() { this.request.destroy(); return this.done; }
  /* The lines of the response so far. */
  get acks() { return this.text.split('\n').slice(0, -1).map(l => JSON.parse(l)); }
  get serial() { return this.acks[0]?.message_serial; }
  /* Waits until `bytes` of the text are acknowledged. */
  acked(bytes) { return until(() => this.acks.some(a => a.bytes >= bytes), `${bytes} bytes to be acknowledged`); }
}

/* How each format writes fragments down; the last one ends the message. */
export const bodies = {
  ndjson: parts => [...parts.map(data => `${JSON.stringify({ data })}\n`), '{"status":"complete"}\n'],
  openai: parts => [...parts.map(content => `data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk', choices: [{ index: 0, delta: { content }, finish_reason: null }] })}\n\n`),
    'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n', 'data: {"choices":[],"usage":{"total_tokens":3}}\n\n', 'data: [DONE]\n\n'],
  responses: parts => ['event: response.created\ndata: {"type":"response.created","response":{"id":"r"}}\n\n',
    ...parts.map(delta => `event: response.output_text.delta\ndata: ${JSON.stringify({ type: 'response.output_text.delta', delta })}\n\n`),
    'event: response.completed\ndata: {"type":"response.completed","response":{}}\n\n'],
  anthropic: parts => ['event: message_start\ndata: {"type":"message_start","message":{"content":[]}}\n\n', 'event: ping\ndata: {"type": "ping"}\n\n',
    ...parts.map(text => `event: content_block_delta\ndata: ${JSON.stringify({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text } })}\n\n`),
    'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}\n\n', 'event: message_stop\ndata: {"type":"message_stop"}\n\n'],
};

export class EventReader {
  /* query: unsigned as it stands if given, else a signed request. */
  constructor(api, channel, serial, { since, query, headers = {}, params = {} } = {}) {
    this.text = '';
    const path = `${base(api, channel)}/${serial}/stream`;
    const target = query === undefined ? api.target('GET', path, { query: params }) : `${path}?${new URLSearchParams(query)}`;
    this.request = http.request({ host: '127.0.0.1', port: api.server.port, path: target, headers: { Accept: 'text/event-stream', ...(since ? { 'Last-Event-ID': since } : {}), ...headers } });
    this.request.on('error', () => {});
    this.done = new Promise(resolve => this.request.on('response', response => {
      this.status = response.statusCode;
      this.headers = response.headers;
      this.response = response;
      response.setEncoding('utf8').on('data', part => { this.text += part; }).on('error', () => {}).on('close', () => resolve(this));
    }).on('close', () => resolve(this)).end());
  }
  close() { this.request.destroy(); return this.done; }
  get events() {
    return this.text.split('\n\n').slice(0, -1).map(block => Object.fromEntries(block.split('\n').filter(l => /^\w/.test(l)).map(l => [l.slice(0, l.indexOf(':')), l.slice(l.indexOf(':') + 2)])))
      .filter(e => e.event).map(e => ({ ...e, data: JSON.parse(e.data) }));
  }
  get lastId() { return this.events.at(-1)?.id; }
  /* What a reducer makes of the events. */
  get transcript() {
    return this.events.reduce((text, e) => e.event === 'append' ? text + e.data.data : e.event === 'snapshot' || e.event === 'update' ? e.data.data ?? '' : text, '');
  }
  until(condition, what = 'an event') { return until(() => this.events.find(condition), what); }
}
