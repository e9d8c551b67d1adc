/** Small tools of measuring. */

/** What a measurement found: figures by name and unit. */
export type Figures = Readonly<Record<string, number>>;

/** Calls `work` for 0 … n-1 with at most `width` in progress. */
export async function each(n: number, width: number, work: (i: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const lane = async () => {
    while (next < n) await work(next++);
  };
  await Promise.all(Array.from({ length: Math.min(n, width) }, lane));
}

/** `passed` resolves with the n-th `pass`. */
export function gate(n: number): { readonly passed: Promise<void>; pass(): void } {
  const { promise, resolve } = deferred<void>();
  let left = n;
  return {
    passed: promise,
    pass() {
      if (--left === 0) resolve();
    },
  };
}

/** The value below which the share `q` of the values lies; for the median of an even number, the upper one. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN;
}

export const median = (values: readonly number[]): number => quantile(values, 0.5);

/** A promise and what settles it. */
export function deferred<T>(): {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (error: Error) => void;
} {
  let settle: { resolve: (value: T) => void; reject: (error: Error) => void };
  const promise = new Promise<T>((resolve, reject) => (settle = { resolve, reject }));
  return { promise, ...settle! };
}
