/** Inputs, checked before a run is started and when it is. */
import { deepEqual, equal, match } from 'node:assert/strict';
import { type Scenario, playStory, errorOf, resultOf } from '../lab.ts';
import type { HostProcess, Message } from '../process.ts';
import { newStory } from '../story.ts';

const GOOD = { channel: 'ops', options: { limit: 3 } };

export const inputScenarios: readonly Scenario[] = [
  {
    area: 'input',
    name: 'a good input is accepted, with nested parts',
    async run({ shared, discovery }) {
      const answer = await ask(shared, GOOD);
      equal(answer.ok, true);
      const checked = (discovery.workflows as readonly { workflow_name: string; has_concurrency_key: boolean }[]).find(
        ({ workflow_name: name }) => name === 'checked',
      );
      equal(answer.concurrency_key ?? null, checked?.has_concurrency_key === true ? 'ops' : null);
      const { ended } = await playStory(shared, newStory('checked', GOOD));
      equal(resultOf(ended), 'ops 3');
    },
  },
  {
    area: 'input',
    name: 'an input that lacks a field names it',
    async run({ shared }) {
      const answer = await ask(shared, { options: { limit: 3 } });
      equal(answer.ok, false);
      match(String(answer.error), /input\.channel/);
      deepEqual(paths(answer), ['channel']);
    },
  },
  {
    area: 'input',
    name: 'a field of a nested part is named by its path',
    async run({ shared }) {
      deepEqual(paths(await ask(shared, { channel: 'ops', options: {} })), ['options.limit']);
      deepEqual(paths(await ask(shared, { channel: 'ops', options: { limit: 'many' } })), ['options.limit']);
    },
  },
  {
    area: 'input',
    name: 'no input at all is not one',
    async run({ shared }) {
      equal((await ask(shared, null)).ok, false);
    },
  },
  {
    area: 'input',
    name: 'a key that the workflow does not know is a warning',
    language: 'python',
    async run({ shared }) {
      const answer = await ask(shared, { ...GOOD, chanel: 'x', options: { limit: 3, limits: 4 } });
      equal(answer.ok, true);
      match(JSON.stringify(answer.warnings), /chanel/);
      match(JSON.stringify(answer.warnings), /limits/);
    },
  },
  {
    area: 'input',
    name: 'a run with an input that is not one fails without its handler',
    async run({ shared }) {
      const { ended } = await playStory(shared, newStory('checked', { channel: 'ops' }));
      equal(ended.how, 'error');
      equal(errorOf(ended).code, 'INVALID_INPUT');
      match(String(ended.message?.message), /options/);
    },
  },
];

let questions = 0;

async function ask(host: HostProcess, input: unknown): Promise<Message> {
  questions += 1;
  const run = `question-${questions}`;
  const answer = host.next((message) => message.type === 'workflow.input' && message.run_id === run, 'workflow.input');
  host.send({ type: 'workflow.input', run_id: run, request_id: '1', workflow_name: 'checked', input });
  const message = await answer;
  equal(message.request_id, '1');
  return message;
}

const paths = ({ issues }: Message): string[] => (issues as readonly { readonly path: string }[]).map(({ path }) => path);
