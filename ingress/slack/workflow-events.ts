/**
 * What workflows can wait for: replies in threads, reactions, and buttons that are not ours. A workflow that has posted waits by
 * the channel and the time of its message, which `ctx.postToSlack` answered.
 */
import { CentaurApiError } from '@centaur/sdk';
import type { SlackContext } from './context.ts';
import type { Heard, Raw } from './heard.ts';
import { ownerOf } from './owner.ts';
import { objectOf, textOf } from './receive/classify.ts';

export interface WorkflowEvent {
  readonly eventType: 'slack.reply' | 'slack.reaction' | 'slack.action';
  readonly correlationId: string;
  readonly payload: Raw;
}

/**
 * @param heardId of what was heard, the same whenever and by whomever it is acted on: what was told before the process died, or Slack said
 *   twice, is told once
 */
export async function tellWorkflows({ api, log }: SlackContext, heardId: string, heard: Heard): Promise<void> {
  for (const [at, event] of workflowEventsOf(heard).entries()) {
    try {
      await api.emitEvent({ ...event, eventKey: `slack:${heardId}:${at}` });
    } catch (error) {
      if (!(error instanceof CentaurApiError && error.code === 'EVENT_KEY_MISMATCH')) throw error;
      // by another release of the bot, in its words
      log({ level: 'warn', message: 'workflows were told of this in other words before', event_id: heardId, event_type: event.eventType });
    }
  }
}

export function workflowEventsOf(heard: Heard): readonly WorkflowEvent[] {
  if (heard.kind === 'event') {
    const one = replyOf(heard.event) ?? reactionOf(heard.event);
    return one === undefined ? [] : [one];
  }
  return heard.kind === 'interaction' && ownerOf(heard.payload) === 'workflow' ? actionsOf(heard.payload) : [];
}

/** As `message` alone: what mentions us comes once more, as that. */
function replyOf(event: Raw): WorkflowEvent | undefined {
  const { type, subtype, channel, thread_ts: threadTs, ts, user, text } = event;
  if (type !== 'message' || (subtype !== undefined && subtype !== 'file_share' && subtype !== 'thread_broadcast')) return undefined;
  if (typeof channel !== 'string' || typeof threadTs !== 'string' || typeof ts !== 'string' || threadTs === ts) return undefined;
  const files = Array.isArray(event['files'])
    ? event['files'].map((file) => {
        const { id, name, mimetype, size } = objectOf(file) ?? {};
        return { id, name: name ?? null, mimetype: mimetype ?? null, size: size ?? null };
      })
    : [];
  const payload = { channel, thread_ts: threadTs, ts, user: user ?? null, text: text ?? '', files };
  return { eventType: 'slack.reply', correlationId: `${channel}:${threadTs}`, payload };
}

function reactionOf(event: Raw): WorkflowEvent | undefined {
  const { type, user, reaction } = event;
  if (type !== 'reaction_added' && type !== 'reaction_removed') return undefined;
  const { channel, ts } = objectOf(event['item']) ?? {};
  if (typeof channel !== 'string' || typeof ts !== 'string') return undefined;
  const payload = { channel, ts, reaction: reaction ?? '', user: user ?? null, added: type === 'reaction_added' };
  return { eventType: 'slack.reaction', correlationId: `${channel}:${ts}`, payload };
}

function actionsOf(payload: Raw): readonly WorkflowEvent[] {
  if (payload['type'] !== 'block_actions' || !Array.isArray(payload['actions'])) return [];
  const user = textOf(objectOf(payload['user'])?.['id']) ?? null;
  const container = objectOf(payload['container']);
  const channel = textOf(objectOf(payload['channel'])?.['id']) ?? null;
  const messageTs = textOf(container?.['message_ts']) ?? null;
  return payload['actions'].flatMap((each): WorkflowEvent[] => {
    const action = objectOf(each) ?? {};
    const actionId = textOf(action['action_id']);
    if (actionId === undefined) return [];
    const value = action['value'] ?? objectOf(action['selected_option'])?.['value'] ?? null;
    const told = { action_id: actionId, value, user, channel, message_ts: messageTs };
    return [{ eventType: 'slack.action', correlationId: actionId, payload: told }];
  });
}
