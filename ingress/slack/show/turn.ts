/** One turn in its thread, from the first sign to the last file. */
import { CentaurApiError, type ExecutionView } from '@centaur/sdk';
import { answerUnheard, ending, isOver, type LiveTurn, pause, type Turn, Undeliverable } from '../../chat/index.ts';
import { SlackRefused, SlackSilent } from '../calls.ts';
import type { SlackContext, SlackDelivery } from '../context.ts';
import { nothingShown, type Shown, toEdits } from '../render/shown.ts';
import { answered, isGone, type Place, refused, type Scene } from '../render/stream.ts';
import type { Facts } from '../render/words.ts';
import { isDirect } from '../settings.ts';
import type { Board, Step } from './board.ts';
import { filesOfTurn, upload } from './files.ts';
import { placeOf, readDelivery } from './place.ts';
import { askForUnheard } from './unheard.ts';
import { NO_PROGRESS, type Progress, progressOf, readProgress, shownAfter, type Uploaded } from './progress.ts';
import { isAskGone, recover } from './thread.ts';

/** They put a message there: made twice, it is there twice. */
const POSTS: ReadonlySet<string> = new Set(['chat.startStream', 'chat.postMessage']);
/** What Slack answers when it does not know either whether it was done. */
const UNSURE: ReadonlySet<string> = new Set(['internal_error', 'fatal_error', 'service_unavailable', 'request_timeout']);
/** Of a stream that was to be closed: it is. */
const CLOSED: ReadonlySet<string> = new Set(['message_not_in_streaming_state', 'stopped_by_user', 'message_not_found']);
const LONGEST_REST_MS = 30_000;
/** A status that Slack does not answer about must not keep the first message back. */
const STATUS_MS = 2_000;

/** Resolves when all of it is shown. @throws Undeliverable; the signal's reason; what Slack may take another time */
export async function showTurn(context: SlackContext, board: Board, live: LiveTurn): Promise<void> {
  const { api, slack, settings } = context;
  const { execution_id: executionId, thread_key: threadKey } = live.delivery;
  const delivery = readDelivery(live.delivery.delivery, settings.rules);
  const place = placeOf(delivery);
  const before = readProgress(live.delivery.progress);
  const noted = before ?? NO_PROGRESS;

  let shown: Shown = before === undefined || isFresh(noted) ? nothingShown(settings.rules.show) : shownAfter(noted);
  /** When the call began of which nobody knows whether it was done. */
  let began = noted.began;
  let { answerFile, files } = noted;
  let rests = 0;

  const stopped = new AbortController();
  const signal = AbortSignal.any([live.signal, stopped.signal]);
  const follower = createFollower(context, board, { live, delivery, place, shown: () => shown, signal });
  const followed = follower.run().catch((error: unknown) => stopped.abort(error));

  try {
    if (began === null && isFresh(noted)) await setStatus(context, delivery, live.turn(), signal);
    if (!noted.isFinal) await draw();
    if (follower.isWithdrawn()) return;
    if (!noted.isFinal) {
      shown = { ...shown, isFinal: true };
      await keep();
    }
    await sendFiles();
    const refusal = await answerUnheard(api.threads, live, askForUnheard(context, delivery));
    if (refusal !== undefined)
      context.log({ level: 'info', message: 'what was said to a turn too late needs none', code: refusal, thread_key: threadKey });
  } finally {
    stopped.abort();
    await followed;
  }

  async function draw(): Promise<void> {
    for (;;) {
      const step: Step = began === null ? await board.next(follower.scene, signal) : { do: 'recover' };
      if (follower.isWithdrawn()) {
        if (step.do === 'call') slack.forgo(step.reserved);
        return takeBack();
      }
      if (step.do === 'done') return;
      if (step.do === 'call') await make(step);
      else if (step.do === 'upload') await attachAnswer(step);
      else await lookUp();
    }
  }

  async function make({ call, reserved }: Extract<Step, { do: 'call' }>): Promise<void> {
    const isPost = POSTS.has(call.method);
    try {
      if (isPost) {
        began = context.now();
        await keep();
      }
      signal.throwIfAborted();
      live.throwIfLost();
    } catch (error) {
      slack.forgo(reserved);
      throw error;
    }
    const open = openOf(shown);
    let isSure = true;
    try {
      shown = answered(call.afterwards, await slack.draw(reserved, call.args));
      rests = 0;
      began = null;
    } catch (error) {
      if (error instanceof SlackSilent) return doubt(call.method, error);
      if (!(error instanceof SlackRefused)) throw error;
      if (UNSURE.has(error.code)) return doubt(call.method, error);
      began = null;
      if (error.code === 'stopped_by_user') await stopTurn();
      const after = refused(shown, call, error.code);
      if (after.do === 'stop') throw new Undeliverable(error.message);
      if (after.do === 'later') throw error;
      if (error.code !== 'ratelimited') say('Slack refused to show it so', error);
      shown = after.shown;
      isSure = CLOSED.has(error.code);
    }
    if (isPost) await keep();
    // or whoever takes over closes it once more, and Slack counts that: nothing worse, so it waits for no platform that is away
    else if (isSure && openOf(shown) < open && !shown.isFinal)
      await live.note(progress()).catch((error: Error) => say('that a stream is closed could not be noted', error));
  }

  /** It may have been done: what was posted is looked for, what was said is written once more. */
  async function doubt(method: string, error: Error): Promise<void> {
    say('Slack did not say whether it was done', error);
    // a stream that may have grown is closed, and edited from then on
    if (!POSTS.has(method) && shown.by === 'stream') shown = toEdits(shown);
    await slack.until(context.now() + Math.min(LONGEST_REST_MS, 500 * 2 ** rests++), signal);
    signal.throwIfAborted();
  }

  async function lookUp(): Promise<void> {
    try {
      shown = await recover(context, delivery, { executionId, known: shown, began: began ?? 0 }, signal);
      began = null;
      rests = 0;
    } catch (error) {
      if (error instanceof SlackRefused && isGone(error.code)) throw new Undeliverable(error.message);
      if (!(error instanceof SlackRefused || error instanceof SlackSilent)) throw error;
      await doubt('conversations.replies', error);
    }
  }

  async function attachAnswer({ call }: Extract<Step, { do: 'upload' }>): Promise<void> {
    const { filename, content } = call.args as { filename: string; content: string };
    await send(
      answerFile,
      async () => [{ name: filename, data: Buffer.from(content) }],
      async (uploaded) => {
        answerFile = uploaded;
        await keep();
      },
    );
    shown = call.afterwards;
  }

  /** What the agent made, below the answer. */
  async function sendFiles(): Promise<void> {
    const execution = await follower.execution();
    const { items } = await api.threads.attachments(threadKey);
    const made = filesOfTurn(items, execution, settings.rules.files);
    const read = async () => {
      const all = [];
      for (const { id, name } of made) all.push({ name, data: await api.threads.readAttachment(id) });
      return all;
    };
    await send(files, read, async (uploaded) => {
      files = uploaded;
      await keep();
    });
  }

  /** Files that Slack does not take are no reason to owe the answer. */
  async function send(uploaded: Uploaded, all: Parameters<typeof upload>[1]['files'], note: (uploaded: Uploaded) => Promise<void>) {
    try {
      await upload(context, { delivery, uploaded, files: all, note, signal });
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof SlackRefused || error instanceof SlackSilent)) throw error;
      say('Slack did not take files', error);
    }
  }

  /** Who asked has taken the question back, before anything came of it. */
  async function takeBack(): Promise<void> {
    const ours = toEdits(shown);
    for (const ts of ours.toStop) await quietly('chat.stopStream', { channel: place.channel, ts });
    for (const { ts } of ours.messages) await quietly('chat.delete', { channel: place.channel, ts });
  }

  async function quietly(method: string, args: Readonly<Record<string, unknown>>): Promise<void> {
    live.throwIfLost();
    await slack.call(method, args, { signal }).catch((error: Error) => say('Slack did not take it back', error));
  }

  /** Slack's own button, which ends a stream, means the turn. */
  async function stopTurn(): Promise<void> {
    if (isOver(live.turn())) return;
    await api.threads.cancel(executionId).catch((error: Error) => say('the turn could not be stopped', error));
  }

  function progress(): Progress {
    return progressOf(shown, { began, answerFile, files });
  }

  /** Notes what is shown, however long the platform is away; whoever else took the turn over ends it. */
  async function keep(): Promise<void> {
    for (let tries = 0; ; tries++) {
      try {
        return await live.note(progress());
      } catch (error) {
        if (!(error instanceof CentaurApiError) || (error.status !== 0 && error.status < 500 && error.status !== 429)) throw error;
        await pause(Math.min(5_000, 100 * 2 ** tries), signal);
        signal.throwIfAborted();
      }
    }
  }

  function say(message: string, error: Error): void {
    context.log({ level: 'warn', message, error: error.message, execution_id: executionId, trace_id: live.delivery.trace_id });
  }
}

/** Streams that nobody is known to have closed. */
const openOf = ({ toStop, stream }: Shown): number => toStop.length + (stream === null ? 0 : 1);

/** Nothing was begun. */
function isFresh({ messages, began, isFinal }: typeof NO_PROGRESS): boolean {
  return messages.length === 0 && began === null && !isFinal;
}

/** In the assistant's container it is there at once, and goes with the first message. Elsewhere the message itself is the first sign. */
async function setStatus({ slack }: SlackContext, { channel, thread_ts }: SlackDelivery, turn: Turn, signal: AbortSignal): Promise<void> {
  if (!isDirect(channel) || isOver(turn)) return;
  const status = 'is thinking…';
  const asked = slack.call('assistant.threads.setStatus', { channel_id: channel, thread_ts, status }, { signal });
  // in a thread that is not the assistant's it is refused
  await Promise.race([asked.catch(() => {}), pause(STATUS_MS, signal)]);
}

interface Follower {
  /** Resolves when the turn is over. */
  run(): Promise<void>;
  scene(): Scene;
  /** Whether it was cancelled before it began, by deleting the message that asked. */
  isWithdrawn(): boolean;
  execution(): Promise<ExecutionView>;
}

/** The turn as it stands, with all that its last words need. */
function createFollower(
  context: SlackContext,
  board: Board,
  of: { readonly live: LiveTurn; readonly delivery: SlackDelivery; readonly place: Place; shown(): Shown; readonly signal: AbortSignal },
): Follower {
  const { live, delivery, place, signal } = of;
  const { execution_id: executionId } = live.delivery;
  let turn: Turn = live.turn();
  let facts: Facts = { harness: '', startedAt: context.now() };
  let isWithdrawn = false;
  let known: ExecutionView | undefined;

  const execution = async (): Promise<ExecutionView> => (known ??= await context.api.threads.execution(executionId));

  return {
    execution,
    isWithdrawn: () => isWithdrawn,
    scene: () => ({ turn, shown: of.shown(), place, facts, now: context.now() }),
    async run() {
      const stopped = ending(signal);
      for (;;) {
        const next = live.turn();
        const changed = live.changed();
        // it may fail while the last facts are asked for
        changed.catch(() => {});
        if (isOver(next)) {
          facts = factsOf(await execution());
          if (wasNothing(next)) isWithdrawn = await isAskGone(context, delivery, signal).catch(() => false);
        }
        turn = next;
        board.wake();
        if (isOver(next)) return;
        await Promise.race([changed, stopped]);
        if (signal.aborted) return;
      }
    },
  };
}

const wasNothing = (turn: Turn): boolean => turn.status === 'cancelled' && turn.messages.length === 0 && turn.steps.length === 0;

function factsOf({ harness, model, created_at: created, started_at: started, completed_at: completed }: ExecutionView): Facts {
  return {
    harness,
    ...(model === null ? {} : { model }),
    startedAt: Date.parse(started ?? created),
    ...(completed === null || started === null ? {} : { endedAt: Date.parse(completed) }),
  };
}
