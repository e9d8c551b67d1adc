import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createWorkflowMetrics } from './metrics.ts';

const one = { workflow: 'w', kind: 'counter', name: 'rows', value: 2, labels: { table: 'orders' } };

test('values of a name add up, and those of a gauge replace each other', () => {
  const metrics = createWorkflowMetrics();
  for (const metric of [one, one, { ...one, kind: 'gauge', name: 'lag', value: 7 }, { ...one, kind: 'gauge', name: 'lag', value: 3 }])
    metrics.record(metric);
  metrics.record({ ...one, kind: 'histogram', name: 'took', value: 5 });
  const text = metrics.render();
  assert.match(text, /^centaur_workflow_rows\{table="orders",workflow="w"\} 4$/m);
  assert.match(text, /^centaur_workflow_lag\{table="orders",workflow="w"\} 3$/m);
  assert.match(text, /^centaur_workflow_took_sum\{table="orders",workflow="w"\} 5$/m);
});

test('a workflow cannot call itself another, nor fill the memory', () => {
  const metrics = createWorkflowMetrics();
  metrics.record({ ...one, labels: { workflow: 'other' } });
  for (let i = 0; i < 1000; i++) metrics.record({ ...one, name: `n${i}` });
  metrics.record({ ...one, workflow: 'other', value: Number.NaN });
  const lines = metrics
    .render()
    .split('\n')
    .filter((line) => !line.startsWith('#') && line !== '');
  assert.equal(lines.length, 100);
  assert.ok(lines.every((line) => line.includes('workflow="w"')));
});
