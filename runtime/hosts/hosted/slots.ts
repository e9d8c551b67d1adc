/** So many at a time; the others wait for their turn. Resolves with how to leave. */
export function createSlots(most: number): () => Promise<() => void> {
  const waiting: (() => void)[] = [];
  let taken = 0;
  return async () => {
    if (taken >= most) await new Promise<void>((resolve) => waiting.push(resolve));
    else taken += 1;
    return () => {
      const next = waiting.shift();
      // the place goes from hand to hand
      if (next === undefined) taken -= 1;
      else next();
    };
  };
}
