// SPDX-License-Identifier: Apache-2.0
//
// fleet.mjs - several nodes on one PostgreSQL, with one Redis between them, all on free ports and ended with the tests.
//
//    const fleet = await Fleet.start({ nodes: 2 })
//    fleet.nodes[0] … are Servers;  await fleet.redis.kill9(); await fleet.redis.restart();  await fleet.stop()
//
// Their user of Redis has the rights that src/cluster/README.md names, and no others; stop() throws if something else was asked for.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { Postgres } from './postgres.mjs';
import { Redis } from './redis.mjs';
import { demoApp, merged, root, Server } from './server.mjs';

const user = { username: 'sockudo', password: 'pass' };
function rights() {
  const [, text] = /^(A user of Redis' ACL needs,.*?)\n\n/ms.exec(fs.readFileSync(path.join(root, 'src/cluster/README.md'), 'utf8'));
  return ['~*', '&*:#*', ...new Set(text.match(/\+[a-z]+/g))];
}

export class Fleet {
  static async start({ nodes = 2, config = {}, apps = [demoApp], ...options } = {}) {
    const fleet = new Fleet();
    const args = ['--user', user.username, 'on', `>${user.password}`, ...rights()];
    [fleet.redis, fleet.postgres] = await Promise.all([Redis.start({ args }), Postgres.start()]);
    const shared = {
      cache: { driver: 'redis' },
      adapter: { driver: 'redis', cluster_health: { heartbeat_interval_ms: 300, node_timeout_ms: 1500, cleanup_interval_ms: 300 } },
      database: { redis: { host: '127.0.0.1', port: fleet.redis.port, ...user } },
    };
    fleet.options = { config: merged(merged(fleet.postgres.config(), shared), config), apps, ...options };
    fleet.nodes = [];
    for (let i = 0; i < nodes; i++) await fleet.add();
    return fleet;
  }

  async add() {
    const node = await Server.start(this.options);
    this.nodes.push(node);
    return node;
  }

  async stop() {
    await Promise.all(this.nodes.filter(n => n.running).map(n => n.stop()));
    const denied = await this.redis.command('ACL', 'LOG').catch(() => []); // it may be gone
    await Promise.all([this.redis.stop(), this.postgres.stop()]);
    assert.deepEqual(denied, [], 'rights in Redis that the nodes lack');
  }
}
