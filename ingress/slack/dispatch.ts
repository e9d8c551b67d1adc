/** Who acts on what was heard. Whoever acts may be called again for the same: it came out of the inbox, and its process may have died. */
import type { InboxEvent } from '@centaur/sdk';
import { z } from 'zod';
import { createGate, Hopeless } from '../chat/index.ts';
import { actOnMessage, actOnTurnButton } from './act/index.ts';
import { actOnInteraction } from './approvals/index.ts';
import { actOnCommand } from './command.ts';
import type { SlackContext } from './context.ts';
import type { Heard, Raw } from './heard.ts';
import { ownerOf } from './owner.ts';
import { listOf, objectOf, textOf } from './shapes.ts';
import { tellWorkflows } from './workflow-events.ts';

const RAW = z.record(z.string(), z.unknown());
const HEARD = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('event'), eventId: z.string(), teamId: z.string(), at: z.number(), event: RAW }),
  z.object({
    kind: z.literal('interaction'),
    payload: RAW,
    signed: z.object({ body: z.string(), signature: z.string(), timestamp: z.string() }).nullable(),
    at: z.number(),
  }),
  z.object({ kind: z.literal('command'), command: RAW, at: z.number() }),
]);

/** Messages with files of which this process holds the bytes, some 60 MB each and more while they are sent. */
const withFiles = createGate(2);

/** @throws Hopeless when it can never succeed */
export async function dispatch(context: SlackContext, { body, event_id: eventId, attempt_count: attempt }: InboxEvent): Promise<void> {
  const read = HEARD.safeParse(body);
  if (!read.success) throw new Hopeless(`${eventId}: it was not stored by this bot, or by another release of it`);
  const heard: Heard = read.data;
  // workflows are told last: what is acted on again after a failure before has not told them
  let hopeless: Hopeless | undefined;
  try {
    await act(context, heard, attempt);
  } catch (error) {
    if (!(error instanceof Hopeless)) throw error;
    hopeless = error;
  }
  await tellWorkflows(context, eventId, heard);
  if (hopeless !== undefined) throw hopeless;
}

async function act(context: SlackContext, heard: Heard, attempt: number): Promise<void> {
  switch (heard.kind) {
    case 'command':
      return actOnCommand(context, heard);
    case 'interaction':
      return ownerOf(heard.payload) === 'turn'
        ? actOnTurnButton(context, heard)
        : ownerOf(heard.payload) === 'approval'
          ? actOnInteraction(context, heard)
          : undefined;
    case 'event': {
      const type = textOf(heard.event['type']);
      if (type.startsWith('reaction_')) return;
      const acting = () => actOnMessage(context, heard, attempt);
      await (hasFiles(heard.event) ? withFiles(acting) : acting());
    }
  }
}

/** Of the message itself, or of one that was changed. */
function hasFiles(event: Raw): boolean {
  return [event, objectOf(event['message'])].some((said) => listOf(said?.['files']).length > 0);
}
