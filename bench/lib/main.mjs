// main.mjs - which pieces to run, and the report.
// SPDX-License-Identifier: Apache-2.0
import { mkdirSync } from 'node:fs';
import { bench, build, endAll, rounds, workDir } from './tools.mjs';
import { Report, machine } from './report.mjs';
import { append } from './append.mjs';
import { accumulated } from './accumulated.mjs';
import { fanout } from './fanout.mjs';
import { formats } from './formats.mjs';
import { idle } from './idle.mjs';
import { peers } from './peers.mjs';
import { resume } from './resume.mjs';
import { start } from './start.mjs';
import { stream } from './stream.mjs';
import { streams } from './streams.mjs';

const pieces = { fanout, append, stream, accumulated, formats, resume, idle, start, streams, peers };

function usage() {
    console.log(`usage: bench/run [--quick] [--rounds N] [piece...]

pieces  fanout       deliveries per CPU-second against a bare send() loop, and their latency
        append       durable appends against the sum of their unavoidable parts
        stream       streaming append against one signed request per token
        accumulated  an append to a long message against one to a short message
        formats      what converting to and reading MessagePack and Protobuf costs
        resume       connections that are cut off at once and come back, from memory and from the store
        idle         memory and wake-ups of idle connections
        start        spawn to first accepted connection, empty and with a million fragments
        streams      20,000 open streams on one core, 100,000 idle ones
        peers        the same fan-out by ws, nginx + nchan and Centrifugo

--quick shortens everything to about four minutes; the figures are then only a first look.
The server under test is on core 0, the load on core 1. The report is build/bench/report.md as well.`);
}

function options(args) {
    const o = { quick: false, rounds: 0, pieces: [] };
    for (let i = 0; i < args.length; i++) {
        if (args[i] === '--quick') o.quick = true;
        else if (args[i] === '--rounds') o.rounds = Number(args[++i]);
        else if (args[i] in pieces) o.pieces.push(args[i]);
        else if (args[i] === '--help') { usage(); process.exit(0); }
        else { usage(); process.exit(2); }
    }
    if (o.pieces.length === 0) o.pieces = Object.keys(pieces);
    o.rounds ||= o.quick ? 2 : 5;
    o.seconds = o.quick ? 2 : 3;
    if (o.quick) rounds.tries = 2;
    return o;
}

const o = options(process.argv.slice(2));
mkdirSync(workDir, { recursive: true });
process.on('exit', endAll);
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130));

build();
const report = new Report(`${bench}/report.md`);
report.line(`# Benchmark report\n\n${machine(o)}`);
let failed = 0;
for (const name of o.pieces) {
    const begun = Date.now();
    try {
        await pieces[name](report, o);
    } catch (error) {
        failed++;
        report.line(`\n**${name}: could not be measured: ${error.message}**`);
        console.error(error.stack);
    }
    endAll();
    console.error(`(${name}: ${((Date.now() - begun) / 1000).toFixed(0)} s)`);
}
report.goals();
report.line(`\nOf ${rounds.all} rounds, ${rounds.disturbed} were disturbed: other processes, or the host of this virtual ` +
    `machine, took more than a tenth of a core each time it was tried (at most ${rounds.others.toFixed(2)} cores).`);
process.exit(failed ? 1 : 0);
