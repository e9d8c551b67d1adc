/** Turns shown in a Slack that goes wrong, by bots that die: always one final answer. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createClient } from '@centaur/sdk';
import { ADMIN } from '../../../test/support/api.ts';
import { eventually } from '../../../test/support/wait.ts';
import { showLive } from '../../chat/index.ts';
import { PLATFORM } from '../context.ts';
import { createBoard } from './board.ts';
import { type Asked, type Bot, type Script, type SlackPlace, startSlackPlace } from './testing.ts';
import { showTurn } from './turn.ts';

/** The answer is there once, nothing is left open, and no part is there twice. */
function assertAnswered(place: SlackPlace, asked: Asked, answer: string): void {
  const said = place.said(asked);
  const transcript = place.slack.see.transcript(asked.channel, asked.threadTs);
  const shown = said.map((message) => (message.stream === undefined || message.edits > 0 ? JSON.stringify(message.blocks) : message.text));
  assert.equal(shown.join('\n').split(answer).length - 1, 1, transcript);
  const parts = said.flatMap(({ metadata }) => {
    const { event_payload: payload } = (metadata ?? {}) as { event_payload?: { final: boolean; segment: number } };
    return payload === undefined ? [] : [payload];
  });
  assert.deepEqual(
    parts.map(({ segment }) => segment),
    parts.map((_, index) => index),
    transcript,
  );
  assert.equal(parts.at(-1)?.final, true, transcript);
  for (const { stream } of said) assert.ok(stream === undefined || stream.state !== 'streaming', transcript);
}

it('a turn is not drawn by a process whose claim may be another’s by now', async () => {
  await using place = await startSlackPlace({ rateLimits: 'counted' });
  await using bot = place.bot({ show: 'edits' });
  const { context } = bot;
  bot.die();
  const asked = await place.ask(async () => 'Too late.');
  const api = createClient({ url: place.api.url, apiKey: ADMIN });
  const stop = new AbortController();
  const lost = Promise.withResolvers<unknown>();
  const running = showLive({
    deliveries: api.deliveries,
    threads: api.threads,
    platform: PLATFORM,
    consumerId: 'stale',
    most: 1,
    signal: stop.signal,
    async show(live) {
      const board = createBoard(context.slack, context.now, stop.signal);
      const stale = { ...live, throwIfLost: () => assert.fail('the claim is lost') };
      await showTurn({ ...context, api }, board, stale).catch(lost.resolve);
    },
    onTrouble() {},
  });
  assert.match(String(await lost.promise), /the claim is lost/);
  assert.deepEqual(place.said(asked), []);
  stop.abort();
  await running;
  // the message that it left holds no other one up
  assert.ok(Object.values(context.slack.pace().posted).every((at) => at <= context.now()));
});

/** Says words, waits for the gate, answers. */
const wordsThen =
  (gate: Promise<unknown>, answer: string): Script =>
  async (agent) => {
    await agent.work('npm test');
    await agent.say('Some words. ', 'a');
    await agent.until(gate);
    return answer;
  };

const quick =
  (answer: string): Script =>
  async () =>
    answer;

describe('a turn', { concurrency: 2 }, () => {
  for (const show of ['stream', 'edits'] as const)
    // one at a time: they plan faults, and one of them has the bot die
    describe(`shown by ${show}`, { concurrency: 1 }, () => {
      let place: SlackPlace;
      let bot: Bot;
      before(async () => {
        // calls over the limits are another test's
        place = await startSlackPlace({ rateLimits: 'counted', channels: ['general', 'other'] });
        bot = place.bot({ show });
      });
      after(() => place[Symbol.asyncDispose]());
      const read = (asked: Asked): string => place.read(asked);
      /** What was planned to go wrong has gone wrong: a turn that is over by its first sign is shown by other calls. */
      const isMet = () => eventually(() => place.slack.faults.left === 0, { what: 'the fault' });
      it('is seen as it goes, and the answer is there once', async () => {
        const gate = Promise.withResolvers<void>();
        const asked = await place.ask(wordsThen(gate.promise, `All of it passes, ${show}.`));
        await eventually(() => read(asked).includes('Some words.'));
        gate.resolve();
        await place.delivered(asked);
        assertAnswered(place, asked, `All of it passes, ${show}.`);
        assert.match(read(asked), /demo · /);
      });

      it('can be stopped by a button where Slack has room for one, and asked for again when it failed', async () => {
        const gate = Promise.withResolvers<void>();
        const asked = await place.ask(async (agent) => {
          await agent.until(gate.promise);
          throw new Error('broken');
        });
        await eventually(() => place.said(asked).length > 0);
        const button = (id: string) => read(asked).includes(JSON.stringify(`centaur_turn:${id}`));
        assert.equal(button('stop'), show === 'edits');
        gate.resolve();
        await place.delivered(asked);
        assert.ok(!button('stop') && button('retry'));
        assert.ok(read(asked).includes(asked.executionId));
        assert.match(read(asked), /broke off/);
      });

      for (const lost of show === 'stream' ? ['no answer of Slack', 'the one to its closing'] : ['no answer of Slack'])
        it(`goes on in another process when one dies in mid-answer, and ${lost} is lost`, async () => {
          const isLost = lost !== 'no answer of Slack';
          const answer = `After two deaths, ${show}, ${lost}.`;
          const gate = Promise.withResolvers<void>();
          const asked = await place.ask(wordsThen(gate.promise, answer));
          await eventually(() => read(asked).includes('Some words.'));
          if (isLost) place.slack.faults.plan('chat.stopStream', { kind: 'answer lost' });
          for (let deaths = 0; deaths < 2; deaths++) {
            bot.die();
            await place.forget(bot);
            bot = place.bot({ show });
            const { slack } = bot.context;
            await eventually(() => slack.pace().calls['chat.update'] !== undefined, { what: 'that it is written once more' });
          }
          gate.resolve();
          await place.delivered(asked);
          assertAnswered(place, asked, answer);
          const [message, ...others] = place.said(asked);
          assert.deepEqual(others, []);
          const stops = place.slack.calls.filter(({ method, args }) => method === 'chat.stopStream' && args['ts'] === message?.ts);
          assert.equal(stops.length, isLost ? 2 : show === 'stream' ? 1 : 0, 'that a stream is closed is known after a death too');
        });

      it('is followed by a turn for what was said to it too late', async () => {
        const gate = Promise.withResolvers<void>();
        const asked = await place.ask(wordsThen(gate.promise, `Done, ${show}.`));
        await eventually(() => read(asked).includes('Some words.'));
        const { threads } = createClient({ url: place.api.url, apiKey: ADMIN });
        const said = `slack:${asked.channel}:1700000000.00010${show.length}`;
        const userId = `slack:${place.slack.team.id}:${place.slack.person('grace').id}`;
        await threads.steer(asked.executionId, 'And the others?', { messageId: said, userId });
        // in her name too, after it, by somebody whose word does not count: nobody is asked for that
        const other = createClient({ url: place.api.url, apiKey: await place.api.keyWith('threads.write') }).threads;
        await other.steer(asked.executionId, 'And mine?', { messageId: said.replace('00010', '00020'), userId });
        gate.resolve();
        await place.delivered(asked);
        const { items } = await threads.executions(asked.threadKey);
        assert.deepEqual(
          items.map((each) => each.execute_id),
          [`${said}:unheard`, `slack:${asked.channel}:${asked.ts}`],
        );
        // it comes to its end before the next test begins
        const [later] = items;
        assert.ok(later !== undefined);
        await place.delivered({ ...asked, executionId: later.execution_id });
      });

      for (const lost of ['answer lost', 'call lost'] as const)
        it(`is there once when the first message has its ${lost}`, async () => {
          place.slack.faults.plan(show === 'stream' ? 'chat.startStream' : 'chat.postMessage', { kind: lost });
          const asked = await place.ask(async (agent) => {
            await agent.say('Some words. ', 'a');
            await agent.until(isMet());
            return `Once, ${lost}, ${show}.`;
          });
          await place.delivered(asked);
          assertAnswered(place, asked, `Once, ${lost}, ${show}.`);
          assert.equal(place.said(asked).length, 1);
        });

      it('is there once when Slack says that it failed, and had done it', async () => {
        const method = show === 'stream' ? 'chat.startStream' : 'chat.postMessage';
        place.slack.faults.plan(method, { kind: 'error', error: 'fatal_error', effect: 'done' });
        const asked = await place.ask(async (agent) => {
          await agent.until(isMet());
          return `Fatal, ${show}.`;
        });
        await place.delivered(asked);
        assertAnswered(place, asked, `Fatal, ${show}.`);
        assert.equal(place.said(asked).length, 1);
      });

      it('is there once when the answers of all other calls are lost', async () => {
        const gate = Promise.withResolvers<void>();
        const asked = await place.ask(wordsThen(gate.promise, `Lost and found, ${show}.`));
        await eventually(() => read(asked).includes('Some words.'));
        for (const method of ['chat.appendStream', 'chat.stopStream', 'chat.update'])
          place.slack.faults.plan(method, { kind: 'answer lost' });
        gate.resolve();
        await place.delivered(asked);
        assertAnswered(place, asked, `Lost and found, ${show}.`);
        for (const method of ['chat.appendStream', 'chat.stopStream', 'chat.update']) place.slack.faults.next(method, {});
      });

      it('is shown in pieces that Slack takes when it is long, with tables and code', async () => {
        const table = `| a | b |\n|---|---|\n${Array.from({ length: 30 }, (_, row) => `| row ${row} | ${'x'.repeat(20)} |`).join('\n')}`;
        const code = `\`\`\`ts\n${Array.from({ length: 200 }, (_, line) => `const line${line} = ${line};`).join('\n')}\n\`\`\``;
        const words = Array.from({ length: 2_000 }, (_, index) => `word${index}.`).join(' ');
        const answer = `# A long answer\n\n${table}\n\n${code}\n\n${words}\n\nThe very end.`;
        const asked = await place.ask(async (agent) => {
          for (let at = 0; at < answer.length; at += 1_000) {
            await agent.say(answer.slice(at, at + 1_000), 'last');
            await sleep(60);
          }
          return answer;
        });
        await place.delivered(asked);
        assertAnswered(place, asked, 'The very end.');
        const shown = read(asked);
        for (const one of ['row 29', 'line199', 'word1999.']) assert.ok(shown.includes(one), one);
        assert.ok(place.said(asked).length > 1);
      });

      it('is attached when it is longer than a thread should be', async () => {
        const asked = await place.ask(quick(`Begin. ${'many words '.repeat(5_000)}The end of ${show}.`));
        await place.delivered(asked);
        const files = place.said(asked).flatMap((message) => message.files);
        assert.deepEqual(
          files.map(({ name }) => name),
          ['answer.md'],
        );
        assert.ok(String(files[0]?.content).endsWith(`The end of ${show}.`));
      });

      it('is said anew when a person deletes the message', async () => {
        const gate = Promise.withResolvers<void>();
        const asked = await place.ask(wordsThen(gate.promise, `Said anew, ${show}.`));
        const first = await eventually(() => place.said(asked)[0]);
        const { slack } = bot.context;
        if (show === 'stream') await slack.client.chat.stopStream({ channel: asked.channel, ts: first.ts });
        await slack.client.chat.delete({ channel: asked.channel, ts: first.ts });
        gate.resolve();
        await place.delivered(asked);
        assertAnswered(place, asked, `Said anew, ${show}.`);
      });

      it('waits as long as Slack asks for', async () => {
        const method = show === 'stream' ? 'chat.startStream' : 'chat.postMessage';
        const violations = place.slack.violations.length;
        place.slack.faults.plan(method, { kind: 'ratelimited', retryAfter: 1 });
        const asked = await place.ask(async (agent) => {
          await agent.until(isMet());
          return `Patient, ${show}.`;
        });
        await place.delivered(asked);
        assertAnswered(place, asked, `Patient, ${show}.`);
        assert.deepEqual(
          place.slack.violations.slice(violations).filter(({ kind }) => kind === 'during Retry-After'),
          [],
        );
      });
    });
});
