/** The benchmark's Markdown: figures beside each other, ratios, and the goals with what was reached. */
import { type Figures, median } from './measure.ts';

export interface Machine {
  readonly cores: number;
  readonly processor: string;
  readonly memoryGb: number;
  readonly system: string;
  readonly node: string;
  readonly postgres: string;
  /** Load average of the last minute before the run. */
  readonly load: number;
  readonly diskSyncMs: number;
}

/** By `workload engine`: one entry per repetition. */
export type Measurements = Map<string, readonly Figures[]>;

interface Column {
  readonly title: string;
  readonly workload: string;
  readonly figure: string;
  readonly better: 'more' | 'less';
}

const COLUMNS: readonly Column[] = [
  { title: 'A: runs/s, one call each', workload: 'A', figure: 'runs/s', better: 'more' },
  { title: 'A: runs/s, bulk start', workload: 'A-bulk', figure: 'runs/s', better: 'more' },
  { title: 'B: steps/s', workload: 'B', figure: 'steps/s', better: 'more' },
  { title: 'C: step, p50 ms', workload: 'C', figure: 'p50 ms', better: 'less' },
  { title: 'D: idle start, p50 ms', workload: 'D', figure: 'p50 ms', better: 'less' },
  { title: 'E: event wake, p50 ms', workload: 'E', figure: 'p50 ms', better: 'less' },
  { title: 'F: restart to done, ms', workload: 'F', figure: 'up to done ms', better: 'less' },
  { title: 'G: sleepers done, ms', workload: 'G', figure: 'done ms', better: 'less' },
  { title: 'G: heap, MB', workload: 'G', figure: 'heap MB', better: 'less' },
  { title: 'idle: worker, % of a core', workload: 'idle', figure: 'worker %', better: 'less' },
  { title: 'idle: Postgres, % of a core', workload: 'idle', figure: 'Postgres %', better: 'less' },
];

const PEERS = ['DBOS', 'Restate', 'pg-boss', 'graphile-worker'];

export interface Run {
  readonly machine: Machine;
  readonly measurements: Measurements;
  readonly repeat: number;
  readonly quick: boolean;
  readonly minutes: number;
}

export function report({ machine, measurements, repeat, quick, minutes }: Run): string {
  const value = (workload: string, engine: string, figure: string): number | undefined => {
    const values = (measurements.get(`${workload} ${engine}`) ?? []).map((each) => each[figure] ?? Number.NaN);
    return values.length === 0 ? undefined : median(values);
  };
  const spread = ({ workload, figure }: Column): string => {
    const values = (measurements.get(`${workload} centaur`) ?? []).map((each) => each[figure] ?? Number.NaN);
    return values.length === 0 ? '' : `${number(Math.min(...values))} – ${number(Math.max(...values))}`;
  };
  const rows = COLUMNS.flatMap((column) => {
    const own = value(column.workload, 'centaur', column.figure);
    if (own === undefined) return [];
    const peers = PEERS.map((peer) => {
      const theirs = value(column.workload, peer, column.figure);
      if (theirs === undefined) return '–';
      return `${number(theirs)} (×${number(column.better === 'more' ? own / theirs : theirs / own)})`;
    });
    return [[column.title, `**${number(own)}**`, spread(column), ...peers]];
  });
  const floors = [
    ['commits/s, 1 client', value('A', 'floor', 'commits/s, 1 client')],
    ['commits/s, 8 clients', value('A', 'floor', 'commits/s, 8 clients')],
    ['commits/s, 32 clients', value('B', 'floor', 'commits/s, 32 clients')],
    ['one INSERT round trip, p50 ms', value('C', 'floor', 'p50 ms')],
  ] as const;
  return [
    '# Benchmarks',
    '',
    `Written by \`npm run bench${quick ? ' -- --quick' : ''}\`${quick ? ', which is too short to be quoted' : ''}: medians of ${repeat}, ${number(minutes)} minutes.`,
    'What is measured is told below the tables. Machines differ: read the ratios.',
    '',
    table(
      ['machine', ''],
      [
        ['processor', `${machine.cores} cores, ${machine.processor}`],
        ['memory', `${Math.round(machine.memoryGb)} GB`],
        ['system', `${machine.system}, Node ${machine.node}, Postgres ${machine.postgres}`],
        ['one write made durable', `${machine.diskSyncMs.toFixed(2)} ms`],
        ['load before the run', machine.load.toFixed(1)],
        ...floors.filter(([, floor]) => floor !== undefined).map(([name, floor]) => [`Postgres alone: ${name}`, number(floor ?? 0)]),
      ],
    ),
    '',
    '## Beside its peers',
    '',
    'In brackets: how many times better Centaur is.',
    '',
    table(['', 'Centaur', 'lowest – highest', ...PEERS], rows),
    '',
    '## Goals',
    '',
    table(['goal', 'asked', 'reached', ''], goals(value)),
    '',
    NOTES,
    '',
  ].join('\n');
}

function goals(value: (workload: string, engine: string, figure: string) => number | undefined): string[][] {
  const best = (workload: string, figure: string, peers: readonly string[], better: 'more' | 'less') => {
    const values = peers.map((peer) => value(workload, peer, figure)).filter((each) => each !== undefined);
    if (values.length === 0) return undefined;
    return better === 'more' ? Math.max(...values) : Math.min(...values);
  };
  const ratio = (a: number | undefined, b: number | undefined) => (a === undefined || b === undefined ? undefined : a / b);
  const steps = value('B', 'centaur', 'steps/s');
  const atLeast = (name: string, asked: number, reached: number | undefined, unit = '×') =>
    goal(name, `≥ ${asked}${unit}`, reached, unit, (x) => x >= asked);
  const atMost = (name: string, asked: number, reached: number | undefined, unit: string) =>
    goal(name, `≤ ${asked}${unit}`, reached, unit, (x) => x <= asked);
  const idle = ['worker %', 'Postgres %'].map((figure) => value('idle', 'centaur', figure));
  return [
    atLeast('B: steps/s beside commits/s of 32 clients', 3, ratio(steps, value('B', 'floor', 'commits/s, 32 clients'))),
    atLeast('B: steps/s beside the best peer', 10, ratio(steps, best('B', 'steps/s', PEERS, 'more'))),
    atMost('C: a step beside one INSERT round trip', 2, ratio(value('C', 'centaur', 'p50 ms'), value('C', 'floor', 'p50 ms')), '×'),
    atMost('D: idle start, p50', 5, value('D', 'centaur', 'p50 ms'), ' ms'),
    atMost('E: event wake, p50', 5, value('E', 'centaur', 'p50 ms'), ' ms'),
    atMost('G: sleepers done', 500, value('G', 'centaur', 'done ms'), ' ms'),
    atMost('G: heap while they sleep', 10, value('G', 'centaur', 'heap MB'), ' MB'),
    atMost('F: restart to done', 500, value('F', 'centaur', 'up to done ms'), ' ms'),
    atLeast('A: one call each, beside the best peer', 5, ratio(value('A', 'centaur', 'runs/s'), best('A', 'runs/s', PEERS, 'more'))),
    atLeast(
      'A: bulk start, beside graphile-worker',
      1,
      ratio(value('A-bulk', 'centaur', 'runs/s'), value('A-bulk', 'graphile-worker', 'runs/s')),
    ),
    atMost('cost of a step at the end of a long run beside its beginning', 1.25, value('long', 'centaur', 'last / first'), '×'),
    atMost('idle: worker and Postgres', 1, idle.includes(undefined) ? undefined : (idle[0] ?? 0) + (idle[1] ?? 0), ' % of a core'),
  ].flatMap((row) => (row === undefined ? [] : [row]));
}

function goal(name: string, asked: string, reached: number | undefined, unit: string, met: (x: number) => boolean): string[] | undefined {
  if (reached === undefined) return undefined;
  return [name, asked, `${number(reached)}${unit}`, met(reached) ? 'met' : '**not met**'];
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

/** Three digits that matter, thousands apart. */
function number(value: number): string {
  if (!Number.isFinite(value)) return '–';
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString('en-US');
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

const NOTES = `## What is measured

Postgres, the engine and the client share the machine. Postgres is the embedded one with its default durability. Every
measurement has a fresh database and a fresh process; engines take turns within each repetition. An end counts when the
engine's own durable record of it can be read.

| | |
| --- | --- |
| A | 5,000 runs that do nothing, 200 starts in progress at once; then the same by the engine's bulk call, 500 a call |
| B | 200 runs at once with 50 steps each, one after the other |
| C | one run alone with 500 steps |
| D | the machine idle: from the call that starts a run to the first line of its first step |
| E | from the call that emits an event to the line after the wait; every other run waits long enough to be evicted from memory |
| F | 20 runs of 20 steps of 25 ms; SIGKILL when half is done; from the moment the next process is up (about 250 ms of work are left) |
| G | 10,000 runs asleep until one moment; from then to the durable end of the last; the heap is the whole process's |
| long | one run with 10,000 steps |
| idle | an installation with nothing to do |

Peers run at the fastest settings found: DBOS starts runs in the asking process with a pool of 20; pg-boss fetches 500 and
graphile-worker 500 with batched completion for A, one by one for D; Restate has its own log in place of Postgres, with its
durability left at the default. DBOS recovers only under the same executor id, which both processes here have. The job
queues know no steps, so they take part in A, D and idle only; after a SIGKILL their jobs wait for an expiry of minutes.
Absurd is not among the peers since its SQL is not on npm.`;
