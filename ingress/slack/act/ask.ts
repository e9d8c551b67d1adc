/** Having the agent of a thread answer a message, or hear it. Whatever is done here is done once for a message, however often it comes. */
import { type AcceptedExecution, type ExecutionView, type InputPart, type SendOptions } from '@centaur/sdk';
import { hasEnded, isCode } from '../../chat/index.ts';
import { PLATFORM, type SlackContext, type SlackDelivery, userIdOf } from '../context.ts';
import { escapeSlack } from '../render/text.ts';
import { nameThread, readContainer } from './assistant.ts';
import { choose, type Choice } from './choose.ts';
import { type TakenFiles, takeFiles } from './files.ts';
import { whenTurn } from './follow.ts';
import { type History, readHistory } from './history.ts';
import type { Author, FileRef, Message } from './message.ts';
import { plainName } from './people.ts';
import { tellRefusal } from './refusals.ts';
import type { Asked } from './rules.ts';
import { namesIn, partsOf } from './said.ts';
import { addSign, type Listener, removeSign, tell, tellOnce } from './tell.ts';
import { isChosen, noteOf, type Thread, type TurnNote, turnsOf } from './thread.ts';
import { toWords } from './words.ts';

/** The idempotency key of what a message asks for. */
export const idOfMessage = ({ channel, ts }: Pick<Message, 'channel' | 'ts'>): string => `${PLATFORM}:${channel}:${ts}`;

export const listenerOf = ({ channel, threadTs, isDirect, isReply, author }: Message): Listener => ({
  channel,
  threadTs,
  isDirect,
  isReply,
  user: author.user,
});

/** Who wrote, as the platform names people of a chat. */
export function speakerOf(
  { self }: SlackContext,
  { user, botId, teams }: Author,
): { readonly team: string; readonly id: string; readonly userId: string } {
  const team = teams[0] ?? self.teamId;
  const id = user ?? botId ?? 'unknown';
  return { team, id, userId: userIdOf(team, id) };
}

/** @param attempt of the event, counted from 1 */
export async function ask(context: SlackContext, message: Message, asked: Asked, thread: Thread, attempt: number): Promise<void> {
  const to = listenerOf(message);
  if (asked.problems.length > 0) return tellOnce(context, to, `${message.ts} flags`, asked.problems.map(escapeSlack).join('\n'));
  // it comes as a mention and as a message, and sometimes again; its files may come later than its text
  if (turnsOf(thread, message.ts).length > 0) return askWithLateFiles(context, message, asked, thread, attempt);
  if (asked.whileRunning === 'steer' && message.files.length === 0 && (await steer(context, message, asked, thread))) return;
  await askAs(context, idOfMessage(message), { message, asked, thread, files: message.files, text: asked.text, remarks: [] });
}

export interface Question {
  readonly message: Message;
  readonly asked: Asked;
  readonly thread: Thread;
  readonly files: readonly FileRef[];
  /** Slack's markup. */
  readonly text: string;
  readonly remarks: readonly string[];
}

/** @param executeId of this question, which may not be the message's first */
export async function askAs(context: SlackContext, executeId: string, question: Question): Promise<void> {
  const { message, asked, thread, remarks } = question;
  const to = listenerOf(message);
  const chosen = choose(asked.flags, asked.defaults, { harness: thread.harness, persona: thread.persona, chosen: isChosen(thread) });
  if ('taken' in chosen)
    return tellOnce(
      context,
      to,
      `${message.ts} ${chosen.taken}`,
      `This thread works with \`${escapeSlack(chosen.by)}\`. Say \`release\` first, or ask in a new thread.`,
    );
  const isFirst = thread.turns.length === 0 || thread.harness === null;
  const [files, history, container, names] = await Promise.all([
    takeFiles(context, question.files),
    message.isReply && isFirst ? readHistory(context, message, message.ts) : NO_HISTORY,
    message.isDirect && message.isReply ? readContainer(context, message) : undefined,
    namesIn(context, [question.text, message.attached], [message.author], message.channel),
  ]);
  const more = [
    ...remarks,
    ...(history === undefined ? ['What was said in this thread before could not be read.'] : []),
    ...(container?.lookedAt === undefined ? [] : [`Beside this conversation they have the channel ${container.lookedAt} open.`]),
  ];
  const parts = partsOf({ message, text: question.text, names, files, remarks: more });
  const isBusy = thread.turns.some((turn) => !hasEnded(turn));
  let accepted: AcceptedExecution | undefined;
  try {
    if (history?.text !== undefined) await giveHistory(context, message, thread.key, chosen.choice, { ...history, text: history.text });
    accepted = await send(context, thread.key, parts, { executeId, ...chosen.choice, ...turnFields(context, message, asked, chosen) });
  } catch (error) {
    return tellRefusal(context, to, error, executeId);
  }
  await tellOfFiles(context, to, files);
  if (isBusy && accepted?.status === 'queued') showWaiting(context, message, accepted.execution_id);
  if (container !== undefined && isFirst) await nameThread(context, message, toWords(question.text, names));
}

const NO_HISTORY: History = { text: undefined, authors: new Set() };

function turnFields(context: SlackContext, message: Message, asked: Asked, chosen: { readonly choice: Choice; readonly chosen: boolean }) {
  const { team, id, userId } = speakerOf(context, message.author);
  const note: TurnNote = {
    ts: message.ts,
    by: asked.by,
    user: id,
    edited: message.editedTs ?? null,
    files: message.files.map((file) => file.id),
    effort: chosen.choice.effort ?? null,
    chosen: chosen.chosen,
  };
  return { userId, delivery: deliveryOf(message, team, id), metadata: { slack: note } };
}

export function deliveryOf({ channel, threadTs, ts }: Pick<Message, 'channel' | 'threadTs' | 'ts'>, team: string, user: string) {
  const delivery: SlackDelivery = { platform: PLATFORM, channel, thread_ts: threadTs, team, user, message_ts: ts };
  return { ...delivery };
}

/**
 * Once for its id, also where what goes along with it is not what it was at the first try: names, files and what was said before may
 * have changed since. Undefined: it was accepted before, or another turn has taken the message along.
 */
export async function send(
  { api }: SlackContext,
  threadKey: string,
  parts: readonly InputPart[],
  { personaId, ...options }: SendOptions & { readonly executeId: string },
): Promise<AcceptedExecution | undefined> {
  try {
    return await api.threads.send(threadKey, parts, { ...options, ...(personaId === undefined ? {} : { personaId }) });
  } catch (error) {
    if (!isCode(error, 'IDEMPOTENCY_PAYLOAD_MISMATCH')) throw error;
  }
  // the message is there as it was stored first; what may be missing is its turn
  try {
    const { assignment_generation: assignmentGeneration } = await api.threads.spawn(threadKey);
    return await api.threads.execute(threadKey, { ...options, assignmentGeneration });
  } catch (error) {
    if (isCode(error, 'IDEMPOTENCY_PAYLOAD_MISMATCH') || isCode(error, 'NO_INPUT')) return undefined;
    throw error;
  }
}

/** As a message of nobody, unless all of it is the asker's own: what others said must not be done in the asker's name. */
async function giveHistory(
  context: SlackContext,
  message: Message,
  threadKey: string,
  { harness, personaId }: Choice,
  { text, authors }: History & { readonly text: string },
): Promise<void> {
  const { api } = context;
  const { assignment_generation: assignmentGeneration } = await api.threads.spawn(threadKey, {
    ...(harness === undefined ? {} : { harness }),
    ...(personaId === undefined ? {} : { personaId }),
  });
  const { id, userId } = speakerOf(context, message.author);
  const isTheirs = [...authors].every((author) => author === id);
  const options = { assignmentGeneration, messageId: `${idOfMessage(message)}:history`, ...(isTheirs ? { userId } : {}) };
  await api.threads.message(threadKey, text, options).catch((error: unknown) => {
    if (!isCode(error, 'IDEMPOTENCY_PAYLOAD_MISMATCH')) throw error;
  });
}

async function tellOfFiles(context: SlackContext, to: Listener, { refused }: TakenFiles): Promise<void> {
  if (refused.length === 0) return;
  const lines = refused.map(({ name, why }) => `• ${escapeSlack(plainName(name))}: ${escapeSlack(why)}`);
  await tell(context, to, `I go on without ${refused.length === 1 ? 'this file' : 'these files'}:\n${lines.join('\n')}`);
}

function showWaiting(context: SlackContext, message: Message, executionId: string): void {
  addSign(context, message, 'hourglass_flowing_sand');
  whenTurn(
    context,
    executionId,
    (turn) => turn.status !== 'queued',
    () => removeSign(context, message, 'hourglass_flowing_sand'),
  );
}

// ---- to the turn that runs

/** Turns that have ended meanwhile may have heard it: it is asked of those that ran when it was written. */
const ENDED_SINCE_MS = 300_000;
const MOST_TRIED = 5;

/** What comes too late for the turn is answered in one of its own, by whoever shows it. @returns whether a turn was told, now or before */
async function steer(context: SlackContext, message: Message, asked: Asked, thread: Thread): Promise<boolean> {
  const since = Number(message.ts) * 1000 - ENDED_SINCE_MS;
  const candidates = thread.turns
    .filter(({ started_at: started, completed_at: ended }) => started !== null && (ended === null || Date.parse(ended) >= since))
    .slice(0, MOST_TRIED)
    .toReversed();
  if (candidates.length === 0) return false;
  const names = await namesIn(context, [asked.text, message.attached], [message.author], message.channel);
  const parts = partsOf({ message, text: asked.text, names, files: { parts: [], refused: [] }, remarks: [] });
  const { userId } = speakerOf(context, message.author);
  for (const { execution_id: executionId } of candidates) {
    try {
      await context.api.threads.steer(executionId, parts, { messageId: idOfMessage(message), userId });
    } catch (error) {
      if (isCode(error, 'EXECUTION_NOT_RUNNING')) continue;
      if (!isCode(error, 'IDEMPOTENCY_PAYLOAD_MISMATCH')) throw error;
    }
    addSign(context, message, 'eyes');
    return true;
  }
  return false;
}

// ---- what comes after

/** Files that were not there when the message was acted on: with it while it waits, else in a turn of their own. */
export async function askWithLateFiles(
  context: SlackContext,
  message: Message,
  asked: Asked,
  thread: Thread,
  attempt: number,
): Promise<void> {
  const turns = turnsOf(thread, message.ts);
  const known = new Set(turns.flatMap((turn) => noteOf(turn)?.files ?? []));
  const late = message.files.filter((file) => !known.has(file.id));
  const [last] = turns;
  const [first] = late;
  if (last === undefined || first === undefined) return;
  const executeId = `${idOfMessage(message)}:${first.id}`;
  const question = { message, asked, thread, text: asked.text, remarks: [] };
  if (wasStopped(last, attempt)) return;
  if (wasNeverBegun(last) && (await cancelQuietly(context, last.execution_id)))
    return askAs(context, executeId, { ...question, files: message.files });
  await askAs(context, executeId, {
    ...question,
    files: late,
    remarks: ['You have seen this message before: these are its files, which came later.'],
  });
}

type Standing = Pick<ExecutionView, 'status' | 'started_at' | 'terminal_reason'>;

/** Also one that was cancelled. */
export function wasNeverBegun({ status, started_at: started }: Standing): boolean {
  return status === 'queued' || (status === 'cancelled' && started === null);
}

/**
 * Somebody has ended it before it began: nothing that happens to its message begins it again. At the first try of an event it was not us; at a
 * later one it may have been the try before, which came to its end before it had asked for another one in its place.
 */
export function wasStopped(turn: Standing, attempt: number): boolean {
  if (turn.status !== 'cancelled' || !wasNeverBegun(turn)) return false;
  return attempt === 1 || turn.terminal_reason === 'released';
}

/** @returns whether it is cancelled, or about to be */
export async function cancelQuietly({ api }: SlackContext, executionId: string): Promise<boolean> {
  try {
    await api.threads.cancel(executionId);
    return true;
  } catch (error) {
    if (isCode(error, 'EXECUTION_FINISHED') || isCode(error, 'EXECUTION_NOT_FOUND')) return false;
    throw error;
  }
}
