/** Figures of a process that serves the API or works on runs. */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Engine, EngineStats } from '../engine/index.ts';
import type { Queryable } from '../store/index.ts';
import {
  createCounter,
  type Described,
  describeFamily,
  type EntryCounts,
  type Family,
  family,
  renderDescribed,
  type Sample,
} from '../telemetry/index.ts';
import { readDatabase } from './database-metrics.ts';

export interface Metrics {
  /** One answered request. `seconds` is until the headers: a stream's length says nothing about us. */
  request(route: string, method: string, status: number, seconds: number): void;
  /** A request to a webhook that is served. `outcome`: what became of it, or the code that it was refused with. */
  webhook(slug: string, outcome: string): void;
  /** Event streams that opened (1) or ended (-1). */
  streams(change: 1 | -1): void;
  /** In Prometheus' text format. */
  render(engine: Engine, store: Queryable): Promise<string>;
  /** For whoever reads besides Prometheus: what is measured since the last look is since its own last look. */
  reader(of: MetricScope): MetricReader;
  close(): void;
}

/** Whether the figures of the database, which are the same in every process, are among them. */
export type MetricScope = 'process' | 'process and database';

export interface MetricReader {
  read(engine: Engine, store: Queryable): Promise<readonly Described[]>;
  close(): void;
}

/** How often the event loop is looked at. What is measured includes this pause. */
const LAG_RESOLUTION_MS = 50;

/** Counting rows again for each of several scrapers would be work for nothing. */
const COUNTS_MS = 5000;

/** Where very much work waits, counting it takes a twentieth of the time at most. */
const COUNTS_SHARE = 20;

/** What is told besides: by the audit log of this process, and by workflows. */
export interface MetricSources {
  readonly entries?: EntryCounts | undefined;
  readonly audit?: { readonly queued: number } | undefined;
  /** Of workflows. */
  readonly workflows?: (() => readonly Described[]) | undefined;
  /** What else this process counts. */
  readonly more?: (() => readonly Family[]) | undefined;
}

export function createMetrics(version: string, sources: MetricSources = {}): Metrics {
  const requests = new Map<string, { labels: Sample[0]; count: number; seconds: number }>();
  const webhooks = createCounter('centaur_webhooks_total');
  let open = 0;
  let tookMs = 0;
  let counted: { until: number; readonly families: Promise<readonly Family[]> } | undefined;

  function counts(store: Queryable): Promise<readonly Family[]> {
    if (counted !== undefined && counted.until > performance.now()) return counted.families;
    const began = performance.now();
    const fresh = { until: began + COUNTS_MS, families: readDatabase(store) };
    counted = fresh;
    fresh.families.then(
      () => {
        tookMs = performance.now() - began;
        fresh.until = performance.now() + Math.max(COUNTS_MS, COUNTS_SHARE * tookMs);
      },
      () => (counted = undefined),
    );
    return fresh.families;
  }

  function reader(of: MetricScope): MetricReader {
    const lag = monitorEventLoopDelay({ resolution: LAG_RESOLUTION_MS });
    lag.enable();
    return {
      async read(engine, store) {
        // What this process knows is told even while Postgres is away
        const database = of === 'process' ? undefined : await databaseFamilies(store);
        const families = [family('centaur_info', [[{ version }, 1]]), ...(database ?? []), ...processFamilies(engine, lag)];
        lag.reset();
        return [...families.map(describeFamily), ...(sources.workflows?.() ?? [])];
      },
      close: () => void lag.disable(),
    };
  }

  async function databaseFamilies(store: Queryable): Promise<readonly Family[]> {
    const database = await counts(store).catch(() => undefined);
    return [
      family('centaur_database_up', database === undefined ? 0 : 1),
      family('centaur_counting_seconds', tookMs / 1000),
      ...(database ?? []),
    ];
  }

  function processFamilies(engine: Engine, lag: ReturnType<typeof monitorEventLoopDelay>): readonly Family[] {
    const served = [...requests.values()];
    return [
      ...engineFamilies(engine.stats()),
      family(
        'centaur_http_requests_total',
        served.map(({ labels, count }) => [labels, count]),
      ),
      family(
        'centaur_http_request_seconds',
        served.flatMap(({ labels, count, seconds }): Sample[] => [
          [labels, seconds, '_sum'],
          [labels, count, '_count'],
        ]),
      ),
      webhooks.family(),
      family('centaur_http_streams', open),
      ...(sources.entries?.families() ?? []).filter(({ name }) => name !== 'centaur_egress_total'),
      family('centaur_audit_queued', sources.audit === undefined ? [] : sources.audit.queued),
      ...(sources.more?.() ?? []),
      ...nodeFamilies(lag.percentile(50), lag.percentile(99), lag.max),
    ];
  }

  const scraped = reader('process and database');
  return {
    request(route, method, status, seconds) {
      const key = `${method} ${route} ${status}`;
      let entry = requests.get(key);
      if (entry === undefined) requests.set(key, (entry = { labels: { method, route, status: String(status) }, count: 0, seconds: 0 }));
      entry.count += 1;
      entry.seconds += seconds;
    },
    webhook(slug, outcome) {
      webhooks.add({ slug, outcome });
    },
    streams(change) {
      open += change;
    },
    render: async (engine, store) => renderDescribed(await scraped.read(engine, store)),
    reader,
    close: () => scraped.close(),
  };
}

function engineFamilies(stats: EngineStats): readonly Family[] {
  const { runs_finished: finished } = stats;
  return [
    family('centaur_worker', stats.worker_id === null ? 0 : 1),
    family('centaur_resident_runs', stats.resident_runs),
    family('centaur_runs_started_total', stats.runs_started),
    family(
      'centaur_runs_finished_total',
      Object.entries(finished).map(([status, count]) => [{ status }, count]),
    ),
    family('centaur_steps_executed_total', stats.steps_executed),
    family('centaur_steps_replayed_total', stats.steps_replayed),
    family('centaur_flushes_total', stats.flushes),
    family('centaur_flushed_writes_total', stats.flushed_ops),
    family('centaur_queued_writes', stats.queued_ops),
    family('centaur_fenced_total', stats.fenced),
    stats.step_seconds,
  ];
}

/** Names that Prometheus' own client libraries use, so that common dashboards work. */
function nodeFamilies(lagP50: number, lagP99: number, lagMax: number): readonly Family[] {
  const cpu = process.cpuUsage();
  const memory = process.memoryUsage();
  const seconds = (nanoseconds: number) => Math.max(0, nanoseconds / 1e9 - LAG_RESOLUTION_MS / 1000);
  return [
    family('process_cpu_user_seconds_total', cpu.user / 1e6),
    family('process_cpu_system_seconds_total', cpu.system / 1e6),
    family('process_resident_memory_bytes', memory.rss),
    family('process_start_time_seconds', Math.round(performance.timeOrigin) / 1000),
    family('nodejs_heap_size_used_bytes', memory.heapUsed),
    family('nodejs_heap_size_total_bytes', memory.heapTotal),
    family('nodejs_eventloop_lag_p50_seconds', seconds(lagP50)),
    family('nodejs_eventloop_lag_p99_seconds', seconds(lagP99)),
    family('nodejs_eventloop_lag_max_seconds', seconds(lagMax)),
  ];
}
