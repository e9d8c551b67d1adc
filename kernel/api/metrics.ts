/** Figures in Prometheus' text format. */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Engine, EngineStats, QueueView } from '../engine/index.ts';
import type { Queryable } from '../store/index.ts';

export interface Metrics {
  /** One answered request. `seconds` is until the headers: a stream's length says nothing about us. */
  request(route: string, method: string, status: number, seconds: number): void;
  /** A request to a webhook that is served. `outcome`: what became of it, or the code that it was refused with. */
  webhook(slug: string, outcome: string): void;
  /** Event streams that opened (1) or ended (-1). */
  streams(change: 1 | -1): void;
  render(engine: Engine, store: Queryable): Promise<string>;
  close(): void;
}

/** How often the event loop is looked at. What is measured includes this pause. */
const LAG_RESOLUTION_MS = 50;

/** Counting rows again for each of several scrapers would be work for nothing. */
const COUNTS_MS = 5000;

type Labels = Readonly<Record<string, string>>;
type Sample = readonly [labels: Labels, value: number, suffix?: string];

/** @param more figures of others, in Prometheus' text format */
export function createMetrics(version: string, more: () => string = () => ''): Metrics {
  const requests = new Map<string, { labels: Labels; count: number; seconds: number }>();
  const webhooks = new Map<string, { labels: Labels; count: number }>();
  const lag = monitorEventLoopDelay({ resolution: LAG_RESOLUTION_MS });
  lag.enable();
  let open = 0;
  let counted: { readonly until: number; readonly counts: Promise<Counts> } | undefined;

  function counts(engine: Engine, store: Queryable): Promise<Counts> {
    if (counted !== undefined && counted.until > performance.now()) return counted.counts;
    const fresh = readCounts(engine, store);
    counted = { until: performance.now() + COUNTS_MS, counts: fresh };
    fresh.catch(() => (counted = undefined));
    return fresh;
  }

  return {
    request(route, method, status, seconds) {
      const key = `${method} ${route} ${status}`;
      let entry = requests.get(key);
      if (entry === undefined) requests.set(key, (entry = { labels: { method, route, status: String(status) }, count: 0, seconds: 0 }));
      entry.count += 1;
      entry.seconds += seconds;
    },
    webhook(slug, outcome) {
      const key = `${slug} ${outcome}`;
      let entry = webhooks.get(key);
      if (entry === undefined) webhooks.set(key, (entry = { labels: { slug, outcome }, count: 0 }));
      entry.count += 1;
    },
    streams(change) {
      open += change;
    },
    async render(engine, store) {
      // What this process knows is told even while Postgres is away
      const database = await counts(engine, store).catch(() => undefined);
      const served = [...requests.values()];
      const text = [
        family('centaur_info', 'gauge', 'The version of this process.', [[{ version }, 1]]),
        family('centaur_database_up', 'gauge', 'Whether Postgres answered.', [[{}, database === undefined ? 0 : 1]]),
        ...(database === undefined ? [] : databaseFamilies(database)),
        ...engineFamilies(engine.stats()),
        family(
          'centaur_http_requests_total',
          'counter',
          'Answered requests.',
          served.map(({ labels, count }) => [labels, count]),
        ),
        family(
          'centaur_http_request_seconds',
          'summary',
          'Time until the answer began.',
          served.flatMap(({ labels, count, seconds }): Sample[] => [
            [labels, seconds, '_sum'],
            [labels, count, '_count'],
          ]),
        ),
        family(
          'centaur_webhooks_total',
          'counter',
          'Requests to webhooks, by what became of them.',
          [...webhooks.values()].map(({ labels, count }) => [labels, count]),
        ),
        family('centaur_http_streams', 'gauge', 'Open event streams.', [[{}, open]]),
        ...processFamilies(lag.percentile(50), lag.percentile(99), lag.max),
        more().trimEnd(),
      ];
      lag.reset();
      return `${text.filter((each) => each !== '').join('\n')}\n`;
    },
    close: () => void lag.disable(),
  };
}

interface Counts {
  readonly runs: readonly { readonly status: string; readonly count: number }[];
  readonly queues: readonly QueueView[];
}

async function readCounts(engine: Engine, store: Queryable): Promise<Counts> {
  const [{ rows }, queues] = await Promise.all([
    // Unfinished runs only: they are as many as there is work, while finished ones are as many as a month made
    store.query<{ status: string; count: number }>(
      `select case when status = 'q' or (status = 's' and started_at is null) then 'queued' when status = 'r' then 'running'
         when status = 's' then 'sleeping' when status = 'w' then 'waiting' else 'stuck' end as status, count(*) as count
       from workflow_runs group by 1`,
    ),
    engine.listQueues(),
  ]);
  return { runs: rows, queues };
}

function databaseFamilies({ runs, queues }: Counts): string[] {
  const countOf = (status: string) => runs.find((row) => row.status === status)?.count ?? 0;
  return [
    family(
      'centaur_runs',
      'gauge',
      'Unfinished runs by status.',
      ['queued', 'running', 'sleeping', 'waiting', 'stuck'].map((status) => [{ status }, countOf(status)]),
    ),
    family(
      'centaur_queue_queued',
      'gauge',
      'Runs that wait in a queue.',
      queues.map(({ name, queued }) => [{ queue: name }, queued]),
    ),
    family(
      'centaur_queue_running',
      'gauge',
      'Runs of a queue that execute.',
      queues.map(({ name, running }) => [{ queue: name }, running]),
    ),
  ];
}

function engineFamilies(stats: EngineStats): string[] {
  const { runs_finished: finished } = stats;
  return [
    family('centaur_worker', 'gauge', 'Whether this process works on runs.', [[{}, stats.worker_id === null ? 0 : 1]]),
    family('centaur_resident_runs', 'gauge', 'Runs in this process’s memory.', [[{}, stats.resident_runs]]),
    family('centaur_runs_started_total', 'counter', 'Runs started through this process.', [[{}, stats.runs_started]]),
    family(
      'centaur_runs_finished_total',
      'counter',
      'Runs that this process ended.',
      Object.entries(finished).map(([status, count]) => [{ status }, count]),
    ),
    family('centaur_steps_executed_total', 'counter', 'Steps whose function was called here.', [[{}, stats.steps_executed]]),
    family('centaur_steps_replayed_total', 'counter', 'Steps answered from their checkpoint here.', [[{}, stats.steps_replayed]]),
    family('centaur_flushes_total', 'counter', 'Group commits.', [[{}, stats.flushes]]),
    family('centaur_flushed_writes_total', 'counter', 'Writes in those commits.', [[{}, stats.flushed_ops]]),
    family('centaur_queued_writes', 'gauge', 'Writes that wait for the next commit.', [[{}, stats.queued_ops]]),
    family('centaur_fenced_total', 'counter', 'Times this worker lost its lease.', [[{}, stats.fenced]]),
  ];
}

/** Names that Prometheus' own client libraries use, so that common dashboards work. */
function processFamilies(lagP50: number, lagP99: number, lagMax: number): string[] {
  const cpu = process.cpuUsage();
  const memory = process.memoryUsage();
  const seconds = (nanoseconds: number) => Math.max(0, nanoseconds / 1e9 - LAG_RESOLUTION_MS / 1000);
  return [
    family('process_cpu_user_seconds_total', 'counter', 'CPU time in user mode.', [[{}, cpu.user / 1e6]]),
    family('process_cpu_system_seconds_total', 'counter', 'CPU time in the kernel.', [[{}, cpu.system / 1e6]]),
    family('process_resident_memory_bytes', 'gauge', 'Memory in RAM.', [[{}, memory.rss]]),
    family('process_start_time_seconds', 'gauge', 'When the process started, in Unix time.', [
      [{}, Math.round(performance.timeOrigin) / 1000],
    ]),
    family('nodejs_heap_size_used_bytes', 'gauge', 'Used heap.', [[{}, memory.heapUsed]]),
    family('nodejs_heap_size_total_bytes', 'gauge', 'Heap.', [[{}, memory.heapTotal]]),
    family('nodejs_eventloop_lag_p50_seconds', 'gauge', 'Median lag of the event loop since the last scrape.', [[{}, seconds(lagP50)]]),
    family('nodejs_eventloop_lag_p99_seconds', 'gauge', '99th percentile of it.', [[{}, seconds(lagP99)]]),
    family('nodejs_eventloop_lag_max_seconds', 'gauge', 'The longest.', [[{}, seconds(lagMax)]]),
  ];
}

/** @returns the lines of one metric; nothing when it has no samples */
function family(name: string, type: 'counter' | 'gauge' | 'summary', help: string, samples: readonly Sample[]): string {
  if (samples.length === 0) return '';
  const lines = samples.map(([labels, value, suffix = '']) => `${name}${suffix}${labelText(labels)} ${value}`);
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines].join('\n');
}

function labelText(labels: Labels): string {
  const pairs = Object.entries(labels).map(
    ([label, value]) => `${label}="${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`,
  );
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}
