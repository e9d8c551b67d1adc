/** The platform under measurement: an API with threads, a worker, and turns that say what they are told. Asked by messages. */
import { createApi, ensureAdminKey } from '@centaur/kernel/api';
import { createEngine, type RegisteredWorkflow } from '@centaur/kernel/engine';
import { connectStore, migrate } from '@centaur/kernel/store';
import { createThreads, type NewEvent, type Threads } from '@centaur/kernel/threads';
import type { WorkflowContext } from '@centaur/sdk';
import { quantile } from '../measure.ts';

type Owner = Parameters<Threads['turns']['append']>[0];

const databaseUrl = process.env['DATABASE_URL'] as string;
const adminKey = process.env['CENTAUR_API_KEY'] as string;
await migrate(databaseUrl);
const store = await connectStore({ url: databaseUrl });
const log = (entry: { level: string; message: string }) => {
  if (entry.level === 'error') console.error(entry.message);
};
let begun = (_owner: Owner): void => {};
const ends = new Map<string, () => void>();
const turn: RegisteredWorkflow = {
  name: 'turn',
  version: '1',
  queue: { name: 'agents', concurrencyPerKey: 1 },
  concurrencyKey: (input: never) => (input as Owner).threadKey,
  handler: (input: Omit<Owner, 'runId'>, ctx: WorkflowContext) =>
    ctx.step('turn', async () => {
      const owner = { ...input, runId: ctx.runId };
      await threads.turns.begin(owner);
      const over = new Promise<void>((resolve) => ends.set(owner.threadKey, resolve));
      begun(owner);
      await over;
      await threads.turns.finish(owner, { status: 'completed', reason: 'completed', resultText: '' });
    }),
};
const registry = { get: () => turn, list: () => [turn], onChange: () => () => {} };
const engine = await createEngine({ store, registry, log });
const threads = await createThreads({
  store,
  catalogue: { harnesses: ['demo'], defaultHarness: 'demo', persona: () => undefined },
  startTurn: async ({ threadKey, executionId }) =>
    (await engine.start({ workflow_name: 'turn', input: { threadKey, executionId }, trigger_key: executionId })).run_id,
  workerId: () => engine.stats().worker_id,
  log,
});
await ensureAdminKey({ store, given: adminKey, home: '/nowhere' });
const api = createApi({ version: '0', registry, engine, store, threads, log });
const { url } = await api.listen({ host: '127.0.0.1', port: 0 });
await engine.work();

/** What an agent streams: words, a few at a time. */
const DELTA: NewEvent = {
  kind: 'text.delta',
  data: { type: 'text.delta', message_id: 'm1', text: 'some words of an answer, as they come ' },
};

async function openTurns(prefix: string, count: number): Promise<Owner[]> {
  const owners: Owner[] = [];
  const all = new Promise<void>((resolve) => {
    begun = (owner) => {
      owners.push(owner);
      if (owners.length === count) resolve();
    };
  });
  for (let i = 0; i < count; i++) {
    const thread_key = `${prefix}${i}`;
    const { assignment_generation } = await threads.spawn({ thread_key });
    await threads.message({ thread_key, assignment_generation, parts: [{ type: 'text', text: 'go' }] });
    await threads.execute({ thread_key, assignment_generation });
  }
  await all;
  return owners;
}

/** Each turn has a few batches on their way, as a harness that streams faster than commits are. */
async function append(prefix: string, turns: number, events: number, batch: number): Promise<unknown> {
  const owners = await openTurns(prefix, turns);
  const each = Math.ceil(events / turns / batch);
  const before = process.cpuUsage();
  const began = performance.now();
  await Promise.all(
    owners.map(async (owner) => {
      const under: Promise<void>[] = [];
      for (let i = 0; i < each; i++) {
        under.push(
          threads.turns.append(
            owner,
            Array.from({ length: batch }, () => DELTA),
          ),
        );
        if (under.length >= 4) await under.shift();
      }
      await Promise.all(under);
    }),
  );
  const seconds = (performance.now() - began) / 1000;
  const used = process.cpuUsage(before);
  const appended = each * batch * turns;
  for (const owner of owners) ends.get(owner.threadKey)?.();
  return { perSecond: appended / seconds, perCore: appended / ((used.user + used.system) / 1e6) };
}

async function replay(threadKey: string): Promise<unknown> {
  const { last_event_id: last } = await threads.getThread(threadKey);
  const before = process.cpuUsage();
  const began = performance.now();
  let seen = 0;
  const signal = AbortSignal.timeout(900_000);
  for await (const frames of threads.follow(threadKey, 0, { signal })) {
    seen = frames.last;
    if (seen >= last) break;
  }
  const seconds = (performance.now() - began) / 1000;
  const used = process.cpuUsage(before);
  return { perSecond: seen / seconds, perCore: seen / ((used.user + used.system) / 1e6) };
}

/** Events at a pace, each with the time at which it was said. */
async function stream(threadKey: string, perSecond: number, seconds: number): Promise<unknown> {
  const [owner] = await openTurns(threadKey, 1);
  const commits: number[] = [];
  const began = performance.now();
  for (let i = 0; i < perSecond * seconds; i++) {
    const due = began + (i * 1000) / perSecond;
    const wait = due - performance.now();
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    const at = performance.timeOrigin + performance.now();
    void threads.turns
      .append(owner, [{ kind: 'text.delta', data: { ...DELTA.data, at } }])
      .then(() => commits.push(performance.timeOrigin + performance.now() - at));
  }
  await threads.turns.append(owner, [{ kind: 'notice', data: { type: 'notice', text: 'over' } }]);
  ends.get(owner.threadKey)?.();
  return { commitMs: quantile(commits, 0.5) };
}

process.on('message', (ask: { what: string; args: never[] }) => {
  const answers: Record<string, (...args: never[]) => unknown> = {
    append: append,
    replay: replay,
    stream: stream,
    memory: () => {
      globalThis.gc?.();
      return { rss: process.memoryUsage().rss, readers: threads.readers };
    },
  };
  void Promise.resolve(answers[ask.what]?.(...ask.args)).then(
    (answer) => process.send?.({ answer }),
    (error: Error) => process.send?.({ error: error.message }),
  );
});
process.on('disconnect', () => process.exit(0));
process.send?.({ url });
