/** A trace as text: what was part of what, when it began, how long it took, and a bar for each. */
import type { SpanView, TraceView } from '@centaur/kernel/traces';
import { clock, duration, paint, printable } from './output.ts';

type Format = Parameters<typeof paint>[0];

const NARROWEST = 80;
const WIDEST = 200;
/** Eighths of a character, from the left. */
const PARTS = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

const COLOURS: Readonly<Record<SpanView['status'], Format>> = {
  ok: 'green',
  error: 'red',
  denied: 'red',
  cancelled: 'yellow',
  open: 'cyan',
};

/** @param width of the terminal, in characters; one that is not known counts as 80 */
export function waterfall(trace: TraceView, width: number | undefined): string {
  const columns = Math.min(WIDEST, Math.max(NARROWEST, width ?? NARROWEST));
  const whole = trace.duration_ms ?? Math.max(1, ...trace.spans.map((span) => span.start_ms + (span.duration_ms ?? 0)));
  const times = trace.spans.map((span) => [number(span.start_ms), durationText(span)] as const);
  const [from, took] = [0, 1].map((i) => Math.max(5, ...times.map((pair) => (pair[i] as string).length))) as [number, number];
  const labels = trace.spans.map(labelOf);
  const most = Math.floor((columns - from - took - 6) * 0.6);
  const widest = Math.min(most, Math.max(12, ...labels.map((label) => label.length)));
  const bar = columns - widest - from - took - 6;
  const lines = trace.spans.map((span, i) => {
    const [start, ms] = times[i] as readonly [string, string];
    const label = clip(labels[i] as string, widest).padEnd(widest);
    const drawn = barOf(span, whole, bar);
    const shown = span.status === 'ok' ? label : paint(COLOURS[span.status], label);
    return `${shown}  ${start.padStart(from)}  ${ms.padStart(took)}  ${paint(COLOURS[span.status], drawn)}`.trimEnd();
  });
  return [
    ...head(trace),
    '',
    `${''.padEnd(widest)}  ${'at ms'.padStart(from)}  ${'took'.padStart(took)}  ${scale(whole, bar)}`,
    ...lines,
    ...foot(trace),
  ].join('\n');
}

function head({ trace_id, started_at, duration_ms, status, spans }: TraceView): string[] {
  const took = duration_ms === null ? 'under way' : duration(duration_ms);
  return [
    `${paint('bold', `trace ${trace_id}`)} ${paint(COLOURS[status], status === 'ok' ? 'OK' : status)} · ${took} · ${spans.length} spans`,
    paint('dim', `started ${clock(started_at)}`),
  ];
}

function foot({ spans, truncated }: TraceView): string[] {
  const notes = [
    ...(spans.some((span) => span.at_most) ? ['≤ it took no longer: known from what came next'] : []),
    ...(spans.some((span) => span.duration_ms === null) ? ['… it has not ended, or nobody wrote down that it did'] : []),
    ...(spans.some((span) => span.attempt > 1 || span.attributes['after_takeover'] === true)
      ? ['×n attempts; ↻ done again, or begun, by the worker that took the run over']
      : []),
    ...(truncated ? ['there is more: it is over a limit, or not for this key'] : []),
  ];
  return notes.length === 0 ? [] : ['', ...notes.map((note) => paint('dim', note))];
}

function labelOf({ depth, kind, name, status, error, attempt, attributes }: SpanView): string {
  const marks = [
    attempt > 1 ? `×${attempt}` : '',
    attributes['after_takeover'] === true ? '↻' : '',
    status === 'ok' || status === 'open' ? '' : `✗ ${error ?? status}`,
    typeof attributes['status'] === 'number' ? String(attributes['status']) : '',
  ];
  const text = [kind, printable(name).replaceAll('\n', ' '), ...marks].filter((each) => each !== '').join(' ');
  // a tree deeper than the line is wide would leave nothing of it
  return `${' '.repeat(2 * Math.min(depth, 12))}${text}`;
}

function durationText({ duration_ms, at_most, status }: SpanView): string {
  if (duration_ms === null) return '…';
  if (duration_ms === 0 && status !== 'ok') return '·';
  return `${at_most ? '≤' : ''}${number(duration_ms)}`;
}

/** Milliseconds: tenths while they say something. */
function number(ms: number): string {
  return ms < 100 ? ms.toFixed(1) : String(Math.round(ms));
}

/** At least a mark, so that nothing is without one. */
function barOf({ start_ms, duration_ms, at_most }: SpanView, whole: number, width: number): string {
  const perMs = (width * 8) / Math.max(whole, 0.01);
  const begin = Math.min(width * 8 - 1, Math.max(0, Math.floor(start_ms * perMs)));
  const end = duration_ms === null ? width * 8 : Math.min(width * 8, Math.max(begin + 1, Math.round((start_ms + duration_ms) * perMs)));
  const cell = Math.floor(begin / 8);
  // a block can only be cut on its right: a bar begins with its character
  const eighths = end - cell * 8;
  const [full, part] = [Math.floor(eighths / 8), eighths % 8];
  if (duration_ms === null) return `${' '.repeat(cell)}${'░'.repeat(Math.max(1, width - cell))}`;
  if (at_most) return `${' '.repeat(cell)}${'▒'.repeat(Math.max(1, Math.round(eighths / 8)))}`;
  return `${' '.repeat(cell)}${'█'.repeat(full)}${full === 0 && part === 0 ? '▏' : PARTS[part]}`;
}

function scale(whole: number, width: number): string {
  const end = `${number(whole)} ms`;
  return paint('dim', `0${'─'.repeat(Math.max(1, width - end.length - 3))} ${end}`);
}

function clip(text: string, most: number): string {
  return text.length <= most ? text : `${text.slice(0, most - 1)}…`;
}
