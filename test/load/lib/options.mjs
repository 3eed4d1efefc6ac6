// SPDX-License-Identifier: Apache-2.0
//
// options.mjs - what a run shall do. A flag beats the environment, that beats the profile, that beats the default.
//
//    const { run, profile } = readOptions(process.argv.slice(2), process.env)
//
// Whatever is wrong is one BadInput that names the flag or the field.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadSchema, violations } from './schema.mjs';

export class BadInput extends Error {}
export const root = fileURLToPath(new URL('../../..', import.meta.url));

export const PROFILE_DEFAULTS = {
  tokenBytes: 8, cancelProbability: 0, reconnectProbability: 0, historyOnJoinProbability: 0, dropFraction: 0, resumeWithinSeconds: 60,
  cancelCount: 0, sampleTranscriptCount: 0, rollupWindowMs: 40, unrolledFraction: 0.2, fullFraction: 0, maxNodeRestarts: 0, rampPerSecond: 0, loadGenerators: 1,
  requestTimeoutMs: 30000, clientClockSkewMs: 0, maxAppendDeliveryP99Ms: 25, maxScheduleLagP99Ms: 5, maxAgentCpuPercent: 80, maxMachineBusyPercent: 95,
  maxMemorySlopePercentPerHour: 1, memoryAllowanceMiB: 64, maxLostConnections: 0, minAppendsPerTransaction: 0, maxWalBytesPerAppend: 0,
  maxBusBytesPerFrame: 0, planOnly: false, requiresFleet: false,
};

const SWITCHES = ['plan', 'execute', 'verbose', 'help'];
const RUN = {
  profile: 'file with the workload', plan: 'only compute', execute: 'run, even a profile that is planOnly', output: 'file for the result; plots and report lie beside it',
  runId: 'part of channel names', verbose: 'more progress', urls: 'nodes, separated by commas', metricsUrls: 'their metrics, in the same order',
  appId: '', key: '', secret: '', channelPrefix: '', name: 'instead of the profile\'s',
  agents: 'agents that wait elsewhere (sockudo-load agent --listen), address:port,...; default: processes here',
  agentProgram: 'the load program', seed: 'of texts and chances', scale: 'factor on connections, sessions, streams and cancels',
  placement: 'any (default), or node-local: a session\'s publisher and subscribers at one node, for nodes that share no store and bus',
  plant: 'negative control: drop, reorder, delay or leak', calibration: 'file with coefficients',
  postgresUrl: 'postgres://user@host:port/database of the nodes: what a run writes there is measured', redisUrl: 'redis://:password@host:port, the same',
  alertRules: 'file of alert rules: a Prometheus of our own watches the nodes by them, and whatever fires fails the run',
  machineCores: 'for the plan', machineMemoryGiB: 'for the plan', machineGbit: 'for the plan', drainMs: 'wait for late frames at the end', agentSilenceMs: 'an agent that says nothing for so long has died',
  command: 'how this run was started, for the report', help: 'this',
};
const NUMERIC = ['logicalConnections', 'sessions', 'activeStreams', 'durationSeconds', 'tokensPerSecond', 'meanResponseTokens', 'tokenBytes', 'cancelProbability',
  'reconnectProbability', 'historyOnJoinProbability', 'sampleTranscriptCount', 'maxAppendDeliveryP99Ms', 'requestTimeoutMs', 'clientClockSkewMs', 'loadGenerators',
  'subscribersMin', 'subscribersMax', 'dropFraction', 'resumeWithinSeconds', 'cancelCount', 'rollupWindowMs', 'unrolledFraction', 'fullFraction', 'maxNodeRestarts', 'rampPerSecond',
  'maxScheduleLagP99Ms', 'maxAgentCpuPercent', 'maxMachineBusyPercent', 'maxMemorySlopePercentPerHour', 'memoryAllowanceMiB', 'maxLostConnections', 'maxUnrolledDeliveryP99Ms', 'minAppendsPerTransaction',
  'maxWalBytesPerAppend', 'maxBusBytesPerFrame'];
const ALIASES = { duration: 'durationSeconds' };
const ENVIRONMENT = { urls: 'SOCKUDO_NODE_URLS', metricsUrls: 'SOCKUDO_METRICS_URLS', appId: 'SOCKUDO_APP_ID', key: 'SOCKUDO_APP_KEY', secret: 'SOCKUDO_APP_SECRET', postgresUrl: 'SOCKUDO_POSTGRES_URL', redisUrl: 'SOCKUDO_REDIS_URL' };
const DEFAULTS = {
  profile: path.join(root, 'test/load/profiles/smoke.json'), urls: [6001, 6002, 6003].map(p => `http://127.0.0.1:${p}`).join(','),
  metricsUrls: [9601, 9602, 9603].map(p => `http://127.0.0.1:${p}/metrics`).join(','), appId: 'app-id', key: 'app-key', secret: 'app-secret',
  channelPrefix: 'private-ai-scale', placement: 'any', plant: 'none', agents: '', agentProgram: path.join(root, 'build/release/sockudo-load'), scale: '1', drainMs: '1500', agentSilenceMs: '30000',
  machineGbit: '10',
};

export const helpText = () => ['usage: node test/load/ai-scale-runner.mjs [--flag value]...',
  ...Object.entries(RUN).map(([name, what]) => `  --${name.padEnd(18)} ${what}`), `  numbers of the profile: ${NUMERIC.map(n => `--${n}`).join(' ')}`].join('\n');

function number(name, text) {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new BadInput(`--${name}: ${JSON.stringify(text)} is no number`);
  return value;
}

function readFlags(args) {
  const flags = {};
  for (let i = 0; i < args.length; i++) {
    const given = args[i].startsWith('--') ? args[i].slice(2) : null;
    const [name, inline] = (given ?? '').split(/=(.*)/s);
    const flag = ALIASES[name] ?? name;
    if (given === null || !(flag in RUN || NUMERIC.includes(flag))) throw new BadInput(`${args[i]}: unknown flag (--help lists them)`);
    if (SWITCHES.includes(flag)) {
      flags[flag] = inline === undefined ? !['false', 'true'].includes(args[i + 1]) || args[++i] === 'true' : inline !== 'false';
      continue;
    }
    flags[flag] = inline ?? args[++i];
    if (flags[flag] === undefined) throw new BadInput(`--${name}: a value is missing`);
  }
  return flags;
}

function readProfile(file) {
  let text;
  try { text = fs.readFileSync(file, 'utf8'); } catch (error) { throw new BadInput(`--profile ${file}: cannot be read (${error.code})`); }
  let profile;
  try { profile = JSON.parse(text); } catch (error) { throw new BadInput(`--profile ${file}: ${error.message}`); }
  const wrong = violations(loadSchema('profile.schema.json'), profile);
  if (wrong.length) throw new BadInput(`--profile ${file}: ${wrong.join('; ')}`);
  return profile;
}

function override(profile, flags) {
  const all = { ...PROFILE_DEFAULTS, ...profile, subscribersPerSession: { ...profile.subscribersPerSession } };
  for (const name of NUMERIC.filter(n => n in flags)) {
    const value = number(name, flags[name]);
    if (name === 'subscribersMin') all.subscribersPerSession.min = value;
    else if (name === 'subscribersMax') all.subscribersPerSession.max = value;
    else all[name] = value;
  }
  if (flags.name !== undefined) all.name = flags.name;
  return all;
}

const scaled = (profile, factor) => ({ ...profile,
  ...Object.fromEntries(['logicalConnections', 'sessions', 'activeStreams'].map(k => [k, Math.max(1, Math.round(profile[k] * factor))])), cancelCount: Math.round(profile.cancelCount * factor) });

function checkSums(p) {
  const { min, max } = p.subscribersPerSession;
  if (min > max) throw new BadInput(`subscribersPerSession.min: ${min} is more than max ${max}`);
  if (p.activeStreams > p.sessions) throw new BadInput(`activeStreams: ${p.activeStreams} are more than the ${p.sessions} sessions`);
  if (p.sessions * min > p.logicalConnections) throw new BadInput(`logicalConnections: ${p.logicalConnections} are fewer than the ${p.sessions * min} subscribers that ${p.sessions} sessions have at least`);
}

function urlsOf(flag, text) {
  const list = text.split(',').map(t => t.trim()).filter(Boolean);
  if (list.length === 0) throw new BadInput(`--${flag}: is empty`);
  for (const one of list) {
    let url;
    try { url = new URL(one); } catch { throw new BadInput(`--${flag}: ${one} is no URL`); }
    if (url.protocol !== 'http:') throw new BadInput(`--${flag}: ${one}: only http: is spoken here`);
  }
  return list;
}

function checkRun(run) {
  const among = (name, words) => { if (!words.includes(run[name])) throw new BadInput(`--${name}: ${run[name]} is none of ${words.join(', ')}`); };
  among('placement', ['any', 'node-local']);
  among('plant', ['none', 'drop', 'reorder', 'delay', 'leak']);
  run.urls = urlsOf('urls', run.urls);
  run.metricsUrls = urlsOf('metricsUrls', run.metricsUrls).map(u => (new URL(u).pathname === '/' ? new URL('/metrics', u).href : u));
  run.agents = run.agents.split(',').map(t => t.trim()).filter(Boolean);
  for (const address of run.agents) if (!/^[\w.-]+:\d+$/.test(address)) throw new BadInput(`--agents: ${address} is no address:port`);
  for (const name of ['scale', 'drainMs', 'agentSilenceMs', 'machineCores', 'machineMemoryGiB', 'machineGbit', 'seed']) {
    if (run[name] === undefined) continue;
    run[name] = number(name, run[name]);
    if (run[name] < 0 || (name !== 'drainMs' && name !== 'seed' && run[name] === 0)) throw new BadInput(`--${name}: ${run[name]} is not positive`);
  }
  if (!/^[\w-]+$/.test(run.runId)) throw new BadInput(`--runId: ${run.runId}: letters, digits, - and _ only`);
}

export function readOptions(args, environment = process.env) {
  const flags = readFlags(args);
  if (flags.help) return { help: true };
  const fromEnvironment = Object.fromEntries(Object.entries(ENVIRONMENT).filter(([, v]) => environment[v]).map(([k, v]) => [k, environment[v]]));
  const run = { runId: `${Date.now().toString(36)}${process.pid.toString(36)}`, ...DEFAULTS, ...fromEnvironment,
    ...Object.fromEntries(Object.entries(flags).filter(([name]) => name in RUN)) };
  run.urlsGiven = Boolean(flags.urls ?? fromEnvironment.urls);
  checkRun(run);
  // A user's relative path is relative to where he stands; one that is not there may be meant from the repository's root.
  const file = fs.existsSync(run.profile) ? run.profile : path.join(root, run.profile);
  const asked = override(readProfile(file), flags);
  const profile = scaled(asked, run.scale);
  const wrong = violations(loadSchema('profile.schema.json'), profile);
  if (wrong.length) throw new BadInput(wrong.join('; '));
  checkSums(profile);
  run.planning = Boolean(run.plan) || (profile.planOnly && !run.execute);
  run.seed ??= [...run.runId].reduce((hash, c) => (hash * 31 + c.charCodeAt(0)) >>> 0, 7);
  return { run, profile };
}
