/** Acting on what was heard: what it means is for `rules.ts`, and it is done over the platform's API, once, however often it comes. */
import { CentaurApiError, type ExecutionView, type InboxEvent } from '@centaur/sdk';
import { type Flagged, Hopeless, isCode } from '../../chat/index.ts';
import { type GitHubContext, threadKeyOf, userIdOf } from '../context.ts';
import { type Heard, readHeard } from '../heard.ts';
import { react } from '../places.ts';
import { deliveryOf, describeAsked, executeIdOf } from './asked.ts';
import { control } from './controls.ts';
import { describeBackground, readBackground } from './history.ts';
import { findExecution, knownThread, lastExecutions } from './known.ts';
import { decide } from './rules.ts';
import { type Circumstances, say, sayRefusal } from './say.ts';

/** @throws Hopeless when it can never succeed; anything else: it is to be acted on again */
export async function actOn(context: GitHubContext, event: InboxEvent, signal: AbortSignal): Promise<void> {
  const heard = readHeard(event.body);
  if (heard === undefined) throw new Hopeless('it is no event that this bot has stored');
  const { settings, self, api, log } = context;
  const threadKey = threadKeyOf(heard);
  const verdict = await decide(heard, settings.rules, self, async () => (await knownThread(api, threadKey)) !== undefined);
  const about = { event_id: event.event_id, thread_key: threadKey };
  const isAgain = event.attempt_count > 1;
  switch (verdict.kind) {
    case 'ignore':
      return log({ level: 'debug', message: 'nothing is done about it', why: verdict.why, ...about });
    case 'refuse':
      log({ level: 'info', message: 'who asked may not ask here', association: heard.author.association, ...about });
      return react(context, heard, heard, 'confused', signal);
    case 'withdraw':
      return withdraw(context, heard);
    case 'control':
      return control(context, heard, verdict.control, { isAgain, signal });
    case 'ask':
      return ask(context, heard, verdict.asked, { isAgain, signal });
  }
}

async function ask(
  context: GitHubContext,
  heard: Heard,
  { text, flags, problems }: Flagged,
  { isAgain, signal }: Circumstances,
): Promise<void> {
  const { api, settings } = context;
  const { rules } = settings;
  const threadKey = threadKeyOf(heard);
  const executeId = executeIdOf(heard);
  if (heard.action === 'edited' && (await findExecution(api, threadKey, executeId)) !== undefined) return;
  if (problems.length > 0) {
    await say(context, heard, problems.map((problem) => `- ${problem}`).join('\n'), { isAgain, signal });
    return react(context, heard, heard, 'confused', signal);
  }
  // seen at once; the rest takes its time
  const seen = react(context, heard, heard, 'eyes', signal);
  try {
    const known = await knownThread(api, threadKey);
    const isAssigned = known !== undefined && known.assignment_generation !== null;
    // defaults are for a beginning: a thread keeps what it began with
    const harness = flags.harness ?? (isAssigned || flags.persona !== undefined ? undefined : rules.harness);
    const personaId = flags.persona ?? (isAssigned ? undefined : rules.persona);
    const message = describeAsked(heard, text);
    const userId = userIdOf(settings.host, heard.author.login);

    const wanted = flags.whileRunning ?? rules.while_running;
    const running = known?.active_execution_id ?? null;
    if (wanted === 'steer' && (await wasSteered(context, threadKey, message, `${executeId}:message`, userId))) return;
    if (wanted === 'steer' && running !== null && (await steered(context, running, message, `${executeId}:message`, userId))) return;

    const { assignment_generation: generation } = await api.threads.spawn(threadKey, {
      ...(harness === undefined ? {} : { harness }),
      ...(personaId === undefined ? {} : { personaId }),
    });
    await giveBackground(context, heard, generation, signal);
    const model = flags.model ?? rules.model;
    const effort = flags.effort ?? rules.effort;
    await api.threads.send(threadKey, message, {
      executeId,
      userId,
      delivery: deliveryOf(heard),
      ...(model === undefined ? {} : { model }),
      ...(effort === undefined ? {} : { effort }),
    });
  } catch (error) {
    // the same id with other words: it was asked before it was edited
    if (isCode(error, 'IDEMPOTENCY_PAYLOAD_MISMATCH')) return;
    if (await sayRefusal(context, heard, error, { isAgain, signal })) return;
    throw error;
  } finally {
    await seen;
  }
}

/** False: it runs no more, or cannot be told anything. */
async function steered(context: GitHubContext, executionId: string, message: string, messageId: string, userId: string): Promise<boolean> {
  try {
    await context.api.threads.steer(executionId, message, { messageId, userId });
    return true;
  } catch (error) {
    // it was said before it was edited
    if (isCode(error, 'IDEMPOTENCY_PAYLOAD_MISMATCH')) return true;
    if (error instanceof CentaurApiError && error.status >= 400 && error.status < 500) return false;
    throw error;
  }
}

/**
 * Whether it was heard before and told to a turn, which may be over by now: to such a one nothing new can be said, and what was
 * said is known. If it was too late, whoever shows that turn has it answered.
 */
async function wasSteered(context: GitHubContext, threadKey: string, message: string, messageId: string, userId: string): Promise<boolean> {
  for (const { execution_id: id, status } of await lastExecutions(context.api, threadKey)) {
    if (status !== 'queued' && status !== 'running' && (await steered(context, id, message, messageId, userId))) return true;
  }
  return false;
}

/** Once for each assignment: a thread that was released begins anew, and knows nothing. */
async function giveBackground(context: GitHubContext, heard: Heard, generation: number, signal: AbortSignal): Promise<void> {
  const { api, settings } = context;
  const threadKey = threadKeyOf(heard);
  const [last] = (await api.threads.executions(threadKey, { limit: 1 })).items;
  if (last?.assignment_generation === generation) return;
  const text = describeBackground(await readBackground(context, heard, signal), settings.rules.history.characters);
  try {
    await api.threads.message(threadKey, text, { assignmentGeneration: generation, messageId: `${threadKey}:background:${generation}` });
  } catch (error) {
    // it was given, and something has been said since
    if (!isCode(error, 'IDEMPOTENCY_PAYLOAD_MISMATCH')) throw error;
  }
}

/** What waits is taken back; what runs goes on. */
async function withdraw(context: GitHubContext, heard: Heard): Promise<void> {
  const found: ExecutionView | undefined = await findExecution(context.api, threadKeyOf(heard), executeIdOf(heard));
  if (found?.status === 'queued') await context.api.threads.cancel(found.execution_id);
}
