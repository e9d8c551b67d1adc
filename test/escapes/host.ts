/** What the host has for the attempts to find: alive, so that "closed" means closed. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { programOf, resultsOf, type SystemCall } from './elf.ts';
import type { Targets } from './scripts.ts';

export interface Host extends AsyncDisposable {
  readonly targets: Targets;
  readonly sharedMemoryKey: number;
  /** A program for this user's own run. */
  run(calls: readonly SystemCall[]): readonly bigint[] | undefined;
}

const KEY = 0x63_65_00_00 + (process.pid & 0xffff);
const IPC_CREAT = 0o1000;

export async function openHost(stateDir: string): Promise<Host> {
  await using stack = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), 'centaur-escape-'));
  chmodSync(folder, 0o755);
  stack.defer(() => rmSync(folder, { recursive: true, force: true }));
  const secret = join(folder, 'secret');
  writeFileSync(secret, 'centaur-escape-secret', { mode: 0o644 });
  const listen = async (options: net.ListenOptions): Promise<net.Server> => {
    const server = net.createServer((socket) => socket.on('error', () => undefined).end('open'));
    server.listen(options);
    await once(server, 'listening');
    stack.defer(() => void server.close());
    return server;
  };
  const portOf = (server: net.Server): number => (server.address() as net.AddressInfo).port;
  const pathSocket = join(folder, 'socket');
  const abstractSocket = `centaur-escape-${process.pid}`;
  const loopback = await listen({ port: 0, host: '127.0.0.1' });
  const loopback6 = await listen({ port: 0, host: '::1' }).catch(() => loopback);
  await listen({ path: `\0${abstractSocket}` });
  await listen({ path: pathSocket });
  chmodSync(pathSocket, 0o777);
  const udp = dgram.createSocket('udp4');
  udp.on('message', (_, { port, address }) => udp.send('heard', port, address));
  udp.bind(0, '127.0.0.1');
  await once(udp, 'listening');
  stack.defer(() => void udp.close());
  const decoy: ChildProcess = spawn('/bin/sleep', ['3600'], {
    // a program that every user may start, wherever this tree is
    argv0: 'centaur-decoy',
    ...(process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {}),
    env: {},
    stdio: 'ignore',
  });
  stack.defer(() => void decoy.kill('SIGKILL'));
  const run = (calls: readonly SystemCall[]): readonly bigint[] | undefined => {
    const program = join(folder, 'program');
    writeFileSync(program, programOf(calls), { mode: 0o755 });
    return resultsOf(spawnSync(program, { env: {}, stdio: ['ignore', 'pipe', 'ignore'], timeout: 60_000 }).stdout, calls.length);
  };
  if (process.arch === 'x64') {
    const made = run([{ nr: 29, args: [KEY, 4096, IPC_CREAT | 0o666] }]);
    stack.defer(() => void run([{ nr: 31, args: [made?.[0] ?? -1n, 0, 0] }]));
  }
  const rest = stack.move();
  return {
    targets: {
      secret,
      decoyPid: decoy.pid as number,
      port: portOf(loopback),
      port6: portOf(loopback6),
      abstractSocket,
      pathSocket,
      udpPort: udp.address().port,
      stateDir,
      hostname: hostname(),
    },
    sharedMemoryKey: KEY,
    run,
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  };
}
