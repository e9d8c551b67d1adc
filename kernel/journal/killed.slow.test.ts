/** Sealers that are killed wherever they are: no seal is lost, and no run is sealed twice. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { setTimeout as pause } from 'node:timers/promises';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { sealedEngine } from '../../test/support/journals.ts';
import { eventually } from '../../test/support/wait.ts';
import { checkJournals, type SealedRun } from './index.ts';

const SEALER = fileURLToPath(new URL('../../test/support/journal-sealer.ts', import.meta.url));
const RUNS = 4000;
const KILLS = 12;

test('a sealer that is killed again and again loses no seal and seals nothing twice', async (t) => {
  await using s = await sealedEngine();
  s.test.registry.define('steps', async (input: number, ctx) => {
    for (let i = 0; i < input % 5; i++) await ctx.step(`step ${i}`, () => i);
  });
  const master = s.masterKey.toString('hex');
  const begin = () => {
    const sealer = spawn(process.execPath, [SEALER, s.test.database.url, master], { stdio: 'ignore' });
    t.after(() => sealer.kill('SIGKILL'));
    return sealer;
  };
  const sealed = async () => (await s.test.store.query<{ n: number }>('select count(*) as n from journal_seals')).rows[0]?.n ?? 0;
  await s.test.engine.startMany(Array.from({ length: RUNS }, (_, i) => ({ workflow_name: 'steps', input: i })));
  await eventually(
    async () => (await s.test.store.query<{ n: number }>('select count(*) as n from workflow_runs_finished')).rows[0]?.n === RUNS,
    { timeoutMs: 120_000, what: 'the end of all runs' },
  );
  for (let kills = 0; kills < KILLS; kills++) {
    const sealer = begin();
    const before = await sealed();
    // every other one as soon as it has sealed something, and has more to do
    if (kills % 2 === 0) await pause(Math.random() * 1500);
    else await eventually(async () => (await sealed()) > before || before === RUNS, { what: 'a seal' });
    sealer.kill('SIGKILL');
  }
  // here, since one by itself rests fifty times as long as it works: on a busy machine that is for ever
  await s.sealed(RUNS);
  const { rows } = await s.test.store.query<{ entry: string }>(`select entry from audit_log where action = 'journal.seal'`);
  const told = rows.flatMap(({ entry }) => (JSON.parse(entry) as { details: { runs: SealedRun[] } }).details.runs.map((run) => run.run_id));
  assert.deepEqual([told.length, new Set(told).size], [RUNS, RUNS]);
  for (let after: string | undefined; ;) {
    const page = await checkJournals(s.test.store, s.installation.macKey, { after, retentionDays: 30 });
    assert.deepEqual(page.problems, []);
    if (page.next === null) break;
    after = page.next;
  }
});
