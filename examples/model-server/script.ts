/** The language of the prompts, and what the model says at each point of a conversation. */
import { createHash } from 'node:crypto';
import { object, type Conversation, type Piece, type Reply, type Tool } from './dialect.ts';

export type Step =
  | { readonly do: 'say' | 'think'; readonly text: string }
  | { readonly do: 'run'; readonly command: string }
  | { readonly do: 'tool'; readonly name: string; readonly input: unknown }
  | { readonly do: 'slow' | 'long'; readonly count: number }
  /** So many times, or always. */
  | { readonly do: 'error'; readonly status: number; readonly times: number }
  | { readonly do: 'cut' | 'echo-key' | 'recall' };

export type Played = Reply | { readonly error: number };

const LONGEST_QUOTE = 4000;
const MOST_DELTAS = 10_000;
const MOST_KILOBYTES = 4096;
const MOST_REMEMBERED = 1000;

/** The steps of a prompt; lines that are none are passed over. A prompt without any is answered as a whole. */
export function parseScript(prompt: string): Step[] {
  return prompt.split('\n').flatMap((line) => parseLine(line.trim()) ?? []);
}

function parseLine(line: string): Step | undefined {
  if (line === 'cut' || line === 'echo-key' || line === 'recall') return { do: line };
  const [, directive, rest = ''] = /^(say|think|run|tool|slow|long|error):\s*(.*)$/.exec(line) ?? [];
  switch (directive) {
    case 'say':
    case 'think':
      return { do: directive, text: rest };
    case 'run':
      return { do: 'run', command: rest };
    case 'tool':
      return parseCall(rest);
    case 'slow':
      return { do: 'slow', count: Math.min(toCount(rest), MOST_DELTAS) };
    case 'long':
      return { do: 'long', count: Math.min(toCount(rest), MOST_KILOBYTES) };
    case 'error': {
      const [status = '', times] = rest.split(/\s+/);
      const known = /^[45]\d\d$/.test(status);
      return known ? { do: 'error', status: Number(status), times: times === undefined ? Infinity : toCount(times) } : undefined;
    }
    default:
      return undefined;
  }
}

function parseCall(text: string): Step | undefined {
  const [, name, json = '{}'] = /^(\S+)\s*(\{.*\})?$/.exec(text) ?? [];
  if (name === undefined) return undefined;
  try {
    return { do: 'tool', name, input: JSON.parse(json) as unknown };
  } catch {
    return { do: 'say', text: `What is behind ${name} is not JSON.` };
  }
}

function toCount(text: string): number {
  return /^\d+$/.test(text) ? Number(text) : 1;
}

/**
 * Says what comes next, from the conversation alone: each result of a tool since the prompt is a call of the script that
 * has been made. Only how often an `error` with a count has been given is remembered here.
 */
export function createPlayer({ paceMs }: { readonly paceMs: number }) {
  const given = new Map<string, number>();

  const failsNow = (step: Extract<Step, { do: 'error' }>, place: string): boolean => {
    if (step.times === Infinity) return true;
    const times = given.get(place) ?? 0;
    if (times >= step.times) {
      given.delete(place);
      return false;
    }
    if (given.size >= MOST_REMEMBERED) given.clear();
    given.set(place, times + 1);
    return true;
  };

  return (conversation: Conversation, key: string): Played => {
    const { prompt, results } = conversation;
    const steps = parseScript(prompt);
    const pieces: Piece[] = [];
    const say = (text: string): void => void pieces.push({ type: 'text', deltas: cutUp(text, 24), paceMs: 0 });
    for (const [index, step] of steps.entries()) {
      if (index < startOf(steps, results.length)) continue;
      switch (step.do) {
        case 'say':
          say(step.text);
          break;
        case 'think':
          pieces.push({ type: 'thinking', deltas: cutUp(step.text, 24), paceMs: 0 });
          break;
        case 'slow':
          pieces.push({ type: 'text', deltas: Array.from({ length: step.count }, (_, tick) => `tick ${tick + 1} `), paceMs });
          break;
        case 'long':
          pieces.push({
            type: 'text',
            deltas: cutUp('All work and no play. '.repeat(47).slice(0, 1024).repeat(step.count), 2048),
            paceMs: 0,
          });
          break;
        case 'echo-key':
          say(`The key was ${key}`);
          break;
        case 'recall':
          say(`Before that you said: ${conversation.before.map(quote).join(' | ')}`);
          break;
        case 'error': {
          const place = createHash('sha256')
            .update(JSON.stringify([prompt, results.length, index]))
            .digest('hex');
          if (failsNow(step, place)) return { error: step.status };
          break;
        }
        case 'cut':
          return { pieces: pieces.length === 0 ? [{ type: 'text', deltas: ['This breaks ', 'off'], paceMs: 0 }] : pieces, ending: 'cut' };
        case 'run':
        case 'tool': {
          const call = step.do === 'run' ? callShell(conversation.tools, step.command) : callTool(conversation.tools, step);
          if (call !== undefined) return { pieces: [...pieces, call], ending: 'tool' };
          say(step.do === 'run' ? 'There is no shell among the tools.' : `There is no ${step.name} among the tools.`);
        }
      }
    }
    if (pieces.length === 0) say(results.length === 0 ? repeat(conversation) : `The tool said:\n${quote(results.at(-1) ?? '')}`);
    return { pieces, ending: 'stop' };
  };
}

/** Behind the call that the last result belongs to. */
function startOf(steps: readonly Step[], results: number): number {
  let calls = 0;
  for (const [index, step] of steps.entries()) {
    if (calls === results) return index;
    if (step.do === 'run' || step.do === 'tool') calls += 1;
  }
  return steps.length;
}

function repeat({ prompt, attachments }: Conversation): string {
  const more = attachments === 0 ? '' : ` (with ${attachments} attachment${attachments === 1 ? '' : 's'})`;
  return `You said: ${quote(prompt)}${more}`;
}

function quote(text: string): string {
  return text.length <= LONGEST_QUOTE ? text : `${text.slice(0, LONGEST_QUOTE)}…`;
}

function cutUp(text: string, length: number): string[] {
  return text.match(new RegExp(`[^]{1,${length}}`, 'gu')) ?? [''];
}

const SHELLS = ['Bash', 'bash', 'exec_command', 'shell_command', 'shell', 'container.exec'];

/** The shell under whichever name and with whichever parameters the request offers it. */
function callShell(tools: readonly Tool[], command: string): Piece | undefined {
  const named = SHELLS.map((name) => tools.find((tool) => tool.name === name)).find((tool) => tool !== undefined);
  const tool = named ?? tools.find(({ kind }) => kind === 'local_shell');
  if (tool === undefined) return undefined;
  const whole = ['bash', '-lc', command];
  if (tool.kind === 'local_shell') return { type: 'tool', tool, input: { type: 'exec', command: whole, env: {} } };
  const parameter = 'cmd' in tool.parameters ? 'cmd' : 'command';
  const value = object(tool.parameters[parameter]).type === 'array' ? whole : command;
  const description = 'description' in tool.parameters ? { description: 'What the script says' } : {};
  return { type: 'tool', tool, input: { [parameter]: value, ...description } };
}

function callTool(tools: readonly Tool[], { name, input }: Extract<Step, { do: 'tool' }>): Piece | undefined {
  const tool = tools.find((each) => each.name === name);
  return tool === undefined ? undefined : { type: 'tool', tool, input };
}
