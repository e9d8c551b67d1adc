/**
 * The Node workflow host: it turns directories of plain TypeScript or JavaScript files into a registry for the engine.
 *
 * It promises that a broken file never stops the others and is reported with file and line, that a change on disk is
 * in service a moment later without a restart, that a run which began with the code before the change can end with
 * it, and that a version means the same code in every process. It never compiles: Node strips the types. It runs what
 * it loads with the rights of its own process; it is no sandbox.
 *
 * Read `discover.ts` for which files count, `snapshot.ts` for how a module is imported twice, `definition.ts` for what
 * a file may export, `registry.ts` for which version answers.
 */
import type { WorkflowRegistry } from '@centaur/kernel/engine';
import path from 'node:path';
import { existsSync } from 'node:fs';
import { type Discovered, discover } from './discover.ts';
import { type Entry, isUnchanged, loadEntry } from './entry.ts';
import type { Problem } from './locate.ts';
import { createRegistry } from './registry.ts';
import { select, withUsers } from './select.ts';
import { createSnapshots } from './snapshot.ts';
import { watchDirectories } from './watch.ts';

export type { LoadedWorkflow } from './definition.ts';
export type { Problem } from './locate.ts';

export interface HostLogEntry {
  readonly level: 'info' | 'warn' | 'error';
  readonly message: string;
  readonly [field: string]: unknown;
}

export interface NodeHostOptions {
  /** Directories of workflow files; a workflow in a later one shadows one of the same name in an earlier one. */
  readonly dirs: readonly string[];
  /** Those of them that need not be there; one that appears is taken up. */
  readonly mayLack?: readonly string[];
  /** Reload when a file changes. Default true. */
  readonly watch?: boolean;
  readonly log?: (entry: HostLogEntry) => void;
}

export interface NodeHost {
  readonly registry: WorkflowRegistry;
  /** What is wrong with the files as they are now. */
  problems(): readonly Problem[];
  /** Looks at the files again; resolves when what they say is in service. */
  reload(): Promise<void>;
  /** Stops watching. Workflows that are loaded keep working. */
  close(): Promise<void>;
}

/** Loads everything once before it resolves; broken files are in `problems()`. */
export async function createNodeHost({ dirs, mayLack = [], watch = true, log = () => undefined }: NodeHostOptions): Promise<NodeHost> {
  const roots = [...new Set(dirs.map((dir) => path.resolve(dir)))];
  const lacking = new Set(mayLack.map((dir) => path.resolve(dir)));
  const snapshots = createSnapshots(roots);
  const registry = createRegistry();
  let entries = new Map<string, Entry>();
  let problems: readonly Problem[] = [];
  let closed = false;
  // Reloads run one after the other: two at once could put the older one in service last
  let last: Promise<void> = Promise.resolve();

  const watcher = watch
    ? watchDirectories(
        () => reload().catch((error: Error) => log({ level: 'error', message: `reload failed: ${error.message}` })),
        (directory, error) => log({ level: 'warn', message: `cannot watch for changes: ${error.message}`, directory }),
      )
    : undefined;

  function reload(): Promise<void> {
    const next = last.then(() => (closed ? undefined : scan()));
    last = next.catch(() => undefined);
    return next;
  }

  async function scan(): Promise<void> {
    const found = new Map<string, Entry>();
    const directories: string[] = [];
    const unreadable: Problem[] = [];
    const snapshot = snapshots.open();
    for (const root of roots) {
      const discovered = tryDiscover(root);
      if ('problem' in discovered) {
        if (!discovered.missing || !lacking.has(root)) unreadable.push(discovered.problem);
        directories.push(nearestDirectory(root));
        continue;
      }
      directories.push(...discovered.directories);
      unreadable.push(...discovered.unreadable);
      for (const file of discovered.files) {
        const key = `${root}\0${file}`;
        const before = entries.get(key);
        // One after the other, so that shared helpers load once and an error belongs to the file being loaded
        found.set(key, before && isUnchanged(before) ? before : await loadEntry({ root, file, before, snapshot, snapshots }));
      }
    }
    watcher?.set(directories);
    entries = found;
    const selected = select(roots, [...found.values()]);
    report([...unreadable, ...withUsers([...found.values()]), ...selected.duplicates]);
    serve(selected.workflows);
  }

  function serve(workflows: Parameters<typeof registry.serve>[0]): void {
    const before = new Map(registry.list().map((each) => [each.name, each]));
    for (const { name, version, source, ...each } of workflows) {
      if (before.get(name)?.version !== version) {
        log({ level: 'info', message: 'workflow loaded', workflow: name, version, file: source, webhooks: each.webhooks.length });
      }
      before.delete(name);
    }
    for (const name of before.keys()) log({ level: 'info', message: 'workflow removed', workflow: name });
    registry.serve(workflows);
  }

  function report(now: readonly Problem[]): void {
    const key = ({ file, line, column, message }: Problem): string => JSON.stringify([file, line, column, message]);
    const known = new Set(problems.map(key));
    problems = now;
    for (const problem of now) {
      const { message, ...place } = problem;
      if (!known.has(key(problem))) log({ level: 'error', message: `workflow file: ${message}`, ...place });
    }
  }

  await reload();
  return {
    registry,
    problems: () => problems,
    reload,
    async close() {
      closed = true;
      watcher?.close();
      await last;
      snapshots.close();
    },
  };
}

function tryDiscover(root: string): Discovered | { readonly problem: Problem; readonly missing: boolean } {
  try {
    return discover(root);
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    return { problem: { file: root, message: missing ? 'there is no such directory' : (error as Error).message }, missing };
  }
}

/** Where a missing directory would appear. */
function nearestDirectory(missing: string): string {
  let directory = path.dirname(missing);
  while (!existsSync(directory)) directory = path.dirname(directory);
  return directory;
}
