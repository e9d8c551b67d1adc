/** The suite itself: a host that keeps to the protocol passes, and one that does one thing wrong does not. */
import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { judge } from './judge.ts';
import type { HostCommand } from './process.ts';

/** What the fixture has: the rest is for whole hosts. */
const AREAS = [
  'runs',
  'errors',
  'cancel',
  'steps',
  'waits',
  'children',
  'agents',
  'outside',
  'parallel',
  'ends',
  'replay',
  'kills',
  'health',
];

const WAYS: Readonly<Record<string, string>> = {
  'no rest': 'a handler that asks for nothing after an answer says that it is at rest',
  'other order': 'calls of many kinds go on side by side',
  twice: 'steps run one after the other',
  chance: 'random numbers and UUIDs are drawn from the seed',
  clock: 'the time is that of the latest outcome',
  logs: 'what is logged is silent in a replay',
  miscounts: 'a host tells how many messages of the run it has taken',
  impatient: 'branches that hold back in between',
  prints: 'whatever a handler prints, nothing but messages',
  raw: 'a step’s value is what JSON gives back',
  again: 'steps run one after the other',
};

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const host = (...more: string[]): HostCommand => ({
  name: 'reference',
  command: () => [process.execPath, '--no-warnings', here('reference-host.js'), ...more],
  files: here('files/node'),
});

void test('a host that keeps to the protocol passes', async () => {
  const failures: string[] = [];
  const wanted = (title: string): boolean => AREAS.some((area) => title.startsWith(`${area}: `));
  const verdicts = await judge(host(), wanted, ({ line, failure }) => failure !== undefined && failures.push(`${line}\n${failure}`));
  equal(verdicts.length > AREAS.length, true);
  deepEqual(failures, []);
});

for (const [way, scenario] of Object.entries(WAYS)) {
  void test(`a host that is wrong in one way, ${way}, fails: ${scenario}`, async () => {
    // the last word is on what another scenario printed
    const only = way === 'prints' ? 'a handler prints' : scenario;
    const verdicts = await judge(
      host('--broken', way),
      (title) => title.includes(only),
      () => {},
    );
    const verdict = verdicts.find(({ line }) => line.includes(scenario));
    equal(verdict?.failure === undefined, false);
  });
}
