/** The route table: it drives routing, authentication, validation and the OpenAPI document. */
import type { z } from 'zod';
import type { Engine, RunStatus, WorkflowRegistry } from '../engine/index.ts';
import type { Store } from '../store/index.ts';
import { ApiError } from './errors.ts';
import { type Caller, type Keys, requireScope, visibleWorkflows } from './keys.ts';
import { renderMetrics } from './metrics.ts';
import { EmitBody, ForkBody, KeyBody, QueueBody, StartBody, StartMany } from './schemas.ts';
import { streamRun } from './sse.ts';

export interface Deps {
  readonly engine: Engine;
  readonly registry: WorkflowRegistry;
  readonly store: Store;
  readonly keys: Keys;
  readonly problems: () => readonly unknown[];
  readonly isDraining: () => boolean;
  readonly version: string;
}

export interface Call {
  readonly caller: Caller;
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  readonly headers: Headers;
  readonly signal: AbortSignal;
  readonly body: unknown;
}

export type Answer = Response | { readonly status?: number; readonly body: unknown };

export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Also served below `/api`. */
  readonly path: string;
  readonly summary: string;
  /** Scopes of which one is needed, beside `admin`; `open` needs no key. */
  readonly scopes: readonly string[] | 'open';
  readonly body?: z.ZodType;
  readonly query?: readonly string[];
  readonly handle: (deps: Deps, call: Call) => Answer | Promise<Answer>;
}

const READ = ['workflows.read', 'workflows:*', 'workflows:<name>'];
const WRITE = ['workflows:*', 'workflows:<name>'];

export const ROUTES: readonly Route[] = [
  {
    method: 'POST',
    path: '/workflows/runs',
    summary: 'Start a run, or many with an array',
    scopes: WRITE,
    body: StartBody.or(StartMany),
    async handle({ engine }, { caller, body, headers }) {
      const trace = /^[0-9a-f]{2}-([0-9a-f]{32})-/.exec(headers.get('traceparent') ?? '')?.[1];
      const fill = (request: z.infer<typeof StartBody>) => ({ ...request, trace_id: request.trace_id ?? trace });
      const requests = (Array.isArray(body) ? body : [body]) as z.infer<typeof StartBody>[];
      for (const request of requests) requireScope(caller, 'workflows:*', `workflows:${request.workflow_name}`);
      if (Array.isArray(body)) return { status: 201, body: await engine.startMany(requests.map(fill)) };
      const started = await engine.start(fill(requests[0] as z.infer<typeof StartBody>));
      return { status: started.created ? 201 : 200, body: started };
    },
  },
  {
    method: 'GET',
    path: '/workflows/runs',
    summary: 'List runs, newest first',
    scopes: READ,
    query: ['workflow_name', 'status', 'after', 'limit'],
    async handle({ engine }, { caller, query }) {
      const name = query.get('workflow_name') ?? undefined;
      const visible = visibleWorkflows(caller);
      if (visible !== undefined && (name === undefined || !visible.includes(name))) {
        throw new ApiError('FORBIDDEN', `this key sees the runs of ${visible.join(', ')} only: pass workflow_name`);
      }
      const limit = query.get('limit');
      return {
        body: await engine.listRuns({
          workflow_name: name,
          status: (query.get('status') as RunStatus | null) ?? undefined,
          after: query.get('after') ?? undefined,
          limit: limit === null ? undefined : Number(limit),
        }),
      };
    },
  },
  { method: 'GET', path: '/workflows/runs/{run_id}', summary: 'One run with its steps', scopes: READ, handle: async (deps, call) => ({ body: await seenRun(deps, call) }) },
  ...(['cancel', 'retry'] as const).map((verb): Route => ({
    method: 'POST',
    path: `/workflows/runs/{run_id}/${verb}`,
    summary: verb === 'cancel' ? 'End a run and its children as cancelled' : 'Queue a failed, cancelled or stuck run again',
    scopes: WRITE,
    async handle(deps, call) {
      await seenRun(deps, call, true);
      const id = call.params.run_id as string;
      return { body: await (verb === 'cancel' ? deps.engine.cancelRun(id) : deps.engine.retryRun(id)) };
    },
  })),
  {
    method: 'POST',
    path: '/workflows/runs/{run_id}/fork',
    summary: 'Start a new run from a step of this one',
    scopes: WRITE,
    body: ForkBody,
    async handle(deps, call) {
      await seenRun(deps, call, true);
      return { status: 201, body: await deps.engine.forkRun(call.params.run_id as string, call.body as z.infer<typeof ForkBody>) };
    },
  },
  {
    method: 'GET',
    path: '/workflows/runs/{run_id}/events',
    summary: "The run's events as server-sent events, from after an id on",
    scopes: READ,
    query: ['after_event_id'],
    async handle(deps, call) {
      await seenRun(deps, call);
      return streamRun(deps.engine, call.params.run_id as string, call.query.get('after_event_id') ?? call.headers.get('last-event-id') ?? undefined, call.signal);
    },
  },
  {
    method: 'POST',
    path: '/workflows/events',
    summary: 'Emit an event to whoever waits for it, now or later',
    scopes: ['events.emit', 'workflows:*'],
    body: EmitBody,
    handle: async ({ engine }, { body }) => ({ status: 202, body: await engine.emitEvent(body as z.infer<typeof EmitBody>) }),
  },
  {
    method: 'GET',
    path: '/workflows',
    summary: 'Loaded workflows, and files that could not be loaded',
    scopes: READ,
    handle({ registry, problems }, { caller }) {
      const visible = visibleWorkflows(caller);
      const items = registry
        .list()
        .filter((workflow) => visible === undefined || visible.includes(workflow.name))
        .map(({ name, version, source, queue, schedules }) => ({ name, version, source: source ?? null, queue: queue ?? 'default', schedules: schedules ?? [] }));
      return { body: { items, next: null, problems: visible === undefined ? problems() : [] } };
    },
  },
  { method: 'GET', path: '/workflows/schedules', summary: 'Schedules and their next ticks', scopes: ['workflows.read', 'workflows:*'], handle: async ({ engine }) => ({ body: { items: await engine.listSchedules(), next: null } }) },
  { method: 'GET', path: '/workflows/queues', summary: 'Queues with limits or work', scopes: ['workflows.read', 'workflows:*'], handle: async ({ engine }) => ({ body: { items: await engine.listQueues(), next: null } }) },
  {
    method: 'PUT',
    path: '/workflows/queues/{name}',
    summary: "Set a queue's limits; null lifts one, an absent one stays",
    scopes: [],
    body: QueueBody,
    handle: async ({ engine }, { params, body }) => ({ body: await engine.setQueue(params.name as string, body as Parameters<Engine['setQueue']>[1]) }),
  },
  { method: 'GET', path: '/keys', summary: 'API keys, without the keys', scopes: [], handle: async ({ keys }) => ({ body: { items: await keys.list(), next: null } }) },
  {
    method: 'POST',
    path: '/keys',
    summary: 'Make an API key; the answer shows it once',
    scopes: [],
    body: KeyBody,
    async handle({ keys }, { body }) {
      const { name, scopes } = body as z.infer<typeof KeyBody>;
      return { status: 201, body: await keys.create(name, scopes) };
    },
  },
  { method: 'DELETE', path: '/keys/{key_id}', summary: 'Revoke an API key', scopes: [], handle: async ({ keys }, { params }) => ({ body: await keys.revoke(params.key_id as string) }) },
  { method: 'GET', path: '/healthz', summary: 'The process answers', scopes: 'open', handle: () => ({ body: { status: 'ok' } }) },
  {
    method: 'GET',
    path: '/readyz',
    summary: 'The process can serve: Postgres answers, and it is not shutting down',
    scopes: 'open',
    async handle({ store, isDraining }) {
      if (isDraining()) return { status: 503, body: { status: 'draining' } };
      try {
        await store.query('select 1 from centaur_migrations limit 1');
        return { body: { status: 'ready' } };
      } catch {
        return { status: 503, body: { status: 'no database' } };
      }
    },
  },
  {
    method: 'GET',
    path: '/metrics',
    summary: 'Figures for Prometheus',
    scopes: ['metrics.read'],
    handle: async ({ engine, store }) => new Response(await renderMetrics(engine, store), { headers: { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' } }),
  },
];

/** A key for one workflow must not learn of another's runs: they do not exist for it. */
async function seenRun({ engine }: Deps, { caller, params }: Call, write = false) {
  const run = await engine.getRun(params.run_id as string);
  const visible = visibleWorkflows(caller);
  if (visible !== undefined && !visible.includes(run.workflow_name)) throw new ApiError('NOT_FOUND', `run ${params.run_id} does not exist`);
  if (write) requireScope(caller, 'workflows:*', `workflows:${run.workflow_name}`);
  return run;
}
