/** For whoever mistyped a name. */

/** Those that are at most two letters away; most like it first. */
export function nearNames(name: string, known: readonly string[]): string[] {
  // what is that much longer is far away, and long names take long to compare
  const candidates = known.filter((other) => Math.abs(other.length - name.length) <= NEAR);
  return candidates
    .map((other) => ({ other, away: distance(other, name) }))
    .filter(({ away }) => away <= NEAR)
    .sort((a, b) => a.away - b.away)
    .map(({ other }) => other);
}

const NEAR = 2;

/** How many letters to change to get from one word to the other. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min((next[j - 1] as number) + 1, (row[j] as number) + 1, (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1)));
    }
    row = next;
  }
  return row[b.length] as number;
}
