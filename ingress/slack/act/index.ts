/**
 * What a message in Slack means, and doing it through the API.
 *
 * It promises that a message is acted on once, however often and in whichever order Slack tells of it and whichever processes die
 * meanwhile; that nobody is answered whom the operator's rules leave out; and that what others wrote is given to an agent as theirs. It
 * keeps nothing: what it has to know again it asks of the platform, and of Slack.
 */
import type { SlackContext } from '../context.ts';
import { threadKeyOf } from '../context.ts';
import type { Heard } from '../heard.ts';
import { ask, listenerOf } from './ask.ts';
import { greet, lookElsewhere } from './assistant.ts';
import { actOnControl } from './controls.ts';
import { actOnDeletion, actOnEdit, noteAside } from './edits.ts';
import { type Message, readEvent } from './message.ts';
import { decide, screen } from './rules.ts';
import { once, tellOnce } from './tell.ts';
import { readThread } from './thread.ts';
import { whoIsNamed } from './words.ts';

export { actOnTurnButton, helpText, statusOf, stopTurn } from './controls.ts';

/** @param attempt of the event, counted from 1. @throws Hopeless when it can never succeed; anything else: it is to be tried again */
export async function actOnMessage(context: SlackContext, { event }: Extract<Heard, { kind: 'event' }>, attempt: number): Promise<void> {
  const happened = readEvent(event);
  switch (happened?.kind) {
    case 'posted':
      return actOnPost(context, happened.message, attempt);
    case 'edited': {
      const { message, before } = happened;
      if (screen(message, decidingOf(context)) === undefined)
        await actOnEdit(context, message, before, await threadOf(context, message), attempt);
      return;
    }
    case 'deleted':
      return actOnDeletion(context, happened.message, await threadOf(context, happened.message));
    case 'opened':
      return greet(context, happened.place, happened.lookedAt);
    case 'looked elsewhere':
      return lookElsewhere(context, happened.place, happened.lookedAt);
    case undefined:
      // it says nothing to us: neither would it when it came again
      context.log({ level: 'debug', message: 'an event that nobody acts on', type: event['type'] });
  }
}

async function actOnPost(context: SlackContext, message: Message, attempt: number): Promise<void> {
  const deciding = decidingOf(context);
  if (screen(message, deciding) !== undefined) return;
  const thread = await threadOf(context, message);
  const decision = decide(message, thread, deciding);
  switch (decision.act) {
    case 'ignore':
      return context.log({ level: 'debug', message: 'a message that is not acted on', channel: message.channel, why: decision.why });
    case 'refuse':
      return tellOnce(context, listenerOf(message), decision.why, REFUSED[decision.why]);
    case 'note':
      return noteAside(context, message, decision.text, thread);
    case 'control':
      if (isToldTwice(message, context)) return;
      return once(context, `control ${message.channel} ${message.ts}`, () => actOnControl(context, message, decision.control, thread));
    case 'ask':
    case 'steer':
      return ask(context, message, decision, thread, attempt);
  }
}

/**
 * It comes as a mention, too, and as that it is acted on: a control has nothing that every process would know it by. Messages of the odd
 * kinds, and of groups without a name, may come as this alone.
 */
function isToldTwice({ isOfChannel, subtype, text }: Message, { self }: SlackContext): boolean {
  return isOfChannel && subtype === undefined && whoIsNamed(text, self.userId).us;
}

const REFUSED = {
  organisation: 'I answer people of this workspace alone. Whoever runs me can let your organisation in.',
  person: 'You are not among the people whom I may answer. Whoever runs me can add you.',
} as const;

const decidingOf = ({ settings, self }: SlackContext) => ({ rules: settings.rules, self });

const threadOf = (context: SlackContext, { channel, threadTs }: Message) => readThread(context, threadKeyOf(channel, threadTs));
