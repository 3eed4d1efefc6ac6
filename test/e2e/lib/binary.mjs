// SPDX-License-Identifier: Apache-2.0
//
// binary.mjs - V2 clients that speak MessagePack and Protobuf with the libraries of others, written from chapter 1, section 9.
//
//    const client = await Binary.connect(server, { wire: 'msgpack' })     or 'protobuf', 'csharp'
//
// A client's frames are what a JSON client would have seen; data that is bytes shows as {bytes: [...]}. A text frame is a fault.
import fs from 'node:fs';
import path from 'node:path';
import { decode, encode } from '@msgpack/msgpack';
import protobuf from 'protobufjs';
import { root } from './server.mjs';
import { V2 } from './v2.mjs';
import { OP } from './ws-client.mjs';

const FIELDS = ['event', 'channel', 'data', 'name', 'user_id', 'tags', 'sequence', 'conflation_key', 'message_id', 'stream_id', 'serial',
  'idempotency_key', 'extras', '__delta_seq', '__conflation_key'];
const isAbsent = value => value === undefined || value === null;
const clean = object => Object.fromEntries(Object.entries(object).filter(([, value]) => !isAbsent(value)));

/* ---- MessagePack ---- */

const unpackData = ([kind, value]) => {
  switch (kind) {
    case 'string': return value;
    case 'json': return JSON.parse(value);
    case 'binary': return { bytes: [...value] };
    default: throw new Error(`data of kind ${kind}`);
  }
};
const packData = data => {
  if (data instanceof Uint8Array) return ['binary', data];
  return typeof data === 'string' ? ['string', data] : ['json', JSON.stringify(data)];
};
const KINDS = { string: 'string', number: 'number', boolean: 'bool' };

const msgpack = {
  params: 'format=msgpack',
  encode: message => encode(FIELDS.map(f => (isAbsent(message[f]) ? null : f === 'data' ? packData(message.data) : message[f]))),
  decode(bytes) {
    const values = decode(bytes); // throws on bytes behind the value
    if (!Array.isArray(values) || values.length !== FIELDS.length) throw new Error(`not ${FIELDS.length} positions`);
    const message = Object.fromEntries(FIELDS.map((f, i) => [f, values[i]]).filter(([, value]) => value !== null));
    if (message.data) message.data = unpackData(message.data);
    if (message.extras?.headers)
      message.extras.headers = Object.fromEntries(Object.entries(message.extras.headers).map(([key, [kind, value]]) => {
        if (KINDS[typeof value] !== kind) throw new Error(`header ${key}: ${kind} ${value}`);
        return [key, value];
      }));
    return message;
  },
};

/* ---- Protobuf ---- */

/* The schema that users are given, with other numbers for some fields. */
const page = fs.readFileSync(path.join(root, 'docs/wire-formats.md'), 'utf8');
function proto(numbers = {}) {
  const schema = /```proto\n([^`]*)```/.exec(page)[1];
  const message = /message Message {[^}]*}/.exec(schema)[0];
  const renumbered = message.replace(/(\w+) = \d+;/g, (all, name) => (numbers[name] ? `${name} = ${numbers[name]};` : all));
  return protobuf.parse(schema.replace(message, renumbered), { keepCase: true }).root.lookupType('Message');
}

const ofData = data => {
  if (data instanceof Uint8Array) return { binary: data };
  return typeof data === 'string' ? { string: data } : { json: JSON.stringify(data) };
};
function fromData(data) {
  switch (data.kind) {
    case 'string': return data.string;
    case 'json': return JSON.parse(data.json);
    case 'binary': return { bytes: [...data.binary] };
    default: throw new Error(`data of kind ${data.kind}`);
  }
}
const someOf = map => (map && Object.keys(map).length ? map : undefined);

/* Headers are compared as values; a message without tags looks like one with none. */
function fromExtras(extras) {
  const headers = someOf(extras.headers) && Object.fromEntries(Object.entries(extras.headers).map(([k, v]) => [k, v[v.kind]]));
  const ai = extras.ai && clean({ transport: someOf(extras.ai.transport), codec: someOf(extras.ai.codec) });
  return clean({ headers, ephemeral: extras.ephemeral, idempotencyKey: extras.idempotency_key, echo: extras.echo, ai });
}

const protobufWith = (params, type) => ({
  params,
  /* extras: what AI events have of them */
  encode: ({ data, serial, event, channel, message_id, tags, extras }) =>
    type.encode(type.fromObject(clean({ event, channel, message_id, serial, tags, extras: extras?.ai && { ai: extras.ai }, data: isAbsent(data) ? undefined : ofData(data) }))).finish(),
  decode(bytes) {
    const m = type.toObject(type.decode(bytes), { longs: Number, oneofs: true });
    const data = m.data && { data: fromData(m.data) }; // null is data too
    return { ...data, ...clean({
      event: m.event, channel: m.channel, name: m.name, user_id: m.user_id, tags: someOf(m.tags), sequence: m.sequence,
      conflation_key: m.conflation_key, message_id: m.message_id, stream_id: m.stream_id, serial: m.serial, idempotency_key: m.idempotency_key,
      extras: m.extras && fromExtras(m.extras), __delta_seq: m.delta_sequence, __conflation_key: m.delta_conflation_key,
    }) };
  },
});

export const wires = {
  msgpack,
  protobuf: protobufWith('format=protobuf', proto()),
  csharp: protobufWith('format=proto&client=csharp', proto({ serial: 10, idempotency_key: 11, extras: 12, delta_sequence: 13, delta_conflation_key: 14, stream_id: 15 })),
};

export class Binary extends V2 {
  constructor(server, { wire, params = '', ...more }) {
    super(server, { ...more, params: `${wires[wire].params}&${params}`, name: wire });
    this.wire = wires[wire];
  }

  take(payload) {
    if (typeof payload === 'string') { this.faults.push(`a text frame: ${payload}`); super.take(payload); return; }
    try {
      super.take(JSON.stringify(this.wire.decode(payload)));
    } catch (error) {
      this.faults.push(`${error.message}: ${payload.toString('hex')}`);
    }
  }

  send(event, data, more = {}) { this.ws.sendFrame(OP.BINARY, this.wire.encode({ event, data, ...more })); }
  sendBytes(bytes) { this.ws.sendFrame(OP.BINARY, bytes); }
}
