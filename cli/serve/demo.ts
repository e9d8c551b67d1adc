/** `CENTAUR_DEMO=1`: a scripted model beside the platform, so that agents answer without any account. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { EgressSettings } from '@centaur/kernel/config';
import { addGrant, type Installation, putSecret } from '@centaur/kernel/vault';
import { HintedError } from '../exit.ts';
import type { Log } from '../log.ts';

const MODEL_SERVER = fileURLToPath(new URL('../../examples/model-server/main.ts', import.meta.url));
/** What stands for its key; any thread may use it. */
export const DEMO_SECRET = 'CENTAUR_DEMO_MODEL_KEY';
const ACTOR = 'system:demo';
const READY_MS = 20_000;

export interface DemoModel {
  readonly url: string;
  /** What the firewall must allow for it. */
  readonly egress: EgressSettings;
  stop(): Promise<void>;
}

/** The key is made here, is in the vault and in the server, and nowhere else. */
export async function startDemoModel(installation: Installation, log: Log): Promise<DemoModel> {
  const key = `sk-demo-${randomBytes(24).toString('base64url')}`;
  const { child, url } = await launch(key);
  child.once('exit', (code, signal) => {
    if (!stopping) log({ level: 'error', message: 'the scripted model server ended; restart to have it again', exit_code: code, signal });
  });
  let stopping = false;
  const { port } = new URL(url);
  await putSecret(installation, ACTOR, DEMO_SECRET, {
    value: key,
    hosts: [`http://localhost:${port}`],
    match_headers: ['x-api-key', 'authorization'],
  });
  await addGrant(installation, ACTOR, 'thread:*', DEMO_SECRET);
  return {
    url: `http://localhost:${port}`,
    egress: { allow_cidrs: ['127.0.0.1'], ports: [Number(port)] },
    async stop() {
      stopping = true;
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), 2000);
      await ended;
      clearTimeout(timer);
    },
  };
}

async function launch(key: string): Promise<{ readonly child: ChildProcess; readonly url: string }> {
  const child = spawn(process.execPath, [MODEL_SERVER, '--port', '0', '--with-input'], {
    env: { PATH: process.env['PATH'] ?? '', MODEL_SERVER_KEY: key, NODE_NO_WARNINGS: '1' },
    // it ends with this process, however that ends: its input ends then
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), READY_MS);
  try {
    for await (const line of createInterface({ input: child.stdout })) {
      const url = /(http:\/\/\S+)/.exec(line)?.[1];
      if (url !== undefined) return { child, url };
    }
  } finally {
    clearTimeout(timer);
  }
  throw new HintedError(
    'the scripted model server did not start',
    'Its log is above. Without CENTAUR_DEMO the platform starts without it.',
  );
}
