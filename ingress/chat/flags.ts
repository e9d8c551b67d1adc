/**
 * What people write for the platform instead of the agent: flags such as `--codex`, anywhere in a message, and whole messages such as
 * `stop`. Code and quoted lines are left as they are: nobody means those.
 */

/** How much the model may think. */
export const EFFORTS = ['low', 'medium', 'high', 'max'] as const;
export type Effort = (typeof EFFORTS)[number];

export interface Flags {
  readonly harness?: string;
  readonly model?: string;
  readonly effort?: Effort;
  readonly persona?: string;
  /** What becomes of the message while a turn runs. */
  readonly whileRunning?: 'steer' | 'queue';
}

export interface Flagged {
  /** The message without its flags. */
  readonly text: string;
  readonly flags: Flags;
  /** One sentence for each flag that is not as it should be. It is neither in the text nor in the flags. */
  readonly problems: readonly string[];
}

/** Of two flags that say the same the later one holds. What is no flag of ours is text. */
export function readFlags(message: string): Flagged {
  const problems: string[] = [];
  let flags: Flags = {};
  const text = mapProse(message, (prose) => {
    // words at even places, what is between them at odd ones
    const pieces = prose.split(/(\s+)/);
    let kept = '';
    let space = '';
    for (let at = 0; at < pieces.length; at += 2) {
      const word = pieces[at] as string;
      const flag = readWord(word);
      if (flag === undefined) {
        kept += space + word;
        space = pieces[at + 1] ?? '';
        continue;
      }
      if ('set' in flag) flags = { ...flags, ...flag.set };
      else {
        const next = pieces[at + 2];
        const takesNext = flag.value === undefined && next !== undefined && next !== '' && readWord(next) === undefined;
        if (takesNext) at += 2;
        const value = unquote(flag.value ?? (takesNext ? next : ''));
        const set = VALUE.test(value) ? flag.take(value) : undefined;
        if (set === undefined) problems.push(`${flag.name}: expected ${flag.name === '--effort' ? EFFORTS_MEANT : 'a name'}.`);
        else flags = { ...flags, ...set };
      }
      // of the two spaces around a flag the one stays that parts more
      const after = pieces[at + 1] ?? '';
      if (lines(after) > lines(space) || space === '') space = after;
    }
    return kept + space;
  });
  return { text: text.trim(), flags, problems };
}

type Word = { readonly set: Flags } | { readonly name: string; readonly value: string | undefined; take(value: string): Flags | undefined };

function readWord(word: string): Word | undefined {
  // some keyboards make one dash of two
  const [, dashes, name = '', , value] = /^(--|[\u2013\u2014]|-(?=e(?:=|$)))([a-z]+)(=(.*))?$/s.exec(word) ?? [];
  if (dashes === undefined)
    return /^\/persona$/.test(word) ? { name: '--persona', value: undefined, take: (persona) => ({ persona }) } : undefined;
  if (value === undefined && Object.hasOwn(SET, name)) return { set: SET[name] as Flags };
  const full = dashes === '-' && name === 'e' ? 'effort' : name;
  const take = Object.hasOwn(TAKEN, full) ? TAKEN[full] : undefined;
  return take === undefined ? undefined : { name: `--${full}`, value, take };
}

const SET: Readonly<Record<string, Flags>> = {
  claude: { harness: 'claude' },
  codex: { harness: 'codex' },
  pi: { harness: 'pi' },
  amp: { harness: 'amp' },
  steer: { whileRunning: 'steer' },
  queue: { whileRunning: 'queue' },
};

const lines = (space: string): number => space.split('\n').length;

const EFFORTS_MEANT = 'low, medium, high or max';

const TAKEN: Readonly<Record<string, (value: string) => Flags | undefined>> = {
  harness: (harness) => ({ harness }),
  model: (model) => ({ model }),
  persona: (persona) => ({ persona }),
  effort(value) {
    const effort = EFFORTS.find((each) => each === value.toLowerCase());
    return effort === undefined ? undefined : { effort };
  },
};

/** Names of models have slashes, colons and brackets in them. */
const VALUE = /^[\w.:/@[\]-]{1,128}$/;

const unquote = (value: string): string => value.replace(/^["'`\u201c\u201d\u2018\u2019]+|["'`\u201c\u201d\u2018\u2019]+$/g, '');

/** Applies `change` to what is neither code nor quoted, and leaves the rest as it is. */
export function mapProse(message: string, change: (prose: string) => string): string {
  return message
    .split(CODE_OR_QUOTE)
    .map((part, index) => (index % 2 === 1 ? part : change(part)))
    .join('');
}

/** A fence that is not closed goes to the end; a quoted line begins with `>`, or with Slack's `&gt;`. */
const CODE_OR_QUOTE = /(```[\s\S]*?(?:```|$)|~~~[\s\S]*?(?:~~~|$)|`[^`\n]+`|(?<=^|\n)[ \t]{0,3}(?:>|&gt;)[^\n]*)/;

export type Control =
  | { readonly kind: 'stop' | 'release' | 'status' | 'help' | 'retry' | 'whoami' }
  | { readonly kind: 'link'; readonly code: string };

/** A message that is a command as a whole, the mention taken off; undefined: it is for the agent. */
export function readControl(message: string): Control | undefined {
  const text = message
    .trim()
    .replace(/^\/(?=\w)/, '')
    .toLowerCase()
    .replaceAll(/[\s,]+/g, ' ')
    .replace(/[ .!]+$/, '');
  const link = /^link (?:code )?([a-z0-9]{4}-?[a-z0-9]{4})$/.exec(text)?.[1];
  if (link !== undefined) {
    const code = link.replace('-', '').toUpperCase();
    return { kind: 'link', code: `${code.slice(0, 4)}-${code.slice(4)}` };
  }
  const plain = text
    .replace(/\?+$/, '')
    .trim()
    .replace(/^(?:please |pls |ok |okay |hey |no |(?:can|could|would|will) you (?:please )?)+/, '')
    .replace(/(?: please| pls| now| thanks| thank you)+$/, '');
  const command = Object.hasOwn(COMMANDS, plain) ? COMMANDS[plain] : undefined;
  return command === undefined ? undefined : { kind: command };
}

const COMMANDS: Readonly<Record<string, Exclude<Control['kind'], 'link'>>> = {
  stop: 'stop',
  'stop it': 'stop',
  'stop that': 'stop',
  'stop this': 'stop',
  'stop working': 'stop',
  cancel: 'stop',
  'cancel it': 'stop',
  'cancel that': 'stop',
  'cancel this': 'stop',
  kill: 'stop',
  'kill it': 'stop',
  abort: 'stop',
  halt: 'stop',
  release: 'release',
  reset: 'release',
  'start over': 'release',
  status: 'status',
  help: 'help',
  retry: 'retry',
  'try again': 'retry',
  'try it again': 'retry',
  whoami: 'whoami',
  'who am i': 'whoami',
};
