/** What the demo prints. Colour only where a person reads it. */
import { styleText } from 'node:util';
import type { Finding } from './proof.ts';

type Style = Parameters<typeof styleText>[0];

const paint = (style: Style, text: string): string => styleText(style, text, { stream: process.stdout });
const startedAt = performance.now();

export function title(text: string): void {
  console.log(paint('bold', text));
}

export function fact(name: string, text: string): void {
  console.log(`  ${name.padEnd(10)}${paint('dim', text)}`);
}

export function section(text: string): void {
  console.log(`\n${paint('bold', text)}`);
}

const MARKS = {
  started: ['dim', '·'],
  completed: ['green', '✓'],
  replayed: ['cyan', '↻'],
  waiting: ['yellow', '…'],
  killed: ['red', '✗'],
} as const;

/** One thing that happened, with the seconds since the demo began. */
export function line(mark: keyof typeof MARKS, name: string, text: string): void {
  const [style, sign] = MARKS[mark];
  const at = ((performance.now() - startedAt) / 1000).toFixed(2).padStart(6);
  console.log(`${paint('dim', `${at}s`)}  ${paint(style, sign)} ${name.padEnd(20)} ${paint(mark === 'killed' ? 'red' : 'dim', text)}`);
}

export function table(findings: readonly Finding[]): void {
  const rows = findings.map(({ step, requests, completedBeforeKill, inFlightAtKill, verdict }) => [
    step,
    String(requests),
    completedBeforeKill === undefined ? '-' : `kill ${completedBeforeKill}`,
    verdict === 'in flight' ? `not completed at kill ${inFlightAtKill.join(', ')}: asked again, same idempotency key` : verdict,
  ]);
  const head = ['step', 'requests', 'completed before', 'verdict'];
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const format = (row: readonly string[]): string =>
    `  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}`.trimEnd();
  console.log(paint('bold', format(head)));
  rows.forEach((row, index) => {
    const verdict = findings[index]?.verdict;
    console.log(verdict === 'once' ? format(row) : paint(verdict === 'in flight' ? 'yellow' : 'red', format(row)));
  });
}

export function verdict(good: boolean, text: string): void {
  console.log(`\n${paint(good ? ['bold', 'green'] : ['bold', 'red'], text)}`);
}
