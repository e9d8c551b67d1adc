/** Servers as people start them, and what a receiver of OpenTelemetry hears of them. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { createPlace } from '../test/support/cli.ts';
import { createTestDatabase } from '../test/support/database.ts';
import { type OtlpServer, startOtlpServer } from '../test/support/otlp.ts';
import { eventually } from '../test/support/wait.ts';

const CANARY = 'canary-5e2b-secret';
const SLOW = `import { writeFileSync } from 'node:fs';
export const WORKFLOW_NAME = 'slow';
export async function handler(input, ctx) {
  await ctx.step('slow', async () => { writeFileSync(input.began, ''); await new Promise((resolve) => setTimeout(resolve, 1500)); });
  return 'done';
}`;

const settings = (server: OtlpServer, intervalMs: number) => ({
  OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: server.metricsUrl,
  OTEL_EXPORTER_OTLP_HEADERS: `authorization=Bearer%20${CANARY}`,
  OTEL_METRIC_EXPORT_INTERVAL: String(intervalMs),
});
const of = (server: OtlpServer, component: string) =>
  server.points.filter((_, i) => server.resources[i]?.['centaur.component'] === component);
const valueOf = (points: OtlpServer['points'][number] | undefined, metric: string) =>
  points?.find((point) => point.metric === metric)?.value;

test('a server and the firewall beside it tell their figures, each as an instance of its own', async () => {
  await using database = await createTestDatabase();
  await using server = await startOtlpServer();
  await using place = createPlace({ DATABASE_URL: database.url, ...settings(server, 500) });
  place.write('slow.ts', SLOW);
  const up = await place.serve('up');
  const began = path.join(place.folder, 'began');
  assert.equal((await place.run(['run', 'slow', JSON.stringify({ began }), '--wait'])).code, 0);
  await eventually(() => valueOf(of(server, 'up').at(-1), 'centaur_steps_executed_total') === 1, { what: 'the step' });
  await eventually(() => of(server, 'firewall').length > 0, { what: 'the firewall' });
  await eventually(() => (valueOf(of(server, 'up').at(-1), 'centaur_otlp_requests_total') ?? 0) >= 1, { what: 'its own requests' });
  const [last = []] = of(server, 'up').toReversed();
  for (const metric of ['centaur_runs', 'centaur_database_up', 'http.server.request.duration', 'process.cpu.time'])
    assert.ok(
      last.some((point) => point.metric === metric),
      metric,
    );
  assert.equal(typeof valueOf(of(server, 'firewall')[0], 'centaur_scanner_patterns'), 'number');
  const instances = new Map(server.resources.map((resource) => [resource['centaur.component'], resource['service.instance.id']]));
  assert.deepEqual(new Set(instances.keys()), new Set(['firewall', 'up']));
  assert.equal(new Set(instances.values()).size, 2);
  const [resource] = server.resources;
  assert.deepEqual([resource?.['service.name'], typeof resource?.['service.version']], ['centaur', 'string']);
  assert.equal(server.requests[0]?.headers.authorization, `Bearer ${CANARY}`);
  up.child.kill('SIGTERM');
  assert.equal((await up.finished).code, 0);
  assert.doesNotMatch(up.output.stderr + up.output.stdout, /canary/);
});

test('a worker that is stopped tells what it did last, although its next figures were far off', async () => {
  await using database = await createTestDatabase();
  await using server = await startOtlpServer();
  await using place = createPlace({ DATABASE_URL: database.url, ...settings(server, 9_999_999) });
  place.write('slow.ts', SLOW);
  await place.serve('api');
  const worker = await place.serve('worker');
  const began = path.join(place.folder, 'began');
  await place.run(['run', 'slow', JSON.stringify({ began })]);
  await eventually(() => existsSync(began));
  worker.child.kill('SIGTERM');
  assert.equal((await worker.finished).code, 0);
  const [points] = of(server, 'worker');
  assert.deepEqual(
    [of(server, 'worker').length, valueOf(points, 'centaur_steps_executed_total'), valueOf(points, 'centaur_runs')],
    [1, 1, undefined],
    'once, with the step that ended while it stopped, and without what is of the database',
  );
});
