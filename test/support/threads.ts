/** Threads on an engine, with turns that a test scripts. */
import type { WorkflowContext } from '@centaur/sdk';
import type { Engine } from '../../kernel/engine/index.ts';
import { type CataloguePersona, createThreads, type Threads } from '../../kernel/threads/index.ts';
import type { TurnOwner } from '../../kernel/threads/events.ts';
import type { Store } from '../../kernel/store/index.ts';
import { createTestEngine, type TestEngine } from './engine.ts';

export interface TestThreads extends AsyncDisposable {
  readonly engine: TestEngine;
  readonly threads: Threads;
  readonly store: Store;
  /** Another process: its engine is handed in. */
  another(engine: Engine, store: Store): Promise<Threads>;
  /** What a turn does, from here on. */
  onTurn(act: (owner: TurnOwner, threads: Threads) => Promise<void>): void;
  /** Spawns when needed, and sends. Answers the execution's id. */
  say(threadKey: string, text: string, more?: Record<string, unknown>): Promise<string>;
  ended(executionId: string): Promise<Awaited<ReturnType<Threads['getExecution']>>>;
  /** Those that the catalogue knows; they may change. */
  readonly personas: Map<string, CataloguePersona>;
  /** All events of a thread after an id. */
  events(threadKey: string, after?: number): Promise<{ id: number; kind: string; data: Record<string, unknown> }[]>;
}

export async function createTestThreads(): Promise<TestThreads> {
  const personas = new Map<string, CataloguePersona>([
    ['reviewer', { harness: 'claude', prompt: 'Review.' }],
    ['shopper', { harness: null, prompt: 'Shop.', model: 'small', effort: 'low', tools: ['shop'], sha256: 'ab'.repeat(32) }],
  ]);
  const engine = await createTestEngine({ idle: true, startAgent: (request) => threads.startAgent(request) });
  let act = async (owner: TurnOwner, threads: Threads) => {
    await threads.turns.begin(owner);
    await threads.turns.finish(owner, { status: 'completed', reason: 'completed', resultText: 'done' });
  };
  const opened: Threads[] = [];
  async function another(on: Engine, store: Store): Promise<Threads> {
    const threads = await createThreads({
      store,
      catalogue: {
        harnesses: ['demo', 'claude'],
        defaultHarness: 'demo',
        persona: (id) => personas.get(id),
        personas: () => [...personas.keys()],
        describePrompt: async ({ harness, persona, override }) => ({
          harness,
          model: persona?.model ?? null,
          effort: persona?.effort ?? null,
          persona: persona === null ? null : { name: persona.name, sha256: persona.sha256 },
          sha256: null,
          bytes: 0,
          parts: [{ kind: 'persona', source: 'test', bytes: 0, text: [persona?.prompt, override].filter(Boolean).join(' / ') }],
          tools: [...(persona?.tools ?? [])],
          skills: [],
          missing: { tools: [], skills: [] },
        }),
      },
      startTurn: async ({ threadKey, executionId }) => {
        const { run_id } = await on.start({
          workflow_name: 'turn',
          input: { threadKey, executionId },
          trigger_key: executionId,
          concurrency_key: threadKey,
        });
        return run_id;
      },
      workerId: () => on.stats().worker_id,
      log: (entry) => engine.logs.push(entry),
    });
    opened.push(threads);
    return threads;
  }
  const threads: Threads = await another(engine.engine, engine.store);
  engine.registry.define(
    'turn',
    async ({ threadKey, executionId }: { threadKey: string; executionId: string }, ctx: WorkflowContext) => {
      await ctx.step('turn', () => act({ threadKey, executionId, runId: ctx.runId }, threads));
      const { status, terminal_reason, result_text, error_text, usage } = await threads.getExecution(executionId);
      return { execution_id: executionId, thread_key: threadKey, status, terminal_reason, result_text, error_text, usage };
    },
    { queue: { name: 'agents', concurrencyPerKey: 1 } },
  );
  await engine.engine.work();
  return {
    engine,
    threads,
    store: engine.store,
    another,
    personas,
    onTurn: (next) => (act = next),
    async say(threadKey, text, more = {}) {
      const { assignment_generation } = await threads.spawn({ thread_key: threadKey });
      const user_id = more['user_id'] as string | undefined;
      await threads.message({ thread_key: threadKey, assignment_generation, parts: [{ type: 'text', text }], user_id });
      return (await threads.execute({ thread_key: threadKey, assignment_generation, ...more })).execution_id;
    },
    async ended(executionId) {
      const { thread_key } = await threads.getExecution(executionId);
      for await (const _ of threads.follow(thread_key, 0, { executionId, signal: AbortSignal.timeout(60_000) }));
      return threads.getExecution(executionId);
    },
    async events(threadKey, after = 0) {
      const { rows } = await engine.store.query<{ id: number; kind: string; data: string }>(
        'select event_id as id, event_kind as kind, event_json as data from agent_execution_events where thread_key = $1 and event_id > $2 order by event_id',
        [threadKey, after],
      );
      return rows.map((row) => ({ ...row, data: JSON.parse(row.data) as Record<string, unknown> }));
    },
    async [Symbol.asyncDispose]() {
      for (const each of opened) await each.close();
      await engine[Symbol.asyncDispose]();
    },
  };
}
