import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Engine } from '../engine/index.ts';
import type { Store } from '../store/index.ts';

const delay = monitorEventLoopDelay({ resolution: 20 });
delay.enable();

/** The counts by status read the live table; scrapers must not make that a load. */
const CACHE_MS = 5000;
let counted: { at: number; text: string } | undefined;

/** Prometheus' text format, version 0.0.4. */
export async function renderMetrics(engine: Engine, store: Store): Promise<string> {
  const stats = engine.stats();
  const lines = [
    metric('centaur_resident_runs', 'gauge', 'Runs in the memory of this process', [['', stats.resident_runs]]),
    metric('centaur_runs_started_total', 'counter', 'Runs started by this process', [['', stats.runs_started]]),
    metric('centaur_runs_finished_total', 'counter', 'Runs ended by this process', Object.entries(stats.runs_finished).map(([status, n]) => [`{status="${status}"}`, n])),
    metric('centaur_steps_executed_total', 'counter', 'Attempts of steps in this process', [['', stats.steps_executed]]),
    metric('centaur_steps_replayed_total', 'counter', 'Steps answered from checkpoints in this process', [['', stats.steps_replayed]]),
    metric('centaur_flushes_total', 'counter', 'Group commits', [['', stats.flushes]]),
    metric('centaur_flushed_writes_total', 'counter', 'Writes in group commits', [['', stats.flushed_ops]]),
    metric('centaur_queued_writes', 'gauge', 'Writes that wait for the next group commit', [['', stats.queued_ops]]),
    metric('centaur_lease_losses_total', 'counter', 'Times this worker was declared dead and began again', [['', stats.fenced]]),
    metric('process_resident_memory_bytes', 'gauge', 'Resident memory', [['', process.memoryUsage.rss()]]),
    metric('process_cpu_seconds_total', 'counter', 'CPU time', [['', (process.cpuUsage().user + process.cpuUsage().system) / 1e6]]),
    metric('nodejs_eventloop_delay_p99_seconds', 'gauge', 'Event loop delay, 99th percentile', [['', delay.percentile(99) / 1e9]]),
  ];
  return [...lines, await countRuns(store)].join('\n');
}

async function countRuns(store: Store): Promise<string> {
  if (counted === undefined || performance.now() - counted.at > CACHE_MS) {
    const { rows } = await store.query<{ status: string; queue: string; n: number }>(
      'select status::text, queue, count(*) as n from workflow_runs group by 1, 2 order by 1, 2',
    );
    const { rows: bloat } = await store.query<{ table: string; dead: number }>(
      `select relname as table, n_dead_tup as dead from pg_stat_user_tables where relname in ('workflow_runs', 'workflow_waits', 'workers')`,
    );
    const names: Record<string, string> = { q: 'queued', r: 'running', s: 'sleeping', w: 'waiting', x: 'stuck' };
    const text = [
      metric('centaur_unfinished_runs', 'gauge', 'Unfinished runs of the whole installation', rows.map((row) => [`{status="${names[row.status]}",queue="${row.queue}"}`, row.n])),
      metric('centaur_table_dead_rows', 'gauge', 'Dead rows of the hot tables', bloat.map((row) => [`{table="${row.table}"}`, row.dead])),
      '',
    ].join('\n');
    counted = { at: performance.now(), text };
  }
  return counted.text;
}

function metric(name: string, type: 'gauge' | 'counter', help: string, samples: readonly (readonly [string, number])[]): string {
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...samples.map(([labels, value]) => `${name}${labels} ${value}`)].join('\n');
}
