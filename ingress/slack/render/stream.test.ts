import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { ThreadEventData } from '@centaur/sdk';
import { isOver, startTurn, takeEvent, type Turn } from '../../chat/index.ts';
import { createDice, EXECUTION, numbered, rollTurn } from '../../chat/testing.ts';
import { type Call, createBot, createFakeSlack, type Faults, type FakeSlack, PLACE, readThread } from './fake/testing.ts';
import { CALLS_PER_MINUTE, LIMITS } from './limits.ts';
import { FRESH_PACE, noteCall, noteRetryAfter, readyAt } from './pace.ts';
import { cutMarkdown, fenceAfter, safeMarkdown, sayableLength } from './segment.ts';
import { nothingShown, recoverShown, type Shown } from './shown.ts';
import { planNext, planWorkspace, refused, type Scene } from './stream.ts';

const of = { execution_id: EXECUTION };
const running: ThreadEventData = { type: 'execution.state', ...of, thread_key: 't', status: 'running' };
const delta = (text: string, message_id = 'm'): ThreadEventData => ({ type: 'text.delta', ...of, message_id, text });
const tool = (id: number | string, input: unknown = { command: `step ${id}` }): ThreadEventData => ({ type: 'tool_use', ...of, id: `${id}`, name: 'Bash', input });
const result = (id: number | string): ThreadEventData => ({ type: 'tool_result', ...of, id: `${id}`, content: [], is_error: false });
const completed = (text?: string): ThreadEventData => ({ type: 'execution.state', ...of, thread_key: 't', status: 'completed', ...(text === undefined ? {} : { result_text: text }) });

/** One event after another, each so many milliseconds after the last; then time alone until all is shown. */
function play(data: readonly ThreadEventData[], options: { by: Shown['by']; everyMs?: number; faults?: Faults; idleMs?: number; slack?: FakeSlack }): { slack: FakeSlack; turn: Turn; shown: Shown; took: number } {
  const slack = options.slack ?? createFakeSlack();
  const bot = createBot(slack, options.by, options.faults);
  let now = 1_000_000;
  let turn = startTurn({ executionId: EXECUTION, after: 0, traceId: 'trace_1' });
  for (const event of numbered(data)) {
    turn = takeEvent(turn, event);
    bot.step(turn, now, 2);
    now += options.everyMs ?? 50;
  }
  const ended = now;
  while (bot.step(turn, now, 2) && now - ended < (options.idleMs ?? 1_200_000)) now += 100;
  return { slack, turn, shown: bot.shown, took: now - ended };
}

const methods = (slack: FakeSlack): string[] => slack.calls.map((call) => call.method.replace('chat.', ''));
/** The numbered words of the text, in their order. */
const wordsIn = (text: string): string[] => text.match(/w\d+\.\d+|The answer \d+\./g) ?? [];
const answer = 'The answer 42.';

describe('a turn in Slack', () => {
  for (const by of ['stream', 'edits'] as const) {
    it(`is shown by ${by}: what it does, then its answer once, then what made it`, () => {
      const { slack, took } = play([running, delta('Let me look.', 'a'), tool(1), result(1), delta(answer), completed(answer)], { by, everyMs: 2_000 });
      const text = readThread(slack);
      assert.equal(text.split(answer).length, 2);
      assert.match(text, /pi · 1 s$/);
      assert.equal(slack.messages.length, 1);
      assert.deepEqual(slack.complaints, []);
      assert.equal(slack.messages[0]?.metadata?.event_payload.final, true);
      assert.ok(took < 3_000);
    });
  }

  it('is begun at once, before anything is known of it', () => {
    for (const by of ['stream', 'edits'] as const) {
      const next = planNext({ turn: startTurn({ executionId: EXECUTION, after: 0 }), shown: nothingShown(by), place: PLACE, facts: { harness: 'pi', startedAt: 0 }, now: 0 }, FRESH_PACE);
      assert.equal(next.do === 'call' && next.method, by === 'stream' ? 'chat.startStream' : 'chat.postMessage');
      assert.match(JSON.stringify(next), /Starting/);
    }
  });

  it('is one message when it was over before anything was shown', () => {
    const { slack } = play([running, delta(answer), completed(answer)], { by: 'stream', everyMs: 0, faults: {}, slack: createFakeSlack() });
    assert.ok(methods(slack).length <= 3);
  });

  it('is replaced by its answer when that is not what was streamed', () => {
    const { slack, shown } = play([running, delta('The answer is 41'), delta('.'), completed(answer)], { by: 'stream', everyMs: 1_000 });
    assert.equal(shown.by, 'edits');
    assert.match(readThread(slack), /^The answer 42\.\npi/);
    assert.deepEqual(methods(slack).slice(-2), ['stopStream', 'update']);
    assert.deepEqual(slack.complaints, []);
  });

  it('takes back what the agent took back', () => {
    const discarded: ThreadEventData = { type: 'message.discarded', ...of, message_id: 'x', reason: '' };
    const { slack } = play([running, delta('Wrong', 'x'), delta(' way', 'x'), discarded, delta(answer), completed(answer)], { by: 'stream', everyMs: 1_500 });
    assert.doesNotMatch(readThread(slack), /Wrong/);
    assert.equal(readThread(slack).split(answer).length, 2);
  });

  it('goes on in another stream before Slack closes it', () => {
    const words = Array.from({ length: 60 }, (_, index) => delta(`w${index}.0 `));
    const { slack } = play([running, ...words, completed()], { by: 'stream', everyMs: 10_000 });
    assert.deepEqual(wordsIn(readThread(slack)), words.map((_, index) => `w${index}.0`));
    assert.equal(slack.messages.length, 3);
    assert.deepEqual(slack.complaints, []);
    assert.ok(!methods(slack).includes('update'));
  });

  it('says nothing more while nothing happens, however long', () => {
    const { slack } = play([running, tool(1)], { by: 'stream', idleMs: 1_200_000 });
    assert.deepEqual(methods(slack), ['startStream', 'appendStream', 'stopStream']);
  });

  it('closes cards with their stream, and opens those at work in the next', () => {
    const { slack } = play([running, tool(1), result(1), tool(2), ...Array.from({ length: 30 }, () => delta('x ')), completed()], { by: 'stream', everyMs: 10_000 });
    assert.equal(slack.messages.length, 2);
    const [first, second] = slack.messages.map((message) => [...message.cards.values()].map((card) => [card.title, card.status]));
    assert.deepEqual(first, [['Thinking', 'complete'], ['Run: step 1', 'complete'], ['Run: step 2', 'complete']]);
    assert.deepEqual(second, [['Thinking', 'complete'], ['Run: step 2', 'complete']]);
  });

  it('counts the last step as running until the end', () => {
    for (const by of ['stream', 'edits'] as const) {
      const data = [running, tool(1), result(1)];
      const before = play(data, { by, idleMs: 5_000 }).slack.messages[0];
      assert.match(`${JSON.stringify([...(before?.cards.values() ?? [])])}${JSON.stringify(before?.blocks)}`, /"in_progress"|▸ Run: step 1/);
      const after = play([...data, completed('x')], { by }).slack.messages[0];
      assert.doesNotMatch(`${JSON.stringify([...(after?.cards.values() ?? [])])}${JSON.stringify(after?.blocks)}`, /"in_progress"|▸/);
    }
  });

  it('says a step in one card, however many of them there are and however much they say', () => {
    const steps = Array.from({ length: 120 }, (_, index) => [tool(index, { command: `${index} ${'😀'.repeat(200)}` }), result(index)]).flat();
    const { slack } = play([running, ...steps, delta(answer), completed(answer)], { by: 'stream' });
    assert.deepEqual(slack.complaints, []);
    assert.ok((slack.messages[0]?.cards.size ?? 0) > 5);
    assert.match([...(slack.messages[0]?.cards.values() ?? [])].at(-1)?.title ?? '', /^\d+ more, then Run: 119/);
    const small = play([running, ...Array.from({ length: 120 }, (_, index) => tool(index, {})), completed(answer)], { by: 'stream' });
    assert.equal(small.slack.messages[0]?.cards.size, LIMITS.cards);
  });

  it('continues code in the next stream with its fence and language', () => {
    const code = Array.from({ length: 700 }, (_, index) => `const w${index}.0 = 'x';`).join('\n');
    const { slack } = play([running, delta(`Here:\n\n\`\`\`ts\n${code}\n\`\`\`\n\nDone.`), completed()], { by: 'stream', everyMs: 1_000 });
    assert.ok(slack.messages.length > 1);
    for (const message of slack.messages) assert.equal(fenceAfter(message.text, null), null);
    assert.match(slack.messages[1]?.text ?? '', /^```ts\nconst/);
    const lines = slack.messages.flatMap((message) => message.text.split('\n')).filter((line) => line.startsWith('const'));
    assert.equal(lines.join('\n'), code);
    assert.deepEqual(slack.complaints, []);
  });

  it('is attached when it is longer than can be shown', () => {
    const long = Array(2_000).fill('A sentence of some words.').join('\n\n');
    for (const by of ['stream', 'edits'] as const) {
      const { slack } = play([running, delta(long), completed(long)], { by, everyMs: 1_000 });
      assert.deepEqual(slack.files, [long]);
      assert.deepEqual(slack.complaints, []);
    }
  });

  it('tells what it waits for, and why it failed, with what to name', () => {
    const asks: ThreadEventData[] = [
      { type: 'approval.request', ...of, id: 'q', tool: 'Bash', input: { command: 'rm <!channel>' } },
      { type: 'approval.pending', ...of, id: 'q', approval_id: 'apr', gate: 'people', expires_at: '' },
    ];
    assert.match(readThread(play([running, ...asks], { by: 'edits', idleMs: 5_000 }).slack), /Waiting for approval\*\n✋ Run: rm &lt;\u2060!channel&gt; · gate people/);
    const failed: ThreadEventData = { type: 'execution.state', ...of, thread_key: 't', status: 'failed_permanent', terminal_reason: 'sandbox_lost' };
    for (const by of ['stream', 'edits'] as const) assert.match(readThread(play([running, failed], { by, everyMs: 2_000 }).slack), /✗ The sandbox of this thread was lost.* · trace trace_1/);
    const stored: ThreadEventData = { type: 'message.stored', message_id: 's', role: 'user', parts: [], user_id: 'U1' };
    assert.match(play([running, stored], { by: 'stream', everyMs: 2_000, idleMs: 5_000 }).slack.messages[0]?.title ?? '', /1 message for the next turn/);
  });

  it('deletes what an edit no longer needs', () => {
    const long = 'word '.repeat(3_000);
    const { slack } = play([running, delta(long, 'x'), { type: 'message.discarded', ...of, message_id: 'x', reason: '' }, delta(answer), completed(answer)], { by: 'edits', everyMs: 5_000 });
    assert.equal(slack.messages.length, 1);
    assert.ok(methods(slack).includes('delete'));
  });
});

describe('how often Slack is called', () => {
  it('is bounded by time, not by events', () => {
    const words = Array.from({ length: 2_000 }, (_, index) => delta(`w${index}.0 `));
    for (const [by, method, everyMs] of [['stream', 'chat.appendStream', LIMITS.appendEveryMs], ['edits', 'chat.update', LIMITS.updateEveryMs]] as const) {
      const { slack } = play([running, ...words, completed()], { by, everyMs: 5 });
      const times = slack.calls.filter((call) => call.method === method).map((call) => call.at);
      assert.ok(times.length > 3 && times.length < 40, `${times.length} calls`);
      for (const [index, at] of times.entries()) if (index > 0) assert.ok(at - (times[index - 1] ?? 0) >= everyMs);
      assert.deepEqual(slack.complaints, []);
    }
  });

  it('obeys Retry-After, and loses nothing', () => {
    for (const by of ['stream', 'edits'] as const) {
      let refusedAt = 0;
      const method = by === 'stream' ? 'chat.appendStream' : 'chat.update';
      const refuses = (call: Call, now: number): { error: string; retryAfter: number } | undefined => {
        if (call.method !== method || refusedAt > 0) return undefined;
        refusedAt = now;
        return { error: 'ratelimited', retryAfter: 30 };
      };
      const { slack } = play([running, ...Array.from({ length: 100 }, (_, index) => delta(`w${index}.0 `)), completed()], { by, everyMs: 100, faults: { refuses } });
      for (const call of slack.calls) if (call.method === method) assert.ok(call.at < refusedAt || call.at >= refusedAt + 30_000);
      assert.equal(wordsIn(readThread(slack)).length, 100);
    }
  });

  it('stays within the limits of the workspace, in fair turns, finished answers first', () => {
    const threads = Array.from({ length: 60 }, (_, key) => ({ key, shown: nothingShown('edits'), count: 0, last: 0 }));
    let pace = FRESH_PACE;
    let turn = startTurn({ executionId: EXECUTION, after: 0 });
    const calls: { method: string; at: number }[] = [];
    let finished: number | undefined;
    let over = turn;
    for (let now = 1_000_000; now < 1_400_000; now += 500) {
      const isLate = now > 1_300_000;
      turn = takeEvent(turn, { id: turn.lastEventId + 1, event: 'text.delta', data: delta('x ') });
      if (!isLate) over = takeEvent(turn, { id: turn.lastEventId + 1, event: 'execution.state', data: completed() });
      const scenes = threads.map((thread): Scene & { key: number } => ({
        key: thread.key,
        turn: isLate && thread.key === 33 ? over : turn,
        shown: thread.shown,
        place: { channel: `C${thread.key}`, threadTs: '1' },
        facts: { harness: 'pi', startedAt: 0 },
        now,
      }));
      const { key, next } = planWorkspace(scenes, pace);
      if (next.do !== 'call' || key === null) continue;
      pace = noteCall(pace, next.method, `C${key}`, now);
      calls.push({ method: next.method, at: now });
      const thread = threads[key] as (typeof threads)[0];
      thread.shown = { ...next.afterwards, messages: next.afterwards.messages.map((message) => ({ ...message, ts: 'x' })) };
      thread.count++;
      if (isLate && key === 33) finished ??= now;
    }
    for (const method of ['chat.update', 'chat.postMessage'] as const) {
      const times = calls.filter((call) => call.method === method).map((call) => call.at);
      assert.ok(times.length > CALLS_PER_MINUTE[method]);
      for (const [index, at] of times.entries()) {
        const before = times[index - CALLS_PER_MINUTE[method]];
        if (before !== undefined) assert.ok(at - before >= 60_000, `${method} at ${at}`);
      }
    }
    const counts = threads.map((thread) => thread.count).toSorted((a, b) => a - b);
    assert.ok((counts[0] ?? 0) >= 3 && (counts.at(-1) ?? 99) - (counts[0] ?? 0) <= 2, `${counts[0]} to ${counts.at(-1)}`);
    assert.ok(finished !== undefined && finished - 1_300_000 < 61_000);
  });

  it('begins by a message where streams have to wait: the first sign is quick', () => {
    let pace = FRESH_PACE;
    for (let index = 0; index < CALLS_PER_MINUTE['chat.startStream']; index++) pace = noteCall(pace, 'chat.startStream', 'C9', 1_000);
    const turn = startTurn({ executionId: EXECUTION, after: 0 });
    const next = planNext({ turn, shown: nothingShown('stream'), place: PLACE, facts: { harness: 'pi', startedAt: 0 }, now: 3_000 }, pace);
    assert.equal(next.do === 'call' && next.method, 'chat.postMessage');
  });

  it('counts by method, by channel, and with the pauses that Slack asked for', () => {
    let pace = noteCall(FRESH_PACE, 'chat.postMessage', 'C1', 0);
    assert.equal(readyAt(pace, 'chat.postMessage', 'C1', 10), 1_000);
    assert.equal(readyAt(pace, 'chat.postMessage', 'C2', 10), 10);
    pace = noteRetryAfter(pace, 'chat.update', 7, 100);
    assert.equal(readyAt(pace, 'chat.update', 'C1', 200), 7_100);
    assert.equal(readyAt(pace, 'chat.delete', 'C1', 200), 200);
  });
});

describe('a bot that dies', () => {
  it('between any two calls goes on, and the answer is there once', () => {
    for (let seed = 1; seed <= 60; seed++) {
      const dice = createDice(seed);
      const by = seed % 2 === 0 ? 'stream' : 'edits';
      const data = rollTurn(dice, 60 + dice(100)).map((event) => event.data);
      let deaths = 0;
      const dies = (): 'before' | 'after' | undefined => {
        if (deaths >= 6 || dice(8) !== 0) return undefined;
        deaths++;
        return dice(2) === 0 ? 'before' : 'after';
      };
      const { slack, turn } = play(data, { by, everyMs: 300, faults: { dies } });
      assert.ok(isOver(turn));
      const final = turn.result ?? '';
      assert.equal(readThread(slack).split(final).length, 2, `seed ${seed}`);
      assert.ok(slack.messages.every((message) => !message.streaming), `seed ${seed}`);
      assert.deepEqual(slack.complaints.filter((complaint) => !complaint.startsWith('an edit')), [], `seed ${seed}`);
    }
  });

  it('finds a stream that nobody noted by the ids of its cards', () => {
    let isFirst = true;
    const dies = (call: Call): 'after' | undefined => {
      const isDeath = isFirst && call.method === 'chat.startStream';
      if (isDeath) isFirst = false;
      return isDeath ? 'after' : undefined;
    };
    const { slack } = play([running, delta('x'), completed(answer)], { by: 'stream', everyMs: 2_000, faults: { dies } });
    assert.equal(slack.messages.length, 1);
    assert.deepEqual(methods(slack).slice(0, 3), ['startStream', 'stopStream', 'update']);
    assert.match(readThread(slack), /^The answer 42\./);
  });

  it('takes no message of another turn for its own', () => {
    const other = { ts: '1', metadata: { event_type: 'centaur_turn', event_payload: { execution_id: 'exe_11', segment: 0, last_event_id: 1 } } };
    const cards = { ts: '2', blocks: [{ type: 'plan', tasks: [{ task_id: 'exe_11/0/start' }] }] };
    assert.deepEqual(recoverShown(EXECUTION, [other, cards, { ts: '3' }, { ts: '4', metadata: { event_type: 'x' } }]).messages, []);
  });

  it('asks for the thread when it does not know whether a message was posted', () => {
    const shown = { ...nothingShown('edits'), messages: [{ ts: '', digest: 'x' }] };
    assert.deepEqual(planNext({ turn: startTurn({ executionId: EXECUTION, after: 0 }), shown, place: PLACE, facts: { harness: 'pi', startedAt: 0 }, now: 0 }, FRESH_PACE), { do: 'recover' });
  });
});

describe('what Slack refuses', () => {
  const codes: readonly [method: Call['method'], code: string, ends: RegExp][] = [
    ['chat.startStream', 'unknown_method', /^startStream postMessage/],
    ['chat.appendStream', 'message_not_in_streaming_state', /update$/],
    ['chat.appendStream', 'msg_too_long', /stopStream update/],
    ['chat.stopStream', 'internal_error', /stopStream$/],
    ['chat.update', 'message_not_found', /postMessage/],
    ['chat.update', 'msg_too_long', /update/],
  ];
  for (const [method, code, expected] of codes) {
    it(`${code} of ${method} does not cost the answer`, () => {
      let count = 0;
      const refuses = (call: Call): { error: string } | undefined => (call.method === method && count++ === 0 ? { error: code } : undefined);
      const slack = createFakeSlack();
      const gone = (call: Call): { error: string } | undefined => {
        const refusal = refuses(call);
        if (refusal?.error === 'message_not_found') slack.messages.length = 0;
        if (refusal?.error === 'message_not_in_streaming_state') for (const message of slack.messages) message.streaming = false;
        return refusal;
      };
      const calls: string[] = [];
      const spied = (call: Call): { error: string } | undefined => {
        calls.push(call.method.replace('chat.', ''));
        return gone(call);
      };
      play([running, delta('w1.1 '), delta('w1.2 '), delta(answer), completed()], { by: method === 'chat.update' ? 'edits' : 'stream', everyMs: 2_000, faults: { refuses: spied }, slack });
      assert.equal(readThread(slack).split(answer).length, 2);
      assert.match(calls.join(' '), expected);
      assert.ok(slack.messages.every((message) => !message.streaming));
    });
  }

  it('is over where the channel is gone', () => {
    const call: Call = { do: 'call', method: 'chat.update', args: {}, afterwards: nothingShown('edits') };
    assert.deepEqual(refused(nothingShown('edits'), call, 'channel_not_found'), { do: 'stop' });
    assert.deepEqual(refused(nothingShown('stream'), call, 'not_in_channel'), { do: 'stop' });
  });
});

describe('Markdown in pieces', () => {
  it('said piece by piece is what it is as a whole', () => {
    const pieces = ['plain ', '**bold** ', '<@U1> ', '<@U2> ', '<!channel> ', '@here ', '[a](https://a.b) ', '[bank.com](https://evil.com) ', '[x](javascript:y) ', '![i](https://a.b/c.png) ', '`a[0](b)` ', '\n', '\n\n', '```ts\n', 'h[i](e) <!here>\n', '```\n', '[r]: https://evil.com\n', '| a | b |\n', '😀', '<javascript:x> '];
    for (let seed = 1; seed <= 300; seed++) {
      const dice = createDice(seed);
      // in code links stay as they are, and lead nowhere
      const some = seed % 2 === 0 ? pieces.filter((piece) => !piece.startsWith('```')) : pieces;
      const unsafe = seed % 2 === 0 ? /<!\w|<@U2|@here|\]\(javascript|com\]\(https:\/\/evil|<javascript/ : /<!\w|<@U2|@here/;
      const text = Array.from({ length: 20 }, () => some[dice(some.length)]).join('');
      const whole = safeMarkdown(text, null, ['U1']);
      assert.equal(whole.replaceAll('\u2060', ''), text);
      assert.doesNotMatch(whole, unsafe);
      let [said, at, fence] = ['', 0, null as string | null];
      for (let end = 0; end <= text.length; end += 1 + dice(9)) {
        const rest = text.slice(at, end);
        const length = sayableLength(rest, fence);
        said += safeMarkdown(rest.slice(0, length), fence, ['U1']);
        const line = text.lastIndexOf('\n', at - 1) + 1;
        fence = fenceAfter(text.slice(line, at + length), fence);
        at += length;
      }
      said += safeMarkdown(text.slice(at), fence, ['U1']);
      assert.doesNotMatch(said, unsafe, `seed ${seed}`);
      assert.equal(said.replaceAll('\u2060', ''), text, `seed ${seed}`);
    }
  });

  const cuts: readonly [name: string, text: string, limit: number, first: string][] = [
    ['after a paragraph', `${'a'.repeat(60)}\n\n${'b'.repeat(60)}`, 100, `${'a'.repeat(60)}\n\n`],
    ['not after a paragraph within code', `\`\`\`\n${'a '.repeat(30)}\n\n${'b'.repeat(60)}`, 100, `\`\`\`\n${'a '.repeat(30)}\n\n`],
    ['after a row of a table', `| a |\n| ${'b '.repeat(60)}|`, 60, '| a |\n'],
    ['before a link', `some words [label of a link](https://example.com/long)`, 40, 'some words '],
    ['not within a character', `${'a'.repeat(9)}😀`, 10, 'a'.repeat(9)],
    ['anywhere if need be', 'a'.repeat(20), 10, 'a'.repeat(10)],
    ['nowhere', 'a b', 10, 'a b'],
  ];
  for (const [name, text, limit, first] of cuts) it(`is cut ${name}`, () => assert.equal(text.slice(0, cutMarkdown(text, limit, null)), first));
});
