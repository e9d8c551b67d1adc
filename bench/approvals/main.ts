/**
 * `npm run bench:approvals [-- --quick] [--write]`: what a governed call of a tool costs over an ungoverned one, and how soon a call is made
 * once people have approved it. `--write` keeps the figures in docs/benchmarks-approvals.md.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { startEmbeddedPostgres } from '@centaur/kernel/store/embedded';
import { type Figures, measureApprovals } from './calls.ts';

const REPORT = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', '..', 'docs', 'benchmarks-approvals.md');
const { values } = parseArgs({ options: { quick: { type: 'boolean', default: false }, write: { type: 'boolean', default: false } } });
const CALLS = values.quick ? 20 : 1000;

const folder = mkdtempSync(path.join(os.tmpdir(), 'cb-approvals-'));
const postgres = await startEmbeddedPostgres({ dataDir: path.join(folder, 'postgres'), throwaway: true });
process.env['TEST_DATABASE_URL'] = postgres.url;
let text: string;
try {
  text = report(await measureApprovals(CALLS));
} finally {
  await postgres.stop();
  rmSync(folder, { recursive: true, force: true });
}
console.log(text);
if (values.write) writeFileSync(REPORT, text);

function report(figures: readonly Figures[]): string {
  const ms = (value: number) => value.toFixed(value < 10 ? 2 : 0);
  const p50 = (part: string) => figures.find(({ name }) => name.includes(part))?.p50 ?? Number.NaN;
  const goals: readonly (readonly [string, number, number])[] = [
    ['a governed call that writes, over an ungoverned one: p50 ms', 2, p50('writes, governed') - p50('ungoverned')],
    ['from the last vote to the call being made: p50 ms', 20, p50('last vote')],
  ];
  return [
    '# Benchmarks of approvals',
    '',
    `\`npm run bench:approvals\`, on ${os.availableParallelism()} processors with Postgres on the same machine; ${CALLS} calls of each kind, one after the other, and half`,
    'as many that wait for two people. The tool is a function in the same process: what is measured is the governing alone.',
    '',
    '| | asked | measured | |',
    '| --- | --- | --- | --- |',
    ...goals.map(([what, most, found]) => `| ${what} | ≤ ${most} | **${ms(found)}** | ${found <= most ? 'met' : '**not met**'} |`),
    '',
    '| a call | p50 ms | p99 ms |',
    '| --- | --- | --- |',
    ...figures.map((each) => `| ${each.name} | ${ms(each.p50)} | ${ms(each.p99)} |`),
    '',
    'From the vote to the call are the vote’s own transaction (lock, vote, count, two audit entries, decision), the notification, the look at what was',
    'given, the policy once more, and the transaction that uses the approval together with the intent.',
    '',
  ].join('\n');
}
