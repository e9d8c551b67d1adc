/**
 * The holder of all local sandboxes of one state folder: a process of its own, so that they outlive whoever uses them.
 * Started by clients when there is none (holding.ts), with an empty environment.
 *
 *   node sandboxd.ts <state folder> <options as JSON>
 */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import { findCgroups } from './cgroups.ts';
import { createHash } from 'node:crypto';
import { cleanUpAfterCrash, createHolder, type Holder, type Settings } from './holder.ts';
import { filterFor, findIsolation, type Isolation } from './isolation.ts';
import { type Folders, foldersOf, writeShared } from './layout.ts';
import { createSources } from './leases.ts';
import { log } from './log.ts';
import { bindAt, openFolders } from './mounts.ts';
import { createServer } from './server.ts';

export interface HolderOptions {
  /** Null: the strongest that works. */
  readonly isolation: Isolation | null;
  /** From which each sandbox gets a user id of its own, when this runs as root. */
  readonly uids: readonly [number, number];
  /** Without sandboxes and without requests for so long, it ends. */
  readonly idleMs: number;
  readonly settings: Settings;
  /** The mounts that this may not change: those of whoever started it. */
  readonly hostMounts: string;
}

/** Says that another holds the folder already: the client uses that one. */
const ALREADY_HELD = 3;
const CLOEXEC = 0o2_000_000;
/** How long sandboxes are held for a platform that does not come back. */
const ABANDONED_MS = 2 * 3_600_000;

const [stateDir, optionsText] = process.argv.slice(2) as [string, string];
const options = JSON.parse(optionsText) as HolderOptions;
closeInheritedFiles();
const onHost = foldersOf(stateDir);
prepare(onHost);
if (!takeLock(onHost.lock)) process.exit(ALREADY_HELD);
const folders = openFolders(onHost, options.hostMounts);
await run();

/** What Node opens is closed on exec; what it was born with is not, and would be open in every sandbox. */
function closeInheritedFiles(): void {
  for (const name of fs.readdirSync('/proc/self/fdinfo')) {
    const fd = Number(name);
    if (fd <= 2) continue;
    try {
      const flags = /^flags:\s*(\d+)/m.exec(fs.readFileSync(`/proc/self/fdinfo/${name}`, 'utf8'))?.[1];
      if (flags !== undefined && (Number.parseInt(flags, 8) & CLOEXEC) === 0) fs.closeSync(fd);
    } catch {
      // the one that listed the folder is gone by now
    }
  }
}

function prepare({ root, inner, boxes, journals, trash }: Folders): void {
  // root alone may enter the first; its user's sandboxes find their own below the others, whose names they know
  for (const [folder, mode] of [
    [root, 0o700],
    [journals, 0o700],
    [inner, 0o711],
    [boxes, 0o711],
    [trash, 0o700],
  ] as const) {
    fs.mkdirSync(folder, { recursive: true });
    fs.chmodSync(folder, mode);
  }
  const { uid } = fs.statSync(root);
  if (uid !== process.getuid?.()) throw new Error(`${root} belongs to user ${uid}`);
}

/** The kernel keeps the lock for as long as the file is open here, and no longer: also kill -9 lets go of it. */
function takeLock(path: string): boolean {
  const fd = fs.openSync(path, 'a', 0o600);
  const { status, error } = spawnSync('/usr/bin/flock', ['--nonblock', '--exclusive', '3'], {
    env: {},
    stdio: ['ignore', 'ignore', 'ignore', fd],
  });
  if (error !== undefined) throw new Error(`flock is missing (the package util-linux): ${error.message}`);
  return status === 0;
}

async function run(): Promise<void> {
  process.umask(0o022);
  // nothing from here is ever dumped, nor from any sandbox: they inherit it
  spawnSync('/usr/bin/prlimit', ['--pid', String(process.pid), '--core=0'], { env: {}, stdio: 'ignore' });
  let lastRequest = Date.now();
  const { promise: holder, resolve, reject } = Promise.withResolvers<Holder>();
  holder.catch(() => undefined);
  const server = createServer({ holder, quit: () => void end('a client asked for it'), log });
  server.on('request', () => {
    lastRequest = Date.now();
  });
  fs.rmSync(folders.socket, { force: true });
  await new Promise<void>((listening, failed) => {
    server.once('error', failed);
    server.listen(folders.socket, listening);
  });
  fs.chmodSync(folders.socket, 0o600);
  log('info', 'holding sandboxes', { pid: process.pid, stateDir });
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void end(signal));
  process.on('SIGHUP', () => undefined);
  process.on('uncaughtException', (error) => log('error', 'an error that nobody expected', { error: error.stack ?? error.message }));
  setInterval(() => void endWhenUnused(), Math.min(options.idleMs, 2_000)).unref();

  let ending: Promise<void> | undefined;
  function end(why: string): Promise<void> {
    ending ??= (async () => {
      log('info', 'ending', { why });
      server.close();
      await holder.then((each) => each.close()).catch(() => undefined);
      fs.rmSync(folders.socket, { force: true });
      process.exit(0);
    })();
    return ending;
  }

  async function endWhenUnused(): Promise<void> {
    // somebody removed the state: there is nothing left to hold
    if (!fs.existsSync(folders.lock)) return end('the state folder is gone');
    const { size } = await holder;
    const silentMs = Date.now() - lastRequest;
    if (size === 0 && silentMs > options.idleMs) await end('unused');
    // a platform that runs asks for its sandboxes each half minute
    else if (silentMs > ABANDONED_MS) await end('abandoned');
  }

  try {
    await cleanUpAfterCrash({ folders, log });
    const holder = await createAll();
    // those who waited for it have been asking until now
    lastRequest = Date.now();
    resolve(holder);
  } catch (error) {
    log('error', 'the holder could not start', { error: (error as Error).stack ?? String(error) });
    reject(error);
  }
}

async function createAll(): Promise<Holder> {
  const isRoot = process.getuid?.() === 0;
  const shared = writeShared(folders.shared);
  const node = join(folders.shared, 'node');
  if (folders.ownMounts) bindAt(process.execPath, node);
  const { cgroups, reason } = findCgroups(`centaur-${createHash('sha256').update(folders.root).digest('hex').slice(0, 12)}`);
  const around = {
    folders,
    shared: { ...shared, node: folders.ownMounts ? node : process.execPath },
    cgroups,
    uids: isRoot ? options.uids : null,
    sources: createSources(),
    log,
  };
  const found = await findIsolation(around, options.isolation);
  if (options.isolation === 'none') log('warn', 'ISOLATION IS OFF: whatever runs in a sandbox can do what its user can', {});
  const reasons = [
    ...found.reasons,
    ...(reason === undefined ? [] : [reason]),
    ...(isRoot
      ? []
      : ['sandboxes share the user id of this installation: only their namespaces separate them. Run it as root for one each']),
    'disk limits are polled, each file is bounded by the kernel',
  ];
  log('info', 'tried out this machine', { isolation: found.isolation, reasons });
  return createHolder(
    { ...around, isolation: found.isolation, filter: found.problem === null ? filterFor(found.isolation) : null },
    { isolation: found.isolation, limits: cgroups?.level ?? 'rlimits', ownUser: isRoot, reasons },
    options.settings,
    Date.now,
    found.problem,
  );
}
