import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SpanView, TraceView } from '@centaur/kernel/traces';
import { waterfall } from './waterfall.ts';

const span = (more: Partial<SpanView>): SpanView => ({
  span_id: '1',
  parent_id: null,
  depth: 0,
  kind: 'run',
  name: 'order',
  start_ms: 0,
  duration_ms: 100,
  at_most: false,
  status: 'ok',
  error: null,
  attempt: 1,
  run_id: null,
  thread_key: null,
  actor: null,
  audit_ids: [],
  attributes: {},
  ...more,
});
const trace = (spans: readonly SpanView[], more: Partial<TraceView> = {}): TraceView => ({
  trace_id: '0af7651916cd43dd8448eb211c80319c',
  started_at: '2026-01-01T00:00:00.043Z',
  duration_ms: 100,
  status: 'ok',
  truncated: false,
  spans,
  ...more,
});

test('bars begin and end where their spans do, in columns that are as wide as the terminal', () => {
  const text = waterfall(
    trace([
      span({}),
      span({ depth: 1, kind: 'step', name: 'first', duration_ms: 50 }),
      span({ depth: 1, kind: 'state.checkpoint', name: '#1', start_ms: 50, duration_ms: 1, at_most: true }),
      span({ depth: 1, kind: 'step', name: 'second', start_ms: 51, duration_ms: null, status: 'open' }),
      span({ depth: 1, kind: 'step', name: 'third', start_ms: 60, duration_ms: 40, attempt: 3, status: 'error', error: 'NO_STOCK' }),
    ]),
    80,
  );
  assert.deepEqual(text.split('\n').slice(2), [
    '',
    '                            at ms   took  0───────────────────────────── 100 ms',
    'run order                     0.0    100  ██████████████████████████████████████',
    '  step first                  0.0   50.0  ███████████████████',
    '  state.checkpoint #1        50.0   ≤1.0                     ▒',
    '  step second                51.0      …                     ░░░░░░░░░░░░░░░░░░░',
    '  step third ×3 ✗ NO_STOCK   60.0   40.0                        ████████████████',
    '',
    '≤ it took no longer: known from what came next',
    '… it has not ended, or nobody wrote down that it did',
    '×n attempts; ↻ done again, or begun, by the worker that took the run over',
  ]);
});

test('whatever a trace holds, each line fits, and nothing moves the cursor', () => {
  const spans = Array.from({ length: 200 }, (_, i) =>
    span({
      depth: i,
      kind: 'egress.upstream',
      name: `${'x'.repeat(i)}\u001b[31m\n\r\u009b${i}`,
      start_ms: i * 7_000_000,
      duration_ms: i % 3 === 0 ? null : i * 1000,
      status: (['ok', 'error', 'denied', 'cancelled', 'open'] as const)[i % 5] as SpanView['status'],
      attributes: { status: 200 },
    }),
  );
  for (const width of [undefined, 0, 20, 80, 99, 120, 1000]) {
    for (const some of [spans, spans.slice(0, 1), []]) {
      const text = waterfall(trace(some, { duration_ms: null, status: 'open', truncated: true }), width);
      for (const line of text.split('\n'))
        assert.ok(line.length <= Math.min(200, Math.max(80, width ?? 80)), `${width}: ${line.length} ${line}`);
      // oxlint-disable-next-line no-control-regex -- they are what is looked for
      assert.doesNotMatch(text, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
      assert.match(text, /there is more/);
    }
  }
  // a trace in which nothing took any time
  assert.match(waterfall(trace([span({ duration_ms: 0 })], { duration_ms: 0 }), 80), /run order .* 0\.0 {2}[█▏]/);
});
