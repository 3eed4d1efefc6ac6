#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
//
// demo-generator.mjs - stands where a language model would: takes a prompt, streams an answer into a channel.
//
//    POST /prompt {"prompt": …, "channel"?: …, "paragraphs"?: 4}
//      -> event  ai-input   the prompt
//      -> event  ai-output  "" status streaming         one message, created once (message_id)
//      -> append, append, …                             some 30 tokens a second, each with its op_id
//      -> append "" status complete
//
// Every request is signed and repeated until it is answered, however often the server dies in between: message_id and op_id
// make a repetition harmless. extras.headers carry what the page measures: sent_ms (wall clock) and tokens (so far).
//
// Environment: SOCKUDO_URL (http://127.0.0.1:6001), SOCKUDO_APP_ID, _KEY, _SECRET (the demo's), GENERATOR_PORT (6011).
import crypto from 'node:crypto';
import http from 'node:http';

const SERVER = new URL(process.env.SOCKUDO_URL ?? 'http://127.0.0.1:6001');
const APP = {
  id: process.env.SOCKUDO_APP_ID ?? 'app-id',
  key: process.env.SOCKUDO_APP_KEY ?? 'app-key',
  secret: process.env.SOCKUDO_APP_SECRET ?? 'app-secret',
};
const PORT = Number(process.env.GENERATOR_PORT ?? 6011);
const TOKEN_MS = 33;
const RETRY_MS = 150, RETRY_MS_MAX = 120_000;
const STREAMS_MAX = 8, PROMPT_BYTES_MAX = 4096;

// ---- Signed requests --------------------------------------------------------------------------------------------------------------

const agent = new http.Agent({ keepAlive: true, maxSockets: 2 * STREAMS_MAX });
const sleep = ms => new Promise(resolve => setTimeout(resolve, ms));

function signed(path, body) {
  const query = new URLSearchParams({
    auth_key: APP.key,
    auth_timestamp: Math.floor(Date.now() / 1000),
    auth_version: '1.0',
    body_md5: crypto.createHash('md5').update(body).digest('hex'),
  });
  const text = `POST\n${path}\n${query}`; // the names are in order already, no value needs escaping
  return `${path}?${query}&auth_signature=${crypto.createHmac('sha256', APP.secret).update(text).digest('hex')}`;
}

function postOnce(path, body) {
  return new Promise((resolve, reject) => {
    const headers = { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) };
    const request = http.request({ host: SERVER.hostname, port: SERVER.port, path: signed(path, body), method: 'POST', headers, agent, timeout: 10_000 }, response => {
      let text = '';
      response.setEncoding('utf8').on('data', part => { text += part; }).on('end', () => resolve({ status: response.statusCode, text })).on('error', reject);
    });
    request.on('error', reject).on('timeout', () => request.destroy(new Error('no answer'))).end(body);
  });
}

// Until there is an answer. What it means to repeat it is the caller's care.
async function post(path, value) {
  const deadline = Date.now() + RETRY_MS_MAX;
  for (;;) {
    let why;
    try {
      const { status, text } = await postOnce(path, JSON.stringify(value));
      if (status === 200) return JSON.parse(text);
      why = `${status} ${text}`;
      if (status < 500) throw Object.assign(new Error(why), { final: true });
    } catch (error) {
      if (error.final) throw error;
      why = why ?? error.message;
    }
    if (Date.now() > deadline) throw new Error(why);
    await sleep(RETRY_MS);
  }
}

const nowMs = () => performance.timeOrigin + performance.now();

async function publish(channel, event, data, transport, headers = {}) {
  const answer = await post(`/apps/${APP.id}/events`, {
    name: event, channel, data, message_id: crypto.randomUUID(), extras: { headers, ai: { transport } },
  });
  return answer.channels[channel].message_serial;
}

function append(channel, serial, fragment, opId, transport, tokens) {
  return post(`/apps/${APP.id}/channels/${channel}/messages/${serial}/append`, {
    data: fragment, op_id: opId, extras: { headers: { sent_ms: nowMs(), tokens }, ai: { transport } },
  });
}

async function stream(channel, prompt, paragraphs) {
  const run = { 'run-id': crypto.randomUUID() };
  await publish(channel, 'ai-input', prompt, { ...run, role: 'user' });
  const streaming = { ...run, role: 'assistant', stream: 'true', status: 'streaming' };
  const serial = await publish(channel, 'ai-output', '', streaming, { tokens: 0 });
  let count = 0, next = nowMs();
  for (const token of tokensOf(answerTo(prompt, paragraphs))) {
    next = Math.max(next + pauseAfter(token), nowMs() - TOKEN_MS);
    await sleep(Math.max(0, next - nowMs()));
    count++;
    await append(channel, serial, token, `token-${count}`, streaming, count);
  }
  await append(channel, serial, '', 'end', { ...streaming, status: 'complete' }, count);
  return count;
}

// ---- The words --------------------------------------------------------------------------------------------------------------------
// Sentences are drawn from patterns; <names> are drawn from lists, <topic> is what the prompt is about.

const LISTS = {
  opener: ['Let us begin with', 'It helps to start from', 'A good way in is', 'Picture', 'Most people first notice', 'Look closely at'],
  thing: ['the river', 'a small workshop', 'an old map', 'the tide', 'a letter on its way', 'the night train', 'a garden in March', 'the long table in the kitchen',
    'a lighthouse', 'the second violin', 'a bridge of stone', 'the ferry at noon'],
  quality: ['patient', 'plain', 'steady', 'surprising', 'quiet', 'generous', 'exact', 'durable', 'unhurried', 'light'],
  action: ['keeps its shape', 'returns to where it began', 'carries more than it shows', 'finds the shortest way down', 'waits without complaint', 'remembers every step',
    'grows by small additions', 'holds when it is tested', 'arrives in the order it was sent', 'is the same for everyone who looks'],
  reason: ['nothing is lost on the way', 'each part knows only its neighbour', 'the small things were done first', 'somebody wrote it down before promising it',
    'there is one order and everybody keeps it', 'whoever comes late can still read the beginning', 'it was made to be repaired'],
  link: ['And yet', 'In practice', 'Seen from a distance', 'On a good day', 'More often than not', 'After a while', 'If you look twice', 'By the end'],
  person: ['the engineer', 'a child', 'the captain', 'my neighbour', 'the clockmaker', 'a tired traveller', 'the librarian', 'whoever keeps the lamp'],
  place: ['by the window', 'before dawn', 'in the workshop', 'at the edge of town', 'between two stations', 'on the way home', 'under the stairs'],
};
const PATTERNS = [
  '<opener> <topic>: <thing>, perhaps, <place>.',
  'What makes <topic> <quality> is that it <action>.',
  '<link>, <topic> <action>, because <reason>.',
  '<person> would say that <topic> is like <thing>: it <action>.',
  'There is something <quality> about it, and something <quality> too.',
  'Think of <thing> <place>; it <action>, and so does <topic>.',
  '<link>, <person> asks about <topic> and hears only that <reason>.',
  'It <action>, and that is the whole secret: <reason>.',
  'You can watch <topic> <place> and learn that <reason>.',
  'Not everything <quality> is slow, and <topic> proves it.',
  '<link>, what seemed <quality> turns out to be <quality>, and <thing> <action>.',
  'So <person> stays <place>, <quality> as ever, and lets <topic> do its work.',
];
const CLOSINGS = [
  'That, in the end, is <topic>: <quality>, <quality>, and still here tomorrow.',
  'Ask <person> again in a year; <topic> will have kept its word, because <reason>.',
  'If you remember one thing, let it be this: <topic> <action>.',
];
const SMALL_WORDS = new Set(('a about an and are as at be can child children do does explain for from give how i in is it its me my of on or plan please '
  + 'quiet should tell than that the their there they this to us was we what when where which who why will with would write you your').split(' '));

const pick = list => list[Math.floor(Math.random() * list.length)];

function topicOf(prompt) {
  const words = prompt.toLowerCase().match(/\p{L}[\p{L}\p{N}'-]*/gu) ?? [];
  const telling = words.filter(word => !SMALL_WORDS.has(word)).slice(0, 3);
  return telling.length ? telling.join(' ') : 'this';
}

function sentence(pattern, topic) {
  const text = pattern.replace(/<(\w+)>/g, (_, name) => name === 'topic' ? topic : pick(LISTS[name]));
  return text[0].toUpperCase() + text.slice(1);
}

function answerTo(prompt, paragraphs) {
  const topic = topicOf(prompt);
  const paragraph = () => Array.from({ length: 3 + Math.floor(Math.random() * 3) }, () => sentence(pick(PATTERNS), topic)).join(' ');
  return `${Array.from({ length: paragraphs }, paragraph).join('\n\n')} ${sentence(pick(CLOSINGS), topic)}`;
}

// As models cut it: a word with the space before it, long words in two.
function* tokensOf(text) {
  for (const [piece] of text.matchAll(/\s*(?:[\p{L}\p{N}'-]+|[^\s])/gu)) {
    const cut = piece.trim().length > 8 ? piece.length - 4 : piece.length;
    yield piece.slice(0, cut);
    if (cut < piece.length) yield piece.slice(cut);
  }
}

// Irregular, some 30 a second on average; a breath after a sentence.
function pauseAfter(token) {
  const pause = -Math.log(1 - Math.random()) * TOKEN_MS * 0.6 + TOKEN_MS * 0.3;
  return /[.:;]$/.test(token) ? pause + 2 * TOKEN_MS : Math.min(pause, 5 * TOKEN_MS);
}

// ---- The end point the page talks to ----------------------------------------------------------------------------------------------

let streams = 0;

function answer(response, status, value) {
  response.writeHead(status, { 'Content-Type': 'application/json', 'Access-Control-Allow-Origin': '*', 'Access-Control-Allow-Headers': 'Content-Type' });
  response.end(JSON.stringify(value));
}

function start({ prompt, channel = 'ai-demo', paragraphs = 4 }) {
  if (typeof prompt !== 'string' || !prompt.trim()) throw new Error('a prompt is needed');
  if (typeof channel !== 'string' || !/^[\w.-]+$/.test(channel)) throw new Error('a plain channel name is needed');
  if (streams >= STREAMS_MAX) throw new Error(`${STREAMS_MAX} answers are being streamed already`);
  streams++;
  stream(channel, prompt.trim(), Math.min(Math.max(Number(paragraphs) || 1, 1), 50))
    .catch(error => console.error(`generator: ${error.message}`))
    .finally(() => { streams--; });
}

const listener = http.createServer((request, response) => {
  if (request.method === 'OPTIONS') return answer(response, 200, {});
  if (request.method !== 'POST' || request.url !== '/prompt') return answer(response, 404, { error: 'POST /prompt' });
  let body = '';
  request.setEncoding('utf8').on('data', part => { if (body.length <= PROMPT_BYTES_MAX) body += part; }).on('end', () => {
    try {
      start(JSON.parse(body));
      answer(response, 200, { ok: true });
    } catch (error) {
      answer(response, 400, { error: error.message });
    }
  });
});
listener.on('error', error => { console.error(`generator: ${error.message}`); process.exit(1); });
listener.listen(PORT, '127.0.0.1', () => console.log(`generator: listening on 127.0.0.1:${listener.address().port}`));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(0));
