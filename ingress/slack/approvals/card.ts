/**
 * An approval as a message: what would be done, for whom, who has to agree by when, how it was decided; and the buttons. What others wrote is in
 * rich text, which is never read as markup, and in a frame of its own: nothing in it pings, links or passes for the card.
 */
import { APPROVAL_ACTIONS, approvalValue, type ShownApproval } from '@centaur/sdk';
import { clipLine } from '../../chat/index.ts';
import { clip, safeEnd } from '../../chat/text.ts';
import { type Block, type Inline, inlineText, type RichText, type RichTextElement, sizeOfInlines } from '../render/blocks.ts';
import { mrkdwnText } from '../render/mrkdwn.ts';
import { changesOf, visible, visibleJson, visibleLine } from './plain.ts';
import { type Subject, subjectOf } from './subject.ts';

/** Buttons that open a window, and do nothing else. */
export const OPENERS = {
  approve: 'centaur_approval:open_approve',
  edit: 'centaur_approval:open_edit',
  deny: 'centaur_approval:open_deny',
} as const;

export interface Button {
  readonly type: 'button';
  readonly action_id: string;
  readonly value: string;
  readonly text: PlainText;
  readonly style?: 'primary' | 'danger';
  readonly confirm?: {
    readonly title: PlainText;
    readonly text: PlainText;
    readonly confirm: PlainText;
    readonly deny: PlainText;
  };
}

export interface PlainText {
  readonly type: 'plain_text';
  readonly text: string;
  readonly emoji: false;
}

export type CardBlock = Block | { readonly type: 'actions'; readonly block_id: string; readonly elements: readonly Button[] };

export interface Card {
  readonly blocks: readonly CardBlock[];
  /** For notifications: no words of others but names. */
  readonly text: string;
}

/** What the approval itself does not say. */
export interface CardFacts {
  /** Who asked for the turn, by the name they have in Slack. */
  readonly asker?: string;
}

/** Of what is decided on, in the message; the window shows more. */
const BODY = 2_400;
const BODY_LINES = 40;
const QUESTION = 1_000;
const CHANGES = 1_200;
const VOTES = 1_800;
/** What a window shows. */
const WHOLE_MOST = 100_000;
/** The inbox takes 512 KiB: the rest is for what is typed. */
const SENT_MOST = 250_000;
/** These are approved with a reason. */
const REASONED: readonly (string | null)[] = ['financial', 'destructive'];

export const plain = (text: string): PlainText => ({ type: 'plain_text', text, emoji: false });
export const needsReason = ({ risk }: ShownApproval): boolean => REASONED.includes(risk);

export function drawCard(approval: ShownApproval, facts: CardFacts = {}): Card {
  const subject = subjectOf(approval);
  const body = beginning(subject.body, BODY, BODY_LINES);
  const isCut = body.isCut || (subject.question?.length ?? 0) > QUESTION;
  const isPending = approval.state === 'pending';
  const title = clipLine(subject.title, 300);
  const what = rich([
    section([...inlineText(title, { bold: true }), ...inlineText(approval.risk === null ? '' : ` · ${name(approval.risk, 40)}`)]),
    ...(subject.question === undefined ? [] : [quote(clip(subject.question, QUESTION))]),
    section(inlineText(whoAsks(approval, facts))),
  ]);
  return {
    blocks: [
      { type: 'header', text: plain(headline(approval)) },
      what,
      ...(subject.body === '' ? [] : [rich([section(inlineText(subject.bodyName, { bold: true })), preformatted(body.text)])]),
      ...(isCut ? [rich([section(inlineText(cutText(approval, subject, body.text), { italic: true }))])] : []),
      ...changes(approval),
      ...votes(approval),
      ...(isPending ? [] : [rich([section(inlineText(endText(approval)))])]),
      context([
        isPending ? gateText(approval) : mrkdwnText(`gate ${name(approval.gate)}, rule ${name(approval.rule)}`),
        timeText(approval),
      ]),
      ...(isPending
        ? [{ type: 'actions' as const, block_id: 'centaur_approval', elements: buttons(approval, subject, isCut ? 'cut' : 'whole') }]
        : []),
    ],
    text: `${headline(approval)}: ${mrkdwnText(clipLine(title, 200))}`,
  };
}

/** One line beside the card, where people look who have not asked: that a gate was passed by. */
export function drawOverride(approval: ShownApproval): Card {
  const { title } = subjectOf(approval);
  const by = name(nameOf(approval.decided_by));
  const words = [`⚠ ${by} has approved ${clipLine(title, 300)} past its gate ${name(approval.gate)}`];
  const reason = approval.reason === null ? [] : [quote(clip(visible(approval.reason), QUESTION))];
  return {
    blocks: [
      rich([section(inlineText(words.join(''), { bold: true })), ...reason]),
      context([`approval ${mrkdwnText(approval.approval_id)}`, ...(approval.decided_at === null ? [] : [date(approval.decided_at)])]),
    ],
    text: mrkdwnText(clipLine(words.join(''), 300)),
  };
}

// ---- what is said

function headline({ state, overridden, decided_at: decided }: ShownApproval): string {
  if (state === 'pending') return 'Approval needed';
  if (state === 'denied') return 'Denied';
  if (state === 'cancelled') return 'No longer asked for';
  // what was approved and not used in time is over, too
  if (state === 'expired') return decided === null ? 'Expired, nobody decided' : 'Approved, and not used in time';
  return overridden ? 'Approved past its gate' : 'Approved';
}

function whoAsks({ principal, involved, thread_key: thread, run_id: run, asked }: ShownApproval, { asker }: CardFacts): string {
  const names = usersIn(involved.requester, asker).map((each) => name(each));
  const people = asker === undefined ? names : [`${name(asker)}${names.length === 0 ? '' : ` (${names.join(', ')})`}`];
  const lines = [
    `Asked by ${people.length === 0 ? visibleLine(principal) : people.join(', ')}${asked > 1 ? `, ${asked} times` : ''}`,
    ...(people.length === 0 || principal === `thread:${thread}` ? [] : [`as ${name(principal, 200)}`]),
    ...(thread === null ? [] : [`thread ${name(thread, 200)}`]),
    ...(run === null ? [] : [`run ${name(run, 200)}`]),
  ];
  return lines.map((line) => clipLine(line, 200)).join(' · ');
}

/** Beside users stand their accounts in chats, which are said where there is nothing better. */
function usersIn(names: readonly string[], asker?: string): readonly string[] {
  const users = names.filter((each) => !each.includes(':'));
  return users.length > 0 || asker !== undefined ? users : names;
}

/** What was edited, and by whom: lines of before and after. */
function changes({ args, edited_args: edited, edited_by: by }: ShownApproval): CardBlock[] {
  if (edited === null || edited === undefined) return [];
  const lines = changesOf(args, edited).flatMap(({ path, before, after }) => [
    ...(before === undefined ? [] : [`- ${name(path, 300)}: ${shortJson(before)}`]),
    ...(after === undefined ? [] : [`+ ${name(path, 300)}: ${shortJson(after)}`]),
  ]);
  const label = `Edited by ${name(by ?? 'somebody')}`;
  const { text } = beginning(lines.join('\n'), CHANGES, BODY_LINES);
  // what is sensitive is blanked in both: then there is nothing to show of the change
  return [rich([section(inlineText(label, { bold: true })), ...(text === '' ? [] : [preformatted(text)])])];
}

const shortJson = (value: unknown): string => clipLine(visibleJson(value), 300);

function votes({ votes: all }: ShownApproval): CardBlock[] {
  const lines: string[] = [];
  let size = 0;
  for (const { voter, verdict, counts, reason, channel } of all.toSorted((a, b) => Number(b.counts) - Number(a.counts))) {
    const mark = counts ? MARKS[verdict] : '·';
    const remark = counts ? '' : ', which no longer counts';
    const why = reason === null ? '' : `: ${name(reason, 200)}`;
    const line = `${mark} ${name(voter)} ${VERDICTS[verdict]} by ${name(channel, 20)}${remark}${why}`;
    size += line.length + 1;
    if (size > VOTES) {
      lines.push(`… ${all.length - lines.length} more`);
      break;
    }
    lines.push(line);
  }
  return lines.length === 0 ? [] : [rich([section(inlineText(lines.join('\n')))])];
}

const MARKS = { approve: '✓', deny: '✗', abstain: '○' } as const;
const VERDICTS = { approve: 'approved', deny: 'denied', abstain: 'abstained' } as const;

function gateText(approval: ShownApproval): string {
  const { gate, rule, approvals, quorum, approvers, exclude } = approval;
  const not = exclude.length === 0 ? '' : ` · not by ${exclude.map((part) => partText(approval, part)).join(', ')}`;
  const reason = needsReason(approval) ? ' · with a reason' : '';
  const who = name(`${approvers.join(', ')}${not}`, 400);
  return mrkdwnText(`${approvals} of ${quorum} votes of ${who}${reason} · gate ${name(gate)}, rule ${name(rule)}`);
}

function partText({ involved }: ShownApproval, part: string): string {
  const names = Object.hasOwn(involved, part) ? usersIn(involved[part as keyof typeof involved]) : [];
  return names.length === 0 ? part.replaceAll('_', ' ') : `${part.replaceAll('_', ' ')} (${names.join(', ')})`;
}

/** Who decided, and why. */
function endText({ state, decided_by: by, reason }: ShownApproval): string {
  const who = by === null ? '' : ` by ${name(nameOf(by))}`;
  const why = reason === null ? '' : `: ${name(reason, 500)}`;
  return `${ENDS[state]}${who}${why}`;
}

const ENDS: Readonly<Record<ShownApproval['state'], string>> = {
  pending: '',
  approved: 'Approved',
  consumed: 'Approved, and used,',
  denied: 'Denied',
  expired: 'Over',
  cancelled: 'Cancelled',
};

function timeText({ state, expires_at: expires, escalate_at: escalate, decided_at: decided, use_by: useBy }: ShownApproval): string {
  if (state === 'pending') return [`over ${date(expires)}`, ...(escalate === null ? [] : [`more are asked ${date(escalate)}`])].join(' · ');
  if (decided === null) return `over ${date(expires)}`;
  return [date(decided), ...(state === 'approved' && useBy !== null ? [`to be used by ${date(useBy)}`] : [])].join(' · ');
}

/** On one line, with nothing hidden in it. */
const name = (text: string, most = 80): string => clipLine(visibleLine(text.slice(0, 8 * most)), most);

const nameOf = (actor: string | null): string => actor?.replace(/^user:/, '') ?? 'somebody';

/** In the time zone of whoever reads. */
function date(time: string): string {
  const seconds = Math.floor(Date.parse(time) / 1000);
  return Number.isFinite(seconds) ? `<!date^${seconds}^{date_short_pretty} at {time}|${mrkdwnText(time)}>` : mrkdwnText(time);
}

function cutText(approval: ShownApproval, { body: whole, question = '' }: Subject, shown: string): string {
  const more = whole.length - shown.length + Math.max(0, question.length - QUESTION);
  const left = `${more.toLocaleString('en')} characters more`;
  if (approval.state !== 'pending') return `… ${left}`;
  return isTooLarge(whole)
    ? `… ${left}: too large for Slack. To approve it: centaur approvals show ${approval.approval_id}`
    : `… ${left}: Approve… shows the full text`;
}

/** For a window, which comes back whole with what was typed into it. */
export const isTooLarge = (body: string): boolean => body.length > WHOLE_MOST || sizeSent(body) > SENT_MOST;

/** How much a text adds to what is kept of a click: as JSON, and as the form that Slack has signed. */
export function sizeSent(text: string): number {
  const json = JSON.stringify(text);
  // Slack puts a backslash before each of them
  const slashes = json.split('/').length - 1;
  return json.length + encodeURIComponent(json).length + 3 * slashes;
}

// ---- buttons

/** @param shown how much of it the card shows */
function buttons(approval: ShownApproval, { title, body }: Subject, shown: 'whole' | 'cut'): Button[] {
  const value = approvalValue({ approvalId: approval.approval_id, digest: approval.digest, version: approval.version });
  const opening = (name: keyof typeof OPENERS, text: string, style: 'primary' | 'danger' | undefined): Button => ({
    type: 'button',
    action_id: OPENERS[name],
    value,
    text: plain(text),
    ...(style === undefined ? {} : { style }),
  });
  const approve: Button =
    shown === 'cut' || needsReason(approval)
      ? opening('approve', 'Approve…', 'primary')
      : {
          type: 'button',
          action_id: APPROVAL_ACTIONS.approve,
          value,
          text: plain('Approve'),
          style: 'primary',
          confirm: {
            title: plain('Approve this?'),
            text: plain(`${clipLine(title, 200)}, just as it is shown here.`),
            confirm: plain('Approve'),
            deny: plain('Back'),
          },
        };
  const canEdit = approval.editable.length > 0 && typeof approval.args === 'object' && approval.args !== null;
  return [
    // nobody approves what they could not look at
    ...(isTooLarge(body) ? [] : [approve, ...(canEdit ? [opening('edit', 'Edit…', undefined)] : [])]),
    opening('deny', 'Deny…', 'danger'),
  ];
}

// ---- blocks

const rich = (elements: readonly RichTextElement[]): RichText => ({
  type: 'rich_text',
  elements: elements.filter((element) => element.type === 'rich_text_list' || sizeOfInlines(element.elements) > 0),
});
const section = (elements: readonly Inline[]): RichTextElement => ({ type: 'rich_text_section', elements });
const quote = (text: string): RichTextElement => ({ type: 'rich_text_quote', elements: inlineText(text) });
export const preformatted = (text: string): RichTextElement => ({ type: 'rich_text_preformatted', elements: inlineText(text) });
const context = (parts: readonly string[]): CardBlock => ({
  type: 'context',
  elements: parts.filter((text) => text !== '').map((text) => ({ type: 'mrkdwn', text })),
});

/** As much of it as fits. */
function beginning(text: string, characters: number, lines: number): { readonly text: string; readonly isCut: boolean } {
  const rows = text.split('\n');
  const few = rows.length > lines ? rows.slice(0, lines).join('\n') : text;
  const shown = few.length > characters ? few.slice(0, safeEnd(few, characters)) : few;
  return { text: shown, isCut: shown.length < text.length };
}
