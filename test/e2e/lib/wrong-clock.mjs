// SPDX-License-Identifier: Apache-2.0
//
// wrong-clock.mjs - a server whose wall clock is wrong, and jumps (tools/chaos/shim.c is preloaded into it).
//
//    const clock = new WrongClock(3600)                                   an hour ahead; negative: behind
//    const server = await clock.start({ config })                         as Server.start(); Api signs by that clock
//    clock.jump(server, -7200)
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { releaseProgram, root, Server } from './server.mjs';

const shim = 'build/release/chaos-shim.so';

export class WrongClock {
  constructor(aheadSeconds) {
    execFileSync('make', ['-s', shim], { cwd: root });
    this.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'sockudo-clock-'));
    this.file = path.join(this.folder, 'faults');
    this.set(aheadSeconds);
  }

  /* In place: the server has the file mapped. */
  set(aheadSeconds) {
    const bytes = Buffer.alloc(16), fd = fs.openSync(this.file, fs.existsSync(this.file) ? 'r+' : 'w');
    bytes.writeBigInt64LE(BigInt(aheadSeconds * 1000));
    fs.writeSync(fd, bytes, 0, 16, 0);
    fs.closeSync(fd);
    this.aheadSeconds = aheadSeconds;
  }

  /* The shim must come before any other library, so not with a sanitizer. */
  async start(options) {
    const server = await Server.start({ ...options, use: releaseProgram, env: { ...options.env, LD_PRELOAD: path.join(root, shim), CHAOS_FAULTS: this.file } });
    server.aheadSeconds = this.aheadSeconds;
    return server;
  }

  jump(server, aheadSeconds) {
    this.set(aheadSeconds);
    server.aheadSeconds = aheadSeconds;
  }

  remove() { fs.rmSync(this.folder, { recursive: true, force: true }); }
}
