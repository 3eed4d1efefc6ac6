// report.mjs - lines to stdout and to a file, and the list of goals at the end.
// SPDX-License-Identifier: Apache-2.0
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import os from 'node:os';

export class Report {
    constructor(file) {
        this.file = file;
        this.rows = [];
        writeFileSync(file, '');
    }

    line(text) {
        console.log(text);
        appendFileSync(this.file, `${text}\n`);
    }

    table(head, rows) {
        this.line(`\n| ${head.join(' | ')} |\n|${head.map(() => ' --- |').join('')}`);
        for (const row of rows) this.line(`| ${row.join(' | ')} |`);
    }

    /** atMost or atLeast: the limit. */
    goal(what, measured, { atMost, atLeast, unit = '' }) {
        const reached = atMost !== undefined ? measured <= atMost : measured >= atLeast;
        const limit = atMost !== undefined ? `≤ ${atMost}` : `≥ ${atLeast}`;
        this.rows.push([what, `${limit}${unit}`, `${round(measured)}${unit}`, reached ? 'yes' : '**no**']);
    }

    goals() {
        if (this.rows.length === 0) return;
        this.line('\n## Goals');
        this.table(['goal', 'wanted', 'measured', 'reached'], this.rows);
    }
}

export function round(value) {
    if (!Number.isFinite(value)) return '–';
    const size = Math.abs(value);
    return size >= 1000 ? Math.round(value).toLocaleString('en-US') : size >= 100 ? value.toFixed(0)
        : size >= 10 ? value.toFixed(1) : size >= 1 ? value.toFixed(2) : value.toFixed(3);
}

const firstLine = (command, ...args) =>
    (spawnSync(command, args, { encoding: 'utf8' }).stdout ?? '').split('\n')[0].trim();

export function machine(o) {
    const model = /model name\s*:\s*(.*)/.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? '?';
    return [
        `- ${new Date().toISOString().slice(0, 16)}Z, commit ${firstLine('git', 'rev-parse', '--short', 'HEAD')}`,
        `- ${os.cpus().length} × ${model}, ${Math.round(os.totalmem() / 2 ** 30)} GiB, Linux ${os.release()}`,
        `- load average before: ${os.loadavg().map((l) => l.toFixed(2)).join(' ')}`,
        `- server on core 0, load on core 1, both at nice -20; medians of ${o.rounds} interleaved rounds of ${o.seconds} s${o.quick ? ' (--quick)' : ''}`,
    ].join('\n');
}
