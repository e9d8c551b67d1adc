/** The dashboard and the alert rules, held against the registry of metrics, PromQL's grammar, and what Grafana and Prometheus load. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { SyntaxNode } from '@lezer/common';
import { parser } from '@prometheus-io/lezer-promql';
import { parse } from 'yaml';
import { z } from 'zod';
import { METRICS, type MetricSpec } from '../../kernel/telemetry/index.ts';

const read = (file: string) => readFileSync(new URL(`../../deploy/${file}`, import.meta.url), 'utf8');
const registry: Readonly<Record<string, MetricSpec>> = METRICS;
/** Of Prometheus itself. */
const OTHERS = new Set(['up']);

function specOf(name: string): { readonly spec: MetricSpec; readonly labels: readonly string[] } | undefined {
  if (registry[name] !== undefined) return { spec: registry[name], labels: registry[name].labels };
  const suffix = /_(?:bucket|sum|count)$/.exec(name)?.[0];
  const spec = registry[name.slice(0, -(suffix?.length ?? 1))];
  if (suffix === undefined || spec === undefined || (spec.type !== 'histogram' && spec.type !== 'summary')) return undefined;
  return { spec, labels: suffix === '_bucket' ? [...spec.labels, 'le'] : spec.labels };
}

/** What is wrong with an expression; empty when nothing is. */
function problemsOf(given: string): string[] {
  const text = given.replaceAll('$__rate_interval', '5m').replaceAll('$__range', '1d').replaceAll('$job', '.*');
  const problems: string[] = [];
  const labels = new Set(['job', 'instance']);
  const used: { readonly label: string }[] = [];
  const tree = parser.parse(text);
  const textOf = (node: SyntaxNode) => text.slice(node.from, node.to);
  tree.iterate({
    enter(ref) {
      const { node, name } = ref;
      if (ref.type.isError) problems.push(`it does not parse at ${node.from}: ${text}`);
      if (name === 'VectorSelector') {
        const metric = node.getChild('Identifier');
        if (metric === null) return void problems.push(`a selector without a name: ${textOf(node)}`);
        if (OTHERS.has(textOf(metric))) return;
        const found = specOf(textOf(metric));
        if (found === undefined) return void problems.push(`no metric is called ${textOf(metric)}`);
        for (const label of found.labels) labels.add(label);
        const around = ancestors(node);
        const ranged = around.includes('MatrixSelector');
        const { type, of } = found.spec;
        if ((type === 'counter' || textOf(metric).endsWith('_bucket')) && !ranged) problems.push(`${textOf(metric)} counts: take its rate`);
        // each process tells the same: added up, it would be as many times as much as there are processes
        const added = closestAggregate(node, textOf);
        if (of === 'database' && (added === 'sum' || added === undefined) && around.every((each) => each !== 'GroupingLabels'))
          problems.push(`${textOf(metric)} is of the database: take its max`);
      }
      if (name === 'LabelName') used.push({ label: textOf(node) });
      const matcher = name.endsWith('Matcher') ? node.firstChild : null;
      if (matcher !== null) used.push({ label: textOf(matcher) });
    },
  });
  for (const { label } of used) if (!labels.has(label)) problems.push(`no metric in it has the label ${label}: ${text}`);
  return problems;
}

function ancestors(node: SyntaxNode): string[] {
  const names: string[] = [];
  for (let at = node.parent; at !== null; at = at.parent) names.push(at.name);
  return names;
}

/** The aggregate that is closest around it. */
function closestAggregate(node: SyntaxNode, textOf: (node: SyntaxNode) => string): string | undefined {
  for (let at = node.parent; at !== null; at = at.parent) if (at.name === 'AggregateExpr') return /^\w+/.exec(textOf(at))?.[0];
  return undefined;
}

test('the checks of expressions find what is wrong', () => {
  assert.deepEqual(problemsOf('max by (queue) (centaur_queue_queued)'), []);
  for (const wrong of [
    'max by (queue) (centaur_queue_queud)',
    'max by (gate) (centaur_queue_queued)',
    'centaur_queue_queued{qeue="a"}',
    'sum(centaur_queue_queued)',
    'sum(centaur_steps_executed_total)',
    'sum(rate(centaur_steps_executed_total[5m])',
    'histogram_quantile(0.5, sum by (le) (centaur_step_seconds_bucket))',
    'rate(centaur_http_streams_count[5m])',
  ])
    assert.notDeepEqual(problemsOf(wrong), [], wrong);
});

const target = z.looseObject({ refId: z.string(), expr: z.string().min(1), legendFormat: z.string() });
const grid = z.strictObject({ h: z.int().min(1), w: z.int().min(1).max(24), x: z.int().min(0).max(23), y: z.int().min(0) });
const DASHBOARD = z.looseObject({
  uid: z.string().max(40),
  title: z.string(),
  schemaVersion: z.int().min(36),
  time: z.strictObject({ from: z.string(), to: z.string() }),
  templating: z.strictObject({ list: z.array(z.looseObject({ name: z.string(), type: z.string() })) }),
  panels: z.array(
    z.discriminatedUnion('type', [
      z.looseObject({ type: z.literal('row'), id: z.int(), title: z.string(), gridPos: grid, collapsed: z.boolean() }),
      z.looseObject({ type: z.literal('timeseries'), id: z.int(), title: z.string(), gridPos: grid, targets: z.array(target).min(1) }),
      z.looseObject({ type: z.literal('stat'), id: z.int(), title: z.string(), gridPos: grid, targets: z.array(target).min(1) }),
    ]),
  ),
});

test('the dashboard is one that Grafana loads, and asks only for what is told', () => {
  const dashboard = DASHBOARD.parse(JSON.parse(read('grafana/dashboards/centaur.json')));
  assert.ok(!('id' in dashboard), 'a provisioned dashboard has no id of its own');
  const ids = dashboard.panels.map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length);
  for (const panel of dashboard.panels) {
    assert.ok(panel.gridPos.x + panel.gridPos.w <= 24, panel.title);
    if (panel.type === 'row') continue;
    assert.deepEqual(panel['datasource'], { type: 'prometheus', uid: '${datasource}' });
    for (const { expr } of panel.targets) assert.deepEqual(problemsOf(expr), [], panel.title);
  }
  const shown = JSON.stringify(dashboard);
  for (const row of ['Runs', 'Queues', 'Steps', 'Policy and approvals', 'Egress and leaks', 'Audit', 'Sandboxes and answers', 'Models'])
    assert.ok(shown.includes(`"title":"${row}"`), row);
});

const DURATION = z.string().regex(/^\d+[smhd]$/);
const RULES = z.strictObject({
  groups: z.array(
    z.strictObject({
      name: z.string(),
      rules: z.array(
        z.strictObject({
          alert: z.string().regex(/^[A-Z][A-Za-z]+$/),
          expr: z.string(),
          for: DURATION.optional(),
          labels: z.strictObject({ severity: z.enum(['critical', 'warning', 'info']) }),
          annotations: z.strictObject({ summary: z.string().min(10) }),
        }),
      ),
    }),
  ),
});

test('the alert rules are ones that Prometheus loads, and ask only for what is told', () => {
  const { groups } = RULES.parse(parse(read('prometheus/alerts.yaml')));
  const rules = groups.flatMap((group) => group.rules);
  assert.equal(new Set(rules.map(({ alert }) => alert)).size, rules.length);
  for (const { alert, expr, annotations } of rules) {
    assert.deepEqual(problemsOf(expr), [], alert);
    // what its text says of labels is there when it fires
    for (const [, label] of annotations.summary.matchAll(/\$labels\.(\w+)/g))
      assert.match(expr, new RegExp(`by \\(.*\\b${label}\\b`), alert);
  }
});

test('what Grafana and Prometheus are provisioned with has the form that they read', () => {
  z.strictObject({
    apiVersion: z.literal(1),
    providers: z
      .array(
        z.strictObject({
          name: z.string(),
          orgId: z.int(),
          folder: z.string(),
          type: z.literal('file'),
          disableDeletion: z.boolean(),
          updateIntervalSeconds: z.int().min(1),
          allowUiUpdates: z.boolean(),
          options: z.strictObject({ path: z.string().startsWith('/'), foldersFromFilesStructure: z.boolean() }),
        }),
      )
      .length(1),
  }).parse(parse(read('grafana/provisioning/dashboards/centaur.yaml')));
  z.strictObject({
    apiVersion: z.literal(1),
    datasources: z
      .array(
        z.strictObject({
          name: z.string(),
          type: z.literal('prometheus'),
          uid: z.string(),
          access: z.literal('proxy'),
          url: z.url(),
          isDefault: z.boolean(),
          editable: z.boolean(),
          jsonData: z.strictObject({ httpMethod: z.enum(['GET', 'POST']), timeInterval: DURATION }),
        }),
      )
      .length(1),
  }).parse(parse(read('grafana/provisioning/datasources/centaur.yaml')));
  const job = z.looseObject({ job_name: z.string(), static_configs: z.array(z.strictObject({ targets: z.array(z.string()) })) });
  const { rule_files: files } = z
    .looseObject({ rule_files: z.array(z.string()), scrape_configs: z.array(job) })
    .parse(parse(read('prometheus/prometheus.yaml')));
  for (const file of files) read(`prometheus/${file}`);
});
