/**
 * Telemetry: the figures that processes tell Prometheus and receivers of OpenTelemetry, and what keeps them few.
 *
 * It promises that every metric has one name, one help text and known labels; that labels from outside have a bounded number of
 * values; and that no figure is a second source of truth: each is read from the database, or counts what a process did. It
 * knows nothing of what it counts, and never has a secret, an argument or a text of an agent in it.
 */
export { CONVENTIONS, type Convention } from './conventions.ts';
export { type Counter, createCounter, createHistogram, type Histogram } from './counts.ts';
export { createEntryCounts, type EntryCounts } from './entries.ts';
export { type MetricName, METRICS, type MetricSpec } from './registry.ts';
export { type Described, describeFamily, type Family, family, renderDescribed, renderFamilies, type Sample } from './text.ts';
