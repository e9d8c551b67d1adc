/** Figures that workflows report about themselves (`ctx.metric`). What they may cost is limited. */
import type { Described, Sample } from '@centaur/kernel/telemetry';

export interface WorkflowMetric {
  readonly workflow: string;
  readonly kind: string;
  readonly name: string;
  readonly value: number;
  readonly labels: Readonly<Record<string, string>>;
}

export interface WorkflowMetrics {
  record(metric: WorkflowMetric): void;
  read(): readonly Described[];
}

interface Series {
  readonly labels: Readonly<Record<string, string>>;
  sum: number;
  count: number;
}

const SERIES_MOST = 100;
const LABELS_MOST = 8;
const TEXT_MOST = 100;
const TYPES: Readonly<Record<string, Described['type']>> = { counter: 'counter', gauge: 'gauge', histogram: 'summary' };
/** What Prometheus says itself. */
const RESERVED = new Set(['le', 'quantile', '__name__', 'job', 'instance']);

export function createWorkflowMetrics(): WorkflowMetrics {
  /** By name: a name has one kind, that of its first value. */
  const families = new Map<string, { readonly type: Described['type']; readonly series: Map<string, Series> }>();
  const counts = new Map<string, number>();

  return {
    record({ workflow, kind, name, value, labels }) {
      const type = TYPES[kind];
      if (type === undefined || !Number.isFinite(value) || (kind === 'counter' && value < 0)) return;
      const plain = `centaur_workflow_${nameOf(name)}`;
      const described = labelsOf(workflow, labels);
      const key = JSON.stringify(described);
      let family = families.get(plain);
      if (family?.series.get(key) === undefined) {
        const count = counts.get(workflow) ?? 0;
        if (count >= SERIES_MOST) return;
        counts.set(workflow, count + 1);
        if (family === undefined) families.set(plain, (family = { type, series: new Map() }));
        family.series.set(key, { labels: Object.fromEntries(described), sum: 0, count: 0 });
      }
      const series = family.series.get(key) as Series;
      series.sum = family.type === 'gauge' ? value : series.sum + value;
      series.count += 1;
    },
    read: () =>
      [...families].map(([name, { type, series }]) => ({
        name,
        type,
        help: 'As workflows report it.',
        of: 'workflow',
        samples: [...series.values()].flatMap(({ labels, sum, count }): Sample[] =>
          type === 'summary'
            ? [
                [labels, sum, '_sum'],
                [labels, count, '_count'],
              ]
            : [[labels, sum]],
        ),
      })),
  };
}

/** Each name once, and only such that Prometheus takes: it refuses the whole page for one that it does not. */
function labelsOf(workflow: string, given: Readonly<Record<string, unknown>>): readonly (readonly [string, string])[] {
  const labels = new Map<string, string>();
  for (const [label, value] of Object.entries(given)) {
    const plain = nameOf(label);
    const name = /^\d|^$/.test(plain) || plain.startsWith('__') || RESERVED.has(plain) ? `label_${plain}` : plain;
    if (labels.size < LABELS_MOST - 1) labels.set(name, String(value).slice(0, TEXT_MOST).toWellFormed());
  }
  labels.set('workflow', workflow);
  return [...labels].toSorted(([a], [b]) => (a < b ? -1 : 1));
}

const nameOf = (text: string): string => text.slice(0, TEXT_MOST).replaceAll(/[^A-Za-z0-9_]/g, '_');
