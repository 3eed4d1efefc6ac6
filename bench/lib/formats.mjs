// formats.mjs - what the binary wire formats cost beside JSON.
// SPDX-License-Identifier: Apache-2.0
import { SERVER_CORE, median, programs, runJson } from './tools.mjs';
import { round } from './report.mjs';

const FORMATS = ['json', 'msgpack', 'protobuf', 'protobuf_older'];

export async function formats(report, o) {
    report.line('\n## Wire formats: one append frame, one client event');
    report.line('\n"Written": JSON is encoded, the others are converted from it, once per shard, format and append mode whatever ' +
        'the number of subscribers. "Read": a client event with the same text.');
    const rows = [];
    for (const bytes of [40, 4000]) {
        const runs = [];
        for (let i = 0; i < o.rounds; i++)
            runs.push(runJson(SERVER_CORE, [`${programs}/formats`, String(bytes), '0.5']));
        const of = (format, what) => median(runs.map((r) => r[format][what]));
        for (const format of FORMATS)
            rows.push([bytes, format, of(format, 'frame_bytes'), round(of(format, 'write_us')), round(of(format, 'read_us'))]);
    }
    report.table(['text bytes', 'format', 'frame bytes', 'written, µs CPU', 'read, µs CPU'], rows);
}
