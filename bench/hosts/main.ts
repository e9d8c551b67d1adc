/**
 * `npm run bench:hosts [-- --quick] [--write]`: what it costs to run a workflow's code in another process. Steps of many runs at once
 * beside the same in process, and the way from a start without any process to the first step's commit beside the start of the bare
 * interpreter. Modes are interleaved; what is reported are medians.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { startEmbeddedPostgres } from '@centaur/kernel/store/embedded';
import pg from 'pg';
import { type Figures, median } from '../measure.ts';
import { report } from './report.ts';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const REPORT = path.join(HERE, '..', '..', 'docs', 'benchmarks-hosts.md');
const { values: flags } = parseArgs({
  options: { quick: { type: 'boolean', default: false }, write: { type: 'boolean', default: false } },
});
const sizes = flags.quick ? { repeat: 1, runs: 20, steps: 10, samples: 3 } : { repeat: 3, runs: 200, steps: 50, samples: 9 };
const MODES = ['in_process', 'node', 'python', 'node-sandbox', 'python-sandbox'] as const;
const MODE_MS = 900_000;

await using cleanup = new AsyncDisposableStack();
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void cleanup.disposeAsync().finally(() => process.exit(130)));
// sandboxes are users of their own
const folder = mkdtempSync(path.join(os.tmpdir(), 'cb-'));
cleanup.defer(() => rmSync(folder, { recursive: true, force: true }));
const postgres = await startEmbeddedPostgres({ dataDir: path.join(folder, 'postgres') });
cleanup.defer(() => postgres.stop());

const measured = new Map<string, number[]>();
const note = (name: string, value: number): void => {
  measured.set(name, [...(measured.get(name) ?? []), value]);
  console.log(`${name}: ${value.toLocaleString('en', { maximumFractionDigits: 1 })}`);
};

for (let i = 0; i < sizes.repeat; i++) {
  for (const mode of MODES) {
    const figures = await measure(mode, i);
    for (const [name, value] of Object.entries(figures)) note(`${mode}: ${name}`, value);
  }
  note('bare node: start and end, ms', bare(process.execPath, ['-e', '0']));
  note('bare python: start and end, ms', bare(existsSync('/usr/bin/python3') ? '/usr/bin/python3' : 'python3', ['-I', '-c', 'pass']));
}

const text = report(Object.fromEntries([...measured].map(([name, values]) => [name, median(values)])), { quick: flags.quick, ...sizes });
console.log(text);
if (flags.write) writeFileSync(REPORT, text);

async function measure(mode: string, round: number): Promise<Figures> {
  const name = `bench_hosts_${mode.replaceAll('-', '_')}_${round}`;
  const admin = new pg.Client({ connectionString: postgres.url });
  await admin.connect();
  await admin.query(`create database ${name}`);
  await admin.end();
  const url = new URL(postgres.url);
  url.pathname = `/${name}`;
  const place = mkdtempSync(path.join(folder, 'm'));
  const args = [path.join(HERE, 'worker.ts'), mode, url.href, place, String(sizes.runs), String(sizes.steps), String(sizes.samples)];
  const { stdout, stderr, status } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: MODE_MS });
  if (status !== 0) throw new Error(`${mode}: ${stderr}`);
  return JSON.parse(stdout.trim().split('\n').at(-1) as string) as Figures;
}

function bare(command: string, args: readonly string[]): number {
  const times = Array.from({ length: sizes.samples }, () => {
    const began = performance.now();
    spawnSync(command, args, { stdio: 'ignore' });
    return performance.now() - began;
  });
  return median(times);
}
