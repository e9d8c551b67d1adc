/** What the holder answers its clients. They are the platform's own processes: whoever can open the socket may do everything. */
import http from 'node:http';
import { SandboxError } from '../errors.ts';
import type { ExecSpec, ProcessSpec, SandboxSpec } from '../types.ts';
import type { Holder, Settings } from './holder.ts';
import { heartbeat } from './journal.ts';
import type { Log } from './log.ts';
import { encodeMessage, HEARTBEAT_MS, type Message, PROTOCOL, readMessage } from './wire.ts';

interface Request {
  readonly id: string;
  readonly process: string;
  /** A sandbox, a process or a command, by the operation. */
  readonly spec: SandboxSpec & ProcessSpec & ExecSpec;
  readonly settings: Settings;
  readonly note: string | null;
  readonly token: string | null;
  readonly signal: NodeJS.Signals;
  readonly path: string;
  readonly maxBytes: number;
  readonly mode: number;
  readonly globs: readonly string[];
}

type Answer = Readonly<Record<string, unknown>> | { readonly json: unknown; readonly data: Buffer } | void;
type Operation = (holder: Holder, request: Request, data: Buffer) => Answer | Promise<Answer>;

/** Bytes of an unpacked home are bounded by the disk limit; this bounds what a small one may hold on its way. */
const MB = 2 ** 20;

const OPERATIONS: Readonly<Record<string, Operation>> = {
  hello: (holder) => ({ protocol: PROTOCOL, pid: process.pid, node: process.version, sandboxes: holder.size, settings: holder.settings }),
  configure: (holder, { settings }) => holder.configure(settings),
  capabilities: (holder) => ({ capabilities: holder.capabilities }),
  ensure: async (holder, { spec }) => ({ view: await holder.ensure(spec) }),
  view: (holder, { id }) => ({ view: holder.view(id) ?? null }),
  list: (holder) => ({ views: holder.list() }),
  stop: (holder, { id }) => holder.stop(id),
  start: (holder, { id, spec }) => {
    const { id: name } = spec;
    // one that has ended is attached to, also when its sandbox is dead
    if (holder.journal(id, name)?.ended === true) return undefined;
    return holder.commands(id).start(spec);
  },
  process: (holder, { id, process }) => ({ found: holder.journal(id, process) !== undefined }),
  take: (holder, { id, process, token }) => {
    const journal = holder.journal(id, process);
    if (journal === undefined) throw new SandboxError('INVALID_SPEC', `the process ${process} was never started`);
    return { offset: journal.ended ? journal.size : holder.commands(id).take(process, token as string) };
  },
  write: (holder, { id, process, note, token }, data) => ({ offset: holder.commands(id).write(process, data, { note, token }) }),
  closeInput: (holder, { id, process, token }) => holder.commands(id).closeInput(process, token),
  signal: (holder, { id, process, signal, token }) => {
    if (holder.journal(id, process)?.ended !== true) holder.commands(id).signal(process, signal, token ?? null);
    return undefined;
  },
  exec: async (holder, { id, spec }, data) => {
    const { stdout, stderr, ...rest } = await holder.commands(id).exec(spec, data);
    return { json: { ...rest, split: stdout.length }, data: Buffer.concat([stdout, stderr]) };
  },
  read: async (holder, { id, path, maxBytes }) => ({
    json: {},
    data: await holder.live(id).link.request({ op: 'read', path, maxBytes }, { maxBytes }),
  }),
  writeFile: async (holder, { id, path, mode }, data) => {
    await holder.live(id).link.request({ op: 'write', path, mode }, { data });
    return undefined;
  },
  pack: async (holder, { id, globs, maxBytes }) => ({
    json: {},
    data: await holder.live(id).link.request({ op: 'pack', globs }, { maxBytes, timeoutMs: 300_000 }),
  }),
  unpack: async (holder, { id }, data) => {
    const live = holder.live(id);
    await live.link.request({ op: 'unpack', maxBytes: live.limits.diskMb * MB }, { data, timeoutMs: 300_000 });
    return undefined;
  },
  usage: async (holder, { id }) => ({ ...holder.live(id).usage(), diskMb: await holder.diskMb(id) }),
};

/** Resolves `holder` late, so that clients may connect while the machine is still tried out. */
export function createServer(options: { readonly holder: Promise<Holder>; readonly quit: () => void; readonly log: Log }): http.Server {
  const server = http.createServer({ requestTimeout: 0, headersTimeout: 10_000, keepAliveTimeout: 60_000 }, (request, response) => {
    void handle(request, response).catch((error: unknown) => {
      if (!(error instanceof SandboxError))
        options.log('error', 'a request failed', { url: request.url, error: (error as Error).stack ?? String(error) });
      if (response.headersSent) return void response.destroy();
      const known =
        error instanceof SandboxError ? error : new SandboxError('SANDBOX_UNREACHABLE', `the holder failed: ${(error as Error).message}`);
      response.writeHead(500).end(encodeMessage({ code: known.code, message: known.message }));
    });
  });

  async function handle(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const operation = (request.url ?? '/').slice(1);
    const message = await readMessage(request);
    if (operation === 'quit') {
      response.end(encodeMessage({}));
      return options.quit();
    }
    const holder = await options.holder;
    if (operation === 'journal') return stream(holder, message, request, response);
    const run = OPERATIONS[operation];
    if (run === undefined) throw new SandboxError('SANDBOX_UNREACHABLE', `the holder knows no operation ${operation}`);
    const answer = await run(holder, message.json as Request, message.data);
    const isPair = typeof answer === 'object' && 'json' in answer && 'data' in answer;
    response.end(isPair ? encodeMessage(answer['json'], answer['data'] as Buffer) : encodeMessage(answer ?? {}));
  }

  async function stream(holder: Holder, { json }: Message, request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const { id, process, from } = json as Request & { readonly from: number };
    const journal = holder.journal(id, process);
    if (journal === undefined) throw new SandboxError('SANDBOX_LOST', `there is no process ${process} in a sandbox ${id}`);
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    request.socket.setNoDelay(true);
    for await (const chunk of journal.read(from, { heartbeatMs: HEARTBEAT_MS, signal: gone.signal })) {
      if (!response.write(chunk ?? heartbeat())) await drained(response);
    }
    response.end();
  }

  return server;
}

function drained(response: http.ServerResponse): Promise<void> {
  return new Promise((done) => {
    const finish = (): void => {
      response.off('drain', finish);
      response.off('close', finish);
      done();
    };
    response.on('drain', finish);
    response.on('close', finish);
  });
}
