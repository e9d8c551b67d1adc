/**
 * Overlays: what a team adds to the platform without changing it: tools, workflows, skills, personas and words for every agent, in folders and
 * in Git repositories that are laid over each other in order.
 *
 * It promises that one resolver says for everybody what hides what (the later layer has the word), that a repository is served at the commit
 * of the lock file and no other, with the tree that its checksum means, that one layer which cannot be had stops no other and what was served before goes
 * on, and that a change is in service without a restart. It never runs anything of an overlay, and an overlay has no say in
 * what policy allows: it holds code and words, and nothing else of it is read.
 *
 * Read `contents.ts` for what a layer is made of, `git.ts` for how repositories are fetched, `checkout.ts` for how they become folders.
 */
import fs from 'node:fs';
import path from 'node:path';
import type { GitOverlay, OverlayEntry } from '@centaur/kernel/config';
import { nearestDirectory } from '../hosts/hosted/view.ts';
import { watchDirectories } from '../hosts/node/watch.ts';
import { type Checkout, createCheckout, type Taken } from './checkout.ts';
import { type Persona, shadowed, type Skill, type SkillSource } from '../skills/index.ts';
import { type Code, NO_WORDS, readWords, toolsOf, type Words, workflowsOf } from './contents.ts';
import { type GitLimits, LIMITS, OverlayError } from './git.ts';
import { findLocked, type Lock, readLock, withLocked, writeLock } from './lock.ts';

export { type Finding, lintOverlays } from './lint.ts';

export interface Layer {
  /** Unique; of a folder that holds one kind of thing, its path. */
  readonly name: string;
  readonly kind: 'built_in' | 'folder' | 'git' | 'dir';
  /** Where it is, for as long as it is a layer; undefined for a folder of one kind of thing, which may lead anywhere. */
  readonly folder: string | undefined;
  /** Where each kind of thing is, or would be: nothing need be there. */
  readonly places: Places;
  /** Of a repository. */
  readonly git?: { readonly url: string; readonly ref: string; readonly dir: string; readonly commit: string | undefined };
}

export interface Places {
  readonly tools?: string;
  readonly workflows?: string;
  readonly skills?: string;
  readonly personas?: string;
  readonly systemPrompt?: string;
}

/** With the layer that it is of, and the file that says what it is. */
export type FoundSkill = Skill & { readonly layer: string; readonly file: string };
export type FoundPersona = Persona & { readonly layer: string; readonly file: string };

export interface PromptPart {
  readonly layer: string;
  readonly file: string;
  readonly text: string;
}

export type OverlayKind = 'tool' | 'workflow' | 'skill' | 'persona';

export interface Shadow {
  readonly kind: OverlayKind;
  readonly name: string;
  /** The layer whose thing is in service. */
  readonly layer: string;
  readonly file: string;
  /** The layers whose things it hides, the nearest first. */
  readonly hidden: readonly { readonly layer: string; readonly file: string }[];
}

export interface OverlayProblem {
  readonly layer: string;
  /** Or the address of a repository. */
  readonly file: string;
  readonly line?: number;
  readonly message: string;
}

export interface LayerContents {
  readonly layer: Layer;
  readonly tools: readonly Code[];
  readonly workflows: readonly Code[];
  readonly skills: readonly FoundSkill[];
  readonly personas: readonly FoundPersona[];
  readonly prompt: PromptPart | undefined;
  readonly problems: readonly OverlayProblem[];
}

export interface Updated {
  readonly name: string;
  readonly before: string | undefined;
  readonly commit: string;
  readonly checksum: string;
}

export interface OverlaysLogEntry {
  readonly level: 'info' | 'warn' | 'error';
  readonly message: string;
  readonly [field: string]: unknown;
}

export interface OverlaysOptions {
  readonly entries: readonly OverlayEntry[];
  /** Below all others: what comes with the platform. */
  readonly builtIn?: string;
  /** Above all others, in order: folders that hold one kind of thing. */
  readonly workflowDirs?: readonly string[];
  readonly toolDirs?: readonly string[];
  readonly skillDirs?: readonly string[];
  /** Of this installation; the trees of commits are kept in it. */
  readonly stateDir: string;
  readonly lockFile: string;
  /** Whether a ref that is not in the lock file is refused, and not put there. */
  readonly frozen?: boolean;
  readonly watch?: boolean;
  /** For whoever only looks: what servers serve stays as it is. */
  readonly aside?: boolean;
  readonly log?: (entry: OverlaysLogEntry) => void;
  readonly limits?: Partial<GitLimits>;
}

export interface Overlays extends SkillSource {
  /** The lowest first. */
  layers(): readonly Layer[];
  /** Where tools or workflows are, the lowest first; none of them need be there. They are the same for as long as this is open. */
  roots(kind: 'tools' | 'workflows'): readonly string[];
  /** Those in service, by name. */
  skills(): readonly FoundSkill[];
  personas(): readonly FoundPersona[];
  /** All of them, in the order of the layers: they add to each other. */
  systemPrompt(): readonly PromptPart[];
  /** What each layer holds, hidden or not; files are read for it. */
  contents(): readonly LayerContents[];
  /** What hides what; files are read for it. */
  shadows(): readonly Shadow[];
  /** What of the layers cannot be had or used. */
  problems(): readonly OverlayProblem[];
  /** Called when a layer, a skill, a persona or a prompt is another one. Tools and workflows in folders are watched by whoever runs them. */
  onChange(listener: () => void): () => void;
  /** Looks at the lock file and the layers now. */
  refresh(): Promise<void>;
  /** Moves the lock of the repositories of these names, or of all, to what their refs are now. @throws OverlayError when one cannot be had; none is moved then */
  update(names?: readonly string[]): Promise<readonly Updated[]>;
  close(): Promise<void>;
}

interface Repository {
  readonly overlay: GitOverlay;
  readonly checkout: Checkout;
  served: Taken | undefined;
  problem: { readonly message: string; readonly passing: boolean } | undefined;
}

/** What could not be reached is tried again. */
const AGAIN_MS = 60_000;
const TOUCH_MS = 3_600_000;

export async function openOverlays(options: OverlaysOptions): Promise<Overlays> {
  const { lockFile, log = () => {} } = options;
  const limits = { ...LIMITS, ...options.limits };
  const repositories = new Map<string, Repository>();
  for (const overlay of options.entries)
    if (overlay.kind === 'git')
      repositories.set(overlay.name, {
        overlay,
        checkout: createCheckout(overlay, { stateDir: options.stateDir, lockFile, aside: options.aside ?? false }, limits),
        served: undefined,
        problem: undefined,
      });
  const inUse = setInterval(() => repositories.forEach(({ checkout }) => checkout.touch()), TOUCH_MS).unref();
  const listeners = new Set<() => void>();
  let words: readonly { readonly layer: Layer; readonly words: Words }[] = [];
  let problems: readonly OverlayProblem[] = [];
  let known = '';
  let again: NodeJS.Timeout | undefined;
  let closed = false;
  let last: Promise<void> = Promise.resolve();
  const watcher =
    options.watch === false
      ? undefined
      : watchDirectories(
          () =>
            void refresh().catch((error: Error) => log({ level: 'error', message: `the overlays cannot be looked at: ${error.message}` })),
          (directory, error) => log({ level: 'warn', message: `cannot watch for changes: ${error.message}`, directory }),
        );

  // one after the other: two at once could put the older one in service last
  function refresh(): Promise<void> {
    const next = last.then(() => (closed ? undefined : look()));
    last = next.catch(() => undefined);
    return next;
  }

  async function look(): Promise<void> {
    await takeLocked();
    if (closed) return;
    words = layers().map((layer) => ({ layer, words: isHere(layer) ? wordsOf(layer) : NO_WORDS }));
    const missing = layers().filter(({ kind, folder }) => kind === 'folder' && folder !== undefined && !isFolder(folder));
    report([
      ...[...repositories.values()].flatMap(({ overlay, problem }) =>
        problem === undefined ? [] : [{ layer: overlay.name, file: overlay.url, message: problem.message }],
      ),
      ...missing.map(({ name, folder }) => ({ layer: name, file: folder ?? '', message: 'there is no such folder' })),
      ...words.flatMap((each) => each.words.problems),
    ]);
    watcher?.set(watched());
    clearTimeout(again);
    if ([...repositories.values()].some(({ problem }) => problem?.passing))
      again = setTimeout(() => void refresh().catch(() => {}), AGAIN_MS).unref();
    const now = fingerprint();
    if (now === known) return;
    const first = known === '';
    known = now;
    if (!first) for (const listener of listeners) listener();
  }

  async function takeLocked(): Promise<void> {
    if (repositories.size === 0) return;
    let lock: Lock;
    try {
      lock = readLock(lockFile);
    } catch (error) {
      // what it pins is unknown: what is served stays
      for (const each of repositories.values()) each.problem = { message: `${lockFile}: ${(error as Error).message}`, passing: false };
      return;
    }
    const fresh = new Map<Repository, Taken>();
    await Promise.all(
      [...repositories.values()].map(async (each) => {
        try {
          const taken = await takeOne(each, lock);
          if (taken.isNew) fresh.set(each, taken);
          else serve(each, taken);
        } catch (error) {
          each.problem = { message: (error as Error).message, passing: !(error instanceof OverlayError) || error.code === 'unreachable' };
        }
      }),
    );
    if (fresh.size === 0 || closed) return;
    try {
      // read again: another process may have locked others meanwhile
      lock = readLock(lockFile);
      for (const [{ overlay }, taken] of fresh) lock = findLocked(lock, overlay) === undefined ? withLocked(lock, overlay, taken) : lock;
      writeLock(lockFile, lock);
    } catch (error) {
      for (const each of fresh.keys()) each.problem = { message: `${lockFile}: ${(error as Error).message}`, passing: false };
      return;
    }
    for (const [each, taken] of fresh) {
      const locked = findLocked(lock, each.overlay);
      // somebody else was first, with another commit: the next look has it
      if (locked?.commit === taken.commit) serve(each, taken);
      log({
        level: 'info',
        message: 'an overlay was locked',
        overlay: each.overlay.name,
        ref: each.overlay.ref,
        commit: locked?.commit,
        file: lockFile,
      });
    }
  }

  async function takeOne({ overlay, checkout, served }: Repository, lock: Lock): Promise<Taken & { readonly isNew: boolean }> {
    const locked = findLocked(lock, overlay);
    if (locked === undefined) {
      if (options.frozen === true)
        throw new OverlayError(
          'refused',
          `${overlay.ref} is not in ${lockFile}, and overlays are frozen: centaur overlays update ${overlay.name}, look at what it brings, and keep the file`,
        );
      // a lock file that was lost moves nothing
      return { ...(served ?? (await checkout.resolve())), isNew: true };
    }
    const { commit, checksum } = locked;
    if (served?.commit !== commit || served.checksum !== checksum) await checkout.ensure({ commit, checksum });
    return { commit, checksum, isNew: false };
  }

  function serve(each: Repository, { commit, checksum }: Taken): void {
    each.problem = undefined;
    // each time: somebody may have moved it
    each.checkout.serve(commit);
    if (each.served?.commit === commit && each.served.checksum === checksum) return;
    each.served = { commit, checksum };
    log({ level: 'info', message: 'overlay in service', overlay: each.overlay.name, ref: each.overlay.ref, commit });
  }

  function report(now: readonly OverlayProblem[]): void {
    const key = ({ layer, file, line, message }: OverlayProblem): string => JSON.stringify([layer, file, line, message]);
    const before = new Set(problems.map(key));
    problems = now;
    for (const problem of now)
      if (!before.has(key(problem)))
        log({ level: 'error', message: `overlay: ${problem.message}`, overlay: problem.layer, file: placeOf(problem) });
  }

  function layers(): readonly Layer[] {
    const dirs = (kind: 'tools' | 'workflows' | 'skills', given: readonly string[] = []): Layer[] =>
      given.map((dir) => ({ name: dir, kind: 'dir', folder: undefined, places: { [kind]: path.resolve(dir) } }));
    return [
      ...(options.builtIn === undefined ? [] : [overlayAt('built-in', 'built_in', options.builtIn)]),
      ...options.entries.map((entry): Layer => {
        if (entry.kind === 'folder') return overlayAt(entry.name, 'folder', entry.path);
        const { checkout, served } = repositories.get(entry.name) as Repository;
        const { url, ref, dir } = entry;
        return { ...overlayAt(entry.name, 'git', checkout.folder), git: { url, ref, dir, commit: served?.commit } };
      }),
      ...dirs('workflows', options.workflowDirs),
      ...dirs('tools', options.toolDirs),
      ...dirs('skills', options.skillDirs),
    ];
  }

  function watched(): readonly string[] {
    // what is served of a repository does not change: the lock file does
    const folders = words.filter(({ layer }) => layer.kind !== 'git').flatMap((each) => each.words.directories);
    const absent = layers().flatMap(({ kind, folder, places }) => {
      const place = kind === 'dir' ? places.skills : kind === 'folder' ? folder : undefined;
      return place === undefined || isFolder(place) ? [] : [nearestDirectory(place)];
    });
    const lock = repositories.size === 0 ? [] : [isFolder(path.dirname(lockFile)) ? path.dirname(lockFile) : nearestDirectory(lockFile)];
    return [...new Set([...folders, ...absent, ...lock])];
  }

  function fingerprint(): string {
    return JSON.stringify([
      layers().map(({ name, git }) => [name, git?.commit]),
      words.map((each) => [
        each.words.skills.map(({ name, version }) => [name, version]),
        each.words.personas.map(({ name, sha256 }) => [name, sha256]),
        each.words.prompt?.text,
      ]),
    ]);
  }

  function contents(): readonly LayerContents[] {
    return words.map(({ layer, words: each }) => {
      const tools = isHere(layer) ? toolsOf(layer) : NO_CODE;
      const workflows = isHere(layer) ? workflowsOf(layer) : NO_CODE;
      const { skills, personas, prompt } = each;
      return {
        layer,
        tools: tools.items,
        workflows: workflows.items,
        skills,
        personas,
        prompt,
        problems: [...problems.filter((problem) => problem.layer === layer.name), ...tools.problems, ...workflows.problems],
      };
    });
  }

  async function update(names: readonly string[] = [...repositories.keys()]): Promise<readonly Updated[]> {
    const chosen = names.map((name) => {
      const found = repositories.get(name);
      if (found !== undefined) return found;
      const others = options.entries.some((entry) => entry.name === name)
        ? 'it is a folder, which is taken as it is'
        : `there are ${[...repositories.keys()].join(', ') || 'none'}`;
      throw new OverlayError('refused', `no repository among the overlays is called "${name}": ${others}`);
    });
    const before = readLock(lockFile);
    const moved = await Promise.all(
      chosen.map(async ({ overlay, checkout }) => {
        try {
          return { overlay, taken: await checkout.resolve() };
        } catch (error) {
          if (!(error instanceof OverlayError)) throw error;
          throw new OverlayError(error.code, `${overlay.name}: ${error.message}`, { cause: error });
        }
      }),
    );
    let lock = readLock(lockFile);
    for (const { overlay, taken } of moved) lock = withLocked(lock, overlay, taken);
    if (moved.length > 0) writeLock(lockFile, lock);
    await refresh();
    return moved.map(({ overlay, taken }) => ({ name: overlay.name, before: findLocked(before, overlay)?.commit, ...taken }));
  }

  await refresh();
  return {
    layers,
    roots: (kind) => layers().flatMap(({ places }) => places[kind] ?? []),
    skills: () => shadowed(words.map((each) => each.words.skills)),
    personas: () => shadowed(words.map((each) => each.words.personas)),
    systemPrompt: () => words.flatMap((each) => each.words.prompt ?? []),
    contents,
    shadows: () => shadowsOf(contents()),
    problems: () => problems,
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    refresh,
    update,
    async close() {
      closed = true;
      clearTimeout(again);
      clearInterval(inUse);
      watcher?.close();
      await last;
      for (const { checkout } of repositories.values()) checkout.close();
      listeners.clear();
    },
  };
}

/** An overlay has all kinds of things, each at its place. */
function overlayAt(name: string, kind: 'built_in' | 'folder' | 'git', folder: string): Layer {
  const at = (...parts: readonly string[]): string => path.join(folder, ...parts);
  return {
    name,
    kind,
    folder,
    places: {
      tools: at('tools'),
      workflows: at('workflows'),
      skills: at('.agents', 'skills'),
      personas: at('personas'),
      systemPrompt: at('SYSTEM_PROMPT.md'),
    },
  };
}

const NO_CODE = { items: [], problems: [] };

/** What a link of an earlier process leads to is not served. */
function isHere({ kind, git }: Layer): boolean {
  return kind !== 'git' || git?.commit !== undefined;
}

function shadowsOf(contents: readonly LayerContents[]): readonly Shadow[] {
  const kinds: readonly (readonly [OverlayKind, (of: LayerContents) => readonly Code[]])[] = [
    ['tool', ({ tools }) => tools],
    ['workflow', ({ workflows }) => workflows],
    ['skill', ({ skills }) => skills],
    ['persona', ({ personas }) => personas],
  ];
  return kinds.flatMap(([kind, itemsOf]) => {
    const byName = new Map<string, { readonly layer: string; readonly file: string }[]>();
    for (const each of contents) {
      for (const { name, file } of itemsOf(each)) byName.set(name, [{ layer: each.layer.name, file }, ...(byName.get(name) ?? [])]);
    }
    return [...byName].flatMap(([name, [top, ...hidden]]): Shadow[] =>
      top === undefined || hidden.length === 0 ? [] : [{ kind, name, ...top, hidden }],
    );
  });
}

/** The file, with the line if there is one. */
export function placeOf({ file, line }: Pick<OverlayProblem, 'file' | 'line'>): string {
  return line === undefined ? file : `${file}:${line}`;
}

/** Whatever is wrong with one layer is that one's. */
function wordsOf(layer: Layer): Words {
  try {
    return readWords(layer);
  } catch (error) {
    return { ...NO_WORDS, problems: [{ layer: layer.name, file: layer.folder ?? layer.name, message: (error as Error).message }] };
  }
}

function isFolder(place: string): boolean {
  try {
    return fs.statSync(place).isDirectory();
  } catch {
    return false;
  }
}
