/** Finds the holder of a state folder, or starts one. */
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import { fileURLToPath } from 'node:url';
import { isSandboxErrorCode, SandboxError } from '../errors.ts';
import { foldersOf } from './layout.ts';
import { mountNamespace, withOwnMounts } from './mounts.ts';
import type { HolderOptions } from './sandboxd.ts';
import { encodeMessage, type Message, PROTOCOL, readMessage } from './wire.ts';

export interface Connection {
  call(operation: string, json?: unknown, data?: Buffer): Promise<Message>;
  /** The answer as it comes. */
  open(operation: string, json: unknown, signal: AbortSignal): Promise<http.IncomingMessage>;
  close(): void;
}

export type ClientOptions = Omit<HolderOptions, 'hostMounts'>;

const START_MS = 30_000;
/** A socket's path has room for no more. */
const LONGEST_PATH = 100;

/** Talks to the holder of `stateDir`, which is started first if there is none. */
export async function connect(stateDir: string, options: ClientOptions): Promise<Connection> {
  const folders = foldersOf(stateDir);
  // boxes hold sockets too, with longer names
  if (folders.boxes.length + 20 > LONGEST_PATH) {
    throw new SandboxError('INVALID_SPEC', `the state folder's path is too long for sockets: ${stateDir}`);
  }
  const agent = new http.Agent({ keepAlive: true, maxSockets: 256 });
  const connection = connectionTo(folders.socket, agent);
  const deadline = Date.now() + START_MS;
  let started = false;
  for (;;) {
    try {
      const { json } = await connection.call('hello');
      if (await adopt(connection, json as Hello, options)) return connection;
      started = false;
    } catch (error) {
      if (!(error instanceof SandboxError) || error.code !== 'SANDBOX_UNREACHABLE') throw error;
      if (Date.now() > deadline) {
        throw new SandboxError('SANDBOX_UNREACHABLE', `the holder of the sandboxes could not be started: ${folders.log} says why`, {
          cause: error,
        });
      }
      if (!started) startHolder(stateDir, options);
      started = true;
    }
    await new Promise((later) => setTimeout(later, 20));
  }
}

/** Ends the holder of a state folder with all its sandboxes, if there is one: for the end of an installation, not of a process. */
export async function stopHolder(stateDir: string): Promise<void> {
  const agent = new http.Agent();
  const connection = connectionTo(foldersOf(stateDir).socket, agent);
  try {
    const { json } = await connection.call('hello');
    await connection.call('quit');
    // it answers first and ends then
    while (isAlive((json as Hello).pid)) await new Promise((later) => setTimeout(later, 10));
  } catch (error) {
    if (!(error instanceof SandboxError) || error.code !== 'SANDBOX_UNREACHABLE') throw error;
  } finally {
    agent.destroy();
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

interface Hello {
  readonly pid: number;
  readonly protocol: number;
  readonly sandboxes: number;
  readonly settings: unknown;
}

/** Whether the one that answered is one we can use; one of another release ends when it holds nothing. */
async function adopt(connection: Connection, hello: Hello, { settings }: ClientOptions): Promise<boolean> {
  if (hello.protocol === PROTOCOL) {
    if (JSON.stringify(hello.settings) !== JSON.stringify(settings)) await connection.call('configure', { settings });
    return true;
  }
  if (hello.sandboxes > 0) {
    throw new SandboxError(
      'ISOLATION_UNAVAILABLE',
      `a holder of another release still has ${hello.sandboxes} sandboxes: stop them with that release, or end its process, then try again`,
    );
  }
  await connection.call('quit');
  return false;
}

function startHolder(stateDir: string, options: ClientOptions): void {
  const folders = foldersOf(stateDir);
  fs.mkdirSync(folders.root, { recursive: true, mode: 0o700 });
  const log = fs.openSync(folders.log, 'a', 0o600);
  const [program, args] = withOwnMounts([
    process.execPath,
    '--no-warnings',
    fileURLToPath(new URL('sandboxd.ts', import.meta.url)),
    stateDir,
    JSON.stringify({ ...options, hostMounts: mountNamespace() } satisfies HolderOptions),
  ]);
  const child = spawn(program, args, {
    // no secret of ours is in it, nor in anything that it starts
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
    cwd: '/',
    detached: true,
    stdio: ['ignore', log, log],
  });
  child.once('error', () => undefined);
  child.unref();
  fs.closeSync(log);
}

function connectionTo(socketPath: string, agent: http.Agent): Connection {
  function open(operation: string, json: unknown, signal: AbortSignal | undefined, data?: Buffer): Promise<http.IncomingMessage> {
    return new Promise((done, fail) => {
      const request = http.request(
        { socketPath, path: `/${operation}`, method: 'POST', agent, ...(signal === undefined ? {} : { signal }) },
        (response) => {
          if (response.statusCode === 200) return done(response);
          void readMessage(response).then(({ json }) => fail(toError(json)), fail);
        },
      );
      request.once('error', (error: NodeJS.ErrnoException) => {
        if (signal?.aborted === true) fail(signal.reason as Error);
        else
          fail(new SandboxError('SANDBOX_UNREACHABLE', `the holder of the sandboxes does not answer: ${error.message}`, { cause: error }));
      });
      request.end(encodeMessage(json, data));
    });
  }

  return {
    call: async (operation, json = {}, data) => {
      const response = await open(operation, json, undefined, data);
      try {
        return await readMessage(response);
      } catch (error) {
        if (error instanceof SandboxError) throw error;
        throw new SandboxError('SANDBOX_UNREACHABLE', 'the holder of the sandboxes went away', { cause: error });
      }
    },
    open: (operation, json, signal) => open(operation, json, signal),
    close: () => agent.destroy(),
  };
}

function toError(json: unknown): SandboxError {
  const { code, message } = json as { code: unknown; message: unknown };
  return new SandboxError(isSandboxErrorCode(code) ? code : 'SANDBOX_UNREACHABLE', String(message));
}
