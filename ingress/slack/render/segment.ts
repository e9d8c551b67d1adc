/**
 * Markdown for Slack's streams, which take it as it is written, piece by piece, and show it by rules of their own. What was
 * said once cannot be taken back: a piece is made safe before it is said, and what is not decided yet is held back.
 */
import { type Fence, fenceAfter, nextFence } from '../../chat/fence.ts';
import { cutAt } from '../../chat/text.ts';
import { safeLabel, safeUrl } from './links.ts';
import { JOINER, settledLength, withoutPings } from './text.ts';

/** What begins it again in the next stream. */
export function reopenFence(fence: Fence): string {
  return fence === null ? '' : `${fence}\n`;
}

/** How much of a text that grows can be said: no half of a ping, of a link or of a fence. */
export function sayableLength(text: string, fence: Fence): number {
  const settled = settledLength(text);
  const line = text.lastIndexOf('\n', settled - 1) + 1;
  const last = text.slice(line, settled);
  // what may become a fence, or the end of one
  if (/^ {0,3}(?:`{1,2}|~{1,2}|(?:`{3,}|~{3,})[^`]*)$/.test(last)) return line;
  if (fenceAfter(text.slice(0, line), fence) !== null) return settled;
  const link = /!?\[[^[\]\n]{0,300}(?:\](?:\([^()\s]{0,2000})?)?$|!$|<[a-z][a-z\d+.-]{0,20}$/i.exec(last);
  return line + (link?.index ?? last.length);
}

/** The piece as it may be said: it calls nobody, and its links lead where they say. `fence` is the one open before it. */
export function safeMarkdown(text: string, fence: Fence, mentions: readonly string[]): string {
  let open = fence;
  return text
    .split('\n')
    .map((line) => {
      const isCode = open !== null;
      open = nextFence(line, open);
      return withoutPings(isCode || open !== null ? line : safeLine(line), mentions);
    })
    .join('\n');
}

function safeLine(line: string): string {
  return line
    .replace(/^( {0,3}\[[^\]]*\])(?=:)/, `$1${JOINER}`)
    .replace(/<(?=[a-z][a-z\d+.-]*:)(?!https?:\/\/|mailto:)/gi, `<${JOINER}`)
    .replace(
      /\[((?:[^[\]\\]|\\.){0,300})\]\(([^()\s<>]{1,2000})\)|\]\(/g,
      (whole: string, label: string | undefined, url: string | undefined, at: number) => {
        if (isInCode(line, at)) return whole;
        const isSafe = label !== undefined && url !== undefined && safeUrl(url) !== undefined && safeLabel(label, url) === label;
        return isSafe ? whole : whole.replace('](', `]${JOINER}(`);
      },
    );
}

const isInCode = (line: string, at: number): boolean => line.slice(0, at).split('`').length % 2 === 0;

/** Where to cut text that is too long: rather between paragraphs or lines; rows of tables and lines of code stay whole. */
export function cutMarkdown(text: string, limit: number, fence: Fence): number {
  if (text.length <= limit) return text.length;
  const paragraph = text.lastIndexOf('\n\n', limit - 2) + 2;
  if (paragraph > limit / 2 && fenceAfter(text.slice(0, paragraph), fence) === null) return paragraph;
  const line = text.lastIndexOf('\n', limit - 1) + 1;
  const cutsLine = /^\s*\|/.test(text.slice(line, limit)) || fenceAfter(text.slice(0, line), fence) !== null;
  if (line > 0 && (cutsLine || line > limit / 2)) return line;
  const end = cutAt(text, limit);
  const link = /!?\[[^[\]\n]{0,300}(?:\](?:\([^()\s]{0,2000})?)?$/.exec(text.slice(line, end));
  return link === null || line + link.index === 0 ? end : line + link.index;
}
