/** A receiver of OTLP traces as JSON, which reads strictly what opentelemetry-proto's `trace/v1/trace.proto` has: nothing else passes. */
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

export interface OtlpServer extends AsyncDisposable {
  /** Of traces. */
  readonly url: string;
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
    port: 0,
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
      const parsed = readRequest(JSON.parse(body));
      if (!(await received.answer(response, received.requests.length))) return;
      received.spans.push(...parsed.spans);
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
  return Object.assign(received, { port: bound, url: `http://127.0.0.1:${bound}/v1/traces` });
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

function readRequest(body: unknown): { spans: ReceivedSpan[]; resources: Record<string, unknown>[] } {
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
  const scope = (value: unknown) => message(value, { name: text, version: text, attributes }, 'InstrumentationScope');
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
