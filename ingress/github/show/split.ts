/** An answer that is longer than a comment may be, in several: between paragraphs where there are any, and with its code fenced in each. */
import { cutAt } from '../../chat/index.ts';

export function splitMarkdown(text: string, limit: number): string[] {
  if (text.length <= limit) return [text];
  const parts: string[] = [];
  let part: string[] = [];
  let length = 0;
  let fence: string | undefined;
  const room = (): number => limit - (fence === undefined ? 0 : fence.length + 1);
  const close = (rest: string[]): void => {
    parts.push([...part, ...(fence === undefined ? [] : [closing(fence)])].join('\n').trimEnd());
    part = fence === undefined ? rest : [fence, ...rest];
    length = part.join('\n').length;
  };
  for (const whole of text.split('\n')) {
    for (const line of cutLine(whole, Math.floor(limit / 2))) {
      if (part.length > 0 && length + 1 + line.length > room()) {
        const at = fence === undefined ? part.lastIndexOf('') : -1;
        const rest = at > part.length / 2 ? part.splice(at) : [];
        close(rest.slice(1));
      }
      length += (part.length > 0 ? 1 : 0) + line.length;
      part.push(line);
      fence = fenceAfter(fence, line);
    }
  }
  if (part.some((line) => line.trim() !== '')) parts.push(part.join('\n'));
  return parts;
}

function fenceAfter(fence: string | undefined, line: string): string | undefined {
  const [, marks, info = ''] = /^ {0,3}(`{3,}|~{3,})(.*)$/.exec(line) ?? [];
  if (marks === undefined) return fence;
  if (fence === undefined) return marks.startsWith('`') && info.includes('`') ? undefined : `${marks}${info}`.slice(0, FENCE_MOST);
  return marks[0] === fence[0] && marks.length >= closing(fence).length && info.trim() === '' ? undefined : fence;
}

const FENCE_MOST = 100;
const closing = (fence: string): string => /^(?:`+|~+)/.exec(fence)?.[0] ?? '```';

function cutLine(line: string, most: number): string[] {
  const pieces: string[] = [];
  let rest = line;
  while (rest.length > most) {
    const at = cutAt(rest, most);
    pieces.push(rest.slice(0, at));
    rest = rest.slice(at);
  }
  return [...pieces, rest];
}
