/**
 * The agent inside a sandbox: starts its processes and carries their bytes, its files and its connections to the holder.
 * It needs nothing but Node. It has no secret and decides nothing: whoever takes it over gains what the sandbox has anyway.
 *
 *   node agent.js <socket of the holder>
 */
import { type ChildProcess, spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import { createFrameReader, encodeFrame, encodeJson, FRAME, type Frame, PIECE } from './frames.ts';
import { asFileError, createWriter, FileError, inFolder, openFile, splitPath, type Writer } from './files.ts';

interface Settings {
  readonly home: string;
  readonly workspace: string;
  readonly relays: readonly { readonly port: number; readonly socket: string }[];
}

/** What a call in progress does with further frames. */
interface Call {
  data(body: Buffer): void;
  end(): void;
  signal(name: NodeJS.Signals): void;
}

/** How long the pipes of a process that has ended may stay open in others' hands. */
const LINGER_MS = 500;
/** More than the kernel keeps for two pipes. */
const MOST_LEFT_BEHIND = 1024 * 1024;

const holder = net.connect({ path: process.argv[2] as string });
const calls = new Map<number, Call>();
const readers = new Set<NodeJS.ReadableStream>();
let settings: Settings = { home: '/', workspace: '/', relays: [] };

// a connection that was opened here is closed on exec: no child of ours ever holds it
holder.on('data', createFrameReader(onFrame) as (chunk: Buffer | string) => void);
holder.on('close', () => process.exit(0));
holder.on('error', () => process.exit(0));
holder.on('drain', () => {
  for (const reader of readers) reader.resume();
});

function onFrame({ kind, call, body }: Frame): void {
  if (kind === FRAME.call) return begin(call, JSON.parse(body.toString()) as { op: string });
  const running = calls.get(call);
  if (kind === FRAME.data) running?.data(Buffer.from(body));
  else if (kind === FRAME.end) running?.end();
  else if (kind === FRAME.signal) running?.signal(body.toString() as NodeJS.Signals);
}

function begin(call: number, request: { op: string }): void {
  const operations: Record<string, (call: number, request: never) => void | Promise<void>> = {
    settings: listen,
    spawn: start,
    read: readFile,
    write: writeFile,
    pack: packHome,
    unpack: unpackHome,
  };
  void (async () => {
    try {
      await operations[request.op]?.(call, request as never);
    } catch (error) {
      fail(call, error);
    }
  })();
}

function done(call: number, result: unknown): void {
  calls.delete(call);
  holder.write(encodeJson(FRAME.done, call, result));
}

function fail(call: number, error: unknown): void {
  calls.delete(call);
  const { code, message } = error as NodeJS.ErrnoException;
  holder.write(encodeJson(FRAME.failed, call, { code: code ?? 'FAILED', message: message.slice(0, 1000) }));
}

async function listen(call: number, request: Settings): Promise<void> {
  settings = request;
  await Promise.all(request.relays.map(({ port, socket }) => forward(port, socket)));
  done(call, { pid: process.pid });
}

/** What is said to a port of the loopback goes to a socket of the holder, and back; either side may finish first. */
function forward(port: number, path: string): Promise<void> {
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (inner) => {
    const outer = net.connect({ path, allowHalfOpen: true });
    inner.pipe(outer).pipe(inner);
    const end = (): void => {
      inner.destroy();
      outer.destroy();
    };
    inner.on('error', end);
    outer.on('error', end);
    inner.on('close', () => outer.readableEnded || outer.destroy());
    outer.on('close', () => inner.readableEnded || inner.destroy());
  });
  return new Promise((listening, failed) => {
    server.once('error', failed);
    server.listen(port, '127.0.0.1', listening);
  });
}

function start(call: number, request: { argv: string[]; cwd: string; env: Record<string, string> }): void {
  const [command, ...args] = request.argv as [string, ...string[]];
  const child = preferredVictim(() =>
    // a session and group of its own: signals reach all of it
    spawn(command, args, { cwd: request.cwd, env: request.env, stdio: ['pipe', 'pipe', 'pipe'], detached: true }),
  );
  child.once('error', (error) => {
    if (child.pid === undefined) fail(call, startError(error, request));
  });
  if (child.pid === undefined) return;
  const pid = child.pid;
  holder.write(encodeJson(FRAME.data, call, { pid }));
  calls.set(call, {
    data: (body) => {
      child.stdin?.write(body, () => holder.write(encodeFrame(FRAME.taken, call, lengthBytes(body.length))));
    },
    end: () => void child.stdin?.end(),
    signal: (name) => signalGroup(pid, name),
  });
  // a process that closes its input early is no fault of ours
  child.stdin?.on('error', () => undefined);
  carry(child.stdout, call, FRAME.out);
  carry(child.stderr, call, FRAME.err);
  child.once('exit', (code, signal) => void finish(call, child, { code, signal }));
}

function startError(error: NodeJS.ErrnoException, { argv, cwd }: { argv: string[]; cwd: string }): Error {
  if (!fs.statSync(cwd, { throwIfNoEntry: false })?.isDirectory()) return new FileError('SANDBOX_FILE', `there is no folder ${cwd}`);
  if (error.code === 'ENOENT') return new FileError('SANDBOX_COMMAND_MISSING', `there is no program ${argv[0]}`);
  return asFileError(error);
}

/** When memory runs out, the kernel should end what runs here rather than us. It forks at once, and so inherits the preference. */
function preferredVictim<T>(fork: () => T): T {
  try {
    fs.writeFileSync('/proc/self/oom_score_adj', '800');
    return fork();
  } finally {
    fs.writeFileSync('/proc/self/oom_score_adj', '0');
  }
}

function lengthBytes(length: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(length);
  return bytes;
}

function carry(stream: NonNullable<ChildProcess['stdout']> | null, call: number, kind: number): void {
  if (stream === null) return;
  readers.add(stream);
  stream.on('data', (chunk: Buffer) => {
    for (let at = 0; at < chunk.length; at += PIECE) holder.write(encodeFrame(kind, call, chunk.subarray(at, at + PIECE)));
    if (holder.writableNeedDrain) for (const reader of readers) reader.pause();
  });
  stream.on('error', () => undefined);
  stream.once('close', () => readers.delete(stream));
}

/** The rest of the output first. What keeps the pipes open in the background is not waited for. */
async function finish(call: number, child: ChildProcess, status: { code: number | null; signal: string | null }): Promise<void> {
  const streams = [child.stdout, child.stderr].filter((stream) => stream !== null) as unknown as net.Socket[];
  const closed = Promise.all(streams.filter((stream) => !stream.closed).map(onClose));
  const read = (): number => streams.reduce((total, stream) => total + stream.bytesRead, 0);
  const first = read();
  for (let before = -1; ;) {
    let timer: NodeJS.Timeout | undefined;
    const over = new Promise<'waiting'>((expired) => {
      timer = setTimeout(() => expired('waiting'), LINGER_MS);
    });
    if ((await Promise.race([closed, over])) !== 'waiting') {
      clearTimeout(timer);
      break;
    }
    // slow is not silent: what the process itself wrote is still on its way to the holder, and cannot be more than this
    const now = read();
    if (!holder.writableNeedDrain && (now === before || now - first > MOST_LEFT_BEHIND)) break;
    before = now;
  }
  for (const stream of streams) stream.destroy();
  calls.delete(call);
  holder.write(encodeJson(FRAME.exit, call, status));
}

function onClose(stream: NodeJS.ReadableStream): Promise<void> {
  return new Promise((closed) => {
    stream.once('close', closed);
  });
}

function signalGroup(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(-pid, name);
  } catch {
    // it has ended meanwhile
  }
}

const roots = (): string[] => [settings.home, settings.workspace, '/tmp'];

async function readFile(call: number, request: { path: string; maxBytes: number }): Promise<void> {
  try {
    const { root, names } = splitPath(request.path, roots());
    const { fd, stat } = inFolder(root, names, 'find', openFile);
    try {
      if (stat.size > request.maxBytes) throw tooLarge(request.path, request.maxBytes);
      let sent = 0;
      for (;;) {
        const piece = Buffer.alloc(PIECE);
        const read = fs.readSync(fd, piece, 0, PIECE, null);
        if (read === 0) break;
        sent += read;
        // it may grow while it is read
        if (sent > request.maxBytes) throw tooLarge(request.path, request.maxBytes);
        await send(call, piece.subarray(0, read));
      }
    } finally {
      fs.closeSync(fd);
    }
    done(call, {});
  } catch (error) {
    fail(call, asFileError(error));
  }
}

function tooLarge(path: string, most: number): FileError {
  return new FileError('SANDBOX_LIMIT', `${path} is larger than ${most} bytes`);
}

async function send(call: number, data: Buffer): Promise<void> {
  for (let at = 0; at < data.length; at += PIECE) {
    if (!holder.write(encodeFrame(FRAME.data, call, data.subarray(at, at + PIECE)))) {
      await new Promise((drained) => holder.once('drain', drained));
    }
  }
}

function writeFile(call: number, request: { path: string; mode: number }): void {
  const guard = (work: () => void): void => {
    try {
      work();
    } catch (error) {
      fail(call, asFileError(error));
    }
  };
  guard(() => {
    const { root, names } = splitPath(request.path, roots());
    const writer: Writer = createWriter(root, names, request.mode);
    calls.set(call, {
      data: (body) =>
        guard(() => {
          try {
            writer.write(body);
          } catch (error) {
            writer.abort();
            throw error;
          }
        }),
      end: () =>
        guard(() => {
          writer.commit();
          done(call, {});
        }),
      signal: () => undefined,
    });
  });
}

async function packHome(call: number, request: { globs: string[] }): Promise<void> {
  const { pack } = await import('./archive.ts');
  let wanted = true;
  calls.set(call, {
    data: () => undefined,
    end: () => {
      wanted = false;
    },
    signal: () => undefined,
  });
  try {
    let bytes = 0;
    for await (const chunk of pack(settings.home, request.globs)) {
      if (!wanted) break;
      bytes += chunk.length;
      await send(call, chunk);
    }
    done(call, { bytes });
  } catch (error) {
    fail(call, asFileError(error));
  }
}

async function unpackHome(call: number, request: { maxBytes: number }): Promise<void> {
  // frames may follow before the module is there
  let queue: Promise<void> = Promise.resolve();
  const unpacker = import('./archive.ts').then(({ createUnpacker }) => createUnpacker(settings.home, { maxBytes: request.maxBytes }));
  calls.set(call, {
    data: (body) => {
      queue = queue.then(async () => (await unpacker).push(body));
    },
    end: () => {
      void (async () => {
        try {
          await queue;
          await (await unpacker).finish();
          done(call, {});
        } catch (error) {
          fail(call, asFileError(error));
        }
      })();
    },
    signal: () => undefined,
  });
  await unpacker;
}
