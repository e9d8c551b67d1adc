import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseConfig, retentionPeriods } from './index.ts';

const environment = { retentionDays: 30, auditRetentionDays: undefined };

test('what nobody says is kept for as long as it is documented', () => {
  assert.deepEqual(retentionPeriods(environment, {}), {
    runs: 30,
    webhookDeliveries: 30,
    threads: null,
    toolCalls: 30,
    leases: 30,
    audit: null,
    auditExport: 'required',
  });
});

test('the file says more than the environment', () => {
  const { retention } = parseConfig('retention:\n  runs_days: 7\n  threads_days: 365\n  audit_export: none\n', 'centaur.yaml');
  const periods = retentionPeriods({ retentionDays: 90, auditRetentionDays: 400 }, retention);
  assert.deepEqual(
    [periods.runs, periods.webhookDeliveries, periods.threads, periods.audit, periods.auditExport],
    [7, 7, 365, 400, 'none'],
  );
});

test('a period that is too short, or of nothing that is known, is refused with its line', () => {
  assert.throws(
    () => parseConfig('retention:\n  audit_days: 6\n  thread_days: 3\n', 'centaur.yaml'),
    /line 2: retention\.audit_days[^]*line 3: retention\.thread_days: unknown key/,
  );
});
