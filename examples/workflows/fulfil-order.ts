/**
 * An order, from its payment to its parcels: reserve every line in parallel, charge, ship from each warehouse in a
 * child workflow of its own, and undo what was done when something fails for good.
 *
 * Shows: steps in parallel, child workflows in parallel, compensation, a queue with a limit per customer.
 */
import { WorkflowError, defineWorkflow } from '@centaur/sdk';
import { z } from 'zod';
import shipParcel from './ship-parcel.ts';
import { call } from './_shop.ts';

const Order = z.object({
  /** Where the shop's services answer. */
  shop: z.url(),
  orderId: z.string().min(1),
  customerId: z.string().min(1),
  lines: z.array(z.object({ sku: z.string(), count: z.int().positive(), warehouse: z.string() })).min(1),
});

export default defineWorkflow({
  name: 'fulfil_order',
  input: Order,
  steps: ['reserve', 'charge', 'ship', 'confirm', 'release', 'refund'],
  // One unfinished order per customer at a time, so that two orders never fight for the same credit
  queue: { name: 'orders', concurrency: 50, concurrencyPerKey: 1 },
  concurrencyKey: (order) => order.customerId,
  handler: async (order, ctx) => {
    const { shop, orderId, lines } = order;
    const retry = { maxAttempts: 5, delay: '1s' };
    // What to undo, newest first. It is rebuilt by every replay, from the same checkpoints
    const undo: (() => Promise<unknown>)[] = [];

    try {
      // All of them are waited for, also after one has failed: what is still under way could not be undone
      const reserved = await Promise.allSettled(
        lines.map(async ({ sku, count }) => {
          const { id } = await ctx.step('reserve', () => call<{ id: string }>(shop, '/reservations', { orderId, sku, count }), {
            retry,
          });
          undo.push(() => ctx.step('release', () => call(shop, `/reservations/${id}/release`, {}), { retry }));
        }),
      );
      const failed = reserved.find((each) => each.status === 'rejected');
      if (failed) throw failed.reason;

      const payment = await ctx.step('charge', () => call<{ id: string }>(shop, '/payments', { orderId }, `${orderId}/charge`), {
        retry,
      });
      undo.push(() => ctx.step('refund', () => call(shop, `/payments/${payment.id}/refund`, {}), { retry }));

      const warehouses = [...new Set(lines.map((line) => line.warehouse))];
      const parcels = await Promise.all(
        warehouses.map((warehouse) => {
          const skus = lines.filter((line) => line.warehouse === warehouse).map((line) => line.sku);
          return ctx.runWorkflow('ship', { workflow: shipParcel, input: { shop, orderId, warehouse, skus } });
        }),
      );
      await ctx.step('confirm', () => call(shop, `/orders/${orderId}/confirm`, { parcels }), { retry });
      return { orderId, status: 'shipped' as const, tracking: parcels.map((parcel) => parcel.tracking) };
    } catch (error) {
      // A cancelled run is over; a step that failed for good, or a child that did, is a business outcome
      if (!(error instanceof WorkflowError) || error.code === 'RUN_CANCELLED') throw error;
      ctx.log.warn('order failed, undoing it', { orderId, code: error.code });
      for (const step of undo.toReversed()) await step();
      return { orderId, status: 'failed' as const, reason: error.message };
    }
  },
});
