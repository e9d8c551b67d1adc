/** Starts the first process of a sandbox, by whichever means this machine has, and says when it is about to run. */
import { type ChildProcess, spawn } from 'node:child_process';
import fs from 'node:fs';
import { bubblewrapArgs } from './bubblewrap.ts';
import { INSIDE } from './layout.ts';
import { namespacesScript } from './namespaces.ts';
import type { SandboxCapabilities, SandboxLimits } from '../types.ts';

export interface Launch {
  readonly isolation: SandboxCapabilities['isolation'];
  readonly limits: SandboxLimits;
  /** User id on the host; null: the holder's own. */
  readonly uid: number | null;
  readonly home: string;
  readonly workspace: string;
  readonly sockets: string;
  readonly shared: { readonly agent: string; readonly etc: string; readonly node: string };
  readonly mounts: readonly { readonly source: string; readonly target: string }[];
  readonly filter: Buffer | null;
  /** Called with the first processes before they do anything: the place for limits. */
  readonly admit: (pids: readonly number[]) => void;
}

export interface Launched {
  /** What the holder watches: the sandbox ends with it. */
  readonly child: ChildProcess;
  /** Process 1 of the sandbox as the host numbers it: all of the sandbox descends from it. */
  readonly root: number;
  /** The last of what it wrote to its errors. */
  said(): string;
}

/** As much as a reader needs to see why a start failed. */
const MOST_SAID = 4096;
const TOOLS = { bwrap: '/usr/bin/bwrap', setpriv: '/usr/bin/setpriv', sh: '/bin/sh' } as const;

/** What the agent is started with. Small, because every idle sandbox pays for it. */
const AGENT_FLAGS = ['--max-old-space-size=192', '--max-semi-space-size=1', '--v8-pool-size=1', '--no-warnings'];

/** Limits of each process, set inside, where the count of processes is the sandbox's own even when the user id is not. */
export function agentCommand(
  limits: SandboxLimits,
  paths: { readonly node: string; readonly agent: string; readonly control: string },
): string[] {
  const fileBytes = limits.diskMb * 2 ** 20;
  return [
    '/usr/bin/prlimit',
    '--core=0',
    '--nofile=4096',
    `--nproc=${limits.processes + 16}`,
    `--fsize=${fileBytes}`,
    paths.node,
    ...AGENT_FLAGS,
    `${paths.agent}/agent.cjs`,
    paths.control,
  ];
}

export async function launch(options: Launch): Promise<Launched> {
  if (options.isolation === 'namespaces+seccomp') return launchBubblewrap(options);
  if (options.isolation === 'namespaces') return launchNamespaces(options);
  return launchPlain(options);
}

async function launchBubblewrap(options: Launch): Promise<Launched> {
  if (options.filter === null) throw new Error('there is no system call filter');
  const binds = [
    { source: options.shared.node, target: INSIDE.node, writable: false },
    { source: options.shared.agent, target: INSIDE.agent, writable: false },
    { source: options.sockets, target: INSIDE.sockets, writable: false },
    { source: options.shared.etc, target: '/etc', writable: false },
    { source: options.home, target: INSIDE.home, writable: true },
    { source: options.workspace, target: INSIDE.workspace, writable: true },
    ...options.mounts.map((mount) => ({ ...mount, writable: false })),
  ];
  const [filter, args, info, block] = [3, 4, 5, 6];
  const filterFile = unnamedFile(options.filter, options.sockets);
  // the command cannot come from the descriptor; it names only what is inside
  const command = agentCommand(options.limits, { node: INSIDE.node, agent: INSIDE.agent, control: `${INSIDE.sockets}/control` });
  const child = spawn(TOOLS.bwrap, ['--args', String(args), '--', ...command], {
    // its environment stays readable in /proc/1/environ, its arguments in /proc/1/cmdline: both are empty of ours
    env: {},
    cwd: '/',
    ...identity(options.uid),
    stdio: ['ignore', 'ignore', 'pipe', filterFile, 'pipe', 'pipe', 'pipe'],
  });
  fs.closeSync(filterFile);
  const said = keepLast(child);
  pipeOf(child, args).end(
    bubblewrapArgs({ limits: options.limits, binds, filter, info, block })
      .map((arg) => `${arg}\0`)
      .join(''),
  );
  const root = await readChildPid(child, info, said);
  await admit(options, child, root, said);
  pipeOf(child, block).end('x');
  return { child, root, said };
}

async function launchNamespaces(options: Launch): Promise<Launched> {
  const { command, env } = namespacesScript(options, agentCommand);
  const child = spawn(TOOLS.setpriv, ['--pdeathsig', 'KILL', ...command], {
    env,
    cwd: '/',
    stdio: ['pipe', 'ignore', 'pipe', 'pipe'],
  });
  const said = keepLast(child);
  const root = await readChildPid(child, 3, said);
  await admit(options, child, root, said);
  // the script waits for this line
  child.stdin?.end('go\n');
  return { child, root, said };
}

/** No isolation at all, on explicit demand only. */
async function launchPlain(options: Launch): Promise<Launched> {
  const [command, ...args] = agentCommand(options.limits, {
    node: options.shared.node,
    agent: options.shared.agent,
    control: `${options.sockets}/control`,
  }) as [string, ...string[]];
  const child = spawn(command, args, {
    env: { PATH: INSIDE.path, UV_THREADPOOL_SIZE: '1' },
    cwd: '/',
    ...identity(options.uid),
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const said = keepLast(child);
  await new Promise<void>((started, failed) => {
    child.once('spawn', started);
    child.once('error', failed);
  });
  options.admit([child.pid as number]);
  return { child, root: child.pid as number, said };
}

async function admit(options: Launch, child: ChildProcess, root: number, said: () => string): Promise<void> {
  try {
    options.admit([child.pid as number, root]);
  } catch (error) {
    // when it is gone already, what it said tells more than that
    if (child.exitCode === null && child.signalCode === null) await new Promise((done) => child.once('close', done));
    throw new Error(said() || (error as Error).message, { cause: error });
  }
}

function identity(uid: number | null): { uid?: number; gid?: number } {
  if (uid === 0) throw new Error('a sandbox never runs as user 0 of the host');
  return uid === null ? {} : { uid, gid: uid };
}

/** A file that is nowhere, read from its start. */
function unnamedFile(data: Buffer, folder: string): number {
  const path = `${folder}/filter`;
  fs.writeFileSync(path, data, { mode: 0o600 });
  const fd = fs.openSync(path, 'r');
  fs.unlinkSync(path);
  return fd;
}

function pipeOf(child: ChildProcess, fd: number): NodeJS.WritableStream & NodeJS.ReadableStream {
  const pipe = child.stdio[fd] as unknown as NodeJS.WritableStream & NodeJS.ReadableStream;
  pipe.on('error', () => undefined);
  return pipe;
}

function keepLast(child: ChildProcess): () => string {
  let last = Buffer.alloc(0);
  child.stderr?.on('data', (chunk: Buffer) => {
    last = Buffer.concat([last, chunk]).subarray(-MOST_SAID);
  });
  return () => last.toString().trim();
}

/** From `{ "child-pid": 123 }`, which bubblewrap writes; the script writes the same. */
function readChildPid(child: ChildProcess, fd: number, said: () => string): Promise<number> {
  return new Promise((done, failed) => {
    let text = '';
    pipeOf(child, fd).on('data', (chunk: Buffer) => {
      text += chunk.toString();
      const pid = /"child-pid"\s*:\s*(\d+)/.exec(text)?.[1];
      if (pid !== undefined) done(Number(pid));
    });
    child.once('error', failed);
    child.once('close', (code, signal) => failed(new Error(said() || `it ended with ${code ?? signal}`)));
  });
}
