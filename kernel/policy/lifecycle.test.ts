import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTestDatabase } from '../../test/support/database.ts';
import { person } from '../../test/support/people.ts';
import { createAuditLog } from '../audit/index.ts';
import { connectStore } from '../store/index.ts';
import { ensurePartitions } from '../store/partitions.ts';
import {
  activePolicy,
  castVote,
  getApproval,
  getDraft,
  listApprovals,
  listDrafts,
  overrideApproval,
  PolicyError,
  publishPolicy,
  removeDraft,
  rollbackPolicy,
  saveDraft,
  shadowPolicy,
  shadowReport,
  whyNotVoter,
} from './index.ts';

async function setup() {
  const database = await createTestDatabase();
  const store = await connectStore({ url: database.url });
  await ensurePartitions(store, ['audit_log'], store.now());
  const audit = createAuditLog({ store, macKey: Buffer.alloc(32) });
  return {
    store,
    audit,
    parts: { store, audit },
    async [Symbol.asyncDispose]() {
      await audit.close();
      await store.close();
      await database.drop();
    },
  };
}

const text = (rule: string, more = '') => `version: 1\ndefault: deny\nrules: [{id: ${rule}, tool: ${rule}, effect: allow}]\n${more}`;
const APPROVE = { verdict: 'approve', channel: 'api' } as const;
const GATED = 'gates: {owners: {expires: 2h}}\npublish: {gate: owners}\n';
const refuses = (code: string) => (error: unknown) => error instanceof PolicyError && error.code === code;

test('a policy with a gate is replaced by what somebody else has approved, once, and by nothing else', async () => {
  await using t = await setup();
  const version = async () => (await activePolicy(t.store)).version;
  await publishPolicy(t.parts, 'user:ann', { text: text('one', GATED) });
  const first = await version();
  const next = { text: text('two', GATED) };

  await assert.rejects(publishPolicy(t.parts, 'user:ann', next), refuses('APPROVAL_REQUIRED'));
  await assert.rejects(publishPolicy(t.parts, 'user:ann', next), refuses('APPROVAL_REQUIRED'));
  assert.equal(await version(), first);
  const { items } = await listApprovals(t.store, { state: 'pending' });
  assert.equal(items.length, 1, 'asked once');
  const [asked] = items;
  assert.deepEqual([asked?.gate, asked?.rule, asked?.principal], ['owners', 'policy.publish', 'user:ann']);
  const id = asked?.approval_id as string;
  // the text is read where it is looked at, and not with each list
  const listed = asked?.summary as Readonly<Record<string, unknown>>;
  assert.deepEqual(
    [listed['policy'], listed['author'], listed['text_bytes'], 'text' in listed],
    ['policy.publish', 'user:ann', Buffer.byteLength(next.text), false],
  );
  const seen = await getApproval(t.store, id);
  assert.equal((seen.summary as { readonly text?: string }).text, next.text);
  assert.equal(
    seen.policy_diff,
    ' version: 1\n default: deny\n-rules: [{id: one, tool: one, effect: allow}]\n+rules: [{id: two, tool: two, effect: allow}]\n gates: {owners: {expires: 2h}}\n publish: {gate: owners}\n ',
  );

  await assert.rejects(castVote(t.parts, person('ann'), id, APPROVE), refuses('APPROVAL_BY_AUTHOR'));
  await castVote(t.parts, person('bob'), id, APPROVE);
  // another text has not been seen by anybody
  await assert.rejects(publishPolicy(t.parts, 'user:ann', { text: text('three', GATED) }), refuses('APPROVAL_REQUIRED'));
  const published = await publishPolicy(t.parts, 'user:ann', next);
  assert.equal(await version(), published.version);
  const { rows } = await t.store.query<{ entry: string }>(
    `select entry from audit_log where action = 'policy.publish' order by audit_id desc limit 1`,
  );
  assert.equal((JSON.parse(rows[0]?.entry ?? '{}') as { details: { approval_id: string } }).details.approval_id, id);

  // it was for replacing the first: back and forth needs to be asked again
  await assert.rejects(rollbackPolicy(t.parts, 'user:ann', first), refuses('APPROVAL_REQUIRED'));
  assert.equal(await version(), published.version);
  // what has no effect asks nobody
  await shadowPolicy(t.parts, 'user:ann', { text: text('four') });
});

test('whoever is asked reads the whole text', async () => {
  await using t = await setup();
  await publishPolicy(t.parts, 'user:ann', { text: text('one', GATED) });
  const long = `${text('two', GATED)}\n# ${'x'.repeat(200_000)}\n# the end\n`;
  await assert.rejects(publishPolicy(t.parts, 'user:ann', { text: long }), refuses('APPROVAL_REQUIRED'));
  const { items } = await listApprovals(t.store, { state: 'pending' });
  const { summary } = await getApproval(t.store, items[0]?.approval_id as string);
  assert.equal((summary as { readonly text: string }).text, long);
});

test('of many who publish what was approved once, one does', async () => {
  await using t = await setup();
  await publishPolicy(t.parts, 'user:ann', { text: text('one', GATED) });
  const next = { text: text('two', GATED) };
  await assert.rejects(publishPolicy(t.parts, 'user:ann', next), refuses('APPROVAL_REQUIRED'));
  const id = (await listApprovals(t.store, { state: 'pending' })).items[0]?.approval_id as string;
  await castVote(t.parts, person('bob'), id, APPROVE);
  const outcomes = await Promise.allSettled(Array.from({ length: 6 }, () => publishPolicy(t.parts, 'user:ann', next)));
  assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1);
});

test('what was approved replaces the text that it was held against, and no later one', async () => {
  await using t = await setup();
  await publishPolicy(t.parts, 'user:ann', { text: text('one', GATED) });
  for (const next of ['two', 'three'])
    await assert.rejects(publishPolicy(t.parts, 'user:ann', { text: text(next, GATED) }), refuses('APPROVAL_REQUIRED'));
  for (const { approval_id } of (await listApprovals(t.store, { state: 'pending' })).items)
    await castVote(t.parts, person('bob'), approval_id, APPROVE);
  await publishPolicy(t.parts, 'user:ann', { text: text('two', GATED) });
  await assert.rejects(publishPolicy(t.parts, 'user:ann', { text: text('three', GATED) }), refuses('APPROVAL_REQUIRED'));
  assert.equal((await activePolicy(t.store)).policy.rules[0]?.id, 'two');
});

test('an approval that came from the author some other way does not count', async () => {
  await using t = await setup();
  await publishPolicy(t.parts, 'user:ann', { text: text('one', GATED) });
  const next = { text: text('two', GATED), author: 'user:carl' };
  await assert.rejects(publishPolicy(t.parts, 'user:ann', next), refuses('APPROVAL_REQUIRED'));
  for (const author of ['user:ann', 'user:carl', 'user:dora']) {
    await t.store.query(
      `update approvals set state = 'approved', decided_by = $1, decided_at = now(), use_by = now() + interval '1 hour'`,
      [author],
    );
    await assert.rejects(publishPolicy(t.parts, 'user:dora', next), refuses('APPROVAL_BY_AUTHOR'));
  }
  assert.equal((await activePolicy(t.store)).policy.rules[0]?.id, 'one');
});

/** Asks for a text, and answers the id of the question. */
async function asked(t: Awaited<ReturnType<typeof setup>>, publication: Parameters<typeof publishPolicy>[2]): Promise<string> {
  await assert.rejects(publishPolicy(t.parts, 'user:ann', publication), refuses('APPROVAL_REQUIRED'));
  return (await listApprovals(t.store, { state: 'pending' })).items[0]?.approval_id as string;
}

test('the gate says how many and who, and an author is none of them, first or last', async () => {
  await using t = await setup();
  const pair =
    'gates: {owners: {quorum: 2, approvers: ["role:owner", "user:carl"], use_by: 1m, editable: [text]}}\npublish: {gate: owners}\n';
  await publishPolicy(t.parts, 'user:zoe', { text: text('one', pair) });
  const next = { text: text('two', pair), author: 'user:carl' };
  const id = await asked(t, next);
  const { quorum, exclude, editable, involved } = await getApproval(t.store, id);
  assert.deepEqual([quorum, exclude, editable], [2, ['requester', 'policy_author'], []]);
  assert.deepEqual([involved.requester, involved.policy_author], [['ann'], ['carl']], 'of the new text, not of the one in force');
  const owner = (name: string) => person(name, 'viewer', { roles: ['owner'] });
  for (const author of ['ann', 'carl']) {
    assert.match((await whyNotVoter(t.store, owner(author), id)) ?? '', /the gate excludes the/);
    await assert.rejects(castVote(t.parts, owner(author), id, APPROVE), refuses('APPROVAL_BY_AUTHOR'));
    const past = { reason: 'now', channel: 'api' } as const;
    await assert.rejects(overrideApproval(t.parts, person(author, 'admin'), id, past), refuses('APPROVAL_BY_AUTHOR'));
  }
  await assert.rejects(castVote(t.parts, person('bob'), id, APPROVE), refuses('NOT_AN_APPROVER'));
  await assert.rejects(castVote(t.parts, owner('bob'), id, { ...APPROVE, patch: { text: 'x' } }), refuses('EDIT_REFUSED'));
  await assert.rejects(castVote(t.parts, owner('bob'), id, { ...APPROVE, sticky: { for: 60 } }), refuses('STICKY_REFUSED'));
  // who wrote the one in force has no part in the next
  await castVote(t.parts, owner('zoe'), id, APPROVE);
  await assert.rejects(publishPolicy(t.parts, 'user:ann', next), refuses('APPROVAL_REQUIRED'));
  const decided = await castVote(t.parts, owner('bob'), id, APPROVE);
  assert.equal(decided.state, 'approved');
  const left = Date.parse(decided.use_by ?? '') - Date.now();
  assert.ok(left > 23 * 3_600_000 && left <= 24 * 3_600_000 + 60_000, `a day, not the minute of a call: ${left}`);
  // whoever's vote came first: it counts, so it is not the publisher's
  await assert.rejects(publishPolicy(t.parts, 'user:zoe', next), refuses('APPROVAL_BY_AUTHOR'));
  await publishPolicy(t.parts, 'user:ann', next);
});

test('with a quorum, one vote of an author that came some other way spoils the whole', async () => {
  await using t = await setup();
  await publishPolicy(t.parts, 'user:zoe', { text: text('one', GATED) });
  const next = { text: text('two', GATED), author: 'user:carl' };
  const id = await asked(t, next);
  await t.store.query(
    `insert into approval_votes (approval_id, voter, verdict, digest, channel, audit_id) select approval_id, 'carl', 'approve', digest, 'api', audit_id from approvals`,
  );
  await castVote(t.parts, person('bob'), id, APPROVE);
  await assert.rejects(publishPolicy(t.parts, 'user:ann', next), refuses('APPROVAL_BY_AUTHOR'));
  await t.store.query('update approval_votes set void = true where voter = $1', ['carl']);
  await publishPolicy(t.parts, 'user:ann', next);
});

test('a question whose author was erased is answered by nobody', async () => {
  await using t = await setup();
  await publishPolicy(t.parts, 'user:zoe', { text: text('one', GATED) });
  const id = await asked(t, { text: text('two', GATED) });
  await t.store.query(`update approvals set summary = '{"erased": true}', people = '{}'`);
  await assert.rejects(castVote(t.parts, person('bob'), id, APPROVE), refuses('APPROVAL_BY_AUTHOR'));
});

test('a version in force that does not compile any more still asks', async () => {
  await using t = await setup();
  await publishPolicy(t.parts, 'user:ann', { text: text('one', GATED) });
  await t.store.query(`update policy_versions set source = source || 'nonsense: true\n' where state = 'active'`);
  await assert.rejects(activePolicy(t.store), refuses('POLICY_BROKEN'));
  const id = await asked(t, { text: text('two') });
  await castVote(t.parts, person('bob'), id, APPROVE);
  await publishPolicy(t.parts, 'user:ann', { text: text('two') });
  assert.equal((await activePolicy(t.store)).policy.rules[0]?.id, 'two');
});

test('a draft may have errors, and nothing obeys it', async () => {
  await using t = await setup();
  const saved = await saveDraft(t.parts, 'user:ann', { name: 'work', text: 'version: 2\n', message: 'not yet' });
  assert.ok(saved.problems.some(({ level }) => level === 'error'));
  assert.equal((await activePolicy(t.store)).version, 0);
  await saveDraft(t.parts, 'user:bob', { name: 'work', text: text('one') });
  const draft = await getDraft(t.store, 'work');
  assert.deepEqual([draft.author, draft.text], ['user:bob', text('one')]);
  assert.equal((await listDrafts(t.store)).length, 1);
  await removeDraft(t.parts, 'user:ann', 'work');
  await assert.rejects(getDraft(t.store, 'work'), refuses('POLICY_NOT_FOUND'));
  await assert.rejects(removeDraft(t.parts, 'user:ann', 'work'), refuses('POLICY_NOT_FOUND'));
  const { rows } = await t.store.query<{ action: string }>(
    `select action from audit_log where action like 'policy.draft%' order by audit_id`,
  );
  assert.deepEqual(
    rows.map(({ action }) => action),
    ['policy.draft_save', 'policy.draft_save', 'policy.draft_remove'],
  );
});

test('the report says what would have been decided otherwise, by whom, and how often', async () => {
  await using t = await setup();
  const decided = (action: string, details: object, times = 1) =>
    Promise.all(Array.from({ length: times }, () => t.audit.write({ action, actor: 'workflow:a', resource: 'tool:x', details })));
  await decided('tool.call', { rule: 'open', shadow: { version: 4, effect: 'deny', rule: 'strict' } }, 7);
  await decided('tool.call', { rule: 'open', shadow: { version: 4, effect: 'allow', rule: 'same' } }, 3);
  await decided('tool.call', { rule: 'open', approval_id: 'x', shadow: { version: 4, effect: 'allow', rule: 'easier' } });
  await decided('egress.deny', { rule: null, shadow: { rules: [{ rule: 'would-open', effect: 'allow' }] } }, 2);
  await decided('egress.deny', {
    rule: 'wall',
    shadow: {
      rules: [
        { rule: 'would-open', effect: 'allow' },
        { rule: 'ask', effect: 'approve' },
      ],
    },
  });
  await decided('egress.intent', { rule: 'open', shadow: { version: 4, failed: true } });
  await decided('egress.intent', { rule: 'open' }, 5);
  await decided('tool.outcome', { shadow: { version: 4, effect: 'deny', rule: 'not a decision' } });
  const report = await shadowReport(t.store, { since: 0 });
  assert.deepEqual([report.decisions, report.shadowed, report.failed, report.more], [20, 15, 1, false]);
  assert.deepEqual(
    report.changes.map(({ version, rule, from, to, count, samples }) => [version, rule, from, to, count, samples.length]),
    [
      [4, 'strict', 'allow', 'deny', 7, 5],
      [null, 'would-open', 'deny', 'allow', 2, 2],
      [4, 'easier', 'approve', 'allow', 1, 1],
    ],
  );
  const bounded = await shadowReport(t.store, { since: 0, limit: 6 });
  assert.deepEqual([bounded.decisions, bounded.more], [6, true]);
  assert.equal((await shadowReport(t.store, { since: t.store.now() + 60_000 })).decisions, 0);
});

test('a key is nobody: what it wants is approved by whom its gate asks, and not by whoever publishes it with a session of theirs', async () => {
  await using t = await setup();
  await publishPolicy(t.parts, 'user:zoe', { text: text('one', GATED) });
  const next = { text: text('two', GATED) };
  await assert.rejects(publishPolicy(t.parts, 'key:ck_1', next), refuses('APPROVAL_REQUIRED'));
  const id = (await listApprovals(t.store, { state: 'pending' })).items[0]?.approval_id as string;
  assert.deepEqual((await getApproval(t.store, id)).involved, { requester: [], run_owner: [], trigger_actor: [], policy_author: [] });
  // nothing says who holds the key: whoever may both use it and approve is two to the gate
  assert.equal((await castVote(t.parts, person('ann'), id, APPROVE)).state, 'approved');
  await assert.rejects(publishPolicy(t.parts, 'user:ann', next), refuses('APPROVAL_BY_AUTHOR'));
  await publishPolicy(t.parts, 'key:ck_1', next);
});
