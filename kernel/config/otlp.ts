/** Where traces and metrics go, in OpenTelemetry's own variables (https://opentelemetry.io/docs/specs/otel/protocol/exporter/). */

/** One receiver. Headers may hold a key: not for logs. */
export interface OtlpTarget {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  readonly compression: 'gzip' | 'none';
}

export interface OtlpSettings {
  /** Undefined: traces are not exported. */
  readonly traces: OtlpTarget | undefined;
  /** Undefined: metrics are not exported. */
  readonly metrics: OtlpTarget | undefined;
  /** Attributes of the resource, `service.name` among them. */
  readonly resource: Readonly<Record<string, string>>;
  /** Of all traces, those that are exported: 0 to 1. */
  readonly ratio: number;
  /** Between two looks for what is to be exported. */
  readonly delayMs: number;
  /** Between two sets of figures. */
  readonly intervalMs: number;
}

type Environment = Readonly<Record<string, string | undefined>>;
type Signal = 'traces' | 'metrics';

/** @returns undefined when nothing is to be exported. @param problems gets one line per variable that is not usable */
export function readOtlp(given: Environment, problems: string[]): OtlpSettings | undefined {
  if (given['OTEL_SDK_DISABLED']?.toLowerCase() === 'true') return undefined;
  const [traces, metrics] = [targetOf('traces', given, problems), targetOf('metrics', given, problems)];
  if (traces === undefined && metrics === undefined) return undefined;
  const temporality = given['OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE']?.toLowerCase() ?? 'cumulative';
  if (temporality !== 'cumulative')
    problems.push('OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE: expected cumulative: a collector makes differences of it');
  const resource = pairsOf(given, 'OTEL_RESOURCE_ATTRIBUTES', problems);
  const name = given['OTEL_SERVICE_NAME'] ?? resource['service.name'] ?? 'centaur';
  return {
    traces,
    metrics,
    resource: { ...resource, 'service.name': name },
    ratio: ratioOf(given, problems),
    delayMs: numberOf(given, 'OTEL_BSP_SCHEDULE_DELAY', 5000, problems),
    intervalMs: numberOf(given, 'OTEL_METRIC_EXPORT_INTERVAL', 60_000, problems),
  };
}

function targetOf(signal: Signal, given: Environment, problems: string[]): OtlpTarget | undefined {
  const own = (name: string) => `OTEL_EXPORTER_OTLP_${signal.toUpperCase()}_${name}`;
  const either = (name: string) => (given[own(name)] === undefined ? `OTEL_EXPORTER_OTLP_${name}` : own(name));
  const exporter = `OTEL_${signal.toUpperCase()}_EXPORTER`;
  if (given[exporter] === 'none') return undefined;
  const variable = either('ENDPOINT');
  const endpoint = given[variable];
  if (endpoint === undefined) return undefined;
  if (given[exporter] !== undefined && given[exporter] !== 'otlp') problems.push(`${exporter}: expected otlp or none`);
  if (!URL.canParse(endpoint) || !/^https?:$/.test(new URL(endpoint).protocol)) {
    problems.push(`${variable}: expected an address such as http://127.0.0.1:4318`);
    return undefined;
  }
  if (new URL(endpoint).username !== '' || new URL(endpoint).password !== '') {
    problems.push(
      `${variable}: expected an address without a name and a password: those go into ${own('HEADERS')}, as authorization=Basic%20…`,
    );
    return undefined;
  }
  const protocol = given[either('PROTOCOL')];
  // a receiver of OTLP over HTTP takes JSON at the same address as protobuf
  if (protocol !== undefined && protocol !== 'http/json' && protocol !== 'http/protobuf')
    problems.push(`${either('PROTOCOL')}: expected http/json: gRPC is not spoken, and the same receiver takes HTTP on port 4318 as a rule`);
  const compression = given[either('COMPRESSION')] ?? 'none';
  if (compression !== 'gzip' && compression !== 'none') problems.push(`${either('COMPRESSION')}: expected gzip or none`);
  return {
    // the common address is a folder, that of one signal is taken as it is
    url: variable === own('ENDPOINT') ? endpoint : `${endpoint.replace(/\/$/, '')}/v1/${signal}`,
    headers: { ...pairsOf(given, 'OTEL_EXPORTER_OTLP_HEADERS', problems), ...pairsOf(given, own('HEADERS'), problems) },
    timeoutMs: numberOf(given, either('TIMEOUT'), 10_000, problems),
    compression: compression === 'gzip' ? 'gzip' : 'none',
  };
}

/** `name=value,name=value`, percent-encoded. What is wrong with it is said without it: it may be a key. */
function pairsOf(given: Environment, variable: string, problems: string[]): Record<string, string> {
  const pairs: Record<string, string> = {};
  for (const part of (given[variable] ?? '').split(',').filter((each) => each.trim() !== '')) {
    const cut = part.indexOf('=');
    const name = part.slice(0, Math.max(0, cut)).trim();
    const value = decoded(part.slice(cut + 1).trim());
    // of a header, what HTTP can send; of an attribute, what a text can hold
    const isBad = variable.endsWith('HEADERS') ? /[^\t\x20-\x7e\x80-\xff]/ : /[\r\n\0]/;
    if (!/^[\w.!#$%&'*+^`|~-]{1,256}$/.test(name) || value === undefined || isBad.test(value)) {
      problems.push(`${variable}: expected name=value, separated by commas, with special characters percent-encoded`);
      return {};
    }
    pairs[variable.endsWith('HEADERS') ? name.toLowerCase() : name] = value;
  }
  return pairs;
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

function numberOf(given: Environment, variable: string, otherwise: number, problems: string[]): number {
  const text = given[variable];
  if (text === undefined) return otherwise;
  if (/^\d{1,7}$/.test(text) && Number(text) > 0) return Number(text);
  problems.push(`${variable}: expected milliseconds, from 1 to 9999999`);
  return otherwise;
}

/** Whether a parent was sampled is not kept: a trace is exported as a whole, or not at all, by its id. */
function ratioOf(given: Environment, problems: string[]): number {
  const sampler = (given['OTEL_TRACES_SAMPLER'] ?? 'parentbased_always_on').replace(/^parentbased_/, '');
  if (sampler === 'always_on') return 1;
  if (sampler === 'always_off') return 0;
  if (sampler !== 'traceidratio') {
    problems.push('OTEL_TRACES_SAMPLER: expected always_on, always_off or traceidratio, each also with parentbased_ before it');
    return 1;
  }
  const text = given['OTEL_TRACES_SAMPLER_ARG'] ?? '1';
  const ratio = /^(?:\d{1,3}(?:\.\d{1,12})?|\.\d{1,12})$/.test(text) ? Number(text) : Number.NaN;
  if (ratio >= 0 && ratio <= 1) return ratio;
  problems.push('OTEL_TRACES_SAMPLER_ARG: expected a number from 0 to 1');
  return 1;
}
