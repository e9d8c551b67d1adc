/** Which overlays there are, as CENTAUR_OVERLAYS and centaur.yaml name them. Nothing is looked at here but the words. */
import { basename, resolve } from 'node:path';
import { z } from 'zod';

export type OverlayEntry = FolderOverlay | GitOverlay;

export interface FolderOverlay {
  readonly kind: 'folder';
  /** Unique among the overlays of an installation. */
  readonly name: string;
  readonly path: string;
}

export interface GitOverlay {
  readonly kind: 'git';
  readonly name: string;
  readonly url: string;
  /** A branch, a tag, a commit, or HEAD. */
  readonly ref: string;
  /** A folder of the repository; empty: all of it. */
  readonly dir: string;
}

/** As it is written in centaur.yaml. */
export const OVERLAY = z.strictObject({
  name: z.string().optional(),
  path: z.string().min(1).max(1000).optional(),
  git: z.string().min(1).max(1000).optional(),
  ref: z.string().optional(),
  dir: z.string().optional(),
});

type Given = z.output<typeof OVERLAY>;

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const REF = /^[A-Za-z0-9][A-Za-z0-9._/+@-]{0,199}$/;
const HOST = /^[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?$/;
/** As scp has it: the address that GitHub shows for ssh. */
const SCP = /^([A-Za-z0-9][\w.-]*)@([A-Za-z0-9][\w.-]*):([A-Za-z0-9~/][^:\s]*)$/;
const REPOSITORY = /^(?:https|ssh|file):\/\//;

/** Separated by commas: a folder, or a repository with `#ref` or `#ref:folder/in/it`. */
export function parseOverlayList(text: string, cwd: string): { readonly entries: readonly OverlayEntry[]; readonly problems: string[] } {
  const given = text
    .split(',')
    .map((part) => part.trim())
    .filter(Boolean);
  return readAll(
    given.map((part) => ({ said: `"${withoutSecret(part)}"`, given: fromText(part) })),
    cwd,
  );
}

/** What is wrong is told by the place in the list. */
export function readOverlays(
  given: readonly Given[],
  base: string,
): { readonly entries: readonly OverlayEntry[]; readonly wrong: ReadonlyMap<number, string> } {
  const wrong = new Map<number, string>();
  const entries = given.map((each, i) => {
    const entry = readOverlay(each, base);
    if (typeof entry === 'string') wrong.set(i, entry);
    return entry;
  });
  return { entries: named(entries.filter((entry) => typeof entry !== 'string')), wrong };
}

function readAll(
  given: readonly { readonly said: string; readonly given: Given }[],
  base: string,
): { readonly entries: readonly OverlayEntry[]; readonly problems: string[] } {
  const { entries, wrong } = readOverlays(
    given.map((each) => each.given),
    base,
  );
  return { entries, problems: [...wrong].map(([i, why]) => `${given[i]?.said ?? ''}: ${why}`) };
}

function fromText(text: string): Given {
  // what looks like an address and is none must not become the name of a folder
  if (!/^[A-Za-z][A-Za-z0-9+.-]*:(?:\/\/|:)/.test(text) && !/^[^/]+@[^/]+:/.test(text)) return { path: text };
  const at = text.indexOf('#');
  if (at < 0) return { git: text };
  const fragment = text.slice(at + 1);
  const colon = fragment.indexOf(':');
  const ref = colon < 0 ? fragment : fragment.slice(0, colon);
  return { git: text.slice(0, at), ...(ref === '' ? {} : { ref }), ...(colon < 0 ? {} : { dir: fragment.slice(colon + 1) }) };
}

/** @returns what is wrong, as a text, when it is no overlay */
function readOverlay({ name, path, git, ref, dir }: Given, base: string): OverlayEntry | string {
  if (name !== undefined && !NAME.test(name)) return 'its name is not usable: expected letters, digits, ".", "_" and "-", at most 64';
  if (path !== undefined && git !== undefined) return 'give "path" or "git", not both';
  if (path !== undefined) {
    if (ref !== undefined || dir !== undefined) return '"ref" and "dir" are for repositories: a folder is taken as it is';
    if (hasControl(path)) return 'its path has a control character in it';
    const full = resolve(base, path);
    return { kind: 'folder', name: name ?? slug(basename(full)), path: full };
  }
  if (git === undefined) return 'expected "path", a folder, or "git", the address of a repository';
  const wrong = urlProblem(git) ?? refProblem(ref) ?? dirProblem(dir);
  if (wrong !== undefined) return wrong;
  const inner = (dir ?? '').split('/').filter(Boolean).join('/');
  const last = basename(
    git
      .replace(/\/+$/, '')
      .replace(/\.git$/, '')
      .replace(':', '/'),
  );
  return { kind: 'git', name: name ?? slug(last), url: git, ref: ref ?? 'HEAD', dir: inner };
}

function urlProblem(url: string): string | undefined {
  if (hasControl(url) || /\s/.test(url)) return 'its address has a space or a control character in it';
  if (SCP.test(url)) return undefined;
  if (/^(?:http|git):\/\//.test(url)) return 'whoever is on the way could change what comes: use https:// or ssh://';
  if (!REPOSITORY.test(url) || !URL.canParse(url))
    return 'expected https://host/repository.git, ssh://git@host/repository.git, git@host:repository.git or file:///folder';
  const { protocol, hostname, username, password, pathname, search } = new URL(url);
  if (password !== '' || (protocol === 'https:' && username !== ''))
    return 'an address is written into the lock file and the log: keep passwords and tokens out of it, or use ssh with a deploy key';
  if (search !== '') return 'an address has no "?" in it';
  if (protocol === 'file:') return hostname === '' && pathname.length > 1 ? undefined : 'expected file:///folder';
  if (!HOST.test(hostname) || username.startsWith('-')) return 'its host is not usable';
  return pathname.replaceAll('/', '') === '' ? 'it names no repository' : undefined;
}

/** The rules of Git, and nothing that it could take for an option or a range. */
function refProblem(ref: string | undefined): string | undefined {
  if (ref === undefined) return undefined;
  const wrong = !REF.test(ref) || /\.\.|\/\/|@\{|\/\.|\.lock(?:\/|$)|[/.]$/.test(ref);
  return wrong ? 'its ref is not usable: expected a branch, a tag or a commit' : undefined;
}

function dirProblem(dir: string | undefined): string | undefined {
  if (dir === undefined) return undefined;
  const parts = dir.replace(/\/+$/, '').split('/');
  const bad =
    hasControl(dir) || dir.includes('\\') || parts.some((part) => part === '' || part === '.' || part === '..' || /^-|^\.git$/i.test(part));
  return bad ? 'its folder is not usable: expected one of the repository, such as overlays/sales' : undefined;
}

/** The second of a name becomes `name-2`. */
function named(entries: readonly OverlayEntry[]): readonly OverlayEntry[] {
  const taken = new Set<string>();
  return entries.map((entry) => {
    let { name } = entry;
    for (let i = 2; taken.has(name); i++) name = `${entry.name}-${i}`;
    taken.add(name);
    return { ...entry, name };
  });
}

function slug(text: string): string {
  const plain = text.replace(/[^A-Za-z0-9._-]+/g, '-').replace(/^[^A-Za-z0-9]+/, '');
  return plain.slice(0, 60) || 'overlay';
}

function withoutSecret(text: string): string {
  return text.replace(/\/\/[^/@]*@/, '//...@');
}

function hasControl(text: string): boolean {
  // oxlint-disable-next-line no-control-regex -- they are what is looked for
  return /[\u0000-\u001f\u007f]/.test(text);
}
