/**
 * The demo's main workflow: it fetches, converts, has each region summarised by a child workflow, lets the figures
 * settle, waits for a person's approval and publishes. The code knows nothing of crashes.
 */
import { defineWorkflow } from '@centaur/sdk';
import { send } from './_http.ts';
import regionSummary from './region-summary.ts';

const REGIONS = ['north', 'south', 'east'] as const;

interface Order {
  id: string;
  region: string;
  amount: number;
  currency: string;
}

export default defineWorkflow({
  name: 'sales_report',
  steps: ['fetch_orders', 'fetch_rates', 'convert', ...REGIONS, 'settle', 'approval', 'publish', 'announce'],
  handler: async ({ service }: { service: string }, ctx) => {
    const [orders, rates] = await Promise.all([
      ctx.step('fetch_orders', () => send<Order[]>(ctx, 'fetch_orders', 'GET', `${service}/orders`)),
      ctx.step('fetch_rates', () => send<Record<string, number>>(ctx, 'fetch_rates', 'GET', `${service}/rates`)),
    ]);

    const inEuro = await ctx.step('convert', async () => {
      const converted = orders.map((order) => ({
        ...order,
        amount: order.amount * (rates[order.currency] ?? NaN),
        currency: 'EUR',
      }));
      await send(ctx, 'convert', 'PUT', `${service}/draft`, converted);
      return converted;
    });

    const summaries = await Promise.all(
      REGIONS.map((region) => {
        const amounts = inEuro.filter((order) => order.region === region).map((order) => order.amount);
        return ctx.runWorkflow(region, { workflow: regionSummary, input: { service, region, amounts } });
      }),
    );

    await ctx.sleep('settle', '1.5s');
    const approval = await ctx.waitForEvent<{ by: string }>('approval', {
      eventType: 'report_approved',
      correlationId: ctx.runId,
      timeout: '1h',
    });

    const report = { total: summaries.reduce((sum, each) => sum + each.total, 0), regions: summaries, approvedBy: approval.by };
    const { id } = await ctx.step('publish', () => send<{ id: string }>(ctx, 'publish', 'POST', `${service}/reports`, report));
    await ctx.step('announce', () => send(ctx, 'announce', 'POST', `${service}/announcements`, { report: id }));
    return { id, total: report.total, approvedBy: report.approvedBy };
  },
});
