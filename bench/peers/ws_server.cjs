// ws_server.cjs - the broadcast server of the ws documentation: every POST goes to every client.
//   node ws_server.cjs MODULES_DIRECTORY PORT
// SPDX-License-Identifier: Apache-2.0
'use strict';
const { createServer } = require('node:http');
const { createRequire } = require('node:module');
const { WebSocketServer, WebSocket } = createRequire(`${process.argv[2]}/`)('ws');

const server = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8');
    request.on('data', (text) => { body += text; });
    request.on('end', () => {
        for (const client of sockets.clients)
            if (client.readyState === WebSocket.OPEN) client.send(body, { binary: false });
        response.end('ok');
    });
});
server.keepAliveTimeout = 0;
const sockets = new WebSocketServer({ server, perMessageDeflate: false });
sockets.on('connection', (client) => client.on('error', () => {}));
server.listen({ port: Number(process.argv[3]), host: '127.0.0.1', backlog: 4096 });
