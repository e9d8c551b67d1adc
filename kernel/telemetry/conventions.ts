/**
 * Names that OpenTelemetry's semantic conventions have for figures of ours (https://opentelemetry.io/docs/specs/semconv/, release 1.45). What is not here
 * keeps its name of Prometheus, which a collector that writes to Prometheus leaves as it is.
 */
import type { MetricName } from './registry.ts';

export interface Convention {
  readonly name: string;
  /** In UCUM. */
  readonly unit: string;
  /** A gauge of ours that is a sum which also falls. */
  readonly data?: 'up-down';
  /** Their names of our labels. */
  readonly labels?: Readonly<Record<string, string>>;
  /** What our name says, and theirs has as an attribute. */
  readonly attributes?: Readonly<Record<string, string>>;
}

export const CONVENTIONS: Readonly<Partial<Record<MetricName, Convention>>> = {
  centaur_http_request_seconds: {
    name: 'http.server.request.duration',
    unit: 's',
    labels: { method: 'http.request.method', route: 'http.route', status: 'http.response.status_code' },
  },
  process_cpu_user_seconds_total: { name: 'process.cpu.time', unit: 's', attributes: { 'cpu.mode': 'user' } },
  process_cpu_system_seconds_total: { name: 'process.cpu.time', unit: 's', attributes: { 'cpu.mode': 'system' } },
  process_resident_memory_bytes: { name: 'process.memory.usage', unit: 'By', data: 'up-down' },
  nodejs_eventloop_lag_p50_seconds: { name: 'nodejs.eventloop.delay.p50', unit: 's' },
  nodejs_eventloop_lag_p99_seconds: { name: 'nodejs.eventloop.delay.p99', unit: 's' },
  nodejs_eventloop_lag_max_seconds: { name: 'nodejs.eventloop.delay.max', unit: 's' },
};
