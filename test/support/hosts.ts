/** Workflows in sandboxes of their own, on a real engine behind a real firewall: one world for many attempts. */
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createEngine, type Engine, type RunDetail } from '../../kernel/engine/index.ts';
import { connectStore, type StoreLogEntry } from '../../kernel/store/index.ts';
import { addGrant } from '../../kernel/vault/index.ts';
import { createHosts, type Hosts } from '../../runtime/hosts/hosted/index.ts';
import { createSandboxedLauncher } from '../../runtime/hosts/hosted/sandboxed.ts';
import { createLocalBackend } from '../../runtime/sandbox/local/index.ts';
import { createLog } from '../../cli/log.ts';
import { createTestFirewall, type Service, startService, type TestFirewall } from './firewall.ts';
import { eventually } from './wait.ts';

export const LIMITS = { memoryMb: 256, processes: 48, diskMb: 64, tmpMb: 16, cpus: 2 } as const;
export const PYTHON = '/usr/bin/python3';

export interface HostWorld extends AsyncDisposable {
  readonly t: TestFirewall;
  readonly service: Service;
  readonly engine: Engine;
  readonly hosts: Hosts;
  /** Of the workflow files, and of everything that the hosts keep. */
  readonly dir: string;
  readonly state: string;
  readonly logged: StoreLogEntry[];
  readonly metrics: unknown[];
  /** The run when it has ended; cancelled first when that takes longer than `ms`. */
  run(workflow: string, input: unknown, ms?: number): Promise<RunDetail>;
  ended(runId: string, ms?: number): Promise<RunDetail>;
}

const RUN_MS = 120_000;

/** @param secrets by name, with the principals that may use each at the service */
export async function createHostWorld(
  files: Readonly<Record<string, string>>,
  secrets: Readonly<Record<string, { readonly value: string; readonly principals: readonly string[] }>> = {},
): Promise<HostWorld> {
  await using stack = new AsyncDisposableStack();
  const service = stack.use(await startService((_, response) => response.end('served')));
  const t = stack.use(await createTestFirewall({ config: { allow_cidrs: ['127.0.0.1'], ca_pems: [service.caPem] } }));
  const root = fs.mkdtempSync(path.join(tmpdir(), 'centaur-hosts-'));
  stack.defer(() => fs.rmSync(root, { recursive: true, force: true, maxRetries: 10 }));
  // sandboxes run as users of their own
  fs.chmodSync(root, 0o755);
  const [dir, state] = [path.join(root, 'workflows'), path.join(root, 'state')];
  for (const folder of [dir, state]) fs.mkdirSync(folder, { mode: 0o755 });
  for (const [name, text] of Object.entries(files)) fs.writeFileSync(path.join(dir, name), text);
  for (const [name, { value, principals }] of Object.entries(secrets)) {
    await t.secret(name, { value, hosts: [`localhost:${service.port}`] });
    for (const principal of principals) await addGrant({ store: t.store, audit: t.installation.audit }, 'test', principal, name);
  }

  const logged: StoreLogEntry[] = [];
  // as the server writes them: what cannot be written there must not get that far
  const write = createLog({ level: 'debug', stream: { write: () => true } as unknown as NodeJS.WriteStream, pretty: false });
  const log = (entry: StoreLogEntry): void => {
    write(entry);
    logged.push(entry);
  };
  const backend = createLocalBackend({ stateDir: path.join(root, 'sandboxes'), memoryReserveMb: 64 });
  stack.defer(async () => {
    // what is just being ended would start the holder again
    await eventually(async () => (await backend.list()).length === 0).catch(() => undefined);
    await backend.shutdown();
  });
  const launcher = createSandboxedLauncher({
    backend,
    installation: t.installation,
    firewall: `127.0.0.1:${t.firewall.port}`,
    postgres: `127.0.0.1:${t.firewall.postgresPort}`,
    limits: LIMITS,
    python: PYTHON,
    stateDir: path.join(root, 'h'),
    log,
  });
  stack.defer(() => launcher.close());
  const hosts = await createHosts({
    dirs: [dir],
    stateDir: state,
    watch: false,
    log,
    launch: launcher.launch,
    isCurrent: launcher.isCurrent,
  });
  stack.defer(() => hosts.close());
  const store = await connectStore({ url: t.database.url, poolSize: 5 });
  stack.defer(() => store.close());
  const engine = await createEngine({ store, registry: hosts.registry, log, residentMs: 60_000 });
  const metrics: unknown[] = [];
  hosts.serve({ startRun: ({ from, ...request }) => engine.startFrom(from, request), metric: (metric) => void metrics.push(metric), log });
  await engine.work();
  stack.defer(() => engine.drain(1000));

  async function ended(runId: string, ms = RUN_MS): Promise<RunDetail> {
    const timer = setTimeout(() => void engine.cancelRun(runId).catch(() => undefined), ms);
    try {
      for await (const { event, data } of engine.tailRun(runId, { signal: AbortSignal.timeout(ms + RUN_MS) })) {
        if (/^run\.(?:completed|failed|cancelled)$/.test(event)) break;
        if (event === 'run.status' && (data as { status?: string }).status === 'stuck') break;
      }
    } finally {
      clearTimeout(timer);
    }
    return engine.getRun(runId);
  }
  const rest = stack.move();
  return {
    t,
    service,
    engine,
    hosts,
    dir,
    state,
    logged,
    metrics,
    ended,
    run: async (workflow, input, ms) => ended((await engine.start({ workflow_name: workflow, input })).run_id, ms),
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  };
}

/** A workflow that does what its input says, in Node. `line` is its own line to the worker, `say` writes on it past its host program. */
export function nodeWorkflow(name: string): string {
  return `export const WORKFLOW_NAME = '${name}';
import { createRequire } from 'node:module';
import net from 'node:net';
const require = createRequire('/workflows/');
const line = process._getActiveHandles().find((handle) => handle instanceof net.Socket && handle.listenerCount('data') > 0);
const say = (...messages) => line.write(messages.map((each) => (typeof each === 'string' ? each : JSON.stringify(each)) + '\\n').join(''));
export async function handler(input, ctx) {
  const Attempt = Object.getPrototypeOf(async () => {}).constructor;
  return new Attempt('input', 'ctx', 'require', 'line', 'say', input.code)(input, ctx, require, line, say);
}
`;
}

/** The same in Python. */
export function pythonWorkflow(name: string): string {
  return `import textwrap
from api.workflow_engine import WorkflowContext
WORKFLOW_NAME = "${name}"
async def handler(inp, ctx: WorkflowContext):
    scope = {}
    exec("async def attempt(inp, ctx):\\n" + textwrap.indent(inp["code"], "    "), scope)
    return await scope["attempt"](inp, ctx)
`;
}
