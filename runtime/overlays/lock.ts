/** `centaur.lock`: which commit of each repository is served, and the checksum of its tree. Made to be kept under version control. */
import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import type { GitOverlay } from '@centaur/kernel/config';
import { OverlayError } from './git.ts';

export interface Locked {
  readonly git: string;
  readonly ref: string;
  readonly dir?: string;
  readonly commit: string;
  /** `sha256:` and 64 hex digits. */
  readonly checksum: string;
}

export type Lock = readonly Locked[];

const FIELDS: Readonly<Record<keyof Locked, RegExp>> = {
  git: /^[^]{1,1000}$/,
  ref: /^[^]{1,200}$/,
  dir: /^[^]{0,1000}$/,
  commit: /^[0-9a-f]{40}(?:[0-9a-f]{24})?$/,
  checksum: /^sha256:[0-9a-f]{64}$/,
};

/** @throws OverlayError when it cannot be read or is none: what it would pin is not guessed */
export function readLock(file: string): Lock {
  let text: string;
  try {
    text = fs.readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw new OverlayError('refused', `the lock file cannot be read: ${(error as Error).message}`, { cause: error });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new OverlayError('refused', `the lock file is no JSON: ${(error as Error).message}`, { cause: error });
  }
  const { version, overlays } = (value ?? {}) as { readonly version?: unknown; readonly overlays?: unknown };
  if (version !== 1 || !Array.isArray(overlays))
    throw new OverlayError('refused', 'the lock file is not usable: expected {"version": 1, "overlays": [...]}');
  return overlays.map((each: unknown, i) => asLocked(each, `overlays[${i}]`));
}

function asLocked(value: unknown, at: string): Locked {
  const given = (typeof value === 'object' && value !== null ? value : {}) as Readonly<Record<string, unknown>>;
  for (const [name, form] of Object.entries(FIELDS)) {
    const field = given[name];
    if (field === undefined && name === 'dir') continue;
    if (typeof field !== 'string' || !form.test(field))
      throw new OverlayError('refused', `the lock file is not usable: ${at}.${name} is missing or malformed`);
  }
  const unknown = Object.keys(given).find((name) => !(name in FIELDS));
  if (unknown !== undefined) throw new OverlayError('refused', `the lock file is not usable: ${at}.${unknown}: unknown key`);
  return value as Locked;
}

/** What is locked for this address, ref and folder: with another one of them it is another overlay. */
export function findLocked(lock: Lock, { url, ref, dir }: GitOverlay): Locked | undefined {
  return lock.find((each) => each.git === url && each.ref === ref && (each.dir ?? '') === dir);
}

export function withLocked(lock: Lock, { url, ref, dir }: GitOverlay, { commit, checksum }: Pick<Locked, 'commit' | 'checksum'>): Lock {
  const others = lock.filter((each) => !(each.git === url && each.ref === ref && (each.dir ?? '') === dir));
  return [...others, { git: url, ref, ...(dir === '' ? {} : { dir }), commit, checksum }];
}

/** The same order for everybody, so that a change of one overlay is a change of one entry. */
export function writeLock(file: string, lock: Lock): void {
  const key = ({ git, ref, dir }: Locked): string => `${git}\0${ref}\0${dir ?? ''}`;
  const overlays = lock.toSorted((a, b) => (key(a) < key(b) ? -1 : 1));
  const draft = `${file}.${randomUUID()}.new`;
  try {
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(draft, `${JSON.stringify({ version: 1, overlays }, null, 2)}\n`);
    fs.renameSync(draft, file);
  } catch (error) {
    fs.rmSync(draft, { force: true });
    throw new OverlayError('refused', `the lock file cannot be written: ${(error as Error).message}`, { cause: error });
  }
}
