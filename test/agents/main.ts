/**
 * `npm run test:agents`: many threads at once, and streams whose writers die.
 *
 *  1. failover: workers are killed with SIGKILL while their turns stream; readers leave and come back in mid-stream. Each
 *     reader must see each event once, in order and without a gap, and the deltas of a turn must be its answer. The model is
 *     asked once for each turn.
 *  2. crowd: 200 threads take a turn with a tool at the same time, each in a sandbox of its own; all complete, none sees
 *     another's workspace.
 *
 *   npm run test:agents -- --kills 12 --threads 200 --seed 7
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startEmbeddedPostgres } from '../../kernel/store/embedded/index.ts';
import { createTestAgents, type TestAgents } from '../support/agents.ts';

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '12' },
    threads: { type: 'string', default: '200' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 1e6)) },
  },
});
const KILLS = Number(values.kills);
const THREADS = Number(values.threads);
const random = seeded(Number(values.seed));
const STREAMS = 6;
const LONGEST_MS = 20 * 60_000;

console.log(`seed ${values.seed}; repeat with: npm run test:agents -- --kills ${KILLS} --threads ${THREADS} --seed ${values.seed}`);
const folder = mkdtempSync(join(tmpdir(), 'centaur-crowd-'));
const postgres = await startEmbeddedPostgres({ dataDir: join(folder, 'postgres'), throwaway: true });
process.env['TEST_DATABASE_URL'] = postgres.url;
const watchdog = setTimeout(() => {
  console.error(`gave up after ${LONGEST_MS / 60_000} minutes`);
  process.exit(1);
}, LONGEST_MS);

const problems: string[] = [];
try {
  await failover();
  await crowd();
} catch (error) {
  problems.push((error as Error).stack ?? String(error));
} finally {
  clearTimeout(watchdog);
  await postgres.stop();
  rmSync(folder, { recursive: true, force: true, maxRetries: 10 });
}
for (const problem of problems.slice(0, 20)) console.error(`VIOLATION: ${problem}`);
console.log(problems.length === 0 ? 'no invariant was broken' : `${problems.length} violations`);
process.exit(problems.length === 0 ? 0 : 1);

interface Seen {
  readonly ids: number[];
  readonly text: Map<string, string>;
}

/** A client that loses its connection now and then, and goes on after the last event that it saw. */
async function read(t: TestAgents, threadKey: string, executionId: string): Promise<Seen> {
  const seen: Seen = { ids: [], text: new Map() };
  for (let over = false; !over;) {
    const leaving = new AbortController();
    const timer = setTimeout(() => leaving.abort(), 200 + random() * 2000);
    const after = seen.ids.at(-1) ?? 0;
    for await (const { bytes } of t.threads.follow(threadKey, after, { signal: leaving.signal })) {
      for (const frame of bytes.toString().split('\n\n').filter(Boolean)) over = take(frame) || over;
      if (over || leaving.signal.aborted) break;
    }
    clearTimeout(timer);
  }
  return seen;

  function take(frame: string): boolean {
    const id = Number(/^id: (\d+)$/m.exec(frame)?.[1]);
    const kind = /^event: (.+)$/m.exec(frame)?.[1];
    const data = JSON.parse(/^data: (.+)$/m.exec(frame)?.[1] ?? '{}') as Record<string, string>;
    seen.ids.push(id);
    const execution = data['execution_id'] ?? '';
    if (kind === 'text.delta') seen.text.set(execution, (seen.text.get(execution) ?? '') + (data['text'] ?? ''));
    return (
      kind === 'execution_state' &&
      execution === executionId &&
      ['completed', 'failed_permanent', 'cancelled'].includes(data['status'] ?? '')
    );
  }
}

async function failover(): Promise<void> {
  const began = Date.now();
  await using t = await createTestAgents({ idle: true, leaseMs: 1500 });
  let worker = await t.fork();
  let kills = 0;
  let turns = 0;
  const killing = (async () => {
    while (kills < KILLS) {
      await pause(700 + random() * 1800);
      await worker.kill();
      kills += 1;
      worker = await t.fork();
    }
  })();
  await Promise.all(
    Array.from({ length: STREAMS }, async (_, i) => {
      const threadKey = `stream-${i}`;
      while (kills < KILLS) {
        const id = await t.say(threadKey, `slow: ${20 + Math.floor(random() * 40)}`);
        const seen = await read(t, threadKey, id);
        turns += 1;
        const execution = await t.threads.getExecution(id);
        if (execution.status !== 'completed')
          problems.push(`${threadKey}: ${execution.status} ${execution.terminal_reason}: ${execution.error_text}`);
        if (seen.ids.some((each, n) => each !== n + 1)) problems.push(`${threadKey}: ids ${seen.ids.join(' ')}`);
        if (seen.text.get(id) !== execution.result_text)
          problems.push(`${threadKey}: streamed ${seen.text.get(id)}, answered ${execution.result_text}`);
      }
    }),
  );
  await killing;
  const asked = t.model.requests.filter(({ path }) => path.startsWith('/v1/messages')).length;
  if (asked !== turns) problems.push(`${turns} turns asked the model ${asked} times`);
  console.log(
    `failover  ${((Date.now() - began) / 1000).toFixed(1)} s   ${kills} kills, ${turns} turns on ${STREAMS} threads, the model was asked ${asked} times`,
  );
}

async function crowd(): Promise<void> {
  const began = Date.now();
  await using t = await createTestAgents();
  const ids = await Promise.all(
    Array.from({ length: THREADS }, (_, i) =>
      t.say(`crowd-${i}`, `run: echo mine-${i} >> /workspace/note; cat /workspace/note; ls /workspace | wc -l`),
    ),
  );
  const sent = Date.now();
  const executions = await Promise.all(ids.map((id) => t.ended(id, LONGEST_MS)));
  for (const [i, execution] of executions.entries()) {
    if (execution.status !== 'completed') {
      problems.push(`crowd-${i}: ${execution.status} ${execution.terminal_reason}: ${execution.error_text}`);
      continue;
    }
    const output = JSON.stringify((await t.events(`crowd-${i}`)).filter(({ kind }) => kind === 'tool_result'));
    if (!output.includes(`mine-${i}\\n1`)) problems.push(`crowd-${i}: ${output.slice(0, 500)}`);
  }
  const views = await t.worker.sandboxes.list();
  if (new Set(views.map(({ source }) => source)).size !== THREADS) problems.push(`${views.length} sandboxes for ${THREADS} threads`);
  console.log(
    `crowd     ${((Date.now() - began) / 1000).toFixed(1)} s   ${THREADS} threads, ${views.length} sandboxes, ${((Date.now() - sent) / THREADS).toFixed(0)} ms a turn`,
  );
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state ^ (state >>> 15), 1 | state) + 0x6d2b79f5) >>> 0;
    return (state >>> 0) / 2 ** 32;
  };
}
