/** What can be run: workflows, schedules and queues. */
import { z } from 'zod';
import type { RegisteredWorkflow } from '../../engine/index.ts';
import { ok, route } from '../route.ts';
import { FileProblemSchema, page, QueueLimitsBody, QueuePath, QueueSchema, ScheduleSchema, WorkflowSchema } from '../schemas.ts';
import { type Caller, readableWorkflows } from '../scopes.ts';

export const workflowRoutes = [
  route({
    id: 'listWorkflows',
    method: 'GET',
    path: '/workflows',
    group: 'Workflows',
    summary: 'List the loaded workflows, and what is wrong with their files',
    access: { scope: 'workflows.read', perWorkflow: true },
    responses: {
      200: {
        description: 'All of them. `problems` is empty for a key that may not see every workflow',
        schema: page(WorkflowSchema).extend({ problems: z.array(FileProblemSchema) }),
      },
    },
    handle({ caller }, { registry, problems }) {
      const items = registry.list().filter(visibleTo(caller, (each) => each.name));
      return ok({ items: items.map(toView), next: null, problems: readableWorkflows(caller) === 'all' ? problems() : [] });
    },
  }),
  route({
    id: 'listSchedules',
    method: 'GET',
    path: '/workflows/schedules',
    group: 'Workflows',
    summary: 'List the schedules with their next and last ticks',
    access: { scope: 'workflows.read', perWorkflow: true },
    responses: { 200: { description: 'All of them', schema: page(ScheduleSchema) } },
    async handle({ caller }, { engine }) {
      const schedules = await engine.listSchedules();
      return ok({ items: schedules.filter(visibleTo(caller, (each) => each.workflow_name)), next: null });
    },
  }),
  route({
    id: 'listQueues',
    method: 'GET',
    path: '/workflows/queues',
    group: 'Queues',
    summary: 'List the queues that have limits or unfinished runs',
    access: { scope: 'workflows.read' },
    responses: { 200: { description: 'All of them', schema: page(QueueSchema) } },
    handle: async (_call, { engine }) => ok({ items: await engine.listQueues(), next: null }),
  }),
  route({
    id: 'setQueue',
    method: 'PUT',
    path: '/workflows/queues/{name}',
    group: 'Queues',
    summary: 'Set the limits of a queue',
    description:
      'A field that is left out stays as it is; null lifts the limit. Limits hold across all workers and from the next start on.',
    access: { scope: 'admin' },
    params: QueuePath,
    body: QueueLimitsBody,
    example: { concurrency: 10, rate_limit: { limit: 100, period_ms: 60_000 } },
    responses: { 200: { description: 'The queue', schema: QueueSchema } },
    attribute: ({ params, body }) => ({ action: 'queue.set', resource: `queue:${params.name}`, details: body }),
    handle: async ({ params, body }, { engine }) => ok(await engine.setQueue(params.name, definedFields(body))),
  }),
];

function visibleTo<Item>(caller: Caller, nameOf: (item: Item) => string): (item: Item) => boolean {
  const readable = readableWorkflows(caller);
  return (item) => readable === 'all' || readable.includes(nameOf(item));
}

function toView(workflow: RegisteredWorkflow): z.input<typeof WorkflowSchema> {
  const { name, version, source, queue, schedules } = workflow;
  return {
    name,
    version,
    source: source ?? null,
    queue: (typeof queue === 'object' ? queue.name : queue) ?? 'default',
    input_schema: inputSchemaOf(workflow),
    schedules: (schedules ?? []) as z.input<typeof WorkflowSchema>['schedules'],
  };
}

/** Schema libraries that can tell do so through the Standard JSON Schema member; it throws for what JSON Schema lacks, such as a transform. */
function inputSchemaOf(workflow: RegisteredWorkflow & { readonly input?: unknown }): Record<string, unknown> | null {
  const standard = (
    workflow.input as { '~standard'?: { jsonSchema?: { input?: (options: object) => Record<string, unknown> } } } | undefined
  )?.['~standard'];
  try {
    return standard?.jsonSchema?.input?.({ target: 'draft-2020-12' }) ?? null;
  } catch {
    return null;
  }
}

/** The same object without the members that are undefined, which for the engine means: not given. */
function definedFields<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>;
  };
}
