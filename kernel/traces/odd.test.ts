/** What workflows say of themselves is looked at by nobody before: it holds up neither a trace nor an export. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTestEngine } from '../../test/support/engine.ts';
import { startOtlpServer } from '../../test/support/otlp.ts';
import { eventually } from '../../test/support/wait.ts';
import { startTraceExport } from './export.ts';
import { readTrace } from './read.ts';
import { tracesRequest } from './otlp.ts';
import type { Span } from './types.ts';

test('an error with a zero byte or half of a pair in it is read and exported like any other', async () => {
  await using t = await createTestEngine();
  await using server = await startOtlpServer();
  t.registry.define('odd', async (text: string, ctx) => {
    await ctx.step('one', () => text);
    await ctx.step('two', () => Promise.reject(Object.assign(new Error(text), { code: text })));
  });
  const exporter = startTraceExport({
    store: t.store,
    receiver: { url: server.url, headers: {}, timeoutMs: 5000, compression: 'none' },
    resource: {},
    version: '1',
    ratio: 1,
    delayMs: 50,
    log: (entry) => t.logs.push(entry),
  });
  await eventually(async () => (await t.store.query('select 1 from trace_exports')).rowCount === 1, { what: 'the cursor' });
  for (const text of ['a\0b', 'c\ud800d', '\\u0000']) {
    const { run_id } = await t.run('odd', text);
    const view = await readTrace(t.store, run_id, { limit: 100, workflows: 'all' });
    assert.ok(view !== undefined && view.spans.length >= 3, JSON.stringify(text));
    await eventually(() => server.spans.some((span) => span.traceId === run_id.replaceAll('-', '')), {
      what: `the export of ${JSON.stringify(text)}: ${JSON.stringify(t.logs)}`,
    });
  }
  await exporter.close();
});

test('a span whose end was told by another clock ends no earlier than it begins, and its figures are such that JSON has', () => {
  const span: Span = {
    id: 'ab'.repeat(8),
    parent: null,
    kind: 'step',
    name: 's',
    start: 2000.5,
    end: 1000,
    status: 'ok',
    error: null,
    attempt: 1,
    atMost: false,
    runId: null,
    threadKey: null,
    actor: null,
    auditIds: [],
    attributes: { bytes: Number.POSITIVE_INFINITY, ms: Number.NaN },
  };
  const text = JSON.stringify(tracesRequest([{ trace: '00000000-0000-4000-8000-000000000001', span }], {}, '1'));
  assert.match(text, /"startTimeUnixNano":"2000500000","endTimeUnixNano":"2000500000"/);
  assert.doesNotMatch(text, /null/);
});
