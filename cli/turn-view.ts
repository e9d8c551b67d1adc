/**
 * Following a thread. What the agent says goes to stdout as it comes; what it does, one line each, and how a turn stands go
 * to stderr. On a terminal a line below tells that a silent turn is at work.
 */
import type { ContentBlock, ExecutionStatus, ThreadEvent, ThreadEventData } from '@centaur/sdk';
import { duration, jsonText, paint, printable } from './output.ts';
import { clip, FRAME_MS, FRAMES } from './progress.ts';

/** Shows a thread's events as they come. */
export interface TurnView {
  event(event: ThreadEvent): void;
  /** A line of the command itself, between what is shown. */
  note(text: string): void;
  /** The connection is lost and will be tried again. */
  lost(error: Error, retryInMs: number): void;
  /** Nothing more comes. */
  end(): void;
}

export interface Streams {
  readonly out: NodeJS.WriteStream;
  readonly err: NodeJS.WriteStream;
}

const STANDARD: Streams = { out: process.stdout, err: process.stderr };

/** Each event as a line of JSON, and nothing else. */
export function createJsonView(out: NodeJS.WriteStream = process.stdout): TurnView {
  return { ...QUIET, event: (event) => void out.write(`${jsonText(event)}\n`) };
}

/** For a wait whose result alone is printed. */
export const QUIET: TurnView = {
  event: () => {},
  note: (text) => void process.stderr.write(`${text}\n`),
  lost: () => {},
  end: () => {},
};

export function createTurnView({ out, err }: Streams = STANDARD): TurnView {
  /** Text stands on the last line of stdout, and goes on there. */
  let isMidLine = false;
  /** Half of a character whose other half comes with the next text. */
  let half = '';
  /** What was said of a message piece by piece: the whole of it comes again at its end. */
  const streamed = new Set<string>();
  const thinking = new Set<string>();
  /** Whether the turn's text was shown, so that its result need not be. */
  let hasText = false;

  let doing = '';
  let since = performance.now();
  let frame = 0;
  let isDrawn = false;
  const timer = err.isTTY ? setInterval(draw, FRAME_MS).unref() : undefined;

  function draw(): void {
    if (doing === '' || isMidLine) return;
    const spinner = paint('cyan', FRAMES[frame++ % FRAMES.length] ?? '', err);
    const text = `${doing} ${paint('dim', duration(performance.now() - since), err)}`;
    err.write(`\r\x1b[K${clip(`${spinner} ${text}`, err.columns)}`);
    isDrawn = true;
  }

  function erase(): void {
    if (isDrawn) err.write('\r\x1b[K');
    isDrawn = false;
  }

  function say(text: string): void {
    erase();
    const whole = half + text;
    half = /[\ud800-\udbff]$/.exec(whole)?.[0] ?? '';
    const shown = safe(half === '' ? whole : whole.slice(0, -1));
    if (shown === '') return;
    out.write(shown);
    isMidLine = !shown.endsWith('\n');
    hasText = true;
  }

  function endLine(): void {
    if (isMidLine) out.write('\n');
    isMidLine = false;
  }

  function line(text: string): void {
    erase();
    endLine();
    err.write(`${text}\n`);
  }

  function dim(text: string): void {
    const one = printable(text).replaceAll(/\s*\n\s*/g, ' ');
    line(paint('dim', clip(one, err.columns ?? PLAIN_WIDTH), err));
  }

  function become(state: string): void {
    doing = state;
    since = performance.now();
  }

  function showState(state: Extract<ThreadEventData, { type: 'execution.state' }>): void {
    if (!isFinal(state.status)) {
      become(WORDS[state.status]);
      return dim(doing);
    }
    become('');
    // a harness that tells no more than its result
    if (!hasText && state.status === 'completed') say(state.result_text ?? '');
    hasText = false;
    const { error_text: error, terminal_reason: reason } = state;
    const why = [reason === undefined || reason === state.status ? '' : ` (${reason})`, error === undefined ? '' : `: ${error}`].join('');
    line(`${turnStatus(state.status, err)}${printable(why)}`);
  }

  function showMessage({ message_id, content, parent_id }: Extract<ThreadEventData, { type: 'message' }>): void {
    const isShown = streamed.delete(message_id);
    thinking.delete(message_id);
    if (parent_id !== undefined) return;
    if (!isShown) for (const text of textsOf(content)) say(text);
    erase();
    endLine();
  }

  return {
    event({ data }) {
      const indent = 'parent_id' in data && data.parent_id !== undefined ? '  ' : '';
      switch (data.type) {
        case 'execution.state':
          return showState(data);
        case 'message.stored':
          return dim(`${data.role}: ${partsText(data.parts)}`);
        case 'execution.steered':
          return dim(`steered: ${partsText(data.content)}`);
        case 'assignment.released':
          return dim('released');
        case 'text.delta':
          if (indent !== '') return;
          streamed.add(data.message_id);
          return say(data.text);
        case 'thinking.delta':
          if (indent !== '' || thinking.has(data.message_id)) return;
          thinking.add(data.message_id);
          return dim('thinking');
        case 'message':
          return showMessage(data);
        case 'message.discarded':
          if (streamed.delete(data.message_id)) dim(`what was said last does not count, it is tried again: ${data.reason}`);
          return;
        case 'tool_use':
          return dim(`${indent}→ ${data.name} ${JSON.stringify(data.input) ?? ''}`);
        case 'tool_result':
          return dim(`${indent}${data.is_error ? '✖' : '←'} ${contentText(data.content)}${wholeText(data.attachment_id)}`);
        case 'approval.request':
          return dim(`${indent}? ${data.tool}: may it?`);
        case 'approval.pending':
          return dim(`a person has to approve: centaur approvals approve ${data.approval_id}`);
        case 'approval.resolved':
          return dim(`${indent}${data.allowed ? 'approved' : 'denied'}`);
        case 'status':
          // that it asks the model goes without saying
          return data.status === 'requesting'
            ? undefined
            : dim(`${indent}${data.status}${data.reason === undefined ? '' : `: ${data.reason}`}`);
        case 'error':
          return dim(`${indent}${data.class}: ${data.message}`);
        case 'notice':
          return dim(`${indent}${data.text}`);
        default:
          // the rest says nothing to a person, or is newer than this command
          return;
      }
    },
    note: line,
    lost: (error, retryInMs) => line(`no connection; trying again in ${duration(retryInMs)} (${printable(error.message)})`),
    end() {
      clearInterval(timer);
      erase();
      endLine();
    },
  };
}

/** Where a line of what the agent does is cut off when the terminal does not say. */
const PLAIN_WIDTH = 200;

/** As people say it. */
const WORDS: Readonly<Record<ExecutionStatus, string>> = {
  queued: 'queued',
  running: 'running',
  cancel_requested: 'being cancelled',
  completed: 'completed',
  failed_permanent: 'failed',
  cancelled: 'cancelled',
};
const COLOURS = { completed: 'green', failed_permanent: 'red', cancelled: 'yellow', running: 'cyan' } as const;

export function turnStatus(state: ExecutionStatus, stream: NodeJS.WriteStream = process.stdout): string {
  return state in COLOURS ? paint(COLOURS[state as keyof typeof COLOURS], WORDS[state], stream) : WORDS[state];
}

export const isFinal = (state: ExecutionStatus): boolean => state === 'completed' || state === 'failed_permanent' || state === 'cancelled';

/** A tab moves the cursor to where no harm is done, and is part of much code. */
function safe(text: string): string {
  return text.replaceAll('\r\n', '\n').split('\t').map(printable).join('\t');
}

function textsOf(content: readonly ContentBlock[]): string[] {
  return content.flatMap((block) => (block.type === 'text' ? [block.text] : []));
}

/** Its first line, and how much more there is. */
function contentText(content: readonly ContentBlock[]): string {
  const lines = content
    .map((block) => (block.type === 'text' ? block.text : `[${block.type}]`))
    .join('\n')
    .trim()
    .split('\n');
  return `${lines[0] ?? ''}${lines.length > 1 ? ` … ${lines.length} lines` : ''}`;
}

const wholeText = (attachmentId: string | undefined): string => (attachmentId === undefined ? '' : ` … all of it is in ${attachmentId}`);

/** What was said, on one line; of what is not text, its kind and name. */
export function partsText(parts: readonly { readonly type: string; readonly [field: string]: unknown }[]): string {
  return parts
    .map((part) => {
      if (part.type === 'text') return String(part['text']);
      const source = part['source'] as { readonly name?: unknown } | undefined;
      const name = part['name'] ?? source?.name;
      return typeof name === 'string' ? `[${part.type} ${name}]` : `[${part.type}]`;
    })
    .join(' ');
}
