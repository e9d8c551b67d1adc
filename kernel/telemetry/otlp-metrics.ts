/**
 * Figures as OTLP's JSON (https://github.com/open-telemetry/opentelemetry-proto, `metrics/v1`): cumulative, 64-bit numbers and times as texts.
 *
 * What is not finite is left out: JSON has no such number. A sum of the database has no start time, since it began before this process and
 * nobody knows when; those of a process began with it.
 */
import { CONVENTIONS, type Convention } from './conventions.ts';
import { nanoseconds, otlpAttributes, type OtlpValue } from './otlp-json.ts';
import type { Described, Sample } from './text.ts';

export interface Batch {
  /** Of the resource. */
  readonly resource: Readonly<Record<string, string>>;
  readonly version: string;
  /** When the process began to count, and when this was read: Unix milliseconds. */
  readonly startedMs: number;
  readonly nowMs: number;
}

const CUMULATIVE = 2;
/** Of one request: some 300 bytes each. */
const POINTS_MOST = 2000;

interface Metric {
  readonly name: string;
  readonly unit: string;
  readonly description: string;
  readonly data: 'sum' | 'gauge' | 'histogram';
  readonly isMonotonic: boolean;
  readonly points: object[];
}

/** One body for each request; none where there is nothing to tell. */
export function metricsRequests(described: readonly Described[], batch: Batch): readonly object[] {
  const metrics = new Map<string, Metric>();
  for (const each of described) {
    const metric = toMetric(each, batch);
    const known = metrics.get(metric.name);
    // two of Prometheus' names may be one here, apart by an attribute
    if (known === undefined) metrics.set(metric.name, metric);
    else known.points.push(...metric.points);
  }
  return pages([...metrics.values()].filter(({ points }) => points.length > 0)).map((page) => ({
    resourceMetrics: [
      {
        resource: { attributes: otlpAttributes(batch.resource) },
        scopeMetrics: [{ scope: { name: 'centaur', version: batch.version }, metrics: page.map(toJson) }],
      },
    ],
  }));
}

function toJson({ name, unit, description, data, isMonotonic, points: dataPoints }: Metric): object {
  const known = { name, description, ...(unit === '' ? {} : { unit }) };
  if (data === 'gauge') return { ...known, gauge: { dataPoints } };
  if (data === 'histogram') return { ...known, histogram: { dataPoints, aggregationTemporality: CUMULATIVE } };
  return { ...known, sum: { dataPoints, aggregationTemporality: CUMULATIVE, isMonotonic } };
}

function toMetric({ name, type, help, of, samples }: Described, { startedMs, nowMs }: Batch): Metric {
  const convention = (CONVENTIONS as Readonly<Record<string, Convention | undefined>>)[name];
  const unit = convention?.unit ?? unitOf(name);
  const timeUnixNano = nanoseconds(nowMs);
  const times = of === 'database' ? { timeUnixNano } : { startTimeUnixNano: nanoseconds(startedMs), timeUnixNano };
  const known = { name: convention?.name ?? name, unit, description: help };
  const attributesOf = (labels: Sample[0]) => otlpAttributes({ ...convention?.attributes, ...renamed(labels, convention) });
  if (type === 'histogram' || type === 'summary')
    return { ...known, data: 'histogram', isMonotonic: true, points: histogramPoints(samples, times, attributesOf) };
  // a metric keeps one kind of number, also when a time happens to be whole
  const toNumber = (value: number) =>
    unit === 's' || of === 'workflow' || !Number.isSafeInteger(value) ? { asDouble: value } : { asInt: String(value) };
  const isSum = type === 'counter' || convention?.data === 'up-down';
  const points = samples
    .filter(([, value]) => Number.isFinite(value))
    .map(([labels, value]) => ({ attributes: attributesOf(labels), ...(isSum ? times : { timeUnixNano }), ...toNumber(value) }));
  return { ...known, data: isSum ? 'sum' : 'gauge', isMonotonic: type === 'counter', points };
}

/** The lines of one series together. Without buckets, such as a summary of ours, it is a count and a sum. */
function histogramPoints(samples: readonly Sample[], times: object, attributesOf: (labels: Sample[0]) => object[]): object[] {
  const series = new Map<
    string,
    { readonly labels: Sample[0]; sum: number; count: number; readonly buckets: [bound: number, below: number][] }
  >();
  for (const [{ le, ...labels }, value, suffix] of samples) {
    const key = JSON.stringify(labels);
    const one = series.get(key) ?? { labels, sum: 0, count: 0, buckets: [] };
    series.set(key, one);
    if (suffix === '_sum') one.sum = value;
    else if (suffix === '_count') one.count = value;
    else if (le !== undefined && le !== '+Inf') one.buckets.push([Number(le), value]);
  }
  return [...series.values()]
    .filter(({ sum }) => Number.isFinite(sum))
    .map(({ labels, sum, count, buckets }) => {
      const below = buckets.map(([, n]) => n);
      const counts = buckets.length === 0 ? [] : [...below, count].map((n, i) => String(n - (below[i - 1] ?? 0)));
      return {
        attributes: attributesOf(labels),
        ...times,
        count: String(count),
        sum,
        bucketCounts: counts,
        explicitBounds: buckets.map(([bound]) => bound),
      };
    });
}

function renamed(labels: Sample[0], convention: Convention | undefined): Record<string, OtlpValue> {
  return Object.fromEntries(
    Object.entries(labels).map(([label, value]) => {
      const name = convention?.labels?.[label] ?? label;
      return [name, name === 'http.response.status_code' ? Number(value) : value];
    }),
  );
}

/** In UCUM, as far as a name says it. */
function unitOf(name: string): string {
  const [, unit] = /_(seconds|bytes)(?:_total)?$/.exec(name) ?? [];
  return unit === 'seconds' ? 's' : unit === 'bytes' ? 'By' : '';
}

function pages(metrics: readonly Metric[]): readonly (readonly Metric[])[] {
  const all: Metric[][] = [];
  let room = 0;
  for (const metric of metrics)
    for (let from = 0; from < metric.points.length;) {
      if (room === 0) {
        all.push([]);
        room = POINTS_MOST;
      }
      const points = metric.points.slice(from, from + room);
      all.at(-1)?.push({ ...metric, points });
      from += points.length;
      room -= points.length;
    }
  return all;
}
