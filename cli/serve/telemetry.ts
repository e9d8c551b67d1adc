/** What a process tells a receiver of OpenTelemetry, and as whom. */
import { randomUUID } from 'node:crypto';
import type { OtlpSettings } from '@centaur/kernel/config';
import { createCounter, type Described, type Family } from '@centaur/kernel/telemetry';
import type { MetricExport, MetricExportOptions } from '@centaur/kernel/telemetry/export';
import type { Log } from '../log.ts';
import { VERSION } from '../version.ts';

export type { MetricExport };

/** What became of the requests to the receiver: a figure of its own, also where only traces are exported. */
export interface ExportCounts {
  of(signal: 'traces' | 'metrics'): MetricExportOptions['count'];
  families(): readonly Family[];
}

export function createExportCounts(): ExportCounts {
  const counter = createCounter('centaur_otlp_requests_total');
  return {
    of: (signal) => (outcome) => counter.add({ signal, outcome }),
    families: () => [counter.family()],
  };
}

/** Of one life of a process. */
const INSTANCE = randomUUID();

/** A name that was given stays; the firewall beside a server has the same environment, and is another instance. */
export function resourceOf({ resource }: OtlpSettings, component: string): Record<string, string> {
  const given = resource['service.instance.id'];
  return {
    'service.version': VERSION,
    'centaur.component': component,
    ...resource,
    'service.instance.id': given === undefined ? INSTANCE : component === 'firewall' ? `${given}-firewall` : given,
  };
}

/** Undefined: figures are not exported, and nothing of it is loaded. */
export async function exportMetrics(
  otlp: OtlpSettings | undefined,
  component: string,
  counts: ExportCounts,
  collect: () => Promise<readonly Described[]>,
  log: Log,
): Promise<MetricExport | undefined> {
  if (otlp?.metrics === undefined) return undefined;
  const { startMetricExport } = await import('@centaur/kernel/telemetry/export');
  return startMetricExport({
    receiver: otlp.metrics,
    resource: resourceOf(otlp, component),
    version: VERSION,
    intervalMs: otlp.intervalMs,
    collect,
    count: counts.of('metrics'),
    log,
  });
}
