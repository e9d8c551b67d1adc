/** Restate keeps its own log, not Postgres: its server runs beside the measured process, durable at its defaults. */
import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import http2 from 'node:http2';
import { createRequire } from 'node:module';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import * as restate from '@restatedev/restate-sdk';
import * as clients from '@restatedev/restate-sdk-clients';
import { freePort } from '../../test/support/ports.ts';
import type { Adapter, PeerServer } from '../adapter.ts';

const SERVICE = 'bench';
const START_TIMEOUT_MS = 300_000;

export async function startServer(folder: string): Promise<PeerServer> {
  mkdirSync(folder, { recursive: true });
  const [ingress, admin, node, endpoint] = await Promise.all([freePort(), freePort(), freePort(), freePort()]);
  const platform = createRequire(import.meta.url).resolve(`@restatedev/restate-server-${process.platform}-${process.arch}/package.json`);
  const child = spawn(path.join(path.dirname(platform), 'bin', 'restate-server'), ['--no-logo', '--node-name', 'bench'], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: {
      ...process.env,
      RESTATE_DISABLE_TELEMETRY: 'true',
      RESTATE_LOG_FILTER: 'error,octocrab=off',
      RESTATE_BASE_DIR: folder,
      RESTATE_LISTEN_MODE: 'tcp',
      RESTATE_BIND_IP: '127.0.0.1',
      RESTATE_BIND_PORT: String(node),
      RESTATE_INGRESS__BIND_ADDRESS: `127.0.0.1:${ingress}`,
      RESTATE_ADMIN__BIND_ADDRESS: `127.0.0.1:${admin}`,
    },
  });
  const stop = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await exited;
  };
  const began = performance.now();
  const ready = () =>
    left(`http://127.0.0.1:${admin}`).then(
      () => answers(`http://127.0.0.1:${ingress}/restate/health`),
      () => false,
    );
  while (!(await ready())) {
    if (performance.now() - began > START_TIMEOUT_MS || child.exitCode !== null) {
      await stop();
      throw new Error('restate-server did not come up');
    }
    await pause(50);
  }
  return {
    // the log level is read when the SDK is loaded: a line per call would be measured too
    env: {
      RESTATE_LOGGING: 'ERROR',
      RESTATE_INGRESS: `http://127.0.0.1:${ingress}`,
      RESTATE_ADMIN: `http://127.0.0.1:${admin}`,
      RESTATE_ENDPOINT: String(endpoint),
    },
    stop,
  };
}

export async function create(): Promise<Adapter> {
  const { RESTATE_INGRESS: ingress = '', RESTATE_ADMIN: admin = '', RESTATE_ENDPOINT: endpoint = '' } = process.env;
  const client = clients.connect({ url: ingress });
  const handlers: Record<string, (ctx: restate.Context, input: unknown) => Promise<unknown>> = {};
  const waits = new Map<string, string>();
  let started = 0;
  return {
    define(name, handler) {
      handlers[name] = async (ctx, input) => {
        const result = await handler(input as never, {
          step: (step, fn) => ctx.run(step, fn) as ReturnType<typeof fn>,
          sleepUntil: async (time) => void (await ctx.sleep(Math.max(0, time - Date.now()))),
          waitFor(key) {
            const { id, promise } = ctx.awakeable();
            waits.set(key, id);
            return promise;
          },
        });
        return result;
      };
    },
    async launch() {
      // what is done is forgotten at once, so that what is left can be counted
      const service = restate.service({ name: SERVICE, handlers, options: { journalRetention: 0 } });
      const server = http2.createServer(restate.createEndpointHandler({ services: [service] }));
      await new Promise<void>((resolve) => server.listen(Number(endpoint), '127.0.0.1', resolve));
      const answer = await fetch(`${admin}/deployments`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ uri: `http://127.0.0.1:${endpoint}`, force: true }),
      });
      if (!answer.ok) throw new Error(`Restate refused the deployment: ${await answer.text()}`);
      started = await left(admin);
    },
    async start(name, input) {
      started++;
      const sender = client.serviceSendClient({ name: SERVICE }) as unknown as Record<
        string,
        (input: unknown) => Promise<{ invocationId: string }>
      >;
      return (await sender[name]?.(input))?.invocationId ?? '';
    },
    async emit(_runId, key) {
      await client.resolveAwakeable(waits.get(key) ?? '', {});
    },
    done: async () => Math.max(0, started - (await left(admin))),
  };
}

/** Invocations that have not ended. */
async function left(admin: string): Promise<number> {
  const answer = await fetch(`${admin}/query`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json' },
    body: JSON.stringify({ query: "select count(*) as n from sys_invocation where status <> 'completed'" }),
  });
  if (!answer.ok) throw new Error(`Restate does not answer a query: ${await answer.text()}`);
  const { rows } = (await answer.json()) as { rows: { n: number }[] };
  return rows[0]?.n ?? 0;
}

async function answers(url: string): Promise<boolean> {
  return fetch(url).then(
    (answer) => answer.ok,
    () => false,
  );
}
