// SPDX-License-Identifier: Apache-2.0
//
// leak.mjs - the negative control of the resource criteria: something in a node grows for as long as the run lasts.
//
// 50 times a second a V2 connection is opened, on which a frame of 64 KiB begins and never ends: a descriptor and a buffer each, held
// by the node. Whoever watches descriptors and memory has to see it.
import crypto from 'node:crypto';
import net from 'node:net';

const PER_SECOND = 50, FRAME = 65535, SENT = 60000;

export function startLeak(urls, key) {
  const sockets = [];
  let turn = 0;
  const open = () => {
    const { hostname, port } = new URL(urls[turn++ % urls.length]);
    const socket = net.connect({ host: hostname, port: Number(port) });
    sockets.push(socket);
    socket.on('error', () => {});
    socket.once('data', () => socket.write(Buffer.concat([Buffer.from([0x81, 0x80 | 126, FRAME >> 8, FRAME & 255, 0, 0, 0, 0]), Buffer.alloc(SENT, 'x')])));
    socket.write(`GET /app/${key}?protocol=2&client=leak&version=1 HTTP/1.1\r\nHost: ${hostname}:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n`
      + `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${crypto.randomBytes(16).toString('base64')}\r\n\r\n`);
  };
  const timer = setInterval(open, 1000 / PER_SECOND);
  return () => { clearInterval(timer); for (const socket of sockets) socket.destroy(); return sockets.length; };
}
