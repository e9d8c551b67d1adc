/**
 * Clicks under approvals in Slack. A bot hands over what Slack sent it, and the signature over just these bytes decides: the key of the bot alone
 * cannot vote, choose another person, or send a click twice. A button counts only on a message that was noted as a card of its approval: whoever has
 * nothing but the token of the bot can draw buttons, and note none.
 *
 * Whoever has the signing secret can sign any click: the secret makes a vote. A bot that hears of Slack over HTTP has it, so whoever runs that bot is
 * trusted with everybody's votes, as by Socket Mode; and in any case with what people see before they click.
 */
import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import {
  APPROVAL_ACTIONS,
  APPROVAL_CALLBACK,
  type ApprovalRef,
  type ApprovalViewRef,
  editBlock,
  externalId,
  type Identity,
  readApprovalValue,
  readApprovalViewMetadata,
  readExternalId,
  REASON_BLOCK,
  type SlackPlace,
  VALUE_ACTION,
} from '@centaur/sdk';
import {
  type ApprovalDetail,
  castVoteIn,
  getApproval,
  lockApproval,
  type LockedApproval,
  PolicyError,
  valueAt,
  type Vote,
  type VotingParts,
} from '../policy/index.ts';
import { canonicalJson, type Queryable } from '../store/index.ts';
import { ChatError } from './errors.ts';
import { personOf } from './links.ts';
import { isCardOf } from './notices.ts';
import { checkSignature, type SignedRequest } from './slack-signature.ts';

export interface SlackSettings {
  /** Undefined: nothing that Slack says counts. */
  readonly signingSecret?: string | undefined;
  /** Whether what comes without a signature, by Socket Mode, counts on the word of the bot. Default: not. */
  readonly socketMode?: 'trusted' | undefined;
}

export type Interaction = SignedRequest | { readonly payload: unknown; readonly socket: true };

export type Outcome =
  | { readonly outcome: 'voted'; readonly approval: ApprovalDetail }
  | { readonly outcome: 'refused'; readonly code: string; readonly message: string };

/** Longer than a signature is good. */
const REMEMBERED_MINUTES = 10;
const REASON_LONGEST = 1000;
/** There has to be one to deny, and a button has no place for it. */
const PLAIN_REASON = 'denied in Slack';

/**
 * A vote of the person whom Slack says has clicked.
 *
 * @throws ChatError SIGNATURE_INVALID, SIGNATURE_REQUIRED, CHAT_NOT_CONFIGURED, NOT_AN_APPROVAL
 */
export async function voteBySlack(parts: VotingParts, slack: SlackSettings, interaction: Interaction): Promise<Outcome> {
  const { payload, signature, madeAt } = read(slack, interaction, parts.store.now());
  const click = clickOf(payload);
  if (click === undefined) throw new ChatError('NOT_AN_APPROVAL', 'body: it is no click on an approval’s buttons, nor a view of one');
  try {
    return await parts.store.transaction((tx) => countClick(tx, parts, click, { signature, madeAt }));
  } catch (error) {
    const refused = refusalOf(error);
    if (refused === undefined) throw error;
    return refused;
  }
}

async function countClick(
  tx: Queryable,
  parts: VotingParts,
  click: Click,
  { signature, madeAt }: { readonly signature: Buffer; readonly madeAt: number },
): Promise<Outcome> {
  const { by, place } = click;
  const { approvalId } = click.ref;
  // the approval first: what refers to it locks it a little, and of two who did only that none could go on
  const row = await lockApproval(tx, approvalId);
  const card = place === undefined ? 'no' : await isCardOf(tx, approvalId, 'slack', place);
  if (card === 'not yet') throw new ChatError('CARD_NOT_NOTED', 'its card is being shown just now: send the click again');
  if (!(await countOnce(tx, { signature, madeAt, approvalId, account: externalId(by) }))) {
    const refused = await refusedBefore(tx, signature);
    return refused ?? { outcome: 'voted', approval: await getApproval(tx, approvalId) };
  }
  // a click that was refused is counted, too: held back, it must not become a vote when its person may do more
  await tx.query('savepoint counted');
  try {
    if (card === 'no') throw new Refusal('NOT_THE_CARD', NOT_THE_CARD);
    const person = await personOf(tx, by);
    if (person === undefined || person.disabled) throw new Refusal('NOT_LINKED', NOT_LINKED);
    return { outcome: 'voted', approval: await castVoteIn(tx, parts, { ...person, provenAt: 0 }, approvalId, voteOf(click, row)) };
  } catch (error) {
    const refused = refusalOf(error);
    if (refused === undefined) throw error;
    await tx.query('rollback to savepoint counted');
    await tx.query('update chat_interactions set refusal = $2 where signature = $1', [signature, JSON.stringify(refused)]);
    return refused;
  }
}

type Refused = Extract<Outcome, { outcome: 'refused' }>;

/** Undefined: it is nothing for whoever clicked. */
function refusalOf(error: unknown): Refused | undefined {
  if (!(error instanceof PolicyError || error instanceof Refusal)) return undefined;
  return { outcome: 'refused', code: error.code, message: error.message };
}

/** What this very click was refused with. */
async function refusedBefore(tx: Queryable, signature: Buffer): Promise<Refused | undefined> {
  const { rows } = await tx.query<{ refusal: string | null }>('select refusal::text from chat_interactions where signature = $1', [
    signature,
  ]);
  const refusal = rows[0]?.refusal;
  return refusal === undefined || refusal === null ? undefined : (JSON.parse(refusal) as Refused);
}

/** Forgets clicks whose signatures are too old by now. */
export async function pruneInteractions({ store }: Pick<VotingParts, 'store'>): Promise<void> {
  await store.query('delete from chat_interactions where at < $1', [new Date(store.now() - REMEMBERED_MINUTES * 60_000)]);
}

const NOT_THE_CARD = 'This is not the card of the approval, so it counts for nothing. Use the card, or centaur approvals.';
const NOT_LINKED = 'Your Slack account is not linked to a user here: run "centaur users link slack", and send me the code that it prints.';

/** Told to whoever clicked. */
class Refusal extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/**
 * False when it comes again, or after a later one of the same person: a bot that holds a click back must not undo what was clicked since. In the
 * transaction of the vote, so that one that failed, and was not refused, is not counted.
 */
async function countOnce(
  tx: Queryable,
  click: { readonly signature: Buffer; readonly madeAt: number; readonly approvalId: string; readonly account: string },
): Promise<boolean> {
  const { rowCount } = await tx.query(
    `insert into chat_interactions (signature, approval_id, account, made_at)
     select $1, $2::uuid, $3::text, $4::timestamptz where not exists (
       select from chat_interactions where approval_id = $2 and account = $3 and made_at > $4)
     on conflict do nothing`,
    [click.signature, click.approvalId, click.account, new Date(click.madeAt)],
  );
  return rowCount === 1;
}

// ---- what Slack sent

interface Read {
  readonly payload: unknown;
  /** By what it is known. */
  readonly signature: Buffer;
  /** Unix milliseconds, to the second. */
  readonly madeAt: number;
}

function read(slack: SlackSettings, interaction: Interaction, now: number): Read {
  if ('socket' in interaction) {
    if (slack.socketMode !== 'trusted')
      throw new ChatError(
        'SIGNATURE_REQUIRED',
        'Socket Mode has no signatures, so the bot could vote for anybody: give Slack the address of the bot instead, or let an admin say approvals: {slack_socket_mode: trusted} in centaur.yaml',
      );
    const signature = createHash('sha256').update(canonicalJson(interaction.payload)).digest();
    return { payload: interaction.payload, signature, madeAt: now };
  }
  if (slack.signingSecret === undefined)
    throw new ChatError('CHAT_NOT_CONFIGURED', 'SLACK_SIGNING_SECRET: this server has none, so it cannot tell what Slack has signed');
  const signature = checkSignature(slack.signingSecret, interaction, now);
  // Slack signs other things, too, with words of anybody in them: an event whose text has "&payload=" in it must not be read as a click
  const [, encoded] = /^payload=([^&=]*)$/.exec(interaction.body) ?? [];
  try {
    return {
      payload: JSON.parse(decodeURIComponent((encoded ?? '').replaceAll('+', ' '))) as unknown,
      signature,
      madeAt: Number(interaction.timestamp) * 1000,
    };
  } catch {
    throw new ChatError('NOT_AN_APPROVAL', 'body: expected payload=… and nothing else, as Slack sends what people click');
  }
}

type Click =
  /** @property place the message that was clicked, as Slack has signed it; undefined: none */
  | {
      readonly kind: 'button';
      readonly by: Identity;
      readonly place: SlackPlace | undefined;
      readonly ref: ApprovalRef;
      readonly verdict: Vote['verdict'];
    }
  /** @property place the card, on the word of whoever opened the view: Slack signs no more of it than that */
  | { readonly kind: 'view'; readonly by: Identity; readonly place: SlackPlace; readonly ref: ApprovalViewRef; readonly values: unknown };

const VERDICTS: ReadonlyMap<unknown, Vote['verdict']> = new Map(
  (['approve', 'deny', 'abstain'] as const).map((verdict) => [APPROVAL_ACTIONS[verdict], verdict]),
);

/** Undefined: it is not about an approval. */
function clickOf(payload: unknown): Click | undefined {
  const by = personIn(payload);
  if (by === undefined) return undefined;
  if (at(payload, 'type') === 'block_actions') {
    const actions = at(payload, 'actions');
    if (!Array.isArray(actions) || actions.length !== 1) return undefined;
    const verdict = VERDICTS.get(at(actions[0], 'action_id'));
    const value = at(actions[0], 'value');
    const ref = typeof value === 'string' ? readApprovalValue(value) : undefined;
    return verdict === undefined || ref === undefined ? undefined : { kind: 'button', by, place: placeIn(payload), ref, verdict };
  }
  if (at(payload, 'type') !== 'view_submission' || at(payload, 'view', 'callback_id') !== APPROVAL_CALLBACK) return undefined;
  const metadata = at(payload, 'view', 'private_metadata');
  const ref = typeof metadata === 'string' ? readApprovalViewMetadata(metadata) : undefined;
  return ref && { kind: 'view', by, place: ref.card, ref, values: at(payload, 'view', 'state', 'values') };
}

function placeIn(payload: unknown): SlackPlace | undefined {
  const channel = at(payload, 'container', 'channel_id');
  const ts = at(payload, 'container', 'message_ts');
  return typeof channel === 'string' && typeof ts === 'string' ? { channel, ts } : undefined;
}

/** Somebody of another organisation in a shared channel has a team of their own. */
function personIn(payload: unknown): Identity | undefined {
  const user = at(payload, 'user', 'id');
  const team = at(payload, 'user', 'team_id') ?? at(payload, 'team', 'id');
  if (typeof user !== 'string' || typeof team !== 'string') return undefined;
  return readExternalId(externalId({ platform: 'slack', team, externalUser: user }));
}

// ---- the vote

function voteOf(click: Click, row: LockedApproval): Vote {
  const { by, ref } = click;
  // by the digest alone: that somebody else has voted meanwhile changes nothing of what is voted on
  const common = { channel: 'slack', account: externalId(by), digest: ref.digest } as const;
  if (click.kind === 'button') {
    const reason = click.verdict === 'deny' && !row.reasoned ? PLAIN_REASON : undefined;
    return { ...common, verdict: click.verdict, reason };
  }
  const reason = textAt(click.values, REASON_BLOCK)?.trim();
  if (reason !== undefined && reason.length > REASON_LONGEST)
    throw new Refusal('REASON_REQUIRED', `reason: ${reason.length} characters; ${REASON_LONGEST} are the most`);
  const patch = click.ref.verdict === 'approve' ? patchOf(click.ref.paths, click.values, row) : undefined;
  return { ...common, verdict: click.ref.verdict, reason: reason === '' ? undefined : reason, patch };
}

/** A view sends all of its inputs: those that nobody has touched change nothing. */
function patchOf(paths: readonly string[], values: unknown, { args, shown }: LockedApproval): Vote['patch'] {
  const patch: Record<string, unknown> = {};
  for (const [index, path] of paths.entries()) {
    const text = textAt(values, editBlock(index));
    if (text === undefined) continue;
    const current = valueAt(args, path);
    // what is not there stays so, where nothing was typed
    if (text === '' && current === undefined) continue;
    const value = typeof current === 'string' ? text : parsed(path, text);
    // what is blanked is left as it is by whoever leaves the blank
    if (isDeepStrictEqual(value, current) || isDeepStrictEqual(value, valueAt(shown, path))) continue;
    Object.defineProperty(patch, path, { value, enumerable: true });
  }
  return Object.keys(patch).length === 0 ? undefined : patch;
}

function parsed(path: string, text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw new Refusal('EDIT_REFUSED', `${path}: expected JSON, such as 20, true or ["a", "b"], as it is no text`);
  }
}

/** Null, when an input was left empty, is nothing. */
function textAt(values: unknown, block: string): string | undefined {
  const value = at(values, block, VALUE_ACTION, 'value');
  return typeof value === 'string' ? value : undefined;
}

function at(value: unknown, ...path: readonly string[]): unknown {
  let found = value;
  for (const name of path) {
    if (typeof found !== 'object' || found === null || !Object.hasOwn(found, name)) return undefined;
    found = (found as Record<string, unknown>)[name];
  }
  return found;
}
