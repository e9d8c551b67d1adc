/** Many people at the same moment, in several processes' worth of connections: each approval is decided once, by just the votes that it needs. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { createTestDatabase } from '../support/database.ts';
import { person } from '../support/people.ts';
import { connectStore } from '../../kernel/store/index.ts';
import { localMasterKey, openInstallation } from '../../kernel/vault/index.ts';
import { askApproval, type ApprovalDetail, castVote, consumeApproval, publishPolicy } from '../../kernel/policy/index.ts';

const APPROVALS = 200;
const VOTERS = 8;
const PROCESSES = 4;
const POLICY = `version: 1
default: deny
gates: {two: {quorum: 2, pending: 1000}}
rules: [{id: all, tool: "*", effect: approve, gate: two}]
`;

async function open() {
  const database = await createTestDatabase();
  const master = localMasterKey(randomBytes(32));
  const opened: { close(): Promise<void> }[] = [];
  const installations = [];
  for (let i = 0; i < PROCESSES; i++) {
    const store = await connectStore({ url: database.url, poolSize: 4 });
    const installation = await openInstallation({ store, master, seal: { delayMs: 50 } });
    opened.push(store, installation);
    installations.push(installation);
  }
  const [first] = installations as [(typeof installations)[number]];
  await publishPolicy(first, 'user:zoe', { text: POLICY });
  const ids: string[] = [];
  for (let i = 0; i < APPROVALS; i++) {
    const digest = createHash('sha256').update(`${i}`).digest();
    const question = { digest, gate: 'two', rule: 'all', principal: `key:${i}`, summary: {}, audited: {}, askAgainAfter: 3600 };
    ids.push((await askApproval(first, question)).approvalId);
  }
  return {
    installations,
    first,
    ids,
    async [Symbol.asyncDispose]() {
      for (const each of opened.toReversed()) await each.close();
      await database.drop();
    },
  };
}

/** Each voter goes through all approvals in an order of their own, in a process that is not always the same. */
async function race(t: Awaited<ReturnType<typeof open>>, verdictOf: (voter: number, approval: number) => 'approve' | 'deny') {
  const told: ApprovalDetail[] = [];
  const refused = new Map<string, number>();
  await Promise.all(
    Array.from({ length: VOTERS }, async (_, voter) => {
      const lanes = Array.from({ length: 4 }, async (__, lane) => {
        for (let i = lane; i < APPROVALS; i += 4) {
          const at = (i * 7 + voter * 13) % APPROVALS;
          const vote = { verdict: verdictOf(voter, at), reason: 'r', channel: 'api' } as const;
          try {
            told.push(await castVote(t.installations[(voter + i) % PROCESSES]!, person(`v${voter}`), t.ids[at]!, vote));
          } catch (error) {
            const { code } = error as { code: string };
            refused.set(code, (refused.get(code) ?? 0) + 1);
          }
        }
      });
      await Promise.all(lanes);
    }),
  );
  return { told, refused };
}

async function count(t: Awaited<ReturnType<typeof open>>, sql: string): Promise<number> {
  const { rows } = await t.first.store.query<{ n: number }>(`select count(*)::int as n from ${sql}`);
  return rows[0]?.n ?? -1;
}

test('of 200 approvals with 8 racing voters and a quorum of 2, each is approved once, with just 2 votes', async () => {
  await using t = await open();
  const { told, refused } = await race(t, () => 'approve');
  assert.deepEqual([...refused], [['APPROVAL_DECIDED', APPROVALS * (VOTERS - 2)]]);
  assert.equal(told.filter(({ state }) => state === 'approved').length, APPROVALS, 'one vote of each is told that it decided');
  assert.equal(told.filter(({ state }) => state === 'pending').length, APPROVALS);
  assert.equal(await count(t, `audit_log where action = 'approval.decide'`), APPROVALS);
  assert.equal(await count(t, `audit_log where action = 'approval.vote'`), 2 * APPROVALS);
  assert.equal(await count(t, `approvals where state = 'approved' and version = 3`), APPROVALS);
  const exactly2 = `(select approval_id from approval_votes where verdict = 'approve' group by 1 having count(*) = 2 and count(distinct voter) = 2) v`;
  assert.equal(await count(t, exactly2), APPROVALS);
  // and used once, however many want it
  const used = await Promise.all(t.ids.flatMap((id) => t.installations.map(({ store }) => consumeApproval(store, id))));
  assert.equal(used.filter(Boolean).length, APPROVALS);
});

test('where some approve and some deny, each is decided once, and as its last counted vote says', async () => {
  await using t = await open();
  const { told, refused } = await race(t, (voter, approval) => ((voter + approval) % 3 === 0 ? 'deny' : 'approve'));
  const decided = told.filter(({ state }) => state !== 'pending');
  assert.equal(decided.length, APPROVALS);
  assert.deepEqual([...refused.keys()], ['APPROVAL_DECIDED']);
  for (const { state, approvals, votes } of decided) {
    const denials = votes.filter(({ verdict }) => verdict === 'deny').length;
    assert.deepEqual([denials, approvals < 2], state === 'denied' ? [1, true] : [0, false]);
  }
  assert.equal(await count(t, `audit_log where action = 'approval.decide'`), APPROVALS);
  assert.equal(await count(t, `approvals where state in ('approved', 'denied')`), APPROVALS);
});
