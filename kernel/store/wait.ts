/** Waiting for something to claim, so that nobody has to ask again and again. */
import type { Store } from './store.ts';

/** How often is looked without a notification: a time may come, or a lease end, without one. */
const LOOK_MS = 1000;

/**
 * Claims, and when there is nothing waits for it.
 *
 * @param channel tells of platforms that have something; '' of any
 */
export async function claimWaiting<T>(
  store: Pick<Store, 'listener'>,
  channel: string,
  { platform, wait_ms: waitMs = 0 }: { readonly platform?: string | undefined; readonly wait_ms?: number | undefined },
  signal: AbortSignal | undefined,
  claim: () => Promise<readonly T[]>,
): Promise<readonly T[]> {
  const deadline = performance.now() + waitMs;
  // whoever has gone would take what nobody hears of
  const isGone = () => signal?.aborted === true;
  if (isGone()) return [];
  const first = await claim();
  if (first.length > 0 || waitMs === 0) return first;
  let told = false;
  let wake = () => {};
  const hear = () => {
    told = true;
    wake();
  };
  const unlisten = await store.listener.on(channel, (payload) => {
    if (payload === '' || platform === undefined || payload === platform) hear();
  });
  signal?.addEventListener('abort', hear);
  try {
    for (;;) {
      if (isGone()) return [];
      told = false;
      const claimed = await claim();
      const left = deadline - performance.now();
      if (claimed.length > 0 || left <= 0) return claimed;
      // told while it looked: there may be more
      if (told) continue;
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        wake = resolve;
        timer = setTimeout(resolve, Math.min(left, LOOK_MS));
      });
      clearTimeout(timer);
    }
  } finally {
    unlisten();
    signal?.removeEventListener('abort', hear);
  }
}
