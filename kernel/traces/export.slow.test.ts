import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { createTestEngine, type TestEngine } from '../../test/support/engine.ts';
import { type OtlpServer, startOtlpServer } from '../../test/support/otlp.ts';
import { eventually } from '../../test/support/wait.ts';
import { isSampled, startTraceExport, type TraceExport, type TraceExportOptions } from './export.ts';

const CANARY = 'canary-7d1f-secret';

function exporting(t: TestEngine, server: Pick<OtlpServer, 'url'>, more: Partial<TraceExportOptions> = {}): TraceExport {
  return startTraceExport({
    store: t.store,
    receiver: { url: server.url, headers: { 'x-key': CANARY }, timeoutMs: 60_000, compression: 'none' },
    resource: { 'service.name': 'centaur-test' },
    version: '1',
    ratio: 1,
    delayMs: 50,
    log: (entry) => t.logs.push(entry),
    ...more,
  });
}

const sent = (server: OtlpServer, trace: string) => server.spans.filter((span) => span.traceId === trace.replaceAll('-', ''));
const soon = (condition: () => boolean, what: string) => eventually(condition, { what });
/** Past the moment from which the first export begins. */
const begun = (t: TestEngine) =>
  eventually(async () => (await t.store.query('select 1 from trace_exports')).rowCount === 1, { what: 'the cursor' });

test('a receiver that is away, too slow or says later loses nothing; the next process goes on from there', async () => {
  await using t = await createTestEngine();
  t.registry.define('a', async (_, ctx) => ctx.step('one', () => 1));
  const gone = await startOtlpServer();
  const first = exporting(t, gone);
  await begun(t);
  const known = await t.run('a');
  await soon(() => sent(gone, known.run_id).length > 0, 'the first run');
  await gone[Symbol.asyncDispose]();
  const missed = [await t.run('a'), await t.run('a')];
  await soon(() => first.stats().failures > 0, 'a failure');
  await first.close();

  // elsewhere: its port may be another's by now
  await using server = await startOtlpServer();
  // silent, then full, then busy, then broken off
  server.answer = async (response, n) => {
    if (n === 1) await new Promise((resolve) => setTimeout(resolve, 600));
    if (n <= 2) response.writeHead(503).end();
    else if (n === 3) response.writeHead(429, { 'retry-after': '0' }).end();
    else if (n === 4) response.destroy();
    return n > 4;
  };
  const second = exporting(t, server, { receiver: { url: server.url, headers: {}, timeoutMs: 300, compression: 'none' } });
  for (const { run_id } of missed) await soon(() => sent(server, run_id).length >= 2, `run ${run_id}`);
  assert.ok(second.stats().failures >= 4, `${second.stats().failures} failures`);
  assert.equal(sent(server, known.run_id).length, 0, 'what was taken is not sent again');
  await second.close();
  const told = t.logs.filter(({ message }) => /receiver of traces/.test(message));
  assert.ok(told.length >= 1 && told.length <= 3, 'told of, and not each time');
  assert.doesNotMatch(JSON.stringify(t.logs), /canary/, 'no header is logged');
});

test('what a receiver refuses for good is dropped and told of, and does not hold up the rest', async () => {
  await using t = await createTestEngine();
  t.registry.define('a', async () => 1);
  await using server = await startOtlpServer();
  let refusing = true;
  server.answer = (response) => (refusing ? (response.writeHead(400).end(CANARY), false) : true);
  const exporter = exporting(t, server);
  await begun(t);
  await t.run('a');
  await soon(() => exporter.stats().dropped > 0, 'a refusal');
  refusing = false;
  const next = await t.run('a');
  await soon(() => sent(server, next.run_id).length > 0, 'the next run');
  // some of it
  server.answer = (response) => (
    response.writeHead(200).end(JSON.stringify({ partialSuccess: { rejectedSpans: '1', errorMessage: 'too old' } })),
    false
  );
  const before = exporter.stats();
  await t.run('a');
  await soon(() => exporter.stats().dropped === before.dropped + 1, 'the rejected span');
  // a redirect would take the headers elsewhere
  await using other = await startOtlpServer();
  server.answer = (response) => (response.writeHead(307, { location: other.url }).end(), false);
  const dropped = exporter.stats().dropped;
  await t.run('a');
  await soon(() => exporter.stats().dropped > dropped, 'the redirect to be refused');
  assert.equal(other.requests.length, 0);
  await exporter.close();
});

test('two processes export each span once between them', async () => {
  await using t = await createTestEngine();
  t.registry.define('a', async (_, ctx) => ctx.step('one', () => 1));
  await using server = await startOtlpServer();
  const both = [exporting(t, server), exporting(t, server)];
  await begun(t);
  const runs = await Promise.all(Array.from({ length: 250 }, () => t.engine.start({ workflow_name: 'a' })));
  for (const { run_id } of runs) await t.ended(run_id);
  const last = runs.map(({ run_id }) => run_id);
  await soon(() => last.every((run) => sent(server, run).some(({ name }) => name === 'invoke_workflow a')), 'all runs');
  const ids = server.spans.map((span) => span.spanId);
  assert.equal(new Set(ids).size, ids.length);
  for (const each of both) await each.close();
});

test('a part of all traces is exported by their ids: all of a trace, or nothing', async () => {
  const ids = Array.from({ length: 4000 }, () => randomBytes(16).toString('hex'));
  for (const ratio of [0, 0.1, 0.5, 1]) {
    const share = ids.filter((id) => isSampled(id, ratio)).length / ids.length;
    assert.ok(Math.abs(share - ratio) < 0.05, `${share} of ${ratio}`);
  }
  await using t = await createTestEngine();
  t.registry.define('a', async (_, ctx) => ctx.step('one', () => 1));
  await using server = await startOtlpServer();
  const exporter = exporting(t, server, { ratio: 0.5 });
  await begun(t);
  const [taken, left] = [`${'1'.repeat(18)}${'0'.repeat(14)}`, `${'1'.repeat(18)}${'f'.repeat(14)}`];
  for (const trace_id of [left, taken]) await t.ended((await t.engine.start({ workflow_name: 'a', trace_id })).run_id);
  await soon(() => sent(server, taken).length >= 2, 'the sampled trace');
  assert.equal(sent(server, left).length, 0);
  await exporter.close();
});
