/** What is done in a sandbox: journaled processes, short commands, files. */
import fs from 'node:fs';
import { join } from 'node:path';
import { SandboxError } from '../errors.ts';
import type { ExecResult, ExecSpec, ProcessSpec } from '../types.ts';
import { createJournal, type Exit, type Journal, recoverJournal } from './journal.ts';
import { INSIDE } from './layout.ts';
import type { ProcessCall } from './link.ts';
import type { LiveSandbox } from './sandbox.ts';

export interface Commands {
  start(spec: ProcessSpec): Promise<void>;
  /** From now on, only whoever shows this token may write. The position behind the last entry. */
  take(process: string, token: string): number;
  write(process: string, data: Buffer, options: { readonly note: string | null; readonly token: string | null }): number;
  closeInput(process: string, token: string | null): void;
  /** By whoever shows that token, and by whoever never took any: to begin anew, not to speak. */
  signal(process: string, signal: NodeJS.Signals, token: string | null): void;
  exec(spec: Omit<ExecSpec, 'input'>, input: Buffer): Promise<ExecResult>;
  running(): string[];
  /** Whether a command runs, or did since the last time anybody asked. */
  busy(): boolean;
  /** Ends whatever runs, with that as the reason. */
  kill(reason: 'memory' | 'limit'): void;
}

interface Process {
  readonly journal: Journal;
  readonly started: Promise<ProcessCall>;
  call: ProcessCall | undefined;
  owner: string | null;
  killed: 'killed' | 'memory' | 'limit' | undefined;
}

const MOST_WAITING = 64 * 1024 * 1024;
/** From the kill until the agent says that it happened. */
const KILL_MS = 3_000;
const PROCESS_ID = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$/;

export function journalPath(folder: string, process: string): string {
  if (!PROCESS_ID.test(process)) {
    throw new SandboxError('INVALID_SPEC', `${JSON.stringify(process)} is no process id: letters, digits, dots, _ and -, at most 100`);
  }
  return join(folder, process);
}

/** Journals of a sandbox that is no more, or of its earlier life; those that were cut off are ended as lost. */
export function readJournals(folder: string, now: () => number): Map<string, Journal> {
  return new Map(
    fs
      .readdirSync(folder)
      .filter((name) => PROCESS_ID.test(name))
      .map((name) => [name, recoverJournal(join(folder, name), now)]),
  );
}

export function createCommands(options: {
  readonly sandbox: LiveSandbox;
  readonly folder: string;
  /** Also those of an earlier life of this id. */
  readonly journals: Map<string, Journal>;
  readonly maxJournalBytes: number;
  readonly now: () => number;
}): Commands {
  const { sandbox, folder, journals, maxJournalBytes, now } = options;
  const processes = new Map<string, Process>();
  const executing = new Set<{ killed: 'memory' | 'killed' | undefined }>();
  let busy = 0;
  let ranSince = false;
  let seenKills = sandbox.cgroup?.memoryKills() ?? 0;
  const ending = { reason: undefined as Exit['reason'] | undefined };
  void sandbox.ended.then((why) => {
    ending.reason = why === 'memory' ? 'memory' : why === 'stopped' ? 'killed' : 'lost';
  });

  async function start(spec: ProcessSpec): Promise<void> {
    const path = journalPath(folder, spec.id);
    const known = processes.get(spec.id);
    if (known !== undefined) return void (await known.started);
    if (journals.has(spec.id)) return;
    checkCommand(spec);
    const journal = createJournal(path, now);
    const started = sandbox.link.spawn(
      { op: 'spawn', ...commandOf(spec, sandbox) },
      { output: (kind, data) => output(process, kind, data), exit: (status) => void exit(process, status) },
    );
    const process: Process = { journal, started, call: undefined, owner: null, killed: undefined };
    processes.set(spec.id, process);
    journals.set(spec.id, journal);
    try {
      process.call = await started;
    } catch (error) {
      processes.delete(spec.id);
      journals.delete(spec.id);
      fs.rmSync(path, { force: true });
      throw error;
    }
  }

  function output(process: Process, kind: 'out' | 'err', data: Buffer): void {
    if (process.killed === 'limit') return;
    if (process.journal.size + data.length > maxJournalBytes) {
      process.killed = 'limit';
      process.call?.signal('SIGKILL');
      return;
    }
    process.journal.append(kind, data);
  }

  async function exit(process: Process, status: { code: number | null; signal: string | null } | null): Promise<void> {
    if (status === null) {
      // the sandbox ended under it: how, is known when it has
      await sandbox.ended;
      return process.journal.end({ code: null, signal: 'SIGKILL', reason: process.killed ?? ending.reason ?? 'lost' });
    }
    process.journal.end({ ...status, reason: process.killed ?? reasonOf(status) });
  }

  /** The kernel counts whom it ended for memory; that it was this one, only the way it ended tells. */
  function reasonOf(status: { code: number | null; signal: string | null }): 'exit' | 'killed' | 'memory' {
    const kills = sandbox.cgroup?.memoryKills() ?? 0;
    const looksKilled = status.signal === 'SIGKILL' || status.code === 137;
    if (kills > seenKills && looksKilled) {
      seenKills = kills;
      return 'memory';
    }
    return status.signal === null ? 'exit' : 'killed';
  }

  function find(id: string): Process & { call: ProcessCall } {
    const process = processes.get(id);
    if (process?.call === undefined || process.journal.ended) {
      const why = journals.has(id) ? 'has ended' : 'was never started';
      throw new SandboxError(journals.has(id) ? 'SANDBOX_LOST' : 'INVALID_SPEC', `the process ${id} ${why}`);
    }
    return process as Process & { call: ProcessCall };
  }

  function findMine(id: string, token: string | null): ReturnType<typeof find> {
    const process = find(id);
    if (process.owner === null || process.owner === token) return process;
    throw new SandboxError('SANDBOX_TAKEN', `another has taken the process ${id}: read its journal instead`);
  }

  async function exec(spec: Omit<ExecSpec, 'input'>, input: Buffer): Promise<ExecResult> {
    checkCommand(spec);
    const parts = { out: [] as Buffer[], err: [] as Buffer[] };
    let size = 0;
    let truncated = false;
    const { promise: exited, resolve: exit } = Promise.withResolvers<{ code: number | null; signal: string | null } | null>();
    const call = await sandbox.link.spawn(
      { op: 'spawn', ...commandOf(spec, sandbox) },
      {
        output: (kind, data) => {
          const room = spec.maxOutputBytes - size;
          if (data.length > room) truncated = true;
          const kept = Buffer.from(data.subarray(0, Math.max(0, room)));
          size += kept.length;
          if (kept.length > 0) parts[kind].push(kept);
        },
        exit,
      },
    );
    const own = { killed: undefined as 'memory' | 'killed' | undefined };
    executing.add(own);
    let timedOut = false;
    let hard: NodeJS.Timeout | undefined;
    const timer = setTimeout(() => {
      timedOut = true;
      call.signal('SIGKILL');
      hard = setTimeout(() => void sandbox.stop('its agent did not end a command'), KILL_MS);
    }, spec.timeoutMs);
    busy++;
    ranSince = true;
    if (input.length > 0) call.write(input);
    call.end();
    const status = await exited;
    busy--;
    executing.delete(own);
    clearTimeout(timer);
    clearTimeout(hard);
    const reason = status === null ? 'lost' : timedOut ? 'timeout' : (own.killed ?? reasonOf(status));
    return {
      code: status?.code ?? null,
      signal: status?.signal ?? null,
      reason,
      stdout: Buffer.concat(parts.out),
      stderr: Buffer.concat(parts.err),
      truncated,
    };
  }

  return {
    start,
    take: (id, token) => {
      const process = processes.get(id);
      if (process !== undefined) process.owner = token;
      return journals.get(id)?.size ?? 0;
    },
    write: (id, data, { note, token }) => {
      const { journal, call } = findMine(id, token);
      if (call.waiting + data.length > MOST_WAITING) {
        throw new SandboxError('SANDBOX_LIMIT', `the process ${id} does not read its input: ${call.waiting} bytes wait for it`);
      }
      const offset = journal.append('in', data, note);
      call.write(data);
      return offset;
    },
    closeInput: (id, token) => findMine(id, token).call.end(),
    signal: (id, signal, token) => {
      if (journals.get(id)?.ended === true) return;
      (token === null ? find(id) : findMine(id, token)).call.signal(signal);
    },
    exec,
    running: () => [...processes].filter(([, { journal }]) => !journal.ended).map(([id]) => id),
    busy: () => {
      const was = ranSince || busy > 0;
      ranSince = false;
      return was;
    },
    kill: (reason) => {
      for (const process of processes.values()) if (!process.journal.ended) process.killed ??= reason;
      for (const command of executing) command.killed = reason === 'memory' ? 'memory' : 'killed';
      sandbox.killWorkload();
    },
  };
}

function commandOf(spec: Pick<ExecSpec, 'argv' | 'cwd' | 'env'>, sandbox: LiveSandbox): Readonly<Record<string, unknown>> {
  const defaults = {
    HOME: sandbox.home,
    PATH: INSIDE.path,
    USER: 'agent',
    LOGNAME: 'agent',
    SHELL: '/bin/sh',
    LANG: 'C.UTF-8',
    TMPDIR: '/tmp',
  };
  return { argv: spec.argv, cwd: spec.cwd ?? sandbox.workspace, env: { ...defaults, ...spec.env } };
}

function checkCommand({ argv, cwd, env }: Pick<ExecSpec, 'argv' | 'cwd' | 'env'>): void {
  const strings = [...argv, ...Object.entries(env ?? {}).flat(), cwd ?? '/'];
  const sound =
    argv.length > 0 &&
    argv[0] !== '' &&
    strings.every((each) => typeof each === 'string' && !each.includes('\0')) &&
    Object.keys(env ?? {}).every((name) => /^[^=]+$/.test(name)) &&
    (cwd ?? '/').startsWith('/');
  if (!sound) throw new SandboxError('INVALID_SPEC', 'a command has a program, an absolute folder, and no NUL in its words');
  // the kernel's own limits are about here; the agent's frames are not larger
  if (strings.reduce((total, each) => total + each.length, 0) > 512 * 1024)
    throw new SandboxError('INVALID_SPEC', 'the command is longer than 512 KiB');
}
