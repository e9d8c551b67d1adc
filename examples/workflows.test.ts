import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createNodeHost } from '../runtime/hosts/node/index.ts';

test('the sample workflows load', async (t) => {
  const dirs = ['workflows', 'demo/workflows'].map((dir) => fileURLToPath(new URL(dir, import.meta.url)));
  const host = await createNodeHost({ dirs, watch: false });
  t.after(() => host.close());
  assert.deepEqual(host.problems(), []);
  assert.deepEqual(
    host.registry.list().map((workflow) => workflow.name),
    ['approve_expense', 'fulfil_order', 'nightly_report', 'region_summary', 'sales_report', 'ship_parcel', 'transfer_points'],
  );
});
