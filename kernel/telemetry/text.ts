/** Figures, and Prometheus' text format of them. */
import { type MetricName, METRICS, type MetricSpec } from './registry.ts';

type Labels = Readonly<Record<string, string>>;
export type Sample = readonly [labels: Labels, value: number, suffix?: string];

/** One metric of the registry. */
export interface Family {
  readonly name: MetricName;
  readonly samples: readonly Sample[];
}

/** One metric with what is known of it: also of those that workflows name themselves. */
export interface Described {
  readonly name: string;
  readonly type: MetricSpec['type'];
  readonly help: string;
  /** Of the registry, or of a workflow. */
  readonly of: MetricSpec['of'] | 'workflow';
  readonly samples: readonly Sample[];
}

export function family(name: MetricName, samples: readonly Sample[] | number): Family {
  return { name, samples: typeof samples === 'number' ? [[{}, samples]] : samples };
}

export function describeFamily({ name, samples }: Family): Described {
  const { type, help, of } = METRICS[name];
  return { name, type, help, of, samples };
}

export const renderFamilies = (families: readonly Family[]): string => renderDescribed(families.map(describeFamily));

/** A metric without samples is left out. */
export function renderDescribed(metrics: readonly Described[]): string {
  const text = metrics
    .filter(({ samples }) => samples.length > 0)
    .map(({ name, help, type, samples }) => {
      const lines = samples.map(([labels, value, suffix = '']) => `${name}${suffix}${labelText(labels)} ${numberText(value)}`);
      return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines].join('\n');
    });
  return text.length === 0 ? '' : `${text.join('\n')}\n`;
}

/** Prometheus knows three escapes; any other one makes it refuse the whole page. */
function labelText(labels: Labels): string {
  const pairs = Object.entries(labels).map(
    ([label, value]) => `${label}="${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`,
  );
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

function numberText(value: number): string {
  if (Number.isFinite(value)) return String(value);
  return Number.isNaN(value) ? 'NaN' : value > 0 ? '+Inf' : '-Inf';
}
