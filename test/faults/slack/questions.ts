/** What people ask in the fault test, and what agents answer: each question has a name, which its answer repeats. */

const KINDS = ['quick', 'words', 'words', 'slow', 'long'] as const;

export interface Answer {
  readonly pieces: readonly string[];
  readonly answer: string;
  readonly everyMs: number;
}

export function questionOf(name: string, throwOf: number): string {
  return `${name} ${KINDS[Math.floor(throwOf * KINDS.length)]}`;
}

/** What every answer has once, in one place. */
export const markOf = (name: string): string => `Answer to ${name}.`;

export function answerTo(asked: string): Answer {
  const [, name = 'q?', kind = 'quick'] = /\b(q\d+) (quick|words|slow|long)\b/.exec(asked) ?? [];
  const count = { quick: 1, words: 12, slow: 30, long: 40 }[kind] ?? 1;
  // long ones take several messages
  const size = kind === 'long' ? 60 : 3;
  const pieces = Array.from({ length: count }, (_, piece) =>
    Array.from({ length: size }, (_unused, word) => `w${piece}.${word} `).join(''),
  );
  const answer = `${pieces.join('')}\n\n${markOf(name)}`;
  return { pieces: [...pieces, `\n\n${markOf(name)}`], answer, everyMs: kind === 'slow' ? 120 : 30 };
}
