/** Figures that workflows report about themselves (`ctx.metric`), as Prometheus reads them. What they may cost is limited. */

export interface WorkflowMetric {
  readonly workflow: string;
  readonly kind: string;
  readonly name: string;
  readonly value: number;
  readonly labels: Readonly<Record<string, string>>;
}

export interface WorkflowMetrics {
  record(metric: WorkflowMetric): void;
  /** In Prometheus' text format; empty when there are none. */
  render(): string;
}

interface Series {
  readonly workflow: string;
  readonly labels: string;
  sum: number;
  count: number;
}

const SERIES_MOST = 100;
const LABELS_MOST = 8;
const TEXT_MOST = 100;
const KINDS = new Set(['counter', 'gauge', 'histogram']);

export function createWorkflowMetrics(): WorkflowMetrics {
  /** By name: a name has one kind, that of its first value. */
  const families = new Map<string, { readonly kind: string; readonly series: Map<string, Series> }>();
  const counts = new Map<string, number>();

  return {
    record({ workflow, kind, name, value, labels }) {
      if (!KINDS.has(kind) || !Number.isFinite(value) || (kind === 'counter' && value < 0)) return;
      const plain = `centaur_workflow_${name.slice(0, TEXT_MOST).replaceAll(/[^A-Za-z0-9_]/g, '_')}`;
      const key = describe({ ...labels, workflow });
      let family = families.get(plain);
      if (family?.series.get(key) === undefined) {
        const count = counts.get(workflow) ?? 0;
        if (count >= SERIES_MOST) return;
        counts.set(workflow, count + 1);
        if (family === undefined) families.set(plain, (family = { kind, series: new Map() }));
        family.series.set(key, { workflow, labels: key, sum: 0, count: 0 });
      }
      const series = family.series.get(key) as Series;
      series.sum = family.kind === 'gauge' ? value : series.sum + value;
      series.count += 1;
    },
    render() {
      const lines: string[] = [];
      for (const [name, { kind, series }] of families) {
        lines.push(`# HELP ${name} As workflows report it.`, `# TYPE ${name} ${kind === 'histogram' ? 'summary' : kind}`);
        for (const { labels, sum, count } of series.values())
          lines.push(
            ...(kind === 'histogram'
              ? [`${name}_sum{${labels}} ${sum}`, `${name}_count{${labels}} ${count}`]
              : [`${name}{${labels}} ${sum}`]),
          );
      }
      return lines.length === 0 ? '' : `${lines.join('\n')}\n`;
    },
  };
}

function describe(labels: Readonly<Record<string, unknown>>): string {
  return Object.entries(labels)
    .slice(-LABELS_MOST)
    .map(
      ([name, value]) =>
        `${name.slice(0, TEXT_MOST).replaceAll(/[^A-Za-z0-9_]/g, '_')}=${JSON.stringify(String(value).slice(0, TEXT_MOST))}`,
    )
    .sort()
    .join(',');
}
