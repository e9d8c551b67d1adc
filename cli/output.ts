/** How things look on a terminal. */
import { stripVTControlCharacters, styleText } from 'node:util';

type Stream = NodeJS.WriteStream;
type Format = Parameters<typeof styleText>[0];

/** In colour where the stream is a terminal and NO_COLOR is not set. */
export function paint(format: Format, text: string, stream: Stream = process.stdout): string {
  return styleText(format, text, { stream, validateStream: true });
}

export function printJson(value: unknown): void {
  process.stdout.write(`${jsonText(value, process.stdout.isTTY ? 2 : undefined)}\n`);
}

/** JSON as it is shown: what could move the cursor is escaped in it, also the part of it that JSON would let pass. */
export function jsonText(value: unknown, indent?: number): string {
  const text = JSON.stringify(value, null, indent);
  return text.replace(/[\u007f-\u009f]/g, (char) => `\\u00${char.charCodeAt(0).toString(16)}`);
}

export function print(text = ''): void {
  process.stdout.write(`${text}\n`);
}

/** For people, where stdout is for programs. */
export function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** A text that came from elsewhere, without anything that could move the cursor or colour the screen. */
export function printable(text: string): string {
  // oxlint-disable-next-line no-control-regex -- they are what is looked for
  return text.replace(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/g, (char) =>
    char === '\t' ? ' ' : `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}

/** Columns as wide as their widest cell. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [header.map((cell) => paint('bold', cell)), ...rows.map((row) => row.map(oneLine))];
  const widths = header.map((_, column) => Math.max(...all.map((row) => width(row[column] ?? ''))));
  return all
    .map((row) =>
      row
        .map((cell, column) => cell + ' '.repeat((widths[column] ?? 0) - width(cell)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

const width = (cell: string): number => stripVTControlCharacters(cell).length;
const oneLine = (cell: string): string => cell.replace(/\s*\n\s*/g, ' ');

/** `850 ms`, `1.2 s`, `3 min 4 s`, `2 h 5 min`, `3 d 4 h`. */
export function duration(ms: number): string {
  const rounded = Math.max(0, Math.round(ms));
  if (rounded < 1000) return `${rounded} ms`;
  if (rounded < 9950) return `${(rounded / 1000).toFixed(1)} s`;
  const seconds = Math.round(rounded / 1000);
  const parts = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'min'],
    [seconds % 60, 's'],
  ] as const;
  const first = parts.findIndex(([amount]) => amount > 0);
  return parts
    .slice(first, first + 2)
    .filter(([amount]) => amount > 0)
    .map(([amount, unit]) => `${amount} ${unit}`)
    .join(' ');
}

/** A time to the second. */
export function clock(time: string): string {
  return time.replace(/\.\d+Z$/, 'Z');
}

/** `3 min 4 s ago`, `in 2 h`. */
export function relative(time: string | null, now: number = Date.now()): string {
  if (time === null) return '-';
  const ms = Date.parse(time) - now;
  return ms > 0 ? `in ${duration(ms)}` : `${duration(-ms)} ago`;
}

/** How long something took that has a beginning and maybe an end. */
export function span(from: string | null, to: string | null, now: number = Date.now()): string {
  return from === null ? '-' : duration((to === null ? now : Date.parse(to)) - Date.parse(from));
}

const STATUS_COLOURS: Readonly<Record<string, Format>> = {
  completed: 'green',
  failed: 'red',
  stuck: 'red',
  timed_out: 'red',
  cancelled: 'yellow',
  running: 'cyan',
  waiting: 'blue',
  sleeping: 'blue',
  pending: 'yellow',
  approved: 'green',
  denied: 'red',
  active: 'green',
  sealed: 'green',
  revoked: 'red',
};

export function status(name: string): string {
  const colour = STATUS_COLOURS[name];
  return colour === undefined ? name : paint(colour, name);
}

/** A title, and below it what there is to say, name by name; nothing is said of what is empty. */
export function fields(title: string, of: Readonly<Record<string, string>>): string {
  const given = Object.entries(of).filter(([, text]) => text !== '');
  const widest = Math.max(...given.map(([name]) => name.length));
  return [title, ...given.map(([name, text]) => `  ${paint('dim', name.padEnd(widest))}  ${printable(text)}`)].join('\n');
}
