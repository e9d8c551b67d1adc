/**
 * Workflows whose code runs outside of the worker: a process for each, in a sandbox of its own, with its own principal.
 *
 * It promises what the in-process host promises (a broken file stops no other, a change is in service a moment later, a run ends
 * with the code that it began with), and that what a workflow does, it does to itself: it reads no other's files, memory or secrets, and when
 * its process crashes, hangs, floods or grows, its own runs go on in a fresh one, and no other run notices.
 *
 * Read `view.ts` for what a process sees, `launch.ts` for how it starts, `bridge.ts` for how its calls reach the engine.
 */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { EngineError, type HostedRun, HostUnavailableError, type WorkflowRegistry } from '@centaur/kernel/engine';
import type { Problem } from '../node/locate.ts';
import { createRegistry } from '../node/registry.ts';
import { select } from '../node/select.ts';
import { watchDirectories } from '../node/watch.ts';
import type { LoadedWorkflow } from '../node/definition.ts';
import { positionAt } from '../node/position.ts';
import { monotonic, type Outsiders, serveRun } from './bridge.ts';
import type { Connection } from './connection.ts';
import { plainText } from './fields.ts';
import { createKnown } from './known.ts';
import type { HostProcess, HostProgram } from './launch.ts';
import { type Metadata, MetadataError, onlyWorkflow, readMetadata } from './metadata.ts';
import { createPool, makeRoom, type Pool } from './pool.ts';
import { copyProgram } from './program-copy.ts';
import { createSlots } from './slots.ts';
import { nearestDirectory, nearestModules, pruneViews, readTree, touchView, type View, viewsOf, writeView } from './view.ts';

export { createWorkflowMetrics } from './metrics.ts';
export { createWorkflowTransactions } from './transactions.ts';

export interface HostsLogEntry {
  readonly level: 'info' | 'warn' | 'error';
  readonly message: string;
  readonly [field: string]: unknown;
}

export interface HostsOptions {
  /** Directories of workflow files; a workflow in a later one shadows one of the same name in an earlier one. */
  readonly dirs: readonly string[];
  /** Those of them that need not be there; one that appears is taken up. */
  readonly mayLack?: readonly string[];
  /** Of this installation; views, and what they are, are kept in it. */
  readonly stateDir: string;
  /** Where the code runs, as far as that may decide what it is: part of the key of what is kept. */
  readonly place?: string;
  /**
   * Starts a process for a workflow. To `ask` a file what it is, it is started with nothing that the workflow may use: the file may claim to be any.
   */
  launch(program: HostProgram, workflow: string, onClose: (reason: Error) => void, purpose: 'ask' | 'run'): Promise<HostProcess>;
  /** Whether a process of this workflow that has been running may go on as it is. Default: yes. */
  isCurrent?(workflow: string): Promise<boolean>;
  readonly watch?: boolean;
  /** Default: all. */
  readonly languages?: readonly View['language'][];
  readonly log?: (entry: HostsLogEntry) => void;
  /** Without runs, a process is ended after so long. Default 10 minutes. */
  readonly idleMs?: number;
  /** Processes at rest that are kept. Default 24. */
  readonly warmMost?: number;
}

export interface Hosts {
  readonly registry: WorkflowRegistry;
  problems(): readonly Problem[];
  reload(): Promise<void>;
  /** Whom runs ask for what is not theirs. To be told before any run begins. */
  serve(outsiders: Outsiders): void;
  close(): Promise<void>;
}

/** One file, as it was when it was last looked at. */
interface Entry {
  readonly root: string;
  readonly file: string;
  readonly key: string;
  readonly workflow: LoadedWorkflow | undefined;
  readonly problem: Problem | undefined;
  /** Its problem is that its process did not start, which may be nothing of the file's. */
  readonly unstarted?: boolean;
  readonly sources: ReadonlyMap<string, string>;
}

const DISCOVER_MS = 30_000;
const INPUT_MS = 10_000;
const SETTLED_MS = 30_000;
const IDLE_MS = 10 * 60_000;
const WARM_MOST = 24;
const SERVE_MS = 12 * 3_600_000;
const SERVE_RUNS = 100_000;
/** Files that are asked for their workflows at a time. */
const AT_ONCE = 2;
const LEASE_TOLD_MS = 1000;
/** Processes that start at a time. */
const STARTS_MOST = 4;
const AGAIN_MS = 30_000;

export async function createHosts(options: HostsOptions): Promise<Hosts> {
  const roots = [...new Set(options.dirs.map((dir) => path.resolve(dir)))];
  const lacking = new Set((options.mayLack ?? []).map((dir) => path.resolve(dir)));
  const log = options.log ?? (() => {});
  const views = path.join(options.stateDir, 'views');
  fs.mkdirSync(views, { recursive: true });
  const program = copyProgram(options.stateDir);
  const known = createKnown(path.join(options.stateDir, 'known'), `${program.fingerprint} ${options.place ?? ''}`);
  const registry = createRegistry();
  const pools = new Map<string, { readonly name: string; readonly pool: Pool; readonly what: HostProgram }>();
  const startSlots = createSlots(STARTS_MOST);
  let again: NodeJS.Timeout | undefined;
  let entries = new Map<string, Entry>();
  let problems: readonly Problem[] = [];
  let closed = false;
  let outsiders: Outsiders | undefined;
  /** Any run tells until when the worker's lease holds, for all of them. */
  let anyRun: HostedRun | undefined;
  const leaseTimer = setInterval(tellLease, LEASE_TOLD_MS);
  leaseTimer.unref();
  let last: Promise<void> = Promise.resolve();
  const watcher =
    options.watch === false
      ? undefined
      : watchDirectories(
          () => reload().catch((error: Error) => log({ level: 'error', message: `reload failed: ${error.message}` })),
          (directory, error) => log({ level: 'warn', message: `cannot watch for changes: ${error.message}`, directory }),
        );

  // one after the other: two at once could put the older one in service last
  function reload(): Promise<void> {
    const next = last.then(() => (closed ? undefined : scan()));
    last = next.catch(() => undefined);
    return next;
  }

  async function scan(): Promise<void> {
    const found = new Map<string, Entry | { readonly root: string; readonly view: View }>();
    const directories: string[] = [];
    const unreadable: Problem[] = [];
    for (const root of roots) {
      try {
        const tree = readTree(root);
        directories.push(...tree.directories);
        const { views: all, problems: unnamed } = viewsOf(tree);
        unreadable.push(...tree.problems, ...unnamed);
        const owners = new Map<string, string>();
        for (const view of inOrderOfClaims(root, all)) {
          if (options.languages !== undefined && !options.languages.includes(view.language)) continue;
          const owner = owners.get(view.name);
          if (owner !== undefined) {
            unreadable.push({
              file: path.join(root, view.file),
              message: `the workflow "${view.name}" is also in ${path.join(root, owner)}, which is the one in service; rename one of them`,
            });
            continue;
          }
          owners.set(view.name, view.file);
          const key = `${root}\0${view.file}`;
          const before = entries.get(key);
          found.set(key, before?.key === view.key && before.problem === undefined ? before : { root, view });
        }
      } catch (error) {
        const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
        if (!missing || !lacking.has(root))
          unreadable.push({ file: root, message: missing ? 'there is no such directory' : (error as Error).message });
        directories.push(nearestDirectory(root));
      }
    }
    watcher?.set(directories);
    const waiting = [...found].flatMap(([key, each]) => ('view' in each ? [{ key, ...each }] : []));
    const work = async (): Promise<void> => {
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
        if (closed) return;
        found.set(next.key, await ask(next.root, next.view, entries.get(next.key)));
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    if (closed) return;
    entries = found as Map<string, Entry>;
    const selected = select(roots, [...entries.values()]);
    report([...unreadable, ...[...entries.values()].flatMap(({ problem }) => problem ?? []), ...selected.duplicates]);
    serveThese(selected.workflows);
    prunePools();
    lookAgain();
  }

  /** What did not start may start later, and no file changes by that. */
  function lookAgain(): void {
    clearTimeout(again);
    if (closed || ![...entries.values()].some(({ unstarted }) => unstarted)) return;
    again = setTimeout(() => void reload().catch(() => {}), AGAIN_MS);
    again.unref();
  }

  /** Who has a name keeps it; else the first by path has it. No code of the others is run: a name decides about secrets. */
  function inOrderOfClaims(root: string, views: readonly View[]): readonly View[] {
    const has = (view: View): boolean => entries.get(`${root}\0${view.file}`)?.workflow?.name === view.name;
    return [...views.filter(has), ...views.filter((view) => !has(view))];
  }

  /** Asks a file for its workflow, in a process for that alone. */
  async function ask(root: string, view: View, before: Entry | undefined): Promise<Entry> {
    const file = path.join(root, view.file);
    const sources = new Map([[file, view.files.get(view.file)?.toString() ?? '']]);
    const entry = { root, file, key: view.key, sources };
    const pool = poolOf(root, view);
    try {
      const kept = known.get(view);
      if (kept !== undefined)
        return { ...entry, workflow: workflowOf(readMetadata(kept, view.name), view, file, pool), problem: undefined };
      const asked = await options.launch(programOf(root, view), view.name, () => {}, 'ask');
      try {
        const told = onlyWorkflow(await asked.connection.discover(DISCOVER_MS));
        if (told === undefined) throw new Error('its host found no workflow in it');
        if ('message' in told) {
          const { message, line, column } = told;
          const place = { ...(typeof line === 'number' ? { line } : {}), ...(typeof column === 'number' ? { column } : {}) };
          return broken({ file: originalOf(told.source_path, root, view) ?? file, ...place, message: plainText(message) });
        }
        const metadata = readMetadata(told, view.name);
        known.set(view, told);
        return { ...entry, workflow: workflowOf(metadata, view, file, pool), problem: undefined };
      } finally {
        await asked.stop();
      }
    } catch (error) {
      if (!(error instanceof MetadataError))
        return { ...broken({ file, message: `its process did not start: ${(error as Error).message}` }), unstarted: true };
      const at = sources.get(file)?.indexOf(error.field.replace(/\[\d+\]$/, '')) ?? -1;
      return broken({ file, ...(at < 0 ? {} : positionAt(sources.get(file) as string, at)), message: error.message });
    }

    function broken(problem: Problem): Entry {
      return { ...entry, workflow: before?.workflow, problem };
    }
  }

  function programOf(root: string, view: View): HostProgram {
    return {
      kind: 'workflow',
      programs: program.folder,
      language: view.language,
      view: writeView(views, view),
      file: view.file,
      nodeModules: nearestModules(root),
    };
  }

  function poolOf(root: string, view: View): Pool {
    const { key, name } = view;
    const there = pools.get(key);
    if (there !== undefined) return there.pool;
    // what stays is not the view, which holds all files
    const what = programOf(root, view);
    const pool = createPool({
      async launch(onClose) {
        await makeRoom(
          [...pools.values()].map(({ pool: each }) => each),
          options.warmMost ?? WARM_MOST,
        );
        const leave = await startSlots();
        try {
          touchView(what.view);
          const began = performance.now();
          const process = await options.launch(what, name, onClose, 'run');
          log({ level: 'info', message: 'workflow host started', workflow: name, version: key, ms: Math.round(performance.now() - began) });
          return process;
        } finally {
          leave();
        }
      },
      isCurrent: () => options.isCurrent?.(name) ?? Promise.resolve(true),
      idleMs: options.idleMs ?? IDLE_MS,
      serveMs: SERVE_MS,
      serveRuns: SERVE_RUNS,
      onEnd: (reason) => log({ level: 'warn', message: 'a workflow host has ended', workflow: name, error: reason.message }),
    });
    pools.set(key, { name, pool, what });
    return pool;
  }

  /** Of versions that nobody can ask for any more. */
  function prunePools(): void {
    for (const [key, { name, pool }] of pools) {
      if (registry.get(name, key)?.version === key || pool.warm || pool.busy) continue;
      pools.delete(key);
      void pool.close();
    }
  }

  function workflowOf({ hasInput, ...metadata }: Metadata, view: View, source: string, pool: Pool): LoadedWorkflow {
    return {
      ...metadata,
      version: view.key,
      source,
      webhooks: metadata.webhooks,
      handler: () => {
        throw new Error('its code is in another process');
      },
      ...(hasInput ? { checkInput: (input: unknown) => checkInput(pool, metadata.name, input) } : {}),
      hosted: (input, ctx, run) =>
        new Promise((resolve, reject) => {
          if (run.replay === true) return replayApart(view.key, metadata.name, { input, ctx, run }).then(resolve, reject);
          anyRun = run;
          let left = false;
          run.onClose(() => {
            left = true;
          });
          const begin = async (): Promise<unknown> => {
            const { connection, release } = await pool.acquire(run.crashes > 1 ? 'alone' : undefined).catch((error: Error) => {
              throw new HostUnavailableError(`the process of workflow ${metadata.name} did not start: ${error.message}`, pool.delayMs, {
                cause: error,
              });
            });
            await Promise.race([connection.settled(ctx.runId), new Promise((later) => setTimeout(later, SETTLED_MS).unref())]);
            // while it started, the run was cancelled or taken over
            if (left || outsiders === undefined) {
              release();
              return new Promise(() => {});
            }
            return serveRun(connection, { name: metadata.name }, { input, ctx, run }, outsiders, release);
          };
          begin().then(resolve, reject);
        }),
    };
  }

  /** In a process for that alone, which may use nothing: whatever the code does there, no run of the workflow is in it. */
  async function replayApart(key: string, name: string, start: Parameters<typeof serveRun>[2]): Promise<unknown> {
    const what = pools.get(key)?.what;
    if (what === undefined) throw new HostUnavailableError(`the code of workflow ${name} was replaced just now`, 0);
    let left = false;
    start.run.onClose(() => {
      left = true;
    });
    touchView(what.view);
    const host = await options
      .launch(what, name, () => {}, 'ask')
      .catch((error: Error) => {
        throw new HostUnavailableError(`a process for workflow ${name} did not start: ${error.message}`, 0, { cause: error });
      });
    const stop = (): void => void host.stop().catch(() => {});
    if (left) {
      stop();
      return new Promise(() => {});
    }
    return serveRun(host.connection, { name }, start, NOBODY, stop);
  }

  async function checkInput(pool: Pool, name: string, input: unknown): Promise<{ readonly concurrencyKey: string | null }> {
    const { connection, release } = await pool.acquire().catch((error: Error) => {
      throw new EngineError('HOST_UNAVAILABLE', `the process of workflow ${name} did not start: ${error.message}`, { cause: error });
    });
    try {
      return await askAboutInput(connection, name, input, log);
    } finally {
      release();
    }
  }

  function tellLease(): void {
    if (anyRun === undefined) return;
    const until = monotonic(anyRun.leaseHeldUntil);
    for (const { pool } of pools.values())
      for (const connection of pool.connections) if (connection.runs > 0) connection.send({ type: 'host.lease', until });
  }

  /** From the path that the process sees to the author's own. */
  function originalOf(told: unknown, root: string, view: View): string | undefined {
    if (typeof told !== 'string') return undefined;
    const name = [...view.files.keys()].find((each) => told === each || told.endsWith(`/${each}`));
    return name === undefined ? undefined : path.join(root, name);
  }

  function serveThese(workflows: readonly LoadedWorkflow[]): void {
    const before = new Map(registry.list().map((each) => [each.name, each]));
    for (const { name, version, source, webhooks } of workflows) {
      if (before.get(name)?.version !== version)
        log({ level: 'info', message: 'workflow loaded', workflow: name, version, file: source, webhooks: webhooks.length });
      before.delete(name);
    }
    for (const name of before.keys()) log({ level: 'info', message: 'workflow removed', workflow: name });
    registry.serve(workflows);
  }

  function report(now: readonly Problem[]): void {
    const keyOf = ({ file, line, column, message }: Problem): string => JSON.stringify([file, line, column, message]);
    const before = new Set(problems.map(keyOf));
    problems = now;
    for (const problem of now) {
      const { message, ...place } = problem;
      if (!before.has(keyOf(problem))) log({ level: 'error', message: `workflow file: ${message}`, ...place });
    }
  }

  pruneViews(views);
  await reload();
  return {
    registry,
    problems: () => problems,
    reload,
    serve(given) {
      outsiders = given;
    },
    async close() {
      closed = true;
      clearInterval(leaseTimer);
      watcher?.close();
      await last;
      clearTimeout(again);
      await Promise.all([...pools.values()].map(({ pool }) => pool.close()));
    },
  };
}

/** Whom a replay asks: it changes nothing. */
const NOBODY: Outsiders = {
  startRun: () => Promise.reject(new Error('a replay starts no run')),
  metric: () => undefined,
  log: () => undefined,
};

async function askAboutInput(
  connection: Connection,
  name: string,
  input: unknown,
  log: (entry: HostsLogEntry) => void,
): Promise<{ readonly concurrencyKey: string | null }> {
  const id = `input-${randomBytes(8).toString('hex')}`;
  const answer = await new Promise<Extract<Parameters<Parameters<Connection['attach']>[1]['message']>[0], { type: 'workflow.input' }>>(
    (resolve, reject) => {
      const fail = (why: string) => {
        off();
        reject(new EngineError('HOST_UNAVAILABLE', `the process of workflow ${name} did not check the input: ${why}`));
      };
      const timer = setTimeout(() => fail(`it took more than ${INPUT_MS} ms`), INPUT_MS);
      const off = connection.attach(id, {
        message(message) {
          if (message.type !== 'workflow.input') return;
          clearTimeout(timer);
          off();
          resolve(message);
        },
        lost: (reason) => {
          clearTimeout(timer);
          fail(reason.message);
        },
      });
      connection.send({ type: 'workflow.input', run_id: id, request_id: '1', workflow_name: name, input });
    },
  );
  if (!answer.ok)
    throw new EngineError('INVALID_INPUT', `${name}: ${String(answer.error)}`, {
      details: { issues: Array.isArray(answer.issues) ? answer.issues : [] },
    });
  if (Array.isArray(answer.warnings) && answer.warnings.length > 0)
    log({ level: 'warn', message: 'an input has what its workflow does not know', workflow: name, warnings: answer.warnings.slice(0, 20) });
  return { concurrencyKey: typeof answer.concurrency_key === 'string' ? answer.concurrency_key : null };
}
