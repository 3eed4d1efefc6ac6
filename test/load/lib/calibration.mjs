// SPDX-License-Identifier: Apache-2.0
//
// calibration.mjs - the coefficients of the plan. `make calibrate` measures them and writes build/scale/calibration.json; without that
// file those of test/load/calibration.json count, which were measured on a machine that may be unlike yours (the plan says so).
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { BadInput, root } from './options.mjs';
import { loadSchema, violations } from './schema.mjs';
import { SOCKETS_PER_NODE } from './plan.mjs';

export const measuredFile = path.join(root, 'build/scale/calibration.json');
const shippedFile = path.join(root, 'test/load/calibration.json');

export function readCalibration(asked) {
  const file = asked ?? (fs.existsSync(measuredFile) ? measuredFile : shippedFile);
  let calibration;
  try { calibration = JSON.parse(fs.readFileSync(file, 'utf8')); } catch (error) { throw new BadInput(`--calibration ${file}: ${error.message}`); }
  const wrong = violations(loadSchema('calibration.schema.json'), calibration);
  if (wrong.length) throw new BadInput(`--calibration ${file}: ${wrong.join('; ')}`);
  return { ...calibration, file: path.relative(root, file) };
}

/* One machine of the kind the plan counts: this one, unless told otherwise. */
export function machineOf({ machineCores, machineMemoryGiB, machineGbit }) {
  const cores = machineCores ?? os.cpus().length, memoryBytes = machineMemoryGiB ? machineMemoryGiB * 2 ** 30 : os.totalmem();
  // A node process for each core gets something done; more of them only help where sockets are idle. Memory for 19,000 sockets decides.
  return { cores, memoryBytes, networkBytesPerSecond: machineGbit * 1e9 / 8, nodesPerMachine: Math.max(1, Math.floor(memoryBytes * 0.8 / (SOCKETS_PER_NODE * 16384))) };
}
