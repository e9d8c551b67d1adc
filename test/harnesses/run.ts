/**
 * `npm run test:harnesses`: the conformance scenarios on the real CLIs, installed at pinned versions, against the scripted
 * model server and through our codecs. No account, and no network but the installation's. Prints a table, and exits with 1
 * when a scenario fails.
 *
 *   node test/harnesses/run.ts [claude] [codex] [pi] [--only WORDS] [--record FOLDER] [--platform]
 *
 * Then the same CLIs as the platform runs them, in sandboxes and behind the firewall; --platform does that alone.
 * --record writes what went back and forth as NDJSON, one file per scenario: raw material for samples.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Driven, Installed } from './drive.ts';
import { REAL, findCli, installClis } from './install.ts';
import { runOnPlatform } from './platform.ts';
import { SCENARIOS, createLab, type Scenario } from './scenarios.ts';

/** Whatever hangs, the run ends. */
const LONGEST_MS = 20 * 60_000;

const { values, positionals } = parseArgs({
  options: { only: { type: 'string' }, record: { type: 'string' }, platform: { type: 'boolean' } },
  allowPositionals: true,
});
const kinds = REAL.filter((kind) => positionals.length === 0 || positionals.includes(kind));
if (kinds.length === 0) throw new Error(`There is no harness of this name; there are ${REAL.join(', ')}.`);
const scenarios = SCENARIOS.filter(({ name }) => name.includes(values.only ?? ''));

installClis(kinds);
const watchdog = setTimeout(() => {
  console.error(`gave up after ${LONGEST_MS / 60_000} minutes`);
  process.exit(1);
}, LONGEST_MS);
const results = values.platform === true ? [] : await Promise.all(kinds.map((kind) => runAll(findCli(kind))));
const onPlatform = values.only === undefined ? await runOnPlatform(kinds) : [];
clearTimeout(watchdog);
if (results.length > 0) print(results);
const failures = [...results.flat(), ...onPlatform].filter(({ failure }) => failure !== undefined);
process.exit(failures.length === 0 ? 0 : 1);

interface Result {
  readonly cell: string;
  readonly failure?: string;
}

/** One after the other: they share a machine with the other two CLIs. */
async function runAll(cli: Installed): Promise<Result[]> {
  const column: Result[] = [];
  for (const scenario of scenarios) {
    const result = await runOne(cli, scenario);
    column.push(result);
    console.log(`${cli.kind}: ${scenario.name}: ${result.cell}${result.failure === undefined ? '' : `\n${result.failure}`}`);
  }
  return column;
}

async function runOne(cli: Installed, scenario: Scenario): Promise<Result> {
  const reason = scenario.skip?.(cli.kind);
  if (reason !== undefined) return { cell: `– ${reason}` };
  const began = performance.now();
  const lab = await createLab(cli);
  const started: Driven[] = [];
  const start: typeof lab.start = async (...about) => {
    const driven = await lab.start(...about);
    started.push(driven);
    return driven;
  };
  const failures: string[] = [];
  const note = (error: Error): void => void failures.push(error.message);
  await scenario.run({ ...lab, start }).catch(note);
  await lab.close().catch(note);
  if (values.record !== undefined) keep(values.record, `${cli.kind}-${scenario.name}`, started);
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  return failures.length === 0 ? { cell: `ok ${seconds} s` } : { cell: `FAILED ${seconds} s`, failure: failures.join('\n') };
}

function keep(folder: string, name: string, started: readonly Driven[]): void {
  mkdirSync(folder, { recursive: true });
  for (const [index, { record }] of started.entries()) {
    const file = `${name.replaceAll(/\W+/g, '-')}${index === 0 ? '' : `-${index + 1}`}.ndjson`;
    writeFileSync(join(folder, file), record.map((entry) => `${JSON.stringify(entry)}\n`).join(''));
  }
}

function print(columns: readonly (readonly Result[])[]): void {
  const rows = [['', ...kinds], ...scenarios.map(({ name }, index) => [name, ...columns.map((column) => column[index]?.cell ?? '')])];
  const widths = rows[0]?.map((_, place) => Math.max(...rows.map((row) => row[place]?.length ?? 0))) ?? [];
  for (const row of rows)
    console.log(
      row
        .map((cell, place) => cell.padEnd(widths[place] ?? 0))
        .join('  ')
        .trimEnd(),
    );
}
