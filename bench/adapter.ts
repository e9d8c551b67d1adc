/** What the benchmark asks of an engine. Each engine has one file that answers: `engine/centaur.ts` and those in `peers/`. */

/** What a workload's handler may do; each call is the engine's own, durable one. */
export interface Calls {
  step<T>(name: string, fn: () => Promise<T>): Promise<T>;
  /** Until `time`, in ms since 1970. */
  sleepUntil(time: number): Promise<void>;
  /** Until somebody emits `key`. */
  waitFor(key: string): Promise<unknown>;
}

export type Handler = (input: never, calls: Calls) => Promise<unknown>;

/** An engine in this process, on a fresh database. */
export interface Adapter {
  /** Before `launch`. */
  define(name: string, handler: Handler): void;
  /** Workers run once this resolves. */
  launch(): Promise<void>;
  /** Starts one run; resolves when it is durable. */
  start(name: string, input: unknown): Promise<string>;
  /** Starts many by the engine's own bulk call. */
  startMany?(name: string, inputs: readonly unknown[]): Promise<void>;
  emit?(runId: string, key: string): Promise<void>;
  /** Finished runs, by the engine's own durable record of them. */
  done(): Promise<number>;
}

export interface AdapterModule {
  /** Set when the engine needs a server of its own besides Postgres. Its answer goes to the environment of the measured process. */
  startServer?(folder: string): Promise<PeerServer>;
  create(databaseUrl: string): Promise<Adapter>;
}

export interface PeerServer {
  readonly env: Readonly<Record<string, string>>;
  stop(): Promise<void>;
}
