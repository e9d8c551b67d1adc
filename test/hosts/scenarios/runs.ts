/** How runs begin, are at rest, fail and are cancelled. */
import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { setTimeout } from 'node:timers/promises';
import { eventually } from '../../support/wait.ts';
import { type Scenario, effectsOf, ping, playCase, playStory, errorOf, resultOf } from '../lab.ts';
import { play } from '../play.ts';
import { newStory } from '../story.ts';

export const runScenarios: readonly Scenario[] = [
  {
    area: 'runs',
    name: 'a handler is told its run, its name and its attempt',
    async run({ shared }) {
      const story = newStory('ends', { case: 'about' });
      const { ended } = await playStory(shared, story, { attempt: 3 });
      deepEqual(resultOf(ended), { attempt: 3, name: 'ends', id: story.runId });
    },
  },
  {
    area: 'runs',
    name: 'the end of a run names it in every field',
    async run({ shared }) {
      for (const which of ['nothing', 'throws']) {
        const { ended, story } = await playCase(shared, { workflow: 'ends', case: which });
        for (const field of ['run_id', 'task_id', 'workflow_run_id', 'workflow_task_id']) equal(ended.message?.[field], story.runId, field);
        equal(ended.message?.workflow_name, 'ends');
      }
    },
  },
  {
    area: 'runs',
    name: 'a workflow that is not there is an error of the run',
    async run({ shared }) {
      const { ended } = await playStory(shared, newStory('not_there', null));
      equal(ended.how, 'error');
      match(String(ended.message?.message), /not_there/);
    },
  },
  {
    area: 'runs',
    name: 'all calls of branches are asked for before any is answered, and only the last says rest',
    async run({ shared }) {
      const { messages, trace } = await playCase(shared, { workflow: 'parallel', case: 'all' });
      const answered = trace.findIndex((entry) => entry.startsWith('='));
      deepEqual(
        trace.slice(0, answered),
        ['a', 'b', 'nap', 'turn', 'tool_clock_now', 'ready'].map((name) => `? ${name}`),
      );
      const rests = messages.slice(0, 6).map(({ rest }) => rest === true);
      deepEqual(rests, [false, false, false, false, false, true]);
    },
  },
  {
    area: 'runs',
    name: 'a handler that asks for nothing after an answer says that it is at rest',
    async run({ shared }) {
      const { messages } = await playCase(shared, { workflow: 'parallel', case: 'all' });
      ok(messages.some(({ type }) => type === 'ctx.rest'));
    },
  },
  {
    area: 'runs',
    name: 'a host tells how many messages of the run it has taken',
    async run({ shared }) {
      const { messages } = await playCase(shared, { workflow: 'steps', case: 'sequence' });
      const taken = messages.slice(0, -1).map((message) => message.taken);
      deepEqual(taken, [1, 2, 3, 4, 5, 6]);
    },
  },
  {
    area: 'runs',
    name: 'an attempt that is over has no say in the next one',
    async run({ shared }) {
      const { ended } = await playCase(shared, { workflow: 'steps', case: 'overdue' });
      equal(resultOf(ended), 'second');
    },
  },
  {
    area: 'runs',
    name: 'a step that nobody waits for, and that fails, harms nobody',
    async run({ shared }) {
      const forever = await playCase(shared, { workflow: 'waits', case: 'forever' });
      const { ended } = await playCase(shared, { workflow: 'ends', case: 'stray' });
      equal(resultOf(ended), 'done');
      await ping(shared, 'after the stray step');
      forever.cancel('suspended');
    },
  },
  {
    area: 'errors',
    name: 'the error of a call that nobody caught names its request',
    async run({ shared }) {
      for (const which of ['step_fails', 'raised_from']) {
        const { ended, messages } = await playCase(shared, { workflow: 'ends', case: which });
        const { request_id: request } = errorOf(ended);
        const ofTheStep = messages.filter(
          ({ type, step, checkpoint_name: name }) => type.startsWith('ctx.step') && (step ?? name) === 'broken',
        );
        ok(
          ofTheStep.some((message) => message.request_id === request),
          `${which}: request_id is ${String(request)}`,
        );
      }
    },
  },
  {
    area: 'errors',
    name: 'an error has a trace for people',
    async run({ shared }) {
      const { ended } = await playCase(shared, { workflow: 'ends', case: 'throws' });
      match(String(ended.message?.traceback), /ends/);
      equal(ended.message?.message, 'it is broken');
    },
  },
  {
    area: 'cancel',
    name: 'a cancelled run’s calls fail, and its handler may tidy up',
    async run({ shared }) {
      for (const reason of ['cancelled', 'timeout']) {
        const played = await playCase(shared, { workflow: 'waits', case: 'tidies' });
        equal(played.ended.how, 'parked');
        played.cancel(reason);
        await eventually(() => effectsOf(shared, played.story).length > 0);
        deepEqual(effectsOf(shared, played.story), ['tidied RunCancelledError RUN_CANCELLED']);
      }
    },
  },
  {
    area: 'cancel',
    name: 'a suspended run is dropped: no code of it runs any more',
    async run({ shared }) {
      for (const reason of ['suspended', 'shutdown']) {
        const played = await playCase(shared, { workflow: 'waits', case: 'tidies' });
        played.cancel(reason);
        await setTimeout(60);
        deepEqual(effectsOf(shared, played.story), []);
      }
    },
  },
  {
    area: 'cancel',
    name: 'a cancel for a run that is not here is ignored',
    async run({ shared }) {
      shared.send({ type: 'workflow.cancel', run_id: 'nobody', reason: 'cancelled' });
      shared.send({ type: 'ctx.response', run_id: 'nobody', request_id: '1', ok: true, value: null, now: 0, live: true });
      const { ended } = await playCase(shared, { workflow: 'ends', case: 'nothing' });
      equal(ended.how, 'result');
    },
  },
  {
    area: 'errors',
    name: 'a log names its level and its fields',
    async run({ shared }) {
      const { messages } = await playCase(shared, { workflow: 'outside', case: 'log' });
      const logs = messages.filter(({ type }) => type === 'ctx.log');
      deepEqual(
        logs.map(({ message, fields }) => [message, fields]),
        [
          ['begins', { n: 1 }],
          ['goes on', { n: 2 }],
          ['ends', {}],
        ],
      );
      deepEqual(
        logs.map(({ level }) => level ?? 'info'),
        ['info', logs[1]?.level, 'info'],
      );
      match(String(logs[1]?.level), /^warn/);
    },
  },
  {
    area: 'runs',
    name: 'unknown fields are ignored',
    async run({ shared }) {
      const story = newStory('ends', { case: 'nothing' });
      const send = (message: object): void => shared.send({ ...message, from_a_later_version: { a: 1 } });
      const played = play({ ...shared, send, stderr: '' }, story);
      equal((await played.end).how, 'result');
    },
  },
];
