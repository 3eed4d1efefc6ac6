// SPDX-License-Identifier: Apache-2.0
//
// token.mjs - capability tokens as a backend mints them (chapter 4, 4.3).
//
//    mint(app, { client: 'alice', may: { 'room:*': ['subscribe'] }, jti: 'j1', life: 3600 })
//
// claims and header change or, with undefined, remove what would stand there; secret signs.
import crypto from 'node:crypto';
import { nowSeconds } from './api.mjs';

const part = object => Buffer.from(JSON.stringify(object)).toString('base64url');
let made = 0;

export function mint(app, { client = 'alice', may = { '*': ['subscribe', 'publish', 'history', 'presence'] }, jti = `jti-${process.pid}-${++made}`, life = 3600, claims = {}, header = {}, secret = app.secret } = {}) {
  const now = nowSeconds();
  const head = { alg: 'HS256', typ: 'JWT', kid: app.key, ...header };
  const body = { 'x-sockudo-client-id': client, 'x-sockudo-capability': may, jti, iat: now, exp: now + life, ...claims };
  const text = `${part(head)}.${part(body)}`;
  const hash = /^HS(384|512)$/.test(head.alg) ? `sha${head.alg.slice(2)}` : 'sha256';
  return `${text}.${head.alg === 'none' ? '' : crypto.createHmac(hash, secret).update(text).digest('base64url')}`;
}
