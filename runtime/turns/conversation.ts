/**
 * One harness process and its codec. What the process wrote and what it was told are in its journal, in their order: so
 * whoever comes later reads the journal from the start through a fresh codec, and is where the one before it was.
 *
 * What the codec says in answer to a line is owed until the journal has it. Calls (a turn, a steer, an interrupt) leave a
 * note in the journal: what was asked, and how far the journal had been read by then, which is where a replay asks it again.
 *
 * A conversation whose write failed knows no longer what the harness was told: it is thrown away, and read anew.
 */
import { randomUUID } from 'node:crypto';
import type { ApprovalAnswer, Codec, ContentBlock, HarnessEvent, OpenOptions, TurnInput } from '../harness/index.ts';
import { createLineSplitter } from '../harness/index.ts';
import type { JournalEntry, SandboxProcess } from '../sandbox/types.ts';

type Call =
  | { readonly call: 'turn'; readonly execution_id: string; readonly input: TurnInput }
  | { readonly call: 'steer'; readonly position: number; readonly content: readonly ContentBlock[] }
  | { readonly call: 'interrupt' }
  | { readonly call: 'answer'; readonly approval_id: string; readonly answer: ApprovalAnswer };

/** `at`: of the journal, what had been read when the call was made. */
type Note = { readonly id: string } & ({ readonly call: 'reply' } | (Call & { readonly at: number }));
type CallNote = Exclude<Note, { readonly call: 'reply' }>;

/** What one entry of the journal came to. */
export interface Heard {
  readonly events: readonly HarnessEvent[];
  /** Of the journal, behind the entry. */
  readonly offset: number;
  /** The turn that these events are of; null between turns. */
  readonly executionId: string | null;
  readonly exited: Extract<JournalEntry, { kind: 'exit' }> | null;
}

export interface Conversation {
  readonly process: SandboxProcess;
  /** The session's id, as the harness knows it. */
  readonly nativeId: string | null;
  readonly stderr: string;
  /** Whether the harness has taken this turn. */
  hasTaken(executionId: string): boolean;
  /** Of the last steer that the harness was given. */
  readonly signalPosition: number;
  readonly ready: boolean;
  readonly busy: boolean;
  /**
   * Takes the writing over, and reads on where the last reading stopped. Yields once before anything comes, when there is
   * nothing to catch up with; what it yields before it has caught up is what an earlier listener has heard, or not.
   */
  listen(signal: AbortSignal): AsyncGenerator<Heard>;
  /** Whether all is read that was in the journal when the listening began. */
  readonly caughtUp: boolean;
  turn(executionId: string, input: TurnInput): Promise<void>;
  steer(position: number, content: readonly ContentBlock[]): Promise<void>;
  interrupt(): Promise<void>;
  answer(approvalId: string, answer: ApprovalAnswer): Promise<void>;
}

/** Enough of its error output to see why it ended. */
const STDERR_KEPT = 8192;
/** Of each text in a note: a replay needs what kinds of blocks there were, not all of their words. */
const NOTED_TEXT = 1000;

export function createConversation(process: SandboxProcess, codec: Codec, options: OpenOptions): Conversation {
  const splitter = createLineSplitter();
  /** What the codec wants to send and the journal does not have yet. */
  const owed: string[] = [];
  /** Calls that were made here, by their note's id: their events come with the entry, so that each has a place in the journal. */
  const made = new Map<string, readonly HarnessEvent[]>();
  /** Calls of earlier listeners, to be made when the reading comes to their place. */
  let ahead: CallNote[] = [];
  const taken = new Set<string>();
  let current: string | null = null;
  let position = 0;
  /** Unknown until the writing is taken over. */
  let end = Number.POSITIVE_INFINITY;
  let signalPosition = 0;
  let nativeId: string | null = null;
  let stderr = '';
  let over = false;
  owe(codec.open(options).send);

  function owe(lines: readonly string[]): void {
    if (lines.length > 0) owed.push(joined(lines));
  }

  async function* listen(signal: AbortSignal): AsyncGenerator<Heard> {
    end = Number.POSITIVE_INFINITY;
    const written = await process.take();
    ahead = position < written ? await readNotes(written, signal) : [];
    end = written;
    if (position >= end) {
      await settle();
      yield { events: [], offset: position, executionId: null, exited: null };
    }
    for await (const entry of process.journal({ from: position, signal })) {
      makeCallsBefore(entry.offset);
      const events = hear(entry);
      position = entry.offset;
      const executionId = current;
      if (!codec.busy) current = null;
      for (const event of events) if (event.type === 'session') nativeId = event.native_id;
      // what it is owed may be what it waits for
      if (position >= end) await settle();
      yield { events, offset: position, executionId, exited: entry.kind === 'exit' ? entry : null };
    }
  }

  /** The calls of earlier listeners between here and the end: each was made before what stands in front of its note was read. */
  async function readNotes(upTo: number, signal: AbortSignal): Promise<CallNote[]> {
    const notes: CallNote[] = [];
    for await (const entry of process.journal({ from: position, signal })) {
      const note = entry.kind === 'in' ? parseNote(entry.note) : undefined;
      if (note !== undefined && note.call !== 'reply' && !made.has(note.id)) notes.push(note);
      if (entry.offset >= upTo) break;
    }
    return notes;
  }

  function makeCallsBefore(offset: number): void {
    for (let [note] = ahead; note !== undefined && note.at < offset; [note] = ahead) {
      ahead.shift();
      remember(note);
      try {
        made.set(note.id, call(note).events);
      } catch {
        // what the harness was told then no longer fits what it said: only its lines count from here
        made.set(note.id, []);
      }
    }
  }

  function call(asked: Call) {
    switch (asked.call) {
      case 'turn':
        return codec.turn(asked.input);
      case 'steer':
        return codec.steer(asked.content);
      case 'interrupt':
        return codec.interrupt();
      case 'answer':
        return codec.answer(asked.approval_id, asked.answer);
    }
  }

  function remember(asked: Call): void {
    if (asked.call === 'turn') {
      current = asked.execution_id;
      taken.add(asked.execution_id);
    }
    if (asked.call === 'steer') signalPosition = Math.max(signalPosition, asked.position);
  }

  async function settle(): Promise<void> {
    while (owed.length > 0 && !over) {
      const note: Note = { call: 'reply', id: randomUUID() };
      const words = owed.shift() as string;
      made.set(note.id, []);
      await process.write(words, JSON.stringify(note));
    }
  }

  function hear(entry: JournalEntry): readonly HarnessEvent[] {
    switch (entry.kind) {
      case 'out':
        return splitter.push(entry.data).flatMap(line);
      case 'err':
        stderr = (stderr + entry.data.toString('utf8')).slice(-STDERR_KEPT);
        return [];
      case 'in':
        return hearInput(parseNote(entry.note));
      case 'exit': {
        over = true;
        const events = splitter.flush().flatMap(line);
        return [...events, ...codec.exit({ code: entry.code, signal: entry.signal, stderr }).events];
      }
    }
  }

  function line({ text }: { readonly text: string }): readonly HarnessEvent[] {
    const { events, send } = codec.line(text);
    owe(send);
    return events;
  }

  function hearInput(note: Note | undefined): readonly HarnessEvent[] {
    if (note === undefined) return [];
    const events = made.get(note.id);
    made.delete(note.id);
    // an earlier listener's answer to a line that was just read again: it was sent
    if (events === undefined && note.call === 'reply') owed.shift();
    return events ?? [];
  }

  async function tell(asked: Call, noted: Call): Promise<void> {
    const note: Note = { ...noted, id: randomUUID(), at: position };
    // to a turn that is over it is not said
    if (asked.call === 'steer' && !codec.busy) return;
    const { events, send } = call(asked);
    remember(asked);
    made.set(note.id, events);
    await process.write(send.length === 0 ? '' : joined(send), JSON.stringify(note));
  }

  return {
    process,
    get nativeId() {
      return nativeId;
    },
    get stderr() {
      return stderr;
    },
    get signalPosition() {
      return signalPosition;
    },
    get ready() {
      return codec.ready;
    },
    get busy() {
      return codec.busy;
    },
    get caughtUp() {
      return position >= end;
    },
    hasTaken: (executionId) => taken.has(executionId),
    listen,
    turn: (execution_id, input) =>
      tell({ call: 'turn', execution_id, input }, { call: 'turn', execution_id, input: { ...input, content: outline(input.content) } }),
    steer: (at, content) => tell({ call: 'steer', position: at, content }, { call: 'steer', position: at, content: outline(content) }),
    interrupt: () => tell({ call: 'interrupt' }, { call: 'interrupt' }),
    answer(approval_id, answer) {
      const asked: Call = { call: 'answer', approval_id, answer };
      return tell(asked, asked);
    },
  };
}

function parseNote(text: string | null): Note | undefined {
  return text === null ? undefined : (JSON.parse(text) as Note);
}

function outline(content: readonly ContentBlock[]): ContentBlock[] {
  return content.map((block) => {
    if (block.type === 'text') return { ...block, text: block.text.slice(0, NOTED_TEXT) };
    if ((block.type === 'image' || block.type === 'document') && block.source.type === 'base64')
      return { ...block, source: { ...block.source, data: '' } };
    return block;
  });
}

function joined(lines: readonly string[]): string {
  return lines.map((text) => `${text}\n`).join('');
}
