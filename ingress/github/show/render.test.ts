import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { startTurn, type Turn } from '../../chat/index.ts';
import { parseMarkdown } from '../../chat/parse.ts';
import { LONGEST_COMMENT } from '../places.ts';
import { mentionedIn, quietMentions } from './mentions.ts';
import { type Look, renderEnd, renderWorking } from './render.ts';
import { splitMarkdown } from './split.ts';

const EXECUTION = '01a2009c-4be6-7000-a2fd-1a6fb22b3ac4';
const look: Look = { steps: 'shown', isPart: (login) => login === 'ada' };
const turn = (more: Partial<Turn> = {}): Turn => ({ ...startTurn({ executionId: EXECUTION, after: 0, traceId: 'a trace' }), ...more });
const step = (title: string, state: 'running' | 'done' | 'failed' | 'waiting' = 'done') => ({ id: title, title, details: '', state });

describe('a turn that works', () => {
  it('says how it stands, and what it does', () => {
    const steps = [step('Run: ls'), step('Run: echo `@bob` </details>', 'failed'), step('Read: a.ts')];
    const body = renderWorking(turn({ status: 'running', steps }), look);
    assert.equal(
      body,
      [
        `<!-- centaur:turn ${EXECUTION} 0 -->`,
        '**Working**',
        '<details><summary>3 steps</summary>\n\n- ✅ `Run: ls`\n- ❌ `` Run: echo `@bob` </details> ``\n- ⏳ `Read: a.ts`\n\n</details>',
      ].join('\n\n'),
    );
  });

  it('hides what it does where the operator wants it', () => {
    const body = renderWorking(turn({ status: 'running', steps: [step('Run: secret plan')] }), { ...look, steps: 'hidden' });
    assert.doesNotMatch(body, /secret/);
    assert.match(body, /<sub>1 step<\/sub>/);
  });

  it('says how people decide what it waits for', () => {
    const approvals = [{ id: 'q', approvalId: 'ap_1', gate: 'prod', what: 'Run: rm -rf /' }];
    const body = renderWorking(turn({ status: 'running', approvals }), look);
    assert.match(
      body,
      /\*\*Waiting for approval\*\*[^]*`Run: rm -rf \/` waits for a decision at the gate `prod`\.[^]*`centaur approvals approve ap_1`/,
    );
  });

  it('says why it does nothing', () => {
    assert.match(renderWorking(turn(), look), /Waiting for its turn/);
    assert.match(renderWorking(turn({ status: 'running', waitsFor: 'room' }), look), /Waiting for a free sandbox/);
  });
});

describe('a turn that is over', () => {
  it('is its answer, as it was written', () => {
    const result = '# Why\n\n| a | b |\n|---|---|\n| 1 | `@bob` |\n\n```ts\nimport x from "@bob/x";\n```';
    assert.deepEqual(renderEnd(turn({ status: 'completed', result }), look), [`<!-- centaur:turn ${EXECUTION} 0 -->\n\n${result}`]);
  });

  it('says so when it failed, was stopped, or said nothing', () => {
    const failed = renderEnd(turn({ status: 'failed', problem: { kind: 'auth', words: 'Renew it.' } }), look)[0];
    assert.match(failed ?? '', /\*\*Failed\.\*\* Renew it\. Trace: `a trace`/);
    assert.match(renderEnd(turn({ status: 'cancelled', result: 'Half' }), look)[0] ?? '', /Half\n\n\*\*Stopped\.\*\*/);
    assert.match(renderEnd(turn({ status: 'completed' }), look)[0] ?? '', /nothing was answered/);
  });

  it('is never longer than GitHub takes, and loses nothing', () => {
    const words = Array.from({ length: 40_000 }, (_, i) => `word${i}`).join(' ');
    const code = `\`\`\`ts\n${Array.from({ length: 9_000 }, (_, i) => `const x${i} = ${i};`).join('\n')}\n\`\`\``;
    const steps = Array.from({ length: 200 }, (_, i) => step(`Run: ${'x'.repeat(75)}${i}`));
    for (const result of [words, code, `${words}\n\n${code}`, words.replaceAll(' ', '\n')]) {
      const parts = renderEnd(turn({ status: 'completed', result, steps }), look);
      assert.ok(parts.length > 1);
      for (const [index, part] of parts.entries()) {
        assert.ok(part.length <= LONGEST_COMMENT, `${part.length}`);
        assert.ok(part.startsWith(`<!-- centaur:turn ${EXECUTION} ${index} -->`));
        assert.equal((part.match(/^```/gm) ?? []).length % 2, 0, 'fences are closed where they are opened');
      }
      const all = parts.join('\n');
      for (const piece of ['word0', 'word39999', 'const x0 =', 'const x8999 ='])
        assert.equal(all.includes(piece), result.includes(piece), piece);
    }
  });

  it('is cut between paragraphs, and never within a character', () => {
    assert.deepEqual(splitMarkdown('a b\n\nc d\n\ne f', 9), ['a b\n\nc d', 'e f']);
    for (const part of splitMarkdown('👩‍👩‍👧'.repeat(100), 50)) assert.ok(part.isWellFormed());
  });

  it('is no more parts for a fence of many marks', () => {
    for (const mark of ['`', '~']) {
      const parts = splitMarkdown(`${mark.repeat(496)}\n${'ab\n'.repeat(2_000)}`, 1_000);
      assert.ok(parts.length <= 10, `${parts.length} parts`);
      for (const part of parts) assert.ok(part.length <= 1_000, `a part of ${part.length}`);
      assert.equal(parts.join('\n').match(/^ab$/gm)?.length, 2_000);
    }
  });
});

const QUIET: readonly [markdown: string, expected: string][] = [
  ['thanks @ada and @bob', 'thanks @ada and `@bob`'],
  ['@Ada', '@Ada'],
  ['@ada/team', '`@ada/team`'],
  ['@acme/team-x, look', '`@acme/team-x`, look'],
  ['`@bob`', '`@bob`'],
  ['```\n@bob\n```', '```\n@bob\n```'],
  ['    @bob', '    @bob'],
  ['``` @bob', '``` @bob'],
  ['a ``` @bob', 'a ``` `@bob`'],
  ['> @bob said', '> `@bob` said'],
  ['**@bob**', '**`@bob`**'],
  ['&#64;bob and &commat;bob', '`@bob` and `@bob`'],
  ['<b>@bob</b>', '<b>`@bob`</b>'],
  ['<div>\n@bob\n</div>', '<div>\n@\u2060bob\n</div>'],
  ['@bob`x`', '@\u2060bob`x`'],
  ['[@bob](https://example.com/@bob)', '[`@bob`](https://example.com/@bob)'],
  ['| @bob |\n|---|\n| @ada |', '| `@bob` |\n|---|\n| @ada |'],
  ['mail bob@example.com', 'mail bob@example.com'],
];

describe('mentions in answers', () => {
  for (const [markdown, expected] of QUIET)
    it(`of who took no part ring nowhere: ${JSON.stringify(markdown)}`, () =>
      assert.equal(
        quietMentions(markdown, (login) => login === 'ada'),
        expected,
      ));

  it('are found', () => assert.deepEqual([...mentionedIn('@Ada, &#64;eve and @bob of @acme/team')].sort(), ['ada', 'bob', 'eve']));

  it('ring nowhere in an answer that is written to exhaust the parser', () => {
    for (const result of [
      `${'*aaaaaa '.repeat(8_000)}x @bob ${' a*'.repeat(8_000)}`,
      `${'*aaaaaa '.repeat(2_000)}x @bob ${' a*'.repeat(2_000)}`,
      `${'![aaa '.repeat(2_000)}x @bob ${'a](b)'.repeat(2_000)}`,
      `${'a\n===\n'.repeat(3_000)}@bob`,
    ]) {
      assert.equal(parseMarkdown(result), undefined);
      assert.doesNotMatch(renderEnd(turn({ status: 'completed', result }), look).join('\n'), /@bob/);
    }
  });

  it('ring nowhere where they make a comment longer than it may be', () => {
    const parts = renderEnd(turn({ status: 'completed', result: '@b\n'.repeat(19_800) }), look);
    assert.deepEqual([parts.length, parts.join('\n').match(/`@b`/g)?.length], [2, 19_800]);
    for (const part of parts) assert.ok(part.length <= LONGEST_COMMENT);
  });

  it('are quiet by what each comment is by itself', () => {
    const result = `${'word\n'.repeat(11_900)}\`code @bob\ncode @eve\` and more${'\nword'.repeat(1_000)}`;
    for (const part of renderEnd(turn({ status: 'completed', result }), look))
      assert.equal(
        quietMentions(part, () => false),
        part,
      );
  });

  it('ring nowhere in what is too hard to read', () => {
    const hostile = `${'*_'.repeat(5_000)} @bob ${'['.repeat(5_000)}`;
    assert.doesNotMatch(
      quietMentions(hostile, () => false),
      /@bob/,
    );
  });
});
