/** The hosts that come with Centaur, as they are started outside of a sandbox. */
import { fileURLToPath } from 'node:url';
import { denoBinary } from '../support/programs.ts';
import type { HostCommand } from './process.ts';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

const PROGRAM = here('../../runtime/hosts/program/main.ts');
const DENO_FLAGS = ['--no-config', '--node-modules-dir=manual', '--no-prompt', '--allow-read', '--allow-env', '--allow-net'];

/** Deno takes a connection to a socket for a write. */
const writable = (socket: string | undefined): string[] => (socket === undefined ? [] : [`--allow-write=${socket}`]);

export const HOSTS: readonly HostCommand[] = [
  { name: 'node', command: () => [process.execPath, '--no-warnings', PROGRAM], files: here('files/node') },
  { name: 'deno', command: (socket) => [denoBinary(), 'run', ...DENO_FLAGS, ...writable(socket), PROGRAM], files: here('files/node') },
  { name: 'python', command: () => ['python3', here('../../runtime/hosts/python/workflow-host')], files: here('files/python') },
];

export function findHost(name: string): HostCommand {
  const host = HOSTS.find((each) => each.name === name);
  if (host === undefined) throw new Error(`--host: expected ${HOSTS.map((each) => each.name).join(', ')}, got ${name}`);
  return host;
}
