import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Heard } from '../heard.ts';
import { GITHUB_RULES, type GitHubRules } from '../settings.ts';
import { mentions, mentionsOthers, visible, withoutMention } from './mention.ts';
import { decide, type Verdict } from './rules.ts';

const self = { login: 'Centaur-Bot', name: 'Centaur-Bot' };
const HEARD: Heard = {
  repo: 'acme/site',
  number: 7,
  root: null,
  installation: null,
  action: 'said',
  kind: 'comment',
  id: 11,
  author: { login: 'ada', isBot: false, association: 'MEMBER' },
  sender: 'ada',
  text: '@centaur-bot what is this?',
  before: null,
  isPull: false,
  title: 'The door sticks',
  url: 'https://github.com/acme/site/issues/7#issuecomment-11',
  code: null,
};
const by = (login: string, more: Partial<Heard['author']> = {}) => ({
  author: { login, isBot: false, association: 'MEMBER', ...more },
  sender: login,
});
const ask = (text = 'what is this?'): Verdict => ({ kind: 'ask', asked: { text, flags: {}, problems: [] } });
const ignore = (why: string) => ({ kind: 'ignore', why });

const CASES: readonly [name: string, heard: Partial<Heard>, rules: Partial<GitHubRules>, expected: unknown, isKnown?: true][] = [
  ['a mention asks', {}, {}, ask()],
  ['a mention in the body of an issue asks', { kind: 'body', id: 7 }, {}, ask()],
  ['a mention alone in a body asks about the issue', { kind: 'body', text: '@centaur-bot' }, {}, ask('')],
  ['a mention alone in a comment wants help', { text: '@centaur-bot' }, {}, { kind: 'control', control: { kind: 'help' } }],
  ['a mention in a review asks', { kind: 'review', isPull: true }, {}, ask()],
  ['without a mention nothing is asked', { text: 'what is this?' }, {}, ignore('not mentioned')],
  ['without a mention in a known thread, too', { text: 'and now?' }, {}, ignore('not mentioned'), true],
  ['replies go on where all of them do', { text: 'and now?' }, { replies: 'all' }, ask('and now?'), true],
  ['but only in a thread that is known', { text: 'and now?' }, { replies: 'all' }, ignore('thread unknown')],
  ['and not when others are meant', { text: '@bob and now?' }, { replies: 'all' }, ignore('not mentioned'), true],
  ['and not of strangers', { text: 'and now?', ...by('eve', { association: 'NONE' }) }, { replies: 'all' }, ignore('not mentioned'), true],
  [
    'an edit goes on with nothing',
    { text: 'and now?', action: 'edited', before: 'and' },
    { replies: 'all' },
    ignore('not mentioned'),
    true,
  ],
  ['a command', { text: '@centaur-bot stop' }, {}, { kind: 'control', control: { kind: 'stop' } }],
  ['a command that was edited in is none', { text: '@centaur-bot stop', action: 'edited', before: 'x' }, {}, ignore('nothing asked')],
  ['strangers are refused', by('eve', { association: 'NONE' }), {}, { kind: 'refuse' }],
  ['who has contributed is a stranger, too', by('eve', { association: 'CONTRIBUTOR' }), {}, { kind: 'refuse' }],
  ['nobody is without an association', by('eve', { association: '' }), {}, { kind: 'refuse' }],
  ['unless the operator lets them', by('eve', { association: 'NONE' }), { associations: ['NONE'] }, ask()],
  ['commands of strangers are refused, too', { text: '@centaur-bot stop', ...by('eve', { association: 'NONE' }) }, {}, { kind: 'refuse' }],
  ['its own words are ignored', by('centaur-bot'), {}, ignore('own')],
  ['and its own edits of others', { sender: 'centaur-bot', action: 'edited' }, {}, ignore('own')],
  ['even when it is listed', by('centaur-bot', { isBot: true }), { bots: ['centaur-bot'] }, ignore('own')],
  ['bots are ignored', by('dependabot[bot]', { isBot: true, association: 'NONE' }), {}, ignore('bot')],
  ['members that are bots, too', by('helper', { isBot: true }), {}, ignore('bot')],
  ['bots that are listed ask', by('dependabot[bot]', { isBot: true, association: 'NONE' }), { bots: ['Dependabot[bot]'] }, ask()],
  ['other repositories are ignored', {}, { repositories: ['acme/other'] }, ignore('repository')],
  ['listed ones are not', {}, { repositories: ['Acme/Site'] }, ask()],
  ['nor those of a listed owner', {}, { repositories: ['acme/*'] }, ask()],
  ['whose name is whole', { repo: 'acme2/site' }, { repositories: ['acme/*'] }, ignore('repository')],
  ['no repository at all', {}, { repositories: [] }, ignore('repository')],
  ['a mention that was edited in asks', { action: 'edited', before: 'what is this?' }, {}, ask()],
  ['a mention that was there does not ask again', { action: 'edited', before: '@centaur-bot what' }, {}, ignore('mentioned before')],
  ['an edit of which GitHub does not say what it was asks', { action: 'edited', before: null }, {}, ask()],
  ['nobody asks by editing another’s words', { action: 'edited', before: 'x', sender: 'mallory' }, {}, ignore('edited by another')],
  ['what is deleted is taken back', { action: 'deleted' }, {}, { kind: 'withdraw' }],
  ['whoever deletes it', { action: 'deleted', sender: 'mallory' }, {}, { kind: 'withdraw' }],
  ['and nothing else', { action: 'deleted', text: 'x' }, {}, ignore('not mentioned')],
];

describe('what is done about a comment', () => {
  for (const [name, heard, rules, expected, isKnown = false] of CASES)
    it(name, async () => {
      const verdict = await decide({ ...HEARD, ...heard }, { ...GITHUB_RULES.parse({}), ...rules }, self, async () => isKnown);
      assert.deepEqual(verdict, expected);
    });
});

const MENTIONS: readonly [text: string, isMentioned: boolean][] = [
  ['@centaur-bot hello', true],
  ['hello, @Centaur-Bot.', true],
  ['(@centaur-bot)', true],
  ['@centaur-bot[bot] hello', true],
  ['**@centaur-bot**: hello', true],
  ['@centaur-bot-2 hello', false],
  ['@centaur hello', false],
  ['@centaur-bot/team hello', false],
  ['a@centaur-bot.example.com', false],
  ['https://github.com/@centaur-bot', false],
  ['`@centaur-bot`', false],
  ['```\n@centaur-bot\n```', false],
  ['> @centaur-bot hello\n\nwhat did you mean?', false],
  ['<!-- @centaur-bot -->', false],
  ['<!--\n@centaur-bot', false],
  ['`<!--` @centaur-bot', true],
];

describe('mentions', () => {
  for (const [text, isMentioned] of MENTIONS) it(JSON.stringify(text), () => assert.equal(mentions(text, 'centaur-bot'), isMentioned));

  it('are taken off, and what is hidden with them', () => {
    assert.equal(
      withoutMention('@centaur-bot, look <!-- and delete -->here\r\n> @centaur-bot x', 'centaur-bot'),
      'look here\n> @centaur-bot x',
    );
    assert.equal(withoutMention('hey @centaur-bot look `@centaur-bot`', 'centaur-bot'), 'hey  look `@centaur-bot`');
    assert.equal(visible('a <!-- b --> c `<!-- d -->` <!-- e'), 'a  c `<!-- d -->` ');
  });

  it('of others are known', () => {
    assert.equal(mentionsOthers('@ada look', 'centaur-bot'), true);
    assert.equal(mentionsOthers('@acme/team look', 'centaur-bot'), true);
    assert.equal(mentionsOthers('@centaur-bot look at a@b.example', 'centaur-bot'), false);
  });
});
