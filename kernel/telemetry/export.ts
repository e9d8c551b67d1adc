/**
 * Sends figures to a receiver of OpenTelemetry, again and again. They are sums since the process began, so what did not arrive is in what is
 * sent next: nothing is kept for later, and a receiver that is away costs one set of figures in memory, however long it stays away.
 */
import { randomInt } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { metricsRequests } from './otlp-metrics.ts';
import { type OtlpReceiver, type PostOutcome, postOtlp } from './post.ts';
import type { Described } from './text.ts';

export interface MetricExportOptions {
  readonly receiver: OtlpReceiver;
  /** Attributes of the resource. */
  readonly resource: Readonly<Record<string, string>>;
  /** Of this release. */
  readonly version: string;
  readonly intervalMs: number;
  /** When this process began to count: Unix milliseconds. Default: when it started. */
  readonly startedMs?: number;
  readonly collect: () => Promise<readonly Described[]>;
  /** Told of what became of each request. */
  readonly count: (outcome: PostOutcome) => void;
  readonly log: (entry: { readonly level: 'warn'; readonly message: string; readonly error: string }) => void;
}

export interface MetricExport {
  /** Sends the last figures, once, within some seconds. */
  close(): Promise<void>;
}

const AGAIN_LEAST_MS = 1000;
const AGAIN_MOST_MS = 30_000;
/** After the first, failures are told of this seldom. */
const TOLD_MS = 60_000;
/** What the end of a process waits for a receiver, and for Postgres to count. */
const LAST_MS = 5000;

export function startMetricExport(options: MetricExportOptions): MetricExport {
  const { receiver, intervalMs, log } = options;
  const startedMs = options.startedMs ?? performance.timeOrigin;
  const closing = new AbortController();
  let told = Number.NEGATIVE_INFINITY;
  const done = run();

  async function run(): Promise<void> {
    let next = performance.now();
    while (!closing.signal.aborted) {
      // those that were missed are not made up for
      next = Math.max(next + intervalMs, performance.now());
      await sleep(next - performance.now());
      if (closing.signal.aborted) return;
      await send(receiver, await bodies(), performance.now() + intervalMs);
    }
  }

  async function bodies(): Promise<readonly object[]> {
    try {
      const described = await options.collect();
      return metricsRequests(described, { ...options, startedMs, nowMs: performance.timeOrigin + performance.now() });
    } catch (error) {
      complain('the figures cannot be read; trying again', (error as Error).message);
      return [];
    }
  }

  /** Until it is taken, refused, or time for the next ones. What comes after something that did not arrive would not arrive either. */
  async function send(to: OtlpReceiver, requests: readonly object[], until: number, signal: AbortSignal = closing.signal): Promise<void> {
    for (const body of requests) {
      for (let waitMs = Math.min(AGAIN_LEAST_MS, intervalMs / 10); ; waitMs = Math.min(AGAIN_MOST_MS, waitMs * 2)) {
        const posted = await postOtlp(to, body, signal);
        if (signal.aborted) return;
        if (posted.outcome !== 'again') {
          const isWhole = posted.outcome === 'taken' && posted.rejected === 0;
          options.count(posted.outcome === 'refused' ? 'refused' : isWhole ? 'taken' : 'taken_in_part');
          if (!isWhole) complain('the receiver of metrics refused figures', posted.message ?? 'it does not say why');
          break;
        }
        // not all processes at once
        const afterMs = posted.afterMs ?? waitMs + randomInt(Math.ceil(waitMs / 4));
        const isLast = performance.now() + afterMs >= until;
        options.count(isLast ? 'given_up' : 'again');
        complain('the receiver of metrics takes nothing; trying again', posted.message);
        if (isLast) return;
        await sleep(afterMs);
        if (closing.signal.aborted) return;
      }
    }
  }

  function complain(message: string, error: string): void {
    if (performance.now() - told < TOLD_MS) return;
    told = performance.now();
    log({ level: 'warn', message, error });
  }

  async function sleep(ms: number): Promise<void> {
    await pause(ms, undefined, { signal: closing.signal, ref: false }).catch(() => undefined);
  }

  return {
    async close() {
      closing.abort();
      await done;
      const late = new AbortController();
      const timer = setTimeout(() => late.abort(), LAST_MS);
      const aborted = new Promise<readonly object[]>((resolve) => late.signal.addEventListener('abort', () => resolve([])));
      await send(receiver, await Promise.race([bodies(), aborted]), 0, late.signal);
      clearTimeout(timer);
    },
  };
}
