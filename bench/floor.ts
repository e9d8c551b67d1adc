/** What the machine and Postgres alone can do, without an engine: the ratios in the report are held against it. */
import { spawn } from 'node:child_process';
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { existsSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { deferred, type Figures, median, quantile } from './measure.ts';

const TABLE =
  'create table if not exists floor_rows (id uuid default gen_random_uuid(), seq int, name text, value json, primary key (id, seq))';
const INSERT = `insert into floor_rows (seq, name, value) values (1, 'step', '{"i":1}')`;

/** Single-row inserts, each its own commit, by pgbench with 1, 8 or 32 clients. */
export async function commits(url: string, clients: number, seconds: number): Promise<Figures> {
  await withTable(url, async () => undefined);
  const folder = mkdtempSync(path.join(os.tmpdir(), 'centaur-bench-'));
  try {
    const script = path.join(folder, 'insert.sql');
    writeFileSync(script, `${INSERT};\n`);
    const { hostname, port, username, password, pathname } = new URL(url);
    const load = ['-n', '-M', 'prepared', '-f', script, '-c', String(clients), '-j', String(Math.min(clients, 2)), '-T', String(seconds)];
    const where = ['-h', hostname, '-p', port, '-U', decodeURIComponent(username), pathname.slice(1)];
    const output = await execute(findPgbench(), [...load, ...where], { PGPASSWORD: decodeURIComponent(password) });
    const rate = /tps = ([\d.]+)/.exec(output)?.[1];
    if (rate === undefined) throw new Error(`pgbench said no rate: ${output}`);
    return { 'commits/s': Number(rate) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** One client, one row, one commit at a time, through the same driver that the engine uses. */
export async function roundTrip(url: string, samples: number): Promise<Figures> {
  return withTable(url, async (client) => {
    const taken: number[] = [];
    for (let i = -50; i < samples; i++) {
      const began = performance.now();
      await client.query({ name: 'insert', text: INSERT });
      if (i >= 0) taken.push(performance.now() - began);
    }
    return { 'p50 ms': quantile(taken, 0.5), 'p99 ms': quantile(taken, 0.99) };
  });
}

/** One 8 kB write made durable, ms. */
export function diskSync(folder: string): number {
  const file = path.join(folder, 'fdatasync');
  const descriptor = openSync(file, 'w');
  const taken: number[] = [];
  for (let i = 0; i < 200; i++) {
    writeSync(descriptor, Buffer.alloc(8192), 0, 8192, (i % 100) * 8192);
    const began = performance.now();
    fdatasyncSync(descriptor);
    taken.push(performance.now() - began);
  }
  closeSync(descriptor);
  rmSync(file);
  return median(taken);
}

async function withTable<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    await client.query(TABLE);
    return await work(client);
  } finally {
    await client.end();
  }
}

/** @throws Error saying what to install */
export function findPgbench(): string {
  const versions = Array.from({ length: 10 }, (_, i) => `/usr/lib/postgresql/${20 - i}/bin`);
  const folders = [...(process.env['PATH'] ?? '').split(path.delimiter), ...versions];
  const found = folders.map((folder) => path.join(folder, 'pgbench')).find((file) => existsSync(file));
  if (found === undefined) throw new Error('pgbench is missing: it comes with Postgres (Debian: apt-get install postgresql-contrib)');
  return found;
}

function execute(command: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<string> {
  const { promise, resolve, reject } = deferred<string>();
  const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.once('error', reject);
  child.once('close', (code) => (code === 0 ? resolve(output) : reject(new Error(`pgbench ended with ${code}: ${output}`))));
  return promise;
}
