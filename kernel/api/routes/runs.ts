/** Starting, reading and changing runs. */
import { readExternalId } from '@centaur/sdk';
import { z } from 'zod';
import type { RunSummary, StartRequest } from '../../engine/index.ts';
import { isUuid } from '../../store/index.ts';
import { ApiError } from '../errors.ts';
import { actorOf, type Attribution, type Call, ok, route } from '../route.ts';
import { sealOf, told } from './replays.ts';
import { ForkBody, page, RunDetailSchema, RunPath, RunQuery, RunSummarySchema, StartBody, StartedRunSchema } from '../schemas.ts';
import {
  authoriseRead,
  authoriseRun,
  type Caller,
  reachesAllWorkflows,
  readableWorkflows,
  requireScope,
  SCOPES_OF_ROLE,
} from '../scopes.ts';
import { chatsOf, type Services } from '../services.ts';

const START_MANY_MAX = 10_000;

export const runRoutes = [
  route({
    id: 'startRun',
    method: 'POST',
    path: '/workflows/runs',
    group: 'Runs',
    summary: 'Start a run, or many',
    description:
      'Answers when the run is committed. The same `trigger_key` answers 200 with the first run, and 409 when the input is another. ' +
      'An array of bodies starts many in one call and answers with an array in the same order, with 201 when any of them is new; one that is refused refuses all.',
    access: { scope: 'workflows:*', perWorkflow: true },
    body: StartBody,
    bodyMany: { max: START_MANY_MAX },
    example: { workflow_name: 'nightly_report', input: { channel: 'ops', topic: 'open incidents' }, trigger_key: 'report-2026-01-31' },
    responses: {
      201: { description: 'Started', schema: z.union([StartedRunSchema, z.array(StartedRunSchema)]) },
      200: { description: 'The trigger key was known: the first run', schema: z.union([StartedRunSchema, z.array(StartedRunSchema)]) },
    },
    errors: ['UNKNOWN_WORKFLOW', 'INVALID_INPUT', 'NOT_JSON', 'TRIGGER_KEY_MISMATCH', 'DRAINING'],
    async handle({ body, caller, traceId }, services) {
      const { engine } = services;
      const bodies: readonly z.output<typeof StartBody>[] = Array.isArray(body) ? body : [body];
      for (const { workflow_name } of bodies) authoriseRun(caller, workflow_name);
      const requests = bodies.map((each): StartRequest => {
        const { asked_by: _, ...request } = each;
        return { ...request, trace_id: each.trace_id ?? traceId };
      });
      const owner = await ownerOf(bodies, caller, services);
      if (Array.isArray(body)) {
        const runs = await engine.startMany(requests, owner);
        return { status: runs.some((run) => run.created) ? 201 : 200, body: runs };
      }
      const run = await engine.start(requests[0] as StartRequest, undefined, owner);
      return { status: run.created ? 201 : 200, body: run };
    },
  }),
  route({
    id: 'listRuns',
    method: 'GET',
    path: '/workflows/runs',
    group: 'Runs',
    summary: 'List runs, newest first',
    access: { scope: 'workflows.read', perWorkflow: true },
    query: RunQuery,
    responses: { 200: { description: 'A page of runs', schema: page(RunSummarySchema) } },
    async handle({ query, caller }, { engine }) {
      const filter = { ...query, status: query.status as RunSummary['status'] | undefined };
      const readable = readableWorkflows(caller);
      if (query.workflow_name !== undefined) authoriseRead(caller, query.workflow_name);
      if (readable === 'all' || query.workflow_name !== undefined) return ok(await engine.listRuns(filter));
      // A key for a few workflows sees their runs as one list. The cursor is the last run's id, so it fits each of them
      const limit = query.limit ?? 50;
      const pages = await Promise.all(readable.map((workflow_name) => engine.listRuns({ ...filter, workflow_name, limit })));
      const runs = pages.flatMap((each) => each.items).toSorted((a, b) => (a.run_id < b.run_id ? 1 : -1));
      const items = runs.slice(0, limit);
      const more = runs.length > limit || pages.some((each) => each.next !== null);
      return ok({ items, next: more ? (items.at(-1)?.run_id ?? null) : null });
    },
  }),
  route({
    id: 'getRun',
    method: 'GET',
    path: '/workflows/runs/{run_id}',
    group: 'Runs',
    summary: 'Read a run with its steps',
    access: { scope: 'workflows.read', perWorkflow: true },
    params: RunPath,
    responses: { 200: { description: 'The run', schema: RunDetailSchema } },
    errors: ['RUN_NOT_FOUND'],
    async handle({ params, caller }, { engine }) {
      const run = await engine.getRun(params.run_id);
      authoriseRead(caller, run.workflow_name);
      return ok(run);
    },
  }),
  route({
    id: 'cancelRun',
    method: 'POST',
    path: '/workflows/runs/{run_id}/cancel',
    group: 'Runs',
    summary: 'End an unfinished run and its unfinished children as cancelled',
    access: { scope: 'workflows:*', perWorkflow: true },
    params: RunPath,
    responses: { 200: { description: 'The run', schema: RunSummarySchema } },
    errors: ['RUN_NOT_FOUND', 'RUN_FINISHED'],
    attribute: ({ params }) => aboutRun('run.cancel', params.run_id),
    async handle(call, services) {
      await authoriseChange(call, services);
      return ok(await services.engine.cancelRun(call.params.run_id));
    },
  }),
  route({
    id: 'retryRun',
    method: 'POST',
    path: '/workflows/runs/{run_id}/retry',
    group: 'Runs',
    summary: 'Queue a failed, cancelled or stuck run again; completed steps are kept',
    access: { scope: 'workflows:*', perWorkflow: true },
    params: RunPath,
    responses: { 200: { description: 'The run', schema: RunSummarySchema } },
    errors: ['RUN_NOT_FOUND', 'RUN_NOT_RETRYABLE'],
    attribute: ({ params }) => aboutRun('run.retry', params.run_id),
    async handle(call, services) {
      await authoriseChange(call, services);
      return ok(await services.engine.retryRun(call.params.run_id, actorOf(call.caller)));
    },
  }),
  route({
    id: 'forkRun',
    method: 'POST',
    path: '/workflows/runs/{run_id}/fork',
    group: 'Runs',
    summary: 'Start a new run with the history before a step copied',
    access: { scope: 'workflows:*', perWorkflow: true },
    params: RunPath,
    body: ForkBody,
    example: { from_step: 'summarize' },
    responses: { 201: { description: 'The new run', schema: StartedRunSchema } },
    errors: ['RUN_NOT_FOUND', 'STEP_NOT_FOUND', 'UNKNOWN_WORKFLOW', 'INVALID_INPUT', 'NOT_JSON', 'JOURNAL_TAMPERED'],
    async handle(call, services) {
      await authoriseChange(call, services);
      const { tampered, ...fork } = call.body;
      const { run_id: from } = call.params;
      const journal = await sealOf(services, from);
      if (journal?.state === 'tampered' && tampered !== 'accept')
        throw new ApiError(
          'JOURNAL_TAMPERED',
          `the journal of run ${from} is not the one that was sealed: ${told(journal.problems)}; "tampered": "accept" forks it all the same`,
          { details: { audit_id: journal.audit_id, problems: journal.problems } },
        );
      const run = await services.engine.forkRun(from, fork, actorOf(call.caller), async (tx, forkId) => {
        await services.trust?.installation.audit.append(tx, {
          action: 'run.fork',
          actor: actorOf(call.caller),
          resource: `run:${from}`,
          runId: forkId,
          details: {
            from,
            from_step: fork.from_step,
            input: fork.input === undefined ? 'same' : 'other',
            journal: journal?.state ?? 'live',
          },
        });
      });
      return { status: 201, body: run };
    },
  }),
];

function aboutRun(action: string, runId: string): Attribution {
  return { action, resource: `run:${runId.slice(0, 100)}`, ...(isUuid(runId.toLowerCase()) ? { runId } : {}) };
}

async function authoriseChange({ caller, params }: Call<{ readonly run_id: string }>, { engine }: Services): Promise<void> {
  if (reachesAllWorkflows(caller, 'run')) return;
  authoriseRun(caller, (await engine.getRun(params.run_id)).workflow_name);
}

/** Whose runs they are: who starts one approves nothing that comes of it, also when a bot does it for them. */
async function ownerOf(bodies: readonly z.output<typeof StartBody>[], caller: Caller, services: Services): Promise<string> {
  const [asked, ...others] = new Set(bodies.map((each) => each.asked_by));
  if (asked === undefined && others.length === 0) return actorOf(caller);
  requireScope(caller, 'chats.use');
  const identity = asked === undefined || others.length > 0 ? undefined : readExternalId(asked);
  if (identity === undefined) throw new ApiError('INVALID_REQUEST', 'asked_by: expected one person for all of them, such as slack:T1:U1');
  const { principal, role } = await chatsOf(services).identify(identity);
  const scopes = role === null ? [] : SCOPES_OF_ROLE[role];
  if (!scopes.includes('workflows:*') && !scopes.includes('admin'))
    throw new ApiError('FORBIDDEN', `${principal} may not start runs: they must be linked to a user who is operator or admin`);
  return principal;
}
