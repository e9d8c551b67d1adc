import assert from 'node:assert/strict';
import { test } from 'node:test';
import { z } from 'zod';
import { createTestDatabase } from '../../test/support/database.ts';
import { connectStore } from '../store/index.ts';
import { checkReady, migrationState } from './health.ts';
import { openApiDocument } from './openapi.ts';
import { ROUTES } from './routes/index.ts';
import { startTestApi } from '../../test/support/api.ts';
import { eventually } from '../../test/support/wait.ts';

test('health answers with the version, and readiness ends with draining', async () => {
  await using api = await startTestApi({ idle: true });
  assert.deepEqual((await api.call('GET', '/healthz', undefined, { key: null })).body, { status: 'ok', version: '1.2.3' });
  assert.deepEqual((await api.call('GET', '/readyz', undefined, { key: null })).body, { status: 'ready' });
  api.api.drain();
  const { status, body } = await api.call('GET', '/readyz', undefined, { key: null });
  assert.deepEqual([status, body.code], [503, 'NOT_READY']);
  assert.equal((await api.call('GET', '/healthz', undefined, { key: null })).status, 200);
  assert.equal((await api.call('GET', '/workflows')).status, 200);
});

test('a database without this release’s tables is not ready', async () => {
  await using database = await createTestDatabase({ empty: true });
  const store = await connectStore({ url: database.url });
  try {
    const { applied, pending } = await migrationState(store);
    assert.deepEqual([applied, pending[0]], [[], '0001_engine.sql']);
    await assert.rejects(checkReady(store), { code: 'NOT_READY', message: /0001_engine/ });
  } finally {
    await store.close();
  }
});

test('metrics count runs, requests and writes in a form that Prometheus reads', async () => {
  await using api = await startTestApi();
  api.t.registry.define('waits', (_: unknown, ctx) => ctx.waitForEvent('go', { eventType: 'go' }));
  await api.run('greet', { name: 'ann' });
  const waiting = (await api.call('POST', '/workflows/runs', { workflow_name: 'waits' })).body.run_id;
  // a worker has it, so that it is queued no more
  await eventually(async () => (await api.call('GET', `/workflows/runs/${waiting}`)).body.waiting_on.length === 1);
  await api.call('POST', '/workflows/runs', { workflow_name: 'other', run_at: '2999-01-01T00:00:00Z', queue: 'late' });
  const text: string = (await api.call('GET', '/metrics', undefined, { key: await api.keyWith('metrics.read') })).body;
  const value = (sample: string) =>
    Number(
      text
        .split('\n')
        .find((line) => line.startsWith(`${sample} `))
        ?.split(' ')[1],
    );
  assert.equal(value('centaur_runs_finished_total{status="completed"}'), 1);
  assert.equal(value('centaur_runs{status="queued"}'), 1);
  assert.equal(value('centaur_runs{status="stuck"}'), 0);
  assert.equal(value('centaur_steps_executed_total'), 1);
  assert.equal(value('centaur_database_up'), 1);
  assert.equal(value('centaur_http_requests_total{method="POST",route="/workflows/runs",status="201"}'), 3);
  assert.ok(value('process_resident_memory_bytes') > 1e6);
  assert.ok(value('nodejs_eventloop_lag_p99_seconds') >= 0);
  for (const line of text.trimEnd().split('\n')) {
    assert.match(line, /^(?:# (?:HELP|TYPE) [a-z_0-9]+ .+|[a-z_0-9]+(?:\{[a-z_]+="[^"\n]*"(?:,[a-z_]+="[^"\n]*")*\})? [\d.e+-]+)$/);
  }
  const types = [...text.matchAll(/^# TYPE (\S+)/gm)].map((match) => match[1]);
  assert.equal(new Set(types).size, types.length, 'a metric is declared once');
});

test('the OpenAPI document has every route, and every reference in it leads somewhere', async () => {
  await using api = await startTestApi({ idle: true });
  const { body: document } = await api.call('GET', '/api/openapi.json', undefined, { key: null });
  assert.equal(document.openapi, '3.1.0');
  const operations = Object.entries<Record<string, { operationId: string }>>(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { operationId }]) => `${method.toUpperCase()} ${path} ${operationId}`),
  );
  assert.deepEqual(operations.toSorted(), ROUTES.map(({ method, path, id }) => `${method} ${path} ${id}`).toSorted());
  assert.equal(new Set(ROUTES.map(({ id }) => id)).size, ROUTES.length);
  const text = JSON.stringify(document);
  for (const [, name = ''] of text.matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g))
    assert.ok(name in document.components.schemas, name);
  assert.ok(!text.includes('$defs'));
});

test('requests are strict in the document and answers are not', () => {
  const { components } = openApiDocument(ROUTES, 'test') as {
    components: { schemas: Record<string, { additionalProperties?: unknown; required?: string[] }> };
  };
  assert.equal(components.schemas['StartRun']?.additionalProperties, false);
  assert.deepEqual(components.schemas['StartRun']?.required, ['workflow_name']);
  assert.equal(components.schemas['Run']?.additionalProperties, undefined);
});

test('the example of each route passes its own schema', () => {
  for (const { id, body, example } of ROUTES) {
    if (body === undefined) continue;
    assert.ok(example !== undefined, `${id} has a body but no example`);
    body.parse(example);
  }
});

test('a workflow’s input schema is told when its library can tell', async () => {
  await using api = await startTestApi({ idle: true });
  const withInput = (name: string, input: z.ZodType) => api.t.registry.define(name, async () => 1, { input } as object);
  withInput('told', z.object({ topic: z.string() }));
  withInput('untold', z.object({ at: z.date() }));
  const { items } = (await api.call('GET', '/workflows')).body;
  const schemaOf = (name: string) => items.find((each: { name: string }) => each.name === name).input_schema;
  assert.deepEqual(schemaOf('told').required, ['topic']);
  assert.deepEqual([schemaOf('untold'), schemaOf('other')], [null, null]);
});
