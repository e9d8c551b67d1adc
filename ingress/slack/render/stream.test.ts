import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { ThreadEventData } from '@centaur/sdk';
import { fenceAfter } from '../../chat/fence.ts';
import { startTurn, takeEvent } from '../../chat/index.ts';
import { createDice, EXECUTION } from '../../chat/testing.ts';
import {
  answer,
  type Call,
  completed,
  createFakeSlack,
  delta,
  methods,
  of,
  PLACE,
  play,
  readThread,
  result,
  running,
  tool,
  usage,
  wordsIn,
} from './fake/testing.ts';
import { LIMITS } from './limits.ts';
import { FRESH_PACE } from './pace.ts';
import { cutMarkdown, safeMarkdown, sayableLength } from './segment.ts';
import { nothingShown } from './shown.ts';
import { planNext, planWorkspace, refused } from './stream.ts';

describe('a turn in Slack', () => {
  for (const by of ['stream', 'edits'] as const) {
    it(`is shown by ${by}: what it does, then its answer once, then what made it`, () => {
      const { slack, took } = play([running, delta('Let me look.', 'a'), tool(1), result(1), delta(answer), completed(answer)], {
        by,
        everyMs: 2_000,
      });
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
      const next = planNext(
        {
          turn: startTurn({ executionId: EXECUTION, after: 0 }),
          shown: nothingShown(by),
          place: PLACE,
          facts: { harness: 'pi', startedAt: 0 },
          now: 0,
        },
        FRESH_PACE,
      );
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
    const { slack } = play([running, delta('Wrong', 'x'), delta(' way', 'x'), discarded, delta(answer), completed(answer)], {
      by: 'stream',
      everyMs: 1_500,
    });
    assert.doesNotMatch(readThread(slack), /Wrong/);
    assert.equal(readThread(slack).split(answer).length, 2);
  });

  it('goes on in another stream before Slack closes it', () => {
    const words = Array.from({ length: 60 }, (_, index) => delta(`w${index}.0 `));
    const { slack } = play([running, ...words, completed()], { by: 'stream', everyMs: 10_000 });
    assert.deepEqual(
      wordsIn(readThread(slack)),
      words.map((_, index) => `w${index}.0`),
    );
    assert.equal(slack.messages.length, 3);
    assert.deepEqual(slack.complaints, []);
    assert.ok(!methods(slack).includes('update'));
  });

  it('comes before others once it is over', () => {
    const turn = startTurn({ executionId: EXECUTION, after: 0 });
    const over = takeEvent(turn, { id: 1, event: 'execution.state', data: completed(answer) });
    const scene = { shown: nothingShown('edits'), place: PLACE, facts: { harness: 'pi', startedAt: 0 }, now: 9_000 };
    const { key } = planWorkspace(
      [
        { ...scene, key: 'long', turn },
        { ...scene, key: 'over', turn: over, shown: { ...scene.shown, lastCallAt: 8_000 } },
      ],
      FRESH_PACE,
    );
    assert.equal(key, 'over');
  });

  it('says nothing more while nothing happens, however long', () => {
    const { slack } = play([running, tool(1)], { by: 'stream', idleMs: 1_200_000 });
    assert.deepEqual(methods(slack), ['startStream', 'appendStream', 'stopStream']);
  });

  it('closes cards with their stream, and opens those at work in the next', () => {
    const { slack } = play([running, tool(1), result(1), tool(2), ...Array.from({ length: 30 }, () => delta('x ')), completed()], {
      by: 'stream',
      everyMs: 10_000,
    });
    assert.equal(slack.messages.length, 2);
    const [first, second] = slack.messages.map((message) => [...message.cards.values()].map((card) => [card.title, card.status]));
    assert.deepEqual(first, [
      ['Thinking', 'complete'],
      ['Run: step 1', 'complete'],
      ['Run: step 2', 'complete'],
    ]);
    assert.deepEqual(second, [
      ['Thinking', 'complete'],
      ['Run: step 2', 'complete'],
    ]);
  });

  it('counts the last step as running until the end', () => {
    for (const by of ['stream', 'edits'] as const) {
      const data = [running, tool(1), result(1)];
      const before = play(data, { by, idleMs: 5_000 }).slack.messages[0];
      assert.match(
        `${JSON.stringify([...(before?.cards.values() ?? [])])}${JSON.stringify(before?.blocks)}`,
        /"in_progress"|▸ Run: step 1/,
      );
      const after = play([...data, completed('x')], { by }).slack.messages[0];
      assert.doesNotMatch(`${JSON.stringify([...(after?.cards.values() ?? [])])}${JSON.stringify(after?.blocks)}`, /"in_progress"|▸/);
    }
  });

  it('says a step in one card, however many of them there are and however much they say', () => {
    const steps = Array.from({ length: 120 }, (_, index) => [
      tool(index, { command: `${index} ${'😀'.repeat(200)}` }),
      result(index),
    ]).flat();
    const { slack } = play([running, ...steps, delta(answer), completed(answer)], { by: 'stream' });
    assert.deepEqual(slack.complaints, []);
    assert.ok((slack.messages[0]?.cards.size ?? 0) > 5);
    assert.match([...(slack.messages[0]?.cards.values() ?? [])].at(-1)?.title ?? '', /^\d+ more, then Run: 119/);
    const small = play([running, ...Array.from({ length: 120 }, (_, index) => tool(index, {})), completed(answer)], { by: 'stream' });
    assert.equal(small.slack.messages[0]?.cards.size, LIMITS.cards);
  });

  it('counts text and cards together, in bytes', () => {
    const data = Array.from({ length: 60 }, (_, index) => [
      tool(index, { command: 'ж'.repeat(60) }),
      delta(`w${index}.0 ${'中'.repeat(150)} `),
    ]).flat();
    const { slack } = play([running, ...data, completed()], { by: 'stream', everyMs: 700 });
    assert.deepEqual(slack.complaints, []);
    assert.ok(slack.messages.length > 1);
    assert.equal(wordsIn(readThread(slack)).length, 60);
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

  for (const marks of [59, 60, 5_000, 10_900])
    it(`is no longer than a stream may be, and no more messages, with a fence of ${marks} marks`, () => {
      const fence = '`'.repeat(marks);
      const code = Array.from({ length: 1_500 }, (_, index) => `w${index}.0 = 1;`).join('\n');
      const said = `Here:\n\n${fence}ts\n${code}\n${fence}\n\nDone.`;
      const pieces = said.match(/[^]{1,3000}/g) ?? [];
      const { slack } = play([running, ...pieces.map((piece) => delta(piece)), completed()], { by: 'stream', everyMs: 1_000 });
      assert.deepEqual(slack.complaints, []);
      assert.ok(slack.messages.length <= LIMITS.messages, `${slack.messages.length} messages`);
      assert.deepEqual(
        wordsIn(readThread(slack)),
        Array.from({ length: 1_500 }, (_, index) => `w${index}.0`),
      );
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
    assert.match(
      readThread(play([running, ...asks], { by: 'edits', idleMs: 5_000 }).slack),
      /Waiting for approval\*\n✋ Run: rm &lt;\u2060!channel&gt; · gate people/,
    );
    const failed: ThreadEventData = {
      type: 'execution.state',
      ...of,
      thread_key: 't',
      status: 'failed_permanent',
      terminal_reason: 'sandbox_lost',
    };
    for (const by of ['stream', 'edits'] as const)
      assert.match(
        readThread(play([running, failed], { by, everyMs: 2_000 }).slack),
        /✗ The sandbox of this thread was lost.* · trace trace_1/,
      );
    const stored: ThreadEventData = { type: 'message.stored', message_id: 's', role: 'user', parts: [], user_id: 'U1' };
    assert.match(
      play([running, stored], { by: 'stream', everyMs: 2_000, idleMs: 5_000 }).slack.messages[0]?.title ?? '',
      /1 message for the next turn/,
    );
  });

  it('deletes what an edit no longer needs', () => {
    const long = 'word '.repeat(3_000);
    const { slack } = play(
      [
        running,
        delta(long, 'x'),
        ...Array.from({ length: 5 }, () => usage),
        { type: 'message.discarded', ...of, message_id: 'x', reason: '' },
        delta(answer),
        completed(answer),
      ],
      { by: 'edits', everyMs: 5_000 },
    );
    assert.equal(slack.messages.length, 1);
    assert.ok(methods(slack).includes('delete'));
  });
});

describe('a turn of which nobody can say what is next', () => {
  it('keeps no other one back', () => {
    const turn = startTurn({ executionId: EXECUTION, after: 0 });
    const scene = { turn, shown: nothingShown('edits'), place: PLACE, facts: { harness: 'pi', startedAt: 0 }, now: 9_000 };
    const error = new RangeError('too deep');
    const broken = {
      ...scene,
      get place(): typeof PLACE {
        throw error;
      },
    };
    const { key, failures } = planWorkspace([Object.assign(broken, { key: 'broken' }), { ...scene, key: 'whole' }], FRESH_PACE);
    assert.equal(key, 'whole');
    assert.deepEqual(failures, [{ key: 'broken', error }]);
  });
});

describe('what Slack refuses', () => {
  const codes: readonly [method: Call['method'], code: string, ends: RegExp][] = [
    ['chat.startStream', 'unknown_method', /^startStream postMessage/],
    ['chat.appendStream', 'message_not_in_streaming_state', /update$/],
    ['chat.appendStream', 'msg_too_long', /stopStream update/],
    ['chat.stopStream', 'internal_error', /stopStream$/],
    ['chat.update', 'message_not_found', /postMessage/],
    ['chat.update', 'invalid_blocks', /update/],
    ['chat.update', 'streaming_state_conflict', /update stopStream update/],
  ];
  for (const [method, code, expected] of codes) {
    it(`${code} of ${method} does not cost the answer`, () => {
      let count = 0;
      const refuses = (call: Call): { error: string } | undefined =>
        call.method === method && count++ === 0 ? { error: code } : undefined;
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
      play([running, delta('w1.1 '), delta('w1.2 '), delta(answer), completed()], {
        by: method === 'chat.update' ? 'edits' : 'stream',
        everyMs: 2_000,
        faults: { refuses: spied },
        slack,
      });
      assert.equal(readThread(slack).split(answer).length, 2);
      assert.match(calls.join(' '), expected);
      assert.ok(slack.messages.every((message) => !message.streaming));
    });
  }

  it('is said in words when the blocks are refused, and attached when that is not all', () => {
    const long = `| a |\n|---|\n${'| **b** |\n'.repeat(500)}`;
    const refuses = (call: Call): { error: string } | undefined =>
      /"table"|"rich_text_preformatted"/.test(JSON.stringify(call.args)) ? { error: 'invalid_blocks' } : undefined;
    const { slack } = play([running, delta(long), completed(long)], { by: 'edits', everyMs: 2_000, faults: { refuses } });
    assert.match(readThread(slack), /\*\*b\*\*/);
    assert.deepEqual(slack.files, [long]);
    assert.deepEqual(slack.complaints, []);
  });

  it('cant_update_message has the answer said once, at the end', () => {
    const refuses = (call: Call): { error: string } | undefined =>
      call.method === 'chat.update' ? { error: 'cant_update_message' } : undefined;
    const calls: string[] = [];
    const spied = (call: Call): { error: string } | undefined => {
      calls.push(call.method);
      return refuses(call);
    };
    const words = Array.from({ length: 20 }, (_, index) => delta(`w${index}.0 `));
    play([running, ...words, delta(answer), completed()], { by: 'edits', everyMs: 2_000, faults: { refuses: spied } });
    assert.deepEqual(calls, ['chat.postMessage', 'chat.update', 'chat.postMessage']);
  });

  it('is tried another time when it is about a token, a scope or a limit', () => {
    const call: Call = { do: 'call', method: 'chat.postMessage', args: {}, afterwards: nothingShown('edits') };
    for (const code of ['token_revoked', 'missing_scope', 'message_limit_exceeded', 'never_heard_of'])
      assert.deepEqual(refused(nothingShown('edits'), call, code), { do: 'later' }, code);
  });

  it('is over where the channel is gone', () => {
    const call: Call = { do: 'call', method: 'chat.update', args: {}, afterwards: nothingShown('edits') };
    assert.deepEqual(refused(nothingShown('edits'), call, 'channel_not_found'), { do: 'stop' });
    assert.deepEqual(refused(nothingShown('stream'), call, 'not_in_channel'), { do: 'stop' });
  });
});

describe('Markdown in pieces', () => {
  it('said piece by piece is what it is as a whole', () => {
    const pieces = [
      'plain ',
      '**bold** ',
      '<@U1> ',
      '<@U2> ',
      '<!channel> ',
      '@here ',
      '[a](https://a.b) ',
      '[bank.com](https://evil.com) ',
      '[x](javascript:y) ',
      '![i](https://a.b/c.png) ',
      '`a[0](b)` ',
      '\n',
      '\n\n',
      '```ts\n',
      'h[i](e) <!here>\n',
      '```\n',
      '[r]: https://evil.com\n',
      '| a | b |\n',
      '😀',
      '<javascript:x> ',
    ];
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
  for (const [name, text, limit, first] of cuts)
    it(`is cut ${name}`, () => assert.equal(text.slice(0, cutMarkdown(text, limit, null)), first));
});
