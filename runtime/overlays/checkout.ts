/** Trees of commits as folders: written file by file, with a checksum that says what is in them, and a link that says which one is served. */
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import type { GitOverlay } from '@centaur/kernel/config';
import { fetchCommit, type GitLimits, listTree, OverlayError, readObjects, type TreeEntry } from './git.ts';

export interface Taken {
  readonly commit: string;
  /** `sha256:` and 64 hex digits. */
  readonly checksum: string;
}

/** Of the commits that were served, besides the one that is: a run may still be reading it. */
const KEPT = 3;
const OLD_MS = 24 * 3_600_000;
/** Of a process that did not end in order. Those of others are touched. */
const LINK_OLD_MS = 7 * OLD_MS;

export interface Checkout {
  /** Where this process finds the commit that it serves, whichever it is; nothing is there before. */
  readonly folder: string;
  /** Which commit a ref is now; its tree is then here. */
  resolve(): Promise<Taken>;
  /** Makes the tree of a commit be here, and be the one that the checksum means. @throws OverlayError when it is not */
  ensure(taken: Taken): Promise<void>;
  /** From one moment to the next. */
  serve(commit: string): void;
  /** Says that what is served is in use. */
  touch(): void;
  close(): void;
}

export interface CheckoutPlace {
  readonly stateDir: string;
  /** What says which commit is served: two of them may say different things of one overlay. */
  readonly lockFile: string;
  /** For whoever only looks: `folder` is that of the commit. */
  readonly aside: boolean;
}

export function createCheckout(overlay: GitOverlay, { stateDir, lockFile, aside }: CheckoutPlace, limits: GitLimits): Checkout {
  const { url, ref, dir, name } = overlay;
  const id = createHash('sha256')
    .update([name, url, dir, path.resolve(lockFile)].join('\0'))
    .digest('hex')
    .slice(0, 12);
  const place = path.join(stateDir, `${name.toLowerCase()}-${id}`);
  const commits = path.join(place, 'commits');
  // of this process alone: what another one cannot have goes on where it is served
  const current = path.join(place, `current-${randomBytes(4).toString('hex')}`);
  let folder = current;
  fs.mkdirSync(commits, { recursive: true, mode: 0o755 });
  tidy(place);

  async function take(expected: Taken | undefined): Promise<Taken> {
    const repository = path.join(place, `.fetch-${randomUUID()}`);
    const draft = path.join(place, `.draft-${randomUUID()}`);
    try {
      const fetched = await fetchCommit(repository, { url, ref, commit: expected?.commit }, limits);
      const entries = await listTree(repository, fetched, dir, limits);
      const objects = await readObjects(repository, entries, limits);
      const checksum = writeTree(draft, entries, objects);
      // before it is anywhere: what is served at this commit may be well
      if (expected !== undefined && checksum !== expected.checksum)
        throw new OverlayError(
          'refused',
          `its tree at ${fetched.slice(0, 12)} is not the one of the lock file: ${checksum}, expected ${expected.checksum}`,
        );
      const target = path.join(commits, fetched);
      replace(draft, target, checksum);
      return { commit: fetched, checksum };
    } finally {
      fs.rmSync(draft, { recursive: true, force: true });
      fs.rmSync(repository, { recursive: true, force: true });
    }
  }

  function touch(): void {
    const now = new Date();
    const target = linkTarget(current);
    if (target === undefined) return;
    try {
      fs.lutimesSync(current, now, now);
      fs.utimesSync(path.join(place, target), now, now);
    } catch {
      // another user made it: then its time is kept by a server of that user's, or nobody minds
    }
  }

  return {
    get folder() {
      return folder;
    },
    resolve: () => take(undefined),
    async ensure(taken) {
      if (checksumIfThere(path.join(commits, taken.commit)) !== taken.checksum) await take(taken);
    },
    serve(commit) {
      if (aside) {
        folder = path.join(commits, commit);
        return;
      }
      const target = path.join('commits', commit);
      if (linkTarget(current) !== target) {
        const draft = path.join(place, `.current-${randomUUID()}`);
        fs.symlinkSync(target, draft);
        fs.renameSync(draft, current);
      }
      touch();
      prune(commits, commit);
    },
    touch,
    close() {
      if (!aside) fs.rmSync(current, { force: true });
    },
  };
}

/** Of what is there: every file, its bytes and whether it may be run. */
function checksumOf(folder: string): string {
  const lines: string[] = [];
  const visit = (inner: string): void => {
    for (const entry of fs.readdirSync(path.join(folder, inner), { withFileTypes: true })) {
      const name = inner === '' ? entry.name : `${inner}/${entry.name}`;
      const full = path.join(folder, name);
      if (entry.isDirectory()) visit(name);
      else if (entry.isSymbolicLink()) lines.push(lineOf('120000', name, Buffer.from(fs.readlinkSync(full))));
      else if (entry.isFile())
        lines.push(lineOf((fs.statSync(full).mode & 0o111) === 0 ? '100644' : '100755', name, fs.readFileSync(full)));
      else lines.push(`other ${name}`);
    }
  };
  visit('');
  return checksum(lines);
}

function writeTree(folder: string, entries: readonly TreeEntry[], objects: ReadonlyMap<string, Buffer>): string {
  const lines: string[] = [];
  const links: { readonly at: string; readonly target: string }[] = [];
  mkdir(folder);
  for (const { path: name, mode, object } of entries) {
    const data = objects.get(object) as Buffer;
    lines.push(lineOf(mode, name, data));
    const at = path.join(folder, name);
    if (mode === '120000') {
      links.push({ at, target: linkInside(name, data) });
      continue;
    }
    mkdir(path.dirname(at));
    fs.writeFileSync(at, data, { flag: 'wx' });
    fs.chmodSync(at, mode === '100755' ? 0o755 : 0o644);
  }
  // after every file, so that none is written through one
  for (const { at, target } of links) {
    mkdir(path.dirname(at));
    fs.symlinkSync(target, at);
  }
  // the kernel's own reading: the one in JavaScript takes `link/..` for the folder that the link is in
  const root = fs.realpathSync.native(folder);
  for (const { at, target } of links) {
    const real = realIfThere(at);
    if (real === undefined || (real !== root && !real.startsWith(root + path.sep)))
      throw new OverlayError('refused', `${path.relative(folder, at)}: a link to ${target}, which is not in it`);
  }
  return checksum(lines);
}

function linkInside(name: string, data: Buffer): string {
  const target = data.toString();
  const end = path.posix.normalize(path.posix.join(path.posix.dirname(name), target));
  if (target === '' || target.includes('\0') || target.startsWith('/') || end === '..' || end.startsWith('../'))
    throw new OverlayError('refused', `${name}: a link to ${target.slice(0, 200)}, which is outside of it`);
  return target;
}

function mkdir(folder: string): void {
  // one by one: the mode of mkdir is subject to the umask, and others must be able to read
  if (fs.existsSync(folder)) return;
  mkdir(path.dirname(folder));
  fs.mkdirSync(folder);
  fs.chmodSync(folder, 0o755);
}

const lineOf = (mode: string, name: string, data: Buffer): string => `${mode} ${name}\0${createHash('sha256').update(data).digest('hex')}`;

function checksum(lines: readonly string[]): string {
  return `sha256:${createHash('sha256').update(lines.toSorted().join('\n')).digest('hex')}`;
}

function checksumIfThere(folder: string): string | undefined {
  try {
    return checksumOf(folder);
  } catch {
    return undefined;
  }
}

function replace(draft: string, target: string, checksum: string): void {
  if (moved(draft, target) || checksumIfThere(target) === checksum) return;
  // what is there and is not this, somebody has written to
  const old = `${draft}.old`;
  if (fs.existsSync(target)) fs.renameSync(target, old);
  // or another process of this installation was faster
  if (!moved(draft, target) && checksumIfThere(target) !== checksum) throw new OverlayError('unreachable', `${target} cannot be replaced`);
  fs.rmSync(old, { recursive: true, force: true });
}

/** Unless something is there. */
function moved(draft: string, target: string): boolean {
  try {
    fs.renameSync(draft, target);
    return true;
  } catch (error) {
    if (['ENOTEMPTY', 'EEXIST', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return false;
    throw error;
  }
}

function linkTarget(file: string): string | undefined {
  try {
    return fs.readlinkSync(file);
  } catch {
    return undefined;
  }
}

function realIfThere(file: string): string | undefined {
  try {
    return fs.realpathSync.native(file);
  } catch {
    return undefined;
  }
}

/** What a process has left behind that died at its work. */
function tidy(place: string): void {
  for (const name of fs.readdirSync(place)) {
    const full = path.join(place, name);
    const most = /^\.(?:fetch|draft|current)-/.test(name) ? OLD_MS : name.startsWith('current-') ? LINK_OLD_MS : Number.POSITIVE_INFINITY;
    if (isOlder(full, most)) fs.rmSync(full, { recursive: true, force: true });
  }
}

function isOlder(place: string, ms: number): boolean {
  const stat = fs.lstatSync(place, { throwIfNoEntry: false });
  return stat !== undefined && stat.mtimeMs < Date.now() - ms;
}

/** Others may do the same at this moment. */
function prune(commits: string, current: string): void {
  const others = fs
    .readdirSync(commits)
    .filter((name) => name !== current)
    .map((name) => ({ name, at: fs.statSync(path.join(commits, name), { throwIfNoEntry: false })?.mtimeMs ?? 0 }))
    .sort((a, b) => b.at - a.at);
  for (const { name } of others.slice(KEPT))
    if (isOlder(path.join(commits, name), OLD_MS)) fs.rmSync(path.join(commits, name), { recursive: true, force: true });
}
