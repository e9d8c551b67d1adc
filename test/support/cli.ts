/** The real `centaur` binary, in processes of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { eventually } from './wait.ts';

const BINARY = fileURLToPath(new URL('../../cli/bin/centaur.js', import.meta.url));

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Running {
  readonly child: ChildProcess;
  readonly output: { stdout: string; stderr: string };
  readonly finished: Promise<Finished>;
}

/** A home of its own, with workflow files in it. */
export interface Place extends AsyncDisposable {
  readonly folder: string;
  /** What a command run here sees; nothing else of the environment is inherited but PATH and where compiled sources are kept. */
  readonly env: Record<string, string>;
  write(name: string, source: string): string;
  start(args: readonly string[], env?: Readonly<Record<string, string>>): Running;
  run(args: readonly string[], options?: { readonly env?: Readonly<Record<string, string>>; readonly stdin?: string }): Promise<Finished>;
  /** Starts a server and waits for its banner; the commands that follow talk to it. */
  serve(role: 'up' | 'api' | 'worker', env?: Readonly<Record<string, string>>): Promise<Running & { readonly url: string }>;
}

export function createPlace(env: Readonly<Record<string, string>> = {}): Place {
  const folder = mkdtempSync(path.join(tmpdir(), 'centaur-cli-'));
  // So that under root, Postgres' own user can reach its data
  chmodSync(folder, 0o711);
  mkdirSync(path.join(folder, 'workflows'));
  const all: Record<string, string> = {
    PATH: process.env['PATH'] ?? '',
    NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'] ?? '',
    HOME: folder,
    CENTAUR_HOME: path.join(folder, 'home'),
    WORKFLOW_DIRS: path.join(folder, 'workflows'),
    // what hosts do is tested where hosts are
    WORKFLOW_HOSTS: 'in_process',
    NODE_NO_WARNINGS: '1',
    PORT: '0',
    FIREWALL_PORT: '0',
    ...env,
  };
  const children = new Set<ChildProcess>();

  function start(args: readonly string[], more: Readonly<Record<string, string>> = {}): Running {
    const child = spawn(process.execPath, [BINARY, ...args], { cwd: folder, env: { ...all, ...more }, stdio: ['pipe', 'pipe', 'pipe'] });
    children.add(child);
    // one that refuses its arguments reads nothing
    child.stdin.on('error', () => undefined);
    const output = { stdout: '', stderr: '' };
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output.stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (output.stderr += text));
    const finished = once(child, 'close').then(([code]) => {
      children.delete(child);
      return { code: code as number | null, ...output };
    });
    return { child, output, finished };
  }

  return {
    folder,
    env: all,
    start,
    write(name, source) {
      const file = path.join(folder, 'workflows', name);
      writeFileSync(file, source);
      return file;
    },
    async run(args, { env: more, stdin } = {}) {
      const { child, finished } = start(args, more);
      child.stdin?.end(stdin);
      return finished;
    },
    async serve(role, more) {
      const running = start([role], more);
      await eventually(() => running.output.stdout.includes(' is up ') || running.child.exitCode !== null, {
        timeoutMs: 240_000,
        what: `centaur ${role} to start`,
      });
      if (running.child.exitCode !== null)
        throw new Error(`centaur ${role} ended with ${running.child.exitCode}: ${running.output.stderr}`);
      const url = /API +(http\S+)/.exec(running.output.stdout)?.[1] ?? '';
      if (url !== '') all['CENTAUR_API_URL'] = url;
      return { ...running, url };
    },
    async [Symbol.asyncDispose]() {
      const ended = [...children].map((child) => once(child, 'close'));
      for (const child of children) child.kill('SIGTERM');
      const patience = setTimeout(() => [...children].forEach((child) => child.kill('SIGKILL')), 60_000);
      await Promise.all(ended);
      clearTimeout(patience);
      // what was killed may be writing its last words
      rmSync(folder, { recursive: true, force: true, maxRetries: 10 });
    },
  };
}
