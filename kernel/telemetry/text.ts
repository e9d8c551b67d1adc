/** Figures in Prometheus' text format. */
import { type MetricName, METRICS } from './registry.ts';

type Labels = Readonly<Record<string, string>>;
export type Sample = readonly [labels: Labels, value: number, suffix?: string];

/** One metric with what is known of it. */
export interface Family {
  readonly name: MetricName;
  readonly samples: readonly Sample[];
}

export function family(name: MetricName, samples: readonly Sample[] | number): Family {
  return { name, samples: typeof samples === 'number' ? [[{}, samples]] : samples };
}

/** A metric without samples is left out. */
export function renderFamilies(families: readonly Family[]): string {
  const text = families
    .filter(({ samples }) => samples.length > 0)
    .map(({ name, samples }) => {
      const { help, type } = METRICS[name];
      const lines = samples.map(([labels, value, suffix = '']) => `${name}${suffix}${labelText(labels)} ${value}`);
      return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines].join('\n');
    });
  return text.length === 0 ? '' : `${text.join('\n')}\n`;
}

function labelText(labels: Labels): string {
  const pairs = Object.entries(labels).map(
    ([label, value]) => `${label}="${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`,
  );
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}
