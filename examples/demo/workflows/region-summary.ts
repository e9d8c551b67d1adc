/** A child of the sales report: one region's stock and sales in one summary. */
import { defineWorkflow } from '@centaur/sdk';
import { send } from './_http.ts';

export default defineWorkflow({
  name: 'region_summary',
  steps: ['count_stock', 'summarise'],
  handler: async ({ service, region, amounts }: { service: string; region: string; amounts: number[] }, ctx) => {
    const stock = await ctx.step('count_stock', () =>
      send<{ items: number }>(ctx, `${region}/count_stock`, 'GET', `${service}/regions/${region}/stock`),
    );
    const summary = { region, items: stock.items, total: amounts.reduce((sum, amount) => sum + amount, 0) };
    await ctx.step('summarise', () => send(ctx, `${region}/summarise`, 'POST', `${service}/summaries`, summary));
    return summary;
  },
});
