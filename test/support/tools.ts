/** Tools that a test scripts, on a real database: the runner is a table of functions, everything else is what serves. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import {
  type CallRequest,
  checkDeclaration,
  createTools,
  type Dispatch,
  type DispatchResult,
  type ServedTool,
  type ToolCaller,
  ToolError,
  type ToolRunner,
  type Tools,
  type ToolsOptions,
} from '../../kernel/tools/index.ts';
import { castVote, listApprovals } from '../../kernel/policy/index.ts';
import { type AuditEntry, listEntries } from '../../kernel/audit/index.ts';
import { connectStore, type Store } from '../../kernel/store/index.ts';
import { type Installation, localMasterKey, openInstallation } from '../../kernel/vault/index.ts';
import { createTestDatabase, type TestDatabase } from './database.ts';
import { person } from './people.ts';
import { eventually } from './wait.ts';

export type Act = (call: Dispatch) => Promise<unknown>;

export interface ScriptedRunner extends ToolRunner {
  /** In place of all that was served before. As the declaration would be told. */
  serve(...told: readonly Record<string, unknown>[]): void;
  /** What all methods do, from here on. What is thrown is a failure; a `DispatchResult` of its own is answered as it is. */
  act: Act;
  readonly dispatched: Dispatch[];
}

export class Told extends Error {
  readonly answer: DispatchResult;
  constructor(answer: DispatchResult) {
    super('told');
    this.answer = answer;
  }
}

export function createScriptedRunner(): ScriptedRunner {
  let tools: readonly ServedTool[] = [];
  let version = 0;
  const listeners = new Set<() => void>();
  const runner: ScriptedRunner = {
    act: async ({ args }) => ({ args }),
    dispatched: [],
    serve(...told) {
      version += 1;
      tools = told.map((each) => {
        const checked = checkDeclaration(each, { name: 'unnamed', language: 'node' });
        if (!checked.ok) throw new Error(JSON.stringify(checked.problems));
        return { ...checked.declaration, version: `v${version}`, source: `/tools/${checked.declaration.name}` };
      });
      for (const listener of listeners) listener();
    },
    list: () => tools,
    get: (name) => tools.find((tool) => tool.name === name),
    problems: () => [],
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    async dispatch(call) {
      runner.dispatched.push(call);
      try {
        return { ok: true, value: await runner.act(call) };
      } catch (error) {
        if (error instanceof Told) return error.answer;
        return { ok: false, code: 'TOOL_FAILED', message: (error as Error).message, retryable: true, started: true };
      }
    },
  };
  return runner;
}

/** Reads, writes, deletes and pays; needs no secret. */
export const SHOP = {
  name: 'shop',
  description: 'A shop.',
  methods: {
    list: {
      description: 'Lists orders.',
      risk: 'read',
      input: {
        type: 'object',
        properties: { status: { type: 'string', enum: ['open', 'paid'] }, limit: { type: 'integer', default: 10 } },
      },
    },
    create: {
      description: 'Creates an order.',
      risk: 'write',
      input: { type: 'object', properties: { item: { type: 'string', minLength: 1 } }, required: ['item'], additionalProperties: false },
      timeout: '5s',
    },
    put: { description: 'Stores an order.', risk: 'write', idempotent: true, input: { type: 'object' } },
    remove: { description: 'Deletes an order.', risk: 'destructive', input: { type: 'object', properties: { id: { type: 'string' } } } },
  },
} as const;

export const KEY: ToolCaller = { principal: 'key:ck_00000001' };

export interface TestTools extends AsyncDisposable {
  readonly tools: Tools;
  readonly runner: ScriptedRunner;
  readonly store: Store;
  readonly installation: Installation;
  readonly database: TestDatabase;
  readonly masterKey: Buffer;
  readonly logs: { level: string; message: string; [field: string]: unknown }[];
  /** As another process would be. */
  another(options?: Partial<ToolsOptions>): Promise<{ readonly tools: Tools; readonly runner: ScriptedRunner }>;
  /** Oldest first. */
  entries(action: string): Promise<readonly (AuditEntry & { readonly details: Record<string, unknown> })[]>;
}

export async function createTestTools(options: Partial<ToolsOptions> = {}): Promise<TestTools> {
  const database = await createTestDatabase();
  const logs: TestTools['logs'] = [];
  const masterKey = randomBytes(32);
  const opened: { close(): Promise<void> }[] = [];
  async function open() {
    const store = await connectStore({ url: database.url, poolSize: 8 });
    const installation = await openInstallation({
      store,
      master: localMasterKey(masterKey),
      log: (entry) => logs.push(entry),
      seal: { delayMs: 10 },
    });
    opened.push(store, installation);
    return { store, installation };
  }
  async function start({ store, installation }: Awaited<ReturnType<typeof open>>, more: Partial<ToolsOptions>) {
    const runner = createScriptedRunner();
    runner.serve(SHOP);
    const tools = await createTools({ store, installation, runner, log: (entry) => logs.push(entry), ...options, ...more });
    opened.push(tools);
    return { tools, runner };
  }
  const parts = await open();
  const { tools, runner } = await start(parts, {});
  return {
    ...parts,
    tools,
    runner,
    database,
    masterKey,
    logs,
    another: async (more = {}) => start(await open(), more),
    async entries(action) {
      await parts.installation.audit.idle();
      const { items } = await listEntries(parts.store, { action, limit: 200 });
      return (items as unknown as (AuditEntry & { details: Record<string, unknown> })[]).toReversed();
    },
    async [Symbol.asyncDispose]() {
      for (const each of opened.toReversed()) await each.close().catch(() => {});
      await database.drop();
    },
  };
}

export const shop = (method: string, args: unknown = {}, more: Partial<CallRequest> = {}) => ({ tool: 'shop', method, args, ...more });

/** A thread's sandbox, while it is one user's turn. */
export const inTurnOf = (user: string | undefined) => ({ principal: 'thread:a', threadKey: 'a', user: async () => user });

/** For `assert.rejects`: a ToolError of this code, with these details. */
export function refused(code: string, more: Record<string, unknown> = {}) {
  return (error: unknown) => {
    assert.ok(error instanceof ToolError, String((error as Error).stack));
    assert.equal(error.code, code, error.message);
    for (const [name, value] of Object.entries(more)) assert.deepEqual(error.details?.[name], value);
    return true;
  };
}

/** Decides what is asked next. Answers its id. */
export async function approve(t: TestTools, verdict: 'approve' | 'deny' = 'approve', reason = 'the test says so'): Promise<string> {
  const { approval_id } = await eventually(async () => (await listApprovals(t.store, { state: 'pending' })).items[0]);
  await castVote(t.installation, person('ada'), approval_id, { verdict, reason, channel: 'api' });
  return approval_id;
}
