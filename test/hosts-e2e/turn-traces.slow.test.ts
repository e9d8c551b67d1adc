/** A turn of an agent, in the trace of whoever asked for it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SpanView, TraceView } from '../../kernel/traces/index.ts';
import { eventually } from '../support/wait.ts';
import { startServer } from './server.ts';

const WORDS = 'canary-words-61c0';
const ASKS = `import { defineWorkflow } from '@centaur/sdk';
export default defineWorkflow({
  name: 'asks',
  handler: async (_input: any, ctx) => (await ctx.runAgent('ask', { text: '${WORDS}', harness: 'demo', delivery: { platform: 'chat' } })).status,
});
`;

const find = ({ spans }: TraceView, kind: SpanView['kind'], name?: string): SpanView =>
  spans.find((span) => span.kind === kind && (name === undefined || span.name === name)) ??
  assert.fail(`no ${kind} ${name ?? ''} among\n${spans.map((span) => `${span.kind} ${span.name}`).join('\n')}`);

test('a turn that a workflow asked for is part of its trace, with its dispatch, what its sandbox sent, and its answer', async () => {
  await using server = await startServer({ samples: [] });
  server.place.write('asks.ts', ASKS);
  await eventually(async () => 'asks' in (await server.versions()), { what: 'the workflow' });
  const key = `-H "X-Api-Key: $CENTAUR_API_KEY" -H 'content-type: application/json'`;
  const settled = async (id: string): Promise<TraceView> => {
    let trace: TraceView | undefined;
    await eventually(
      async () => {
        trace = (await server.shell(`curl -s "$CENTAUR_API_URL/api/traces/${id}" ${key}`)) as TraceView;
        return trace.duration_ms !== undefined && trace.duration_ms !== null;
      },
      { what: `trace ${id} to be whole` },
    );
    return trace as TraceView;
  };
  const { run_id: run } = await server.shell(`curl -s "$CENTAUR_API_URL/workflows/runs" ${key} -d '{"workflow_name":"asks","input":{}}'`);
  assert.equal((await server.ended(run)).result, 'completed');
  const trace = await settled(run);
  const at = new Map(trace.spans.map((span) => [span.span_id, span]));
  const above = (span: SpanView): string[] => {
    const parent = span.parent_id === null ? undefined : at.get(span.parent_id);
    return [span.kind, ...(parent === undefined ? [] : above(parent))];
  };
  assert.deepEqual(above(find(trace, 'agent.turn', 'demo')), ['agent.turn', 'step', 'run', 'step', 'run']);
  assert.deepEqual(above(find(trace, 'agent.dispatch', 'demo')), ['agent.dispatch', 'run', 'step', 'run']);
  assert.deepEqual(above(find(trace, 'egress')), ['egress', 'agent.turn', 'step', 'run', 'step', 'run']);
  find(trace, 'delivery', 'chat');
  // its lease is made in the turn
  find(trace, 'secrets.lease', 'lease');
  const turn = find(trace, 'agent.turn');
  assert.equal((await settled(String(turn.attributes['execution']))).trace_id, trace.trace_id);
  assert.doesNotMatch(JSON.stringify(trace), new RegExp(WORDS));

  // the thread goes on in the same sandbox, in a task of another trace
  const theirs = '3cf7651916cd43dd8448eb211c80319c';
  const body = JSON.stringify({ thread_key: turn.thread_key, message: 'and again' });
  const next = await server.shell(
    `curl -s "$CENTAUR_API_URL/agent/execute" ${key} -H 'traceparent: 00-${theirs}-b7ad6b7169203331-01' -d '${body}'`,
  );
  await eventually(
    async () => (await server.shell(`curl -s "$CENTAUR_API_URL/agent/executions/${next.execution_id}" ${key}`)).status === 'completed',
    { what: 'the second turn' },
  );
  const second = await settled(theirs);
  assert.deepEqual([find(second, 'run').depth, find(second, 'egress').thread_key], [0, turn.thread_key]);
  assert.equal((await settled(run)).spans.length, trace.spans.length, 'none of it is in the first');
});
