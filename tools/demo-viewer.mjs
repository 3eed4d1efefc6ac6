#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
//
// demo-viewer.mjs PROMPT - subscribes to the demo channel, sends PROMPT to the generator, writes the answer as it arrives.
//
// Exits 0 when the answer is complete, 1 when nothing comes for 15 s.
// Environment: PORT (6001), GENERATOR_PORT (6011).
import { WsClient } from '../test/e2e/lib/ws-client.mjs';

const CHANNEL = 'ai-demo';
const port = process.env.PORT ?? 6001, generatorPort = process.env.GENERATOR_PORT ?? 6011;
const SILENCE_MS = 15_000;
const paragraphs = 1;

function fail(why) {
  console.error(`\nviewer: ${why}`);
  process.exit(1);
}

let timer;
function alive() {
  clearTimeout(timer);
  timer = setTimeout(() => fail('nothing arrives'), SILENCE_MS);
}

/* The generator may have been started in the same moment. */
async function ask(tries = 50) {
  const answer = await fetch(`http://127.0.0.1:${generatorPort}/prompt`, { method: 'POST', body: JSON.stringify({ prompt: process.argv[2], channel: CHANNEL, paragraphs }) })
    .catch(error => { if (tries === 1) throw error; });
  if (!answer) return setTimeout(() => ask(tries - 1).catch(error => fail(error.message)), 100);
  if (!answer.ok) fail(await answer.text());
}

let mine = null; // the serial of the answer we follow

function take(frame) {
  alive();
  const headers = frame.extras?.headers ?? {}, transport = frame.extras?.ai?.transport ?? {};
  if (frame.event === 'sockudo:connection_established') return ws.send(JSON.stringify({ event: 'sockudo:subscribe', data: { channel: CHANNEL } }));
  if (frame.event === 'sockudo_internal:subscription_succeeded') return ask().catch(error => fail(error.message));
  if (frame.event === 'sockudo:error') return fail(frame.data.message);
  if (frame.event === 'ai-output' && mine === null) mine = headers.sockudo_message_serial;
  if (frame.event !== 'sockudo:message.append' || headers.sockudo_message_serial !== mine) return;
  process.stdout.write(frame.data);
  if (transport.status !== 'complete') return;
  process.stdout.write('\n');
  process.exit(0);
}

alive();
const ws = await WsClient.connect(`ws://127.0.0.1:${port}/app/app-key?protocol=2&client=viewer`, {
  onFrame: text => take(JSON.parse(text)),
  onClose: code => fail(`the connection ended (${code})`),
}).catch(error => fail(error.message));
