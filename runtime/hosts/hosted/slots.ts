/**
 * So many at a time; the others wait for their turn. Resolves with how to leave.
 *
 * @throws the signal's reason when it aborts before there is a place
 */
export function createSlots(most: number): (signal?: AbortSignal) => Promise<() => void> {
  const waiting = new Set<() => void>();
  let taken = 0;
  return async (signal) => {
    signal?.throwIfAborted();
    if (taken >= most) await turn(waiting, signal);
    else taken += 1;
    return () => {
      const [next] = waiting;
      // the place goes from hand to hand
      if (next === undefined) taken -= 1;
      else next();
    };
  };
}

function turn(waiting: Set<() => void>, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const next = (): void => {
      waiting.delete(next);
      signal?.removeEventListener('abort', leave);
      resolve();
    };
    const leave = (): void => {
      waiting.delete(next);
      reject(signal?.reason as Error);
    };
    waiting.add(next);
    signal?.addEventListener('abort', leave, { once: true });
  });
}
