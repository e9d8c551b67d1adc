/** Workflows in processes of their own declare what people may edit, and go on with what they made of it, in both languages. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { publishPolicy } from '../../kernel/policy/index.ts';
import { hostedEngine } from '../../runtime/hosts/hosted/testing.ts';
import { createApprovals } from '../../runtime/outside/index.ts';
import { startTestApi } from '../support/api.ts';
import { bearer, person, sessionOf } from '../support/people.ts';
import { eventually } from '../support/wait.ts';

const POLICY = 'version: 1\ndefault: deny\ngates:\n  duty: {}\nrules: []\n';
const IN_TYPESCRIPT = `import { requireApproved } from '@centaur/sdk';
export const WORKFLOW_NAME = 'in_typescript';
export async function handler(input: unknown, ctx: any) {
  const answer = await ctx.approval('may it', {
    summary: 'May it?', gate: 'duty', args: { amount: 2000, to: 'ann' }, editable: ['amount'],
    schema: { type: 'object', properties: { amount: { type: 'integer', maximum: 2000 } } },
  });
  return { ...answer, approved: requireApproved(answer) };
}
`;
const IN_PYTHON = `from api.workflow_engine import require_approved

WORKFLOW_NAME = "in_python"

async def handler(inp, ctx):
    schema = {"type": "object", "properties": {"amount": {"type": "integer", "maximum": 2000}}}
    answer = await ctx.approval("may it", "May it?", gate="duty", args={"amount": 2000, "to": "ann"}, editable=("amount",), schema=schema)
    return {**answer, "approved": require_approved(answer)}
`;

test('the answer says what was asked, what was approved and who edited it', async (t) => {
  const hosted = await hostedEngine(t, { 'in_typescript.ts': IN_TYPESCRIPT, 'in_python.py': IN_PYTHON }, { idle: true });
  await using api = await startTestApi({ on: hosted.test, vault: 'alone' });
  await publishPolicy(api.installation, 'user:zoe', { text: POLICY });
  const engine = await hosted.test.another({ approvals: createApprovals(api.installation) });
  await engine.work();
  const bob = bearer(await sessionOf(api, person('bob', 'admin')));
  for (const workflow of ['in_typescript', 'in_python']) {
    const { run_id: run } = await engine.start({ workflow_name: workflow });
    const { approval_id: id, digest } = await eventually(
      async () => (await api.call('GET', '/approvals?state=pending', undefined, bob)).body.items[0],
    );
    const vote = (amount: unknown) =>
      api.call('POST', `/approvals/${id}/votes`, { verdict: 'approve', digest, args_patch: { amount } }, bob);
    const refused = await vote(2001);
    assert.deepEqual([refused.status, refused.body.code], [422, 'EDIT_REFUSED'], JSON.stringify(refused.body));
    assert.equal((await vote(1500)).status, 200);
    const ended = await eventually(async () => {
      const { result, error } = await engine.getRun(run);
      assert.equal(error, null);
      return result as Record<string, unknown> | null;
    });
    const { approved, args, asked, edited, edited_by: by, verdict } = ended;
    assert.deepEqual([verdict, edited, by, asked], ['approved', true, 'bob', { amount: 2000, to: 'ann' }], workflow);
    assert.deepEqual(
      [args, approved],
      [
        { amount: 1500, to: 'ann' },
        { amount: 1500, to: 'ann' },
      ],
      workflow,
    );
  }
});
