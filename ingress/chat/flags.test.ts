import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Control, type Flagged, readControl, readFlags } from './flags.ts';

const FLAGS: readonly [message: string, expected: Partial<Flagged>][] = [
  ['fix the test', { text: 'fix the test' }],
  ['--codex fix the test', { text: 'fix the test', flags: { harness: 'codex' } }],
  ['fix --claude the test', { text: 'fix the test', flags: { harness: 'claude' } }],
  ['fix the test --pi', { text: 'fix the test', flags: { harness: 'pi' } }],
  ['\u2014amp go', { text: 'go', flags: { harness: 'amp' } }],
  ['\u2013amp go', { text: 'go', flags: { harness: 'amp' } }],
  ['--claude --codex go', { text: 'go', flags: { harness: 'codex' } }],
  ['--harness demo go', { text: 'go', flags: { harness: 'demo' } }],
  ['--model=anthropic/opus-5:1m go', { text: 'go', flags: { model: 'anthropic/opus-5:1m' } }],
  ['--model "opus" go', { text: 'go', flags: { model: 'opus' } }],
  ['--model \u201copus\u201d go', { text: 'go', flags: { model: 'opus' } }],
  ['-e high go', { text: 'go', flags: { effort: 'high' } }],
  ['--effort MAX\ngo', { text: 'go', flags: { effort: 'max' } }],
  ['--persona reviewer --steer go', { text: 'go', flags: { persona: 'reviewer', whileRunning: 'steer' } }],
  ['/persona reviewer go', { text: 'go', flags: { persona: 'reviewer' } }],
  ['--queue later', { text: 'later', flags: { whileRunning: 'queue' } }],
  ['a\n\n--codex\n\nb', { text: 'a\n\nb', flags: { harness: 'codex' } }],
  ['--codex', { text: '', flags: { harness: 'codex' } }],
  // what is wrong is said, and is not in the text
  ['--effort huge go', { text: 'go', problems: ['--effort: expected low, medium, high or max.'] }],
  ['go --model', { text: 'go', problems: ['--model: expected a name.'] }],
  ['--model --codex go', { text: 'go', flags: { harness: 'codex' }, problems: ['--model: expected a name.'] }],
  ['--model= go', { text: 'go', problems: ['--model: expected a name.'] }],
  ['--persona a;b go', { text: 'go', problems: ['--persona: expected a name.'] }],
  // what is no flag is text
  ['run it with --verbose -e', { text: 'run it with --verbose', problems: ['--effort: expected low, medium, high or max.'] }],
  ['--codexes and a--codex b', { text: '--codexes and a--codex b' }],
  ['--claude=1 go', { text: '--claude=1 go' }],
  ['--constructor --__proto__ go', { text: '--constructor --__proto__ go' }],
  ['a \u2014 b, c -- d -', { text: 'a \u2014 b, c -- d -' }],
  ['ls -el', { text: 'ls -el' }],
  ['see path/persona x', { text: 'see path/persona x' }],
  // neither is code, nor what somebody else said
  ['what does `x --codex` do', { text: 'what does `x --codex` do' }],
  ['```\nrun --model x\n```', { text: '```\nrun --model x\n```' }],
  ['```\nrun --model x', { text: '```\nrun --model x' }],
  ['> use --codex\nwhy?', { text: '> use --codex\nwhy?' }],
  ['&gt; use --codex\nwhy? --pi', { text: '&gt; use --codex\nwhy?', flags: { harness: 'pi' } }],
  ['--model `opus` go', { text: '`opus` go', problems: ['--model: expected a name.'] }],
];

const CONTROLS: readonly [message: string, expected: Control | undefined][] = [
  ['stop', { kind: 'stop' }],
  [' Stop! ', { kind: 'stop' }],
  ['please stop', { kind: 'stop' }],
  ['ok, stop it, please.', { kind: 'stop' }],
  ['can you please cancel that?', { kind: 'stop' }],
  ['kill it now', { kind: 'stop' }],
  ['/stop', { kind: 'stop' }],
  ['release', { kind: 'release' }],
  ['status?', { kind: 'status' }],
  ['help', { kind: 'help' }],
  ['try again', { kind: 'retry' }],
  ['retry, please', { kind: 'retry' }],
  ['who am I?', { kind: 'whoami' }],
  ['link abcd-ef23', { kind: 'link', code: 'ABCD-EF23' }],
  ['link ABCDEF23', { kind: 'link', code: 'ABCD-EF23' }],
  ['stop the server on port 80', undefined],
  ['help me with this', undefined],
  ['link the docs', undefined],
  ['status of the build?', undefined],
  ['constructor', undefined],
  ['', undefined],
];

describe('what people write for the platform', () => {
  for (const [message, expected] of FLAGS)
    it(`has flags: ${JSON.stringify(message)}`, () => {
      assert.deepEqual(readFlags(message), { flags: {}, problems: [], ...expected });
    });

  it('loses nothing that is no flag', () => {
    for (const text of ['a  b\n\n\tc', '```js\nlet a  = 1;\n```\n\n> q\n\nend', 'one\r\ntwo'])
      assert.equal(readFlags(text).text, text, JSON.stringify(text));
  });

  for (const [message, expected] of CONTROLS)
    it(`is a command, or is none: ${JSON.stringify(message)}`, () => {
      assert.deepEqual(readControl(message), expected);
    });
});
