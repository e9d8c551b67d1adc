import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sealedEngine } from './support/journals.ts';
import { sealAll } from './support/seal.ts';
import { compilePolicy, publishPolicy } from '../kernel/policy/index.ts';
import { exportLog, type Story, type StoryOf, tellStory } from '../kernel/audit/index.ts';

const RUN = '0198c0de-0000-7000-8000-000000000001';
const OTHER = '0198c0de-0000-7000-8000-000000000002';
const LEASE = '0198c0de-0000-7000-8000-000000000003';
const TRACE = '0198c0de-0000-7000-8000-000000000004';
const POLICY = `version: 1
default: deny
rules:
  - id: refunds
    host: pay.example.com
    effect: allow
`;

test('the log alone tells what happened, in order, each entry with its proof', async (t) => {
  await using s = await sealedEngine({ idle: true });
  const { store, audit, signer, sealer } = s.installation;
  await publishPolicy({ store, audit }, 'user:ann', { text: POLICY });
  const workflow = 'workflow:refund';
  await audit.write({
    action: 'lease.create',
    actor: workflow,
    resource: `lease:${LEASE}`,
    leaseId: LEASE,
    runId: RUN,
    threadKey: 'slack:1',
  });
  const intent = (runId: string) =>
    audit.write({
      action: 'egress.intent',
      actor: workflow,
      resource: 'https://pay.example.com/',
      decision: 'allow',
      runId,
      leaseId: LEASE,
      traceId: TRACE,
    });
  const first = await intent(RUN);
  await audit.write({ action: 'egress.outcome', actor: workflow, intentId: first, details: { status: 200 } });
  const open = await intent(RUN);
  await intent(OTHER);
  await audit.write({ action: 'tool.call', actor: workflow, runId: RUN, details: { approval_id: 'a1' } });
  await audit.write({ action: 'approval.decide', actor: 'user:bob', resource: 'approval:a1', decision: 'approve' });
  await sealAll({ store, sealer });
  let text = '';
  for await (const line of exportLog(store, signer)) text += line;
  const tell = (of: StoryOf, from = text): Promise<Story> =>
    tellStory(async function* () {
      yield* from.split('\n');
    }, of);
  const actions = (story: Story) => story.told.map(({ entry }) => entry.action);

  await t.test('of a run', async () => {
    const story = await tell({ runId: RUN });
    assert.deepEqual(actions(story), ['lease.create', 'egress.intent', 'egress.outcome', 'egress.intent', 'tool.call', 'approval.decide']);
    assert.ok(story.told.every(({ proof }) => proof === 'signed'));
    assert.deepEqual(story.report.findings, []);
  });
  await t.test('an intent without an outcome is told as one', async () => {
    const { told } = await tell({ runId: RUN });
    assert.deepEqual(
      told.filter(({ outcome }) => outcome === null).map(({ entry }) => [entry.action, entry.id === open]),
      [
        ['egress.intent', true],
        ['tool.call', false],
      ],
    );
  });
  await t.test('of a thread, and of a trace', async () => {
    assert.deepEqual(actions(await tell({ threadKey: 'slack:1' })).slice(0, 2), ['lease.create', 'egress.intent']);
    assert.equal((await tell({ traceId: TRACE.replaceAll('-', '') })).told.filter(({ entry }) => entry.run_id === OTHER).length, 1);
    assert.deepEqual(actions(await tell({ runId: TRACE })), []);
  });
  await t.test('the text of a policy is believed for the digest in the log', async () => {
    const { policies } = await tell({ runId: RUN });
    assert.equal([...policies.values()][0], POLICY);
    assert.equal(compilePolicy([...policies.values()][0] as string).policy?.rules[0]?.id, 'refunds');
    const forged = await tell({ runId: RUN }, text.replace('effect: allow', 'effect: deny'));
    assert.deepEqual(
      [forged.policies.size, forged.report.findings[0]?.problem],
      [0, 'the text of version 1 of the policy is not the one that was published'],
    );
  });
  await t.test('a changed, removed or moved entry breaks its proof', async () => {
    const changed = await tell({ runId: RUN }, text.replace('user:bob', 'user:eve'));
    assert.equal(changed.told.find(({ entry }) => entry.actor === 'user:eve')?.proof, 'broken');
    const lines = text.split('\n');
    const at = lines.findIndex((line) => line.includes('approval.decide'));
    const removed = await tell({ runId: RUN }, lines.toSpliced(at, 1).join('\n'));
    assert.match(removed.report.findings[0]?.problem ?? '', /missing/);
    const unsigned = await tell({ runId: RUN }, lines.filter((line) => !line.includes('"type":"checkpoint"')).join('\n'));
    assert.ok(unsigned.told.every(({ proof }) => proof === 'sealed'));
  });
});
