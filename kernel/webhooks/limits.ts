/** How many deliveries of a webhook are looked at: a token bucket for each, in the memory of this process. */

export interface Rate {
  readonly limit: number;
  readonly periodSeconds: number;
}

/** Of deliveries whose signature is still to be checked: far above what a provider sends, and below what checking costs a process. */
export const FLOOD_RATE: Rate = { limit: 5000, periodSeconds: 1 };

export interface Limits {
  /** Seconds to wait, when this one is too many; else 0, and it counts. */
  take(slug: string, rate: Rate): number;
  /** Forgets all but these. */
  keep(slugs: ReadonlySet<string>): void;
}

interface Bucket {
  readonly rate: Rate;
  tokens: number;
  at: number;
}

/** @param now a clock in milliseconds that never goes back */
export function createLimits(now: () => number): Limits {
  const buckets = new Map<string, Bucket>();

  function bucketOf(slug: string, rate: Rate): Bucket {
    const known = buckets.get(slug);
    if (known?.rate.limit === rate.limit && known.rate.periodSeconds === rate.periodSeconds) return known;
    const bucket = { rate, tokens: rate.limit, at: now() };
    buckets.set(slug, bucket);
    return bucket;
  }

  return {
    take(slug, rate) {
      const bucket = bucketOf(slug, rate);
      const perMs = rate.limit / (rate.periodSeconds * 1000);
      const at = now();
      bucket.tokens = Math.min(rate.limit, bucket.tokens + (at - bucket.at) * perMs);
      bucket.at = at;
      if (bucket.tokens < 1) return (1 - bucket.tokens) / perMs / 1000;
      bucket.tokens -= 1;
      return 0;
    },
    keep(slugs) {
      for (const slug of buckets.keys()) if (!slugs.has(slug)) buckets.delete(slug);
    },
  };
}
