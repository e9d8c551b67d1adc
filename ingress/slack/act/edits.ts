/** Messages that were edited or deleted after they were acted on. Nothing is answered a second time for it. */
import { hasEnded, isCode } from '../../chat/index.ts';
import type { SlackContext } from '../context.ts';
import { ask, askAs, askWithLateFiles, cancelQuietly, idOfMessage, speakerOf, wasNeverBegun, wasStopped } from './ask.ts';
import type { Message } from './message.ts';
import { type Asked, decide, type Decision } from './rules.ts';
import { nameOfAuthor, namesIn, quote, timeOf } from './said.ts';
import { noteOf, type Thread, turnsOf } from './thread.ts';
import { stripMention, toWords, whoIsNamed } from './words.ts';

/** Messages that wait for a turn, beyond which nobody's asides are kept. */
const MOST_WAITING = 100;
const NOTE_LONGEST = 8000;

/** @param attempt of the event, counted from 1 */
export async function actOnEdit(
  context: SlackContext,
  message: Message,
  before: Message | undefined,
  thread: Thread,
  attempt: number,
): Promise<void> {
  const deciding = { rules: context.settings.rules, self: context.self };
  const decision = decide(message, thread, deciding);
  const [last] = turnsOf(thread, message.ts);
  if (last === undefined) return actOnEditOfOther(context, message, before, thread, decision, attempt);
  if (wasStopped(last, attempt)) return;
  const isAsked = decision.act === 'ask' || decision.act === 'steer';
  if (isAsked && message.files.some((file) => !turnsOf(thread, message.ts).some((turn) => noteOf(turn)?.files.includes(file.id))))
    return askWithLateFiles(context, message, decision, thread, attempt);
  const { editedTs } = message;
  // links that unfold, replies that are counted: it is told as a change, and nobody has edited
  if (editedTs === undefined || before?.text === message.text) return;
  if (Number(noteOf(last)?.edited ?? 0) >= Number(editedTs)) return;
  if (!wasNeverBegun(last)) return isMayBeTold(decision) ? tellOfEdit(context, message, thread, editedTs) : undefined;
  // its turn waits: the new text takes the place of the old one
  if (!hasEnded(last) && !(await cancelQuietly(context, last.execution_id)))
    return isMayBeTold(decision) ? tellOfEdit(context, message, thread, editedTs) : undefined;
  if (isAsked) await askInstead(context, message, decision, thread, editedTs);
}

function askInstead(context: SlackContext, message: Message, asked: Asked, thread: Thread, editedTs: string): Promise<void> {
  const { files } = message;
  return askAs(context, `${idOfMessage(message)}:${editedTs}`, { message, asked, thread, files, text: asked.text, remarks: [] });
}

/** Of a message that has asked for no turn. Where the edit brought our name into it, it asks now: it is a mention like any other. */
async function actOnEditOfOther(
  context: SlackContext,
  message: Message,
  before: Message | undefined,
  thread: Thread,
  decision: Decision,
  attempt: number,
): Promise<void> {
  const { self, settings } = context;
  const isAsked = decision.act === 'ask' || decision.act === 'steer';
  const named = (one: Message) => whoIsNamed(`${one.text}\n${one.inBlocks}`, self.userId).us;
  if (isAsked && before !== undefined && named(message) && !named(before)) return ask(context, message, decision, thread, attempt);
  if (before === undefined || before.text === message.text || message.editedTs === undefined || !thread.isKnown) return;
  // what nobody was told of before needs no correction
  const told = decide(before, thread, { rules: settings.rules, self });
  if (isMayBeTold(told) && isMayBeTold(decision)) await tellOfEdit(context, message, thread, message.editedTs);
}

const isMayBeTold = ({ act }: Decision): boolean => act === 'ask' || act === 'steer' || act === 'note';

async function tellOfEdit(context: SlackContext, message: Message, thread: Thread, editedTs: string): Promise<void> {
  const text = stripMention(message.text, context.self.userId);
  const names = await namesIn(context, [text], [message.author], message.channel);
  const words = toWords(text, names).slice(0, NOTE_LONGEST);
  const what = `The message of ${nameOfAuthor(message.author, names)} of ${timeOf(message.ts)} was edited to`;
  await leaveNote(context, message, thread, { id: `${idOfMessage(message)}:${editedTs}`, text: quote(what, words) });
}

/** What is said among people in a thread of ours: the agent hears of it with the next turn. */
export async function noteAside(context: SlackContext, message: Message, text: string, thread: Thread): Promise<void> {
  const names = await namesIn(context, [text], [message.author], message.channel);
  const files = message.files.map((file) => `(file: ${file.name})`);
  const words = [toWords(text, names).slice(0, NOTE_LONGEST), ...files].join(' ');
  const what = `${nameOfAuthor(message.author, names)} said in this thread, and not to you, ${timeOf(message.ts)}`;
  await leaveNote(context, message, thread, { id: idOfMessage(message), text: quote(what, words) });
}

/** It waits for the next turn. Without an agent there is nobody to tell: the next one is given what was said before. */
async function leaveNote(
  context: SlackContext,
  message: Message,
  thread: Thread,
  { id, text }: { readonly id: string; readonly text: string },
): Promise<void> {
  if (thread.generation === null || thread.waiting >= MOST_WAITING) return;
  const { userId } = speakerOf(context, message.author);
  const options = { assignmentGeneration: thread.generation, messageId: id, userId };
  await context.api.threads.message(thread.key, text, options).catch((error: unknown) => {
    if (!OVERTAKEN.some((code) => isCode(error, code))) throw error;
  });
}

/** It was left before; or the agent is gone meanwhile. */
const OVERTAKEN = ['IDEMPOTENCY_PAYLOAD_MISMATCH', 'ASSIGNMENT_GENERATION_STALE', 'NO_ACTIVE_ASSIGNMENT'];

export async function actOnDeletion(context: SlackContext, message: Message, thread: Thread): Promise<void> {
  for (const turn of turnsOf(thread, message.ts)) {
    if (hasEnded(turn)) continue;
    if (turn.status === 'queued') await cancelQuietly(context, turn.execution_id);
    else await tellOfDeletion(context, message, turn.execution_id);
  }
}

async function tellOfDeletion({ api }: SlackContext, message: Message, executionId: string): Promise<void> {
  const text = `[The message of ${timeOf(message.ts)} that asked for this was deleted by whoever wrote it. Bring what you do to an end.]`;
  await api.threads.steer(executionId, text, { messageId: `${idOfMessage(message)}:deleted` }).catch((error: unknown) => {
    if (!isCode(error, 'EXECUTION_NOT_RUNNING')) throw error;
  });
}
