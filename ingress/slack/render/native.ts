/**
 * A turn as a stream of Slack's, or several after each other: Slack closes each after some minutes, and takes only so much.
 * What the agent says is appended as it comes, its steps are cards. A stream that turned out wrong is closed, and edited.
 */
import { answerOf, isOver, stepCount, transcriptOf, type Turn, utf8Length } from '../../chat/index.ts';
import { closeFence, fenceAfter } from '../../chat/fence.ts';
import { turnButtons } from './buttons.ts';
import { cardChunks, type Chunk, closeCards, drawCards, sizeOfCards, streamTitle } from './cards.ts';
import { planEdits } from './edits.ts';
import { LIMITS } from './limits.ts';
import { cutMarkdown, reopenFence, safeMarkdown, sayableLength } from './segment.ts';
import { digestOf, metadataOf, type OpenStream, type Shown, type ShownCard, toEdits } from './shown.ts';
import type { Next, Scene } from './stream.ts';
import { footer } from './words.ts';

/** For the fence that is closed at the end, and the line before it. */
const MARGIN_BYTES = 60;
/** Of the marks that a fence has, with the line before its end. */
const FENCE_MOST = MARGIN_BYTES - 1;

export function planStream(scene: Scene): Next {
  const { turn, shown } = scene;
  if (shown.isFinal) return { do: 'done' };
  const text = textOf(turn);
  if (isWrong(turn, text, shown)) return planEdits({ ...scene, shown: toEdits(shown) });
  return shown.stream === null ? planStart(scene, text) : planMore(scene, text, shown.stream);
}

/** All that was said; of a harness that tells no more than its result, that. */
function textOf(turn: Turn): string {
  const transcript = transcriptOf(turn);
  return transcript === '' && isOver(turn) ? answerOf(turn) : transcript;
}

/** What was said is not what the agent said, or it is not the answer, or the answer is longer than is shown. */
function isWrong(turn: Turn, text: string, shown: Shown): boolean {
  const { length, digest } = shown.stream ?? shown.said;
  if (digestOf(text.slice(0, length)) !== digest) return true;
  if (!isOver(turn)) return false;
  return text.length > LIMITS.answer || !text.trimEnd().endsWith(answerOf(turn).trim());
}

function planStart(scene: Scene, text: string): Next {
  const { turn, shown, place, now } = scene;
  const segment = shown.messages.length;
  // whole at once: one message that nobody sees grow
  if (isOver(turn) && segment === 0) return planEdits({ ...scene, shown: toEdits(shown) });
  const isNews = segment === 0 || isOver(turn) || text.length > shown.said.length || doing(turn) !== shown.said.doing;
  if (!isNews) return { do: 'nothing' };
  const cards = drawCards(turn, segment, shown.said.steps, []);
  const title = streamTitle(turn);
  const { fence } = shown.said;
  const opening = reopenFence(fence);
  const chunks: Chunk[] = [{ type: 'plan_update', title }, ...cardChunks(cards, []), ...markdownChunk(opening)];
  const recipient =
    place.recipient === undefined ? {} : { recipient_user_id: place.recipient.userId, recipient_team_id: place.recipient.teamId };
  const stream: OpenStream = {
    ts: '',
    startedAt: now,
    appendedAt: now,
    length: shown.said.length,
    digest: shown.said.digest,
    fence,
    textLength: opening.length,
    textBytes: utf8Length(opening),
    isAtLineStart: true,
    title,
    cards,
  };
  return {
    do: 'call',
    method: 'chat.startStream',
    args: { channel: place.channel, thread_ts: place.threadTs, ...recipient, task_display_mode: 'plan', chunks },
    afterwards: { ...shown, stream, lastEventId: turn.lastEventId, lastCallAt: now },
  };
}

function planMore(scene: Scene, text: string, stream: OpenStream): Next {
  const { turn, shown, place, facts, now } = scene;
  const isFinal = isOver(turn);
  const segment = shown.messages.length;
  const cards = drawCards(turn, segment, shown.said.steps, stream.cards);
  const title = streamTitle(turn);
  const rest = text.slice(stream.length, LIMITS.answer);
  const sayable = isFinal ? rest.length : sayableLength(rest, stream.fence);
  const piece = takePiece(rest.slice(0, sayable), stream, cards, place.mentions ?? []);
  const grown = grow(stream, text, piece, { cards, title, now });
  const note = { ...shown, lastEventId: turn.lastEventId, lastCallAt: now };
  const isFull = piece.length < sayable;
  // no room for its end; and a shorter one would end something else
  if ((!isFinal || isFull) && closeFence(grown.fence).length > FENCE_MOST) return planEdits({ ...scene, shown: toEdits(shown) });
  const target = { channel: place.channel, ts: stream.ts };

  if (isFinal || isFull || now >= stream.startedAt + LIMITS.streamMs) {
    const isLast = isFinal && !isFull;
    const closed = isLast ? cards : closeCards(cards);
    const closing = isLast ? '' : closeFence(grown.fence);
    const said = `${piece.said}${closing !== '' && !grown.isAtLineStart ? '\n' : ''}${closing}`;
    const chunks = [...titleChunk(title, stream), ...cardChunks(closed, stream.cards), ...markdownChunk(said)];
    const blocks = isLast
      ? {
          blocks: [
            { type: 'context', elements: footer(turn, facts).map((line) => ({ type: 'mrkdwn', text: line })) },
            ...turnButtons(turn),
          ],
        }
      : {};
    const metadata = metadataOf(turn.executionId, segment, turn.lastEventId, isLast);
    return {
      do: 'call',
      method: 'chat.stopStream',
      args: { ...target, ...(chunks.length === 0 ? {} : { chunks }), ...blocks, metadata },
      afterwards: {
        ...note,
        stream: null,
        messages: [...shown.messages, { ts: stream.ts, digest: '' }],
        said: { length: grown.length, digest: grown.digest, fence: grown.fence, steps: stepCount(turn), doing: doing(turn) },
        isFinal: isLast,
      },
    };
  }

  const chunks = [...titleChunk(title, stream), ...cardChunks(cards, stream.cards), ...markdownChunk(piece.said)];
  if (chunks.length === 0) return { do: 'wait', until: stream.startedAt + LIMITS.streamMs };
  const due = stream.appendedAt + LIMITS.appendEveryMs;
  if (due > now) return { do: 'wait', until: due };
  return { do: 'call', method: 'chat.appendStream', args: { ...target, chunks }, afterwards: { ...note, stream: grown } };
}

interface Piece {
  /** Of the transcript. */
  readonly length: number;
  /** The same, made safe. */
  readonly said: string;
}

/** As much as the stream has room for. */
function takePiece(rest: string, stream: OpenStream, cards: readonly ShownCard[], mentions: readonly string[]): Piece {
  const room = LIMITS.streamBytes - MARGIN_BYTES - stream.textBytes - sizeOfCards(cards);
  let limit = Math.min(rest.length, LIMITS.streamText - MARGIN_BYTES - stream.textLength, room);
  while (limit > 0) {
    const length = cutMarkdown(rest, limit, stream.fence);
    const said = safeMarkdown(rest.slice(0, length), stream.fence, mentions);
    if (utf8Length(said) <= room && stream.textLength + said.length <= LIMITS.streamText - MARGIN_BYTES) return { length, said };
    limit = Math.floor(Math.min(limit, length) * 0.8);
  }
  return { length: 0, said: '' };
}

function grow(
  stream: OpenStream,
  text: string,
  piece: Piece,
  now: { cards: readonly ShownCard[]; title: string; now: number },
): OpenStream {
  const length = stream.length + piece.length;
  const before = text.lastIndexOf('\n', stream.length - 1) + 1;
  return {
    ...stream,
    appendedAt: now.now,
    length,
    digest: digestOf(text.slice(0, length)),
    // a line that was begun before is read as a whole; the fence is the one before it
    fence: fenceAfter(text.slice(Math.max(before, 0), length), stream.fence),
    textLength: stream.textLength + piece.said.length,
    textBytes: stream.textBytes + utf8Length(piece.said),
    isAtLineStart: piece.said === '' ? stream.isAtLineStart : piece.said.endsWith('\n'),
    title: now.title,
    cards: now.cards,
  };
}

const titleChunk = (title: string, stream: OpenStream): Chunk[] => (title === stream.title ? [] : [{ type: 'plan_update', title }]);
const markdownChunk = (text: string): Chunk[] => (text === '' ? [] : [{ type: 'markdown_text', text }]);

/** What would be news in a stream that begins. */
const doing = (turn: Turn): string =>
  digestOf([turn.status, turn.waitsFor, turn.approvals.length, turn.steps.map((step) => [step.id, step.state])]);
