/**
 * Showing turns: one comment that is there as soon as the turn is, tells what it does at a calm pace, and ends as the answer. It is
 * made once: before it is, that is noted; and whoever takes over after a death finds it by the marker in it.
 */
import { answerOf, answerUnheard, isOver, type LiveTurn, pause, showLive, Undeliverable, within } from '../../chat/index.ts';
import { isAllowedRepository } from '../act/rules.ts';
import { GitHubRefused, GitHubSilent } from '../calls.ts';
import { type GitHubContext, type GitHubDelivery, isId, PLATFORM, readDelivery } from '../context.ts';
import { commentsSince, edit, isMarked, isOwn, lastComments, post, react, turnMarker } from '../places.ts';
import type { GitHubRules } from '../settings.ts';
import { mentionedIn } from './mentions.ts';
import { type Look, renderEnd, renderWorking } from './render.ts';
import { askForUnheard } from './unheard.ts';

/** Turns at a time in one process. */
const MOST = 100;

/** Resolves when the signal has aborted and nothing is written any more. */
export function showTurns(context: GitHubContext, signal: AbortSignal): Promise<void> {
  const { api, consumerId, log } = context;
  return showLive({
    deliveries: api.deliveries,
    threads: api.threads,
    platform: PLATFORM,
    consumerId,
    most: MOST,
    signal,
    show: (live) => showTurn(context, live),
    onTrouble: (error, delivery) =>
      log({
        level: 'warn',
        message: 'a turn could not be shown',
        error: error.message,
        ...(delivery === undefined ? {} : { execution_id: delivery.execution_id, thread_key: delivery.thread_key }),
      }),
  });
}

/** A turn's delivery is whatever was handed in with it: the operator's rules hold for it, too. @throws Undeliverable */
export function placeToShow(value: unknown, rules: GitHubRules): GitHubDelivery {
  const delivery = readDelivery(value);
  if (delivery === undefined) throw new Undeliverable('its delivery does not say where on GitHub');
  if (!isAllowedRepository(delivery.repo, rules)) throw new Undeliverable('its delivery names a repository that this bot does not serve');
  return delivery;
}

/** Of each part of the answer the comment's id; null: it was about to be made. */
interface Shown {
  readonly parts: readonly (number | null)[];
}

/** Milliseconds from one look to the next: later and later. */
const CALM_MS = [5_000, 10_000, 20_000, 30_000, 60_000];
const ASLEEP_MS = 60_000;

async function showTurn(context: GitHubContext, live: LiveTurn): Promise<void> {
  const { github, settings } = context;
  const { signal } = live;
  const delivery = placeToShow(live.delivery.delivery, settings.rules);
  const comments = createComments(context, live, delivery);
  const asker = delivery.user.toLowerCase();
  const look: Look = { steps: settings.rules.steps, isPart: (login) => login === asker };

  let drawn: string | undefined;
  let waiting = '';
  let dueAt = 0;
  for (let times = 0; !isOver(live.turn());) {
    signal.throwIfAborted();
    const body = renderWorking(live.turn(), look);
    const asks = live
      .turn()
      .approvals.map((each) => `${each.id} ${each.approvalId ?? ''}`)
      .join();
    const now = context.now();
    // that people are waited for must be seen; nothing else has to
    const isDue = body !== drawn && (asks !== waiting || (now >= dueAt && github.hasRoom()));
    if (isDue) {
      await comments.show(0, body).catch((error: unknown) => {
        if (!(error instanceof GitHubSilent)) throw error;
      });
      drawn = body;
      waiting = asks;
      dueAt = context.now() + (CALM_MS[Math.min(times++, CALM_MS.length - 1)] as number);
      continue;
    }
    await within(live.changed(), body === drawn ? ASLEEP_MS : Math.max(1_000, dueAt - now));
  }
  signal.throwIfAborted();

  const turn = live.turn();
  // it was taken back before anybody saw anything of it
  if (turn.status === 'cancelled' && comments.none()) return;
  const called = [...mentionedIn(answerOf(turn))].some((login) => login !== asker);
  const participants = called ? await participantsOf(context, delivery, signal) : new Set<string>();
  const ends = renderEnd(turn, { ...look, isPart: (login) => login === asker || participants.has(login) });
  for (const [part, body] of ends.entries()) await comments.show(part, body);
  const refused = await answerUnheard(context.api.threads, live, askForUnheard(delivery));
  if (refused !== undefined)
    context.log({
      level: 'info',
      message: 'what was said to a turn too late needs none',
      code: refused,
      thread_key: live.delivery.thread_key,
    });
  if (turn.status !== 'cancelled' && turn.status !== 'interrupted')
    await react(context, delivery, delivery, turn.status === 'completed' ? 'rocket' : 'confused', signal);
}

/** Who has written there. Nobody more may be called, so it does not matter when it cannot be read. */
async function participantsOf(context: GitHubContext, delivery: GitHubDelivery, signal: AbortSignal): Promise<Set<string>> {
  try {
    const issue = await context.github.read<{ user: { login: string } | null; comments: number }>(
      delivery,
      `/issues/${delivery.number}`,
      signal,
    );
    const comments = await lastComments(context, delivery, { most: 100, count: issue.comments }, signal);
    return new Set([issue.user?.login ?? '', ...comments.map(({ login }) => login)].map((login) => login.toLowerCase()));
  } catch (error) {
    if (signal.aborted) throw error;
    return new Set();
  }
}

const TRIES = 6;
const AGAIN_MS = 2_000;
/** Their clock may be behind ours. */
const BEFORE_MS = 10 * 60_000;

function createComments(context: GitHubContext, live: LiveTurn, delivery: GitHubDelivery) {
  const { signal } = live;
  let shown = readShown(live.delivery.progress);

  async function note(part: number, id: number | null): Promise<void> {
    const parts = [...shown.parts];
    parts[part] = id;
    await live.note({ parts });
    shown = { parts };
  }

  async function find(part: number): Promise<number | undefined> {
    const { created_at: createdAt } = await context.api.threads.execution(live.delivery.execution_id);
    const marker = turnMarker(live.delivery.execution_id, part);
    const since = await commentsSince(context, delivery, Date.parse(createdAt) - BEFORE_MS, signal);
    return since.find((each) => isOwn(context, each) && isMarked(each.body, marker))?.id;
  }

  async function showOnce(part: number, body: string): Promise<void> {
    const known = shown.parts[part];
    if (known === null) {
      // somebody was about to make it, or it was made and the answer was lost
      const found = await find(part);
      if (found !== undefined) {
        await note(part, found);
        return edit(context, delivery, found, body, live);
      }
    }
    if (typeof known === 'number') {
      try {
        return await edit(context, delivery, known, body, live);
      } catch (error) {
        // deleted by a person: what is said now is said anew
        if (!(error instanceof GitHubRefused) || (error.status !== 404 && error.status !== 410)) throw error;
      }
    }
    await note(part, null);
    await note(part, await post(context, delivery, body, live));
  }

  return {
    none: () => shown.parts.every((id) => id === undefined),
    /** Makes the comment, or changes it. @throws GitHubSilent when nobody knows, Undeliverable when there is no place for it */
    async show(part: number, body: string): Promise<void> {
      for (let tries = 1; ; tries++) {
        try {
          return await showOnce(part, body);
        } catch (error) {
          if (error instanceof GitHubRefused && NO_PLACE.has(error.status)) throw new Undeliverable(error.message, { cause: error });
          if (!(error instanceof GitHubSilent) || tries >= TRIES) throw error;
          await pause(AGAIN_MS * tries, signal);
          signal.throwIfAborted();
        }
      }
    },
  };
}

/** Locked, without the right to write, gone, or not to be said there. */
const NO_PLACE: ReadonlySet<number> = new Set([403, 404, 410, 422]);

function readShown(progress: unknown): Shown {
  const parts = (progress as { parts?: unknown } | null | undefined)?.parts;
  return { parts: Array.isArray(parts) ? parts.map((id) => (isId(id) ? id : null)) : [] };
}
