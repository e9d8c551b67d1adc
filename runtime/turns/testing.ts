/** A harness process whose journal is in memory: for schedules that real processes do not keep to. */
import type { JournalEntry, SandboxProcess } from '../sandbox/types.ts';

export type Entry = JournalEntry extends infer E ? (E extends unknown ? Omit<E, 'offset' | 'at'> : never) : never;

export interface ProcessOptions {
  /** Entries that a reader gets at a time, with a moment between. */
  readonly pieces?: number;
  /** Before a write: resolves late, or throws. */
  readonly beforeWrite?: (text: string) => Promise<void> | void;
}

/** The journal of a process that answers what it is told by a script. */
export function createProcess(answer: (line: string, say: (text: string) => void) => void, options: ProcessOptions = {}) {
  const entries: JournalEntry[] = [];
  const waiting = new Set<() => void>();
  const signals: string[] = [];
  const add = (entry: Entry): number => {
    const size = 'data' in entry ? entry.data.length : 0;
    const offset = (entries.at(-1)?.offset ?? 0) + size + 1;
    entries.push({ ...entry, offset, at: 0 });
    for (const wake of waiting) wake();
    return offset;
  };
  const process: SandboxProcess = {
    id: 'p',
    take: async () => entries.at(-1)?.offset ?? 0,
    async *journal({ from = 0, signal } = {}) {
      for (let i = entries.findIndex(({ offset }) => offset > from); ;) {
        signal?.throwIfAborted();
        if (i < 0) i = entries.findIndex(({ offset }) => offset > from);
        const entry = i < 0 ? undefined : entries[i];
        if (entry === undefined) {
          await new Promise<void>((resolve) => {
            const wake = () => {
              waiting.delete(wake);
              resolve();
            };
            waiting.add(wake);
            signal?.addEventListener('abort', wake, { once: true });
          });
          continue;
        }
        i += 1;
        if (options.pieces !== undefined && i % options.pieces === 0) await new Promise((resolve) => setTimeout(resolve, 5));
        yield entry;
        if (entry.kind === 'exit') return;
      }
    },
    async write(data, note) {
      await options.beforeWrite?.(data.toString());
      const offset = add({ kind: 'in', data: Buffer.from(data), note: note ?? null });
      for (const line of data.toString().split('\n').filter(Boolean))
        answer(line, (text) => add({ kind: 'out', data: Buffer.from(`${text}\n`) }));
      return offset;
    },
    closeInput: async () => {},
    async signal(signal) {
      signals.push(signal);
      if (entries.at(-1)?.kind !== 'exit') add({ kind: 'exit', code: null, signal, reason: 'killed' });
    },
  };
  /** What it was told, whole. */
  const told = () => entries.flatMap((entry) => (entry.kind === 'in' ? [entry.data.toString()] : []));
  return { process, entries, add, signals, told };
}

/** Speaks Claude's protocol: each turn is answered with its text, and a result. */
export function claude(line: string, say: (text: string) => void): void {
  const told = JSON.parse(line) as { type: string; message?: { content: { text: string }[] }; request_id?: string };
  if (told.type === 'control_request')
    say(JSON.stringify({ type: 'control_response', response: { subtype: 'success', request_id: told.request_id, response: {} } }));
  if (told.type !== 'user') return;
  const text = told.message?.content.map((block) => block.text).join(' ') ?? '';
  say(JSON.stringify({ type: 'system', subtype: 'init', session_id: 's1', model: 'm', cwd: '/w' }));
  say(
    JSON.stringify({
      type: 'assistant',
      session_id: 's1',
      message: { id: `m-${text}`, role: 'assistant', content: [{ type: 'text', text }] },
    }),
  );
  say(JSON.stringify({ type: 'result', subtype: 'success', is_error: false, result: text, session_id: 's1', usage: {} }));
}
