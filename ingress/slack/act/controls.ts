/** What people say to the platform instead of the agent: stop, release, status, help, retry, link, whoami; and the buttons of a turn. */
import { CentaurApiError, type ExecutionView, type InputPart, type MessageView } from '@centaur/sdk';
import { type Control, hasEnded, isCode, messagesOf } from '../../chat/index.ts';
import { confirmText } from '../connect.ts';
import { PLATFORM, type SlackContext, threadKeyOf, userIdOf } from '../context.ts';
import type { Heard } from '../heard.ts';
import { escapeSlack } from '../render/text.ts';
import { isDirect } from '../settings.ts';
import { cancelQuietly, deliveryOf, idOfMessage, listenerOf, send, speakerOf } from './ask.ts';
import type { Message, Place } from './message.ts';
import { namesOf } from './people.ts';
import { readRefusal } from './refusals.ts';
import { mayAsk } from './rules.ts';
import { idOf, objectOf, objectsOf, textOf, tsOf } from '../shapes.ts';
import { type Listener, tell } from './tell.ts';
import { noteOf, readThread, type Thread } from './thread.ts';

export async function actOnControl(context: SlackContext, message: Message, control: Control, thread: Thread): Promise<void> {
  const to = listenerOf(message);
  try {
    await tell(context, to, await answerTo(context, message, control, thread));
  } catch (error) {
    const refusal = readRefusal(error);
    if (refusal === undefined) throw error;
    await tell(context, to, escapeSlack(refusal.words));
  }
}

async function answerTo(context: SlackContext, message: Message, control: Control, thread: Thread): Promise<string> {
  const { team, id, userId } = speakerOf(context, message.author);
  switch (control.kind) {
    case 'stop':
      return STOPPED[await stopAll(context, thread)];
    case 'release':
      return release(context, message, thread);
    case 'status':
      return describe(thread);
    case 'help':
      return helpText(context);
    case 'retry': {
      const executeId = `${idOfMessage(message)}:retry`;
      // the message has come before, to a process that died of it or beside us
      if (thread.turns.some((turn) => turn.execute_id === executeId)) return REPEATED.asked;
      const [last] = thread.turns;
      if (last === undefined) return 'Nothing was asked in this thread yet.';
      if (!hasEnded(last)) return 'It is not over yet. Say `stop` first.';
      return REPEATED[await repeat(context, thread.key, last, executeId, { place: message, ts: message.ts, team, user: id, userId })];
    }
    case 'link':
      return link(context, { team, user: id, code: control.code });
    case 'whoami':
      return whoAmI(context, { team, user: id });
  }
}

// ---- stop, release

const STOPPED = { stopped: 'Stopping.', nothing: 'Nothing runs in this thread.', refused: 'You may not stop this.' } as const;

/** By anybody who may ask there. */
export async function stopTurn(
  context: SlackContext,
  { channel, threadTs, user }: Place & { readonly user: string },
): Promise<'stopped' | 'nothing' | 'refused'> {
  const deciding = { rules: context.settings.rules, self: context.self };
  if (!mayAsk({ user, teams: [] }, channel, deciding)) return 'refused';
  return stopAll(context, await readThread(context, threadKeyOf(channel, threadTs)));
}

/** What waits, too: whoever says stop does not want the next one to begin. Those that wait come first, so that none of them does. */
async function stopAll(context: SlackContext, { turns }: Thread): Promise<'stopped' | 'nothing'> {
  let stopped: 'stopped' | 'nothing' = 'nothing';
  for (const turn of turns) if (!hasEnded(turn) && (await cancelQuietly(context, turn.execution_id))) stopped = 'stopped';
  return stopped;
}

async function release({ api }: SlackContext, message: Message, thread: Thread): Promise<string> {
  const nothing = 'No agent works in this thread.';
  if (thread.harness === null) return nothing;
  const { released } = await api.threads.release(thread.key, { releaseId: `${idOfMessage(message)}:release`, cancelInflight: true });
  return released ? 'Released: the next message here begins with a new agent, and may choose another one.' : nothing;
}

// ---- status, help

export async function statusOf(context: SlackContext, threadKey: string): Promise<string> {
  return describe(await readThread(context, threadKey));
}

function describe({ isKnown, harness, persona, turns, waiting }: Thread): string {
  if (!isKnown) return 'Nothing was asked in this thread yet.';
  const agent =
    harness === null
      ? 'No agent is here: the next message begins with a new one.'
      : `Agent: \`${escapeSlack(harness)}\`${persona === null ? '' : ` as \`${escapeSlack(persona)}\``}.`;
  const open = turns.filter((turn) => !hasEnded(turn));
  const running = open.filter((turn) => turn.status !== 'queued');
  const queued = open.length - running.length;
  const lines = [
    agent,
    ...running.map(
      (turn) => `${turn.status === 'cancel_requested' ? 'Stopping' : `Running since ${when(turn.started_at)}`} (\`${turn.execution_id}\`).`,
    ),
    ...(queued === 0 ? [] : [`${queued} ${queued === 1 ? 'turn waits' : 'turns wait'}.`]),
    ...(waiting === 0 ? [] : [`${waiting} ${waiting === 1 ? 'remark waits' : 'remarks wait'} for the next turn.`]),
  ];
  const last = turns.find(hasEnded);
  if (open.length === 0)
    lines.push(
      last === undefined
        ? 'Nothing runs.'
        : `Nothing runs. The last turn ${ENDED[last.status] ?? 'ended'}${last.status === 'failed_permanent' ? ` (${escapeSlack(last.terminal_reason ?? 'unknown')})` : ''} ${when(last.completed_at)} (\`${last.execution_id}\`).`,
    );
  return lines.join('\n');
}

const ENDED: Readonly<Record<string, string>> = { completed: 'was answered', cancelled: 'was stopped', failed_permanent: 'failed' };

function when(time: string | null): string {
  return time === null ? 'now' : `<!date^${Math.floor(Date.parse(time) / 1000)}^{date_short_pretty} {time}|${time}>`;
}

export function helpText({ self }: SlackContext): string {
  return [
    `Mention <@${self.userId}> with what you want done, or write to it directly. Each thread has an agent of its own: go on in it.`,
    '*In a thread:* `stop` ends what runs and waits, `status` says how it stands, `retry` asks the last thing again, `release` begins anew with another agent.',
    '*With a message:* `--claude`, `--codex`, `--pi`, `--amp` or `--harness NAME` and `--persona NAME` choose the agent of a new thread; `--model NAME` and `--effort low|medium|high|max` hold for one answer; ' +
      '`--steer` says it to the answer that is being worked on, `--queue` lets it wait.',
    '*You:* `whoami` says who you are here, `link CODE` links you to your account (`centaur users link slack` shows the code).',
  ].join('\n');
}

// ---- who is who

async function link(
  { api }: SlackContext,
  { team, user, code }: { readonly team: string; readonly user: string; readonly code: string },
): Promise<string> {
  try {
    const linked = await api.chats.link({ platform: PLATFORM, team, externalUser: user, code });
    return linked.user === null ? confirmText({ team, externalUser: user }) : `You are \`${escapeSlack(linked.user)}\` here.`;
  } catch (error) {
    if (isCode(error, 'LINK_CODE_INVALID')) return 'That code does not hold, or not any more. `centaur users link slack` shows a new one.';
    if (isCode(error, 'LINK_TAKEN')) return 'You are linked to somebody already. `centaur users unlink slack` ends that.';
    throw error;
  }
}

async function whoAmI({ api }: SlackContext, { team, user }: { readonly team: string; readonly user: string }): Promise<string> {
  const { principal, user: name, role } = await api.chats.identify({ platform: PLATFORM, team, externalUser: user });
  if (name === null)
    return `You are \`${escapeSlack(principal)}\`, linked to no account. \`centaur users link slack\` shows a code: then say \`link CODE\` to me.`;
  return `You are \`${escapeSlack(name)}\`${role === null ? '' : ` (${role})`}: \`${escapeSlack(principal)}\`.`;
}

// ---- once more

const REPEATED = {
  asked: 'Asking again.',
  lost: 'What was asked is not kept any more: ask it in a new message.',
} as const;

/** Who wants it, and where. */
interface Repeating {
  readonly place: Place;
  /** Of the message that asked, for what is shown. */
  readonly ts: string;
  readonly team: string;
  readonly user: string;
  readonly userId: string;
}

/**
 * Who presses twice asks once. That it is asked again is theirs who want it now; what was said stays with whoever said it, message by
 * message: what others wrote must not be done in the name of who asks again. What was brought in somebody's name without a word for it comes back
 * as nobody's: our word is not to be had for it.
 *
 * @param executeId of what wants it: a turn for the button's, a message for the word's
 */
async function repeat(
  context: SlackContext,
  thread: string,
  turn: ExecutionView,
  executeId: string,
  who: Repeating,
): Promise<'asked' | 'lost'> {
  const said = await messagesGivenTo(context, thread, turn.execution_id);
  if (said.length === 0) return 'lost';
  const name = (await namesOf(context, { people: [who.user], channels: [] })).people.get(who.user) ?? who.user;
  const before = noteOf(turn);
  const ts = before?.ts ?? who.ts;
  await sayAgain(context, thread, said, executeId);
  const head: InputPart = { type: 'text', text: `[${name} (${who.user}) wants this answered once more.]` };
  await send(context, thread, [head], {
    executeId,
    userId: who.userId,
    delivery: deliveryOf({ ...who.place, ts }, who.team, who.user),
    metadata: { slack: { ...before, ts, by: 'person', user: who.user, edited: before?.edited ?? null, files: before?.files ?? [] } },
    ...(turn.model === null ? {} : { model: turn.model }),
    ...(before?.effort == null ? {} : { effort: before.effort }),
  });
  return 'asked';
}

async function sayAgain({ api }: SlackContext, threadKey: string, said: readonly MessageView[], executeId: string): Promise<void> {
  const { assignment_generation: assignmentGeneration } = await api.threads.spawn(threadKey);
  for (const [index, { parts, user_id: userId, vouched }] of said.entries()) {
    const options = { assignmentGeneration, messageId: `${executeId}:${index}`, ...(userId === null || !vouched ? {} : { userId }) };
    await api.threads.message(threadKey, parts as readonly unknown[] as InputPart[], options);
  }
}

async function messagesGivenTo({ api }: SlackContext, threadKey: string, executionId: string): Promise<readonly MessageView[]> {
  const given: MessageView[] = [];
  for await (const message of messagesOf(api.threads, threadKey))
    if (message.delivered_execution_id === executionId && message.role === 'user') given.push(message);
  return given;
}

// ---- buttons

/** `value` of both is the turn's id. It must be of the thread of the message that the button is on: a value can be made up. */
export async function actOnTurnButton(context: SlackContext, { payload }: Extract<Heard, { kind: 'interaction' }>): Promise<void> {
  const pressed = readButton(payload);
  if (pressed === undefined) return;
  const { what, executionId, place, ts, user, team } = pressed;
  const to: Listener = { ...place, user, isDirect: isDirect(place.channel), isReply: place.threadTs !== ts };
  const deciding = { rules: context.settings.rules, self: context.self };
  if (!mayAsk({ user, teams: team === undefined ? [] : [team] }, place.channel, deciding)) return tell(context, to, STOPPED.refused);
  const threadKey = threadKeyOf(place.channel, place.threadTs);
  const turn = await findTurn(context, executionId);
  if (turn?.thread_key !== threadKey) {
    context.log({ level: 'warn', message: 'a button of a turn that is not of its thread', channel: place.channel, user });
    return tell(context, to, 'That turn is not there any more.');
  }
  try {
    if (what === 'stop') {
      const isStopped = !hasEnded(turn) && (await cancelQuietly(context, executionId));
      if (!isStopped) await tell(context, to, 'It is over already.');
    } else if (!hasEnded(turn)) await tell(context, to, 'It is not over yet.');
    else {
      const id = team ?? context.self.teamId;
      const repeated = await repeat(context, threadKey, turn, `${PLATFORM}:retry:${turn.execution_id}`, {
        place,
        ts,
        team: id,
        user,
        userId: userIdOf(id, user),
      });
      if (repeated === 'lost') await tell(context, to, REPEATED.lost);
    }
  } catch (error) {
    const refusal = readRefusal(error);
    if (refusal === undefined) throw error;
    await tell(context, to, escapeSlack(refusal.words));
  }
}

interface Pressed {
  readonly what: 'stop' | 'retry';
  readonly executionId: string;
  readonly place: Place;
  readonly ts: string;
  readonly user: string;
  readonly team: string | undefined;
}

function readButton(payload: Readonly<Record<string, unknown>>): Pressed | undefined {
  const action = objectsOf(payload['actions']).find((each) => textOf(each['action_id']).startsWith('centaur_turn:'));
  const what = textOf(action?.['action_id']).slice('centaur_turn:'.length);
  const container = objectOf(payload['container']);
  const message = objectOf(payload['message']);
  const channel = idOf(container?.['channel_id']) ?? idOf(objectOf(payload['channel'])?.['id']);
  const ts = tsOf(container?.['message_ts']) ?? tsOf(message?.['ts']);
  const user = idOf(objectOf(payload['user'])?.['id']);
  const executionId = textOf(action?.['value']);
  if ((what !== 'stop' && what !== 'retry') || channel === undefined || ts === undefined || user === undefined || executionId === '')
    return undefined;
  const threadTs = tsOf(container?.['thread_ts']) ?? tsOf(message?.['thread_ts']) ?? ts;
  const team = idOf(objectOf(payload['user'])?.['team_id']) ?? idOf(objectOf(payload['team'])?.['id']);
  return { what, executionId, place: { channel, threadTs }, ts, user, team };
}

async function findTurn({ api }: SlackContext, executionId: string): Promise<ExecutionView | undefined> {
  try {
    return await api.threads.execution(executionId);
  } catch (error) {
    if (error instanceof CentaurApiError && error.status >= 400 && error.status < 500 && error.status !== 429) return undefined;
    throw error;
  }
}
