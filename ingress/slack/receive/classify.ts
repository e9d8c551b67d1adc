/**
 * What is kept of what Slack sends: that on which somebody acts. The rest is acknowledged and forgotten, so that a busy workspace
 * fills no inbox, and what the bot itself says comes back to nobody.
 */
import { createHash } from 'node:crypto';
import { type Self, threadKeyOf } from '../context.ts';
import type { Heard, Raw, Signed } from '../heard.ts';
import { isDirect, rulesOf, type SlackRules } from '../settings.ts';
import { objectOf } from '../shapes.ts';

export { objectOf };

export interface Told {
  readonly kind: 'event' | 'interaction' | 'command';
  /** Parsed, and nothing of it believed. */
  readonly body: Raw;
  /** Undefined: by Socket Mode. */
  readonly signed: Signed | undefined;
}

export type Classified =
  | { readonly what: 'keep'; readonly eventId: string; readonly conversation: string; readonly heard: Heard }
  /** `why` is for the log. */
  | { readonly what: 'forget'; readonly why: string };

export interface Place {
  readonly self: Self;
  readonly rules: SlackRules;
  readonly nowMs: number;
}

const forget = (why: string): Classified => ({ what: 'forget', why });

export function classify({ kind, body, signed }: Told, place: Place): Classified {
  if (kind === 'event') return classifyEvent(body, place);
  return kind === 'interaction' ? classifyInteraction(body, signed, place) : classifyCommand(body, place);
}

/** Of what people say and do; besides, of the assistant's container. */
const ACTED_ON = ['app_mention', 'message', 'assistant_thread_started', 'assistant_thread_context_changed'];
const REACTIONS = ['reaction_added', 'reaction_removed'];
/** The others tell of joins, topics, pins and the like. */
const SAID = [undefined, 'file_share', 'thread_broadcast', 'me_message', 'bot_message'];
const CHANGES = ['message_changed', 'message_deleted'];

function classifyEvent(body: Raw, { self, rules, nowMs }: Place): Classified {
  const event = objectOf(body['event']);
  const eventId = textOf(body['event_id']);
  if (body['type'] !== 'event_callback' || event === undefined || eventId === undefined) return forget('no event');
  if (!/^[A-Za-z0-9_-]{1,128}$/.test(eventId)) return forget('no id');
  if (!isForUs(body, self, rules)) return forget('another workspace');
  const type = textOf(event['type']) ?? '';
  const keep = (conversation: string | undefined): Classified =>
    conversation === undefined
      ? forget('no place')
      : { what: 'keep', eventId, conversation, heard: { kind: 'event', eventId, teamId: self.teamId, at: nowMs, event } };

  if (REACTIONS.includes(type)) {
    const item = objectOf(event['item']);
    const channel = channelOf(item?.['channel']);
    if (event['user'] === self.userId) return forget('our own');
    if (channel === undefined || item?.['type'] !== 'message') return forget('no place');
    return isInRules(rules, channel) ? keep(keyOf(channel, item['ts'])) : forget('outside the rules');
  }
  if (!ACTED_ON.includes(type)) return forget('nobody acts on it');
  if (type.startsWith('assistant_thread')) {
    const thread = objectOf(event['assistant_thread']);
    const channel = channelOf(thread?.['channel_id']);
    if (channel === undefined || !isInRules(rules, channel)) return forget('outside the rules');
    return keep(keyOf(channel, thread?.['thread_ts']));
  }

  const channel = channelOf(event['channel']);
  if (channel === undefined) return forget('no place');
  if (!isInRules(rules, channel)) return forget('outside the rules');
  const subtype = textOf(event['subtype']);
  if (CHANGES.includes(subtype ?? '')) {
    const before = objectOf(event['previous_message']);
    const after = objectOf(event['message']);
    const message = subtype === 'message_deleted' ? before : after;
    if (message === undefined) return forget('no place');
    if (isOurs(message, self) || (before !== undefined && isOurs(before, self))) return forget('our own');
    if (isBotNotListed(message, rules)) return forget('another bot');
    const isHeard = [before, after].some((each) => each !== undefined && concernsUs(each, channel, self));
    return isHeard ? keep(keyOf(channel, message['thread_ts'] ?? message['ts'])) : forget('said to others');
  }
  if (!SAID.includes(subtype)) return forget('nobody acts on it');
  if (isOurs(event, self)) return forget('our own');
  if (isBotNotListed(event, rules)) return forget('another bot');
  if (type === 'message' && !concernsUs(event, channel, self)) return forget('said to others');
  return keep(keyOf(channel, event['thread_ts'] ?? event['ts']));
}

function classifyInteraction(body: Raw, signed: Signed | undefined, { self, rules, nowMs }: Place): Classified {
  const type = textOf(body['type']) ?? '';
  if (!['block_actions', 'view_submission', 'view_closed'].includes(type)) return forget('nobody acts on it');
  const user = idOf(objectOf(body['user'])?.['id']);
  if (user === undefined) return forget('no person');
  if (!isTeam(objectOf(body['team'])?.['id'] ?? objectOf(body['user'])?.['team_id'], self, rules)) return forget('another workspace');
  // what was clicked is a new one each time: its trigger, and the time of the action, are in it
  const eventId = `interaction-${createHash('sha256')
    .update(signed?.body ?? JSON.stringify(body))
    .digest('hex')}`;
  const heard: Heard = { kind: 'interaction', payload: body, signed: signed ?? null, at: nowMs };
  return { what: 'keep', eventId, conversation: `slack:interactions:${user}`, heard };
}

function classifyCommand(body: Raw, { self, rules, nowMs }: Place): Classified {
  const user = idOf(body['user_id']);
  const trigger = textOf(body['trigger_id']);
  if (user === undefined || trigger === undefined || !/^[\x21-\x7e]{1,128}$/.test(trigger)) return forget('no person');
  if (!isTeam(body['team_id'], self, rules)) return forget('another workspace');
  const heard: Heard = { kind: 'command', command: body, at: nowMs };
  // beside what they click: a vote does not wait for a command that has to be tried again
  return { what: 'keep', eventId: `command-${trigger}`, conversation: `slack:commands:${user}`, heard };
}

/** Of a shared channel, the workspace of who acted is named first, and ours among those for whom it was sent. */
function isForUs(body: Raw, self: Self, rules: SlackRules): boolean {
  const sentFor = Array.isArray(body['authorizations']) ? body['authorizations'].map((each) => objectOf(each)?.['team_id']) : [];
  return sentFor.includes(self.teamId) || isTeam(body['team_id'], self, rules);
}

const isTeam = (team: unknown, self: Self, rules: SlackRules): boolean =>
  team === self.teamId || (typeof team === 'string' && rules.organisations.includes(team));

const isInRules = (rules: SlackRules, channel: string): boolean => rulesOf(rules, channel) !== undefined;

/** In a thread, directly, or with our name in it, wherever that is written. */
function concernsUs(message: Raw, channel: string, self: Self): boolean {
  if (isDirect(channel) || textOf(message['thread_ts']) !== undefined) return true;
  const { text, blocks, attachments } = message as { text?: unknown; blocks?: unknown; attachments?: unknown };
  if (typeof text === 'string' && text.includes(`<@${self.userId}`)) return true;
  // in the text it is as above; in blocks it is an element, and in those of older apps a text again
  return (blocks !== undefined || attachments !== undefined) && JSON.stringify([blocks, attachments]).includes(self.userId);
}

function isOurs(message: Raw, self: Self): boolean {
  const by = objectOf(message['bot_profile']);
  return (
    message['user'] === self.userId ||
    message['bot_id'] === self.botId ||
    (self.appId !== undefined && (message['app_id'] === self.appId || by?.['app_id'] === self.appId))
  );
}

function isBotNotListed(message: Raw, rules: SlackRules): boolean {
  const bot = textOf(message['bot_id']);
  if (bot === undefined && message['subtype'] !== 'bot_message') return false;
  const user = textOf(message['user']);
  return !(bot !== undefined && rules.bots.includes(bot)) && !(user !== undefined && rules.bots.includes(user));
}

const idOf = (value: unknown): string | undefined => (typeof value === 'string' && /^[A-Z0-9]{2,40}$/.test(value) ? value : undefined);
const channelOf = idOf;

function keyOf(channel: string, ts: unknown): string | undefined {
  return typeof ts === 'string' && /^\d{1,12}\.\d{1,9}$/.test(ts) ? threadKeyOf(channel, ts) : undefined;
}

export const textOf = (value: unknown): string | undefined => (typeof value === 'string' && value !== '' ? value : undefined);
