/** The figures as a page of Markdown. */
import os from 'node:os';

export type Figures = ReadonlyMap<string, number>;

export function report(figures: Figures, about: { readonly repeat: number; readonly clients: number; readonly starts: number }): string {
  const show = (name: string, digits = 0) => {
    const value = figures.get(name);
    return value === undefined ? '–' : value.toLocaleString('en', { maximumFractionDigits: digits, minimumFractionDigits: digits });
  };
  const rows: readonly (readonly [what: string, asked: string, name: string, digits: number, met: (value: number) => boolean])[] = [
    ['appended, 20 to a batch: events/s of one core', '≥ 30,000', 'append/s per core', 0, (value) => value >= 30_000],
    ['replayed to a reader in the process: events/s', '≥ 100,000', 'replay/s', 0, (value) => value >= 100_000],
    ['an event, from a turn to a client: p50 ms', '≤ 10', 'event to client p50 ms', 2, (value) => value <= 10],
    [`memory of each of ${about.clients} readers of one thread: KB`, 'flat', 'crowd: KB per reader', 0, (value) => value <= 100],
    ['message accepted to harness input, warm: p50 ms', '≤ 50', 'warm input ms', 1, (value) => value <= 50],
    ['message accepted to harness input, cold: p50 ms', '≤ 400', 'cold input ms', 1, (value) => value <= 400],
    ['first command in a fresh sandbox: p50 ms', '≤ 60', 'cold exec ms', 1, (value) => value <= 60],
    ['a command in a running sandbox: p50 ms', '≤ 5', 'warm exec ms', 1, (value) => value <= 5],
    ['memory of an idle sandbox: MB', '≤ 10', 'idle sandbox MB', 1, (value) => value <= 10],
  ];
  const ratio = (name: string, floor: string) => {
    const [value, least] = [figures.get(name), figures.get(floor)];
    return value === undefined || least === undefined ? '–' : (value / least).toLocaleString('en', { maximumFractionDigits: 2 });
  };
  const floors: readonly (readonly [what: string, name: string, floor: string, digits: number])[] = [
    ['events/s appended : rows inserted in the same batches, on 8 connections', 'append/s', 'floor: rows inserted/s', 0],
    ['events/s replayed : rows read in pages, and thrown away', 'replay/s', 'floor: rows read/s', 0],
    [
      'ms from a turn to a client : from a commit to a listener that reads the row',
      'event to client p50 ms',
      'floor: row to listener ms',
      2,
    ],
    ['ms for the first command in a fresh sandbox : for Node to start and end', 'cold exec ms', 'floor: Node ms', 1],
    ['ms for a command in a running sandbox : for a process to start and end', 'warm exec ms', 'floor: process ms', 1],
    ['MB of an idle sandbox : of an idle Node', 'idle sandbox MB', 'floor: idle Node MB', 1],
  ];
  return `# Benchmarks of threads

Written by \`npm run bench:threads\`: medians of ${about.repeat}. ${os.cpus().length} cores, ${os.cpus()[0]?.model.trim()}, Node ${process.versions.node}.
Clients, platform and Postgres share the machine. Machines differ: read the figures beside one another.

| | asked | reached | |
| --- | --- | --- | --- |
${rows.map(([what, asked, name, digits, met]) => `| ${what} | ${asked} | **${show(name, digits)}** | ${figures.has(name) ? (met(figures.get(name) as number) ? 'met' : '**not met**') : 'not measured'} |`).join('\n')}

| besides | |
| --- | --- |
| appended, all of the machine: events/s | ${show('append/s')} |
| replayed over HTTP, to a client that checks every id: events/s | ${show('replay/s over HTTP')} |
| an event, from a turn to a client: p99 ms | ${show('event to client p99 ms', 2)} |
| ${about.clients} readers of one thread: deliveries/s | ${show('crowd: deliveries/s')} |
| ${about.clients} readers of one thread, 50 events/s: p50 ms | ${show('crowd: p50 ms', 2)} |

## Beside the floor

What the same costs without the platform, in the same run.

| | platform | floor | ratio |
| --- | --- | --- | --- |
${floors.map(([what, name, floor, digits]) => `| ${what} | ${show(name, digits)} | ${show(floor, digits)} | ${ratio(name, floor)} |`).join('\n')}

## What is measured

An event is a delta of some words, committed in Postgres before anybody sees it. Of appending, the processor time of the
platform's process is counted, not that of Postgres. A reader in the process gets the bytes that are sent to clients. The
harness is the \`demo\` one, in a sandbox of its own, over ${about.starts} turns; its input is there when the journal of its sandbox has it.
`;
}
