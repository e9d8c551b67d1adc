/**
 * The third act of the demo: an agent works in a sandbox and never holds a key. Its reader is cut off, its worker is killed,
 * then its sandbox; the run completes, and every event of it is there once.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Real } from '../../test/harnesses/install.ts';
import { isEnd, turnOf } from './agents/events.ts';
import { LONG_ANSWER, showCut, showKilledSandbox, showKilledWorker } from './agents/failures.ts';
import { findHarness } from './agents/machine.ts';
import { showAudit, showEvents } from './agents/outcome.ts';
import { type Platform, startPlatform } from './agents/platform.ts';
import { callsScript, showCalls, showEnvironment } from './agents/powers.ts';
import { readThread } from './agents/reader.ts';
import type { Interview } from './agents/workflows/interview.ts';
import { createExpect } from './expect.ts';
import * as screen from './screen.ts';

/** The thread's key, and with it what the vault's grants name. */
const THREAD = 'demo';

/** @param harness the demo harness, or one of the real CLIs. @returns what did not hold; empty when all of it did */
export async function showAgents(harness: 'demo' | Real, cleanup: AsyncDisposableStack): Promise<string[]> {
  const { problems, expect } = createExpect();
  screen.title(`\nCentaur demo: an agent that never holds a key${harness === 'demo' ? '' : ` (${harness})`}`);
  const cli = harness === 'demo' ? undefined : findHarness(harness);
  const platform = cli !== undefined && 'problem' in cli ? cli : await startPlatform(THREAD, harness, cli, cleanup);
  if ('problem' in platform) {
    screen.verdict(false, `The third act cannot be shown: ${platform.problem}`);
    return [platform.problem];
  }
  const { client, service } = platform;
  const worker = await platform.startWorker();
  screen.fact('worker', `pid ${worker.pid}`);

  const input: Interview = { thread: THREAD, harness, questions: questions(service.url) };
  const run = await client.startRun<Interview>('interview', input);
  await threadToBe(platform);
  const place = { api: platform.api.url, key: platform.apiKey, thread: THREAD };
  const witness = readThread(place);
  const unsteady = readThread(place);
  cleanup.defer(() => witness.cut());
  cleanup.defer(() => unsteady.cut());

  screen.section(`A workflow asks an agent (${harness}): what do you have?`);
  await showEnvironment(witness, platform, expect);
  screen.section('And where can you go?');
  await showCalls(witness, platform, expect);

  screen.section('A reader of its long answer is cut off');
  const resumed = await showCut(witness, unsteady, (after) => readThread(place, { by: 'Last-Event-ID', after }), expect);
  cleanup.defer(() => resumed.cut());

  screen.section('The worker is killed, in the middle of that answer');
  await showKilledWorker(witness, platform, worker, expect);
  screen.section('The sandbox is killed, in the middle of the next one');
  await showKilledSandbox(witness, platform, expect);

  screen.section('What the run has come to');
  const { status, error } = await client.waitForRun(run.run_id, { timeout: 60_000 });
  const ended = witness.events.filter(isEnd).map(turnOf);
  const once = ended.length === input.questions.length && new Set(ended).size === ended.length;
  const completed = expect(status === 'completed' && once, `the run is ${status}, with ${ended.length} turns: ${JSON.stringify(error)}`);
  screen.line(completed ? 'completed' : 'killed', 'run', `${status}: ${ended.length} turns, each once`);
  const last = witness.events.at(-1)?.id ?? 0;
  await resumed.until('the last event', ({ id }) => id >= last);
  const late = readThread(place, { by: 'after_event_id', after: unsteady.events.length });
  cleanup.defer(() => late.cut());
  await late.until('the last event', ({ id }) => id >= last);
  await showEvents(platform, { witness, unsteady, resumed, late }, expect);
  await showAudit(platform, expect);
  screen.verdict(
    problems.length === 0,
    problems.length === 0
      ? `The agent held placeholders alone. A lost connection, a killed worker and a killed sandbox later: ${last} events, each there once, and the log of it verifies.`
      : `The proof fails: ${problems.join('; ')}.`,
  );
  return problems;
}

/** Scripts for the scripted model. */
function questions(service: string): Interview['questions'] {
  return [
    { name: 'what_do_you_have', text: 'run: env' },
    { name: 'where_can_you_go', text: callsScript(service) },
    { name: 'explain', text: LONG_ANSWER },
    { name: 'sum_up', text: `recall\n${LONG_ANSWER}` },
  ];
}

/** The thread is there as soon as the first turn is asked for. */
async function threadToBe({ client }: Platform): Promise<void> {
  for (const deadline = performance.now() + 120_000; ; await pause(50)) {
    const { items } = await client.threads.list();
    if (items.length > 0) return;
    if (performance.now() > deadline) throw new Error('waited two minutes for the first turn');
  }
}
