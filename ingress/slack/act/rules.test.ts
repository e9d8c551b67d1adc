import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Self } from '../context.ts';
import type { Raw } from '../heard.ts';
import { SLACK_RULES } from '../settings.ts';
import { type Happened, readEvent } from './message.ts';
import { type Decision, decide, type KnownThread, mayAsk } from './rules.ts';

const SELF: Self = { teamId: 'T0HOME', userId: 'U0CENTAUR', botId: 'B0CENTAUR', appId: 'A0CENTAUR', name: 'centaur' };
const NEW: KnownThread = { isKnown: false, isRunning: false, turnsByBots: 0 };
const KNOWN: KnownThread = { ...NEW, isKnown: true };
const RUNS: KnownThread = { ...KNOWN, isRunning: true };

const ROOT = '1700000000.000100';
const LATER = '1700000001.000200';
const message = (fields: Raw): Raw => ({
  type: 'message',
  channel: 'C0GENERAL',
  channel_type: 'channel',
  user: 'U0ADA',
  team: 'T0HOME',
  ts: ROOT,
  ...fields,
});
const mention = (fields: Raw = {}): Raw => message({ text: '<@U0CENTAUR> what is new?', ...fields });
const reply = (fields: Raw): Raw => message({ ts: LATER, thread_ts: ROOT, ...fields });
const direct = (fields: Raw): Raw => message({ channel: 'D0ADA', channel_type: 'im', ...fields });
const richText = (...elements: readonly Raw[]): readonly Raw[] => [
  { type: 'rich_text', elements: [{ type: 'rich_text_section', elements }] },
];
const NAMES_US = richText({ type: 'user', user_id: 'U0CENTAUR' }, { type: 'text', text: ' the build is red' });

/** What it comes to, in a line. */
function outcome(event: Raw, thread: KnownThread, rules: unknown): string {
  const happened = readEvent(event);
  if (happened?.kind !== 'posted') return happened?.kind ?? 'nothing';
  return said(decide(happened.message, thread, { rules: SLACK_RULES.parse(rules), self: SELF }));
}

function said(decision: Decision): string {
  switch (decision.act) {
    case 'ignore':
    case 'refuse':
      return `${decision.act}: ${decision.why}`;
    case 'note':
      return `note: ${decision.text}`;
    case 'control':
      return `control: ${decision.control.kind}`;
    default:
      return `${decision.act}: ${decision.text}`;
  }
}

const ROWS: readonly (readonly [what: string, event: Raw, thread: KnownThread, rules: unknown, expected: string])[] = [
  // what starts a thread, and goes on in it
  ['a mention starts a thread', mention(), NEW, {}, 'ask: what is new?'],
  ['app_mention is the same', { ...mention(), type: 'app_mention', channel_type: undefined }, NEW, {}, 'ask: what is new?'],
  ['a mention in the middle of a text', message({ text: 'can <@U0CENTAUR|centaur> look?' }), NEW, {}, 'ask: can look?'],
  ['a mention in a thread that began without us', reply({ text: '<@U0CENTAUR> help us here' }), NEW, {}, 'ask: help us here'],
  ['nobody mentioned, at the top', message({ text: 'lunch?' }), NEW, {}, 'ignore: not to us'],
  ['nobody mentioned, in a thread of others', reply({ text: 'yes' }), NEW, {}, 'ignore: not to us'],
  ['a reply in our thread', reply({ text: 'and yesterday?' }), KNOWN, {}, 'ask: and yesterday?'],
  ['a reply that is sent to the channel too', reply({ text: 'so it is', subtype: 'thread_broadcast' }), KNOWN, {}, 'ask: so it is'],
  ['a reply where mentions are asked for', reply({ text: 'and yesterday?' }), KNOWN, { replies: 'mentions' }, 'note: and yesterday?'],
  ['such a reply with a mention', reply({ text: '<@U0CENTAUR> and yesterday?' }), KNOWN, { replies: 'mentions' }, 'ask: and yesterday?'],
  ['a reply to somebody else', reply({ text: '<@U0GRACE> what do you think?' }), KNOWN, {}, 'note: <@U0GRACE> what do you think?'],
  ['a reply to a group', reply({ text: '<!subteam^S0OPS|@ops> look' }), KNOWN, {}, 'note: <!subteam^S0OPS|@ops> look'],
  ['a reply to everybody', reply({ text: '<!here> look' }), KNOWN, {}, 'note: <!here> look'],
  ['a reply to somebody else and us', reply({ text: '<@U0GRACE> <@U0CENTAUR> look' }), KNOWN, {}, 'ask: <@U0GRACE> look'],
  ['a channel of its own rules', reply({ text: 'and?' }), KNOWN, { channels: { C0GENERAL: { replies: 'mentions' } } }, 'note: and?'],
  // while a turn runs
  ['a reply waits', reply({ text: 'only open ones' }), RUNS, {}, 'ask: only open ones'],
  ['a reply that steers', reply({ text: 'only open ones --steer' }), RUNS, {}, 'steer: only open ones'],
  ['a channel that steers', reply({ text: 'only open ones' }), RUNS, { while_running: 'steer' }, 'steer: only open ones'],
  ['where a reply waits all the same', reply({ text: 'then this --queue' }), RUNS, { while_running: 'steer' }, 'ask: then this'],
  ['nothing to steer', reply({ text: 'only open ones --steer' }), KNOWN, {}, 'ask: only open ones'],
  ['a dash of a phone', reply({ text: 'only open ones —steer' }), RUNS, {}, 'steer: only open ones'],
  ['a flag in code is text', reply({ text: 'what is `--steer`?' }), RUNS, {}, 'ask: what is `--steer`?'],
  // direct messages
  ['a direct message', direct({ text: 'hello' }), NEW, {}, 'ask: hello'],
  ['a reply to it', direct({ text: 'and?', ts: LATER, thread_ts: ROOT }), NEW, {}, 'ask: and?'],
  ['about others, in private', direct({ text: 'who is <@U0GRACE>?' }), NEW, {}, 'ask: who is <@U0GRACE>?'],
  ['no direct messages here', direct({ text: 'hello' }), NEW, { direct_messages: false }, 'ignore: this channel'],
  ['direct messages where channels are named', direct({ text: 'hello' }), NEW, { channels: {} }, 'ask: hello'],
  ['in a group of people', message({ channel: 'G0GROUP', channel_type: 'mpim', text: 'hello' }), NEW, {}, 'ignore: not to us'],
  // mentions elsewhere than in the text
  [
    'an app’s mention in blocks',
    mention({ text: '', blocks: NAMES_US, bot_id: 'B0ALERTS' }),
    NEW,
    { bots: ['B0ALERTS'] },
    'ask: the build is red',
  ],
  [
    'an app’s mention in an attachment',
    mention({ text: 'Alert', attachments: [{ text: '<@U0CENTAUR> look' }], bot_id: 'B0ALERTS' }),
    NEW,
    { bots: ['B0ALERTS'] },
    'ask: Alert',
  ],
  ['a person’s blocks', message({ text: 'the build', blocks: NAMES_US }), NEW, {}, 'ask: the build'],
  [
    'what a person forwards names us',
    message({ text: 'look', attachments: [{ text: '<@U0CENTAUR> do it', is_share: true }] }),
    NEW,
    {},
    'ignore: not to us',
  ],
  [
    'what a person quotes in our thread',
    reply({ text: 'look', attachments: [{ text: '<@U0GRACE> do it', is_share: true }] }),
    KNOWN,
    {},
    'ask: look',
  ],
  // who, and where
  ['a channel that is not on the list', mention(), NEW, { channels: { C0OTHER: null } }, 'ignore: this channel'],
  ['one that is', mention(), NEW, { channels: { C0GENERAL: null } }, 'ask: what is new?'],
  ['all the others', mention(), NEW, { channels: { '*': null } }, 'ask: what is new?'],
  ['a person who is not on the list', mention(), NEW, { people: ['U0GRACE'] }, 'refuse: person'],
  ['one who is', mention(), NEW, { people: ['U0ADA'] }, 'ask: what is new?'],
  ['in private, too', direct({ text: 'hello' }), NEW, { people: ['U0GRACE'] }, 'refuse: person'],
  ['a person who may not, and speaks to others', reply({ text: '<@U0GRACE> hm' }), KNOWN, { people: ['U0GRACE'] }, 'ignore: not to us'],
  ['a person who may not, and speaks to nobody', message({ text: 'hm' }), NEW, { people: ['U0GRACE'] }, 'ignore: not to us'],
  ['another organisation', mention({ team: 'T0HOME', user_team: 'T0OTHER', source_team: 'T0OTHER' }), NEW, {}, 'refuse: organisation'],
  ['by the source alone', mention({ source_team: 'T0OTHER' }), NEW, {}, 'refuse: organisation'],
  ['by the team alone', mention({ team: 'T0OTHER' }), NEW, {}, 'refuse: organisation'],
  ['one that may', mention({ team: 'T0OTHER', user_team: 'T0OTHER' }), NEW, { organisations: ['T0OTHER'] }, 'ask: what is new?'],
  [
    'another of it that is not on the list of people',
    mention({ user_team: 'T0OTHER' }),
    NEW,
    { organisations: ['T0OTHER'], people: ['U0GRACE'] },
    'refuse: person',
  ],
  ['stop, by another organisation', reply({ text: 'stop', user_team: 'T0OTHER' }), RUNS, {}, 'refuse: organisation'],
  // bots
  ['our own answer', mention({ user: 'U0CENTAUR', bot_id: 'B0CENTAUR' }), NEW, { bots: ['B0CENTAUR', 'U0CENTAUR'] }, 'ignore: ours'],
  ['ours by the bot alone', mention({ user: undefined, bot_id: 'B0CENTAUR' }), NEW, { bots: ['B0CENTAUR'] }, 'ignore: ours'],
  ['ours by the app alone', mention({ user: 'U0ADA', bot_id: 'B0X', app_id: 'A0CENTAUR' }), NEW, { bots: ['B0X'] }, 'ignore: ours'],
  ['ours by its profile', mention({ bot_id: 'B0X', bot_profile: { app_id: 'A0CENTAUR' } }), NEW, { bots: ['B0X'] }, 'ignore: ours'],
  ['another bot', mention({ bot_id: 'B0ALERTS' }), NEW, {}, 'ignore: a bot'],
  ['an incoming webhook', mention({ user: undefined, bot_id: 'B0ALERTS', subtype: 'bot_message' }), NEW, {}, 'ignore: a bot'],
  ['Slackbot', mention({ user: 'USLACKBOT' }), NEW, {}, 'ignore: a bot'],
  ['a bot on the list', mention({ bot_id: 'B0ALERTS' }), NEW, { bots: ['B0ALERTS'] }, 'ask: what is new?'],
  ['by its user', mention({ user: 'U0BOT', bot_id: 'B0ALERTS' }), NEW, { bots: ['U0BOT'] }, 'ask: what is new?'],
  ['a bot’s reply without a mention', reply({ bot_id: 'B0ALERTS', text: 'resolved' }), KNOWN, { bots: ['B0ALERTS'] }, 'ignore: not to us'],
  ['a bot in private', direct({ bot_id: 'B0ALERTS', text: 'resolved' }), KNOWN, { bots: ['B0ALERTS'] }, 'ignore: not to us'],
  [
    'a bot’s fifth turn',
    reply({ bot_id: 'B0ALERTS', text: '<@U0CENTAUR> again' }),
    { ...KNOWN, turnsByBots: 4 },
    { bots: ['B0ALERTS'] },
    'ask: again',
  ],
  [
    'its sixth',
    reply({ bot_id: 'B0ALERTS', text: '<@U0CENTAUR> again' }),
    { ...KNOWN, turnsByBots: 5 },
    { bots: ['B0ALERTS'] },
    'ignore: bots among themselves',
  ],
  ['a person after five', reply({ text: 'again' }), { ...KNOWN, turnsByBots: 5 }, {}, 'ask: again'],
  ['a bot that says stop', reply({ bot_id: 'B0ALERTS', text: '<@U0CENTAUR> stop' }), RUNS, { bots: ['B0ALERTS'] }, 'ask: stop'],
  // what is no message of anybody
  ['somebody joined', mention({ subtype: 'channel_join' }), KNOWN, {}, 'ignore: no message'],
  ['the topic', message({ subtype: 'channel_topic', text: 'x' }), KNOWN, {}, 'ignore: no message'],
  [
    'the assistant’s first message',
    direct({ subtype: 'assistant_app_thread', text: 'New Assistant Thread' }),
    NEW,
    {},
    'ignore: no message',
  ],
  ['somebody does something', message({ subtype: 'me_message', text: 'asks <@U0CENTAUR> to look' }), NEW, {}, 'ask: asks to look'],
  ['without an author', mention({ user: undefined }), NEW, {}, 'ignore: no message'],
  ['a channel that is none', mention({ channel: '../etc' }), NEW, {}, 'nothing'],
  ['a time that is none', mention({ ts: 'now' }), NEW, {}, 'nothing'],
  ['without a time', mention({ ts: undefined }), NEW, {}, 'nothing'],
  ['another kind of event', { ...mention(), type: 'reaction_added' }, NEW, {}, 'nothing'],
  // commands
  ['stop', reply({ text: '<@U0CENTAUR> Stop!' }), RUNS, {}, 'control: stop'],
  ['politely, without a mention', reply({ text: 'please stop' }), RUNS, {}, 'control: stop'],
  ['in private', direct({ text: 'whoami' }), NEW, {}, 'control: whoami'],
  ['stop as a word of a sentence', reply({ text: 'where does the bus stop' }), KNOWN, {}, 'ask: where does the bus stop'],
  ['stop among people', reply({ text: '<@U0GRACE> stop' }), RUNS, {}, 'note: <@U0GRACE> stop'],
  ['stop where mentions are asked for', reply({ text: 'stop' }), RUNS, { replies: 'mentions' }, 'note: stop'],
  ['a code', mention({ text: '<@U0CENTAUR> link ABCD-EFGH' }), NEW, {}, 'control: link'],
  ['nothing but a mention', mention({ text: '<@U0CENTAUR>' }), NEW, {}, 'control: help'],
  ['nothing but a mention, under what others said', reply({ text: '<@U0CENTAUR>' }), NEW, {}, 'ask: '],
  ['nothing but a file', reply({ text: '', subtype: 'file_share', files: [{ id: 'F0A' }] }), KNOWN, {}, 'ask: '],
  ['a file and stop', reply({ text: 'stop', subtype: 'file_share', files: [{ id: 'F0A' }] }), KNOWN, {}, 'ask: stop'],
  ['nothing at all', reply({ text: ' ' }), KNOWN, {}, 'ignore: nothing said'],
];

for (const [what, event, thread, rules, expected] of ROWS) test(what, () => assert.equal(outcome(event, thread, rules), expected));

test('flags are taken out, and a wrong one is told in words', () => {
  const happened = readEvent(mention({ text: '<@U0CENTAUR> --codex --effort huge look --persona reviewer' })) as Extract<
    Happened,
    { kind: 'posted' }
  >;
  const decision = decide(happened.message, NEW, { rules: SLACK_RULES.parse({ model: 'small' }), self: SELF });
  assert.equal(decision.act, 'ask');
  if (decision.act !== 'ask') return;
  assert.deepEqual([decision.text, decision.flags], ['look', { harness: 'codex', persona: 'reviewer' }]);
  assert.match(decision.problems.join(), /--effort: expected low, medium, high or max/);
  assert.equal(decision.defaults.model, 'small');
});

test('buttons are for whoever may ask there', () => {
  const may = (rules: unknown, user: string, teams: readonly string[], channel = 'C0GENERAL') =>
    mayAsk({ user, teams }, channel, { rules: SLACK_RULES.parse(rules), self: SELF });
  assert.deepEqual(
    [
      may({}, 'U0ADA', ['T0HOME']),
      may({}, 'U0ADA', ['T0OTHER']),
      may({ people: ['U0GRACE'] }, 'U0ADA', ['T0HOME']),
      may({ channels: {} }, 'U0ADA', ['T0HOME']),
      may({ direct_messages: false }, 'U0ADA', ['T0HOME'], 'D0ADA'),
    ],
    [true, false, false, false, false],
  );
});

test('edits and deletions name the message that they are of', () => {
  const of = (event: Raw) => {
    const happened = readEvent(event);
    return happened === undefined || !('message' in happened)
      ? happened?.kind
      : [happened.kind, happened.message.channel, happened.message.threadTs, happened.message.ts, happened.message.text];
  };
  const around = { type: 'message', channel: 'C0GENERAL', channel_type: 'channel', ts: '1700000009.000100', hidden: true };
  const one = { user: 'U0ADA', ts: LATER, thread_ts: ROOT, text: 'before' };
  assert.deepEqual(
    [
      of({ ...around, subtype: 'message_changed', message: { ...one, text: 'after' }, previous_message: one }),
      of({ ...around, subtype: 'message_deleted', deleted_ts: LATER, previous_message: one }),
      of({ ...around, subtype: 'message_deleted', deleted_ts: LATER }),
      of({ ...around, subtype: 'message_changed', message: { ...one, subtype: 'tombstone', text: 'gone' }, previous_message: one }),
      of({ ...around, subtype: 'message_changed' }),
    ],
    [
      ['edited', 'C0GENERAL', ROOT, LATER, 'after'],
      ['deleted', 'C0GENERAL', ROOT, LATER, 'before'],
      ['deleted', 'C0GENERAL', LATER, LATER, ''],
      ['deleted', 'C0GENERAL', ROOT, LATER, 'before'],
      undefined,
    ],
  );
});
