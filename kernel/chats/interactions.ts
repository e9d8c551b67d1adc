/**
 * Clicks under approvals in Slack. A bot hands over what Slack sent it, and the signature over just these bytes decides: neither the bot nor
 * its key can vote, choose another person, or send a click twice. What people see before they click is the bot's, and trusted to be so.
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
  const { payload, signature } = read(slack, interaction, parts.store.now());
  const click = clickOf(payload);
  if (click === undefined) throw new ChatError('NOT_AN_APPROVAL', 'body: it is no click on an approval’s buttons, nor a view of one');
  const { by, ref } = click;
  try {
    const approval = await parts.store.transaction(async (tx) => {
      // the approval first: what refers to it locks it a little, and of two who did only that none could go on
      const row = await lockApproval(tx, ref.approvalId);
      if (await wasCounted(tx, signature, ref.approvalId)) return getApproval(tx, ref.approvalId);
      const person = await personOf(tx, by);
      if (person === undefined || person.disabled) throw new Refusal('NOT_LINKED', NOT_LINKED);
      return castVoteIn(tx, parts, { ...person, provenAt: 0 }, ref.approvalId, voteOf(click, row));
    });
    return { outcome: 'voted', approval };
  } catch (error) {
    if (error instanceof PolicyError || error instanceof Refusal) return { outcome: 'refused', code: error.code, message: error.message };
    throw error;
  }
}

/** Forgets clicks whose signatures are too old by now. */
export async function pruneInteractions({ store }: Pick<VotingParts, 'store'>): Promise<void> {
  await store.query('delete from chat_interactions where at < $1', [new Date(store.now() - REMEMBERED_MINUTES * 60_000)]);
}

const NOT_LINKED = 'Your Slack account is not linked to a user here: run "centaur users link slack", and send me the code that it prints.';

/** Told to whoever clicked. */
class Refusal extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** True when it comes again: in the transaction of the vote, so that one that failed is not counted. */
async function wasCounted(tx: Queryable, signature: Buffer, approvalId: string): Promise<boolean> {
  const { rowCount } = await tx.query('insert into chat_interactions (signature, approval_id) values ($1, $2) on conflict do nothing', [
    signature,
    approvalId,
  ]);
  return rowCount === 0;
}

// ---- what Slack sent

function read(slack: SlackSettings, interaction: Interaction, now: number): { readonly payload: unknown; readonly signature: Buffer } {
  if ('socket' in interaction) {
    if (slack.socketMode !== 'trusted')
      throw new ChatError(
        'SIGNATURE_REQUIRED',
        'Socket Mode has no signatures, so the bot could vote for anybody: give Slack the address of the bot instead, or let an admin say approvals: {slack_socket_mode: trusted} in centaur.yaml',
      );
    return { payload: interaction.payload, signature: createHash('sha256').update(canonicalJson(interaction.payload)).digest() };
  }
  if (slack.signingSecret === undefined)
    throw new ChatError('CHAT_NOT_CONFIGURED', 'SLACK_SIGNING_SECRET: this server has none, so it cannot tell what Slack has signed');
  const signature = checkSignature(slack.signingSecret, interaction, now);
  // Slack signs other things, too, with words of anybody in them: an event whose text has "&payload=" in it must not be read as a click
  const [, encoded] = /^payload=([^&=]*)$/.exec(interaction.body) ?? [];
  try {
    return { payload: JSON.parse(decodeURIComponent((encoded ?? '').replaceAll('+', ' '))) as unknown, signature };
  } catch {
    throw new ChatError('NOT_AN_APPROVAL', 'body: expected payload=… and nothing else, as Slack sends what people click');
  }
}

type Click =
  | { readonly kind: 'button'; readonly by: Identity; readonly ref: ApprovalRef; readonly verdict: Vote['verdict'] }
  | { readonly kind: 'view'; readonly by: Identity; readonly ref: ApprovalViewRef; readonly values: unknown };

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
    return verdict === undefined || ref === undefined ? undefined : { kind: 'button', by, ref, verdict };
  }
  if (at(payload, 'type') !== 'view_submission' || at(payload, 'view', 'callback_id') !== APPROVAL_CALLBACK) return undefined;
  const metadata = at(payload, 'view', 'private_metadata');
  const ref = typeof metadata === 'string' ? readApprovalViewMetadata(metadata) : undefined;
  return ref && { kind: 'view', by, ref, values: at(payload, 'view', 'state', 'values') };
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
