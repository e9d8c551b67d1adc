import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkJournal, checkJournals, type JournalProblem } from './index.ts';
import { type SealedEngine, sealedEngine } from '../../test/support/journals.ts';

const DAYS = { retentionDays: 30 };

function define({ test: t }: SealedEngine): void {
  t.registry.define('refund', async (input: { amount: number }, ctx) => {
    const found = await ctx.step('look up', () => ({ balance: 100 }));
    await ctx.sleep('pause', 5);
    const failed = await ctx.step('fails', () => Promise.reject(new Error('no'))).catch((error: Error) => error.message);
    const all = await Promise.all([ctx.step('left', () => 1), ctx.step('right', () => ['ü', null])]);
    return { left: found.balance - input.amount, failed, all };
  });
}

const told = (problems: readonly JournalProblem[]) =>
  problems.map(({ step, problem }) => (step === undefined ? problem : `${step}: ${problem}`));

test('a run that has ended is sealed once, with what its journal was', async () => {
  await using s = await sealedEngine();
  define(s);
  const runs = await Promise.all([1, 2, 3].map((amount) => s.test.run('refund', { amount })));
  const first = runs[0]!.run_id;
  assert.deepEqual(await checkJournal(s.test.store, s.installation.macKey, first), { state: 'unsealed', why: 'pending' });
  await s.sealed(3);
  assert.equal(await s.sealer.seal(), 0);
  const { rows } = await s.test.store.query<{ entry: string }>(`select entry from audit_log where action = 'journal.seal'`);
  const sealed = rows.flatMap(({ entry }) => (JSON.parse(entry) as { details: { runs: { run_id: string }[] } }).details.runs);
  assert.deepEqual(sealed.map(({ run_id }) => run_id).toSorted(), runs.map(({ run_id }) => run_id).toSorted());
  for (const run of runs) assert.equal((await checkJournal(s.test.store, s.installation.macKey, run.run_id))?.state, 'intact');
  const report = await checkJournals(s.test.store, s.installation.macKey, DAYS);
  assert.deepEqual([report.runs, report.problems, report.next], [3, [], null]);
  assert.equal(report.steps, 15);
});

test('whatever is changed in a sealed journal is named', async (t) => {
  await using s = await sealedEngine();
  define(s);
  const cases: [string, string, string[]][] = [
    ['a result', `update workflow_steps set outcome = '{"balance":900}' where run_id = $1 and seq = 0`, ['look up: the step was changed']],
    ['a name', `update workflow_steps set name = 'look down' where run_id = $1 and seq = 0`, ['look up: the step was changed']],
    ['spaces', `update workflow_steps set outcome = '{"balance": 100}' where run_id = $1 and seq = 0`, ['look up: the step was changed']],
    ['a removed step', `delete from workflow_steps where run_id = $1 and seq = 2`, ['fails: the step was removed']],
    [
      'a step that was slipped in',
      `insert into workflow_steps (run_id, seq, ord, name, started_at) values ($1, 5, 5, 'approved', now())`,
      ['approved: the step was slipped in'],
    ],
    [
      'the order',
      `update workflow_steps set ord = case seq when 3 then (select ord from workflow_steps where run_id = $1 and seq = 4) else (select ord from workflow_steps where run_id = $1 and seq = 3) end where run_id = $1 and seq in (3, 4)`,
      ['left: the step was changed', 'right: the step was changed'],
    ],
    ['the input', `update workflow_runs_finished set input = '{"amount":99}' where run_id = $1`, ['its input was changed']],
    ['the result', `update workflow_runs_finished set result = '{"left":1}' where run_id = $1`, ['its result was changed']],
    ['the status', `update workflow_runs_finished set status = 'f' where run_id = $1`, ['its row was changed']],
    [
      'a time',
      `update workflow_steps set ended_at = ended_at + interval '1 microsecond' where run_id = $1 and seq = 0`,
      ['look up: the step was changed'],
    ],
    [
      'the digest beside it, too',
      `with gone as (update workflow_steps set outcome = '{"balance":900}' where run_id = $1 and seq = 0)
       update journal_seals set members = overlay(members placing sha256('x') from 5) where run_id = $1`,
      ['the digests beside its seal were changed too: which row differs cannot be told for sure', 'look up: the step was changed'],
    ],
  ];
  const runs: string[] = [];
  for (const _ of cases) runs.push((await s.test.run('refund', { amount: 1 })).run_id);
  await s.sealed(cases.length);
  for (const [i, [name, sql, expected]] of cases.entries())
    await t.test(name, async () => {
      const runId = runs[i] as string;
      await s.tamper(sql.replaceAll('$1', `'${runId}'`));
      const check = await checkJournal(s.test.store, s.installation.macKey, runId);
      assert.deepEqual(check?.state === 'tampered' ? told(check.problems) : check, expected);
    });
  const report = await checkJournals(s.test.store, s.installation.macKey, DAYS);
  assert.deepEqual(new Set(report.problems.map(({ run_id }) => run_id)), new Set(runs));
});

test('a run that is removed, slipped in, or sealed again is found', async () => {
  await using s = await sealedEngine();
  define(s);
  const runs: string[] = [];
  for (let i = 0; i < 4; i++) runs.push((await s.test.run('refund', { amount: 1 })).run_id);
  const [removed, changed, unsealed, kept] = runs as [string, string, string, string];
  await s.sealed(4);
  const { store } = s.test;
  const check = async (runId: string) => checkJournal(store, s.installation.macKey, runId);
  await s.tamper('delete from workflow_runs_finished where run_id = $1', [removed]);
  // changed, and made to look as if it had ended just now
  await s.tamper(`update workflow_runs_finished set result = '1', ended_xid = audit_xid() where run_id = $1`, [changed]);
  await s.tamper('delete from journal_seals where run_id = $1', [changed]);
  await s.tamper('delete from journal_seals where run_id = $1', [unsealed]);
  await s.sealed(3);
  assert.equal(await check(removed), undefined);
  assert.deepEqual((await check(changed))?.state, 'tampered');
  assert.deepEqual((await check(unsealed))?.state, 'tampered');
  assert.equal((await check(kept))?.state, 'intact');
  const fabricated = kept.replace(/.$/, (last) => (last === '0' ? '1' : '0'));
  await s.tamper(
    `insert into workflow_runs_finished (run_id, workflow_name, status, queue, priority, attempt, result, created_at, ended_at, ended_xid)
     select $1, workflow_name, status, queue, priority, attempt, '2', created_at, ended_at, ended_xid from workflow_runs_finished where run_id = $2`,
    [fabricated, kept],
  );
  assert.equal((await check(fabricated))?.state, 'tampered');
  const { problems } = await checkJournals(store, s.installation.macKey, DAYS);
  assert.deepEqual(new Set(problems.map(({ run_id }) => run_id)), new Set([removed, changed, unsealed, fabricated]));
  assert.match(problems.find(({ run_id }) => run_id === removed)?.problem ?? '', /the run is missing/);
  // an entry of ours about something else, passed off as one that says that it was erased
  const entry = await s.installation.audit.write({ action: 'test.told', actor: 'system', details: { runs: [removed] } });
  await s.tamper(`update audit_log set action = 'data.erase_runs' where audit_id = $1`, [entry]);
  assert.ok((await checkJournals(store, s.installation.macKey, DAYS)).problems.some(({ run_id }) => run_id === removed));
});

test('a seal that somebody else wrote seals nothing', async () => {
  await using s = await sealedEngine();
  define(s);
  const { run_id } = await s.test.run('refund', { amount: 1 });
  await s.sealed(1);
  const other = Buffer.alloc(32, 7);
  assert.equal((await checkJournal(s.test.store, other, run_id))?.state, 'tampered');
  assert.match((await checkJournals(s.test.store, other, DAYS)).problems[0]?.problem ?? '', /is not by this installation/);
});

test('a retried run is sealed again with its next end, and its first seal is no problem', async () => {
  await using s = await sealedEngine();
  let works = false;
  s.test.registry.define('flaky', async (_: unknown, ctx) =>
    ctx.step('once', () => {
      if (!works) throw new Error('not yet');
      return 'done';
    }),
  );
  const { run_id } = await s.test.run('flaky');
  await s.sealed(1);
  works = true;
  await s.test.engine.retryRun(run_id);
  await s.test.ended(run_id);
  await s.sealed(2);
  assert.equal((await checkJournal(s.test.store, s.installation.macKey, run_id))?.state, 'intact');
  const report = await checkJournals(s.test.store, s.installation.macKey, DAYS);
  assert.deepEqual([report.runs, report.retried, report.problems], [2, 1, []]);
});
