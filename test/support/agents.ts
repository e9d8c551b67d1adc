/** Agents as a server has them: threads, a firewall, sandboxes of this machine, and the scripted model behind them. */
import { fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createEngine, type Engine } from '../../kernel/engine/index.ts';
import { connectStore, type Store } from '../../kernel/store/index.ts';
import { createThreads, type Threads } from '../../kernel/threads/index.ts';
import { addGrant, type Installation, localMasterKey, openInstallation, putSecret } from '../../kernel/vault/index.ts';
import { createLocalBackend } from '../../runtime/sandbox/local/index.ts';
import type { SandboxBackend } from '../../runtime/sandbox/types.ts';
import type { SkillSource } from '../../runtime/skills/types.ts';
import {
  type AvailableTool,
  createTurns,
  DEFAULT_SETTINGS,
  standIn,
  TURN_WORKFLOW,
  type Turns,
  withBuiltIn,
} from '../../runtime/turns/index.ts';
import { createModelServer, type ModelServer } from '../../examples/model-server/index.ts';
import { ensureBubblewrap } from './bubblewrap.ts';
import { createTestFirewall, type TestFirewall } from './firewall.ts';
import { createRegistry, type MemoryRegistry } from './registry.ts';

const MODEL_SECRET = 'MODEL_KEY';
/** Requests to the model that are remembered whole. */
const TOLD_MOST = 20;

/** What a worker is made of, in this process or in one of its own. */
export interface WorkerSettings {
  readonly databaseUrl: string;
  readonly masterKey: string;
  readonly stateDir: string;
  readonly firewall: string;
  readonly modelUrl: string;
  readonly leaseMs?: number;
  /** With the real CLIs. */
  readonly harnessDir?: string;
  readonly deadlines?: { readonly silenceMs?: number; readonly hardMs?: number; readonly graceMs?: number };
  readonly approvals?: 'ask';
  /** Where the platform's API is, `host:port`, and the tools that agents are told of. */
  readonly api?: string;
  readonly tools?: readonly AvailableTool[];
  /** In their place. Of this process alone, as the skills are: a worker in one of its own has none. */
  readonly toolsFor?: (user: string | undefined) => Promise<readonly AvailableTool[]>;
  readonly skills?: SkillSource;
}

export interface AgentWorker extends AsyncDisposable {
  readonly engine: Engine;
  readonly threads: Threads;
  readonly turns: Turns;
  readonly sandboxes: SandboxBackend;
  readonly registry: MemoryRegistry;
  readonly store: Store;
}

/** @param working false for one that only accepts */
export async function createAgentWorker(
  settings: WorkerSettings,
  working: boolean,
  log: (entry: { level: string; message: string }) => void,
): Promise<AgentWorker> {
  const store = await connectStore({ url: settings.databaseUrl, poolSize: 6 });
  const master = localMasterKey(Buffer.from(settings.masterKey, 'base64'));
  const installation: Installation = await openInstallation({ store, master, log });
  const registry = createRegistry();
  let workflow = standIn();
  let threads: Threads | undefined;
  const engine = await createEngine({
    store,
    registry: withBuiltIn(registry, () => [workflow]),
    log,
    startAgent: (request) => (threads as Threads).startAgent(request),
    leaseMs: settings.leaseMs ?? 10_000,
  });
  threads = await createThreads({
    store,
    catalogue: {
      harnesses: ['demo', 'claude', 'codex', 'pi', 'amp'],
      defaultHarness: 'demo',
      persona(id) {
        if (id === 'pirate') return { harness: 'demo', prompt: 'Answer as a pirate.' };
        const persona = settings.skills?.personas().find(({ name }) => name === id);
        return persona === undefined ? undefined : { ...persona, harness: persona.harness ?? null };
      },
    },
    startTurn: async ({ threadKey, executionId, traceId }) =>
      (
        await engine.start({
          workflow_name: TURN_WORKFLOW,
          input: { thread_key: threadKey, execution_id: executionId },
          trigger_key: executionId,
          trace_id: traceId.replaceAll('-', ''),
        })
      ).run_id,
    workerId: () => engine.stats().worker_id,
    log,
  });
  const sandboxes = createLocalBackend({ stateDir: settings.stateDir, log });
  const { approvals } = settings;
  const model = { secret: MODEL_SECRET, baseUrl: settings.modelUrl };
  const asking = { ...model, ...(approvals === undefined ? {} : { approvals }) };
  const turns = createTurns({
    installation,
    threads,
    sandboxes,
    settings: {
      ...DEFAULT_SETTINGS,
      demo: asking,
      claude: { ...asking, model: 'claude-sonnet-4-5' },
      codex: { ...asking, model: 'gpt-5-codex' },
      pi: { ...model, model: 'scripted' },
    },
    limits: { memoryMb: settings.harnessDir === undefined ? 512 : 2048, processes: 256, diskMb: 256, tmpMb: 64, cpus: 2 },
    ...(settings.harnessDir === undefined ? {} : { harnessDir: settings.harnessDir }),
    firewall: settings.firewall,
    ...(settings.deadlines === undefined ? {} : { deadlines: settings.deadlines }),
    ...(settings.api === undefined ? {} : { api: settings.api }),
    tools: async (user) => (await settings.toolsFor?.(user)) ?? settings.tools ?? [],
    ...(settings.skills === undefined ? {} : { skills: settings.skills }),
    log,
  });
  workflow = turns.workflow;
  if (working) await engine.work();
  const opened = threads;
  return {
    engine,
    threads,
    turns,
    sandboxes,
    registry,
    store,
    async [Symbol.asyncDispose]() {
      turns.detach();
      await engine.drain(2000);
      await turns.close();
      await opened.close();
      await installation.close();
      await store.close();
    },
  };
}

export interface TestAgents extends AsyncDisposable {
  readonly worker: AgentWorker;
  readonly threads: Threads;
  readonly trust: TestFirewall;
  readonly model: ModelServer;
  /** The last requests to it, as JSON. */
  readonly told: readonly string[];
  readonly settings: WorkerSettings;
  readonly key: string;
  readonly logs: { level: string; message: string; [field: string]: unknown }[];
  /** Another worker, in this process. */
  another(): Promise<AgentWorker>;
  /** A worker that can be killed. */
  fork(): Promise<{ readonly pid: number; kill(): Promise<void> }>;
  /** Spawns when needed, and sends. Answers the execution's id. */
  say(threadKey: string, text: string, more?: Record<string, unknown>): Promise<string>;
  ended(executionId: string, timeoutMs?: number): Promise<Awaited<ReturnType<Threads['getExecution']>>>;
  events(threadKey: string): Promise<{ id: number; kind: string; data: Record<string, unknown> }[]>;
}

export async function createTestAgents(
  options: {
    readonly idle?: boolean;
    readonly deadlines?: WorkerSettings['deadlines'];
    readonly leaseMs?: number;
    readonly harnessDir?: string;
    readonly approvals?: 'ask';
    readonly api?: string;
    /** May change between turns. */
    readonly tools?: readonly AvailableTool[];
    readonly toolsFor?: WorkerSettings['toolsFor'];
    readonly skills?: SkillSource;
  } = {},
): Promise<TestAgents> {
  ensureBubblewrap();
  await using stack = new AsyncDisposableStack();
  const key = 'sk-model-key-that-only-the-vault-knows-1234';
  const told: string[] = [];
  const onRequest = (body: object) => {
    told.push(JSON.stringify(body));
    if (told.length > TOLD_MOST) told.shift();
  };
  const model = await createModelServer({ key, paceMs: 40, onRequest });
  stack.defer(() => model.close());
  const port = Number(new URL(model.url).port);
  const masterKey = randomBytes(32);
  const trust = stack.use(await createTestFirewall({ masterKey, config: { allow_cidrs: ['127.0.0.1'], ports: [80, 443, port] } }));
  const { installation } = trust;
  await putSecret(installation, 'test', MODEL_SECRET, {
    value: key,
    hosts: [`http://localhost:${port}`],
    match_headers: ['x-api-key', 'authorization'],
  });
  await addGrant(installation, 'test', 'thread:*', MODEL_SECRET);
  const stateDir = mkdtempSync(join(tmpdir(), 'centaur-agents-'));
  chmodSync(stateDir, 0o711);
  stack.defer(() => rmSync(stateDir, { recursive: true, force: true, maxRetries: 10 }));
  stack.defer(() => createLocalBackend({ stateDir }).shutdown());
  const settings: WorkerSettings = {
    databaseUrl: trust.database.url,
    masterKey: masterKey.toString('base64'),
    stateDir,
    firewall: `127.0.0.1:${trust.firewall.port}`,
    modelUrl: `http://localhost:${port}`,
    ...(options.deadlines === undefined ? {} : { deadlines: options.deadlines }),
    ...(options.leaseMs === undefined ? {} : { leaseMs: options.leaseMs }),
    ...(options.harnessDir === undefined ? {} : { harnessDir: options.harnessDir }),
    ...(options.approvals === undefined ? {} : { approvals: options.approvals }),
    ...(options.api === undefined ? {} : { api: options.api }),
    ...(options.tools === undefined ? {} : { tools: options.tools }),
    ...(options.toolsFor === undefined ? {} : { toolsFor: options.toolsFor }),
    ...(options.skills === undefined ? {} : { skills: options.skills }),
  };
  const logs: TestAgents['logs'] = [];
  const another = async (working = true) => rest.use(await createAgentWorker(settings, working, (entry) => logs.push(entry)));
  const rest = stack.move();
  const worker = await another(options.idle !== true);
  const { threads } = worker;
  return {
    worker,
    threads,
    trust,
    model,
    told,
    settings,
    key,
    logs,
    another: () => another(),
    async fork() {
      const child = fork(new URL('agent-worker.ts', import.meta.url), {
        env: { ...process.env, NODE_NO_WARNINGS: '1', AGENT_WORKER: JSON.stringify(settings) },
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      });
      rest.defer(() => void child.kill('SIGKILL'));
      await Promise.race([once(child, 'message'), once(child, 'exit')]);
      return {
        pid: child.pid as number,
        async kill() {
          child.kill('SIGKILL');
          if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
        },
      };
    },
    async say(threadKey, text, more = {}) {
      const { harness, persona_id, ...execution } = more as { harness?: string; persona_id?: string };
      const { assignment_generation } = await threads.spawn({ thread_key: threadKey, harness, persona_id });
      await threads.message({ thread_key: threadKey, assignment_generation, parts: [{ type: 'text', text }] });
      return (await threads.execute({ thread_key: threadKey, assignment_generation, ...execution })).execution_id;
    },
    async ended(executionId, timeoutMs = 240_000) {
      const { thread_key } = await threads.getExecution(executionId);
      for await (const _ of threads.follow(thread_key, 0, { executionId, signal: AbortSignal.timeout(timeoutMs) }));
      return threads.getExecution(executionId);
    },
    async events(threadKey) {
      const { rows } = await trust.store.query<{ id: number; kind: string; data: string }>(
        'select event_id as id, event_kind as kind, event_json as data from agent_execution_events where thread_key = $1 order by event_id',
        [threadKey],
      );
      return rows.map((row) => ({ ...row, data: JSON.parse(row.data) as Record<string, unknown> }));
    },
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  };
}
