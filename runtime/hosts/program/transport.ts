/** Where a host's lines come from and go to: its standard input and output, or a socket. */
import { connect } from 'node:net';
import type { Duplex, Readable, Writable } from 'node:stream';

export const isDeno = 'Deno' in globalThis;

export function openTransport(): { readonly input: Readable; readonly output: Writable } {
  const { CENTAUR_HOST_SOCKET } = process.env;
  if (CENTAUR_HOST_SOCKET === undefined || CENTAUR_HOST_SOCKET === '') return { input: process.stdin, output: process.stdout };
  const socket: Duplex = connect(CENTAUR_HOST_SOCKET);
  return { input: socket, output: socket };
}

/** What handlers print must not come between the messages. To be called when the transport is open. */
export function printToStandardError(): void {
  Object.defineProperty(process, 'stdout', { configurable: true, enumerable: true, get: () => process.stderr });
  if (isDeno) Object.assign(console, { log: console.error, info: console.error, debug: console.error });
}
