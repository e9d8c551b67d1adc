/** The platform of the fault test, in processes that are killed: its API, or a worker whose agents say what they are asked to. */
import { createApi, ensureAdminKey } from '../../../kernel/api/index.ts';
import { createEngine, type RegisteredWorkflow } from '../../../kernel/engine/index.ts';
import { connectStore } from '../../../kernel/store/index.ts';
import { createThreads, type Threads } from '../../../kernel/threads/index.ts';
import type { WorkflowContext } from '../../../sdk/src/index.ts';
import { answerTo } from './questions.ts';

type Owner = Parameters<Threads['turns']['append']>[0];

const isApi = process.env['FAULT_ROLE'] === 'api';
const store = await connectStore({ url: process.env['DATABASE_URL'] as string, poolSize: 5 });
const log = ({ level, message }: { level: string; message: string }) => {
  if (level === 'error') console.error(message);
};
const turn: RegisteredWorkflow = {
  name: 'turn',
  version: '1',
  queue: { name: 'agents', concurrencyPerKey: 1 },
  concurrencyKey: (input: never) => (input as Owner).threadKey,
  handler: (input: Omit<Owner, 'runId'>, ctx: WorkflowContext) => ctx.step('turn', () => act({ ...input, runId: ctx.runId })),
};
const registry = { get: () => turn, list: () => [turn], onChange: () => () => {} };
const engine = await createEngine({ store, registry, log, leaseMs: 1500 });
const threads = await createThreads({
  store,
  catalogue: { harnesses: ['demo'], defaultHarness: 'demo', persona: () => undefined },
  startTurn: async ({ threadKey, executionId }) =>
    (
      await engine.start({
        workflow_name: 'turn',
        input: { threadKey, executionId },
        trigger_key: executionId,
        concurrency_key: threadKey,
        eager_start: false,
      })
    ).run_id,
  workerId: () => engine.stats().worker_id,
  log,
});

async function act(owner: Owner): Promise<null> {
  const { executionId: execution_id } = owner;
  const append = (type: string, data: object) => threads.turns.append(owner, [{ kind: type, data: { type, execution_id, ...data } }]);
  const { messages } = await threads.turns.begin(owner);
  const { pieces, answer, everyMs } = answerTo(messages.flatMap(({ parts }) => parts.map(({ text }) => String(text))).join('\n'));
  await append('turn.started', {});
  for (const [index, text] of pieces.entries()) {
    if (index % 7 === 3) {
      await append('tool_use', { id: `t${index}`, name: 'Bash', input: { command: `npm test ${index}` } });
      await append('tool_result', { id: `t${index}`, content: [], is_error: false });
    }
    await append('text.delta', { message_id: 'm', text });
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
  await append('message', { message_id: 'm', content: [{ type: 'text', text: answer }], phase: 'final' });
  await threads.turns.finish(owner, { status: 'completed', reason: 'completed', resultText: answer });
  return null;
}

if (isApi) {
  await ensureAdminKey({ store, given: process.env['CENTAUR_API_KEY'] as string, home: '/nowhere' });
  const api = createApi({ version: '0', registry, engine, store, threads, log });
  await api.listen({ host: '127.0.0.1', port: Number(process.env['FAULT_PORT']) });
} else await engine.work();
process.on('disconnect', () => process.exit(0));
process.send?.('up');
