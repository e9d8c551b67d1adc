import assert from 'node:assert/strict';
import { test } from 'node:test';
import { renderDescribed } from '@centaur/kernel/telemetry';
import { createWorkflowMetrics } from './metrics.ts';

const one = { workflow: 'w', kind: 'counter', name: 'rows', value: 2, labels: { table: 'orders' } };

test('values of a name add up, and those of a gauge replace each other', () => {
  const metrics = createWorkflowMetrics();
  for (const metric of [one, one, { ...one, kind: 'gauge', name: 'lag', value: 7 }, { ...one, kind: 'gauge', name: 'lag', value: 3 }])
    metrics.record(metric);
  metrics.record({ ...one, kind: 'histogram', name: 'took', value: 5 });
  const text = renderDescribed(metrics.read());
  assert.match(text, /^centaur_workflow_rows\{table="orders",workflow="w"\} 4$/m);
  assert.match(text, /^centaur_workflow_lag\{table="orders",workflow="w"\} 3$/m);
  assert.match(text, /^centaur_workflow_took_sum\{table="orders",workflow="w"\} 5$/m);
});

test('a workflow cannot call itself another, nor fill the memory', () => {
  const metrics = createWorkflowMetrics();
  metrics.record({ ...one, labels: { workflow: 'other' } });
  for (let i = 0; i < 1000; i++) metrics.record({ ...one, name: `n${i}` });
  metrics.record({ ...one, workflow: 'other', value: Number.NaN });
  const lines = renderDescribed(metrics.read())
    .split('\n')
    .filter((line) => !line.startsWith('#') && line !== '');
  assert.equal(lines.length, 100);
  assert.ok(lines.every((line) => line.includes('workflow="w"')));
});

test('whatever a workflow calls its figures and labels, Prometheus takes the page', () => {
  const metrics = createWorkflowMetrics();
  const labels = { 'a-b': 'x', a_b: 'y', '1st': 'tab\tand\u0001', '': 'empty', le: '5', __name__: 'other', quote: '"\\\n' };
  metrics.record({ ...one, labels });
  metrics.record({ ...one, name: 'much', value: 1e308 });
  metrics.record({ ...one, name: 'much', value: 1e308 });
  const lines = renderDescribed(metrics.read()).trimEnd().split('\n');
  // https://prometheus.io/docs/instrumenting/exposition_formats/
  const label = String.raw`[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"`;
  for (const line of lines.filter((each) => !each.startsWith('#'))) {
    assert.match(line, new RegExp(String.raw`^[a-zA-Z_:][a-zA-Z0-9_:]*\{${label}(?:,${label})*\} (?:[-+0-9.e]+|\+Inf)$`));
    const names = [...line.matchAll(/([a-zA-Z_]\w*)="/g)].map((match) => match[1] as string);
    assert.equal(new Set(names).size, names.length, line);
    assert.ok(
      names.every((name) => name !== 'le' && !name.startsWith('__')),
      line,
    );
  }
  assert.equal(lines.length, 6);
});
