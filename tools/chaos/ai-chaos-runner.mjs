#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
//
// ai-chaos-runner.mjs - breaks a fleet of real processes and judges what is left (chapter 4, section 11; README.md beside it).
import fs from 'node:fs';
import path from 'node:path';
import { judge } from './lib/oracle.mjs';
import { Loopback, Net, sweep, whyNot } from './lib/net.mjs';
import { PLANTS } from './lib/plants.mjs';
import { Random } from './lib/random.mjs';
import { resultOf, textOf, write } from './lib/report.mjs';
import { Rig } from './lib/rig.mjs';
import { SCENARIOS, SHORT } from './lib/scenarios.mjs';
import { root } from './lib/fleet.mjs';

const USAGE = 64, FAILED = 1;
const say = text => process.stdout.write(`${text}\n`);
class Usage extends Error {}

const HELP = `ai-chaos-runner.sh [all|SCENARIO...] [options]
  scenarios: ${Object.keys(SCENARIOS).join(' ')} (all: every one)
  --seed N        what is broken when; printed with each result (default: by chance)
  --short         less of it; without a scenario: ${SHORT.join(' ')}
  --or-skip       nothing at all where namespaces are not permitted
  --rounds N      all of it N times, each with the next seed (soak)
  --plant NAME    spoils the record of each scenario afterwards: the run must fail. "all": every fault by turns, each must be caught.
                  ${Object.keys(PLANTS).join(' ')}
  --judge FILE    judges a <scenario>.history.json again, and runs nothing
Exit: 0 all held, 1 something did not, 64 what was asked for is not known.
Environment: RESULT_DIR (target/ai-chaos), SOCKUDO_PROGRAM, AI_REDIS_HOST_PORT (Redis' port within its namespace), AI_CHAOS_LOOPBACK=1 (no namespaces).
The reference's other variables (COMPOSE_FILE, SOCKUDO_NODE_URLS and so on) mean nothing here: the fleet is the runner's own.`;

function readArguments(words) {
  const o = { names: [], rounds: 1, seed: 1 + Math.floor(Math.random() * 1e6), short: false, plant: null, judge: null };
  const number = (name, text) => { if (!/^[1-9]\d{0,8}$/.test(text ?? '')) throw new Usage(`${name}: a whole number from 1 is needed, not "${text}"`); return Number(text); };
  for (let i = 0; i < words.length; i++) {
    const w = words[i];
    if (w === '--help') o.help = true;
    else if (w === '--short') o.short = true;
    else if (w === '--or-skip') o.orSkip = true;
    else if (w === '--seed' || w === '--rounds') o[w.slice(2)] = number(w, words[++i]);
    else if (w === '--judge') o.judge = words[++i];
    else if (w === '--plant') o.plant = words[++i];
    else if (w === 'all') o.names.push(...Object.keys(SCENARIOS));
    else if (w in SCENARIOS) o.names.push(w);
    else throw new Usage(w.startsWith('-') ? `${w}: not an option` : `${w}: not a scenario; there are: all ${Object.keys(SCENARIOS).join(' ')}`);
  }
  if (o.plant && o.plant !== 'all' && !(o.plant in PLANTS)) throw new Usage(`--plant ${o.plant}: there are: all ${Object.keys(PLANTS).join(' ')}`);
  if (o.judge && !fs.existsSync(o.judge)) throw new Usage(`--judge ${o.judge}: is not there`);
  if (!o.names.length) o.names = o.short ? SHORT : Object.keys(SCENARIOS);
  return o;
}

/* Judges the record as it is, or spoiled by one plant; "all" tries every plant on a copy. */
function verdict(record, plant) {
  const copy = () => JSON.parse(JSON.stringify(record)), plants = [];
  if (plant === 'all') {
    for (const [name, p] of Object.entries(PLANTS)) {
      const spoiled = copy();
      if (!p.spoil(spoiled, new Random(record.seed))) continue;
      const by = judge(spoiled).filter(c => !c.passed).map(c => c.name);
      plants.push({ name, caughtBy: p.caughtBy, by, caught: by.includes(p.caughtBy) });
    }
  } else if (plant && !PLANTS[plant].spoil(record, new Random(record.seed))) throw new Error(`--plant ${plant}: there is nothing in this record to spoil`);
  return { criteria: judge(record), plants };
}

function conclude(record, o, folder) {
  const { criteria, plants } = verdict(record, o.plant);
  const command = `tools/chaos/ai-chaos-runner.sh ${record.scenario} --seed ${record.seed}${record.short ? ' --short' : ''}`;
  const result = resultOf(record, criteria, plants, command);
  if (!o.judge) write(folder, record, result);
  say(textOf(result));
  return result.status === 'passed';
}

async function runOne(name, seed, o, folder) {
  const scenario = SCENARIOS[name];
  if (scenario.needsLinks && o.why) {
    fs.writeFileSync(path.join(folder, `${name}.json`), `${JSON.stringify({ scenario: name, status: 'skipped', seed, why: o.why }, null, 2)}\n`);
    say(`${name}: skipped, it cuts links: ${o.why}`);
    return true;
  }
  const net = o.why ? new Loopback() : new Net();
  try {
    const rig = new Rig({ name, scenario, net, folder: path.join(folder, name), seed, short: o.short });
    return conclude(await rig.run(), o, folder);
  } catch (error) {
    fs.writeFileSync(path.join(folder, `${name}.json`), `${JSON.stringify({ scenario: name, status: 'failed', seed, error: error.message }, null, 2)}\n`);
    say(`${name}: FAILED, seed ${seed}: ${error.stack}`);
    return false;
  } finally {
    net.remove();
  }
}

async function main() {
  const o = readArguments(process.argv.slice(2)), folder = path.resolve(process.env.RESULT_DIR ?? path.join(root, 'target/ai-chaos'));
  if (o.help) { say(HELP); return 0; }
  if (o.judge) return conclude(JSON.parse(fs.readFileSync(o.judge)), o, folder) ? 0 : FAILED;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => process.exit(130)); // all that we made goes at exit
  sweep();
  o.why = whyNot();
  if (o.why && o.orSkip) { say(`skipped: ${o.why}\n0 passed, 0 failed`); return 0; }
  if (o.why) say(`on loopback: ${o.why}`);
  fs.mkdirSync(folder, { recursive: true });
  const bad = [];
  for (let round = 0; round < o.rounds; round++)
    for (const name of o.names) if (!await runOne(name, o.seed + round, o, folder)) bad.push(`${name} (seed ${o.seed + round})`);
  const all = o.names.length * o.rounds;
  say(`${all - bad.length} passed, ${bad.length} failed`);
  if (bad.length) say(`failed: ${bad.join(', ')}`);
  return bad.length ? FAILED : 0;
}

main().then(code => process.exit(code), error => {
  process.stderr.write(`ai-chaos-runner: ${error instanceof Usage ? error.message : error.stack}\n`);
  process.exit(error instanceof Usage ? USAGE : FAILED);
});
