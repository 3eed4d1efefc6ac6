// SPDX-License-Identifier: Apache-2.0
//
// probe.mjs - one signed request by the true clock, from the runner: the status it gets.
import { Api } from '../../../test/e2e/lib/api.mjs';
import { app } from './fleet.mjs';

export async function api(node) {
  const one = new Api({ host: node.host4, port: node.port, apps: [app] }, app);
  try { return (await one.get('/channels')).status; } finally { one.close(); }
}
