/** What a replay must not change. */
import { createHash } from 'node:crypto';
import { deepEqual, equal, ok } from 'node:assert/strict';
import { type Scenario, playCase, playStory, resultOf } from '../lab.ts';
import { monotonicMs } from '../play.ts';
import { type World, world } from '../world.ts';
import { copyStory, cutStory, namesOf, newStory } from '../story.ts';

interface Drawn {
  readonly random: readonly number[];
  readonly ids: readonly string[];
  readonly times: readonly number[];
}

export const replayScenarios: readonly Scenario[] = [
  {
    area: 'replay',
    name: 'random numbers and UUIDs are drawn from the seed as the protocol says',
    async run({ shared }) {
      const { ended, story } = await playCase(shared, { workflow: 'replay', case: 'drawn' });
      const drawn = resultOf(ended) as Drawn;
      deepEqual(drawn.random, [randomOf(story.seed, 0), randomOf(story.seed, 2)]);
      deepEqual(drawn.ids, [uuidOf(story.seed, 1), uuidOf(story.seed, 3)]);
      const other = await playStory(shared, newStory('replay', { case: 'drawn' }, 'another seed'));
      ok((resultOf(other.ended) as Drawn).random[0] !== drawn.random[0]);
    },
  },
  {
    area: 'replay',
    name: 'the time is that of the latest outcome',
    async run({ shared }) {
      const { ended, story } = await playCase(shared, { workflow: 'replay', case: 'drawn' });
      const [one, nap] = story.rows;
      const { times } = resultOf(ended) as Drawn;
      deepEqual(times, [story.startedAt, one?.endedAt, nap?.endedAt]);
    },
  },
  {
    area: 'replay',
    name: 'a patch is false where the history passed it without',
    async run({ shared }) {
      const old = await playCase(shared, { workflow: 'replay', case: 'unpatched' });
      const rows = old.story.rows.length;
      for (let known = 2; known <= rows; known++) {
        const story = { ...cutStory(old.story, known), input: { case: 'patched' } };
        const { ended } = await playStory(shared, story);
        deepEqual(resultOf(ended), ['old', false], `with ${known} checkpoints in the history`);
      }
      const early = await playStory(shared, { ...cutStory(old.story, 1), input: { case: 'patched' } });
      deepEqual(resultOf(early.ended), ['new', true]);
      deepEqual(namesOf(early.story), ['begin', 'p1', 'new', 'end']);
    },
  },
  {
    area: 'replay',
    name: 'a step is asked for while the lease is over, and without asking while it is not',
    async run({ start }) {
      const host = start();
      const crowd = (until: number | null) => playStory(host, newStory('crowd', { steps: 3 }), { lease: { until } });
      const asked = await crowd(monotonicMs() - 1000);
      equal(asked.messages.filter(({ type }) => type === 'ctx.step.get').length, 3);
      // whether a host saves questions is its own affair; that it asks again afterwards is not
      equal(resultOf((await crowd(monotonicMs() + 3_600_000)).ended), 3);
      await crowd(null);
    },
  },
  {
    area: 'replay',
    name: 'a lease that is taken back holds for runs that go on, too',
    async run({ start }) {
      for (const gone of [null, monotonicMs() - 1000]) {
        const host = start();
        const lease = { until: monotonicMs() + 3_600_000 } as { until: number | null };
        const takesBack: World = (message, name) => {
          if (message.type === 'ctx.event.wait') {
            lease.until = gone;
            host.send({ type: 'host.lease', until: gone });
          }
          return world(message, name);
        };
        const { ended } = await playCase(host, { workflow: 'parallel', case: 'yields' }, { lease, world: takesBack });
        equal(ended.how, 'result');
      }
    },
  },
  {
    area: 'replay',
    name: 'a run that is suspended goes on in the same host',
    async run({ shared }) {
      const parked = await playCase(shared, { workflow: 'waits', case: 'race' }, { stopAfter: 2 });
      shared.send({ type: 'workflow.cancel', run_id: parked.story.runId, reason: 'suspended' });
      const { ended } = await playStory(shared, parked.story);
      equal(resultOf(ended), 'the sleep');
    },
  },
  {
    area: 'replay',
    name: 'whichever of two answers came first comes first in a replay',
    async run({ shared }) {
      const first = await playCase(shared, { workflow: 'waits', case: 'two_events' }, { order: 'first' });
      const last = await playCase(shared, { workflow: 'waits', case: 'two_events' }, { order: 'last' });
      deepEqual([resultOf(first.ended), resultOf(last.ended)], ['left', 'right']);
      for (const { story, ended } of [first, last]) {
        const again = await playStory(shared, copyStory(story));
        equal(resultOf(again.ended), resultOf(ended));
      }
    },
  },
];

const draw = (seed: string, n: number): Buffer => createHash('sha256').update(`${seed}:${n}`).digest();

const randomOf = (seed: string, n: number): number => draw(seed, n).readUIntBE(0, 6) / 2 ** 48;

function uuidOf(seed: string, n: number): string {
  const bytes = draw(seed, n).subarray(0, 16);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x40, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
