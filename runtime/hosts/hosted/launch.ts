/** Starting a host process: in a sandbox of its own, or as a plain child process where the operator chose that. */
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import type { Sandbox, SandboxBackend, SandboxLimits, SandboxProcess, SandboxSpec } from '../../sandbox/types.ts';
import { type Connection, connectionOf, createConnection } from './connection.ts';
import { TOOL_LINE_MOST } from '../protocol/messages.ts';
import { STRIPPED } from './view.ts';

export interface HostProcess {
  readonly connection: Connection;
  /** Address from which it reaches the firewall, where it has one of its own. */
  readonly source: string | null;
  /** Ends it, with all that it started. */
  stop(): Promise<void>;
}

export interface HostProgram {
  readonly kind: 'workflow' | 'tool';
  /** Folder of the host programs: see `program-copy.ts`. */
  readonly programs: string;
  readonly language: 'node' | 'python';
  /** Folder of the view, on this machine. */
  readonly view: string;
  /** The workflow's or the tool's file in it; undefined for a host that is asked about several. */
  readonly file: string | undefined;
  /** Folder in the view where its TypeScript is without types. Default: `.stripped`. */
  readonly stripped?: string;
  /** Nearest to the file's folder. */
  readonly nodeModules: string | undefined;
}

export interface LaunchOptions {
  readonly program: HostProgram;
  /** Of the workflow or tool, for people. */
  readonly label: string;
  readonly python: string;
  readonly memoryMb: number;
  /** What all of them get beside their rights: nothing secret. */
  readonly env?: Readonly<Record<string, string>>;
  readonly log: (entry: { readonly level: 'info' | 'warn' | 'error'; readonly message: string; readonly [field: string]: unknown }) => void;
  onClose(reason: Error): void;
}

/** What a sandbox for hosts is like, whichever workflow's it becomes. */
export interface HostShape {
  readonly backend: SandboxBackend;
  /** Belongs to this process: a folder of each sandbox is in there. */
  readonly socketDir: string;
  readonly limits: SandboxLimits;
  readonly relays: SandboxSpec['relays'];
  readonly labels: Readonly<Record<string, string>>;
  readonly programs: string;
  readonly nodeModules: string | undefined;
  readonly python: string;
}

/** A sandbox that is nobody's yet. */
export interface EmptyHost {
  readonly sandbox: Sandbox;
  /** Of this machine; the sandbox sees it, and cannot write to it. */
  readonly folder: string;
  /** Its process will connect here. */
  readonly socket: Promise<net.Socket>;
  closeListener(): void;
  isAlive(): Promise<boolean>;
  /** Ends it, with all that is in it. */
  stop(): Promise<void>;
}

export interface SandboxedOptions extends LaunchOptions {
  readonly host: EmptyHost;
  /** What it gets instead of keys, when its address is known. */
  access(source: string | null): Promise<{ readonly env: Readonly<Record<string, string>>; readonly caPem: string | undefined }>;
}

/** As a sandbox sees them. */
const INSIDE = {
  programs: '/opt/host',
  own: '/host',
  socket: '/host/socket',
  view: { workflow: '/host/workflows', tool: '/host/tools' },
  modules: '/node_modules',
};
/** A sandbox whose worker and whose machine's next worker are gone ends by itself. */
const LIFETIME_SECONDS = 26 * 3600;
const START_MS = 30_000;
const SAID_MOST = 4000;
/** Lines of its errors that go to the log, a second. */
const LINES_MOST = 50;

const ENTRY = {
  workflow: { node: 'program/main.js', python: 'python/workflow-host' },
  tool: { node: 'program/tool-main.js', python: 'python/tool-host' },
};

function argvOf({ kind, language }: HostProgram, programs: string, node: string, python: string, memoryMb: number): [string, ...string[]] {
  const entry = `${programs}/runtime/hosts/${ENTRY[kind][language]}`;
  return language === 'python'
    ? [python, entry]
    : [node, `--max-old-space-size=${Math.max(64, Math.floor(memoryMb * 0.75))}`, '--no-warnings', entry];
}

export async function prepareHost({ backend, socketDir, programs, nodeModules, python, ...shape }: HostShape): Promise<EmptyHost> {
  const id = `h-${randomBytes(8).toString('hex')}`;
  const folder = path.join(socketDir, id.slice(2, 10));
  fs.mkdirSync(folder, { recursive: true, mode: 0o711 });
  fs.chmodSync(folder, 0o711);
  const listener = await listenOnce(path.join(folder, path.basename(INSIDE.socket)));
  const undo: (() => unknown)[] = [() => fs.rmSync(folder, { recursive: true, force: true }), () => listener.close()];
  const stop = async (): Promise<void> => {
    for (const each of undo.splice(0).toReversed()) await each();
  };
  try {
    undo.push(() => backend.stop(id).catch(() => {}));
    const sandbox = await backend.ensure({
      ...shape,
      id,
      labels: { ...shape.labels, maxLifetime: String(LIFETIME_SECONDS) },
      mounts: [
        { source: programs, target: INSIDE.programs },
        { source: folder, target: INSIDE.own },
        ...(nodeModules === undefined ? [] : [{ source: nodeModules, target: INSIDE.modules }]),
        ...pythonMounts(python),
      ],
    });
    const isAlive = async () => (await backend.open(id)) !== undefined;
    return { sandbox, folder, socket: listener.socket, closeListener: listener.close, isAlive, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Whatever happens, the sandbox is used up. */
export async function launchSandboxed(options: SandboxedOptions): Promise<HostProcess> {
  const { program, label, host } = options;
  const { sandbox } = host;
  try {
    if (program.language === 'python') compileHost(program.programs, options.python);
    linkTree(program.view, path.join(host.folder, path.basename(INSIDE.view[program.kind])));
    const { env, caPem } = await options.access(sandbox.source);
    const caFile = `${sandbox.home}/.centaur/ca.pem`;
    if (caPem !== undefined) await sandbox.writeFile(caFile, caPem);
    const process = await sandbox.start({
      id: 'host',
      argv: argvOf(program, INSIDE.programs, 'node', options.python, options.memoryMb),
      cwd: sandbox.workspace,
      env: {
        ...options.env,
        ...common(program, INSIDE.view[program.kind]),
        PATH: '/opt/centaur/bin:/usr/local/bin:/usr/bin:/bin',
        HOME: sandbox.home,
        CENTAUR_HOST_SOCKET: INSIDE.socket,
        ...env,
        ...(caPem === undefined ? {} : trustOf(caFile)),
      },
    });
    const words = readWords(process, options);
    const socket = await Promise.race([
      host.socket,
      words.ended.then((why) => {
        throw new Error(why);
      }),
      late(`it did not connect within ${START_MS} ms`),
    ]);
    host.closeListener();
    const connection = connectionOf(socket, {
      ...lineOf(program),
      onClose: options.onClose,
      onWarning: (text) => options.log({ level: 'warn', message: `a ${program.kind} host says`, [program.kind]: label, text }),
    });
    // what its end was tells more than that the line was cut
    void words.ended.then((why) => connection.close(new Error(why)));
    return {
      connection,
      source: sandbox.source,
      async stop() {
        connection.close(new Error('it was stopped'));
        socket.destroy();
        await host.stop();
      },
    };
  } catch (error) {
    await host.stop();
    throw error;
  }
}

/** Files are never changed once they are in a view: so they are shared, where the file system can. */
function linkTree(from: string, to: string): void {
  fs.mkdirSync(to, { mode: 0o755 });
  for (const entry of fs.readdirSync(from, { withFileTypes: true })) {
    const [source, target] = [path.join(from, entry.name), path.join(to, entry.name)];
    if (entry.isDirectory()) linkTree(source, target);
    else if (entry.isFile()) {
      try {
        fs.linkSync(source, target);
      } catch {
        fs.copyFileSync(source, target);
      }
    }
  }
}

/** Its two outputs are for people; its end is ours to know. */
function readWords(process: SandboxProcess, { log, label, program }: LaunchOptions): { readonly ended: Promise<string> } {
  const say = sayLines((text) => log({ level: 'info', message: text, [program.kind]: label }));
  let said = '';
  const read = async (): Promise<string> => {
    try {
      for await (const entry of process.journal()) {
        if (entry.kind === 'exit') return describeEnd(entry, said);
        if (entry.kind === 'in') continue;
        const text = entry.data.toString();
        said = (said + text).slice(-SAID_MOST);
        say(text);
      }
    } catch (error) {
      return `its sandbox is gone: ${(error as Error).message}`;
    }
    return 'it ended';
  };
  return { ended: read() };
}

function describeEnd({ code, signal, reason }: { code: number | null; signal: string | null; reason: string }, said: string): string {
  const how =
    reason === 'memory'
      ? 'it used more memory than it may'
      : reason === 'limit'
        ? 'it wrote more to its output than is kept'
        : reason === 'lost'
          ? 'its sandbox was lost'
          : signal !== null
            ? `it was ended by ${signal}`
            : `it ended with exit code ${code}`;
  const last = said.trim().split('\n').slice(-5).join('\n');
  return last === '' ? how : `${how}; the last it said: ${last}`;
}

export function launchPlain(options: LaunchOptions): Promise<HostProcess> {
  const { program, label, log } = options;
  if (program.language === 'python') compileHost(program.programs, options.python);
  const home = fs.mkdtempSync(path.join(fs.realpathSync('/tmp'), 'centaur-host-'));
  const [command, ...args] = argvOf(program, program.programs, process.execPath, options.python, options.memoryMb);
  // where its packages are: as beside the workflow's own folder
  if (program.nodeModules !== undefined && !fs.existsSync(path.join(program.view, 'node_modules')))
    fs.symlinkSync(program.nodeModules, path.join(program.view, 'node_modules'));
  const child = spawn(command, args, {
    cwd: home,
    detached: true,
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...options.env, ...common(program, program.view), PATH: process.env['PATH'] ?? '/usr/bin:/bin', HOME: home },
  });
  let said = '';
  const say = sayLines((text) => log({ level: 'info', message: text, [program.kind]: label }));
  child.stderr.on('data', (data: Buffer) => {
    said = (said + data.toString()).slice(-SAID_MOST);
    say(data.toString());
  });
  const connection = createConnection({
    input: child.stdin,
    output: child.stdout,
    ...lineOf(program),
    onClose: options.onClose,
    onWarning: (text) => log({ level: 'warn', message: `a ${program.kind} host says`, [program.kind]: label, text }),
  });
  const ended = new Promise<void>((resolve) => {
    child.once('error', (error) => {
      connection.close(error);
      resolve();
    });
    child.once('exit', (code, signal) => {
      connection.close(new Error(describeEnd({ code, signal, reason: 'exit' }, said)));
      resolve();
    });
  });
  return Promise.resolve({
    connection,
    source: null,
    async stop() {
      connection.close(new Error('it was stopped'));
      if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
        try {
          process.kill(-child.pid, 'SIGKILL');
        } catch {
          child.kill('SIGKILL');
        }
      }
      await ended;
      fs.rmSync(home, { recursive: true, force: true });
    },
  });
}

/** What its program reads: see `program/main.ts` and `program/tool-main.ts`. */
function common({ kind, file, stripped: place = STRIPPED }: HostProgram, view: string): Record<string, string> {
  const stripped = path.posix.join(view, place);
  return {
    ...(kind === 'workflow'
      ? { WORKFLOW_DIRS: view, WORKFLOW_FILE: path.posix.join(view, file ?? ''), WORKFLOW_STRIPPED: stripped }
      : { TOOL_ROOT: view, TOOL_FILE: file ?? '', TOOL_STRIPPED: stripped }),
    LANG: 'C.UTF-8',
    TMPDIR: '/tmp',
    PYTHONDONTWRITEBYTECODE: '1',
  };
}

/** Files go over a tool's line. */
function lineOf({ kind }: HostProgram): { readonly lineMost?: number } {
  return kind === 'tool' ? { lineMost: TOOL_LINE_MOST } : {};
}

/** Where programs look for the certificates that they trust. */
function trustOf(file: string): Record<string, string> {
  const names = ['NODE_EXTRA_CA_CERTS', 'SSL_CERT_FILE', 'REQUESTS_CA_BUNDLE', 'CURL_CA_BUNDLE', 'GIT_SSL_CAINFO', 'DENO_CERT'];
  return Object.fromEntries(names.map((name) => [name, file]));
}

/** Once for each interpreter: compiling the host at every start would take longer than all else that a start does. */
const compiled = new Set<string>();
function compileHost(programs: string, python: string): void {
  const key = `${python} ${programs}`;
  if (compiled.has(key)) return;
  compiled.add(key);
  // without its help the start is slower, and nothing else
  spawnSync(python, ['-I', '-m', 'compileall', '-q', '-j', '0', path.join(programs, 'runtime/hosts/python')], { stdio: 'ignore' });
}

/** A Python that is not the system's brings what it needs along. */
const prefixes = new Map<string, readonly string[]>();
function pythonMounts(python: string): SandboxSpec['mounts'] {
  let found = prefixes.get(python);
  if (found === undefined) {
    const { stdout, status, error } = spawnSync(python, ['-I', '-c', 'import sys; print(sys.prefix); print(sys.base_prefix)'], {
      encoding: 'utf8',
    });
    if (status !== 0)
      throw new Error(`${python} does not run: ${error?.message ?? `exit code ${status}`}; WORKFLOW_PYTHON names another one`);
    found = [...new Set(stdout.trim().split('\n'))].filter((prefix) => prefix !== '/usr' && !prefix.startsWith('/usr/'));
    prefixes.set(python, found);
  }
  return found.map((prefix) => ({ source: prefix, target: prefix }));
}

function listenOnce(place: string): Promise<{ readonly socket: Promise<net.Socket>; close(): void }> {
  const server = net.createServer();
  server.maxConnections = 1;
  const socket = new Promise<net.Socket>((arrived) => server.once('connection', arrived));
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(place, () => {
      // its folder is mounted into one sandbox, and nobody else can enter it
      fs.chmodSync(place, 0o666);
      resolve({ socket, close: () => void server.close() });
    });
  });
}

function late(message: string): Promise<never> {
  return new Promise((_, reject) => {
    setTimeout(() => reject(new Error(message)), START_MS).unref();
  });
}

function sayLines(say: (text: string) => void): (text: string) => void {
  let rest = '';
  let second = 0;
  let count = 0;
  return (text) => {
    const lines = (rest + text).split('\n');
    rest = (lines.pop() ?? '').slice(0, SAID_MOST);
    for (const line of lines) {
      const now = Math.floor(performance.now() / 1000);
      if (now !== second) [second, count] = [now, 0];
      count += 1;
      if (count <= LINES_MOST && line.trim() !== '') say(line.slice(0, SAID_MOST));
    }
  };
}
