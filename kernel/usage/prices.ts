/** What tokens cost, in integers: no sum of money ever passes through a fraction. */
import { matchesName } from '../policy/index.ts';
import type { Tokens } from './types.ts';

/** Millionths of the currency, for a million tokens. */
export interface Price {
  readonly input: number;
  readonly output: number;
  readonly cacheRead: number;
  readonly cacheWrite: number;
}

/** By model; a name may have stars in it. The first that fits counts. */
export type Prices = readonly { readonly model: string; readonly price: Price }[];

export function priceOf(prices: Prices, model: string): Price | undefined {
  return prices.find((each) => matchesName(each.model, model))?.price;
}

/**
 * In millionths, for one turn with one model: the exact sum of its tokens, rounded once, half up. So a day of n turns is off by
 * n/2 millionths at most. What is beyond 2^53 costs that.
 */
export function costOf(tokens: Tokens, price: Price): number {
  const { input, output, cacheRead, cacheWrite } = price;
  const exact =
    BigInt(tokens.input) * BigInt(input) +
    BigInt(tokens.output) * BigInt(output) +
    BigInt(tokens.cache_read) * BigInt(cacheRead) +
    BigInt(tokens.cache_write) * BigInt(cacheWrite);
  return Math.min(Number.MAX_SAFE_INTEGER, Number((exact + 500_000n) / 1_000_000n));
}
