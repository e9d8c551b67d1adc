/** Words to people beside the answers of agents: short, seen by whom they are for, and never worth failing for. */
import { clean } from '../../chat/index.ts';
import { SlackRefused, SlackSilent } from '../calls.ts';
import type { SlackContext } from '../context.ts';
import type { Place } from './message.ts';

/** Slack would take more; nobody reads more. */
const LONGEST = 3000;

/** Where somebody is spoken to. */
export interface Listener extends Place {
  readonly user: string | undefined;
  readonly isDirect: boolean;
  /** In a thread that is there already: of one that is not, nobody sees what is whispered in it. */
  readonly isReply: boolean;
}

/** @param markup Slack's markup */
export async function tell(context: SlackContext, to: Listener, markup: string): Promise<void> {
  const text = clean(markup).slice(0, LONGEST);
  const place = { channel: to.channel, thread_ts: to.threadTs };
  // nobody else is there, and what only one sees is gone when they look again
  if (to.isDirect) return quietly(context, 'chat.postMessage', { ...place, text, unfurl_links: false, unfurl_media: false });
  if (to.user === undefined) return;
  await quietly(context, 'chat.postEphemeral', { ...(to.isReply ? place : { channel: to.channel }), user: to.user, text });
}

/** The same once in a while: whoever asks ten times is told once. */
export async function tellOnce(context: SlackContext, to: Listener, what: string, markup: string): Promise<void> {
  await once(context, `${to.channel} ${to.user} ${what}`, () => tell(context, to, markup));
}

/**
 * What is answered at once comes as a mention and as a message, too; nothing of it is kept that would tell. So this process remembers for
 * a while what it has done.
 */
export async function once(context: SlackContext, key: string, act: () => Promise<void>): Promise<void> {
  const done = doneBy(context);
  const now = context.now();
  if (now - (done.get(key) ?? -Infinity) < QUIET_MS) return;
  await act();
  if (done.size >= MOST_KNOWN) done.clear();
  done.set(key, now);
}

const QUIET_MS = 600_000;
const MOST_KNOWN = 10_000;
const DONE = new WeakMap<SlackContext['slack'], Map<string, number>>();

function doneBy({ slack }: SlackContext): Map<string, number> {
  const done = DONE.get(slack) ?? new Map<string, number>();
  DONE.set(slack, done);
  return done;
}

/** `eyes`: the turn that runs has heard it. `hourglass_flowing_sand`: it waits for its own. */
export type Sign = 'eyes' | 'hourglass_flowing_sand';

export function addSign(context: SlackContext, { channel, ts }: { readonly channel: string; readonly ts: string }, name: Sign): void {
  void quietly(context, 'reactions.add', { channel, timestamp: ts, name });
}

export function removeSign(context: SlackContext, { channel, ts }: { readonly channel: string; readonly ts: string }, name: Sign): void {
  void quietly(context, 'reactions.remove', { channel, timestamp: ts, name });
}

/** A call without which everything goes on. */
export async function quietly(context: SlackContext, method: string, args: Readonly<Record<string, unknown>>): Promise<void> {
  await tryCall(context, method, args);
}

/** How long anything waits for what is only nice to have. */
const PATIENCE_MS = 3000;

/** Undefined when Slack would not, or not soon. */
export async function tryCall(
  context: SlackContext,
  method: string,
  args: Readonly<Record<string, unknown>>,
): Promise<Readonly<Record<string, unknown>> | undefined> {
  try {
    return await context.slack.call(method, args, { signal: AbortSignal.timeout(PATIENCE_MS) });
  } catch (error) {
    const isSlacks = error instanceof SlackRefused || error instanceof SlackSilent;
    if (!isSlacks && (error as Error).name !== 'TimeoutError') throw error;
    const reason = error instanceof SlackRefused ? error.code : (error as Error).name;
    if (!HARMLESS.has(reason)) context.log({ level: 'warn', message: 'Slack did not do what was asked', method, reason });
    return undefined;
  }
}

const HARMLESS: ReadonlySet<string> = new Set(['already_reacted', 'no_reaction', 'message_not_found', 'user_not_in_channel']);
