/**
 * `npm run bench:tools [-- --quick] [--write]`: what a call of a tool takes, and how long many tools take to be found. `--write` keeps the
 * figures in docs/benchmarks-tools.md.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { startEmbeddedPostgres } from '@centaur/kernel/store/embedded';
import { median } from '../measure.ts';
import { type CallFigures, measureCalls } from './calls.ts';
import { type Discovery, measureDiscovery } from './discover.ts';

const REPORT = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', '..', 'docs', 'benchmarks-tools.md');
const { values } = parseArgs({ options: { quick: { type: 'boolean', default: false }, write: { type: 'boolean', default: false } } });
const SIZE = values.quick ? { calls: 10, tools: 20, workflows: 5, repeat: 1 } : { calls: 500, tools: 500, workflows: 100, repeat: 3 };

const NAMES: Readonly<Record<Discovery['languages'], string>> = {
  node: 'TypeScript',
  python: 'Python',
  both: 'both, one half each',
  'with workflows': `both, and ${SIZE.workflows} workflows`,
};

const folder = mkdtempSync(path.join(os.tmpdir(), 'cb-tools-'));
const postgres = await startEmbeddedPostgres({ dataDir: path.join(folder, 'postgres'), throwaway: true });
process.env['TEST_DATABASE_URL'] = postgres.url;
let text: string;
try {
  const calls = await measureCalls(SIZE.calls);
  text = report(calls, await measureDiscovery(SIZE.tools, SIZE.workflows, SIZE.repeat));
} finally {
  await postgres.stop();
  rmSync(folder, { recursive: true, force: true });
}
console.log(text);
if (values.write) writeFileSync(REPORT, text);

function report(calls: readonly CallFigures[], discoveries: readonly Discovery[]): string {
  const ms = (value: number) => value.toFixed(value < 10 ? 1 : 0);
  const p50 = (name: string) => calls.find((each) => each.name === name)?.p50 ?? Number.NaN;
  const all = discoveries.find(({ languages }) => languages === 'with workflows');
  const goals: readonly (readonly [string, number, number])[] = [
    ['a call, over calling the function directly: p50 ms', 5, p50('a method that writes')],
    [`${SIZE.tools} tools and ${SIZE.workflows} workflows, found and asked with nothing known: ms`, 1000, median(all?.cold ?? [])],
    ['the same after a restart: ms', 1000, median(all?.restarted ?? [])],
    ['a changed file in service: ms', 500, median(all?.changed ?? [])],
  ];
  return [
    '# Benchmarks of tools',
    '',
    `\`npm run bench:tools\`, on ${os.availableParallelism()} processors with everything on the same machine: Postgres, firewall, sandboxes and the caller.`,
    `${SIZE.calls} calls of each kind one after the other, in one process in a sandbox; ${SIZE.tools} tools, medians of ${SIZE.repeat}.`,
    '',
    '| | asked | measured | |',
    '| --- | --- | --- | --- |',
    ...goals.map(([what, most, found]) => `| ${what} | ≤ ${most} | **${ms(found)}** | ${found <= most ? 'met' : '**not met**'} |`),
    '',
    '| a call | p50 ms | p99 ms |',
    '| --- | --- | --- |',
    ...calls.map((each) => `| ${each.name} | ${ms(each.p50)} | ${ms(each.p99)} |`),
    '',
    `| ${SIZE.tools} tools in | with nothing known ms | after a restart ms | a changed file in service ms |`,
    '| --- | --- | --- | --- |',
    ...discoveries.map(
      ({ languages, cold, restarted, changed }) =>
        `| ${NAMES[languages]} | ${[cold, restarted, changed].map((each) => ms(median(each))).join(' | ')} |`,
    ),
    '',
    'A call that writes is committed to the audit log before the tool is asked; under a key, also the row by which a repeat finds its answer. That is one and two commits; the first line of the second table is what one takes here. A function that is called directly takes no time that could be measured.',
    '',
  ].join('\n');
}
