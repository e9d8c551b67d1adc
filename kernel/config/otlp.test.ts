import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConfigError, loadConfig } from './index.ts';

const read = (environment: Readonly<Record<string, string>>) => loadConfig({ HOME: '/nowhere', ...environment }, '/nowhere').otlp;
const refusal = (environment: Readonly<Record<string, string>>): string => {
  try {
    read({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c:4318', ...environment });
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error.message;
  }
  return assert.fail(`${JSON.stringify(environment)} was taken`);
};

test('without an endpoint nothing is exported', () => {
  assert.equal(read({}), undefined);
  assert.equal(read({ OTEL_SERVICE_NAME: 'x' }), undefined);
  assert.equal(read({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c:4318', OTEL_SDK_DISABLED: 'true' }), undefined);
  assert.equal(read({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c:4318', OTEL_TRACES_EXPORTER: 'none' })?.traces, undefined);
});

test('the variables of OpenTelemetry say where, as whom and how much', () => {
  const found = read({
    OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c:4318/',
    OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: 'https://m/in',
    OTEL_EXPORTER_OTLP_HEADERS: 'api-key=a%20b, X-Org = 7',
    OTEL_EXPORTER_OTLP_TRACES_HEADERS: 'api-key=c=d',
    OTEL_EXPORTER_OTLP_COMPRESSION: 'gzip',
    OTEL_EXPORTER_OTLP_TIMEOUT: '500',
    OTEL_RESOURCE_ATTRIBUTES: 'service.name=other,deployment.environment=prod',
    OTEL_SERVICE_NAME: 'mine',
    OTEL_TRACES_SAMPLER: 'parentbased_traceidratio',
    OTEL_TRACES_SAMPLER_ARG: '0.25',
  });
  const common = { timeoutMs: 500, compression: 'gzip' };
  assert.deepEqual(found, {
    traces: { url: 'http://c:4318/v1/traces', headers: { 'api-key': 'c=d', 'x-org': '7' }, ...common },
    metrics: { url: 'https://m/in', headers: { 'api-key': 'a b', 'x-org': '7' }, ...common },
    resource: { 'service.name': 'mine', 'deployment.environment': 'prod' },
    ratio: 0.25,
    delayMs: 5000,
    intervalMs: 60_000,
  });
  const often = read({ OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: 'http://c:4318/x', OTEL_METRIC_EXPORT_INTERVAL: '1500' });
  assert.deepEqual([often?.traces, often?.metrics?.url, often?.intervalMs], [undefined, 'http://c:4318/x', 1500]);
});

test('what is not usable is named, and a key in it is not shown', () => {
  assert.match(refusal({ OTEL_EXPORTER_OTLP_ENDPOINT: 'ftp://x' }), /OTEL_EXPORTER_OTLP_ENDPOINT: expected an address/);
  assert.match(refusal({ OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }), /OTEL_EXPORTER_OTLP_PROTOCOL: expected http\/json/);
  assert.match(refusal({ OTEL_TRACES_SAMPLER: 'jaeger_remote' }), /OTEL_TRACES_SAMPLER: /);
  assert.match(refusal({ OTEL_TRACES_SAMPLER: 'traceidratio', OTEL_TRACES_SAMPLER_ARG: '1.5' }), /OTEL_TRACES_SAMPLER_ARG: /);
  assert.match(refusal({ OTEL_EXPORTER_OTLP_TIMEOUT: 'soon' }), /OTEL_EXPORTER_OTLP_TIMEOUT: /);
  assert.match(refusal({ OTEL_METRIC_EXPORT_INTERVAL: '0' }), /OTEL_METRIC_EXPORT_INTERVAL: expected milliseconds/);
  assert.match(
    refusal({ OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE: 'delta' }),
    /OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE: expected cumulative/,
  );
  const withPassword = refusal({ OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: 'https://me:canary@c/v1/metrics' });
  assert.match(withPassword, /OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: expected an address without a name and a password/);
  assert.doesNotMatch(withPassword, /canary/);
  for (const headers of ['canary', '=canary', 'a=%zzcanary', 'a=x%0d%0acanary', 'a b=canary', 'a=canary%01', 'a=canary%E2%82%AC']) {
    const said = refusal({ OTEL_EXPORTER_OTLP_HEADERS: headers });
    assert.match(said, /OTEL_EXPORTER_OTLP_HEADERS: expected/);
    assert.doesNotMatch(said, /canary/);
  }
});
