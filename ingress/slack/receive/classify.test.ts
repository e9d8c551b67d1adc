import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Self } from '../context.ts';
import type { Raw } from '../heard.ts';
import { SLACK_RULES } from '../settings.ts';
import { classify, type Told } from './classify.ts';

const SELF: Self = { teamId: 'T1', userId: 'UBOT', botId: 'BBOT', appId: 'ABOT', name: 'centaur' };
const TS = '1700000000.000100';
const LATER = '1700000001.000200';

function hear(told: Told, rules: object = {}) {
  return classify(told, { self: SELF, rules: SLACK_RULES.parse(rules), nowMs: 1 });
}

function envelope(event: Raw, more: Raw = {}): Told {
  const body = { type: 'event_callback', team_id: 'T1', event_id: 'Ev1', authorizations: [{ team_id: 'T1' }], event, ...more };
  return { kind: 'event', body, signed: undefined };
}

const message = (more: Raw): Raw => ({ type: 'message', channel: 'C1', channel_type: 'channel', user: 'U1', text: 'hi', ts: TS, ...more });
const changed = (more: Raw, before: Raw = {}): Raw => ({
  type: 'message',
  subtype: 'message_changed',
  channel: 'C1',
  ts: LATER,
  message: message(more),
  previous_message: message(before),
});
const MENTION = '<@UBOT> hi';
const THREAD = `slack:C1:${TS}`;
const FILE = [{ id: 'F1' }];

/** Kept, in which conversation; or why it is forgotten. */
const EVENTS: readonly (readonly [what: string, event: Raw, told: string, rules?: object, more?: Raw])[] = [
  ['a mention', { ...message({ text: MENTION }), type: 'app_mention' }, THREAD],
  ['a message that mentions us', message({ text: MENTION }), THREAD],
  ['a message that mentions us by name', message({ text: '<@UBOT|centaur> hi' }), THREAD],
  [
    'a mention in blocks alone',
    message({ text: '', blocks: [{ type: 'rich_text', elements: [{ type: 'user', user_id: 'UBOT' }] }] }),
    THREAD,
  ],
  ['a mention in attachments alone', message({ text: '', attachments: [{ text: MENTION }] }), THREAD],
  ['a message of the channel', message({}), 'said to others'],
  ['a message that mentions somebody else', message({ text: '<@U2> hi' }), 'said to others'],
  ['a reply in a thread', message({ ts: LATER, thread_ts: TS }), THREAD],
  ['a reply that is shown in the channel', message({ ts: LATER, thread_ts: TS, subtype: 'thread_broadcast' }), THREAD],
  ['a file in a thread', message({ ts: LATER, thread_ts: TS, subtype: 'file_share', files: FILE }), THREAD],
  ['a direct message', message({ channel: 'D1', channel_type: 'im' }), `slack:D1:${TS}`],
  ['a file in direct messages', message({ channel: 'D1', subtype: 'file_share', files: FILE, text: '' }), `slack:D1:${TS}`],
  ['a direct message where they are off', message({ channel: 'D1' }), 'outside the rules', { direct_messages: false }],
  ['somebody joins', message({ subtype: 'channel_join', thread_ts: TS }), 'nobody acts on it'],
  ['a topic with our name', message({ subtype: 'channel_topic', text: MENTION }), 'nobody acts on it'],

  ['our own message', message({ user: 'UBOT', bot_id: 'BBOT', thread_ts: TS }), 'our own'],
  ['our own, told by the bot alone', message({ user: undefined, subtype: 'bot_message', bot_id: 'BBOT', thread_ts: TS }), 'our own'],
  ['our own, told by the app alone', message({ user: 'U9', bot_id: 'B9', app_id: 'ABOT', thread_ts: TS }), 'our own'],
  ['our own, told by the profile alone', message({ bot_id: 'B9', bot_profile: { app_id: 'ABOT' }, thread_ts: TS }), 'our own'],
  ['another bot mentions us', message({ user: 'U7', bot_id: 'B7', text: MENTION }), 'another bot'],
  [
    'another bot mentions us, as app_mention',
    { ...message({ user: 'U7', bot_id: 'B7', text: MENTION }), type: 'app_mention' },
    'another bot',
  ],
  ['an old integration mentions us', message({ user: undefined, subtype: 'bot_message', username: 'x', text: MENTION }), 'another bot'],
  ['we ourselves on the list', message({ user: 'UBOT', bot_id: 'BBOT', text: MENTION }), 'our own', { bots: ['BBOT', 'UBOT'] }],

  ['an edit of a mention', changed({ text: `${MENTION}!` }, { text: MENTION }), THREAD],
  ['a mention edited in', changed({ text: MENTION }), THREAD],
  ['a mention edited out', changed({}, { text: MENTION }), THREAD],
  ['an edit of what others said', changed({ text: 'ho' }), 'said to others'],
  ['an edit of a reply', changed({ ts: LATER, thread_ts: TS, text: 'ho' }, { ts: LATER, thread_ts: TS }), THREAD],
  [
    'an edit of what we said',
    changed({ user: 'UBOT', bot_id: 'BBOT', thread_ts: TS }, { user: 'UBOT', bot_id: 'BBOT', thread_ts: TS }),
    'our own',
  ],
  ['an edit by another bot', changed({ user: 'U7', bot_id: 'B7', thread_ts: TS }), 'another bot'],
  ['an edit without a message', { type: 'message', subtype: 'message_changed', channel: 'C1', ts: LATER }, 'no place'],
  [
    'a mention is deleted',
    { type: 'message', subtype: 'message_deleted', channel: 'C1', ts: LATER, deleted_ts: TS, previous_message: message({ text: MENTION }) },
    THREAD,
  ],
  [
    'what we said is deleted',
    {
      type: 'message',
      subtype: 'message_deleted',
      channel: 'C1',
      ts: LATER,
      deleted_ts: TS,
      previous_message: message({ user: 'UBOT', thread_ts: TS }),
    },
    'our own',
  ],

  ['a reaction', { type: 'reaction_added', user: 'U1', reaction: 'eyes', item: { type: 'message', channel: 'C1', ts: TS } }, THREAD],
  [
    'a reaction is taken back',
    { type: 'reaction_removed', user: 'U1', reaction: 'eyes', item: { type: 'message', channel: 'C1', ts: TS } },
    THREAD,
  ],
  [
    'our own reaction',
    { type: 'reaction_added', user: 'UBOT', reaction: 'eyes', item: { type: 'message', channel: 'C1', ts: TS } },
    'our own',
  ],
  ['a reaction to a file', { type: 'reaction_added', user: 'U1', reaction: 'eyes', item: { type: 'file', file: 'F1' } }, 'no place'],
  [
    'the assistant is opened',
    { type: 'assistant_thread_started', assistant_thread: { user_id: 'U1', channel_id: 'D1', thread_ts: TS } },
    `slack:D1:${TS}`,
  ],
  [
    'the assistant looks elsewhere',
    { type: 'assistant_thread_context_changed', assistant_thread: { channel_id: 'D1', thread_ts: TS } },
    `slack:D1:${TS}`,
  ],
  ['a channel is made', { type: 'channel_created', channel: { id: 'C9' } }, 'nobody acts on it'],
  ['the home is opened', { type: 'app_home_opened', user: 'U1', channel: 'D1' }, 'nobody acts on it'],

  ['a channel outside of the list', message({ channel: 'C012', text: MENTION }), 'outside the rules', { channels: { C999: null } }],
  ['a channel on the list', message({ channel: 'C999', text: MENTION }), `slack:C999:${TS}`, { channels: { C999: null } }],
  [
    'a reaction outside of the list',
    { type: 'reaction_added', user: 'U1', item: { type: 'message', channel: 'C012', ts: TS } },
    'outside the rules',
    { channels: { C999: null } },
  ],
  ['another workspace', message({ text: MENTION }), 'another workspace', {}, { team_id: 'T9', authorizations: [{ team_id: 'T9' }] }],
  ['another workspace, of nobody', message({ text: MENTION }), 'another workspace', {}, { team_id: 'T9', authorizations: undefined }],
  ['an organisation of the list', message({ text: MENTION }), THREAD, { organisations: ['T999'] }, { team_id: 'T999', authorizations: [] }],
  ['of a shared channel, sent for us', message({ text: MENTION }), THREAD, {}, { team_id: 'T9' }],

  ['an id that is none', message({ text: MENTION }), 'no id', {}, { event_id: 'a b' }],
  ['no id', message({ text: MENTION }), 'no event', {}, { event_id: undefined }],
  ['no event', 'x' as unknown as Raw, 'no event'],
  ['a channel that is none', message({ channel: 'c:1', text: MENTION }), 'no place'],
  ['a time that is none', message({ ts: '1;drop', text: MENTION }), 'no place'],
  ['something else of the app', message({ text: MENTION }), 'no event', {}, { type: 'app_rate_limited' }],
];

for (const [what, event, told, rules = {}, more = {}] of EVENTS)
  test(`an event: ${what}: ${told}`, () => {
    const found = hear(envelope(event, more), rules);
    assert.equal(found.what === 'keep' ? found.conversation : found.why, told);
    if (found.what === 'keep')
      assert.deepEqual(found.heard, { kind: 'event', eventId: 'Ev1', teamId: 'T1', at: 1, event: JSON.parse(JSON.stringify(event)) });
  });

test('a bot of the list is heard, by its bot id or its user id', () => {
  const from = (by: Raw) => envelope(message({ text: MENTION, ...by }));
  assert.equal(hear(from({ user: 'U777', bot_id: 'B777' }), { bots: ['B777'] }).what, 'keep');
  assert.equal(hear(from({ user: 'U777', bot_id: 'B777' }), { bots: ['U777'] }).what, 'keep');
  assert.equal(hear(from({ user: 'U777', bot_id: 'B777' }), { bots: ['B778'] }).what, 'forget');
});

const CLICK = { type: 'block_actions', team: { id: 'T1' }, user: { id: 'U1' }, actions: [{ action_id: 'x' }] };
const click = (more: Raw = {}, body = 'payload=1'): Told => ({
  kind: 'interaction',
  body: { ...CLICK, ...more },
  signed: { body, signature: 'v0=', timestamp: '1' },
});

test('an interaction is kept with what Slack signed, once, among those of its person', () => {
  const first = hear(click());
  assert.ok(first.what === 'keep');
  assert.equal(first.conversation, 'slack:interactions:U1');
  assert.ok(first.heard.kind === 'interaction');
  assert.equal(first.heard.signed?.body, 'payload=1');
  const again = hear(click());
  const other = hear(click({}, 'payload=2'));
  assert.equal(again.what === 'keep' && again.eventId, first.eventId);
  assert.notEqual(other.what === 'keep' && other.eventId, first.eventId);
  assert.match(first.eventId, /^[\x21-\x7e]{1,256}$/);
});

const INTERACTIONS: readonly (readonly [what: string, more: Raw, told: string, rules?: object])[] = [
  ['a modal is sent', { type: 'view_submission' }, 'keep'],
  ['a modal is closed', { type: 'view_closed' }, 'keep'],
  ['a shortcut', { type: 'shortcut' }, 'nobody acts on it'],
  ['of another workspace', { team: { id: 'T9' } }, 'another workspace'],
  ['of an organisation of the list', { team: { id: 'T999' } }, 'keep', { organisations: ['T999'] }],
  ['of nobody', { user: {} }, 'no person'],
  ['of a name that is none', { user: { id: 'U1:x' } }, 'no person'],
];
for (const [what, more, told, rules] of INTERACTIONS)
  test(`an interaction: ${what}: ${told}`, () => {
    const found = hear(click(more), rules);
    assert.equal(found.what === 'keep' ? 'keep' : found.why, told);
  });

test('a command is kept under its trigger, beside what its person clicks', () => {
  const of = (more: Raw = {}): Told => ({
    kind: 'command',
    body: { command: '/centaur', team_id: 'T1', user_id: 'U1', trigger_id: '1.2.abc', ...more },
    signed: undefined,
  });
  const found = hear(of());
  assert.ok(found.what === 'keep');
  assert.equal(found.eventId, 'command-1.2.abc');
  assert.equal(found.conversation, 'slack:commands:U1');
  assert.equal(hear(of({ team_id: 'T9' })).what, 'forget');
  assert.equal(hear(of({ trigger_id: 'a b' })).what, 'forget');
  assert.equal(hear(of({ user_id: undefined })).what, 'forget');
});
