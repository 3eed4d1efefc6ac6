// SPDX-License-Identifier: Apache-2.0
//
// postgres.mjs - a PostgreSQL of one's own for a test file (tools/postgres): a free port, a folder that goes away.
//
//    const postgres = await Postgres.start()
//    const server = await Server.start({ config: postgres.config() })      two servers with one config() share the tables
//    await postgres.kill(); await postgres.restart()                       kill -9; what was committed is there afterwards
//    await postgres.freeze(); await postgres.thaw()                        hangs, connections and all; goes on
//    await postgres.sql('SELECT count(*) FROM sockudo_history_log')
//    await postgres.stop()
import { execFile, execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after } from 'node:test';
import { promisify } from 'node:util';
import { root } from './server.mjs';

const tool = path.join(root, 'tools/postgres');
const run = promisify(execFile);
const running = new Set();
/* What a failed test leaves running must not outlive its file. */
after(() => { for (const dir of running) execFileSync(tool, ['kill', dir]); });

export class Postgres {
  static async start() {
    const postgres = new Postgres();
    postgres.dir = fs.mkdtempSync(path.join(os.tmpdir(), 'sockudo-postgres-'));
    await postgres.restart();
    return postgres;
  }

  /* Part of a server's configuration; prefix: other tables in the same database. */
  config(prefix = 'sockudo_history') {
    return {
      history: { enabled: true, backend: 'postgres', postgres: { table_prefix: prefix } },
      versioned_messages: { enabled: true, driver: 'postgres' },
      database: { postgres: { host: '127.0.0.1', port: this.port, username: 'sockudo', password: 'any', database: 'sockudo' } },
    };
  }

  async restart() {
    running.add(this.dir);
    this.port = Number((await run(tool, ['start', this.dir])).stdout);
  }

  async kill() {
    await run(tool, ['kill', this.dir]);
    running.delete(this.dir);
  }

  freeze() { return run(tool, ['freeze', this.dir]); }
  thaw() { return run(tool, ['thaw', this.dir]); }

  async sql(text) { return (await run(tool, ['sql', this.dir, text])).stdout.trim(); }

  async stop() {
    if (running.has(this.dir)) await run(tool, ['stop', this.dir]);
    running.delete(this.dir);
    fs.rmSync(this.dir, { recursive: true, force: true });
  }
}
