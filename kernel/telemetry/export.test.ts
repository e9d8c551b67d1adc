/** Figures to a real receiver, which refuses whatever OTLP does not have. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type OtlpServer, type ReceivedPoint, startOtlpServer } from '../../test/support/otlp.ts';
import { eventually } from '../../test/support/wait.ts';
import { startMetricExport, type MetricExportOptions } from './export.ts';
import { createHistogram, type Described, describeFamily, family } from './index.ts';
import type { PostOutcome } from './post.ts';

const CANARY = 'canary-7d1f-secret';
const STARTED_MS = 1_700_000_000_000.25;

function exporting(server: Pick<OtlpServer, 'metricsUrl'>, collect: () => readonly Described[], more: Partial<MetricExportOptions> = {}) {
  const outcomes: PostOutcome[] = [];
  const logs: object[] = [];
  const exporter = startMetricExport({
    receiver: { url: server.metricsUrl, headers: { 'x-key': CANARY }, timeoutMs: 5000, compression: 'none' },
    resource: { 'service.name': 'centaur-test', 'service.version': '9', 'service.instance.id': 'one' },
    version: '9',
    intervalMs: 30,
    startedMs: STARTED_MS,
    collect: async () => collect(),
    count: (outcome) => outcomes.push(outcome),
    log: (entry) => logs.push(entry),
    ...more,
  });
  return { outcomes, logs, close: () => exporter.close() };
}

/** Without its time, which no test knows. */
function known({ timeUnixNano, metric, ...point }: ReceivedPoint): object {
  assert.ok(timeUnixNano.length === 19 && metric !== '');
  return point;
}

const soon = (condition: () => boolean, what: string) => eventually(condition, { what });

test('counters, gauges, histograms and summaries arrive as what OTLP has for them', async () => {
  await using server = await startOtlpServer();
  const steps = createHistogram('centaur_step_seconds');
  for (const seconds of [0.0005, 0.003, 100, Number.NaN, -1]) steps.add(seconds);
  const workflow: Described = {
    name: 'centaur_workflow_rows',
    type: 'counter',
    help: 'h',
    of: 'workflow',
    samples: [[{ workflow: 'w' }, 4]],
  };
  const exporter = exporting(server, () => [
    ...[
      family('centaur_runs_started_total', 7),
      family('centaur_resident_runs', 3),
      family('centaur_tokens_total', [[{ model: 'a"b\n\u{1f600}', kind: 'input' }, Number.MAX_SAFE_INTEGER]]),
      family('centaur_audit_seal_lag_seconds', 2),
      family('centaur_approval_wait_seconds', [[{ gate: 'g', quantile: '0.5' }, Number.NaN]]),
      steps.family(),
      family('centaur_http_request_seconds', [
        [{ method: 'GET', route: '/a/:id', status: '200' }, 1.5, '_sum'],
        [{ method: 'GET', route: '/a/:id', status: '200' }, 3, '_count'],
      ]),
      family('process_cpu_user_seconds_total', 1),
      family('process_cpu_system_seconds_total', 0.5),
      family('process_resident_memory_bytes', 1000),
      family('nodejs_eventloop_lag_p99_seconds', 0.25),
    ].map(describeFamily),
    workflow,
  ]);
  await soon(() => server.points.length > 0, 'the first figures');
  await exporter.close();
  const [points = []] = server.points;
  const of = (metric: string) => points.filter((point) => point.metric === metric).map(known);
  const sum = { kind: 'sum', isMonotonic: true, unit: '', startTimeUnixNano: '1700000000000250000' };
  const gauge = { kind: 'gauge', isMonotonic: false, unit: '' };
  const start = { startTimeUnixNano: sum.startTimeUnixNano };
  const rows: Record<string, object[]> = {
    centaur_runs_started_total: [{ ...sum, attributes: {}, value: 7 }],
    centaur_resident_runs: [{ ...gauge, attributes: {}, value: 3 }],
    // it began before this process, and nobody knows when
    centaur_tokens_total: [
      { kind: 'sum', isMonotonic: true, unit: '', attributes: { model: 'a"b\n\u{1f600}', kind: 'input' }, value: Number.MAX_SAFE_INTEGER },
    ],
    centaur_audit_seal_lag_seconds: [{ ...gauge, unit: 's', attributes: {}, value: 2 }],
    centaur_approval_wait_seconds: [],
    centaur_step_seconds: [
      {
        ...start,
        kind: 'histogram',
        isMonotonic: false,
        unit: 's',
        attributes: {},
        value: 100.0035,
        count: 3,
        bucketCounts: [1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        explicitBounds: [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60],
      },
    ],
    'http.server.request.duration': [
      {
        ...start,
        kind: 'histogram',
        isMonotonic: false,
        unit: 's',
        attributes: { 'http.request.method': 'GET', 'http.route': '/a/:id', 'http.response.status_code': 200 },
        value: 1.5,
        count: 3,
        bucketCounts: [],
        explicitBounds: [],
      },
    ],
    'process.cpu.time': [
      { ...sum, unit: 's', attributes: { 'cpu.mode': 'user' }, value: 1 },
      { ...sum, unit: 's', attributes: { 'cpu.mode': 'system' }, value: 0.5 },
    ],
    'process.memory.usage': [{ ...sum, unit: 'By', isMonotonic: false, attributes: {}, value: 1000 }],
    'nodejs.eventloop.delay.p99': [{ ...gauge, unit: 's', attributes: {}, value: 0.25 }],
    centaur_workflow_rows: [{ ...sum, attributes: { workflow: 'w' }, value: 4 }],
  };
  for (const [name, expected] of Object.entries(rows)) assert.deepEqual(of(name), expected, name);
  const [request] = server.requests;
  assert.match(
    request?.body ?? '',
    /"name":"centaur_runs_started_total"[^}]*"sum":\{"dataPoints":\[\{"attributes":\[\],[^}]*"asInt":"7"\}/,
  );
  // a time is a double also when it is whole
  assert.match(request?.body ?? '', /"name":"centaur_audit_seal_lag_seconds"[^}]*"gauge":\{"dataPoints":\[\{[^}]*"asDouble":2\}/);
  assert.deepEqual([request?.path, request?.headers['x-key']], ['/v1/metrics', CANARY]);
  assert.deepEqual(server.resources[0], { 'service.name': 'centaur-test', 'service.version': '9', 'service.instance.id': 'one' });
});

test('what a receiver does not take is sent again until the next figures are due; what it refuses is not', async () => {
  await using server = await startOtlpServer();
  server.answer = async (response, n) => {
    if (n === 1) response.writeHead(503).end();
    else if (n === 2) response.writeHead(429, { 'retry-after': '0' }).end();
    else if (n === 3) response.destroy();
    else if (n === 5) response.writeHead(400).end(CANARY);
    else if (n === 6) response.writeHead(200).end(JSON.stringify({ partialSuccess: { rejectedDataPoints: '1', errorMessage: 'too old' } }));
    return n === 4 || n > 6;
  };
  let n = 0;
  const exporter = exporting(server, () => [describeFamily(family('centaur_runs_started_total', (n += 1)))], { intervalMs: 6000 });
  // it takes an interval until the first one
  await soon(() => exporter.outcomes.includes('taken'), 'the figures');
  assert.equal(server.requests.length, 4);
  const bodies = server.requests.map(({ body }) => body);
  assert.equal(new Set(bodies).size, 1, 'the same figures again');
  assert.deepEqual(exporter.outcomes, ['again', 'again', 'again', 'taken']);
  await exporter.close();
  assert.deepEqual(exporter.outcomes.slice(4), ['refused'], 'at the end once');
  assert.equal(server.requests.length, 5);
  assert.equal(exporter.logs.length, 1, 'told of, and not each time');
  const second = exporting(server, () => [describeFamily(family('centaur_runs_started_total', 1))]);
  await soon(() => second.outcomes.length >= 2, 'the next ones');
  await second.close();
  assert.deepEqual(second.outcomes.slice(0, 2), ['taken_in_part', 'taken']);
  assert.doesNotMatch(JSON.stringify([exporter.logs, second.logs]), /canary/);
});

test('a receiver that is away holds nothing up: figures are given up when the next are due, and the end takes no longer than that', async () => {
  const server = await startOtlpServer();
  const { metricsUrl } = server;
  await server[Symbol.asyncDispose]();
  let reads = 0;
  const away = exporting({ metricsUrl }, () => [describeFamily(family('centaur_runs_started_total', (reads += 1)))]);
  await soon(() => reads >= 3, 'the third figures');
  await away.close();
  assert.ok(away.outcomes.filter((outcome) => outcome === 'given_up').length >= 2);
  assert.ok(away.outcomes.every((outcome) => outcome === 'again' || outcome === 'given_up'));
  // it takes the connection and never answers; the process ends all the same
  await using silent = await startOtlpServer();
  silent.answer = () => new Promise(() => undefined);
  const hanging = exporting(silent, () => [describeFamily(family('centaur_runs_started_total', 1))], {
    intervalMs: 60_000,
    receiver: { url: silent.metricsUrl, headers: {}, timeoutMs: 2000, compression: 'gzip' },
  });
  const began = performance.now();
  await hanging.close();
  assert.ok(performance.now() - began < 50_000);
  assert.equal(silent.requests.length, 1, 'the last figures, though the first were not due');
});

test('what cannot be sent at all is told of without its headers and its password', async () => {
  for (const receiver of [
    { url: `http://me:${CANARY}@127.0.0.1:9/v1/metrics`, headers: {} },
    { url: 'http://127.0.0.1:9/v1/metrics', headers: { 'x-key': `${CANARY}\u0001` } },
  ]) {
    const exporter = exporting({ metricsUrl: '' }, () => [describeFamily(family('centaur_runs_started_total', 1))], {
      receiver: { ...receiver, timeoutMs: 1000, compression: 'none' },
    });
    await soon(() => exporter.logs.length > 0, 'a complaint');
    await exporter.close();
    assert.match(JSON.stringify(exporter.logs), /cannot be reached: (?:Type)?Error"/);
    assert.doesNotMatch(JSON.stringify(exporter.logs), /canary/);
  }
});

test('many figures are several requests, none of them larger than receivers take', async () => {
  await using server = await startOtlpServer();
  const samples = Array.from({ length: 4500 }, (_, i) => [{ model: `m${i}`, kind: 'input' }, i] as const);
  const exporter = exporting(
    server,
    () => [describeFamily(family('centaur_runs_started_total', 1)), describeFamily(family('centaur_tokens_total', samples))],
    {
      intervalMs: 60_000,
    },
  );
  await exporter.close();
  assert.deepEqual(
    server.points.map((points) => points.length),
    [2000, 2000, 501],
  );
});
