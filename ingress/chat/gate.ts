/** So many at a time, the others in their order: for what takes much memory. */

export type Gate = <T>(act: () => Promise<T>) => Promise<T>;

export function createGate(most: number): Gate {
  let free = most;
  const waiting: (() => void)[] = [];
  return async (act) => {
    if (free > 0) free -= 1;
    // whoever leaves hands its place on
    else await new Promise<void>((resolve) => waiting.push(resolve));
    try {
      return await act();
    } finally {
      const next = waiting.shift();
      if (next === undefined) free += 1;
      else next();
    }
  };
}
