/** Where a turn is shown, and what becomes of it when the place or the question goes. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { eventually } from '../../../test/support/wait.ts';
import { type Bot, type Script, type SlackPlace, startSlackPlace } from './testing.ts';

/** Slack's clock, and the bot's: as fast as the test wants. */
let ahead = 0;
const now = (): number => Date.now() + ahead;

describe('a turn', () => {
  let place: SlackPlace;
  let bot: Bot;
  before(async () => {
    place = await startSlackPlace({ rateLimits: 'counted', channels: ['general', 'old', 'files'], clock: { now } });
    bot = place.bot();
  });
  after(() => place[Symbol.asyncDispose]());

  it('in a channel that is archived is owed to nobody any more', async () => {
    const gate = Promise.withResolvers<void>();
    const asked = await place.ask(
      async (agent) => {
        await agent.until(gate.promise);
        return 'Nobody hears this.';
      },
      { channel: 'old' },
    );
    await eventually(() => place.said(asked).length > 0);
    place.slack.archive('old');
    // of an archived channel Slack takes no edits either
    place.slack.faults.plan('chat.stopStream', { kind: 'error', error: 'is_archived', effect: 'none' }, { times: 100 });
    gate.resolve();
    await assert.rejects(place.delivered(asked), /dead_letter/);
    while (place.slack.faults.next('chat.stopStream', {}) !== undefined);
  });

  it('that waits for the one before shows that, and a calm word when it is cancelled', async () => {
    const gate = Promise.withResolvers<void>();
    const first = await place.ask(async (agent) => {
      await agent.until(gate.promise);
      return 'The first.';
    });
    const second = await place.ask(async () => 'The second.', { in: first });
    await eventually(() => place.said(first).length === 2);
    await bot.context.api.threads.cancel(second.executionId);
    await place.delivered(second);
    assert.match(place.read(second), /Stopped/);
    assert.ok(!place.read(second).includes('The second.'));
    gate.resolve();
    await place.delivered(first);
    assert.ok(place.slack.see.transcript(first.channel, first.threadTs).includes('The first.'));
  });

  it('that is cancelled because its question was deleted leaves nothing', async () => {
    const gate = Promise.withResolvers<void>();
    const first = await place.ask(async (agent) => {
      await agent.until(gate.promise);
      return 'The first.';
    });
    const second = await place.ask(async () => 'The second.', { in: first });
    await eventually(() => place.said(first).length === 2);
    place.slack.person('ada').delete(second.channel, second.ts);
    await bot.context.api.threads.cancel(second.executionId);
    await place.delivered(second);
    assert.equal(place.said(first).length, 1);
    gate.resolve();
    await place.delivered(first);
  });

  it('begins soon after another one in its channel, each by a stream', async () => {
    place.slack.faults.plan('chat.startStream', { kind: 'slow', ms: 300 });
    const gate = Promise.withResolvers<void>();
    const script: Script = async (agent) => {
      await agent.until(gate.promise);
      return 'Answered.';
    };
    const asked = await Promise.all([0, 1, 2].map(() => place.ask(script, { channel: 'files' })));
    // of the longest that an answer of Slack is waited for, a part
    for (const each of asked)
      await eventually(() => place.said(each).some(({ stream }) => stream?.state === 'streaming'), { timeoutMs: 30_000 });
    gate.resolve();
    await place.delivered(...asked);
  });

  it('ends when a person stops its stream by Slack’s own button', async () => {
    const gate = Promise.withResolvers<void>();
    const asked = await place.ask(async (agent) => {
      await agent.say('Some words. ');
      await agent.until(gate.promise);
      await agent.say('Some more. ');
      return 'Ended.';
    });
    const first = await eventually(() => place.said(asked).find(({ text }) => text.includes('Some words.')));
    place.slack.person('ada').stopStream(asked.channel, first.ts);
    gate.resolve();
    await place.delivered(asked);
    const { status } = await bot.context.api.threads.execution(asked.executionId);
    assert.equal(status, 'completed');
    assert.equal(place.read(asked).split('Ended.').length - 1, 2, 'once in words, once in blocks');
  });

  it('goes on in other messages when its stream has died', async () => {
    const gate = Promise.withResolvers<void>();
    const asked = await place.ask(async (agent) => {
      await agent.say('Some words. ');
      await agent.until(gate.promise);
      return 'Answered after a while.';
    });
    await eventually(() => place.said(asked).some(({ text }) => text.includes('Some words.')));
    ahead += 310_000;
    gate.resolve();
    await place.delivered(asked);
    assert.ok(place.read(asked).includes('Answered after a while.'));
    for (const { stream, edits } of place.said(asked)) assert.ok(stream?.state !== 'died' || edits > 0);
  });

  it('of the assistant has a status before there is a message', async () => {
    const ada = place.slack.person('ada');
    const thread = ada.openAssistant();
    const gate = Promise.withResolvers<void>();
    place.slack.faults.plan('chat.startStream', { kind: 'slow', ms: 200 });
    const asked = await place.ask(
      async (agent) => {
        await agent.until(gate.promise);
        return 'From the assistant.';
      },
      { channel: thread.channel, in: { ...thread, executionId: '', threadKey: '' } },
    );
    await eventually(() => place.said(asked).some(({ stream }) => stream !== undefined));
    const methods = place.slack.calls.filter(({ args }) => args['thread_ts'] === thread.threadTs).map(({ method }) => method);
    assert.equal(methods[0], 'assistant.threads.setStatus');
    gate.resolve();
    await place.delivered(asked);
    assert.equal(place.slack.see.assistant(thread.channel, thread.threadTs).status, '');
  });

  for (const fault of ['no fault', 'answer lost', 'call lost'] as const)
    it(`puts the files that tools made into the thread, once: ${fault}`, async () => {
      if (fault !== 'no fault') place.slack.faults.plan('files.completeUploadExternal', { kind: fault });
      const asked = await place.ask(
        async (agent) => {
          await agent.attach('chart.txt', 'a chart');
          await agent.attach('table.csv', 'a table');
          return 'See the files.';
        },
        { channel: 'files' },
      );
      await place.delivered(asked);
      const files = place.said(asked).flatMap((message) => message.files);
      assert.deepEqual(
        files.map(({ name, content }) => [name, String(content)]),
        [
          ['chart.txt', 'a chart'],
          ['table.csv', 'a table'],
        ],
      );
    });

  it('keeps its answer when Slack does not take its files', async () => {
    place.slack.faults.plan('files.completeUploadExternal', { kind: 'error', error: 'missing_scope', effect: 'none' });
    const asked = await place.ask(
      async (agent) => {
        await agent.attach('chart.txt', 'a chart');
        return 'See the files, or not.';
      },
      { channel: 'files' },
    );
    await place.delivered(asked);
    assert.ok(place.read(asked).includes('See the files, or not.'));
    assert.ok(bot.logs.some(({ message }) => message === 'Slack did not take files'));
  });
});
