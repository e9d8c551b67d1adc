/** Lines in, lines out: one JSON object each. Both work in whole chunks, because there are many small ones. */

const NEWLINE = 10;

/**
 * Cuts chunks of bytes into lines. A chunk is decoded once, up to its last newline; a line that spans chunks is
 * joined when its end is there.
 *
 * @param longest bytes of one line
 * @throws RangeError for a longer one
 */
export function createLineReader(longest: number, onLine: (line: string) => void): (chunk: Buffer) => void {
  let parts: Buffer[] = [];
  let size = 0;
  return (chunk) => {
    const end = chunk.lastIndexOf(NEWLINE);
    if (end < 0) {
      parts.push(chunk);
      size += chunk.length;
      if (size > longest) throw new RangeError(`a line is longer than ${longest} bytes`);
      return;
    }
    const whole = chunk.subarray(0, end);
    const text = parts.length === 0 ? whole.toString() : Buffer.concat([...parts, whole]).toString();
    const rest = chunk.subarray(end + 1);
    parts = rest.length === 0 ? [] : [rest];
    size = rest.length;
    for (let from = 0; from <= text.length;) {
      const to = text.indexOf('\n', from);
      const until = to < 0 ? text.length : to;
      if (until > from) onLine(text.slice(from, until));
      from = until + 1;
    }
  };
}

/** Something that has lines to write when all that was ready to run has run. */
export interface Burst {
  /** Whole lines. */
  take(): string;
}

export interface Outbox {
  /** Text without a newline at its end. */
  post(line: string): void;
  /** Takes the burst's lines at the next rest, once however often it is asked. */
  rest(burst: Burst): void;
}

/** Collects what is to be written until everything is at rest, and writes it at once. */
export function createOutbox(write: (text: string) => void): Outbox {
  let text = '';
  let bursts = new Set<Burst>();
  let due = false;

  function schedule(): void {
    if (due) return;
    due = true;
    afterMicrotasks(flush);
  }

  function flush(): void {
    due = false;
    const ready = bursts;
    if (ready.size > 0) bursts = new Set();
    for (const burst of ready) text += burst.take();
    const whole = text;
    text = '';
    if (whole !== '') write(whole);
  }

  return {
    post(line) {
      text += `${line}\n`;
      schedule();
    },
    rest(burst) {
      bursts.add(burst);
      schedule();
    },
  };
}

/** Runs `next` when all pending promise reactions have run: a microtask queues a tick, and ticks wait for microtasks. */
export function afterMicrotasks(next: () => void): void {
  queueMicrotask(() => process.nextTick(next));
}
