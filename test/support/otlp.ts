/**
 * A receiver of OTLP traces and metrics as JSON, which reads strictly what opentelemetry-proto's `trace/v1/trace.proto` and
 * `metrics/v1/metrics.proto` have: nothing else passes.
 */
import assert from 'node:assert/strict';
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { gunzipSync } from 'node:zlib';

export interface ReceivedSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly kind: number;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes: Readonly<Record<string, string | number | boolean>>;
  readonly status: { readonly code?: number; readonly message?: string };
}

export interface ReceivedPoint {
  readonly metric: string;
  readonly unit: string;
  readonly kind: 'gauge' | 'sum' | 'histogram';
  readonly isMonotonic: boolean;
  readonly attributes: Readonly<Record<string, string | number | boolean>>;
  readonly startTimeUnixNano?: string;
  readonly timeUnixNano: string;
  /** Of a histogram, its sum. */
  readonly value: number;
  readonly count?: number;
  readonly bucketCounts?: readonly number[];
  readonly explicitBounds?: readonly number[];
}

export interface OtlpServer extends AsyncDisposable {
  /** Of traces. */
  readonly url: string;
  readonly metricsUrl: string;
  /** Of each request for metrics that was taken. */
  readonly points: (readonly ReceivedPoint[])[];
  readonly port: number;
  /** What was taken. */
  readonly spans: ReceivedSpan[];
  readonly resources: Readonly<Record<string, unknown>>[];
  readonly requests: { readonly headers: IncomingHttpHeaders; readonly path: string; readonly body: string }[];
  /** Says what the next ones are answered with: true takes it. Default: take all. */
  answer: (response: ServerResponse, n: number) => boolean | Promise<boolean>;
}

export async function startOtlpServer(port = 0): Promise<OtlpServer> {
  const received: OtlpServer = {
    url: '',
    metricsUrl: '',
    port: 0,
    points: [],
    spans: [],
    resources: [],
    requests: [],
    answer: () => true,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  const server = createServer((request, response) => {
    void (async () => {
      const raw = await buffer(request);
      const body = (request.headers['content-encoding'] === 'gzip' ? gunzipSync(raw) : raw).toString();
      received.requests.push({ headers: request.headers, path: request.url ?? '', body });
      assert.equal(request.headers['content-type'], 'application/json');
      const isMetrics = request.url === '/v1/metrics';
      const parsed = isMetrics ? { spans: [], ...readMetrics(JSON.parse(body)) } : { points: [], ...readTraces(JSON.parse(body)) };
      if (!(await received.answer(response, received.requests.length))) return;
      received.spans.push(...parsed.spans);
      if (isMetrics) received.points.push(parsed.points);
      received.resources.push(...parsed.resources);
      response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
    })().catch((error: Error) => {
      // the test sees it as a span that never came, and here why
      console.error(error);
      response.writeHead(400).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  const { port: bound } = server.address() as AddressInfo;
  const at = `http://127.0.0.1:${bound}/v1`;
  return Object.assign(received, { port: bound, url: `${at}/traces`, metricsUrl: `${at}/metrics` });
}

type Fields = Readonly<Record<string, (value: unknown) => unknown>>;

/** Fields of a message by their JSON names; one that the message does not have fails. */
function message(value: unknown, fields: Fields, what: string): Record<string, unknown> {
  assert.ok(typeof value === 'object' && value !== null && !Array.isArray(value), `${what} is no message`);
  return Object.fromEntries(
    Object.entries(value).map(([name, each]) => {
      const read = fields[name];
      assert.ok(read, `${what} has no field ${name}`);
      return [name, read(each)];
    }),
  );
}

const text = (value: unknown): string => (assert.equal(typeof value, 'string'), value as string);
const hex = (digits: number) => (value: unknown) => {
  assert.match(text(value), new RegExp(`^[0-9a-f]{${digits}}$`));
  assert.doesNotMatch(text(value), /^0+$/);
  return value;
};
const fixed64 = (value: unknown) => (assert.match(text(value), /^\d{1,20}$/), value);
const list = (read: (value: unknown) => unknown) => (value: unknown) => (assert.ok(Array.isArray(value)), value.map(read));
const oneOf = (most: number) => (value: unknown) => (
  assert.ok(Number.isInteger(value) && (value as number) >= 0 && (value as number) <= most),
  value
);

function anyValue(value: unknown): unknown {
  const read = message(
    value,
    {
      stringValue: (each) => (assert.ok(text(each).isWellFormed()), each),
      boolValue: (each) => (assert.equal(typeof each, 'boolean'), each),
      intValue: (each) => (assert.match(text(each), /^-?\d{1,19}$/), Number(each)),
      doubleValue: (each) => (assert.equal(typeof each, 'number'), each),
    },
    'AnyValue',
  );
  assert.equal(Object.keys(read).length, 1, 'a value is one of its kinds');
  return Object.values(read)[0];
}

function attributes(value: unknown): Record<string, unknown> {
  const pairs = list((each) => message(each, { key: text, value: anyValue }, 'KeyValue'))(value) as { key: string; value: unknown }[];
  assert.equal(new Set(pairs.map(({ key }) => key)).size, pairs.length, 'keys are unique');
  return Object.fromEntries(pairs.map(({ key, value: each }) => [key, each]));
}

const scope = (value: unknown) => message(value, { name: text, version: text, attributes }, 'InstrumentationScope');

function readTraces(body: unknown): { spans: ReceivedSpan[]; resources: Record<string, unknown>[] } {
  const spans: ReceivedSpan[] = [];
  const resources: Record<string, unknown>[] = [];
  const span = (value: unknown) => {
    const read = message(
      value,
      {
        traceId: hex(32),
        spanId: hex(16),
        traceState: text,
        parentSpanId: hex(16),
        flags: oneOf(0xffff_ffff),
        name: text,
        kind: oneOf(5),
        startTimeUnixNano: fixed64,
        endTimeUnixNano: fixed64,
        attributes,
        status: (each) => message(each, { message: text, code: oneOf(2) }, 'Status'),
      },
      'Span',
    ) as unknown as ReceivedSpan;
    assert.ok(read.traceId && read.spanId && read.name !== '', 'a span has ids and a name');
    assert.ok(BigInt(read.endTimeUnixNano) >= BigInt(read.startTimeUnixNano), `${read.name} ends before it begins`);
    spans.push(read);
  };
  const scopeSpans = (value: unknown) => message(value, { scope, spans: list(span), schemaUrl: text }, 'ScopeSpans');
  const resource = (value: unknown) => {
    const read = message(value, { attributes }, 'Resource');
    resources.push(read['attributes'] as Record<string, unknown>);
  };
  message(
    body,
    { resourceSpans: list((each) => message(each, { resource, scopeSpans: list(scopeSpans), schemaUrl: text }, 'ResourceSpans')) },
    'ExportTraceServiceRequest',
  );
  return { spans, resources };
}

const double = (value: unknown) => (assert.ok(typeof value === 'number' && Number.isFinite(value)), value);
const sfixed64 = (value: unknown) => (assert.match(text(value), /^-?\d{1,19}$/), Number(value));
const count64 = (value: unknown) => Number(fixed64(value));

function readMetrics(body: unknown): { points: ReceivedPoint[]; resources: Record<string, unknown>[] } {
  const points: ReceivedPoint[] = [];
  const resources: Record<string, unknown>[] = [];
  const common = { attributes, startTimeUnixNano: fixed64, timeUnixNano: fixed64, flags: oneOf(1) };
  const number = (value: unknown) => {
    const read = message(value, { ...common, asDouble: double, asInt: sfixed64 }, 'NumberDataPoint');
    assert.ok('asDouble' in read !== 'asInt' in read, 'a point has one value');
    const { asDouble, asInt, ...rest } = read;
    return { ...rest, value: asDouble ?? asInt };
  };
  const histogram = (value: unknown) => {
    const fields = {
      ...common,
      count: count64,
      sum: double,
      bucketCounts: list(count64),
      explicitBounds: list(double),
      min: double,
      max: double,
    };
    const { sum, ...read } = message(value, fields, 'HistogramDataPoint') as Record<string, unknown> & {
      readonly count: number;
      readonly bucketCounts: number[];
      readonly explicitBounds: number[];
    };
    const { count, bucketCounts, explicitBounds } = read;
    assert.ok(count !== undefined, 'a histogram has a count');
    assert.equal(bucketCounts.length, explicitBounds.length === 0 ? 0 : explicitBounds.length + 1, 'as many buckets as its bounds make');
    if (bucketCounts.length > 0)
      assert.equal(
        bucketCounts.reduce((a, b) => a + b),
        count,
        'its buckets are its count',
      );
    assert.ok(
      explicitBounds.every((bound, i) => i === 0 || bound > (explicitBounds[i - 1] as number)),
      'bounds rise',
    );
    return { ...read, value: sum };
  };
  const cumulative = (value: unknown) => (assert.equal(value, 2), value);
  const bool = (value: unknown) => (assert.equal(typeof value, 'boolean'), value);
  const names = new Set<string>();
  const metric = (value: unknown) => {
    const read = message(
      value,
      {
        name: (each) => (assert.match(text(each), /^[A-Za-z][A-Za-z0-9_./-]{0,254}$/), each),
        description: text,
        unit: text,
        gauge: (each) => message(each, { dataPoints: list(number) }, 'Gauge'),
        sum: (each) => message(each, { dataPoints: list(number), aggregationTemporality: cumulative, isMonotonic: bool }, 'Sum'),
        histogram: (each) => message(each, { dataPoints: list(histogram), aggregationTemporality: cumulative }, 'Histogram'),
      },
      'Metric',
    );
    const kinds = (['gauge', 'sum', 'histogram'] as const).filter((kind) => kind in read);
    assert.equal(kinds.length, 1, 'a metric is of one kind');
    const [kind = 'gauge'] = kinds;
    const name = read['name'] as string;
    assert.ok(!names.has(name), `${name} is there twice`);
    names.add(name);
    const { dataPoints, aggregationTemporality, isMonotonic } = read[kind] as Record<string, unknown>;
    if (kind !== 'gauge') assert.equal(aggregationTemporality, 2, 'a sum says that it is cumulative');
    for (const point of dataPoints as ReceivedPoint[]) {
      assert.ok(point.timeUnixNano, 'a point has a time');
      if (point.startTimeUnixNano !== undefined) assert.ok(BigInt(point.startTimeUnixNano) <= BigInt(point.timeUnixNano));
      points.push({ ...point, metric: name, unit: (read['unit'] ?? '') as string, kind, isMonotonic: isMonotonic === true });
    }
  };
  const resource = (value: unknown) => resources.push(message(value, { attributes }, 'Resource')['attributes'] as Record<string, unknown>);
  const scopeMetrics = (value: unknown) => message(value, { scope, metrics: list(metric), schemaUrl: text }, 'ScopeMetrics');
  message(
    body,
    { resourceMetrics: list((each) => message(each, { resource, scopeMetrics: list(scopeMetrics), schemaUrl: text }, 'ResourceMetrics')) },
    'ExportMetricsServiceRequest',
  );
  const series = points.map((point) =>
    JSON.stringify([point.metric, Object.entries(point.attributes).toSorted(([a], [b]) => (a < b ? -1 : 1))]),
  );
  assert.equal(new Set(series).size, series.length, 'a series has one point');
  return { points, resources };
}
