/** A turn as messages that are posted once and then edited: what each of them should show, and the next call that gets them there. */
import { answerOf, commentaryOf, isOver, clipLine, type Turn } from '../../chat/index.ts';
import type { Block } from './blocks.ts';
import { turnButtons } from './buttons.ts';
import { LIMITS } from './limits.ts';
import { mrkdwnText, toMrkdwn } from './mrkdwn.ts';
import { digestOf, metadataOf, type Shown, type ShownMessage } from './shown.ts';
import { type SlackMessage, splitAnswer, type SplitAnswer } from './split.ts';
import type { Next, Scene } from './stream.ts';
import { footer, progress } from './words.ts';

/** Of the last commentary, above a turn that goes on. */
const COMMENTARY = 300;

export function planEdits({ turn, shown, place, facts, now }: Scene): Next {
  const [stop] = shown.toStop;
  if (stop !== undefined)
    return {
      do: 'call',
      method: 'chat.stopStream',
      args: { channel: place.channel, ts: stop },
      afterwards: { ...shown, toStop: shown.toStop.slice(1) },
    };
  // before anything is drawn: drawing costs more than all the rest
  const due = shown.lastCallAt + LIMITS.updateEveryMs;
  if (shown.messages.length > 0 && due > now) return { do: 'wait', until: due };
  const isFinal = isOver(turn);
  if (!shown.canEdit && !isFinal) return { do: 'nothing' };
  const { messages, attachment } = drawTurn(turn, facts, place.mentions ?? [], shown.as);
  const digests = messages.map(digestOf);
  const index = digests.findIndex((digest, each) => {
    const there = shown.messages[each];
    return there === undefined || (shown.canEdit && digest !== there.digest);
  });
  const note = { lastEventId: turn.lastEventId, lastCallAt: now };
  if (index !== -1) {
    const known = shown.messages[index];
    const { blocks, text } = messages[index] as SlackMessage;
    const metadata = metadataOf(turn.executionId, index, turn.lastEventId, isFinal);
    const next: ShownMessage = { ts: known?.ts ?? '', digest: digests[index] ?? '' };
    if (known !== undefined) {
      const args = { channel: place.channel, ts: known.ts, blocks, text, metadata };
      return { do: 'call', method: 'chat.update', args, afterwards: { ...shown, ...note, messages: shown.messages.with(index, next) } };
    }
    return {
      do: 'call',
      method: 'chat.postMessage',
      args: { channel: place.channel, thread_ts: place.threadTs, blocks, text, metadata, unfurl_links: false, unfurl_media: false },
      afterwards: { ...shown, ...note, messages: [...shown.messages, next] },
    };
  }
  const surplus = shown.messages.at(-1);
  if (surplus !== undefined && shown.messages.length > messages.length) {
    return {
      do: 'call',
      method: 'chat.delete',
      args: { channel: place.channel, ts: surplus.ts },
      afterwards: { ...shown, ...note, messages: shown.messages.slice(0, -1) },
    };
  }
  if (isFinal && attachment !== undefined && !shown.isAttached) {
    const args = { channel_id: place.channel, thread_ts: place.threadTs, ...attachment };
    return { do: 'call', method: 'files.upload', args, afterwards: { ...shown, ...note, isAttached: true } };
  }
  return isFinal ? { do: 'done' } : { do: 'nothing' };
}

/** By turns, which never change: many are drawn again only because another one is due. */
const drawn = new WeakMap<Turn, { readonly of: string; readonly drawing: SplitAnswer }>();

function drawTurn(turn: Turn, facts: Scene['facts'], mentions: readonly string[], as: Shown['as']): SplitAnswer {
  const of = JSON.stringify([facts, mentions, as]);
  const known = drawn.get(turn);
  if (known?.of === of) return known.drawing;
  const drawing = draw(turn, facts, mentions, as);
  drawn.set(turn, { of, drawing });
  return drawing;
}

/** All of a turn as it stands. There is always a first message. */
function draw(turn: Turn, facts: Scene['facts'], mentions: readonly string[], as: Shown['as']): SplitAnswer {
  const isFinal = isOver(turn);
  const split = splitAnswer(answerOf(turn), { mentions, as });
  const messages = (split.messages.length === 0 ? [{ blocks: [], text: '' }] : split.messages).map((message) => [...message.blocks]);
  const [last = ''] = commentaryOf(turn).slice(-1);
  if (!isFinal) {
    messages[0]?.unshift(context([progress(turn)]), ...turnButtons(turn));
    if (last !== '') messages[0]?.unshift(context([`_${mrkdwnText(clipLine(last, COMMENTARY)).replaceAll('_', '\u2060_')}_`]));
  } else messages.at(-1)?.push(context(footer(turn, facts)), ...turnButtons(turn));
  return { ...split, messages: messages.map((blocks) => ({ blocks, text: toMrkdwn(blocks, LIMITS.fallbackText) })) };
}

function context(lines: readonly string[]): Block {
  return { type: 'context', elements: lines.map((text) => ({ type: 'mrkdwn', text: text.slice(0, LIMITS.blockText) })) };
}
