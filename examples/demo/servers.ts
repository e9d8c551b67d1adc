/** The servers of an installation, as processes of their own: what `centaur firewall`, `centaur api` and `centaur worker` start. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const CENTAUR = fileURLToPath(new URL('../../cli/bin/centaur.js', import.meta.url));
const READY_MS = 120_000;

export interface ServerProcess {
  readonly pid: number;
  /** Where it answers; empty for a worker. */
  readonly url: string;
  /** `kill -9`; resolves when the process is gone. */
  kill(): Promise<void>;
}

export async function startFirewallProcess(
  environment: Readonly<Record<string, string>>,
  cleanup: AsyncDisposableStack,
): Promise<ServerProcess & { readonly caFile: string }> {
  const child = start('firewall', { FIREWALL_PORT: '0', ...environment }, cleanup);
  const { url, caFile } = await orFailure(
    'firewall',
    child,
    new Promise<{ url: string; caFile: string }>((resolve, reject) => {
      child.on('message', (message: { ready?: { url: string; caFile: string }; failed?: { message: string } }) => {
        if (message.failed !== undefined) reject(new Error(message.failed.message));
        if (message.ready !== undefined) resolve(message.ready);
      });
    }),
  );
  return { pid: child.pid ?? 0, url, caFile, kill: () => killProcess(child) };
}

/** @returns the server, once its banner says that it is up */
export async function startServerProcess(
  role: 'api' | 'worker',
  environment: Readonly<Record<string, string>>,
  cleanup: AsyncDisposableStack,
): Promise<ServerProcess> {
  const child = start(role, { PORT: '0', ...environment }, cleanup);
  const url = await orFailure(
    role,
    child,
    new Promise<string>((resolve) => {
      let said = '';
      child.stdout?.on('data', (data: Buffer) => {
        said += data.toString();
        // the banner is written as a whole, and ends with the workflows
        if (said.includes('Workflows')) resolve(/http:\/\/\S+/.exec(said)?.[0] ?? '');
      });
    }),
  );
  return { pid: child.pid ?? 0, url, kill: () => killProcess(child) };
}

export async function killProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
}

/** Only what it is given: settings of another installation in this terminal are none of the demo's. */
function start(role: string, environment: Readonly<Record<string, string>>, cleanup: AsyncDisposableStack): ChildProcess {
  const child = fork(CENTAUR, [role], {
    env: { PATH: process.env['PATH'] ?? '', CENTAUR_LOG_LEVEL: 'error', NO_COLOR: '1', NODE_NO_WARNINGS: '1', ...environment },
    // at a folder without a centaur.yaml and without workflows of somebody else's
    cwd: environment['CENTAUR_HOME'],
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  cleanup.defer(() => killProcess(child));
  return child;
}

async function orFailure<T>(role: string, child: ChildProcess, ready: Promise<T>): Promise<T> {
  let complaint = '';
  child.stderr?.on('data', (data: Buffer) => (complaint = (complaint + data.toString()).slice(-2000)));
  const failed = Promise.withResolvers<never>();
  const fail = (what: string) => failed.reject(new Error(`the ${role} ${what}${complaint === '' ? '' : `: ${complaint.trim()}`}`));
  const timer = setTimeout(() => fail(`was not up within ${READY_MS / 1000} s`), READY_MS);
  const onExit = (code: number | null) => fail(`ended with code ${code} before it was up`);
  child.once('exit', onExit);
  try {
    return await Promise.race([ready, failed.promise]);
  } finally {
    clearTimeout(timer);
    child.off('exit', onExit);
  }
}
