/** Where a turn is shown, from what was said when it was asked for. */
import { z } from 'zod';
import { Undeliverable } from '../../chat/index.ts';
import { PLATFORM, type SlackDelivery } from '../context.ts';
import type { Place } from '../render/stream.ts';
import { rulesOf, type SlackRules } from '../settings.ts';

const DELIVERY = z.object({
  platform: z.literal(PLATFORM),
  channel: z.string().regex(/^[CDG][A-Z0-9]{2,30}$/),
  thread_ts: z.string().regex(/^\d{1,12}\.\d{1,8}$/),
  team: z.string().regex(/^[TE][A-Z0-9]{2,30}$/),
  user: z.string().regex(/^[A-Z][A-Z0-9]{2,30}$/),
  message_ts: z.string().regex(/^\d{1,12}\.\d{1,8}$/),
});

/** @throws Undeliverable when it names no place, or one where the operator wants nobody answered: any client of the API may name one */
export function readDelivery(delivery: unknown, rules: SlackRules): SlackDelivery {
  const read = DELIVERY.safeParse(delivery);
  if (!read.success)
    throw new Undeliverable(`its delivery names no place in Slack: ${read.error.issues.map(({ path }) => path.join('.')).join(', ')}`);
  const { channel } = read.data;
  if (rulesOf(rules, channel) === undefined) throw new Undeliverable(`the rules in centaur.yaml have nobody answered in ${channel}`);
  return read.data;
}

export function placeOf({ channel, thread_ts, user, team }: SlackDelivery): Place {
  return { channel, threadTs: thread_ts, recipient: { userId: user, teamId: team }, mentions: [user] };
}
