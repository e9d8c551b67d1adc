/** Who is called by an answer: only who took part. Everybody else's name stays readable, and rings nowhere. */
import { parseMarkdown } from '../../chat/parse.ts';

/** @param isPart whether somebody took part, by the login in small letters */
export function quietMentions(markdown: string, isPart: (login: string) => boolean): string {
  const changes: { at: number; end: number; text: string }[] = [];
  const root = parseMarkdown(markdown);
  const quiet = (kind: 'text' | 'html', from: number, to: number): void => {
    for (const found of markdown.slice(from, to).matchAll(MENTION)) {
      const [whole, sign = '@', name = '', team] = found;
      if (team === undefined && isPart(name.toLowerCase())) continue;
      const at = from + found.index;
      const end = at + whole.length;
      // beside a backtick another one would mean something else; and HTML knows none
      const inCode = kind === 'text' && markdown[at - 1] !== '`' && markdown[end] !== '`';
      changes.push({ at, end, text: inCode ? `\`@${whole.slice(sign.length)}\`` : `@${JOINER}${whole.slice(sign.length)}` });
    }
  };
  // what is too hard to read is all taken for HTML
  if (root === undefined) quiet('html', 0, markdown.length);
  else visit(root, quiet);
  const pieces: string[] = [];
  let done = 0;
  for (const { at, end, text } of changes.sort((a, b) => a.at - b.at)) {
    pieces.push(markdown.slice(done, at), text);
    done = end;
  }
  return pieces.join('') + markdown.slice(done);
}

/** Logins that an answer might call, in small letters; of teams nothing. It is not parsed: what is in code is among them. */
export function mentionedIn(markdown: string): ReadonlySet<string> {
  return new Set([...markdown.matchAll(MENTION)].flatMap(([, , name = '', team]) => (team === undefined ? [name.toLowerCase()] : [])));
}

/** The sign may be written as an entity: GitHub reads what it becomes. */
const MENTION = /(?<![\w@/.`])(@|&#0*64;|&#x0*40;|&commat;)([a-z\d](?:[a-z\d-]{0,38}))(\/[\w.-]+)?/gi;
/** Has no width, and no login has one in it. */
const JOINER = '\u2060';

interface Node {
  readonly type: string;
  readonly children?: readonly Node[];
  readonly position?: { readonly start: { readonly offset?: number }; readonly end: { readonly offset?: number } };
}

/** Without recursion: an answer may be nested as deeply as it likes. */
function visit(root: unknown, found: (kind: 'text' | 'html', from: number, to: number) => void): void {
  const open: Node[] = [root as Node];
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    const { type, children = [], position } = node;
    const [from, to] = [position?.start.offset, position?.end.offset];
    if ((type === 'text' || type === 'html') && from !== undefined && to !== undefined) found(type, from, to);
    // what parts a link from its text, or a note from its name, is in no node
    open.push(...children);
  }
}
