// SPDX-License-Identifier: Apache-2.0
//
// fleet.mjs - several nodes on one PostgreSQL, with one Redis between them, all on free ports and ended with the tests.
//
//    const fleet = await Fleet.start({ nodes: 2 })
//    fleet.nodes[0] … are Servers;  await fleet.redis.kill9(); await fleet.redis.restart();  await fleet.stop()
import { Postgres } from './postgres.mjs';
import { Redis } from './redis.mjs';
import { demoApp, merged, Server } from './server.mjs';

export class Fleet {
  static async start({ nodes = 2, config = {}, apps = [demoApp], ...options } = {}) {
    const fleet = new Fleet();
    [fleet.redis, fleet.postgres] = await Promise.all([Redis.start(), Postgres.start()]);
    const shared = {
      cache: { driver: 'redis' },
      adapter: { driver: 'redis', cluster_health: { heartbeat_interval_ms: 300, node_timeout_ms: 1500, cleanup_interval_ms: 300 } },
      database: { redis: { host: '127.0.0.1', port: fleet.redis.port } },
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
    await Promise.all([this.redis.stop(), this.postgres.stop()]);
  }
}
