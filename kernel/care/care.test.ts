import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { CANARY, type CarePlace, openCarePlace, say, seed, tablesWith } from '../../test/support/care.ts';
import { sealAll } from '../../test/support/seal.ts';
import { eventually } from '../../test/support/wait.ts';
import { verifyLog } from '../audit/index.ts';
import type { RetentionPeriods } from '../config/index.ts';
import { uuidv7 } from '../store/index.ts';
import { createUsers } from '../users/index.ts';
import { addGrant, createLease, putSecret } from '../vault/index.ts';
import {
  beginErasure,
  dueNow,
  exportSubject,
  getErasure,
  listHolds,
  placeHold,
  planErasure,
  pruneDue,
  releaseHold,
  runErasures,
} from './index.ts';

const KEPT: RetentionPeriods = {
  runs: 3000,
  webhookDeliveries: 3000,
  threads: null,
  toolCalls: 3000,
  leases: 3000,
  audit: null,
  auditExport: 'none',
};

async function erase(place: CarePlace, subject: string) {
  const { store, installation } = place;
  const { erasure_id } = await beginErasure({ store, audit: installation.audit }, 'user:admin', subject);
  await runErasures({ store, audit: installation.audit });
  return getErasure(store, erasure_id);
}

test('after the erasure of a thread its words are nowhere, and the log verifies', async () => {
  await using place = await openCarePlace();
  const { store, installation } = place;
  await seed(place, 'gone', 'ann', CANARY);
  await seed(place, 'stays', 'bert', 'other-77aa');
  const before = await tablesWith(store, CANARY);
  for (const table of ['agent_message_requests', 'agent_execution_events', 'attachments', 'session_snapshots', 'tool_calls'])
    assert.ok(before.includes(table), `${table} has something to erase`);
  assert.ok(before.some((table) => table.startsWith('workflow_runs_finished')));
  const plan = await planErasure(store, 'thread:gone');
  assert.deepEqual([plan.threads, plan.in_the_way], [['gone'], []]);
  assert.deepEqual(await tablesWith(store, CANARY), before, 'a plan erases nothing');

  const done = await erase(place, 'thread:gone');
  assert.equal(done.state, 'done', done.problem ?? '');
  assert.deepEqual(await tablesWith(store, CANARY), []);
  assert.equal((await tablesWith(store, 'other-77aa')).length, before.length, 'what is of others stays');
  assert.equal((await place.t.threads.getThread('stays')).thread_key, 'stays');
  await assert.rejects(place.t.threads.getThread('gone'), /gone/);
  await sealAll(installation);
  const report = await verifyLog(store, { macKey: installation.macKey, rawPublicKey: installation.signer.rawPublicKey });
  assert.equal(report.problems, 0);
  await assert.rejects(beginErasure({ store, audit: installation.audit }, 'user:admin', 'thread:gone'), { code: 'SUBJECT_NOT_FOUND' });
});

test('the erasure of a person empties what they said among others, and takes their own threads and accounts', async () => {
  await using place = await openCarePlace();
  const { store, installation } = place;
  await seed(place, 'mine', 'ann', CANARY);
  await seed(place, 'ours', 'bert', 'other-77aa');
  await say(place, 'ours', 'ann', `psst ${CANARY}`);
  await putSecret(installation, 'key:1', 'GITHUB_OF_ann', { value: `ghp-${CANARY}-token`, hosts: ['api.github.com'] });
  await addGrant(installation, 'key:1', 'user:ann', 'GITHUB_OF_ann');
  await store.query(`insert into run_askers (run_id, actor) select gen_random_uuid(), unnest(array['user:ann', 'user:bert'])`);
  const done = await erase(place, 'user:ann');
  assert.equal(done.state, 'done', done.problem ?? '');
  assert.deepEqual(await tablesWith(store, CANARY), []);
  assert.deepEqual((await store.query('select actor from run_askers')).rows, [{ actor: 'user:bert' }]);
  const messages = (await place.t.threads.listMessages('ours', { limit: 10 })).items;
  assert.deepEqual(
    messages.filter(({ role }) => role === 'user').map(({ parts }) => JSON.stringify(parts).slice(0, 60)),
    ['[{"type":"text","text":"remember other-77aa"}]', '[{"type":"text","text":"(erased)"}]'],
  );
  const events = await place.t.events('ours');
  assert.deepEqual(
    events.map(({ id }) => id),
    events.map((_, i) => i + 1),
    'events are numbered without gaps, as before',
  );
  await say(place, 'ours', 'bert', 'go on');
  assert.equal((await erase(place, 'user:ann')).state, 'done', 'once more finds nothing');
});

/** What other rooms keep of a thread and its person: questions, votes, grants, usage, calls. Answers the question's id. */
async function seedRooms({ store, installation }: CarePlace, thread: string, user: string, canary: string): Promise<string> {
  const audit = await installation.audit.write({ action: 'test.asked', actor: `user:${user}` });
  const { rows } = await store.query<{ id: string }>(
    `insert into approvals (approval_id, digest, gate, rule, principal, summary, state, expires_at, audit_id, decided_by, decided_at, use_by, reason,
       kind, scope, thread_key, people, subject, args, edited_args, edited_by)
     values (gen_random_uuid(), '', 'g', 'r', 'workflow:w', $1, 'approved', now() + interval '1 h', $2, $3, now(), now() + interval '1 h', $4,
       'tool', '', $5, $1, $1, $1, $1, $6) returning approval_id as id`,
    [JSON.stringify({ said: canary }), audit, `user:${user}`, `because ${canary}`, thread, user],
  );
  const id = rows[0]?.id ?? '';
  const values = [id, user, `voted ${canary}`, audit];
  await store.query(
    `insert into approval_votes (approval_id, voter, verdict, digest, reason, channel, sticky, audit_id) values ($1, $2, 'approve', '', $3, 'api', to_json($3::text), $4)`,
    values,
  );
  await store.query(
    `insert into workflow_events (event_id, event_type, correlation_id, payload)
     values ($3, '$approval', $1, json_build_object('verdict', 'approved', 'reason', $2::text))`,
    [id, `because ${canary}`, uuidv7(Date.now())],
  );
  await store.query(
    `insert into approval_grants (grant_id, approval_id, bound, terms, tool, principal, thread_key, fields, args, granted_by, reason, expires_at, audit_id)
     values (gen_random_uuid(), $1, '', '', 't', 'workflow:w', $5, to_json($3::text), '', 'user:' || $2, $3, now() + interval '1 h', $4)`,
    [...values, thread],
  );
  await store.query(
    `with known as (insert into chat_platforms (platform) values ('slack') on conflict do nothing)
     insert into chat_notices (approval_id, platform, shown_version, ref, places, settled_at)
     values ($1, 'slack', 1, json_build_object('cards', $2::text), jsonb_build_array(jsonb_build_object('channel', $2::text)), now() - interval '2 h')`,
    [id, canary],
  );
  await store.query(
    `insert into usage (execution_id, model, thread_key, harness, workflow, user_id, input, output, cache_read, cache_write, reasoning)
     values (gen_random_uuid(), 'opus', $1, 'demo', $3, $2, 1, 1, 0, 0, 0)`,
    [thread, user, canary],
  );
  await store.query(
    `insert into usage_days select d, k, current_date, 1, 1, 1, 0, 0, 0, 0, 0 from (values ('thread', $1), ('user', $2)) rows (d, k)
     on conflict do nothing`,
    [thread, user],
  );
  await store.query(
    `insert into tool_call_leases (call_id, principal, on_behalf_of, thread_key, expires_at, audit_id)
     values (gen_random_uuid(), $1, $2, $3, now() + interval '1 h', $4)`,
    [`tool:${canary}`, `user:${user}`, thread, audit],
  );
  return id;
}

const ROOMS = ['approval_grants', 'approval_votes', 'approvals', 'chat_notices', 'tool_call_leases', 'usage', 'workflow_events'];
/** Events are in a table for each week. */
const roomsOf = (tables: readonly string[]) => tables.map((table) => table.replace(/_\d{8}$/, '')).toSorted();

test('questions, votes, grants, usage and leases of calls go with their thread; a question that is not over ends', async () => {
  await using place = await openCarePlace();
  const { store } = place;
  await say(place, 'gone', 'ann', 'hello');
  const id = await seedRooms(place, 'gone', 'ann', CANARY);
  const other = await seedRooms(place, 'stays', 'bert', 'other-77aa');
  assert.deepEqual(roomsOf(await tablesWith(store, CANARY)), ROOMS);
  assert.equal((await erase(place, 'thread:gone')).state, 'done');
  assert.deepEqual(await tablesWith(store, CANARY), []);
  assert.deepEqual(roomsOf(await tablesWith(store, 'other-77aa')), ROOMS);
  const { rows: states } = await store.query<{ state: string }>(
    'select state from approvals where approval_id = any($1) order by approval_id = $2',
    [[id, other], other],
  );
  assert.deepEqual(
    states.map(({ state }) => state),
    ['cancelled', 'approved'],
    'what a person changed is not there any more, so what they approved is not done',
  );
  const { rows: votes } = await store.query('select 1 from approval_votes where approval_id = $1', [id]);
  assert.equal(votes.length, 1, 'that somebody voted stays');
  const { rows: days } = await store.query<{ key: string }>(`select key from usage_days where dimension = 'thread' order by key`);
  assert.ok(!days.some(({ key }) => key === 'gone') && days.some(({ key }) => key === 'stays'));
});

test('where a card is that is still to be written over is noted until it is', async () => {
  await using place = await openCarePlace();
  const { store } = place;
  await say(place, 'gone', 'ann', 'hello');
  const ids = [];
  for (const settled of ['infinity', '-59 minutes', '-61 minutes']) {
    const id = await seedRooms(place, 'gone', 'ann', CANARY);
    await store.query(
      `update chat_notices set settled_at = case when $2 = 'infinity' then 'infinity' else now() + $2::interval end where approval_id = $1`,
      [id, settled],
    );
    ids.push(id);
  }
  assert.equal((await erase(place, 'thread:gone')).state, 'done');
  const { rows } = await store.query(
    `select n.ref is not null as is_noted, n.places, a.version > n.shown_version and n.settled_at > now() as is_due
     from chat_notices n join approvals a using (approval_id) order by array_position($1::uuid[], approval_id)`,
    [ids],
  );
  assert.deepEqual(rows, [
    { is_noted: true, places: [], is_due: true },
    { is_noted: true, places: [], is_due: true },
    { is_noted: false, places: [], is_due: false },
  ]);
});

test('what a person said with votes elsewhere goes, their usage is nobody’s, and the export has it before', async () => {
  await using place = await openCarePlace();
  const { store, installation } = place;
  await say(place, 'ours', 'bert', 'hello');
  await seedRooms(place, 'ours', 'ann', CANARY);
  await store.query(
    `insert into policy_drafts (name, source, digest, author, message, audit_id) select 'd', 'version: 1', '', 'user:ann', $1, audit_id from approvals`,
    [`draft ${CANARY}`],
  );
  const files = new Map<string, string>();
  for await (const text of exportSubject(installation, 'user:ann')) {
    const { file = '', row = '' } = JSON.parse(text) as { file?: string; row?: string };
    files.set(file, (files.get(file) ?? '') + row);
  }
  for (const file of ['approvals', 'votes', 'approval_grants', 'usage', 'call_leases', 'drafts'])
    assert.ok(files.get(`${file}.jsonl`)?.includes(CANARY), `${file} is exported`);
  assert.equal((await erase(place, 'user:ann')).state, 'done');
  const { rows } = await store.query<{
    vote: string | null;
    reason: string | null;
    granted: string | null;
    draft: string | null;
    state: string;
  }>(
    `select v.reason as vote, a.reason, g.reason as granted, d.message as draft, a.state
     from approvals a join approval_votes v using (approval_id) join approval_grants g using (approval_id), policy_drafts d`,
  );
  assert.deepEqual(rows, [{ vote: null, reason: null, granted: null, draft: null, state: 'approved' }], 'the question is of somebody else');
  const { rows: told } = await store.query(`select payload ->> 'reason' as reason from workflow_events where event_type = '$approval'`);
  assert.deepEqual(told, [{ reason: null }]);
  const { rows: used } = await store.query(`select 1 from usage where user_id = 'ann'`);
  const { rows: days } = await store.query(`select 1 from usage_days where dimension = 'user' and key = 'ann'`);
  const { rows: leases } = await store.query(`select 1 from tool_call_leases where on_behalf_of = 'user:ann'`);
  assert.deepEqual([used.length, days.length, leases.length], [0, 0, 0]);
});

test('an erasure does not go under a live turn, and goes on when it has ended', async () => {
  await using place = await openCarePlace();
  const { store, installation, t } = place;
  const turn = Promise.withResolvers<void>();
  const began = Promise.withResolvers<void>();
  t.onTurn(async (owner, threads) => {
    await threads.turns.begin(owner);
    began.resolve();
    await turn.promise;
    await threads.turns.finish(owner, { status: 'completed', reason: 'completed', resultText: CANARY });
  });
  const id = await t.say('busy', CANARY, { user_id: 'ann' });
  await began.promise;
  const parts = { store, audit: installation.audit };
  await assert.rejects(beginErasure(parts, 'user:admin', 'thread:busy'), { code: 'TURN_LIVE', message: new RegExp(id) });
  // one that began just after it was asked for
  const { rows } = await store.query<{ id: string }>(
    `insert into data_erasures (erasure_id, subject, requested_by, audit_id)
     select gen_random_uuid(), 'thread:busy', 'user:admin', $1 returning erasure_id as id`,
    [await installation.audit.write({ action: 'data.erase', actor: 'user:admin' })],
  );
  await runErasures(parts);
  const job = rows[0]?.id ?? '';
  const waiting = await getErasure(store, job);
  assert.deepEqual([waiting.state, waiting.problem?.includes(id)], ['running', true]);
  turn.resolve();
  await t.ended(id);
  await eventually(async () => (await runErasures(parts), (await getErasure(store, job)).state === 'done'));
  assert.deepEqual(await tablesWith(store, CANARY), []);
});

test('a hold keeps a thread, its runs and the log from retention and erasure, until it is released', async () => {
  await using place = await openCarePlace();
  const { store, installation } = place;
  await seed(place, 'kept', 'ann', CANARY);
  await seed(place, 'old', 'bert', 'other-77aa');
  const parts = { store, audit: installation.audit };
  const hold = await placeHold(parts, 'user:lawyer', 'user:ann', 'case 12');
  await assert.rejects(beginErasure(parts, 'user:admin', 'thread:kept'), { code: 'HELD', message: /case 12/ });
  await assert.rejects(beginErasure(parts, 'user:admin', 'user:ann'), { code: 'HELD' });
  await store.query(`update sandbox_sessions set last_used_at = now() - interval '40 days'`);
  await store.query(`update tool_calls set created_at = now() - interval '40 days'`);
  const periods: RetentionPeriods = {
    runs: 3000,
    webhookDeliveries: 3000,
    threads: 30,
    toolCalls: 30,
    leases: 30,
    audit: null,
    auditExport: 'required',
  };
  const due = new Map((await dueNow(store, periods)).map((each) => [each.what, each]));
  assert.deepEqual([due.get('threads')?.due, due.get('threads')?.kept], [1, 1]);
  const { rows: before } = await store.query('select 1 from agent_message_requests');
  const pruned = await pruneDue(parts, periods);
  assert.equal(before.length, 2, 'what counts deletes nothing');
  assert.deepEqual([pruned['threads'], pruned['tool_calls']], [1, undefined], 'its calls went with the thread; those of the held one stay');
  assert.ok((await tablesWith(store, CANARY)).includes('agent_message_requests'));
  assert.ok((await tablesWith(store, CANARY)).includes('tool_calls'));
  assert.ok(!(await tablesWith(store, 'other-77aa')).includes('agent_message_requests'));
  const { rows: entries } = await store.query(`select 1 from audit_log where action = 'data.prune' and resource = 'thread:old'`);
  assert.equal(entries.length, 1);

  await releaseHold(parts, 'user:lawyer', hold.hold_id);
  assert.deepEqual(await listHolds(store, 'standing'), []);
  assert.equal((await pruneDue(parts, periods))['threads'], 1);
  assert.deepEqual(
    (await tablesWith(store, CANARY)).filter((table) => !table.startsWith('audit_')),
    [],
  );
});

test('retention spares a thread that came back to life after it was found to be old', async () => {
  await using place = await openCarePlace();
  const { store, installation } = place;
  for (const thread of ['a', 'b']) await say(place, thread, 'ann', `remember ${thread}`);
  await store.query(`update sandbox_sessions set last_used_at = now() - interval '40 days'`);
  const busy = await store.connect('test');
  try {
    await busy.query('begin');
    await busy.query(`select 1 from sandbox_sessions where thread_key = 'a' for update`);
    const pruned = pruneDue({ store, audit: installation.audit }, { ...KEPT, threads: 30 });
    // both were found; the first one waits
    await eventually(async () => {
      const { rows } = await store.query(
        `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like '%sandbox_sessions%'`,
      );
      return rows.length > 0;
    });
    await store.query(`update sandbox_sessions set last_used_at = now() where thread_key = 'b'`);
    await busy.query('commit');
    assert.equal((await pruned)['threads'], 1);
  } finally {
    await busy.end();
  }
  await assert.rejects(place.t.threads.getThread('a'), /a/);
  assert.equal((await place.t.threads.listMessages('b', { limit: 10 })).items.length, 1);
  const { rows } = await store.query(`select 1 from audit_log where action = 'data.prune' and resource = 'thread:b'`);
  assert.equal(rows.length, 0, 'nor does the log say that it went');
});

test('what a hold on somebody keeps in a shared thread is not erased with another person; steers count, and children', async () => {
  await using place = await openCarePlace();
  const { store, installation } = place;
  const parts = { store, audit: installation.audit };
  await say(place, 'ours', 'ann', `remember ${CANARY}`);
  await store.query(
    `insert into agent_execution_signals (thread_key, execution_id, signal_id, kind, body, request_hash, user_id)
     select thread_key, execution_id, 's', 'steer', '{}', '', 'bob' from agent_execution_requests`,
  );
  const { rows: child } = await store.query<{ run_id: string }>(
    `insert into workflow_runs_finished (run_id, workflow_name, status, queue, priority, attempt, parent_run_id, created_at)
     select gen_random_uuid(), 'w', 'c', 'default', 0, 1, run_id, now() from agent_execution_requests returning run_id`,
  );
  const hold = await placeHold(parts, 'user:lawyer', 'user:bob', 'case 13');
  const { rows: held } = await store.query('select 1 from held_runs where run_id = $1', [child[0]?.run_id]);
  assert.equal(held.length, 1);
  assert.match((await planErasure(store, 'user:ann')).in_the_way.join(), /hold keeps the thread ours/);
  await assert.rejects(beginErasure(parts, 'user:admin', 'user:ann'), { code: 'HELD' });
  await assert.rejects(beginErasure(parts, 'user:admin', 'thread:ours'), { code: 'HELD', message: /case 13/ });
  await releaseHold(parts, 'user:lawyer', hold.hold_id);
  assert.equal((await erase(place, 'user:ann')).state, 'done');
  const { rows: left } = await store.query('select 1 from workflow_runs_finished where run_id = $1', [child[0]?.run_id]);
  assert.equal(left.length, 0, 'what a run of hers started goes with it');
});

test('what a person said goes from a shared thread, whatever others said in it', async () => {
  await using place = await openCarePlace();
  const { store } = place;
  await say(place, 'both', 'bob', 'a zero byte: \u0000');
  await say(place, 'both', 'ann', `remember ${CANARY} \u0000`);
  assert.equal((await erase(place, 'user:ann')).state, 'done');
  assert.deepEqual(await tablesWith(store, CANARY), []);
  const { rows } = await store.query(
    `select 1 from agent_execution_events where event_kind = 'message_stored' and event_json::text like '%a zero byte%'`,
  );
  assert.equal(rows.length, 1, 'what bob said stays');
});

test('a person’s words by an account of theirs, also one that they had once, are held, exported and erased with the rest', async () => {
  await using place = await openCarePlace();
  const { store, installation } = place;
  const parts = { store, audit: installation.audit };
  const users = createUsers(parts);
  await users.add('test', { name: 'root', role: 'admin' }, 'none');
  for (const name of ['ann', 'bob']) await users.add('test', { name, role: 'viewer' }, 'none');
  for (const [user, name] of [
    ['U1', 'ann'],
    ['UWAS', 'ann'],
    ['UMOVED', 'ann'],
    ['U2', 'bob'],
  ] as const)
    await store.query(
      `insert into chat_links (platform, team, external_user, user_id, how, linked_by, audit_id)
       select 'slack', 'T1', $1, user_id, 'admin', 'test', (select audit_id from audit_log limit 1) from users where name = $2`,
      [user, name],
    );
  // as an unlinking leaves it; the second of them is another's now
  await store.query(
    `insert into chat_former_links (platform, team, external_user, user_id) select platform, team, external_user, user_id from chat_links
     where external_user in ('UWAS', 'UMOVED')`,
  );
  await store.query(`delete from chat_links where external_user = 'UWAS'`);
  await store.query(`update chat_links set user_id = (select user_id from users where name = 'bob') where external_user = 'UMOVED'`);
  await seed(place, 'own', 'slack:T1:U1', CANARY);
  await say(place, 'own', 'ann', `by her name, too ${CANARY}`);
  await seed(place, 'before', 'slack:T1:UWAS', CANARY);
  await say(place, 'ours', 'slack:T1:U2', 'what bob said');
  await say(place, 'ours', 'slack:T1:U1', `psst ${CANARY}`);
  await say(place, 'moved', 'slack:T1:UMOVED', 'what bob said by it');
  // said to a turn that runs
  await store.query(
    `insert into agent_execution_signals (thread_key, execution_id, signal_id, kind, body, request_hash, user_id)
     select thread_key, execution_id, 's', 'steer', $1, '', 'slack:T1:U1' from agent_execution_requests where thread_key = 'ours' limit 1`,
    [JSON.stringify([{ type: 'text', text: CANARY }])],
  );
  await putSecret(installation, 'test', 'KEY', { value: 'value-of-key-1234567890', hosts: ['api.example.com'] });
  await addGrant(installation, 'test', 'slack:T1:U1', 'KEY');
  const principal = { principal: 'thread:ours', secrets: [], ttlSeconds: 60, threadKey: 'ours' };
  const { leaseId } = await createLease(installation, 'test', principal);
  await store.query(`update leases set account = 'slack:T1:U1', user_name = 'ann' where lease_id = $1`, [leaseId]);
  await store.query(
    `insert into usage (execution_id, model, thread_key, harness, user_id, input, output, cache_read, cache_write, reasoning)
     values (gen_random_uuid(), 'opus', 'elsewhere', 'demo', 'slack:T1:U1', 1, 1, 0, 0, 0)`,
  );

  const hold = await placeHold(parts, 'user:lawyer', 'user:ann', 'case 8');
  const { rows: held } = await store.query<{ thread_key: string }>('select thread_key from held_threads order by 1');
  assert.deepEqual(
    held.map(({ thread_key }) => thread_key),
    ['before', 'moved', 'ours', 'own'],
  );
  await assert.rejects(beginErasure(parts, 'user:admin', 'thread:before'), { code: 'HELD', message: /case 8/ });
  await releaseHold(parts, 'user:lawyer', hold.hold_id);
  const other = await placeHold(parts, 'user:lawyer', 'thread:before', 'case 9');
  await assert.rejects(beginErasure(parts, 'user:admin', 'user:ann'), { code: 'HELD' });
  await releaseHold(parts, 'user:lawyer', other.hold_id);

  const exported = new Map<string, string>();
  for await (const text of exportSubject(installation, 'user:ann')) {
    const { file = '', row = '' } = JSON.parse(text) as { file?: string; row?: string };
    exported.set(file, `${exported.get(file) ?? ''}${row}`);
  }
  for (const [file, wanted] of [
    ['threads.jsonl', /"before".*"ours".*"own"/],
    ['messages.jsonl', /psst/],
    ['usage.jsonl', /elsewhere/],
    ['leases.jsonl', new RegExp(leaseId)],
    ['grants.jsonl', /slack:T1:U1/],
    ['tool_calls.jsonl', /user:slack:T1:U1/],
  ] as const)
    assert.match(exported.get(file) ?? '', wanted);
  assert.doesNotMatch(exported.get('messages.jsonl') ?? '', /what bob said/);

  const plan = await planErasure(store, 'user:ann');
  assert.deepEqual([plan.threads, plan.shared], [['before', 'own'], ['ours']]);
  const done = await erase(place, 'user:ann');
  assert.equal(done.state, 'done', done.problem ?? '');
  assert.deepEqual(await tablesWith(store, CANARY), []);
  assert.deepEqual((await store.query('select principal from grants where revoked_at is null')).rows, []);
  for (const table of [
    'usage',
    'usage_days',
    'leases',
    'chat_links',
    'chat_former_links',
    'agent_execution_requests',
    'agent_message_requests',
  ])
    assert.ok(!JSON.stringify((await store.query(`select * from ${table}`)).rows).includes('slack:T1:U1"'), table);
  assert.deepEqual(
    (await store.query<{ account: string }>('select external_user as account from chat_links order by 1')).rows.map((row) => row.account),
    ['U2', 'UMOVED'],
  );
  const kept = JSON.stringify([
    await place.t.threads.listMessages('ours', { limit: 10 }),
    await place.t.threads.listMessages('moved', { limit: 10 }),
  ]);
  assert.match(kept, /what bob said.*what bob said by it/);
});

test('an inbox is erased and exported with its thread', async () => {
  await using place = await openCarePlace();
  const { store, t } = place;
  await say(place, 'chat', 'ann', 'hello');
  for (const conversation of ['chat', 'other'])
    await t.threads.inbox.put({ platform: 'slack', event_id: conversation, conversation, body: { text: CANARY } });
  assert.ok((await tablesWith(store, CANARY)).includes('agent_inbox'));
  assert.equal((await erase(place, 'thread:chat')).state, 'done');
  const { rows } = await store.query('select event_id from agent_inbox');
  assert.deepEqual(rows, [{ event_id: 'other' }]);
});

test('the last admin is not erased', async () => {
  await using place = await openCarePlace();
  const { store, installation } = place;
  await store.query(
    `insert into users (user_id, name, display_name, role, created_at, updated_at) values (gen_random_uuid(), 'root', 'root', 'admin', now(), now())`,
  );
  await assert.rejects(beginErasure({ store, audit: installation.audit }, 'user:admin', 'user:root'), { code: 'LAST_ADMIN' });
  await store.query(
    `insert into users (user_id, name, display_name, role, created_at, updated_at) values (gen_random_uuid(), 'next', 'next', 'admin', now(), now())`,
  );
  assert.equal((await erase(place, 'user:root')).state, 'done');
  const { rows } = await store.query(`select 1 from audit_log where action = 'user.disable' and resource = 'user:root'`);
  assert.equal(rows.length, 1);
});

test('leases and calls go in batches, with an entry in the log for each', async () => {
  await using place = await openCarePlace();
  const { store, installation } = place;
  await putSecret(installation, 'key:1', 'STRIPE', { value: 'sk-live-123456', hosts: ['api.stripe.com'] });
  await addGrant(installation, 'key:1', 'workflow:w', 'STRIPE');
  await createLease(installation, 'key:1', { principal: 'workflow:w', secrets: ['STRIPE'], ttlSeconds: 60 });
  await store.query(`update leases set expires_at = now() - interval '31 days'`);
  await store.query(
    `insert into tool_calls (principal, call_key, call_id, tool, method, digest, maker, created_at)
     select 'key:1', n::text, gen_random_uuid(), 't', 'm', '', 1, now() - interval '31 days' from generate_series(1, 1500) n`,
  );
  const periods: RetentionPeriods = {
    runs: 30,
    webhookDeliveries: 30,
    threads: null,
    toolCalls: 30,
    leases: 30,
    audit: null,
    auditExport: 'none',
  };
  assert.deepEqual(
    (await dueNow(store, periods)).filter(({ due }) => due > 0).map(({ what, due }) => [what, due]),
    [
      ['tool_calls', 1500],
      ['leases', 1],
    ],
  );
  // two at once: each row goes once
  const all = await Promise.all([
    pruneDue({ store, audit: installation.audit }, periods),
    pruneDue({ store, audit: installation.audit }, periods),
  ]);
  assert.equal(
    all.reduce((sum, each) => sum + (each['tool_calls'] ?? 0), 0),
    1500,
  );
  const { rows } = await store.query<{ entry: string }>(
    `select entry from audit_log where action = 'data.prune' and resource = 'tool_calls'`,
  );
  assert.equal(
    rows.reduce((sum, { entry }) => sum + (JSON.parse(entry) as { details: { tool_calls: number } }).details.tool_calls, 0),
    1500,
  );
  assert.deepEqual(await pruneDue({ store, audit: installation.audit }, periods), {});
});

test('an export has all of a thread, and proofs that lead to the log, and no secret', async () => {
  await using place = await openCarePlace();
  const { installation } = place;
  await seed(place, 'exported', 'ann', CANARY);
  await putSecret(installation, 'key:1', 'STRIPE', { value: 'sk-live-123456', hosts: ['api.stripe.com'] });
  await addGrant(installation, 'key:1', 'thread:exported', 'STRIPE');
  const lease = await createLease(installation, 'key:1', {
    principal: 'thread:exported',
    threadKey: 'exported',
    secrets: ['STRIPE'],
    ttlSeconds: 60,
  });
  const data = randomBytes(2_000_000);
  const attached = await place.t.threads.attach('exported', { name: 'big.bin', mimeType: 'application/octet-stream', data });
  await sealAll(installation);
  for (const subject of ['thread:exported', 'user:ann']) {
    const files = new Map<string, Buffer[]>();
    let end: { files: Record<string, { rows?: number; bytes: number; sha256: string }> } | undefined;
    for await (const text of exportSubject(installation, subject)) {
      assert.ok(text.length < 1_200_000, 'in pieces');
      const line = JSON.parse(text) as { file: string; row?: string; data?: string; end?: typeof end };
      if (line.end !== undefined) end = line.end;
      else
        files.set(line.file, [
          ...(files.get(line.file) ?? []),
          line.row === undefined ? Buffer.from(line.data ?? '', 'base64') : Buffer.from(`${line.row}\n`),
        ]);
    }
    for (const [file, { sha256 }] of Object.entries(end?.files ?? {}))
      assert.equal(
        createHash('sha256')
          .update(Buffer.concat(files.get(file) ?? []))
          .digest('hex'),
        sha256,
        file,
      );
    const text = (file: string) => Buffer.concat(files.get(file) ?? []).toString();
    for (const file of ['messages.jsonl', 'executions.jsonl', 'events.jsonl', 'runs.jsonl'])
      assert.ok(text(file).includes(CANARY), `${subject} ${file}`);
    assert.match(text('steps.jsonl'), /"name":"turn"/);
    const entries = text('audit.jsonl')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { proof: object | null; private?: unknown });
    assert.ok(entries.some(({ proof }) => proof !== null));
    if (subject === 'user:ann') assert.deepEqual(entries.find((entry) => entry.private !== undefined)?.private, { said: CANARY });
    else {
      assert.deepEqual(Buffer.concat(files.get(`attachments/${attached.id}`) ?? []), data);
      assert.ok(text('tool_calls.jsonl').includes(CANARY));
      assert.ok(text('leases.jsonl').includes(lease.leaseId));
    }
    const all = Buffer.concat([...files.values()].flat());
    for (const secret of ['sk-live-123456', lease.token, ...Object.values(lease.placeholders)]) assert.ok(!all.includes(secret));
  }
  await assert.rejects(exportSubject(installation, 'thread:nowhere').next(), { code: 'SUBJECT_NOT_FOUND' });
  await assert.rejects(exportSubject(installation, 'channel:x').next(), { code: 'INVALID_SUBJECT' });
});
