/** A sandbox's folders on the host, and the note that lets the next holder clean up after a crash. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { join } from 'node:path';
import { removeGroups } from './cgroups.ts';
import type { Folders } from './layout.ts';
import { claimUid } from './leases.ts';
import { bindAt, unbind } from './mounts.ts';
import { killProcess, listProcesses, readProcess } from './processes.ts';
import type { Log } from './log.ts';

export interface Box {
  readonly name: string;
  readonly folder: string;
  readonly home: string;
  readonly workspace: string;
  readonly sockets: string;
  /** What it mounts, by a path that its user can follow. */
  readonly mounts: readonly { readonly source: string; readonly target: string }[];
}

/** What a holder must know about a box that it did not make. */
export interface BoxNote {
  readonly sandboxId: string | null;
  readonly uid: number | null;
  readonly processes: readonly { readonly pid: number; readonly started: number }[];
  readonly cgroups: readonly string[];
}

export function createBox(folders: Folders & { readonly ownMounts: boolean }, uid: number | null, mounts: Box['mounts']): Box {
  const name = randomBytes(5).toString('hex');
  const folder = join(folders.boxes, name);
  const box: Box = {
    name,
    folder,
    home: join(folder, 'home'),
    workspace: join(folder, 'workspace'),
    sockets: join(folder, 's'),
    mounts: mounts.map(({ source, target }, index) => ({
      source: folders.ownMounts ? join(folder, `m${index}`) : source,
      target,
    })),
  };
  fs.mkdirSync(folder);
  fs.chmodSync(folder, 0o711);
  writeNote(box, { sandboxId: null, uid, processes: [], cgroups: [] });
  for (const own of [box.home, box.workspace]) {
    fs.mkdirSync(own, { mode: 0o700 });
    // from here on nothing on the host opens a path below it
    if (uid !== null) fs.chownSync(own, uid, uid);
  }
  fs.mkdirSync(box.sockets);
  // its sockets belong to the sandbox's user, the folder does not
  fs.chmodSync(box.sockets, 0o711);
  if (folders.ownMounts) mounts.forEach(({ source }, index) => bindAt(source, box.mounts[index]?.source as string));
  return box;
}

export function writeNote(box: Box, note: BoxNote): void {
  const path = join(box.folder, 'note.json');
  fs.writeFileSync(`${path}.new`, JSON.stringify(note), { mode: 0o600 });
  fs.renameSync(`${path}.new`, path);
}

/**
 * Removes a box whose processes are all dead: nothing can swap a folder for a link any more, and rm itself follows none.
 * The box is out of the way at once, so that a slow removal holds nobody up.
 */
export async function removeBox(folders: Folders, folder: string, log: Log): Promise<void> {
  // of a holder that was killed, none are left: its view of the mounts is gone
  for (const name of mountPointsIn(folder)) unbind(name);
  const rubbish = join(folders.trash, randomBytes(8).toString('hex'));
  try {
    fs.renameSync(folder, rubbish);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  await removeRubbish(rubbish, log);
}

export async function removeRubbish(path: string, log: Log): Promise<void> {
  const remove = (): Promise<number | null> => run('/bin/rm', ['-rf', '--one-file-system', '--', path]);
  if ((await remove()) === 0) return;
  // an ordinary user cannot look into folders that were made unreadable, until it makes them readable
  await run('/bin/chmod', ['-R', 'u+rwX', '--', path]);
  if ((await remove()) !== 0) log('warn', 'files of a sandbox could not be removed', { path });
}

function mountPointsIn(folder: string): string[] {
  return fs
    .readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((place) => place.startsWith(`${folder}/`));
}

function run(command: string, args: readonly string[]): Promise<number | null> {
  return new Promise((done) => {
    const child = spawn(command, args, { env: {}, stdio: 'ignore' });
    child.once('error', () => done(null));
    child.once('exit', done);
  });
}

/** Ends whatever is left of a box that another holder made. */
export async function endLeftovers(folder: string, log: Log): Promise<BoxNote | undefined> {
  let note: BoxNote;
  try {
    note = JSON.parse(fs.readFileSync(join(folder, 'note.json'), 'utf8')) as BoxNote;
  } catch {
    // made, but not yet used by anything
    return undefined;
  }
  for (const { pid, started } of note.processes) {
    if (readProcess(pid)?.started === started) log('warn', 'ending a process that an earlier holder left', { pid });
    killProcess(pid, started);
  }
  await removeGroups(note.cgroups);
  if (note.uid !== null) await endProcessesOf(note.uid);
  for (let tries = 0; tries < 100 && note.processes.some(({ pid, started }) => readProcess(pid)?.started === started); tries++) {
    await new Promise((later) => setTimeout(later, 20));
  }
  return note;
}

async function endProcessesOf(uid: number): Promise<void> {
  const lease = await claimUid(uid);
  // another installation has it by now: then these are not ours
  if (lease === undefined) return;
  for (const { pid } of listProcesses()) {
    if (fs.statSync(`/proc/${pid}`, { throwIfNoEntry: false })?.uid === uid) killProcess(pid);
  }
  lease.release();
}
