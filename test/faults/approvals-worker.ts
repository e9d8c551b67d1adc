/** A process of the fault suite of approvals: `worker` works on runs that ask people, `decider` is the people. */
import { flushCompileCache } from 'node:module';
import { createEngine } from '../../kernel/engine/index.ts';
import { listApprovals } from '../../kernel/policy/index.ts';
import { connectStore } from '../../kernel/store/index.ts';
import { createTools } from '../../kernel/tools/index.ts';
import { localMasterKey, openInstallation } from '../../kernel/vault/index.ts';
import { createApprovals, createOutside } from '../../runtime/outside/index.ts';
import { createRegistry } from '../support/registry.ts';
import { createScriptedRunner, SHOP } from '../support/tools.ts';
import { inDecider, inWorker, point } from './points.ts';
import { decideApproval } from '../support/decide.ts';

export type Mode = 'approve' | 'deny' | 'either' | 'late' | 'never';

interface Refund {
  readonly mode: Mode;
  readonly amount: number;
}

const log = (entry: { level: string; message: string }): void => {
  if (entry.level === 'error') console.error(JSON.stringify(entry));
};
const store = await connectStore({ url: process.env['DATABASE_URL'] as string, poolSize: 6, log: () => {} });
const master = localMasterKey(Buffer.from(process.env['FAULT_MASTER'] as string, 'hex'));
const installation = await openInstallation({ store, master, log, seal: { delayMs: 200 } });
if (process.argv[2] === 'decider') await decide();
else await work();

async function work(): Promise<void> {
  const registry = createRegistry();
  registry.define('refund', async ({ mode, amount }: Refund, ctx) => {
    const args = { mode, amount };
    const expires = mode === 'never' || mode === 'late' ? { expires: '1s' as const } : {};
    const answer = await ctx.approval('sign off', { summary: `Refund ${amount}?`, tool: 'bank.refund', args, ...expires });
    if (answer.verdict === 'approved')
      await ctx.transaction('pay', (tx) =>
        tx.query('insert into fault_refunds (run_id, amount) values ($1, $2)', [ctx.runId, answer.args.amount]),
      );
    point('done, before the end');
    return answer.verdict;
  });
  registry.define('remove', async ({ mode }: Refund, ctx) => ctx.callTool('shop', 'remove', { id: `${mode} ${ctx.runId}` }));

  const runner = createScriptedRunner();
  runner.act = async ({ args }) => {
    point('tool called');
    const run = String(args['id']).split(' ')[1];
    await store.query('insert into fault_refunds (run_id, amount) values ($1, 0)', [run]);
    point('tool done');
    return 'removed';
  };
  runner.serve(SHOP);
  const tools = await createTools({ store, installation, runner, log });
  const nowhere = 'http://127.0.0.1:1';
  const outside = createOutside({ installation, firewallUrl: nowhere, slackApiUrl: nowhere, toolApiUrl: undefined, tools: () => tools });
  const watched = inWorker(store, createApprovals(installation));
  const engine = await createEngine({
    ...watched,
    registry,
    outside,
    log,
    leaseMs: Number(process.env['FAULT_LEASE_MS']),
    residentMs: 20,
  });
  await engine.work();
  let busy = false;
  setInterval(() => {
    const resident = engine.stats().resident_runs;
    if (busy && resident === 0) point('parked');
    busy ||= resident > 0;
  }, 1).unref();
  up();
}

/** Two of them decide about the same questions at the same time, not always alike. */
async function decide(): Promise<void> {
  const parts = { ...installation, store: inDecider(store) };
  up();
  for (;;) {
    const { items } = await listApprovals(store, { state: 'pending', limit: 50 });
    for (const { approval_id: id, summary } of items.toSorted(() => Math.random() - 0.5)) {
      const state = verdictFor(modeOf(summary));
      if (state === undefined) continue;
      await decideApproval(parts, `p${process.pid}`, id, { state, reason: 'because' }).catch((error: { code?: string }) => {
        // somebody else was first, or its time was up
        if (error.code !== 'APPROVAL_DECIDED') throw error;
      });
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function modeOf(summary: unknown): Mode {
  const { args, input } = summary as { readonly args?: Refund; readonly input?: string };
  return args?.mode ?? ((JSON.parse(input ?? '{}') as { id: string }).id.split(' ')[0] as Mode);
}

function verdictFor(mode: Mode): 'approved' | 'denied' | undefined {
  if (mode === 'approve') return 'approved';
  if (mode === 'deny') return 'denied';
  if (mode === 'never') return undefined;
  // at about the time at which it expires
  if (mode === 'late' && Math.random() < 0.97) return undefined;
  return Math.random() < 0.5 ? 'approved' : 'denied';
}

function up(): void {
  // who is killed keeps nothing
  flushCompileCache();
  process.send?.('up');
}
