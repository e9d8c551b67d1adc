/**
 * Showing approvals: whenever one changes, its card is posted or written again, by one process at a time. What was posted, and where, is kept at the
 * platform; a process that dies in between leaves a message that is found by its metadata.
 */
import { type ApprovalNotice, CentaurApiError, type ShownApproval } from '@centaur/sdk';
import { pause } from '../../chat/index.ts';
import { namesOf } from '../act/people.ts';
import { SlackRefused } from '../calls.ts';
import { PLATFORM, type SlackContext } from '../context.ts';
import { type Card, type CardFacts, drawCard, drawOverride } from './card.ts';
import { findPosted, type Kind, metadataOf, type Place, placesOf, type Posted, readRef, type Ref } from './place.ts';

const LEASE_SECONDS = 60;
/** Of the lease: what is begun at the end of it may take a call's time. */
const BEGIN_MS = 28_000;
const CLAIM_WAIT_MS = 20_000;
/** Approvals at a time. */
const MOST = 20;
const LONGEST_PAUSE_MS = 5_000;
const ERROR_LONGEST = 300;

/** Resolves when the signal has aborted and nothing is written any more. */
export async function showApprovals(context: SlackContext, signal: AbortSignal): Promise<void> {
  const { api, consumerId, log } = context;
  const running = new Set<Promise<void>>();
  let failures = 0;
  while (!signal.aborted) {
    try {
      const limit = MOST - running.size;
      const claim = { platform: PLATFORM, consumerId, limit, leaseSeconds: LEASE_SECONDS, waitMs: CLAIM_WAIT_MS, signal } as const;
      for (const notice of await api.chats.claimApprovals(claim)) {
        const one = showOne(context, notice, signal).finally(() => running.delete(one));
        running.add(one);
      }
      failures = 0;
    } catch (error) {
      if (signal.aborted) break;
      log({ level: 'warn', message: 'approvals cannot be asked for; trying again', error: (error as Error).message });
      await pause(Math.min(LONGEST_PAUSE_MS, 100 * 2 ** failures++), signal);
    }
    // what is written is given up when the process stops: so this does not wait for long
    if (running.size >= MOST) await Promise.race(running);
  }
  await Promise.all(running);
}

/** Never rejects. */
async function showOne(context: SlackContext, notice: ApprovalNotice, stop: AbortSignal): Promise<void> {
  const { api, consumerId, log } = context;
  const { approval_id: id, version } = notice.approval;
  const signal = AbortSignal.any([stop, AbortSignal.timeout(BEGIN_MS)]);
  try {
    const ref = await show(context, notice, signal);
    const isNowhere = ref.cards.length === 0 && ref.override === undefined;
    await api.chats.approvalShown(id, { platform: PLATFORM, consumerId, version, ref: isNowhere ? null : ref, places: ref.cards });
  } catch (thrown) {
    // its lease ends by itself, and the next process finds what was posted
    if (stop.aborted) return;
    const error = thrown instanceof Error ? thrown : new Error(String(thrown));
    log({ level: 'warn', message: 'an approval is not shown', approval: id, version, error: error.message });
    if (error instanceof CentaurApiError && error.code === 'NOTICE_NOT_CLAIMED') return;
    await api.chats
      .approvalFailed(id, { platform: PLATFORM, consumerId, error: error.message.slice(0, ERROR_LONGEST) })
      .catch((second: Error) =>
        log({ level: 'warn', message: 'nobody was told that it is not shown', approval: id, error: second.message }),
      );
  }
}

/** @returns where it is shown now */
async function show(context: SlackContext, notice: ApprovalNotice, signal: AbortSignal): Promise<Ref> {
  const { approval } = notice;
  const common = context.settings.rules.approvals_channel;
  const known = notice.shown === null ? undefined : readRef(notice.shown.ref);
  const card = drawCard(approval, await factsOf(context, notice));
  const cards: Posted[] = [];
  for (const posted of known?.cards ?? []) if (await update(context, posted, approval, { kind: 'card', card }, signal)) cards.push(posted);
  // what is decided needs no new card; one that somebody has deleted is needed as long as it waits. What was erased is in no card that nobody knows of
  if (cards.length === 0 && (approval.state === 'pending' || known === undefined || isErased(approval))) {
    const places = placesOf(notice, common);
    for (const place of places) cards.push(...(await post(context, place, notice, card, signal)));
    const isElsewhere = places.every(({ threadTs }) => threadTs !== undefined);
    if (cards.length === 0 && isElsewhere && common !== undefined)
      cards.push(...(await post(context, { channel: common }, notice, card, signal)));
  }
  const override = known?.override ?? (await tellOverride(context, notice, signal));
  if (override !== undefined && isErased(approval))
    await update(context, override, approval, { kind: 'override', card: drawOverride(approval) }, signal);
  return { cards, ...(override === undefined ? {} : { override }) };
}

/** The platform keeps nothing of what was asked. */
const isErased = ({ summary }: ShownApproval): boolean => JSON.stringify(summary) === '{"erased":true}';

/** False: the message is gone. */
async function update(
  { slack, log }: SlackContext,
  { channel, ts }: Posted,
  approval: ShownApproval,
  { kind, card: { blocks, text } }: { readonly kind: Kind; readonly card: Card },
  signal: AbortSignal,
): Promise<boolean> {
  try {
    await slack.call('chat.update', { channel, ts, blocks, text, metadata: metadataOf(approval, kind) }, { signal });
    return true;
  } catch (error) {
    if (!(error instanceof SlackRefused) || !(GONE.has(error.code) || NO_PLACE.has(error.code))) throw error;
    log({ level: 'info', message: 'the card of an approval is gone', approval: approval.approval_id, code: error.code });
    return false;
  }
}

/** Empty: it cannot be there. One that is there already is written again. */
async function post(context: SlackContext, place: Place, notice: ApprovalNotice, card: Card, signal: AbortSignal): Promise<Posted[]> {
  const { approval } = notice;
  try {
    const found = await findPosted(context, place, approval, 'card', signal);
    if (found !== undefined) return (await update(context, found, approval, { kind: 'card', card }, signal)) ? [found] : [];
    // of what is over before anybody was asked here, nobody has to hear
    if (approval.state !== 'pending') return [];
    return [await send(context, place, approval, { kind: 'card', card }, signal)];
  } catch (error) {
    noPlace(context, place, approval, error);
    return [];
  }
}

/** That somebody has passed a gate by is said aloud, where approvals are shown. */
async function tellOverride(context: SlackContext, { approval }: ApprovalNotice, signal: AbortSignal): Promise<Posted | undefined> {
  const channel = context.settings.rules.approvals_channel;
  if (!approval.overridden) return undefined;
  if (channel === undefined) {
    context.log({
      level: 'warn',
      message: 'a gate was passed by; without approvals_channel nobody is told',
      approval: approval.approval_id,
    });
    return undefined;
  }
  try {
    const found = await findPosted(context, { channel }, approval, 'override', signal);
    return found ?? (await send(context, { channel }, approval, { kind: 'override', card: drawOverride(approval) }, signal));
  } catch (error) {
    return noPlace(context, { channel }, approval, error);
  }
}

async function send(
  { slack }: SlackContext,
  { channel, threadTs }: Place,
  approval: ShownApproval,
  { kind, card }: { readonly kind: Kind; readonly card: Card },
  signal: AbortSignal,
): Promise<Posted> {
  // waiting for its turn may take longer than the lease: then it is another's
  signal.throwIfAborted();
  const { ts } = await slack.call<{ readonly ts: string }>(
    'chat.postMessage',
    {
      channel,
      ...(threadTs === undefined ? {} : { thread_ts: threadTs }),
      blocks: card.blocks,
      text: card.text,
      metadata: metadataOf(approval, kind),
      unfurl_links: false,
      unfurl_media: false,
    },
    { signal },
  );
  return { channel, ts };
}

/** @throws the error, when it says something else */
function noPlace({ log }: SlackContext, { channel }: Place, { approval_id: approval }: ShownApproval, error: unknown): undefined {
  if (!(error instanceof SlackRefused) || !NO_PLACE.has(error.code)) throw error;
  log({ level: 'warn', message: 'an approval has no place in this channel', approval, channel, code: error.code });
}

const GONE: ReadonlySet<string> = new Set(['message_not_found', 'cant_update_message', 'edit_window_closed', 'thread_not_found']);
const NO_PLACE: ReadonlySet<string> = new Set([
  'channel_not_found',
  'cannot_reply_to_message',
  'is_archived',
  'is_inactive',
  'not_in_channel',
  'restricted_action',
  'restricted_action_read_only_channel',
  'restricted_action_thread_locked',
  'thread_not_found',
  'user_is_restricted',
]);

/** The name of who asked, for people to read: nobody is called by it. */
async function factsOf(context: SlackContext, { delivery }: ApprovalNotice): Promise<CardFacts> {
  const { platform, user } = (typeof delivery === 'object' && delivery !== null ? delivery : {}) as Readonly<Record<string, unknown>>;
  if (platform !== PLATFORM || typeof user !== 'string') return {};
  const { people } = await namesOf(context, { people: [user], channels: [] });
  return { asker: people.get(user) ?? user };
}
