/**
 * Hosts that are killed. Each case is played as often as the host sends messages in it, and each of these runs stands still
 * after another message; then the host is killed, and a new one plays them all to their end.
 */
import { deepEqual, equal, ok } from 'node:assert/strict';
import { CASES, type Case } from '../cases.ts';
import { checkCheckpoints, checkEnd } from '../check.ts';
import { type Lab, type Played, type Scenario, effectsOf, ping, playCase, playStory, resultOf } from '../lab.ts';
import { type Play, type PlayOptions, monotonicMs, play } from '../play.ts';
import type { HostProcess } from '../process.ts';
import { copyStory, newStory } from '../story.ts';

export const killScenarios: readonly Scenario[] = [
  {
    area: 'kills',
    name: 'a run goes on in another host, killed after whichever message',
    run: (lab) => everywhere(lab, { order: 'first', leave: 'killed' }),
  },
  {
    area: 'kills',
    name: 'the same, when the host saves questions and the last call is answered first',
    run: (lab) => everywhere(lab, { lease: { until: monotonicMs() + 3_600_000 }, order: 'last', leave: 'killed' }),
  },
  {
    area: 'kills',
    name: 'a run goes on in the same host, suspended after whichever message',
    run: (lab) => everywhere(lab, { order: 'last', leave: 'suspended' }),
  },
];

interface Way extends PlayOptions {
  readonly leave: 'killed' | 'suspended';
}

interface Interrupted {
  readonly which: Case;
  readonly baseline: Played;
  readonly play: Play;
  /** Checkpoints that were stored when the host was killed. */
  stored: readonly string[];
}

async function everywhere(lab: Lab, way: Way): Promise<void> {
  const cases = CASES.filter(({ language }) => language === undefined || language === lab.language);
  const first = lab.start();
  const interrupted: Interrupted[] = [];
  for (const which of cases) interrupted.push(...(await interrupt(first, which, way)));
  const second = await leave(lab, first, interrupted, way);
  for (const each of interrupted) {
    const rows = each.play.story.rows.filter(({ ord }) => ord !== null);
    each.stored = rows.map(({ name }) => name);
  }

  const ends = await Promise.all(interrupted.map(({ play: { story } }) => playStory(second, story, way)));
  // and once more, from histories that are whole
  const again = await Promise.all(ends.map(({ story }) => playStory(second, copyStory(story))));
  second.end();
  await second.closed;

  for (const [index, each] of interrupted.entries()) {
    const after = `${each.which.workflow} ${each.which.case}, ${way.leave} after message ${each.play.messages.length}`;
    try {
      check(each, ends[index] as Played, again[index] as Played, first === second ? [first] : [first, second]);
    } catch (error) {
      throw new Error(`${after}: ${(error as Error).message}`, { cause: error });
    }
  }
}

/** The host that goes on with the runs. */
async function leave(lab: Lab, first: HostProcess, interrupted: readonly Interrupted[], way: Way): Promise<HostProcess> {
  if (way.leave === 'killed') {
    await first.kill();
    return lab.start();
  }
  for (const { play } of interrupted) play.cancel('suspended');
  // what it sent about them before is read by then
  await ping(first, 'suspended');
  return first;
}

/** One run for each message that the host sends in it. */
async function interrupt(host: HostProcess, which: Case, way: Way): Promise<Interrupted[]> {
  const baseline = await playCase(host, which, way);
  const input = { case: which.case };
  const plays = baseline.messages.slice(0, -1).map((_, index) => {
    const stopAfter = index + 1;
    return { which, baseline, play: play(host, newStory(which.workflow, input), { ...way, stopAfter }), stored: [] };
  });
  await Promise.all(plays.map((each) => each.play.end));
  return plays;
}

function check({ which, baseline, play: before, stored }: Interrupted, end: Played, again: Played, hosts: readonly HostProcess[]): void {
  checkEnd(which, end.ended);
  if (which.racy !== true) deepEqual(resultOf(end.ended), resultOf(baseline.ended));
  checkCheckpoints(which, end.story);
  deepEqual(resultOf(again.ended), resultOf(end.ended), 'a replay has another result');
  equal(again.ended.how, end.ended.how);
  checkEffects(which, before, stored, hosts);
}

/** A step that was stored is not run again; another one at most once more. */
function checkEffects({ effects = [] }: Case, { story }: Play, stored: readonly string[], hosts: readonly HostProcess[]): void {
  const seen = hosts.flatMap((host) => effectsOf(host, story));
  for (const effect of effects) {
    const times = seen.filter((each) => each === effect).length;
    const most = stored.includes(effect) ? 1 : 2;
    ok(times >= 1 && times <= most, `"${effect}" was done ${times} times`);
  }
}
