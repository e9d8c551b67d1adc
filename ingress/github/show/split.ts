/** An answer that is longer than a comment may be, in several: between paragraphs where there are any, and with its code fenced in each. */
import { closeFence, type Fence, nextFence } from '../../chat/fence.ts';
import { cutAt } from '../../chat/index.ts';

/** Of a fence, when it is opened again: each part must have room for more than that. */
const FENCE_MOST = 100;

export function splitMarkdown(text: string, limit: number): string[] {
  if (text.length <= limit) return [text];
  const parts: string[] = [];
  let part: string[] = [];
  let length = 0;
  let fence: Fence = null;
  const room = (): number => limit - (fence === null ? 0 : fence.length + 1);
  const close = (rest: string[]): void => {
    parts.push([...part, ...(fence === null ? [] : [closeFence(fence)])].join('\n').trimEnd());
    part = fence === null ? rest : [fence, ...rest];
    length = part.join('\n').length;
  };
  for (const whole of text.split('\n')) {
    for (const line of cutLine(whole, Math.floor(limit / 2))) {
      if (part.length > 0 && length + 1 + line.length > room()) {
        const at = fence === null ? part.lastIndexOf('') : -1;
        const rest = at > part.length / 2 ? part.splice(at) : [];
        close(rest.slice(1));
      }
      length += (part.length > 0 ? 1 : 0) + line.length;
      part.push(line);
      fence = nextFence(line, fence)?.slice(0, FENCE_MOST) ?? null;
    }
  }
  if (part.some((line) => line.trim() !== '')) parts.push(part.join('\n'));
  return parts;
}

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
