/** One sandbox of this holder, from its first process to its last. */
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { SandboxError } from '../errors.ts';
import type { SandboxCapabilities, SandboxLimits, SandboxSpec } from '../types.ts';
import { type Box, createBox, removeBox, writeNote } from './box.ts';
import type { Cgroup, Cgroups } from './cgroups.ts';
import { type Folders, INSIDE } from './layout.ts';
import { launch, type Launched } from './launch.ts';
import { leaseUid, type UidLease } from './leases.ts';
import { type AgentLink, createLink } from './link.ts';
import type { Log } from './log.ts';
import { descendants, killProcess, listProcesses, readProcess } from './processes.ts';
import { isLoopback, openRelay, parseTarget, type Relay } from './relay.ts';

/** What all sandboxes of a holder share. */
export interface Surroundings {
  readonly folders: Folders & { readonly ownMounts: boolean };
  readonly shared: { readonly agent: string; readonly etc: string; readonly node: string };
  readonly isolation: SandboxCapabilities['isolation'];
  readonly filter: Buffer | null;
  readonly cgroups: Cgroups | undefined;
  /** Null: sandboxes run as the holder's own user. */
  readonly uids: readonly [number, number] | null;
  readonly sources: { take(): string; release(address: string): void };
  readonly log: Log;
}

export type Shape = Pick<SandboxSpec, 'limits' | 'mounts' | 'relays'>;

export interface LiveSandbox {
  readonly shape: Shape;
  readonly link: AgentLink;
  readonly box: Box;
  readonly source: string | null;
  readonly home: string;
  readonly workspace: string;
  readonly cgroup: Cgroup | undefined;
  readonly limits: SandboxLimits;
  /** From the moment on at which it loses its relays. */
  readonly ending: boolean;
  /** Resolves with why it died, once everything in it has. */
  readonly ended: Promise<string>;
  /** Whose it is from now on, for whoever cleans up after a crash. */
  claim(sandboxId: string): void;
  /** Everything inside but the agent, ended at once; how many those were. */
  killWorkload(): number;
  usage(): { readonly memoryMb: number; readonly processes: number };
  /** First its relays, then its processes, then its files. */
  stop(reason: string): Promise<void>;
}

const START_MS = 20_000;
const STOP_MS = 10_000;

export async function startSandbox(shape: Shape, around: Surroundings): Promise<LiveSandbox> {
  const lease = around.uids === null ? undefined : await leaseUid(around.uids);
  const undo: (() => unknown)[] = [() => lease?.release()];
  try {
    return await start(shape, around, lease, undo);
  } catch (error) {
    for (const each of undo.toReversed()) await each();
    if (error instanceof SandboxError) throw error;
    throw new SandboxError('SANDBOX_START_FAILED', `the sandbox could not be started: ${(error as Error).message}`, { cause: error });
  }
}

async function start(shape: Shape, around: Surroundings, lease: UidLease | undefined, undo: (() => unknown)[]): Promise<LiveSandbox> {
  const uid = lease?.uid ?? null;
  const plain = around.isolation === 'none';
  const box = createBox(around.folders, uid, shape.mounts);
  undo.push(() => removeBox(around.folders, box.folder, around.log));
  const cgroup = around.cgroups?.create(box.name, shape.limits);
  if (cgroup !== undefined) undo.push(() => cgroup.remove());
  const source = shape.relays.some(({ to }) => isLoopback(parseTarget(to).host)) ? around.sources.take() : null;
  undo.push(() => source === null || around.sources.release(source));

  const socketOf = (port: number): string => join(box.sockets, String(port));
  const relays: Relay[] = [];
  undo.push(() => relays.forEach((relay) => relay.close()));
  for (const { port, to } of shape.relays) relays.push(await openRelay({ socket: socketOf(port), to, source, owner: uid }));
  const control = await listenForAgent(join(box.sockets, 'control'), uid);
  undo.push(() => control.close());

  const launched = await launch({
    isolation: around.isolation,
    limits: shape.limits,
    uid,
    home: box.home,
    workspace: box.workspace,
    sockets: box.sockets,
    shared: around.shared,
    mounts: box.mounts,
    filter: around.filter,
    admit: (pids) => {
      for (const pid of pids) cgroup?.add(pid);
    },
  });
  const { child, root } = launched;
  const exited = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : Promise.resolve();
  undo.push(() => killAll(launched, exited));
  const processes = [child.pid as number, root].flatMap((pid) => readProcess(pid) ?? []);
  const note = { uid, processes, cgroups: cgroup?.folders ?? [] };
  writeNote(box, { ...note, sandboxId: null });

  const socket = await agentOf(control.agent, launched, exited);
  control.close();
  const paths = plain
    ? { home: box.home, workspace: box.workspace, sockets: box.sockets }
    : { home: INSIDE.home, workspace: INSIDE.workspace, sockets: INSIDE.sockets };
  let stopping: Promise<void> | undefined;
  let reason: string | undefined;
  const { promise: ended, resolve: end } = Promise.withResolvers<string>();

  const link = createLink(socket, (problem) => {
    if (problem !== null) around.log('error', 'a sandbox is ended', { box: box.name, problem });
    void stop(problem ?? 'its agent ended');
  });
  await link.request({
    op: 'settings',
    home: paths.home,
    workspace: paths.workspace,
    relays: shape.relays.map(({ port }) => ({ port, socket: `${paths.sockets}/${port}` })),
  });
  void exited.then(() => stop('its first process ended'));

  function stop(why: string): Promise<void> {
    reason ??= why;
    stopping ??= finish();
    return stopping;
  }

  async function finish(): Promise<void> {
    for (const relay of relays) relay.close();
    const memory = (cgroup?.memoryKills() ?? 0) > 0 && reason !== 'stopped';
    await killAll(launched, exited);
    link.close();
    await cgroup?.remove();
    end(memory ? 'memory' : (reason as string));
    // the user id is free when no file of it is left
    void removeBox(around.folders, box.folder, around.log)
      .catch((error: Error) => around.log('error', 'removing the files of a sandbox failed', { box: box.name, error: error.message }))
      .finally(() => {
        lease?.release();
        if (source !== null) around.sources.release(source);
      });
  }

  const below = (): ReturnType<typeof descendants> => descendants(root, listProcesses());
  let agentPid = plain ? root : undefined;
  /** The first that process 1 started. */
  const isAgent = ({ pid }: { readonly pid: number }, all: ReturnType<typeof descendants>): boolean => {
    agentPid ??= all.filter(({ parent }) => parent === root).sort((a, b) => a.started - b.started)[0]?.pid;
    return pid === agentPid;
  };
  return {
    shape,
    link,
    box,
    source,
    home: paths.home,
    workspace: paths.workspace,
    cgroup,
    limits: shape.limits,
    get ending() {
      return stopping !== undefined;
    },
    ended,
    claim: (sandboxId) => writeNote(box, { ...note, sandboxId }),
    killWorkload: () => {
      const all = below();
      const workload = all.filter((each) => !isAgent(each, all));
      for (const { pid, started } of workload) killProcess(pid, started);
      return workload.length;
    },
    usage: () => {
      const all = below();
      const measured = all.reduce((total, { privateKb }) => total + privateKb, 0) / 1024;
      return { memoryMb: cgroup?.memoryMb() ?? measured, processes: all.filter((each) => !isAgent(each, all)).length };
    },
    stop,
  };
}

/** The first to connect is the agent: nothing else runs in there yet. */
async function listenForAgent(path: string, uid: number | null): Promise<{ agent: Promise<net.Socket>; close(): void }> {
  const server = net.createServer();
  const agent = new Promise<net.Socket>((arrived) => {
    server.once('connection', arrived);
  });
  await new Promise<void>((listening, failed) => {
    server.once('error', failed);
    server.listen(path, listening);
  });
  if (uid !== null) fs.chownSync(path, uid, uid);
  fs.chmodSync(path, 0o600);
  server.maxConnections = 1;
  return { agent, close: () => void server.close() };
}

async function agentOf(agent: Promise<net.Socket>, { said }: Launched, exited: Promise<unknown>): Promise<net.Socket> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, failed) => {
    timer = setTimeout(() => failed(new Error(`its agent did not answer within ${START_MS} ms: ${said()}`)), START_MS);
  });
  const died = exited.then(() => {
    throw new Error(`it ended at once: ${said() || 'it said nothing'}`);
  });
  try {
    return await Promise.race([agent, died, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Process 1 takes all of its namespace with it, whatever they have done to their sessions and parents. */
async function killAll({ child, root }: Launched, exited: Promise<unknown>): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) {
    // until `child` has ended, it is the parent of `root`: the number cannot be another's
    const rest = root === child.pid ? descendants(root, listProcesses()) : [];
    killProcess(root);
    for (const { pid, started } of rest) killProcess(pid, started);
  }
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
  await exited;
  clearTimeout(timer);
}
