/** A connection, a worker and a sandbox that end at the worst moment. */
import type { Expect } from '../expect.ts';
import * as screen from '../screen.ts';
import type { ServerProcess } from '../servers.ts';
import { idsOf, isEnd, rangesOf, textOf, ticksOf, turnOf, turnsOf, wordsOf } from './events.ts';
import type { Platform } from './platform.ts';
import type { Reader } from './reader.ts';

/** Words of a long answer. */
const TICKS = 60;
export const LONG_ANSWER = `slow: ${TICKS}`;
/** Places among the turns of those that give long answers. */
const EXPLAIN = 2;
const SUM_UP = 3;

/** @returns the second connection of the reader that lost its first one */
export async function showCut(witness: Reader, unsteady: Reader, resume: (after: number) => Reader, expect: Expect): Promise<Reader> {
  await unsteady.until('words of the long answer', () => ticksOf(wordsOf(unsteady, EXPLAIN)).length >= 5);
  unsteady.cut();
  const last = unsteady.events.at(-1)?.id ?? 0;
  screen.line('started', 'reader', `events ${rangesOf(idsOf(unsteady.events))} have come`);
  screen.line('killed', 'connection lost', `after event ${last}, at word ${ticksOf(wordsOf(unsteady, EXPLAIN)).at(-1)} of ${TICKS}`);
  await witness.until('more words', ({ id }) => id >= last + 10);
  const missedUpTo = witness.events.at(-1)?.id ?? 0;
  screen.line('waiting', 'meanwhile', `${missedUpTo - last} events pass, which it does not see`);
  const resumed = resume(last);
  await resumed.until('what was missed', ({ id }) => id >= missedUpTo);
  const missed = resumed.events.filter(({ id }) => id <= missedUpTo);
  const exact = expect(
    missed.every(({ id }, index) => id === last + 1 + index) && missed.length === missedUpTo - last,
    `after event ${last} came events ${rangesOf(idsOf(resumed.events))}`,
  );
  screen.line(exact ? 'replayed' : 'killed', 'connected again', `Last-Event-ID: ${last} → ${rangesOf(idsOf(missed))}, and on from there`);
  return resumed;
}

export async function showKilledWorker(
  witness: Reader,
  { startWorker, model }: Platform,
  worker: ServerProcess,
  expect: Expect,
): Promise<void> {
  const asked = model.requests.length;
  await worker.kill();
  const before = ticksOf(wordsOf(witness, EXPLAIN)).length;
  screen.line('killed', `SIGKILL ${worker.pid}`, `at word ${before} of ${TICKS}; the agent goes on in its sandbox, unheard`);
  expect(before < TICKS, 'the worker was killed too late to prove anything');
  const next = await startWorker();
  screen.line('started', 'worker 2', `pid ${next.pid}; takes over when the lease of the dead one has run out, 2 s after its last sign`);
  await witness.until('the end of the long answer', (event) => isEnd(event) && turnOf(event) === turnsOf(witness)[EXPLAIN]);
  const ticks = ticksOf(wordsOf(witness, EXPLAIN));
  const whole = expect(isWhole(ticks), `after the worker was killed the answer is ${ticks.join(' ')}`);
  screen.line(
    whole ? 'completed' : 'killed',
    'the answer',
    `words ${rangesOf(ticks)}, each once: worker 2 read on where worker 1 had stopped`,
  );
  // the next question may have been asked by now
  const again = model.requests.slice(asked).filter(({ prompt = '' }) => prompt.includes('slow:') && !prompt.includes('recall'));
  const once = expect(again.length === 0, 'the model was asked again');
  screen.line(once ? 'completed' : 'killed', 'the model', once ? 'was asked once' : 'was asked again');
}

export async function showKilledSandbox(witness: Reader, { killSandbox }: Platform, expect: Expect): Promise<void> {
  await witness.until('words of the last answer', () => ticksOf(wordsOf(witness, SUM_UP)).length >= 5);
  const pid = killSandbox();
  const before = ticksOf(wordsOf(witness, SUM_UP)).length;
  screen.line('killed', `SIGKILL ${pid}`, `at word ${before} of ${TICKS}; the sandbox dies with all that is in it`);
  const notice = await witness.until('the notice', ({ kind, data }) => kind === 'notice' && /begins again/.test(String(data['text'])));
  screen.line('waiting', 'worker 2', `"${String(notice.data['text'])}"`);
  await witness.until('the end of the last answer', (event) => isEnd(event) && turnOf(event) === turnsOf(witness)[SUM_UP]);
  const words = wordsOf(witness, SUM_UP).filter(({ id }) => id > notice.id);
  const ticks = ticksOf(words);
  const whole = expect(isWhole(ticks), `in the new sandbox the answer is ${ticks.join(' ')}`);
  screen.line(whole ? 'completed' : 'killed', 'the answer', `words ${rangesOf(ticks)}, each once, from a new sandbox`);
  const recalls = expect(textOf(words).includes(LONG_ANSWER), 'the new sandbox has forgotten the conversation');
  screen.line(recalls ? 'completed' : 'killed', 'the conversation', 'the agent recalls what it was asked in the old one');
}

function isWhole(ticks: readonly number[]): boolean {
  return ticks.length === TICKS && ticks.every((tick, index) => tick === index + 1);
}
