/**
 * What people click under an approval. Buttons that open a window open it at once; every vote is handed to the platform just as Slack signed it,
 * which alone decides whose vote it is and whether it counts.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  APPROVAL_ACTIONS,
  APPROVAL_CALLBACK,
  type ApprovalOutcome,
  CentaurApiError,
  readApprovalValue,
  type ShownApproval,
} from '@centaur/sdk';
import { Hopeless } from '../../chat/index.ts';
import { SlackRefused } from '../calls.ts';
import type { SlackContext } from '../context.ts';
import type { Heard, Raw } from '../heard.ts';
import { mrkdwnText } from '../render/mrkdwn.ts';
import { OPENERS } from './card.ts';
import { approveView, type CardPlace, denyView, editView, noticeView, placeOfView, submissionErrors, type View } from './modal.ts';

/** Slack waits for 3 s: a window needs its trigger before that. */
const READ_MS = 1_500;
const OPEN_MS = 2_500;
const NOTED_TRIES = 10;
const NOTED_PAUSE_MS = 300;

/**
 * What cannot wait: the window of a button, and what is wrong with a window that was submitted. Never rejects.
 *
 * @returns what Slack is answered
 */
export async function openAtOnce(context: SlackContext, payload: Raw): Promise<Raw | undefined> {
  const click = readClick(payload);
  if (click.kind === 'submitted') {
    const errors = submissionErrors(click.view);
    return errors === undefined ? undefined : { response_action: 'errors', errors };
  }
  if (click.kind !== 'open') return undefined;
  try {
    const view = await viewFor(context, click);
    const signal = AbortSignal.timeout(OPEN_MS);
    await context.slack.call('views.open', { trigger_id: click.triggerId, view }, { signal });
  } catch (error) {
    context.log({ level: 'warn', message: 'the window of an approval was not opened', error: (error as Error).message });
    await tell(context, click.who, 'The window could not be opened in time. Please click once more.').catch(() => {
      // whoever clicked sees that nothing has happened
    });
  }
  return undefined;
}

/** @throws what is to be tried again; Hopeless what is not */
export async function actOnInteraction(context: SlackContext, heard: Extract<Heard, { kind: 'interaction' }>): Promise<void> {
  const { api, log } = context;
  const { payload, signed } = heard;
  const click = readClick(payload);
  if (click.kind !== 'vote' && click.kind !== 'submitted') return;
  // Slack has shown what is wrong, and the window is still open
  if (click.kind === 'submitted' && submissionErrors(click.view) !== undefined) return;
  try {
    const outcome = await whenNoted(() => api.chats.slackInteraction(signed === null ? { payload, socket: true } : signed));
    if (outcome.outcome === 'refused') await tell(context, click.who, refusalText(outcome));
  } catch (error) {
    if (!(error instanceof CentaurApiError)) throw error;
    const words = FINAL[error.code];
    if (words === undefined) throw error;
    log({ level: 'error', message: 'a vote from Slack was not taken', code: error.code, error: error.message });
    await tell(context, click.who, words);
    throw new Hopeless(`${error.code}: ${error.message}`);
  }
}

/** Whoever is faster than the note of where the card is waits a moment for it; after that it is tried again as anything that has failed. */
async function whenNoted(vote: () => Promise<ApprovalOutcome>): Promise<ApprovalOutcome> {
  for (let left = NOTED_TRIES; ; left -= 1) {
    try {
      return await vote();
    } catch (error) {
      if (left === 0 || !(error instanceof CentaurApiError) || error.code !== 'CARD_NOT_NOTED') throw error;
      await sleep(NOTED_PAUSE_MS);
    }
  }
}

/** What no second try changes. */
const FINAL: Readonly<Record<string, string>> = {
  SIGNATURE_INVALID: 'This took too long to arrive, so it does not count. Please click once more.',
  SIGNATURE_REQUIRED:
    'Votes do not count here: this bot is connected by Socket Mode, which nobody signs. Decide with "centaur approvals", or ask an operator for events over HTTP.',
  CHAT_NOT_CONFIGURED: 'Votes from Slack are not set up: the server has no SLACK_SIGNING_SECRET. Decide with "centaur approvals".',
  NOT_AN_APPROVAL: 'This button is not known any more. Decide with "centaur approvals".',
  FORBIDDEN: 'The key of this bot may not hand votes over: its scope chats.use is missing. Decide with "centaur approvals".',
};

/** What happened, and what to do. */
export function refusalText({ code, message }: Extract<ApprovalOutcome, { outcome: 'refused' }>): string {
  const next = NEXT[code];
  const said =
    message === '' ? 'It was refused.' : `${message.charAt(0).toUpperCase()}${message.slice(1)}${/[.!?]$/.test(message) ? '' : '.'}`;
  return next === undefined || message.includes('users link') ? said : `${said} ${next}`;
}

const NEXT: Readonly<Record<string, string>> = {
  NOT_LINKED: 'Run "centaur users link slack", and send me the words that it prints.',
  STALE_DIGEST: 'The card shows what it is by now.',
  STALE_VERSION: 'The card shows how it stands by now.',
};

// ---- which click

interface Who {
  readonly user: string;
  readonly place: CardPlace | undefined;
}

type Click =
  | {
      readonly kind: 'open';
      readonly opens: keyof typeof OPENERS;
      readonly approvalId: string;
      readonly triggerId: string;
      readonly who: Who;
    }
  | { readonly kind: 'vote'; readonly who: Who }
  | { readonly kind: 'submitted'; readonly view: Raw; readonly who: Who }
  | { readonly kind: 'other' };

function readClick(payload: Raw): Click {
  const user = textAt(payload, 'user', 'id');
  if (user === undefined) return { kind: 'other' };
  if (payload['type'] === 'view_submission') {
    const view = objectAt(payload, 'view');
    if (view['callback_id'] !== APPROVAL_CALLBACK) return { kind: 'other' };
    return { kind: 'submitted', view, who: { user, place: placeOfView(view['private_metadata']) } };
  }
  const actions = payload['actions'];
  if (payload['type'] !== 'block_actions' || !Array.isArray(actions) || actions.length !== 1) return { kind: 'other' };
  const { action_id: action, value } = actions[0] as Raw;
  const who: Who = { user, place: placeOfMessage(payload) };
  if (Object.values<unknown>(APPROVAL_ACTIONS).includes(action)) return { kind: 'vote', who };
  const opens = (Object.keys(OPENERS) as (keyof typeof OPENERS)[]).find((name) => OPENERS[name] === action);
  const ref = typeof value === 'string' ? readApprovalValue(value) : undefined;
  const triggerId = textAt(payload, 'trigger_id');
  if (opens === undefined || ref === undefined || triggerId === undefined) return { kind: 'other' };
  return { kind: 'open', opens, approvalId: ref.approvalId, triggerId, who };
}

function placeOfMessage(payload: Raw): CardPlace | undefined {
  const channel = textAt(payload, 'channel', 'id') ?? textAt(payload, 'container', 'channel_id');
  const threadTs = textAt(payload, 'message', 'thread_ts') ?? textAt(payload, 'container', 'thread_ts');
  const ts = textAt(payload, 'container', 'message_ts') ?? textAt(payload, 'message', 'ts');
  if (channel === undefined || ts === undefined) return undefined;
  return { channel, ts, ...(threadTs === undefined ? {} : { threadTs }) };
}

function objectAt(value: Raw, name: string): Raw {
  const found = value[name];
  return typeof found === 'object' && found !== null ? (found as Raw) : {};
}

function textAt(value: Raw, ...names: readonly string[]): string | undefined {
  const last = names.at(-1) as string;
  const found = names.slice(0, -1).reduce(objectAt, value)[last];
  return typeof found === 'string' ? found : undefined;
}

// ---- windows and words

async function viewFor({ api }: SlackContext, { opens, approvalId, who }: Extract<Click, { kind: 'open' }>): Promise<View> {
  const approval = await api.chats.approval(approvalId, { signal: AbortSignal.timeout(READ_MS) });
  if (approval.state !== 'pending') return noticeView('Already decided', endOf(approval));
  // where no message was clicked there is no card, and no vote
  if (who.place === undefined) return noticeView('Not here', 'Use the card of the approval.');
  return { approve: approveView, edit: editView, deny: denyView }[opens](approval, who.place);
}

function endOf({ state, decided_by: by }: ShownApproval): string {
  if (state === 'cancelled') return 'Nobody waits for this any more.';
  if (by === null) return 'This is over: nobody has decided on it in time.';
  return `This was ${state === 'denied' ? 'denied' : 'approved'} by ${by.replace(/^user:/, '')}.`;
}

/** Only to them: below the card, or in direct messages where nothing can be there. */
async function tell(context: SlackContext, { user, place }: Who, words: string): Promise<void> {
  const { slack, log } = context;
  const text = mrkdwnText(words);
  try {
    if (place === undefined || place.channel === user) return void (await slack.call('chat.postMessage', { channel: user, text }));
    const { channel, threadTs } = place;
    await slack.call('chat.postEphemeral', { channel, user, text, ...(threadTs === undefined ? {} : { thread_ts: threadTs }) });
  } catch (error) {
    if (!(error instanceof SlackRefused))
      return log({ level: 'warn', message: 'nobody knows whether they were told', error: (error as Error).message });
    if (place === undefined || place.channel === user) return log({ level: 'warn', message: 'they cannot be told', code: error.code });
    await tell(context, { user, place: undefined }, words);
  }
}
