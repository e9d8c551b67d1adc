/**
 * `npm run bench:threads [-- --quick] [--write]`: the stream of threads. Appending on one core, replaying, a thousand
 * readers of one thread, and the way of an event from a turn to a client. Medians of repetitions in one run.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { startEmbeddedPostgres } from '@centaur/kernel/store/embedded';
import { measureAgents } from './agents.ts';
import { measureFloors } from './floors.ts';
import { median, quantile } from '../measure.ts';
import { type Figures, report } from './report.ts';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const REPORT = path.join(HERE, '..', '..', 'docs', 'benchmarks-threads.md');
const { values: flags } = parseArgs({
  options: { quick: { type: 'boolean', default: false }, write: { type: 'boolean', default: false } },
});
const sizes = flags.quick
  ? { repeat: 1, turns: 8, events: 10_000, history: 10_000, clients: 50, seconds: 1, starts: 1 }
  : { repeat: 3, turns: 64, events: 300_000, history: 200_000, clients: 1000, seconds: 5, starts: 15 };

await using cleanup = new AsyncDisposableStack();
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void cleanup.disposeAsync().finally(() => process.exit(130)));
const folder = mkdtempSync(path.join(os.tmpdir(), 'centaur-bench-'));
cleanup.defer(() => rmSync(folder, { recursive: true, force: true }));
const postgres = await startEmbeddedPostgres({ dataDir: path.join(folder, 'postgres') });
cleanup.defer(() => postgres.stop());
const key = `ck_${randomBytes(24).toString('base64url')}`;

const figures = new Map<string, number[]>();
const note = (name: string, value: number) => {
  const values = figures.get(name) ?? [];
  values.push(value);
  figures.set(name, values);
  console.log(`${name}: ${value.toLocaleString('en', { maximumFractionDigits: 2 })}`);
};

const server = await launch();
for (let i = 0; i < sizes.repeat; i++) {
  const appended = await ask<{ perSecond: number; perCore: number }>('append', `append-${i}-`, sizes.turns, sizes.events, 20);
  note('append/s', appended.perSecond);
  note('append/s per core', appended.perCore);
  await ask('append', `history-${i}-`, 1, sizes.history, 500);
  const replayed = await ask<{ perSecond: number; perCore: number }>('replay', `history-${i}-0`);
  note('replay/s', replayed.perSecond);
  const overHttp = await readAll(`history-${i}-0`, sizes.history);
  note('replay/s over HTTP', overHttp);
  await crowd(`crowd-${i}-`);
  const [alone] = await follow(`alone-${i}-`, 1, 20);
  note('event to client p50 ms', quantile(alone?.delays ?? [], 0.5));
  note('event to client p99 ms', quantile(alone?.delays ?? [], 0.99));
}
server.child.disconnect();
process.env['TEST_DATABASE_URL'] = postgres.url;
await measureFloors({ url: postgres.url, events: sizes.history, starts: sizes.starts, note });
await measureAgents({ cleanup, starts: sizes.starts, note });

const medians: Figures = new Map([...figures].map(([name, values]) => [name, median(values)]));
const text = report(medians, { repeat: sizes.repeat, clients: sizes.clients, starts: sizes.starts });
console.log(`\n${text}`);
if (flags.write) writeFileSync(REPORT, text);
// what was started is stopped, and then nothing is waited for
await cleanup.disposeAsync();
process.exit(0);

async function launch(): Promise<{ readonly child: ChildProcess; readonly url: URL }> {
  const child = fork(path.join(HERE, 'server.ts'), {
    env: { ...process.env, DATABASE_URL: postgres.url, CENTAUR_API_KEY: key },
    execArgv: ['--expose-gc'],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  cleanup.defer(() => void child.kill('SIGKILL'));
  const { url } = await new Promise<{ url: string }>((resolve, reject) =>
    child.once('message', resolve as (value: unknown) => void).once('exit', () => reject(new Error('the server ended'))),
  );
  return { child, url: new URL(url) };
}

function ask<T>(what: string, ...args: unknown[]): Promise<T> {
  return new Promise((resolve, reject) => {
    server.child.once('message', (said: { answer?: T; error?: string }) =>
      said.error === undefined ? resolve(said.answer as T) : reject(new Error(said.error)),
    );
    server.child.send({ what, args });
  });
}

interface Reader {
  readonly ids: number[];
  readonly delays: number[];
  readonly closed: Promise<void>;
  close(): void;
}

/** A client of the stream, bare: parsing and waiting are all it costs. */
function openReader(threadKey: string, enough: (id: number, text: string) => boolean): Promise<Reader> {
  const { url } = server;
  return new Promise((resolve, reject) => {
    const socket = net.connect(Number(url.port), url.hostname);
    const ids: number[] = [];
    const delays: number[] = [];
    let buffered = '';
    let opened = false;
    const closed = new Promise<void>((done) => socket.once('close', () => done()));
    socket.setEncoding('utf8');
    socket.once('error', reject);
    socket.write(
      `GET /agent/threads/${encodeURIComponent(threadKey)}/events?after_event_id=0 HTTP/1.1\r\nhost: ${url.host}\r\nx-api-key: ${key}\r\n\r\n`,
    );
    socket.on('data', (chunk: string) => {
      const now = performance.timeOrigin + performance.now();
      if (!opened) {
        opened = true;
        resolve({ ids, delays, closed, close: () => socket.destroy() });
      }
      buffered += chunk;
      const parts = buffered.split('\n\n');
      buffered = parts.pop() ?? '';
      for (const part of parts) {
        const id = Number(/(?:^|\n)id: (\d+)/.exec(part)?.[1] ?? Number.NaN);
        if (Number.isNaN(id)) continue;
        ids.push(id);
        const at = Number(/"at":([\d.]+)/.exec(part)?.[1] ?? Number.NaN);
        if (!Number.isNaN(at)) delays.push(now - at);
        // what comes in the same piece belongs to some readers and not to others
        if (enough(id, part)) return void socket.destroy();
      }
    });
  });
}

async function readAll(threadKey: string, events: number): Promise<number> {
  const began = performance.now();
  const reader = await openReader(threadKey, (id) => id >= events);
  await reader.closed;
  const seconds = (performance.now() - began) / 1000;
  if (reader.ids.some((id, i) => id !== i + 1)) throw new Error('a replay had a gap');
  return reader.ids.length / seconds;
}

/** Readers that are there before the turn begins, and see it to its end. */
async function follow(prefix: string, readers: number, perSecond: number): Promise<Reader[]> {
  const threadKey = `${prefix}0`;
  const response = await fetch(new URL('/agent/spawn', server.url), {
    method: 'POST',
    headers: { 'x-api-key': key, 'content-type': 'application/json' },
    body: JSON.stringify({ thread_key: threadKey }),
  });
  if (!response.ok) throw new Error(await response.text());
  const opened = await Promise.all(Array.from({ length: readers }, () => openReader(threadKey, (_, text) => text.includes('"over"'))));
  await ask('stream', prefix, perSecond, sizes.seconds);
  await Promise.all(opened.map(({ closed }) => closed));
  return opened;
}

async function crowd(prefix: string): Promise<void> {
  const before = await ask<{ rss: number }>('memory');
  const began = performance.now();
  const readers = await follow(prefix, sizes.clients, 50);
  const after = await ask<{ rss: number }>('memory');
  const expected = readers[0]?.ids.length ?? 0;
  if (readers.some(({ ids }) => ids.length !== expected || ids.some((id, i) => id !== ids[0] + i)))
    throw new Error('a reader missed an event');
  note('crowd: deliveries/s', (expected * readers.length * 1000) / (performance.now() - began));
  note(
    'crowd: p50 ms',
    quantile(
      readers.flatMap(({ delays }) => delays),
      0.5,
    ),
  );
  note('crowd: KB per reader', (after.rss - before.rss) / 1024 / readers.length);
}
