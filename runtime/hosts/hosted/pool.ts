/**
 * The processes of one version of a workflow or a tool: one at a time takes new runs, warm until it has been idle for long. One that
 * has served for long, or whose rights have changed, is replaced: it keeps the runs that it has, and ends with the last of them. A
 * call of a tool is a run here.
 */
import type { Connection } from './connection.ts';
import type { HostProcess } from './launch.ts';
import { createSlots } from './slots.ts';

export interface PoolOptions {
  launch(onClose: (reason: Error) => void): Promise<HostProcess>;
  readonly idleMs: number;
  /** After so long, or so many runs, the next run gets a fresh one. */
  readonly serveMs: number;
  readonly serveRuns: number;
  /** Whether what it was started with is still what it may use. Asked when a run begins on one that is at rest, not too often. */
  isCurrent(): Promise<boolean>;
  onEnd(reason: Error): void;
}

export interface Pool {
  /**
   * The process for a new run. Let go of it by the function that comes with it.
   *
   * @param alone in a process that nobody else is in: for a run that may be what ends processes
   */
  acquire(alone?: 'alone'): Promise<Acquired>;
  /** How long to wait before another try, after so many starts in a row that failed; 0 when the last one did not. */
  readonly delayMs: number;
  /** Those that run now. */
  readonly connections: readonly Connection[];
  readonly lastUsedAt: number;
  readonly busy: boolean;
  readonly warm: boolean;
  /** Ends what is idle, now. */
  trim(): Promise<void>;
  close(): Promise<void>;
}

export interface Acquired {
  readonly connection: Connection;
  release(): void;
  /** Its process takes no new runs: to be called before `release`. */
  replace(): void;
}

interface Member {
  readonly process: HostProcess;
  readonly startedAt: number;
  /** Ends it when it is too old. */
  readonly oldest: NodeJS.Timeout;
  checkedAt: number;
  runs: number;
  served: number;
  retired: boolean;
}

const CHECK_MS = 2000;
/** Processes of one run each, at a time. */
const ALONE_MOST = 2;
/** No process is older: what it was given for its requests ends with a day. */
const OLDEST_MS = 20 * 3_600_000;
const DELAY_LEAST_MS = 250;
const DELAY_MOST_MS = 60_000;

export function createPool(options: PoolOptions): Pool {
  const members = new Set<Member>();
  /** Ends that are under way. */
  const ending = new Set<Promise<void>>();
  let current: Member | undefined;
  let starting: Promise<Member> | undefined;
  let idle: NodeJS.Timeout | undefined;
  let closed = false;
  let lastUsedAt = performance.now();
  let failures = 0;
  const aloneSlots = createSlots(ALONE_MOST);

  async function start(): Promise<Member> {
    const member = await startMember();
    current = member;
    return member;
  }

  async function startMember(): Promise<Member> {
    let member: Member | undefined;
    const process = await launch((reason) => {
      if (member === undefined) return;
      members.delete(member);
      if (current === member) current = undefined;
      if (!member.retired) options.onEnd(reason);
      stop(member);
    });
    const { connection } = process;
    const oldest = setTimeout(() => connection.close(new Error('it has run for a day, and makes room for a fresh one')), OLDEST_MS).unref();
    member = { process, startedAt: performance.now(), oldest, checkedAt: performance.now(), runs: 0, served: 0, retired: false };
    if (closed) {
      clearTimeout(oldest);
      await process.stop();
      throw new Error('it was removed');
    }
    // it may have ended between its start and here
    if (process.connection.closed !== undefined) {
      clearTimeout(oldest);
      await process.stop();
      throw process.connection.closed;
    }
    members.add(member);
    return member;
  }

  async function launch(onClose: (reason: Error) => void): Promise<HostProcess> {
    try {
      const process = await options.launch(onClose);
      failures = 0;
      return process;
    } catch (error) {
      failures += 1;
      throw error;
    }
  }

  /** Of a run that a process ended under more than once: so that it takes no other down with it. */
  async function acquireAlone(): Promise<Acquired> {
    const leave = await aloneSlots();
    try {
      const member = await startMember();
      member.runs = 1;
      let released = false;
      return {
        connection: member.process.connection,
        release() {
          if (released) return;
          released = true;
          member.runs = 0;
          retire(member);
          leave();
        },
        replace() {},
      };
    } catch (error) {
      leave();
      throw error;
    }
  }

  function retire(member: Member): void {
    member.retired = true;
    if (current === member) current = undefined;
    if (member.runs > 0) return;
    members.delete(member);
    stop(member);
  }

  function stop({ process, oldest }: Member): void {
    clearTimeout(oldest);
    const ended = process
      .stop()
      .catch(() => {})
      .finally(() => ending.delete(ended));
    ending.add(ended);
  }

  async function pick(): Promise<Member> {
    if (current !== undefined) {
      const now = performance.now();
      if (now - current.startedAt > options.serveMs || current.served >= options.serveRuns) retire(current);
      else if (current.runs === 0 && now - current.checkedAt > CHECK_MS) {
        const member = current;
        member.checkedAt = now;
        if (!(await options.isCurrent().catch(() => true)) && current === member && member.runs === 0) retire(member);
      }
    }
    if (current !== undefined) return current;
    starting ??= start().finally(() => {
      starting = undefined;
    });
    return starting;
  }

  function release(member: Member): void {
    member.runs -= 1;
    lastUsedAt = performance.now();
    if (member.runs > 0) return;
    if (member.retired) return retire(member);
    armIdle();
  }

  function armIdle(): void {
    clearTimeout(idle);
    idle = setTimeout(() => void trim(), options.idleMs);
    idle.unref();
  }

  async function trim(): Promise<void> {
    clearTimeout(idle);
    for (const member of members) if (member.runs === 0) retire(member);
  }

  return {
    async acquire(alone) {
      if (closed) throw new Error('it was removed');
      if (alone !== undefined) return acquireAlone();
      clearTimeout(idle);
      const member = await pick();
      member.runs += 1;
      member.served += 1;
      lastUsedAt = performance.now();
      let released = false;
      return {
        connection: member.process.connection,
        release() {
          if (released) return;
          released = true;
          release(member);
        },
        replace() {
          if (!released) retire(member);
        },
      };
    },
    get connections() {
      return [...members].map(({ process }) => process.connection);
    },
    get delayMs() {
      return failures === 0 ? 0 : Math.min(DELAY_MOST_MS, DELAY_LEAST_MS * 2 ** Math.min(failures, 20));
    },
    get lastUsedAt() {
      return lastUsedAt;
    },
    get busy() {
      return starting !== undefined || [...members].some(({ runs }) => runs > 0);
    },
    get warm() {
      return members.size > 0;
    },
    trim,
    async close() {
      closed = true;
      clearTimeout(idle);
      await starting?.catch(() => {});
      const all = [...members];
      members.clear();
      current = undefined;
      for (const member of all) {
        member.retired = true;
        stop(member);
      }
      await Promise.all(ending);
    },
  };
}

/** Before another process starts: of `most` that are warm, who has rested longest makes room; what is at work stays. */
export async function makeRoom(pools: readonly Pool[], most: number): Promise<void> {
  const resting = pools.filter((pool) => pool.warm && !pool.busy).sort((a, b) => a.lastUsedAt - b.lastUsedAt);
  const warm = pools.filter((pool) => pool.warm).length;
  for (const pool of resting.slice(0, Math.max(0, warm - most + 1))) await pool.trim();
}
