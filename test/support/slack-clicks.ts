/** Clicks on approvals as Slack sends and signs them, for whatever reads them without a Slack. */
import { createHmac } from 'node:crypto';
import { APPROVAL_ACTIONS, APPROVAL_CALLBACK, type SlackPlace, VALUE_ACTION } from '@centaur/sdk';
import type { Queryable } from '../../kernel/store/index.ts';

export const SLACK_SECRET = '8f742231b10e8888abcd99yyyzzz85a5';

/** Where people click. */
export const CARD = { channel: 'C1', ts: '1700000000.000100' } as const;

/** As when a bot has said that the approval is shown there. */
export async function noteCard(on: Queryable, approvalId: string, place: SlackPlace = CARD): Promise<void> {
  await on.query(`insert into chat_platforms (platform) values ('slack') on conflict do nothing`);
  await on.query(
    `insert into chat_notices (approval_id, platform, shown_version, claimed_version, places) values ($1, 'slack', 1, 1, $2)
     on conflict (approval_id, platform) do update set places = excluded.places`,
    [approvalId, JSON.stringify([place])],
  );
}

const who = (user: string) => ({ team: { id: 'T1', domain: 'acme' }, user: { id: user, username: user, team_id: 'T1' } });

export function button(user: string, verdict: keyof typeof APPROVAL_ACTIONS, value: string, card: SlackPlace = CARD) {
  const action = { type: 'button', action_id: APPROVAL_ACTIONS[verdict], block_id: 'b', value, action_ts: '1700000000.1' };
  const container = { type: 'message', message_ts: card.ts, channel_id: card.channel, is_ephemeral: false };
  return { type: 'block_actions', ...who(user), container, api_app_id: 'A1', trigger_id: '1.2.3', actions: [action] };
}

/** @param values by block */
export function view(user: string, metadata: string, values: Readonly<Record<string, string>>) {
  const state = Object.fromEntries(
    Object.entries(values).map(([block, value]) => [block, { [VALUE_ACTION]: { type: 'plain_text_input', value } }]),
  );
  const shown = { type: 'modal', callback_id: APPROVAL_CALLBACK, private_metadata: metadata, state: { values: state } };
  return { type: 'view_submission', ...who(user), api_app_id: 'A1', view: shown };
}

/** @param at Unix milliseconds */
export function signed(payload: object, at: number, secret = SLACK_SECRET) {
  return signedBody(`payload=${encodeURIComponent(JSON.stringify(payload)).replaceAll('%20', '+')}`, at, secret);
}

/** Whatever else Slack signs. */
export function signedBody(body: string, at: number, secret = SLACK_SECRET) {
  const timestamp = String(Math.floor(at / 1000));
  return { body, timestamp, signature: `v0=${createHmac('sha256', secret).update(`v0:${timestamp}:${body}`).digest('hex')}` };
}
