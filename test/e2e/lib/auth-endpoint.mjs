// SPDX-License-Identifier: Apache-2.0
//
// auth-endpoint.mjs - the customer's own backend, as far as clients need one: it signs what they ask for.
//
//    POST /auth         socket_id, channel_name        -> {auth, channel_data?}
//    POST /user-auth    socket_id                      -> {auth, user_data}
//
// Form-encoded as pusher-js and laravel-echo send it. The header X-User (or the field user) says who asks, X-Watchlist whom he watches;
// channels with "forbidden" in their name are answered 403.
import http from 'node:http';
import { channelAuth, userAuth } from './api.mjs';

export async function startAuthEndpoint(app) {
  const requests = [];
  const listener = http.createServer((request, response) => {
    let text = '';
    request.on('data', part => { text += part; }).on('end', () => {
      const fields = Object.fromEntries(new URLSearchParams(text));
      const user = request.headers['x-user'] ?? fields.user ?? 'u1';
      requests.push({ url: request.url, fields, user });
      const watchlist = request.headers['x-watchlist']?.split(',');
      const { status, body } = answer(request.url, fields, user, watchlist);
      response.writeHead(status, { 'Content-Type': 'application/json', 'Access-Control-Allow-Origin': '*' });
      response.end(JSON.stringify(body));
    });
  });

  function answer(url, { socket_id, channel_name = '' }, user, watchlist) {
    if (url.startsWith('/user-auth')) {
      const user_data = JSON.stringify({ id: user, user_info: { name: `Name of ${user}` }, watchlist });
      return { status: 200, body: { auth: userAuth(app, socket_id, user_data), user_data } };
    }
    if (channel_name.includes('forbidden')) return { status: 403, body: { message: 'no' } };
    if (channel_name.includes('forged')) return { status: 200, body: { auth: `${app.key}:${'0'.repeat(64)}` } };
    if (!channel_name.startsWith('presence-')) return { status: 200, body: { auth: channelAuth(app, socket_id, channel_name) } };
    const channel_data = JSON.stringify({ user_id: user, user_info: { name: `Name of ${user}` } });
    return { status: 200, body: { auth: channelAuth(app, socket_id, channel_name, channel_data), channel_data } };
  }

  await new Promise(resolve => listener.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${listener.address().port}`;
  return { url, requests, close: () => { listener.closeAllConnections?.(); listener.close(); } };
}
