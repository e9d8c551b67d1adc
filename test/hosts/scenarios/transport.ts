/** Lines, however they are cut; and the end of them. */
import { deepEqual, equal } from 'node:assert/strict';
import { setTimeout } from 'node:timers/promises';
import { type Scenario, ping, playCase, playStory, errorOf, resultOf } from '../lab.ts';
import { type Play, play } from '../play.ts';
import { newStory } from '../story.ts';

/** What fits into a value of 1 MiB; a line may be longer. */
const LONG = 1_000_000;

export const transportScenarios: readonly Scenario[] = [
  {
    area: 'transport',
    name: 'a line may come in pieces, and a piece may end inside a character',
    async run({ shared }) {
      const pong = shared.next((message) => message.type === 'host.pong', 'host.pong');
      const line = Buffer.from('{"type":"host.ping","id":"grün"}\n');
      const middle = line.indexOf(0xc3) + 1;
      for (const piece of [line.subarray(0, 5), line.subarray(5, middle), line.subarray(middle)]) {
        shared.write(piece);
        await setTimeout(15);
      }
      equal((await pong).id, 'grün');
    },
  },
  {
    area: 'transport',
    name: 'many lines may come at once',
    async run({ shared }) {
      const ids: unknown[] = [];
      const stop = shared.listen(({ type, id }) => void (type === 'host.pong' && ids.push(id)));
      const wanted = Array.from({ length: 500 }, (_, index) => `many-${index}`);
      shared.write(wanted.map((id) => `${JSON.stringify({ type: 'host.ping', id })}\n`).join(''));
      await ping(shared, 'last');
      stop();
      deepEqual(ids, [...wanted, 'last']);
    },
  },
  {
    area: 'transport',
    name: 'a line may be long, both ways',
    async run({ shared }) {
      const { ended } = await playStory(shared, newStory('crowd', { steps: 2, size: LONG, padding: 'ä'.repeat(LONG) }));
      equal(resultOf(ended), 2 * LONG, `it ended with ${JSON.stringify(errorOf(ended))}`);
    },
  },
  {
    area: 'transport',
    name: 'a line that is no message is answered with host.error at most, and no run is the worse for it',
    async run({ shared }) {
      const forever = await playCase(shared, { workflow: 'waits', case: 'forever' });
      for (const line of ['not JSON', '[1,2]', 'null', '7', '{', '', ' ']) shared.write(`${line}\n`);
      await ping(shared, 'after the garbage');
      equal((await playCase(shared, { workflow: 'ends', case: 'nothing' })).ended.how, 'result');
      forever.cancel('suspended');
    },
  },
  {
    area: 'transport',
    name: 'a message of an unknown type is answered with host.error, once',
    async run({ shared }) {
      let errors = 0;
      const stop = shared.listen(({ type }) => void (errors += type === 'host.error' ? 1 : 0));
      shared.send({ type: 'workflow.dance', run_id: 'nobody' });
      await ping(shared, 'after the dance');
      stop();
      equal(errors, 1);
    },
  },
  {
    area: 'transport',
    name: 'what was read before the end of the input is answered',
    async run({ start }) {
      const host = start();
      const types: string[] = [];
      host.listen(({ type }) => void types.push(type));
      host.write('{"type":"host.ping","id":"1"}\n{"type":"workflow.discover"}\n{"type":"host.ping","id":"2"}\n');
      host.end();
      await host.closed;
      deepEqual(types.sort(), ['host.pong', 'host.pong', 'workflow.discovery']);
    },
  },
  {
    area: 'transport',
    name: 'over a Unix socket it is the same',
    async run({ startOnSocket }) {
      const host = await startOnSocket();
      await ping(host, 'socket');
      const { ended } = await playCase(host, { workflow: 'steps', case: 'sequence' });
      deepEqual(resultOf(ended), [1, 2, 3]);
      const prints = await playCase(host, { workflow: 'outside', case: 'prints' });
      equal(resultOf(prints.ended), 'printed');
      host.end();
      await host.closed;
    },
  },
  {
    area: 'health',
    name: 'a ping is answered while a hundred runs are open',
    async run({ start }) {
      const host = start();
      const open = await Promise.all(Array.from({ length: 100 }, () => playCase(host, { workflow: 'waits', case: 'forever' })));
      await ping(host, 'a hundred');
      for (const run of open) run.cancel('suspended');
      await ping(host, 'none');
    },
  },
  {
    area: 'health',
    name: 'a run may ask for many things at once',
    async run({ shared }) {
      const { ended, messages } = await playStory(shared, newStory('crowd', { steps: 400, at_once: true }));
      equal(resultOf(ended), 400);
      equal(
        messages.findIndex(({ rest }) => rest === true),
        399,
      );
    },
  },
  {
    area: 'health',
    name: 'two hundred runs go on at a time, each for itself',
    async run({ shared }) {
      const runs: Play[] = Array.from({ length: 200 }, () => play(shared, newStory('crowd', { steps: 5 })));
      for (const { end } of runs) equal((await end).message?.result, 5);
    },
  },
];

/** The last word: nothing but messages came over the line in all of this. */
export const lastScenario: Scenario = {
  area: 'transport',
  name: 'whatever a handler prints, nothing but messages was written',
  async run({ shared }) {
    deepEqual(shared.garbage, []);
  },
};
