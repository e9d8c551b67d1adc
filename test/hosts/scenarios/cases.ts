/** Every case of `files/`, straight through. */
import { deepEqual, equal } from 'node:assert/strict';
import { setTimeout } from 'node:timers/promises';
import { CASES, type Case } from '../cases.ts';
import { checkCheckpoints, checkEnd } from '../check.ts';
import { type Lab, type Scenario, effectsOf, playCase, playStory, resultOf } from '../lab.ts';
import { monotonicMs } from '../play.ts';
import { copyStory } from '../story.ts';

export const caseScenarios: readonly Scenario[] = CASES.map((which) => ({
  area: which.workflow,
  name: which.name,
  ...(which.language === undefined ? {} : { language: which.language }),
  run: (lab: Lab) => straight(lab, which),
}));

/** Asking before each step, and saving the questions: the history is the same. Then a replay of all of it. */
async function straight(lab: Lab, which: Case): Promise<void> {
  for (const until of [null, monotonicMs() + 60_000]) {
    const lease = { until };
    const played = await playCase(lab.shared, which, { lease });
    checkEnd(which, played.ended);
    checkCheckpoints(which, played.story);
    if (which.effects !== undefined) await checkEffects(lab, played.story, which.effects);

    const replayed = await playStory(lab.shared, copyStory(played.story), { lease });
    equal(replayed.ended.how, played.ended.how);
    deepEqual(resultOf(replayed.ended), resultOf(played.ended), 'the replay has another result');
    deepEqual(replayed.ended.message?.message, played.ended.message?.message, 'the replay has another error');
    equal(replayed.story.rows.length, played.story.rows.length, 'the replay has more checkpoints');
    deepEqual(calls(replayed.trace), calls(played.trace), 'the replay makes its calls in another order');
    deepEqual(effectsOf(lab.shared, replayed.story), [], 'the replay ran functions again');
  }
}

const calls = (trace: readonly string[]): string[] => trace.filter((entry) => entry.startsWith('?'));

/** Standard error is another pipe: what is on the way is waited for. */
async function checkEffects({ shared }: Lab, story: { readonly runId: string }, wanted: readonly string[]): Promise<void> {
  for (let tries = 0; tries < 50 && effectsOf(shared, story).length < wanted.length; tries++) await setTimeout(10);
  deepEqual(effectsOf(shared, story).toSorted(), wanted.toSorted());
}
