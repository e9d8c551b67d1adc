/** An agent CLI as a process, driven through its codec: what the turn driver does in a sandbox, without one. */
import { spawn } from 'node:child_process';
import { globSync, cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import {
  createLineSplitter,
  harnesses,
  type ApprovalAnswer,
  type Codec,
  type CodecOutput,
  type ContentBlock,
  type HarnessEvent,
  type HarnessKind,
  type LaunchOptions,
  type TurnInput,
} from '../../runtime/harness/index.ts';
import { findFaults } from '../../runtime/harness/samples/wellformed.ts';

/** A CLI that is installed on this machine. */
export interface Installed {
  readonly kind: HarnessKind;
  /** What stands in the place of the first of its launcher's arguments. */
  readonly command: readonly [string, ...string[]];
  readonly model: string;
  /** For the slow ones, how long anything may take. */
  readonly patienceMs: number;
}

export interface Place {
  readonly home: string;
  readonly cwd: string;
}

export type Completed = Extract<HarnessEvent, { type: 'turn.completed' }>;

export interface Driven {
  readonly codec: Codec;
  readonly pid: number;
  readonly events: readonly HarnessEvent[];
  /** What the codec was told and what it wrote, with milliseconds since the start: a sample (runtime/harness/samples). */
  readonly record: readonly object[];
  /** The native id of its session, once it is known. */
  readonly session: string | undefined;
  turn(content: string | readonly ContentBlock[], about?: Omit<TurnInput, 'content'>): void;
  steer(words: string): void;
  interrupt(): void;
  answer(id: string, answer: ApprovalAnswer): void;
  /** Lines that the CLI did not write. */
  inject(...lines: readonly string[]): void;
  /** The first event of this turn, or yet to come, that fits. */
  see<T extends HarnessEvent['type']>(
    type: T,
    fits?: (event: Extract<HarnessEvent, { type: T }>) => boolean,
  ): Promise<Extract<HarnessEvent, { type: T }>>;
  /** The end of the running turn. */
  end(): Promise<Completed>;
  signal(signal: NodeJS.Signals): void;
  /** Ends the process, and throws when what its codec said was not well-formed. */
  close(): Promise<void>;
}

export type DriveOptions = Pick<LaunchOptions, 'upstream' | 'approvals'> &
  Partial<LaunchOptions> & {
    /** More of its environment. */
    readonly surroundings?: Readonly<Record<string, string>>;
  };

export async function drive(cli: Installed, place: Place, options: DriveOptions): Promise<Driven> {
  const { launch, createCodec } = harnesses[cli.kind];
  const spec = launch.spec({ ...place, model: cli.model, user: process.getuid?.() === 0 ? 'root' : 'unprivileged', ...options });
  for (const { path, content, mode } of spec.files) {
    mkdirSync(dirname(join(place.home, path)), { recursive: true });
    writeFileSync(join(place.home, path), content, { mode });
  }
  const [program, ...before] = cli.command;
  // a group of its own, so that nothing of it can be left behind
  const child = spawn(program, [...before, ...spec.argv.slice(1)], {
    cwd: place.cwd,
    env: { PATH: process.env.PATH, ...spec.env, ...options.surroundings },
    detached: true,
  });
  const began = performance.now();
  const codec = createCodec();
  const events: HarnessEvent[] = [];
  const record: object[] = [];
  const note = (entry: object): void => void record.push({ t: Math.round(performance.now() - began), ...entry });
  const watchers = new Set<() => void>();
  let stderr = '';
  let turns = 0;
  let turnBegan = 0;
  let exited = false;

  const take = ({ events: said, send }: CodecOutput): void => {
    events.push(...said);
    for (const line of send) {
      note({ stdin: parse(line) });
      if (!child.stdin.destroyed) child.stdin.write(`${line}\n`);
    }
    for (const watcher of watchers) watcher();
  };

  const until = <T>(what: string, check: () => T | undefined): Promise<T> => {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const giveUp = (why: string): void => {
      settle();
      reject(
        new Error(
          `${why} while waiting for ${what}\n${stderr.slice(-1000)}\n${events
            .slice(-8)
            .map((event) => JSON.stringify(event).slice(0, 300))
            .join('\n')}`,
        ),
      );
    };
    const timer = setTimeout(() => giveUp('too long'), cli.patienceMs);
    const watcher = (): void => {
      const found = check();
      if (found !== undefined) {
        settle();
        resolve(found);
      } else if (exited) giveUp('the process ended');
    };
    const settle = (): void => {
      clearTimeout(timer);
      watchers.delete(watcher);
    };
    watchers.add(watcher);
    watcher();
    return promise;
  };

  const splitter = createLineSplitter();
  child.stdin.on('error', () => {});
  child.stderr.on('data', (data: Buffer) => (stderr = (stderr + data.toString()).slice(-8000)));
  child.stdout.on('data', (data: Buffer) => {
    for (const { text } of splitter.push(data)) {
      note({ stdout: parse(text) });
      take(codec.line(text));
    }
  });
  child.on('error', (error) => (stderr += error.message));
  // a run that gives up leaves nothing behind
  const onExit = (): void => signal('SIGKILL');
  process.on('exit', onExit);
  const gone = new Promise<void>((resolve) => {
    child.on('close', (code, signal) => {
      process.off('exit', onExit);
      exited = true;
      const how = { code, signal, stderr };
      note({ call: { exit: how } });
      take(codec.exit(how));
      resolve();
    });
  });
  const signal = (name: NodeJS.Signals): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, name);
    } catch {
      // the whole group has ended
    }
  };

  const driven: Driven = {
    codec,
    pid: child.pid ?? 0,
    events,
    record,
    get session() {
      return events.findLast((event) => event.type === 'session')?.native_id;
    },
    turn(content, about = {}) {
      turns += 1;
      turnBegan = events.length;
      const input = { content: typeof content === 'string' ? [{ type: 'text' as const, text: content }] : content, ...about };
      note({ call: { turn: input } });
      take(codec.turn(input));
    },
    steer(words) {
      const content = [{ type: 'text' as const, text: words }];
      note({ call: { steer: content } });
      take(codec.steer(content));
    },
    interrupt() {
      note({ call: { interrupt: {} } });
      take(codec.interrupt());
    },
    answer(id, answer) {
      note({ call: { answer: { id, answer } } });
      take(codec.answer(id, answer));
    },
    inject(...lines) {
      for (const line of lines) {
        note({ stdout: parse(line) });
        take(codec.line(line));
      }
    },
    see: <T extends HarnessEvent['type']>(type: T, fits: (event: Extract<HarnessEvent, { type: T }>) => boolean = () => true) =>
      until(type, () =>
        events
          .slice(turnBegan)
          .find(
            (event): event is Extract<HarnessEvent, { type: T }> =>
              event.type === type && fits(event as Extract<HarnessEvent, { type: T }>),
          ),
      ),
    end: () => until('the end of the turn', () => events.slice(turnBegan).find((event) => event.type === 'turn.completed')),
    signal,
    async close() {
      child.stdin.end();
      const timer = setTimeout(() => signal('SIGKILL'), 20_000);
      await gone;
      clearTimeout(timer);
      signal('SIGKILL');
      const faults = findFaults(events, turns);
      if (faults.length > 0) throw new Error(`not well-formed: ${faults.join('; ')}`);
    },
  };
  try {
    const { approvals, resume } = options;
    const about = { cwd: place.cwd, model: cli.model, approvals, ...(resume === undefined ? {} : { resume }) };
    note({ call: { open: about } });
    take(codec.open(about));
    await until('the CLI to be ready', () => codec.ready || undefined);
  } catch (error) {
    signal('SIGKILL');
    throw error;
  }
  return driven;
}

/** What a sandbox packs and another unpacks. */
export function moveSession(kind: HarnessKind, id: string, from: Place, to: Place): string[] {
  const files = harnesses[kind].launch.sessionFiles(id).flatMap((glob) => globSync(glob, { cwd: from.home }));
  for (const file of files) cpSync(join(from.home, file), join(to.home, file), { recursive: true });
  return files;
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return line;
  }
}
