/**
 * Following a run. On a terminal what has happened scrolls by, and below it stands what the run is doing now, redrawn;
 * elsewhere each event is one plain line.
 */
import type { RunEvent, RunStatus, StepView, StoredError, WaitingOn } from '@centaur/sdk';
import { clock, duration, paint, printable, span, status } from './output.ts';

/** Shows a run's events as they come. */
export interface View {
  event(event: RunEvent): void;
  /** The connection is lost and will be tried again. */
  lost(error: Error, retryInMs: number): void;
  /** Nothing more comes. */
  end(): void;
}

export function createView(stream: NodeJS.WriteStream, { json = false }: { readonly json?: boolean } = {}): View {
  if (json) return { event: (event) => void stream.write(`${JSON.stringify(event)}\n`), lost: () => {}, end: () => {} };
  return stream.isTTY ? createLiveView(stream) : createPlainView(stream);
}

export const FRAMES = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
export const FRAME_MS = 100;
/** Waits that are shown at once; a run may have hundreds in parallel. */
const WAITS_SHOWN = 5;

export interface LiveViewOptions {
  readonly now?: () => number;
}

export function createLiveView(stream: NodeJS.WriteStream, { now = Date.now }: LiveViewOptions = {}): View {
  let doing: Doing = { status: 'queued', waits: [] };
  /** Instead of what it is doing: why that is not known. */
  let trouble: string | undefined;
  let ended = false;
  let since = now();
  let drawn = 0;
  let frame = 0;
  const timer = setInterval(() => {
    frame += 1;
    draw();
  }, FRAME_MS);

  function erase(): string {
    return drawn === 0 ? '' : `\x1b[${drawn}A\x1b[0J`;
  }

  function draw(): void {
    const spinner = paint('cyan', FRAMES[frame % FRAMES.length] ?? '', stream);
    const texts = ended ? [] : trouble === undefined ? doingTexts(doing) : [trouble];
    const lines = texts.map((text, index) =>
      clip(`  ${spinner} ${text}${index === 0 ? paint('dim', ` ${duration(now() - since)}`, stream) : ''}`, stream.columns),
    );
    stream.write(`${erase()}${lines.map((line) => `${line}\n`).join('')}`);
    drawn = lines.length;
  }

  function say(line: string): void {
    stream.write(`${erase()}${line}\n`);
    drawn = 0;
    draw();
  }

  function change(next: Doing): void {
    if (JSON.stringify(next) !== JSON.stringify(doing)) since = now();
    doing = next;
    trouble = undefined;
  }

  return {
    event(event) {
      if (event.event === 'run.status') change({ status: event.data.status, waits: event.data.waiting_on });
      else if ('seq' in event.data) {
        // What has just ended is no longer waited for; a new status comes only if there is more to tell
        const { name } = event.data;
        const waits = doing.waits.filter((wait) => wait.name !== name);
        change({ status: waits.length === 0 ? 'running' : doing.status, waits });
      } else ended = event.event !== 'run.retrying';
      const line = eventLine(event, stream);
      if (line === undefined) draw();
      else say(`  ${line}`);
    },
    lost(error, retryInMs) {
      trouble = `no connection; trying again in ${duration(retryInMs)} (${printable(error.message)})`;
      draw();
    },
    end() {
      clearInterval(timer);
      ended = true;
      draw();
    },
  };
}

interface Doing {
  readonly status: RunStatus;
  readonly waits: readonly WaitingOn[];
}

export function createPlainView(stream: NodeJS.WriteStream): View {
  let shown = '';
  const say = (line: string) => void stream.write(`${line}\n`);
  return {
    event(event) {
      if (event.event !== 'run.status') return say(eventLine(event, stream) ?? event.event);
      const text = doingTexts({ status: event.data.status, waits: event.data.waiting_on }).join('; ');
      if (text !== shown) say(text);
      shown = text;
    },
    lost: (error, retryInMs) => say(`no connection; trying again in ${duration(retryInMs)} (${printable(error.message)})`),
    end: () => {},
  };
}

/** A line for what has happened; undefined for what merely is. */
function eventLine(event: RunEvent, stream: NodeJS.WriteStream): string | undefined {
  switch (event.event) {
    case 'step.completed':
      return `${paint('green', '✔', stream)} ${stepText(event.data, stream)}`;
    case 'step.failed':
      return `${paint('red', '✖', stream)} ${stepText(event.data, stream)}${errorText(event.data.error)}`;
    case 'step.timed_out':
      return `${paint('yellow', '⏱', stream)} ${stepText(event.data, stream)}: nothing came in time`;
    case 'run.retrying':
      return `${paint('yellow', '↻', stream)} attempt ${event.data.attempt}${errorText(event.data.error, ' after ')}`;
    case 'run.completed':
    case 'run.failed':
    case 'run.cancelled': {
      const { started_at, ended_at, error } = event.data;
      const word = event.event.slice('run.'.length);
      const took = started_at === null ? '' : ` in ${span(started_at, ended_at)}`;
      return `${paint(word === 'completed' ? 'green' : word === 'failed' ? 'red' : 'yellow', word, stream)}${took}${word === 'failed' ? errorText(error) : ''}`;
    }
    case 'run.status':
      return undefined;
  }
}

const KINDS: Readonly<Record<StepView['kind'], string>> = {
  step: '',
  transaction: '',
  sleep: 'slept',
  event: 'event',
  start_workflow: 'child started',
  wait_workflow: 'child ended',
  patch: 'patch',
  approval: 'approval',
};

function stepText({ name, kind, attempts, started_at, ended_at }: StepView, stream: NodeJS.WriteStream): string {
  const notes = [KINDS[kind], span(started_at, ended_at ?? started_at), attempts > 1 ? `${attempts} attempts` : ''].filter(
    (text) => text !== '',
  );
  return `${printable(name)} ${paint('dim', notes.join(', '), stream)}`;
}

export function errorText(error: StoredError | null, before = ': '): string {
  if (error === null) return '';
  const code = error.code === 'ERROR' ? '' : ` (${error.code})`;
  return `${before}${printable(`${error.message}${code}`)}`;
}

function doingTexts({ status: state, waits }: Doing): string[] {
  if (waits.length === 0) return [status(state)];
  const shown = waits.slice(0, WAITS_SHOWN).map(waitText);
  return waits.length > WAITS_SHOWN ? [...shown, `and ${waits.length - WAITS_SHOWN} more`] : shown;
}

export function waitText(wait: WaitingOn): string {
  const until = (time: string | null) => (time === null ? '' : ` until ${clock(time)}`);
  switch (wait.type) {
    case 'sleep':
      return `${printable(wait.name)}: sleeping${until(wait.until)}`;
    case 'event':
      return `${printable(wait.name)}: waiting for event ${printable(wait.event_type)} of ${printable(wait.correlation_id)}${until(wait.deadline)}`;
    case 'workflow':
      return `${printable(wait.name)}: waiting for run ${wait.run_id}${until(wait.deadline)}`;
    case 'approval':
      return `${printable(wait.name)}: waiting for approval ${wait.approval_id} at gate ${printable(wait.gate)}${until(wait.deadline)}`;
    case 'retry':
      return `${printable(wait.name)}: trying again at ${clock(wait.until)} after ${wait.attempts} ${wait.attempts === 1 ? 'attempt' : 'attempts'}${errorText(wait.error)}`;
  }
}

/** A line that wraps would be more than one, and the next drawing would begin too low. Colours count for nothing. */
export function clip(line: string, columns: number | undefined): string {
  if (columns === undefined) return line;
  let room = columns - 1;
  let clipped = '';
  // oxlint-disable-next-line no-control-regex -- the sequences that colour
  for (const part of line.split(/(\x1b\[[\d;]*m)/)) {
    if (part.startsWith('\x1b')) clipped += part;
    else {
      clipped += part.slice(0, room);
      room = Math.max(0, room - part.length);
    }
  }
  return clipped;
}
