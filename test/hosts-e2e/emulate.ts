/** GitHub, Stripe, Slack, Linear and Google as the package `emulate` plays them, and a recorder that stands between them and us. */
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { emulateModule } from '../support/programs.ts';

export interface Emulator {
  readonly url: string;
  close(): Promise<void>;
}

export async function startEmulator(service: 'github' | 'stripe' | 'slack' | 'linear' | 'google', seed: unknown): Promise<Emulator> {
  const { createEmulator } = (await import(pathToFileURL(path.join(emulateModule(), 'dist', 'api.js')).href)) as {
    createEmulator(options: unknown): Promise<Emulator>;
  };
  const emulator = await createEmulator({ service, port: 0, seed });
  return { url: emulator.url.replace('localhost', '127.0.0.1'), close: () => emulator.close() };
}

/** A request that passed, with what it was answered. */
export interface Passed {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  readonly status: number;
  // oxlint-disable-next-line typescript/no-explicit-any -- answers of many shapes
  readonly answer: any;
}

export interface Recorder {
  readonly url: string;
  readonly passed: readonly Passed[];
  /** Where requests go on to. */
  target: string;
  /** Sends what passed once more, with these changes. */
  again(passed: Passed, changes?: { readonly headers?: Readonly<Record<string, string>>; readonly body?: string }): Promise<Passed>;
  close(): void;
}

/** The connection's own. */
const LEFT_OUT = new Set(['host', 'connection', 'content-length', 'transfer-encoding', 'accept-encoding', 'proxy-connection']);

export async function startRecorder(): Promise<Recorder> {
  const passed: Passed[] = [];
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const part of request.setEncoding('utf8')) body += part;
    const seen = await pass(request.url ?? '/', request.headers, body);
    response.writeHead(seen.status, { 'content-type': 'application/json' }).end(JSON.stringify(seen.answer));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const recorder: Recorder = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    passed,
    target: '',
    again: (before, { headers = {}, body = before.body } = {}) => pass(before.path, { ...before.headers, ...headers }, body),
    close: () => server.close(),
  };
  return recorder;

  async function pass(at: string, headers: IncomingHttpHeaders, body: string): Promise<Passed> {
    const sent = Object.entries(headers).filter(([name]) => !LEFT_OUT.has(name)) as [string, string][];
    const response = await fetch(recorder.target + at, { method: 'POST', headers: sent, body });
    const seen = { path: at, headers, body, status: response.status, answer: await response.json() };
    passed.push(seen);
    return seen;
  }
}
