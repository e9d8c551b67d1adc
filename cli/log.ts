/** Log lines: JSON for machines, short and coloured for a terminal. To stderr, so that stdout stays for results. */
import { paint, printable } from './output.ts';

export type Level = 'debug' | 'info' | 'warn' | 'error';

export interface LogEntry {
  readonly level: Level;
  readonly message: string;
  readonly [field: string]: unknown;
}

export type Log = (entry: LogEntry) => void;

const LEVELS: readonly Level[] = ['debug', 'info', 'warn', 'error'];
const COLOURS = { debug: 'dim', info: 'cyan', warn: 'yellow', error: 'red' } as const;

export interface LogOptions {
  /** The least level that is written. */
  readonly level: Level;
  readonly stream?: NodeJS.WriteStream;
  /** Default: whether the stream is a terminal. */
  readonly pretty?: boolean;
  readonly now?: () => Date;
  /** Which kind of process writes: in every line for machines. */
  readonly component?: string;
  /** The last barrier before a line is written: blanks the secrets in it. */
  readonly scrub?: (line: string) => string;
}

export function createLog(options: LogOptions): Log {
  const { level, stream = process.stderr, pretty = stream.isTTY, now = () => new Date(), component, scrub = (line) => line } = options;
  const least = LEVELS.indexOf(level);
  const from = component === undefined ? {} : { component };
  return (entry) => {
    if (LEVELS.indexOf(entry.level) < least) return;
    const line = pretty ? prettyLine(entry, now(), stream, scrub) : JSON.stringify({ time: now().toISOString(), ...from, ...entry });
    stream.write(`${scrub(line)}\n`);
  };
}

function prettyLine(
  { level, message, ...fields }: LogEntry,
  at: Date,
  stream: NodeJS.WriteStream,
  scrub: (text: string) => string,
): string {
  // before it is made printable: a secret with a tab or a carriage return in it is not itself afterwards
  const shown = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key}=${scrub(typeof value === 'string' ? value : JSON.stringify(value))}`);
  const time = paint('dim', at.toTimeString().slice(0, 8), stream);
  return [time, paint(COLOURS[level], level.padEnd(5), stream), printable(scrub(message)), paint('dim', printable(shown.join(' ')), stream)]
    .join(' ')
    .trimEnd();
}
