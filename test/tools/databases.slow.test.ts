/** The tools `memory` and `postgres` as they are served: in sandboxes, whose way to a database is the firewall's listener. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createLocalBackend } from '../../runtime/sandbox/local/index.ts';
import { createSandboxedTools, createToolRunner } from '../../runtime/tools/index.ts';
import { callers } from '../../runtime/tools/testing.ts';
import { addGrant } from '../../kernel/vault/index.ts';
import { createTestFirewall } from '../support/firewall.ts';
import { LIMITS, PYTHON } from '../support/hosts.ts';
import { eventually } from '../support/wait.ts';

const BUILT_IN = fileURLToPath(new URL('../../userspace/tools', import.meta.url));

test('with placeholders only, both work as the role that their secret names', async () => {
  await using t = await createTestFirewall({ config: { allow_cidrs: ['127.0.0.1'] } });
  await using cleanup = new AsyncDisposableStack();
  const { host, pathname, password } = new URL(t.database.url);
  const role = `tools_${pathname.slice(1)}`;
  await t.store.query(`create role ${role}`);
  cleanup.defer(async () => {
    await t.store.query(`drop owned by ${role} cascade`);
    await t.store.query(`drop role ${role}`);
  });
  await t.store.query(`create schema centaur_memory authorization ${role}`);
  for (const [tool, name] of [
    ['memory', 'MEMORY_DATABASE'],
    ['postgres', 'POSTGRES_DATABASE'],
  ] as const) {
    await t.secret(name, { type: 'pg_dsn', value: `${t.database.url}?sslmode=disable`, hosts: [host], options: { role } });
    await addGrant({ store: t.store, audit: t.installation.audit }, 'test', `tool:${tool}`, name);
  }

  const root = fs.mkdtempSync(path.join(tmpdir(), 'centaur-tools-'));
  cleanup.defer(() => fs.rmSync(root, { recursive: true, force: true }));
  // sandboxes run as users of their own
  fs.chmodSync(root, 0o755);
  fs.mkdirSync(path.join(root, 'state'), { mode: 0o755 });
  const backend = createLocalBackend({ stateDir: path.join(root, 'sandboxes'), memoryReserveMb: 64 });
  cleanup.defer(async () => {
    await eventually(async () => (await backend.list()).length === 0).catch(() => undefined);
    await backend.shutdown();
  });
  const sandboxes = createSandboxedTools({
    backend,
    installation: t.installation,
    firewall: `127.0.0.1:${t.firewall.port}`,
    postgres: `127.0.0.1:${t.firewall.postgresPort}`,
    limits: LIMITS,
    python: PYTHON,
    stateDir: path.join(root, 'h'),
    log: () => {},
  });
  cleanup.defer(() => sandboxes.close());
  const tools = await createToolRunner({ dirs: [BUILT_IN], stateDir: path.join(root, 'state'), watch: false, log: () => {}, ...sandboxes });
  cleanup.defer(() => tools.close());
  await tools.settled();
  const { value, invoke } = callers(tools, t.installation);

  assert.deepEqual(tools.problems(), []);
  const note = (await value('memory', 'save_note', { text: 'Through the firewall', key: 'way' })) as { id: string };
  const found = (await value('memory', 'search_notes', { query: 'firewalls' })) as { items: { id: string }[] };
  assert.deepEqual(
    found.items.map(({ id }) => id),
    [note.id],
  );
  const { rows } = (await value('postgres', 'query', { sql: 'select current_user, count(*)::int from centaur_memory.notes' })) as {
    rows: unknown;
  };
  assert.deepEqual(rows, [[role, 1]]);
  const { rows: owners } = await t.store.query<{ owner: string }>(
    `select tableowner as owner from pg_tables where schemaname = 'centaur_memory'`,
  );
  assert.deepEqual(owners, [{ owner: role }]);
  // the installation's own tables are in this database, and not the role's
  const refused = await invoke('postgres', 'query', { sql: 'select * from secrets' });
  assert.deepEqual([refused.ok, 'code' in refused && refused.code], [false, 'FORBIDDEN']);
  const endless = 'select b from generate_series(1, 100000) as a, generate_series(1, 100000) as b';
  assert.equal(((await value('postgres', 'query', { sql: endless, max_rows: 5 })) as { truncated: boolean }).truncated, true);
  assert.ok(!JSON.stringify(await t.entries('egress.intent')).includes(password));
});
