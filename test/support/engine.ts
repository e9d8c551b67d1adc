/** An engine on a database of its own, with workflows given as plain functions. */
import { createEngine, type Engine, type EngineOptions, type RunDetail } from '../../kernel/engine/index.ts';
import { connectStore, type Store } from '../../kernel/store/index.ts';
import { createTestDatabase, type TestDatabase } from './database.ts';
import { createRegistry, type MemoryRegistry } from './registry.ts';

export interface TestEngine extends AsyncDisposable {
  readonly engine: Engine;
  readonly registry: MemoryRegistry;
  readonly store: Store;
  readonly database: TestDatabase;
  readonly logs: { level: string; message: string; [field: string]: unknown }[];
  /** Another engine on the same database and registry, as another process would be. */
  another(options?: Partial<EngineOptions>): Promise<Engine>;
  /** Runs a workflow to its end. */
  run(name: string, input?: unknown): Promise<RunDetail>;
  ended(runId: string): Promise<RunDetail>;
}

export async function createTestEngine(options: Partial<EngineOptions> & { readonly idle?: boolean } = {}): Promise<TestEngine> {
  const database = await createTestDatabase();
  const registry = createRegistry();
  const logs: TestEngine['logs'] = [];
  const opened: { engine: Engine; store: Store }[] = [];
  async function another(more: Partial<EngineOptions> = {}): Promise<Engine> {
    const store = await connectStore({ url: database.url, poolSize: 5 });
    const engine = await createEngine({ store, registry, log: (entry) => logs.push(entry), ...options, ...more });
    opened.push({ engine, store });
    return engine;
  }
  const engine = await another();
  if (options.idle !== true) await engine.work();
  async function ended(runId: string): Promise<RunDetail> {
    for await (const event of engine.tailRun(runId, { signal: AbortSignal.timeout(60_000) })) {
      if (event.event === 'run.completed' || event.event === 'run.failed' || event.event === 'run.cancelled') break;
      if (event.event === 'run.status' && event.data.status === 'stuck') break;
    }
    return engine.getRun(runId);
  }
  return {
    engine,
    registry,
    database,
    logs,
    another,
    ended,
    store: (opened[0] as { store: Store }).store,
    run: async (name, input) => ended((await engine.start({ workflow_name: name, input })).run_id),
    async [Symbol.asyncDispose]() {
      for (const { engine: each, store } of opened) {
        await each.drain(1000);
        await store.close();
      }
      await database.drop();
    },
  };
}
