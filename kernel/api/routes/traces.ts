/** Traces: what happened in one task, and how long each part of it took. */
import { readTrace, SPANS_DEFAULT } from '../../traces/index.ts';
import { ApiError } from '../errors.ts';
import { ok, route } from '../route.ts';
import { readableWorkflows } from '../scopes.ts';
import { TracePath, TraceQuery, TraceSchema } from '../trace-schemas.ts';

export const traceRoutes = [
  route({
    id: 'getTrace',
    method: 'GET',
    path: '/traces/{trace_id}',
    group: 'Traces',
    summary: 'Read a trace as a tree of spans',
    description:
      'Made of the rows of runs, steps, turns and the audit log. It has no arguments, results, messages or paths in it. ' +
      'A key for single workflows is told of their runs, and of what was done in them. In a trace of more than 1,000 runs, 10,000 steps or ' +
      '10,000 audit entries the first ones are told of.',
    access: { scope: 'workflows.read', perWorkflow: true },
    params: TracePath,
    query: TraceQuery,
    responses: { 200: { description: 'The trace', schema: TraceSchema } },
    errors: ['TRACE_NOT_FOUND'],
    async handle({ params, query, caller }, { store }) {
      const trace = await readTrace(store, params.trace_id, { limit: query.limit ?? SPANS_DEFAULT, workflows: readableWorkflows(caller) });
      // what a key may not see is not there for it
      if (trace === undefined)
        throw new ApiError(
          'TRACE_NOT_FOUND',
          `there is no trace, run or turn ${JSON.stringify(params.trace_id)}, or this key may not see it`,
        );
      return ok(trace);
    },
  }),
];
