/** Counters with labels whose values come from outside: there are never more than so many. */
import { type Family, family, type Sample } from './text.ts';
import type { MetricName } from './registry.ts';

export interface Counter {
  add(labels: Readonly<Record<string, string>>): void;
  family(): Family;
}

/** Beyond them, all are counted as one whose labels are `other`. */
const SERIES_MOST = 500;

export function createCounter(name: MetricName): Counter {
  const series = new Map<string, { readonly labels: Readonly<Record<string, string>>; count: number }>();
  function seriesOf(labels: Readonly<Record<string, string>>) {
    const key = JSON.stringify(labels);
    const known = series.get(key);
    if (known !== undefined) return known;
    if (series.size >= SERIES_MOST && Object.values(labels).some((value) => value !== 'other'))
      return seriesOf(Object.fromEntries(Object.keys(labels).map((label) => [label, 'other'])));
    const made = { labels, count: 0 };
    series.set(key, made);
    return made;
  }
  return {
    add(labels) {
      seriesOf(labels).count += 1;
    },
    family: () =>
      family(
        name,
        [...series.values()].map(({ labels, count }): Sample => [labels, count]),
      ),
  };
}

export interface Histogram {
  add(seconds: number): void;
  family(): Family;
}

const BUCKETS = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60];

export function createHistogram(name: MetricName): Histogram {
  const counts = BUCKETS.map(() => 0);
  let count = 0;
  let sum = 0;
  return {
    add(seconds) {
      // one that is no time would be in the sum for good
      if (!Number.isFinite(seconds) || seconds < 0) return;
      count += 1;
      sum += seconds;
      const at = BUCKETS.findIndex((most) => seconds <= most);
      if (at >= 0) counts[at] = (counts[at] as number) + 1;
    },
    family() {
      let below = 0;
      return family(name, [
        ...BUCKETS.map((most, i): Sample => [{ le: String(most) }, (below += counts[i] as number), '_bucket']),
        [{ le: '+Inf' }, count, '_bucket'],
        [{}, sum, '_sum'],
        [{}, count, '_count'],
      ]);
    },
  };
}
