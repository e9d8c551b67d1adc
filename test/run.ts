/**
 * `npm test`: one throwaway Postgres, then every *.test.ts beside the code and in test/.
 *
 *   npm test                        the whole suite on the embedded Postgres 18
 *   npm test -- --postgres 15       the same on Postgres 15
 *   npm test -- kernel/engine       only files whose path contains the text
 *   npm run test:slow               the *.slow.test.ts, which npm test leaves out
 *
 * TEST_DATABASE_URL or DATABASE_URL uses a server of your own; its user must be allowed to create databases. Each test
 * makes databases of its own there and drops them; it touches no others.
 */
import { spawn, spawnSync } from 'node:child_process';
import { accessSync, chmodSync, constants, existsSync, globSync, mkdtempSync, readdirSync, rmSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { findBinaries } from '../kernel/store/embedded/binaries.ts';
import { startEmbeddedPostgres, stopEmbeddedPostgres } from '../kernel/store/embedded/index.ts';
import { ensureBubblewrap } from './support/bubblewrap.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const ROOMS = ['sdk', 'kernel', 'runtime', 'ingress', 'cli', 'docs', 'examples', 'test'];
/** Long enough for a machine that is ten times as slow: a test that hangs is the only one that reaches it. */
const TIMEOUT_MS = 300_000;
/** What a test that timed out left open keeps its file from ending. */
const LIMIT = new URL('support/limit.ts', import.meta.url).href;
/** By what they took when they were last looked at. */
const LONGEST = [
  'docs/guides.slow',
  'test/seed/runtime',
  'runtime/rotation/killed',
  'cli/replay',
  'cli/cli.',
  'runtime/outside/approvals',
  'kernel/engine/engine.',
  'kernel/care/care.',
];

/** By themselves, when all others have ended: in them a clock runs faster than the day, and what the machine takes besides runs with it. */
const ALONE = ['ingress/slack/show/pace.'];

/** Files in memory, on Linux: the kernel makes hundreds of databases there in a fifth of the time. */
const MEMORY = '/dev/shm';
const ROOM_BYTES = 4 * 1024 ** 3;

const { values, positionals } = parseArgs({
  options: { postgres: { type: 'string', default: '18' }, slow: { type: 'boolean' } },
  allowPositionals: true,
});
if (values.postgres !== '18' && values.postgres !== '15') throw new Error('--postgres: expected 15 or 18');
const files = findTests(positionals);
if (files.length === 0) throw new Error(`no test file has ${positionals.join(' or ')} in its path`);

// once, before several files want it at a time
const { problem } = ensureBubblewrap();
if (problem !== undefined) console.error(`${problem}\nWithout it sandboxes are tested with what else this machine has.`);

await removeLeftovers();
await using cleanup = new AsyncDisposableStack();
const url = process.env.TEST_DATABASE_URL ?? process.env.DATABASE_URL ?? (await startServer(values.postgres));
const compiled = compiledFolder();
const isAlone = (file: string) => ALONE.some((part) => file.startsWith(part));
const together = files.filter((file) => !isAlone(file));
process.exitCode = (await runTests(together, url, compiled)) || (await runTests(files.filter(isAlone), url, compiled));

function findTests(parts: readonly string[]): string[] {
  return (
    globSync(
      ROOMS.map((room) => `${room}/**/*.test.ts`),
      { cwd: ROOT, exclude: (path) => path.includes('node_modules') },
    )
      .filter((file) => !file.startsWith('test/faults'))
      // a suite of its own, unless it is asked for: npm run test:attacks
      .filter((file) => !file.startsWith('test/attacks') || parts.some((part) => part.startsWith('test/attacks')))
      // theirs is npm run test:slow
      .filter((file) => (values.slow === true ? file.endsWith('.slow.test.ts') : !file.endsWith('.slow.test.ts') || parts.length > 0))
      .filter((file) => parts.length === 0 || parts.some((part) => file.includes(part)))
      .sort()
      .sort((one, other) => startOf(one) - startOf(other))
  );
}

/** What takes longest begins first, so that nothing is waited for at the end. */
function startOf(file: string): number {
  const at = LONGEST.findIndex((part) => file.startsWith(part));
  return at < 0 ? LONGEST.length : at;
}

async function startServer(major: '15' | '18'): Promise<string> {
  const folder = mkdtempSync(join(hasRoom(MEMORY) ? MEMORY : tmpdir(), `centaur-test-${process.pid}-`));
  cleanup.defer(() => rmSync(folder, { recursive: true, force: true }));
  // so that under root, Postgres' user can reach it and nothing is left elsewhere
  chmodSync(folder, 0o711);
  const server = await startEmbeddedPostgres({
    dataDir: join(folder, 'postgres'),
    throwaway: true,
    // nothing here has to survive the machine, and hundreds of databases are made: flushed to disk, the suite takes half as long again
    settings: { max_connections: '300', fsync: 'off', full_page_writes: 'off', max_wal_size: '256MB' },
    ...(major === '15' ? { binaries: postgres15() } : {}),
  });
  cleanup.defer(() => server.stop());
  return server.url;
}

/** Whether the server of a run can be there. */
function hasRoom(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK);
    const { bavail, bsize } = statfsSync(folder);
    return bavail * bsize > ROOM_BYTES;
  } catch {
    return false;
  }
}

/** A package of its own, so that a newcomer's install does not carry two servers. */
function postgres15(): string {
  const home = join(ROOT, 'test/pg15');
  if (!existsSync(join(home, 'node_modules'))) {
    const installed = spawnSync('npm', ['ci', '--no-audit', '--no-fund'], { cwd: home, stdio: 'inherit' });
    if (installed.status !== 0) throw new Error('installing Postgres 15 failed: run npm ci in test/pg15 to see why');
  }
  return findBinaries(pathToFileURL(join(home, 'package.json')).href);
}

/** Hundreds of processes run the same sources: each is compiled once. A folder of this run's own, so that no other user's code is in it. */
function compiledFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), `centaur-test-${process.pid}-`));
  cleanup.defer(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** The suite's exit code. Ctrl-C ends the suite, not this process, which still has a server to stop. */
async function runTests(tests: readonly string[], databaseUrl: string, compiled: string): Promise<number> {
  // without any, Node would look for some itself
  if (tests.length === 0) return 0;
  const { DATABASE_URL: _, CENTAUR_HOME: __, ...inherited } = process.env;
  const child = spawn(
    process.execPath,
    ['--test', `--import=${LIMIT}`, `--test-timeout=${TIMEOUT_MS}`, '--test-concurrency=4', '--test-reporter=spec', ...tests],
    {
      cwd: ROOT,
      stdio: 'inherit',
      env: { ...inherited, NODE_NO_WARNINGS: '1', NODE_COMPILE_CACHE: compiled, TEST_DATABASE_URL: databaseUrl },
    },
  );
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
  return new Promise((done) => {
    child.on('exit', (code) => done(code ?? 1));
  });
}

/** Servers of earlier runs that were killed before they could stop them. */
async function removeLeftovers(): Promise<void> {
  for (const folder of [tmpdir(), MEMORY].flatMap((place) =>
    existsSync(place) ? readdirSync(place).map((name) => join(place, name)) : [],
  )) {
    const pid = /^centaur-test-(\d+)-/.exec(basename(folder))?.[1];
    if (pid === undefined || isAlive(Number(pid))) continue;
    try {
      if (existsSync(join(folder, 'postgres'))) await stopEmbeddedPostgres({ dataDir: join(folder, 'postgres') });
      rmSync(folder, { recursive: true, force: true });
    } catch (error) {
      // another user's: not ours to remove, and no reason not to test
      console.warn(`left ${folder} alone: ${(error as Error).message}`);
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
