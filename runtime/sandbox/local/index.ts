/**
 * Sandboxes on this machine. This is a client: the sandboxes are held by a process of their own (sandboxd.ts), which is
 * started when it is not there and outlives this one. Promises what `types.ts` says; never runs anything as user 0 of the
 * host, and never opens a path that a sandbox could have made.
 */
import { randomUUID } from 'node:crypto';
import { SandboxError } from '../errors.ts';
import type {
  ExecResult,
  JournalEntry,
  Sandbox,
  SandboxBackend,
  SandboxCapabilities,
  SandboxProcess,
  SandboxSpec,
  SandboxView,
} from '../types.ts';
import { type ClientOptions, type Connection, connect, stopHolder } from './holding.ts';
import { createEntryReader } from './journal.ts';
import { HEARTBEAT_MS } from './wire.ts';

export interface LocalOptions {
  /** Belongs to this installation alone; its path is short enough for sockets (about 60 characters). */
  readonly stateDir: string;
  /** The weakest isolation that is good enough. Default: `namespaces`. */
  readonly minimum?: SandboxCapabilities['isolation'];
  /** Instead of the strongest that works. `none` runs plain processes. */
  readonly isolation?: SandboxCapabilities['isolation'];
  readonly uids?: readonly [first: number, last: number];
  /** Sandboxes at a time; more are refused with SANDBOX_CAPACITY. */
  readonly most?: number;
  readonly memoryReserveMb?: number;
  /** Per process; one that writes more is ended. */
  readonly maxJournalBytes?: number;
  /** How many are started ahead, each for one use: like the one that was asked for last, or like `spec`. */
  readonly warm?: number | { readonly count: number; readonly spec: Pick<SandboxSpec, 'limits' | 'mounts' | 'relays'> };
  readonly log?: (entry: {
    readonly level: 'info' | 'warn' | 'error';
    readonly message: string;
    readonly [field: string]: unknown;
  }) => void;
  /** Without sandboxes and requests the holder ends after so long. */
  readonly idleMs?: number;
}

export interface LocalBackend extends SandboxBackend {
  readonly kind: 'local';
  /** Ends the holder with all its sandboxes: for the end of an installation, not of a process. */
  shutdown(): Promise<void>;
}

const STRENGTH: Readonly<Record<SandboxCapabilities['isolation'], number>> = { none: 0, namespaces: 1, 'namespaces+seccomp': 2 };
const TRIES = 4;
const TRY_AGAIN_MS = 100;
/** Three heartbeats. */
const SILENCE_MS = 3 * HEARTBEAT_MS;

export function createLocalBackend(options: LocalOptions): LocalBackend {
  const { warm = 0 } = options;
  const minimum = options.minimum ?? (options.isolation === 'none' ? 'none' : 'namespaces');
  const holderOptions: ClientOptions = {
    isolation: options.isolation ?? null,
    uids: options.uids ?? [200_000, 265_535],
    idleMs: options.idleMs ?? 10 * 60_000,
    settings: {
      maxSandboxes: options.most ?? 200,
      memoryReserveMb: options.memoryReserveMb ?? 512,
      maxJournalBytes: options.maxJournalBytes ?? 256 * 2 ** 20,
      warm: typeof warm === 'number' ? { count: warm, spec: null } : warm,
    },
  };
  let connecting: Promise<Connection> | undefined;

  /** One that has gone away is started again: its sandboxes are lost, and say so. */
  async function connection(): Promise<Connection> {
    connecting ??= connect(options.stateDir, holderOptions).catch((error: unknown) => {
      connecting = undefined;
      throw error;
    });
    return connecting;
  }

  async function call<T>(operation: string, json: Readonly<Record<string, unknown>> = {}, data?: Buffer): Promise<T & { data: Buffer }> {
    const to = await connection();
    try {
      const answer = await to.call(operation, json, data);
      return { ...(answer.json as T), data: answer.data };
    } catch (error) {
      if (error instanceof SandboxError && error.code === 'SANDBOX_UNREACHABLE') connecting = undefined;
      throw error;
    }
  }

  /** Only for what may be done twice: the holder may have been restarted since we last spoke to it, or be just ending. */
  async function callAgain<T>(operation: string, json: Readonly<Record<string, unknown>> = {}): Promise<T> {
    for (let tries = 1; ; tries++) {
      try {
        return await call<T>(operation, json);
      } catch (error) {
        if (!(error instanceof SandboxError) || error.code !== 'SANDBOX_UNREACHABLE' || tries === TRIES) throw error;
        if (tries > 1) await new Promise((later) => setTimeout(later, TRY_AGAIN_MS));
      }
    }
  }

  const capabilities = async (): Promise<SandboxCapabilities> =>
    (await callAgain<{ capabilities: SandboxCapabilities }>('capabilities')).capabilities;

  async function checkIsolation(): Promise<void> {
    const { isolation, reasons } = await capabilities();
    const allowed = isolation === 'none' ? options.isolation === 'none' && minimum === 'none' : STRENGTH[isolation] >= STRENGTH[minimum];
    if (allowed) {
      if (STRENGTH[isolation] < 2) options.log?.({ level: 'warn', message: `sandboxes are isolated by ${isolation} only`, reasons });
      return;
    }
    throw new SandboxError(
      'ISOLATION_UNAVAILABLE',
      `this machine isolates sandboxes by ${isolation}, and ${minimum} is the least that is allowed. ${reasons.join('\n')}`,
    );
  }
  let checked: Promise<void> | undefined;

  return {
    kind: 'local',
    capabilities,
    ensure: async (spec) => {
      checked ??= checkIsolation();
      await checked.catch((error: unknown) => {
        checked = undefined;
        throw error;
      });
      const { view } = await callAgain<{ view: SandboxView }>('ensure', { spec });
      return sandboxOf(view);
    },
    open: async (id) => {
      const { view } = await callAgain<{ view: SandboxView | null }>('view', { id });
      return view === null ? undefined : sandboxOf(view);
    },
    list: async () => (await callAgain<{ views: SandboxView[] }>('list')).views,
    stop: async (id) => void (await callAgain('stop', { id })),
    close: async () => {
      (await connecting?.catch(() => undefined))?.close();
      connecting = undefined;
    },
    shutdown: async () => {
      (await connecting?.catch(() => undefined))?.close();
      connecting = undefined;
      await stopHolder(options.stateDir);
    },
  };

  function sandboxOf({ id, source, home, workspace }: SandboxView): Sandbox {
    return {
      id,
      source,
      home,
      workspace,
      start: async (spec) => {
        await call('start', {
          id,
          spec,
        });
        return processOf(id, spec.id);
      },
      process: async (process) => {
        const { found } = await callAgain<{
          found: boolean;
        }>('process', {
          id,
          process,
        });
        return found ? processOf(id, process) : undefined;
      },
      exec: async ({ input, ...spec }) => {
        const { data, split, ...result } = await call<
          Omit<ExecResult, 'stdout' | 'stderr'> & {
            split: number;
          }
        >(
          'exec',
          {
            id,
            spec,
          },
          Buffer.from(input ?? ''),
        );
        return {
          ...result,
          stdout: data.subarray(0, split),
          stderr: data.subarray(split),
        };
      },
      readFile: async (path, { maxBytes }) =>
        (
          await call('read', {
            id,
            path,
            maxBytes,
          })
        ).data,
      writeFile: async (path, data, { mode = 420 } = {}) =>
        void (await call(
          'writeFile',
          {
            id,
            path,
            mode,
          },
          Buffer.from(data),
        )),
      pack: async (globs, { maxBytes }) => {
        const { data } = await call('pack', {
          id,
          globs,
          maxBytes,
        });
        return data.length === 0 ? null : data;
      },
      unpack: async (archive) => void (await call('unpack', { id }, archive)),
      usage: async () => {
        const { memoryMb, processes, diskMb } = await callAgain<Awaited<ReturnType<Sandbox['usage']>>>('usage', { id });
        return {
          memoryMb,
          processes,
          diskMb,
        };
      },
    };
  }

  function processOf(id: string, process: string): SandboxProcess {
    let token: string | null = null;
    return {
      id: process,
      take: async () => {
        token ??= randomUUID();
        return (await call<{ offset: number }>('take', { id, process, token })).offset;
      },
      journal: ({ from = 0, signal } = {}) => readJournal({ id, process, from }, signal),
      write: async (data, note) =>
        (await call<{ offset: number }>('write', { id, process, token, note: note ?? null }, Buffer.from(data))).offset,
      closeInput: async () => void (await call('closeInput', { id, process, token })),
      signal: async (signal) => void (await call('signal', { id, process, signal, token })),
    };
  }

  async function* readJournal(request: { id: string; process: string; from: number }, signal?: AbortSignal): AsyncGenerator<JournalEntry> {
    signal?.throwIfAborted();
    const silence = new AbortController();
    const to = await connection();
    const response = await to.open('journal', request, AbortSignal.any([silence.signal, ...(signal === undefined ? [] : [signal])]));
    const arrived: JournalEntry[] = [];
    const read = createEntryReader((entry) => arrived.push(entry));
    const timer = setTimeout(() => silence.abort(), SILENCE_MS);
    try {
      for await (const chunk of response as AsyncIterable<Buffer>) {
        timer.refresh();
        read(chunk);
        for (const entry of arrived.splice(0)) {
          yield entry;
          if (entry.kind === 'exit') return;
          // a reader that takes its time is no silence of the holder
          timer.refresh();
        }
      }
      // a whole answer without an exit: it was read from behind the exit
      if (!response.complete) throw new Error('the journal stopped before its end');
    } catch (error) {
      signal?.throwIfAborted();
      connecting = undefined;
      throw new SandboxError('SANDBOX_UNREACHABLE', 'the holder of the sandboxes went away: continue the journal after the last entry', {
        cause: error,
      });
    } finally {
      clearTimeout(timer);
      response.destroy();
    }
  }
}
