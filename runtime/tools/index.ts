/**
 * Tools: folders whose code runs in processes and sandboxes of their own, each with its own principal, called by agents, workflows and
 * whoever has a key.
 *
 * It promises that a broken tool stops no other, that a change is in service a moment later without a call being dropped (those under way
 * end in the old process), that a call gets exactly one answer, in time, which says whether the tool's code has seen it, and that
 * a tool reads no other's files, memory or secrets. It decides nothing: whoever dispatches has asked the policy and
 * written the audit. No code of a tool runs in this process.
 *
 * Read `folders.ts` for what is a tool, `ask.ts` for how it is asked what it declares, `service.ts` for how it is called.
 */
import fs from 'node:fs';
import path from 'node:path';
import {
  checkDeclaration,
  type Dispatch,
  type DispatchResult,
  type OwnSecrets,
  type ServedTool,
  type ToolProblem,
  type ToolRunner,
} from '@centaur/kernel/tools';
import type { HostProcess, HostProgram } from '../hosts/hosted/launch.ts';
import { makeRoom } from '../hosts/hosted/pool.ts';
import { copyProgram } from '../hosts/hosted/program-copy.ts';
import { createSlots } from '../hosts/hosted/slots.ts';
import { nearestDirectory, nearestModules, pruneViews, readTree, touchView, writeView } from '../hosts/hosted/view.ts';
import { fieldPosition } from '../hosts/node/position.ts';
import { watchDirectories } from '../hosts/node/watch.ts';
import { type Answer, type AskOptions, askAlone, askTogether, type Told } from './ask.ts';
import { foldersOf, type ToolFolder } from './folders.ts';
import { createKnownTools } from './known.ts';
import { createService, type Service } from './service.ts';

export { createSandboxedTools } from './sandboxed.ts';

export interface ToolsLogEntry {
  readonly level: 'info' | 'warn' | 'error';
  readonly message: string;
  readonly [field: string]: unknown;
}

export interface ToolRunnerOptions {
  /** Directories of tools; a tool in a later one shadows one of the same name in an earlier one. */
  readonly dirs: readonly string[];
  /** Those of them that need not be there; one that appears is taken up. */
  readonly mayLack?: readonly string[];
  /** Of this installation; copies of tools, and what they declare, are kept in it. */
  readonly stateDir: string;
  /** Where the code runs, as far as that may decide what it declares: part of the key of what is kept. */
  readonly place?: string;
  /**
   * Starts a process.
   *
   * @param tool whose rights it gets; undefined where tools are only asked what they declare: that process gets none
   * @param own a user's, which it gets in place of those of the tool
   */
  launch(program: HostProgram, tool: ServedTool | undefined, onClose: (reason: Error) => void, own?: OwnSecrets): Promise<HostProcess>;
  /** Whether a process of this tool that has been running may go on as it is. Default: yes. */
  isCurrent?(tool: ServedTool, own?: OwnSecrets): Promise<boolean>;
  readonly watch?: boolean;
  readonly log?: (entry: ToolsLogEntry) => void;
  /** Longest time in which a tool is loaded. Default 30 s. */
  readonly loadMs?: number;
  /** Without calls, a process is ended after so long. Default 10 minutes. */
  readonly idleMs?: number;
  /** Processes at rest that are kept. Default 24. */
  readonly warmMost?: number;
}

export interface Tools extends ToolRunner {
  /** Looks at the folders now. Tools that hold or end their process when they are loaded are still being asked then. */
  reload(): Promise<void>;
  /** When nothing is being asked any more. */
  settled(): Promise<void>;
  close(): Promise<void>;
}

/** One folder, as it was when it was last looked at. */
interface Entry {
  readonly root: string;
  readonly folder: ToolFolder;
  /** As what it is known. */
  readonly knownAs: string;
  /** What is in service: of an earlier content, when this one is broken. */
  readonly loaded: Loaded | undefined;
  readonly problem: ToolProblem | undefined;
  /** Ask again at the next look, though nothing has changed; `soon`: look again by itself, too. */
  readonly again: 'no' | 'next' | 'soon';
}

interface Loaded {
  readonly tool: ServedTool;
  readonly folder: ToolFolder;
  readonly root: string;
}

const LOAD_MS = 30_000;
const IDLE_MS = 10 * 60_000;
const WARM_MOST = 24;
/** Processes that start at a time. */
const STARTS_MOST = 4;
/** Tools that are asked alone at a time. */
const ALONE_MOST = 2;
const AGAIN_MS = 30_000;

export async function createToolRunner(options: ToolRunnerOptions): Promise<Tools> {
  const roots = [...new Set(options.dirs.map((dir) => path.resolve(dir)))];
  const lacking = new Set((options.mayLack ?? []).map((dir) => path.resolve(dir)));
  const log = options.log ?? (() => {});
  const views = path.join(options.stateDir, 'tool-views');
  fs.mkdirSync(views, { recursive: true });
  pruneViews(views);
  const program = copyProgram(options.stateDir);
  const known = createKnownTools(path.join(options.stateDir, 'tools.json'), `${program.fingerprint} ${options.place ?? ''}`, (error) =>
    log({ level: 'warn', message: `what tools have told cannot be kept for the next start: ${error.message}` }),
  );
  const listeners = new Set<() => void>();
  /** By the version of the tool, and the user whose own secrets it has. */
  const services = new Map<string, { readonly of: string; readonly service: Service }>();
  /** Of earlier versions, with calls under way. */
  const retired = new Set<Service>();
  const slots = new Map<string, { readonly most: number; readonly take: (signal?: AbortSignal) => Promise<() => void> }>();
  const startSlots = createSlots(STARTS_MOST);
  const aloneSlots = createSlots(ALONE_MOST);
  const asking = new Set<Promise<void>>();
  let entries = new Map<string, Entry>();
  let served = new Map<string, Loaded>();
  let unreadable: readonly ToolProblem[] = [];
  let problems: readonly ToolProblem[] = [];
  let again: NodeJS.Timeout | undefined;
  let closed = false;
  const closing = new AbortController();
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
    const directories: string[] = [];
    const found: { readonly root: string; readonly folder: ToolFolder }[] = [];
    const wrong: ToolProblem[] = [];
    for (const root of roots) {
      try {
        const tree = readTree(root);
        directories.push(...tree.directories);
        const { folders, problems: unnamed } = foldersOf(tree);
        wrong.push(...tree.problems, ...unnamed);
        found.push(...folders.map((folder) => ({ root, folder })));
      } catch (error) {
        const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
        if (!missing || !lacking.has(root))
          wrong.push({ file: root, message: missing ? 'there is no such directory' : (error as Error).message });
        directories.push(nearestDirectory(root));
      }
    }
    watcher?.set(directories);
    unreadable = wrong;
    const next = new Map<string, Entry>();
    const unknown = new Map<string, { readonly root: string; readonly folders: ToolFolder[] }>();
    for (const { root, folder } of found) {
      const id = idOf(root, folder);
      const before = entries.get(id);
      if (before?.folder.key === folder.key && before.again === 'no') {
        const knownAs = knownKey(root, folder);
        known.copy(before.knownAs, knownAs);
        next.set(id, { ...before, knownAs });
        continue;
      }
      const kept = known.get(knownKey(root, folder));
      if (kept !== undefined) {
        next.set(id, entryOf(root, folder, { told: kept }, before));
        continue;
      }
      const group = `${root}\0${folder.language}`;
      const { folders } = unknown.get(group) ?? { folders: [] };
      unknown.set(group, { root, folders: [...folders, folder] });
      // in its place meanwhile
      next.set(id, { root, folder, knownAs: knownKey(root, folder), loaded: before?.loaded, problem: before?.problem, again: 'next' });
    }
    await Promise.all([...unknown.values()].map(({ root, folders }) => ask(root, folders, next)));
    if (closed) return;
    entries = next;
    publish();
    known.keep(new Set([...entries.values()].map(({ knownAs }) => knownAs)));
  }

  async function ask(root: string, folders: readonly ToolFolder[], next: Map<string, Entry>): Promise<void> {
    const askOptions = askOptionsOf(root, folders[0] as ToolFolder);
    const told = await askTogether(folders, askOptions);
    for (const folder of folders) {
      const id = idOf(root, folder);
      const answer = told.answers.get(folder.folder);
      if (answer !== undefined) next.set(id, remembered(root, folder, answer, entries.get(id)));
    }
    goOn(root, folders, told, askOptions);
  }

  /** Asks those of whom nothing is known yet, and nobody waits for it. */
  function goOn(root: string, folders: readonly ToolFolder[], { answers, left }: Told, askOptions: AskOptions): void {
    if (closed) return;
    if (left.length > 0) track(finishTogether(root, left, askOptions), 'asking tools');
    for (const folder of folders)
      if (!answers.has(folder.folder) && !left.includes(folder)) track(finishAlone(root, folder, askOptions), 'asking a tool');
  }

  async function finishTogether(root: string, folders: readonly ToolFolder[], askOptions: AskOptions): Promise<void> {
    const leave = await aloneSlots();
    if (closed) return leave();
    const told = await askTogether(folders, askOptions).finally(leave);
    await putIn(root, folders, told.answers);
    goOn(root, folders, told, askOptions);
  }

  /** It takes as long as it takes; the others are in service meanwhile. */
  async function finishAlone(root: string, folder: ToolFolder, askOptions: AskOptions): Promise<void> {
    const leave = await aloneSlots();
    if (closed) return leave();
    const answer = await askAlone(folder, askOptions).finally(leave);
    await putIn(root, [folder], new Map([[folder.folder, answer]]));
  }

  async function putIn(root: string, folders: readonly ToolFolder[], answers: ReadonlyMap<string, Answer>): Promise<void> {
    // behind the look that found them
    await last;
    if (closed) return;
    for (const folder of folders) {
      const id = idOf(root, folder);
      const [now, answer] = [entries.get(id), answers.get(folder.folder)];
      if (answer !== undefined && now?.folder.key === folder.key) entries.set(id, remembered(root, folder, answer, now));
    }
    publish();
    known.keep(new Set([...entries.values()].map(({ knownAs }) => knownAs)));
  }

  function track(work: Promise<unknown>, what: string): void {
    const tracked = work
      .then(
        () => undefined,
        (error: Error) => log({ level: 'error', message: `${what} failed: ${error.message}` }),
      )
      .finally(() => asking.delete(tracked));
    asking.add(tracked);
  }

  function askOptionsOf(root: string, { language }: ToolFolder): AskOptions {
    return {
      root,
      views,
      loadMs: options.loadMs ?? LOAD_MS,
      programOf: (view) => ({
        kind: 'tool',
        programs: program.folder,
        language,
        view,
        file: undefined,
        nodeModules: nearestModules(root),
      }),
      launch: (what) => options.launch(what, undefined, () => {}),
      signal: closing.signal,
      later: (work) => track(work, 'tidying up'),
    };
  }

  function remembered(root: string, folder: ToolFolder, answer: Answer, before: Entry | undefined): Entry {
    if ('told' in answer) known.set(knownKey(root, folder), answer.told);
    return entryOf(root, folder, answer, before);
  }

  function entryOf(root: string, folder: ToolFolder, answer: Answer, before: Entry | undefined): Entry {
    const entry = { root, folder, knownAs: knownKey(root, folder) };
    if ('problem' in answer) {
      const again = answer.unstarted === true ? 'soon' : answer.fatal === true ? 'no' : 'next';
      return { ...entry, loaded: before?.loaded, problem: answer.problem, again };
    }
    const { file, key, language } = folder;
    const known = { name: path.basename(folder.folder), language };
    const checked = checkDeclaration(answer.told.declared, known);
    if (checked.ok) {
      const tool = { ...checked.declaration, version: key, source: path.join(root, folder.folder) };
      return { ...entry, loaded: { tool, folder, root }, problem: undefined, again: 'no' };
    }
    const [first] = checked.problems;
    const place = fieldPosition(folder.files.get(file)?.toString() ?? '', nameIn(first?.field ?? ''));
    const message = checked.problems.map(({ field, message: what }) => (field === '' ? what : `${field}: ${what}`)).join('; ');
    return { ...entry, loaded: before?.loaded, problem: { file: path.join(root, file), ...place, message }, again: 'no' };
  }

  /** Puts in service what is known now. */
  function publish(): void {
    const twice: ToolProblem[] = [];
    const next = new Map<string, Loaded>();
    for (const root of roots) {
      const here = new Map<string, Loaded>();
      const own = [...entries.values()].flatMap((entry) => (entry.root === root && entry.loaded !== undefined ? [entry.loaded] : []));
      for (const each of inOrderOfClaims(own)) {
        const { name } = each.tool;
        const first = here.get(name);
        if (first === undefined) here.set(name, each);
        else
          twice.push({
            file: path.join(root, each.folder.file),
            message: `the tool "${name}" is also in ${first.tool.source}, which is the one in service; rename one of them`,
          });
      }
      for (const [name, each] of here) next.set(name, each);
    }
    report([...unreadable, ...[...entries.values()].flatMap(({ problem }) => problem ?? []), ...twice]);
    const before = served;
    served = next;
    for (const [name, { tool }] of served) {
      const old = before.get(name)?.tool;
      if (old?.version !== tool.version || old.source !== tool.source)
        log({
          level: 'info',
          message: 'tool loaded',
          tool: name,
          version: tool.version,
          folder: tool.source,
          methods: tool.methods.length,
        });
    }
    for (const name of before.keys()) if (!served.has(name)) log({ level: 'info', message: 'tool removed', tool: name });
    const changed =
      before.size !== served.size ||
      [...served].some(
        ([name, { tool }]) => before.get(name)?.tool.version !== tool.version || before.get(name)?.tool.source !== tool.source,
      );
    retireOthers();
    lookAgain();
    if (changed) for (const listener of listeners) listener();
  }

  /** Who has a name keeps it; else whose folder is called so; else the first by path. A name decides about secrets. */
  function inOrderOfClaims(own: readonly Loaded[]): readonly Loaded[] {
    const rank = ({ tool, folder }: Loaded): number => {
      if (served.get(tool.name)?.tool.source === tool.source) return 0;
      return path.basename(folder.folder) === tool.name ? 1 : 2;
    };
    return own.toSorted((a, b) => rank(a) - rank(b) || (a.folder.folder < b.folder.folder ? -1 : 1));
  }

  function retireOthers(): void {
    const current = new Set([...served.values()].map(serviceKey));
    for (const [key, { of, service }] of services) {
      if (current.has(of)) continue;
      services.delete(key);
      retired.add(service);
      service.retire();
    }
    for (const service of retired) if (!service.busy) retired.delete(service);
  }

  /** What did not start may start later, and no file changes by that. */
  function lookAgain(): void {
    clearTimeout(again);
    if (closed || ![...entries.values()].some((entry) => entry.again === 'soon')) return;
    again = setTimeout(() => void reload().catch(() => {}), AGAIN_MS);
    again.unref();
  }

  function serviceOf(loaded: Loaded, own: OwnSecrets | undefined): Service {
    const of = serviceKey(loaded);
    const key = own === undefined ? of : `${of}\0${JSON.stringify([own.user, [...own.secrets.keys()]])}`;
    const there = services.get(key);
    if (there !== undefined) return there.service;
    if (own !== undefined) forgetIdle();
    const { tool, folder, root } = loaded;
    const service = createService({
      tool,
      file: folder.file,
      async launch(onClose) {
        await makeRoom(
          [...services.values()].map(({ service: { pool } }) => pool),
          options.warmMost ?? WARM_MOST,
        );
        const leave = await startSlots();
        try {
          const view = writeView(views, folder);
          touchView(view);
          const began = performance.now();
          const what = { kind: 'tool', programs: program.folder, language: folder.language, view, file: folder.file } as const;
          const host = await options.launch({ ...what, nodeModules: nearestModules(root) }, tool, onClose, own);
          log({
            level: 'info',
            message: 'tool host started',
            tool: tool.name,
            version: tool.version,
            ms: Math.round(performance.now() - began),
          });
          return host;
        } finally {
          leave();
        }
      },
      isCurrent: () => options.isCurrent?.(tool, own) ?? Promise.resolve(true),
      idleMs: options.idleMs ?? IDLE_MS,
      loadMs: options.loadMs ?? LOAD_MS,
      log,
    });
    services.set(key, { of, service });
    return service;
  }

  /** Those of users who have not called for long: their processes have ended by themselves. */
  function forgetIdle(): void {
    for (const [key, { of, service }] of services)
      if (key !== of && !service.busy && !service.pool.busy && !service.pool.warm) services.delete(key);
  }

  /** One for all versions of a tool: a reload doubles nothing. */
  function slotsOf({ name, concurrency }: ServedTool): (signal?: AbortSignal) => Promise<() => void> {
    let there = slots.get(name);
    if (there?.most !== concurrency) {
      there = { most: concurrency, take: createSlots(concurrency) };
      slots.set(name, there);
    }
    return there.take;
  }

  async function dispatch(call: Dispatch): Promise<DispatchResult> {
    const loaded = served.get(call.tool.name);
    const refused = (code: string, message: string): DispatchResult => ({ ok: false, code, message, retryable: true, started: false });
    if (closed) return refused('TOOL_UNAVAILABLE', 'this server is being stopped');
    if (loaded === undefined) return refused('TOOL_REMOVED', `the tool ${call.tool.name} was removed`);
    // what was decided about was the method as it was declared then
    const now = loaded.tool.methods.find(({ name }) => name === call.method.name);
    if (loaded.tool.version !== call.tool.version && JSON.stringify(now) !== JSON.stringify(call.method))
      return refused('TOOL_CHANGED', `the method ${call.tool.name}.${call.method.name} was changed since the call was made`);
    return serviceOf(loaded, call.own).call(call, slotsOf(loaded.tool));
  }

  function report(now: readonly ToolProblem[]): void {
    const keyOf = ({ file, line, column, message }: ToolProblem): string => JSON.stringify([file, line, column, message]);
    const before = new Set(problems.map(keyOf));
    problems = now;
    for (const problem of now) {
      const { message, ...place } = problem;
      if (!before.has(keyOf(problem))) log({ level: 'error', message: `tool: ${message}`, ...place });
    }
  }

  await reload();
  return {
    list: () => [...served.values()].map(({ tool }) => tool).toSorted((a, b) => (a.name < b.name ? -1 : 1)),
    get: (name) => served.get(name)?.tool,
    problems: () => problems,
    onChange(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    dispatch,
    reload,
    async settled() {
      while (asking.size > 0) await Promise.all(asking);
    },
    async close() {
      closed = true;
      closing.abort();
      watcher?.close();
      await last;
      clearTimeout(again);
      await Promise.all([...[...services.values()].map(({ service }) => service), ...retired].map(({ pool }) => pool.close()));
      await Promise.all(asking);
    },
  };
}

const idOf = (root: string, { folder }: ToolFolder): string => `${root}\0${folder}`;
/** What one root tells of its code counts for that root alone: others may have the same code. */
/** Of the folder itself: a link to it is another one at each start. */
const knownKey = (root: string, { key }: ToolFolder): string => `${realIfThere(root)}\0${key}`;
function realIfThere(place: string): string {
  try {
    return fs.realpathSync.native(place);
  } catch {
    return place;
  }
}

const serviceKey = ({ tool }: Loaded): string => `${tool.source}\0${tool.version}`;

/** Of `methods.create_issue.risk`, what is to be found in the file: `create_issue`. */
function nameIn(field: string): string {
  const [first = '', second] = field.replace(/\[\d+\]/g, '').split('.');
  return first === 'methods' && second !== undefined ? second : first;
}
