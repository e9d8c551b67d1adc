/**
 * Sandboxes: one interface over where they run. A sandbox belongs to one thread, has a home and a workspace of its own, no
 * network but two relays (the firewall, and the platform's API), and is held by a process that outlives whoever uses it.
 *
 * Whatever is in a sandbox is hostile: paths, sizes, names and bytes that come out of it are checked by whoever reads them.
 */

/** How well this machine isolates; what it lacks is in `reasons`, with what to do about it. */
export interface SandboxCapabilities {
  /** `namespaces+seccomp`: bubblewrap. `namespaces`: unshare, without a system call filter. `none`: plain processes. */
  readonly isolation: 'namespaces+seccomp' | 'namespaces' | 'none';
  readonly limits: 'cgroup2' | 'cgroup1' | 'rlimits';
  /** Whether each sandbox has a user id of its own on this machine. */
  readonly ownUser: boolean;
  readonly reasons: readonly string[];
}

export interface SandboxLimits {
  readonly memoryMb: number;
  readonly processes: number;
  /** Home and workspace together. */
  readonly diskMb: number;
  readonly tmpMb: number;
  readonly cpus: number;
}

export interface SandboxSpec {
  /** Lower case letters, digits and -, at most 63: one per thread and life of its sandbox. The same id gives the same sandbox. */
  readonly id: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly limits: SandboxLimits;
  /** Host folders or files that it sees read-only at a path of its own. */
  readonly mounts: readonly { readonly source: string; readonly target: string }[];
  /** What listens on its loopback, and where that leads to: `host:port` of the host. Nothing else can be reached. */
  readonly relays: readonly { readonly port: number; readonly to: string }[];
}

export interface SandboxView {
  readonly id: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly state: 'ready' | 'dead';
  /** Address from which its relays dial, so that a lease can be bound to it: `127.1.2.3`. Null where the relay cannot choose. */
  readonly source: string | null;
  readonly home: string;
  readonly workspace: string;
  readonly createdAt: number;
  readonly lastUsedAt: number;
  readonly processes: readonly string[];
  /** Why it died. */
  readonly reason: string | null;
}

export interface ProcessSpec {
  /** Names the process within its sandbox; starting the same id again attaches to it. */
  readonly id: string;
  readonly argv: readonly [string, ...string[]];
  readonly cwd?: string;
  readonly env: Readonly<Record<string, string>>;
}

/**
 * One entry of a process's journal: its output and its input, in the order in which they passed through the holder.
 * `offset` is the position behind the entry: whoever read up to it continues there.
 */
export type JournalEntry = { readonly offset: number; readonly at: number } & (
  | { readonly kind: 'out' | 'err'; readonly data: Buffer }
  /** What was written to it, and what the writer said about that. */
  | { readonly kind: 'in'; readonly data: Buffer; readonly note: string | null }
  /** The last entry. `lost`: the sandbox died with it. `limit`: it wrote more than a journal holds. */
  | {
      readonly kind: 'exit';
      readonly code: number | null;
      readonly signal: string | null;
      readonly reason: 'exit' | 'killed' | 'memory' | 'limit' | 'lost';
    }
);

export interface SandboxProcess {
  readonly id: string;
  /**
   * Makes this object the only one that may write: writes and signals of whoever took it before are refused with
   * SANDBOX_TAKEN. Resolves with the position behind the last entry, so the caller knows when it has read all that others
   * have written.
   */
  take(): Promise<number>;
  /** From this position on, live; ends after `exit`. Throws when the signal aborts or the holder goes away. */
  journal(options?: { readonly from?: number; readonly signal?: AbortSignal }): AsyncIterable<JournalEntry>;
  /** Resolves with the position behind the entry, once it is in the journal. */
  write(data: string | Buffer, note?: string): Promise<number>;
  closeInput(): Promise<void>;
  /** To the whole group of processes. */
  signal(signal: NodeJS.Signals): Promise<void>;
}

export interface ExecResult {
  readonly code: number | null;
  readonly signal: string | null;
  readonly reason: 'exit' | 'killed' | 'memory' | 'timeout' | 'lost';
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  /** Output beyond `maxOutputBytes` was dropped. */
  readonly truncated: boolean;
}

export interface ExecSpec {
  readonly argv: readonly [string, ...string[]];
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string | Buffer;
  readonly timeoutMs: number;
  readonly maxOutputBytes: number;
}

export interface Sandbox {
  readonly id: string;
  readonly source: string | null;
  /** As the sandbox sees them. */
  readonly home: string;
  readonly workspace: string;
  start(spec: ProcessSpec): Promise<SandboxProcess>;
  /** A process that was started, also one that has ended; undefined when there never was one of this id. */
  process(id: string): Promise<SandboxProcess | undefined>;
  exec(spec: ExecSpec): Promise<ExecResult>;
  /** Absolute paths below home, workspace or /tmp, as the sandbox sees them. */
  readFile(path: string, options: { readonly maxBytes: number }): Promise<Buffer>;
  writeFile(path: string, data: string | Buffer, options?: { readonly mode?: number }): Promise<void>;
  /** A compressed tar of what these globs, relative to the home, match. Null when nothing does. */
  pack(globs: readonly string[], options: { readonly maxBytes: number }): Promise<Buffer | null>;
  /** Restores what `pack` gave, below the home. Entries that would leave it are refused. */
  unpack(archive: Buffer): Promise<void>;
  usage(): Promise<{ readonly memoryMb: number; readonly processes: number; readonly diskMb: number }>;
}

export interface SandboxBackend {
  readonly kind: 'local' | 'kubernetes';
  capabilities(): Promise<SandboxCapabilities>;
  /** Idempotent by the id. From the warm pool where it has one that fits. */
  ensure(spec: SandboxSpec): Promise<Sandbox>;
  /** Undefined when it is not there any more. */
  open(id: string): Promise<Sandbox | undefined>;
  list(): Promise<readonly SandboxView[]>;
  /** First its relays end, then its processes, then its files. Resolves when they are dead; so it does for one that is gone. */
  stop(id: string): Promise<void>;
  /** Of this client: the sandboxes stay. */
  close(): Promise<void>;
}

export type SandboxErrorCode =
  | 'ISOLATION_UNAVAILABLE'
  | 'SANDBOX_CAPACITY'
  | 'SANDBOX_LOST'
  | 'SANDBOX_START_FAILED'
  | 'SANDBOX_LIMIT'
  | 'SANDBOX_FILE'
  | 'SANDBOX_TAKEN'
  /** The program to start is not in the sandbox. */
  | 'SANDBOX_COMMAND_MISSING'
  | 'SANDBOX_UNREACHABLE'
  | 'INVALID_SPEC';
