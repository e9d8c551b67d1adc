/** A host as a process: lines in, lines out, and what it printed beside them. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { type Server, type Socket, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface HostCommand {
  readonly name: string;
  /** The program and its arguments; with the socket's path when it is to speak over one. */
  readonly command: (socket?: string) => readonly string[];
  /** Folder with the workflows of this language: `main/`, `later/`, `broken/`. */
  readonly files: string;
}

export type Message = { readonly type: string; readonly [field: string]: unknown };

export interface HostProcess extends AsyncDisposable {
  readonly name: string;
  send(message: object): void;
  /** Text, or bytes that need not end with a character. */
  write(text: string | Uint8Array): void;
  /** Called for each message; answers with how to stop that. */
  listen(listener: (message: Message) => void): () => void;
  /** The next message that fits, from now on. */
  next(fits: (message: Message) => boolean, what: string): Promise<Message>;
  /** Lines that are no messages, which there must be none of. */
  readonly garbage: readonly string[];
  readonly stderr: string;
  /** When the process is gone and all it wrote has been read. */
  readonly closed: Promise<{ readonly code: number | null; readonly signal: string | null }>;
  end(): void;
  kill(): Promise<void>;
}

/** Longer than any host needs for one message, on a slow machine with others at work on it. */
export const PATIENCE_MS = 30_000;

export function startHost(host: HostCommand, env: Readonly<Record<string, string>> = {}): HostProcess {
  const child = run(host, env);
  child.stdin.on('error', () => {});
  const lines = readLines();
  child.stdout.on('data', lines.push);
  return assemble(host, child, lines, {
    write: (text) => child.stdin.write(text),
    end: () => child.stdin.end(),
  });
}

/** The same over a Unix socket, which the host connects to. */
export async function startHostOnSocket(host: HostCommand, env: Readonly<Record<string, string>> = {}): Promise<HostProcess> {
  const folder = mkdtempSync(join(tmpdir(), 'centaur-hosts-'));
  const path = join(folder, 'host.sock');
  const server = createServer();
  await new Promise<void>((listening) => void server.listen(path, listening));
  const child = run(host, { ...env, CENTAUR_HOST_SOCKET: path });
  const socket = await connection(server, host.name).finally(() => server.close());
  socket.on('error', () => {});
  const lines = readLines();
  socket.on('data', lines.push);
  const started = assemble(host, child, lines, { write: (text) => socket.write(text), end: () => socket.end() });
  void started.closed.then(() => {
    socket.destroy();
    rmSync(folder, { recursive: true, force: true });
  });
  return started;
}

function run({ command, files }: HostCommand, env: Readonly<Record<string, string>>) {
  const [program = '', ...args] = command(env.CENTAUR_HOST_SOCKET);
  return spawn(program, args, { env: { ...process.env, WORKFLOW_DIRS: join(files, 'main'), ...env }, stdio: 'pipe' });
}

function connection(server: Server, name: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${name} did not connect to CENTAUR_HOST_SOCKET`)), PATIENCE_MS);
    server.once('connection', (socket) => {
      clearTimeout(timer);
      resolve(socket);
    });
  });
}

interface Lines {
  push(chunk: Buffer): void;
  onLine: (line: string) => void;
}

function readLines(): Lines {
  let pieces: Buffer[] = [];
  const lines: Lines = {
    onLine: () => {},
    push(chunk) {
      let from = 0;
      for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
        pieces.push(chunk.subarray(from, end));
        from = end + 1;
        const line = Buffer.concat(pieces).toString();
        pieces = [];
        lines.onLine(line);
      }
      if (from < chunk.length) pieces.push(chunk.subarray(from));
    },
  };
  return lines;
}

function assemble(
  { name }: HostCommand,
  child: ReturnType<typeof run>,
  lines: Lines,
  { write, end }: { readonly write: HostProcess['write']; readonly end: () => void },
): HostProcess {
  const listeners = new Set<(message: Message) => void>();
  const garbage: string[] = [];
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => void (stderr += text));
  lines.onLine = (line) => {
    const message = parse(line);
    if (message === undefined) garbage.push(line);
    else for (const listener of listeners) listener(message);
  };
  const closed = new Promise<{ code: number | null; signal: string | null }>((resolve) => {
    child.on('error', (error) => void (stderr += error.message));
    child.on('close', (code, signal) => resolve({ code, signal }));
  });
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL');
    await closed;
  };
  const listen = (listener: (message: Message) => void): (() => void) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  };
  return {
    name,
    garbage,
    closed,
    write,
    end,
    kill,
    listen,
    get stderr() {
      return stderr;
    },
    send: (message) => write(`${JSON.stringify(message)}\n`),
    next: (fits, what) =>
      nextMessage(listen, closed, fits, () => `${what} did not come${stderr === '' ? '' : `; it printed:\n${stderr.slice(-500)}`}`),
    [Symbol.asyncDispose]: kill,
  };
}

function nextMessage(
  listen: HostProcess['listen'],
  closed: HostProcess['closed'],
  fits: (message: Message) => boolean,
  why: () => string,
): Promise<Message> {
  return new Promise((resolve, reject) => {
    const finish = (act: () => void): void => {
      clearTimeout(timer);
      stop();
      act();
    };
    const timer = setTimeout(() => finish(() => reject(new Error(why()))), PATIENCE_MS);
    const stop = listen((message) => {
      if (fits(message)) finish(() => resolve(message));
    });
    void closed.then(({ code, signal }) => finish(() => reject(new Error(`${why()} (the host ended: ${signal ?? code})`))));
  });
}

function parse(line: string): Message | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null && 'type' in value ? (value as Message) : undefined;
  } catch {
    return undefined;
  }
}
