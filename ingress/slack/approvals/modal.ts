/** The windows in which an approval is given a reason, or other arguments; and what is known to be wrong with what was typed into one. */
import {
  APPROVAL_CALLBACK,
  approvalViewMetadata,
  editBlock,
  readApprovalViewMetadata,
  REASON_BLOCK,
  type ShownApproval,
  VALUE_ACTION,
} from '@centaur/sdk';
import { clipLine } from '../../chat/index.ts';
import { cutAt } from '../../chat/text.ts';
import { inlineText, type RichTextElement } from '../render/blocks.ts';
import { isTooLarge, needsReason, plain, type PlainText, preformatted, sizeSent } from './card.ts';
import { placesOf, visibleLine } from './plain.ts';
import { subjectOf } from './subject.ts';

/** The card under which the window was opened: there people are told what became of it. */
export interface CardPlace {
  readonly channel: string;
  readonly ts: string;
  readonly threadTs?: string;
}

export interface View {
  readonly type: 'modal';
  readonly title: PlainText;
  readonly close: PlainText;
  readonly submit?: PlainText;
  readonly callback_id?: string;
  readonly private_metadata?: string;
  readonly blocks: readonly ViewBlock[];
}

type ViewBlock =
  | { readonly type: 'rich_text'; readonly elements: readonly RichTextElement[] }
  | {
      readonly type: 'input';
      readonly block_id: string;
      readonly label: PlainText;
      readonly hint?: PlainText;
      readonly optional: boolean;
      readonly element: {
        readonly type: 'plain_text_input';
        readonly action_id: string;
        readonly multiline: boolean;
        readonly initial_value?: string;
        readonly max_length?: number;
      };
    };

/** Slack's, of one text of a window. */
const INPUT_MOST = 3_000;
const METADATA_MOST = 3_000;
const CHUNK = 2_900;
/** Inputs: more are no window to look through. */
const EDITS_MOST = 20;
/** Of them all: each comes back twice, as it was and as it is. */
const EDITS_SENT_MOST = 100_000;
const REASON_MOST = 1_000;
/** What the platform puts in place of what nobody is shown. */
const BLANKED = '[sensitive]';

export function approveView(approval: ShownApproval, place: CardPlace): View {
  const { body } = subjectOf(approval);
  if (isTooLarge(body)) return tooLarge(approval);
  return view('Approve', [...whole(approval), reasonInput(needsReason(approval) ? 'needed' : 'optional')], {
    submit: 'Approve',
    metadata: metadataOf(approval, place, { verdict: 'approve', paths: [], json: [] }),
  });
}

export function denyView(approval: ShownApproval, place: CardPlace): View {
  const { title } = subjectOf(approval);
  const about = rich([section(title, 'bold'), section('Whoever asked is told why, and can go on with it.')]);
  return view('Deny', [about, reasonInput('needed')], {
    submit: 'Deny',
    metadata: metadataOf(approval, place, { verdict: 'deny', paths: [], json: [] }),
  });
}

export function editView(approval: ShownApproval, place: CardPlace): View {
  if (isTooLarge(subjectOf(approval).body)) return tooLarge(approval);
  const args = approval.edited_args ?? approval.args;
  const { shown, left } = fieldsOf(approval, args, place);
  if (shown.length === 0)
    return noticeView(
      'Edit',
      `None of ${approval.editable.join(', ')} can be changed in Slack. Try: centaur approvals edit ${approval.approval_id}`,
    );
  const leftOut = left.length === 0 ? [] : [section(`Not to be changed here: ${left.map(visibleLine).join(', ')}`)];
  const inputs = shown.map(({ path, value }, index): ViewBlock => {
    const isText = typeof value === 'string';
    const text = inputText(value);
    return {
      type: 'input',
      block_id: editBlock(index),
      label: plain(clipLine(visibleLine(path), 150) || '(no name)'),
      ...(isText ? {} : { hint: plain(value === undefined ? 'as JSON; left empty, it is not added' : 'as JSON') }),
      optional: text === '',
      element: {
        type: 'plain_text_input',
        action_id: VALUE_ACTION,
        multiline: text.length > 80 || text.includes('\n') || (typeof value === 'object' && value !== null),
        ...(text === '' ? {} : { initial_value: text }),
      },
    };
  });
  const words = rich([
    section('What you change is your vote for it as it is then. Votes that were cast before count no more.'),
    ...leftOut,
  ]);
  return view('Edit and approve', [words, ...inputs, reasonInput(needsReason(approval) ? 'needed' : 'optional'), ...whole(approval)], {
    submit: 'Approve',
    metadata: metadataOf(approval, place, fieldsMetadata(shown)),
  });
}

/** Only says something. */
export function noticeView(title: string, text: string): View {
  return view(title, [rich([section(visibleLine(text).slice(0, CHUNK))])]);
}

// ---- what comes back

/** What was typed and cannot be right: block id to what is wrong with it. Undefined: nothing that can be known here. */
export function submissionErrors(submitted: unknown): Readonly<Record<string, string>> | undefined {
  const {
    private_metadata: metadata,
    blocks,
    state,
  } = at(submitted) as {
    readonly private_metadata?: unknown;
    readonly blocks?: unknown;
    readonly state?: unknown;
  };
  const ref = typeof metadata === 'string' ? readApprovalViewMetadata(metadata) : undefined;
  if (ref === undefined || typeof metadata !== 'string') return undefined;
  const { j: json } = at(JSON.parse(metadata));
  const inputs = new Map((Array.isArray(blocks) ? blocks : []).map((block) => [String(at(block)['block_id']), at(block)]));
  const valueOf = (block: string): string | undefined => {
    const { value } = at(at(at(at(state)['values'])[block])[VALUE_ACTION]);
    return typeof value === 'string' && value !== '' ? value : undefined;
  };
  const errors: Record<string, string> = {};
  if (inputs.get(REASON_BLOCK)?.['optional'] === false && (valueOf(REASON_BLOCK) ?? '').trim() === '') errors[REASON_BLOCK] = 'Say why.';
  let changed = 0;
  for (const index of ref.paths.keys()) {
    const block = editBlock(index);
    const value = valueOf(block);
    const before = at(inputs.get(block)?.['element'])['initial_value'];
    if (value === (typeof before === 'string' ? before : undefined)) continue;
    changed += 1;
    if (value !== undefined && Array.isArray(json) && json.includes(index) && !isJson(value))
      errors[block] = 'This is no JSON, such as 20, true, "a text" or {"a": 1}.';
  }
  if (ref.paths.length > 0 && changed === 0) errors[editBlock(0)] = 'Nothing is changed. To approve it as it is, use the other button.';
  return Object.keys(errors).length === 0 ? undefined : errors;
}

/** The card from which a window was opened. */
export function placeOfView(metadata: unknown): CardPlace | undefined {
  if (typeof metadata !== 'string' || !isJson(metadata)) return undefined;
  const { c: channel, m: ts, t: threadTs } = at(JSON.parse(metadata));
  if (typeof channel !== 'string' || typeof ts !== 'string') return undefined;
  return { channel, ts, ...(typeof threadTs === 'string' ? { threadTs } : {}) };
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

const at = (value: unknown): Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {};

// ---- what can be edited

interface Field {
  readonly path: string;
  readonly value: unknown;
}

/** Those of the gate's paths that can be typed into a window without loss; and those that cannot. */
function fieldsOf(approval: ShownApproval, args: unknown, place: CardPlace): { readonly shown: Field[]; readonly left: string[] } {
  const all = new Map(approval.editable.flatMap((pattern) => placesOf(args, pattern)).map((each) => [each.path, each]));
  const shown: Field[] = [];
  const left: string[] = [];
  let sent = 0;
  for (const field of all.values()) {
    const size = 2 * sizeSent(inputText(field.value));
    const fits = shown.length < EDITS_MOST && canBeTyped(field.value) && sent + size <= EDITS_SENT_MOST;
    if (fits && metadataOf(approval, place, fieldsMetadata([...shown, field])).length <= METADATA_MOST) {
      shown.push(field);
      sent += size;
    } else left.push(field.path);
  }
  return { shown, left };
}

/** What nobody is shown would be written over with what stands in its place. */
function canBeTyped(value: unknown): boolean {
  const text = inputText(value);
  return text.length <= INPUT_MOST && !text.includes(BLANKED) && !text.includes('\r');
}

const inputText = (value: unknown): string =>
  typeof value === 'string' ? value : value === undefined ? '' : JSON.stringify(value, null, 2);

const fieldsMetadata = (fields: readonly Field[]) => ({
  verdict: 'approve' as const,
  paths: fields.map(({ path }) => path),
  json: fields.flatMap(({ value }, index) => (typeof value === 'string' ? [] : [index])),
});

/** As the platform reads it, and beside that what only we read. */
function metadataOf(
  { approval_id: approvalId, digest, version }: ShownApproval,
  { channel, ts, threadTs }: CardPlace,
  { json, ...of }: { readonly verdict: 'approve' | 'deny'; readonly paths: readonly string[]; readonly json: readonly number[] },
): string {
  const read = JSON.parse(approvalViewMetadata({ approvalId, digest, version, card: { channel, ts }, ...of })) as object;
  return JSON.stringify({ ...read, t: threadTs, j: json });
}

// ---- blocks

/** All of what is decided on. */
function whole(approval: ShownApproval): ViewBlock[] {
  const { title, question, body, bodyName } = subjectOf(approval);
  const chunks: string[] = [];
  for (let rest = body; rest !== '';) {
    const end = cutAt(rest, CHUNK);
    chunks.push(rest.slice(0, end));
    rest = rest.slice(end);
  }
  return [
    rich([
      section(title, 'bold'),
      ...(question === undefined ? [] : [{ type: 'rich_text_quote' as const, elements: inlineText(question) }]),
    ]),
    ...chunks.map((chunk, index) => rich([...(index === 0 ? [section(bodyName, 'bold')] : []), preformatted(chunk)])),
  ];
}

function reasonInput(is: 'needed' | 'optional'): ViewBlock {
  return {
    type: 'input',
    block_id: REASON_BLOCK,
    label: plain('Reason'),
    optional: is === 'optional',
    element: { type: 'plain_text_input', action_id: VALUE_ACTION, multiline: true, max_length: REASON_MOST },
  };
}

function tooLarge({ approval_id: id }: ShownApproval): View {
  return noticeView('Approve', `It is too large to be looked at in Slack. Look at it with: centaur approvals show ${id}`);
}

function view(title: string, blocks: readonly ViewBlock[], by?: { readonly submit: string; readonly metadata: string }): View {
  return {
    type: 'modal',
    title: plain(title),
    close: plain(by === undefined ? 'Close' : 'Back'),
    ...(by === undefined ? {} : { submit: plain(by.submit), callback_id: APPROVAL_CALLBACK, private_metadata: by.metadata }),
    blocks,
  };
}

const rich = (elements: readonly RichTextElement[]): ViewBlock => ({ type: 'rich_text', elements });
const section = (text: string, style?: 'bold'): RichTextElement => ({
  type: 'rich_text_section',
  elements: inlineText(text, style === undefined ? {} : { bold: true }),
});
