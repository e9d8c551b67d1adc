/** What an agent, a key, a requester or a careless approver might get past a gate with. The tool is dispatched, or it is not: that is asserted each time. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { makeThreadToken } from '../../kernel/api/thread-tokens.ts';
import {
  castVote,
  getApproval,
  listApprovals,
  listSticky,
  publishPolicy,
  revokeSticky,
  sweepApprovals,
  type Vote,
} from '../../kernel/policy/index.ts';
import { createTools, type ToolCaller, ToolError, type Tools } from '../../kernel/tools/index.ts';
import { startTestApi, type TestApi } from '../support/api.ts';
import { person, sessionOf } from '../support/people.ts';
import { createScriptedRunner, type ScriptedRunner } from '../support/tools.ts';
import { eventually } from '../support/wait.ts';

const PAY = {
  type: 'object',
  properties: {
    amount: { type: 'integer', minimum: 1 },
    to: { type: 'string' },
    card: { type: 'string', 'x-sensitive': true },
    note: { type: 'string' },
  },
  required: ['amount', 'to'],
  additionalProperties: false,
};
const BANK = {
  name: 'bank',
  description: 'A bank.',
  methods: {
    pay: { description: 'Pays.', risk: 'destructive', input: PAY },
    move: { description: 'Moves.', risk: 'destructive', input: PAY },
    wire: { description: 'Wires.', risk: 'financial', input: PAY },
  },
};
const POLICY = `version: 1
default: deny
gates:
  two: {quorum: 2, exclude: [requester], editable: [amount, note]}
  one: {editable: [amount, note]}
  spare: {}
rules:
  - {id: never, tool: "bank.*", effect: deny, when: args.amount > 1000}
  - {id: big, tool: "bank.*", effect: approve, gate: two, when: args.amount > 100}
  - {id: small, tool: "bank.*", effect: approve, gate: one}
`;
const REASON = 'ticket 1';
const [ann, bob, root] = [person('ann'), person('bob'), person('root', 'admin')];
const A: ToolCaller = { principal: 'thread:a', threadKey: 'a', user: async () => 'ann' };
const B: ToolCaller = { principal: 'thread:b', threadKey: 'b' };

describe('a call that people have to approve', () => {
  let api: TestApi;
  let tools: Tools;
  let runner: ScriptedRunner;
  let n = 0;
  before(async () => {
    runner = createScriptedRunner();
    runner.serve(BANK);
    api = await startTestApi({
      idle: true,
      vault: 'alone',
      toolsOn: async (installation, log) => (tools = await createTools({ store: installation.store, installation, runner, log })),
    });
    await publish();
  });
  after(() => api[Symbol.asyncDispose]());
  beforeEach(async () => {
    n += 1;
    runner.dispatched.length = 0;
    await api.t.store.query(`update approvals set state = 'cancelled' where state = 'pending'`);
  });
  const publish = (text = POLICY) => publishPolicy(api.installation, 'user:zoe', { text });
  const args = (more: object = {}) => ({ amount: 10, to: `to-${n}`, ...more });
  const call = (over: { caller?: ToolCaller; method?: string; args?: object; waitMs?: number } = {}) =>
    tools.call(over.caller ?? A, { tool: 'bank', method: over.method ?? 'pay', args: over.args ?? args(), waitMs: over.waitMs ?? 0 });
  const parts = () => ({ ...api.installation, checkArguments: (tool: string, given: unknown) => tools.check(tool, given) });
  const vote = (voter: typeof ann, id: string, more: Partial<Vote> = {}) =>
    castVote(parts(), voter, id, { verdict: 'approve', reason: REASON, channel: 'api', ...more });

  /** The call is refused with this code, and the tool has heard nothing. Answers the approval that it waits for. */
  async function refusedWith(code: string, over: Parameters<typeof call>[0] = {}): Promise<string> {
    const before = runner.dispatched.length;
    let id = '';
    await assert.rejects(call(over), (error: unknown) => {
      assert.ok(error instanceof ToolError);
      assert.equal(error.code, code, error.message);
      id = String(error.details?.['approval_id']);
      return true;
    });
    assert.equal(runner.dispatched.length, before);
    return id;
  }
  const asked = (over: Parameters<typeof call>[0] = {}) => refusedWith('APPROVAL_REQUIRED', over);
  const sandbox = async () => {
    await api.t.store.query(
      `insert into sandbox_sessions (thread_key, sandbox_id, harness, state, trace_id) values ('a', 'sb', 'demo', 'idle', gen_random_uuid())
       on conflict do nothing`,
    );
    return makeThreadToken(api.installation.macKey, { threadKey: 'a', sandboxId: 'sb', expiresAt: Date.now() + 60_000 });
  };

  test('is approved by no key, whatever its scopes, and by no token of a sandbox', async () => {
    const id = await asked();
    const { digest } = await getApproval(api.t.store, id);
    const bodies = [
      [`/approvals/${id}/votes`, { verdict: 'approve', digest, reason: REASON }],
      [`/approvals/${id}/approve`, { reason: REASON }],
      [`/approvals/${id}/override`, { reason: REASON }],
      ['/approvals/votes', { votes: [{ approval_id: id, verdict: 'approve', digest, reason: REASON }] }],
    ] as const;
    for (const key of [await api.keyWith('admin'), await api.keyWith('approvals.decide'), await sandbox()])
      for (const [path, body] of bodies) {
        const answer = await api.call('POST', path, body, { key });
        assert.deepEqual([answer.status, answer.body.code], [403, 'FORBIDDEN'], path);
      }
    // nor by saying that one is a person
    for (const headers of [{ 'x-user': 'bob' }, { cookie: 'session=bob' }] as const) {
      const answer = await api.call('POST', `/approvals/${id}/approve`, { reason: REASON, user: 'bob' }, { headers });
      assert.equal(answer.status, 403);
    }
    assert.deepEqual((await getApproval(api.t.store, id)).votes, []);
    await asked();
  });

  test('is not approved by whoever asked for it, nor twice by one person', async () => {
    const over = { args: args({ amount: 200 }) };
    const id = await asked(over);
    await assert.rejects(vote(ann, id), { code: 'NOT_AN_APPROVER' });
    await vote(bob, id);
    assert.equal((await vote(bob, id)).state, 'pending');
    await asked(over);
    await vote(root, id);
    await call(over);
  });

  test('is not edited beyond what the gate names, nor past schema and policy, nor on an old look', async () => {
    const id = await asked();
    const old = await getApproval(api.t.store, id);
    for (const patch of [
      { to: 'me' },
      { 'amount.x': 1 },
      { amount: 'x' },
      { amount: 5000 },
      { amount: 200 },
      { __proto__: 1 },
      JSON.parse('{"__proto__": {"to": "me"}}') as object,
      { 'constructor.prototype': 1 },
      { extra: 1 },
    ])
      await assert.rejects(vote(bob, id, { patch: patch as never }), { code: 'EDIT_REFUSED' });
    await assert.rejects(vote(bob, id, { version: old.version + 1 }), { code: 'STALE_VERSION' });
    assert.equal((await vote(bob, id, { patch: { amount: 5, note: 'less' } })).state, 'approved');
    // what is made is what was approved, and whoever asked is told
    const { edited } = await call();
    assert.deepEqual(edited, { approval_id: id, by: 'bob', changed: { amount: 5, note: 'less' } });
    assert.deepEqual(runner.dispatched[0]?.args, { ...args(), amount: 5, note: 'less' });
    const other = await asked();
    await assert.rejects(vote(root, other, { digest: (await getApproval(api.t.store, id)).digest }), { code: 'STALE_DIGEST' });
  });

  test('over REST and MCP, whoever asked is told what was changed', async () => {
    const key = await api.keyWith('tools:*');
    const rpc = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'bank_pay', arguments: args() } };
    for (const [path, body] of [
      ['/tools/bank/pay', args()],
      ['/mcp', rpc],
    ] as const) {
      const headers = { accept: 'application/json, text/event-stream' };
      const answer = fetch(api.url + path, {
        method: 'POST',
        headers: { ...headers, 'x-api-key': key, 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      const id = await eventually(async () => {
        const { items } = await listApprovals(api.t.store, { state: 'pending' });
        return items.find(({ summary }) => (summary as { input: string }).input.includes(`"to-${n}"`))?.approval_id;
      });
      await vote(bob, id, { patch: { amount: 3 } });
      const text = await (await answer).text();
      if (path === '/mcp') assert.match(text, /bob approved this call with other arguments/);
      else assert.deepEqual((JSON.parse(text) as { edited: unknown }).edited, { approval_id: id, by: 'bob', changed: { amount: 3 } });
    }
  });

  test('is not made after the vote when the policy denies it by then, edited or not', async () => {
    const id = await asked();
    await vote(bob, id, { patch: { amount: 50 } });
    await publish(POLICY.replace('args.amount > 1000', 'args.amount > 40'));
    await refusedWith('POLICY_DENIED');
    await publish();
    await call();
    assert.equal(runner.dispatched.length, 1);
  });

  test('is not approved when its time is over, and what is approved is used once and in time', async () => {
    const late = await asked();
    await api.t.store.query('update approvals set expires_at = now() where approval_id = $1', [late]);
    await assert.rejects(vote(bob, late), { code: 'APPROVAL_DECIDED' });
    const id = await asked();
    await vote(bob, id);
    await call();
    const again = await asked();
    assert.notEqual(again, id);
    await assert.rejects(vote(bob, id), { code: 'APPROVAL_DECIDED' });
    await vote(bob, again);
    await api.t.store.query('update approvals set use_by = now() where approval_id = $1', [again]);
    await sweepApprovals(api.installation);
    await asked();
    assert.equal(runner.dispatched.length, 1);
  });

  test('is not good for other arguments, another tool or another caller', async () => {
    await vote(bob, await asked());
    await asked({ args: args({ amount: 11 }) });
    await asked({ method: 'move' });
    await asked({ caller: B });
    await call();
  });

  test('what was denied is denied again without asking anybody', async () => {
    const id = await asked();
    await vote(bob, id, { verdict: 'deny', reason: 'not on a Friday' });
    await assert.rejects(call(), { code: 'APPROVAL_DENIED', message: /not on a Friday/ });
    assert.equal((await getApproval(api.t.store, id)).asked, 1, 'nobody was asked again');
  });

  test('a thread that asks and asks is refused, and told why', async () => {
    const caller = { principal: 'thread:many', threadKey: 'many' };
    for (let i = 0; i < 10; i++) await asked({ caller, args: args({ note: `n${i}` }) });
    await assert.rejects(call({ caller, args: args({ note: 'one more' }) }), { code: 'TOO_MANY_APPROVALS', message: /10 are the most/ });
  });

  test('what is sensitive is shown to nobody', async () => {
    const id = await asked({ args: args({ card: 'CANARY-4111' }) });
    const shown = await api.call('GET', `/approvals/${id}`, undefined, { key: await sessionOf(api, bob) });
    const listed = await api.call('GET', '/approvals');
    const logged = await api.t.store.query('select entry from audit_log');
    for (const text of [shown.body, listed.body, logged.rows]) assert.ok(!JSON.stringify(text).includes('CANARY'));
    assert.equal(shown.body.args.card, '[sensitive]');
    await vote(bob, id);
    await call({ args: args({ card: 'CANARY-4111' }) });
    assert.deepEqual(runner.dispatched[0]?.args['card'], 'CANARY-4111');
  });

  test('what is let through for a while is this tool, these arguments and this thread, until somebody ends it', async () => {
    const same = (note: string) => ({ args: args({ note }) });
    await vote(bob, await asked(same('first')), { sticky: { for: 'thread', fields: ['to', 'amount'] } });
    await call(same('first'));
    // it asks nobody any more
    await call(same('second'));
    const [grant] = await listSticky(api.t.store);
    assert.deepEqual([grant?.used, grant?.granted_by, grant?.thread_key], [1, 'user:bob', 'a']);
    await api.installation.audit.idle();
    const { rows } = await api.t.store.query<{ entry: string }>(
      `select entry from audit_log where action = 'tool.call' order by audit_id desc limit 1`,
    );
    assert.equal(JSON.parse(rows[0]?.entry as string).details.approval_grant, grant?.grant_id);
    await asked({ args: args({ amount: 11, note: 'third' }) });
    await asked({ args: { amount: 10, to: 'me' } });
    await asked({ ...same('third'), method: 'move' });
    await asked({ ...same('third'), caller: B });
    await asked({ ...same('third'), caller: { ...A, threadKey: 'c' } });
    await asked({ ...same('third'), caller: { ...A, user: async () => 'bob' } });
    // another gate asks anew
    await publish(POLICY.replace('one: {', 'one: {quorum: 2, '));
    await asked(same('fourth'));
    await publish();
    await call(same('fourth'));
    await revokeSticky(api.installation, 'user:ann', grant?.grant_id ?? '');
    await asked(same('fifth'));
    await vote(bob, await asked(same('sixth')), { sticky: { for: 60 } });
    await call(same('sixth'));
    await call(same('sixth'));
    await api.t.store.query('update approval_grants set expires_at = now() where revoked_at is null');
    await asked(same('sixth'));
  });

  test('money is never let through for a while, nor what only one of two wants', async () => {
    const wire = await asked({ method: 'wire' });
    await assert.rejects(vote(bob, wire, { sticky: { for: 'thread' } }), { code: 'STICKY_REFUSED', message: /moves money/ });
    const pay = await asked();
    for (const sticky of [{ for: 90_000 }, { for: 0 }, { for: 'run' as const }, { for: 60, fields: [] }, { for: 60, fields: ['nope'] }])
      await assert.rejects(vote(bob, pay, { sticky }), { code: 'STICKY_REFUSED' });
    await assert.rejects(vote(bob, pay, { sticky: { for: 60 }, patch: { amount: 2 } }), { code: 'STICKY_REFUSED' });
    const over = { args: args({ amount: 300 }) };
    const id = await asked(over);
    await vote(bob, id, { sticky: { for: 60 } });
    await vote(root, id);
    await call(over);
    await asked(over);
  });

  test('is not made with what somebody wrote into the database in place of what was voted on', async () => {
    const [approved, open] = [await asked({ args: args({ note: 'a' }) }), await asked({ args: args({ note: 'b' }) })];
    await vote(bob, approved, { patch: { amount: 5 } });
    await api.t.store.query(`update approvals set edited_args = '{"amount": 999, "to": "me"}' where approval_id = $1`, [approved]);
    await refusedWith('POLICY_FAILED', { args: args({ note: 'a' }) });
    // nor is a vote cast on it, or past the gate
    await api.t.store.query(`update approvals set args = '{"amount": 999, "to": "me"}' where approval_id = $1`, [open]);
    await assert.rejects(vote(bob, open), { code: 'APPROVAL_TAMPERED' });
    const override = await api.call('POST', `/approvals/${open}/override`, { reason: REASON }, { key: await sessionOf(api, root) });
    assert.deepEqual([override.status, override.body.code], [409, 'APPROVAL_TAMPERED']);
    assert.equal((await vote(bob, open, { verdict: 'deny' })).state, 'denied');
  });

  test('nobody decides past the gate without a fresh proof of who they are', async () => {
    const over = { args: args({ amount: 400 }) };
    const id = await asked(over);
    const override = async (voter: typeof ann, body: object = { reason: REASON }) =>
      api.call('POST', `/approvals/${id}/override`, body, { key: await sessionOf(api, voter) });
    assert.equal((await override({ ...root, provenAt: Date.now() - 301_000 })).body.code, 'PROOF_REQUIRED');
    assert.equal((await override(bob)).body.code, 'NOT_AN_APPROVER');
    assert.equal((await override(root, {})).status, 422);
    await asked(over);
    assert.equal((await override({ ...root, provenAt: Date.now() })).body.overridden, true);
    await asked({ args: args({ amount: 401 }) });
    await call(over);
  });
});
