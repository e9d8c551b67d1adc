/**
 * Sandboxes of other users must reach their folders by path, and nobody else on the host may. So a holder that is root runs
 * in a mount namespace of its own: only there do the folders, which lie below one that root alone may enter, have a second
 * path that everybody may enter.
 */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import type { Folders } from './layout.ts';
import { insideOf } from './layout.ts';

/** Of the holder's own view only: on the host it stays an empty folder. */
const SECOND_PATH = '/run/centaur-sandboxes';

/** For a client to tell the holder that it starts: which mounts are everybody's. */
export function mountNamespace(): string {
  return fs.readlinkSync('/proc/self/ns/mnt');
}

/** The command that starts the holder in mounts of its own, where that is possible and needed. */
export function withOwnMounts(command: readonly string[]): readonly [string, string[]] {
  const [program, ...args] = command as [string, ...string[]];
  const unshare = ['--mount', '--propagation', 'private'];
  const possible =
    process.getuid?.() === 0 && spawnSync('/usr/bin/unshare', [...unshare, '/bin/true'], { env: {}, stdio: 'ignore' }).status === 0;
  return possible ? ['/usr/bin/unshare', [...unshare, program, ...args]] : [program, args];
}

/** The folders by the path that sandboxes can follow. */
export function openFolders(folders: Folders, hostMounts: string): Folders & { readonly ownMounts: boolean } {
  const ownMounts = process.getuid?.() === 0 && mountNamespace() !== hostMounts;
  if (ownMounts) {
    fs.mkdirSync(SECOND_PATH, { recursive: true, mode: 0o755 });
    bind(folders.inner, SECOND_PATH);
    return { ...folders, ...insideOf(SECOND_PATH), ownMounts };
  }
  // then only the names of the boxes, which nobody may list, and the rights on what is in them keep others out
  if (process.getuid?.() === 0) fs.chmodSync(folders.root, 0o711);
  return { ...folders, ownMounts };
}

/** A file or folder at a path below the holder's own, read-only; for sandboxes that could not follow its real path. */
export function bindAt(source: string, target: string): void {
  if (fs.statSync(source).isDirectory()) fs.mkdirSync(target, { recursive: true, mode: 0o755 });
  else fs.writeFileSync(target, '', { mode: 0o755 });
  bind(source, target);
}

export function unbind(target: string): void {
  mount('/bin/umount', ['--lazy', target]);
}

function bind(source: string, target: string): void {
  mount('/bin/mount', ['--bind', source, target]);
}

function mount(program: string, args: readonly string[]): void {
  const { status, stderr, error } = spawnSync(program, args, { encoding: 'utf8', env: { LC_ALL: 'C' } });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${error?.message ?? stderr.trim()}`);
}
