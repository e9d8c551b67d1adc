/**
 * What it takes that a call is governed, over asking the same runner directly: arguments checked, the policy asked, intent and outcome in
 * the audit log; and how soon a call that waits for a person is made once the person has voted. The runner is a function in this process,
 * so that nothing but the governing is measured.
 */
import { castVote, publishPolicy } from '@centaur/kernel/policy';
import { person } from '../../test/support/people.ts';
import { createTestTools, type TestTools } from '../../test/support/tools.ts';
import { quantile } from '../measure.ts';

export interface Figures {
  readonly name: string;
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
}

const POLICY = `version: 1
default: deny
gates: {one: {pending: 1000}, two: {quorum: 2, pending: 1000}}
rules:
  - {id: free, tool: "shop.put", effect: allow}
  - {id: read, tool: "shop.list", effect: allow}
  - {id: both, tool: "shop.create", effect: approve, gate: two}
  - {id: asked, tool: "shop.remove", effect: approve, gate: one}
`;
const CALLER = { principal: 'thread:bench', threadKey: 'bench' };
const [ann, bob] = [person('ann'), person('bob')];
const REASON = { verdict: 'approve', reason: 'measured', channel: 'api' } as const;

/** @param count of calls of each kind */
export async function measureApprovals(count: number): Promise<readonly Figures[]> {
  await using t = await createTestTools();
  await publishPolicy(t.installation, 'user:zoe', { text: POLICY });
  const call = (method: string, args: object) => t.tools.call(CALLER, { tool: 'shop', method, args, waitMs: Number.POSITIVE_INFINITY });
  const tool = t.runner.get('shop');
  const put = tool?.methods.find(({ name }) => name === 'put');
  if (tool === undefined || put === undefined) throw new Error('the shop is closed');
  await t.store.query('create table measured (n int)');
  const figures = [
    await measure('(a row committed by itself)', count, (i) => t.store.query('insert into measured values ($1)', [i])),
    await measure('asked directly, ungoverned', count, (i) =>
      t.runner.dispatch({
        callId: '0198c0de-0000-7000-8000-000000000000',
        tool,
        method: put,
        args: { i },
        idempotencyKey: `${i}`,
        caller: CALLER,
        signal: new AbortController().signal,
        attach: () => Promise.reject(new Error('nothing is attached')),
      }),
    ),
    await measure('that reads, governed', count, (i) => call('list', { limit: i })),
    await measure('that writes, governed', count, (i) => call('put', { i })),
  ];
  await approveForAWhile(t, call);
  figures.push(await measure('that was approved for a while', count, (i) => call('remove', { id: 'same', i })));
  figures.push(await measureVotes(t, call, Math.ceil(count / 2)));
  return figures;
}

/** All calls of the rest of the measurement are like this one. */
async function approveForAWhile(t: TestTools, call: (method: string, args: object) => Promise<unknown>): Promise<void> {
  const made = call('remove', { id: 'same' });
  await castVote(t.installation, ann, await newest(t), { ...REASON, sticky: { for: 3600, fields: ['id'] } });
  await made;
}

/** From the last vote being sent until the tool hears of the call that waited for it. */
async function measureVotes(t: TestTools, call: (method: string, args: object) => Promise<unknown>, count: number): Promise<Figures> {
  const times: number[] = [];
  const warm = Math.min(10, count);
  for (let i = 0; i < warm + count; i++) {
    let heard = 0;
    t.runner.act = async () => {
      heard = performance.now();
      return null;
    };
    const made = call('create', { item: `item ${i}` });
    const id = await newest(t);
    await castVote(t.installation, ann, id, REASON);
    const began = performance.now();
    await castVote(t.installation, bob, id, REASON);
    await made;
    if (i >= warm) times.push(heard - began);
  }
  return { name: 'that waits: from the last vote sent to the call made', p50: quantile(times, 0.5), p99: quantile(times, 0.99) };
}

async function newest({ store }: TestTools): Promise<string> {
  for (;;) {
    const { rows } = await store.query<{ approval_id: string }>(`select approval_id from approvals where state = 'pending' limit 1`);
    if (rows[0] !== undefined) return rows[0].approval_id;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

async function measure(name: string, count: number, work: (i: number) => Promise<unknown>): Promise<Figures> {
  const times: number[] = [];
  const warm = Math.min(50, count);
  for (let i = 0; i < warm + count; i++) {
    const began = performance.now();
    await work(i);
    if (i >= warm) times.push(performance.now() - began);
  }
  return { name, p50: quantile(times, 0.5), p99: quantile(times, 0.99) };
}
