/** One parcel: have it packed, then wait until the carrier has scanned it. A child of `fulfil_order`. */
import { WaitTimeoutError, defineWorkflow } from '@centaur/sdk';
import { z } from 'zod';
import { call } from './_shop.ts';

export default defineWorkflow({
  name: 'ship_parcel',
  input: z.object({ shop: z.url(), orderId: z.string(), warehouse: z.string(), skus: z.array(z.string()).min(1) }),
  steps: ['pack', 'scanned', 'chase'],
  handler: async ({ shop, orderId, warehouse, skus }, ctx) => {
    const { tracking } = await ctx.step('pack', () => call<{ tracking: string }>(shop, '/parcels', { orderId, warehouse, skus }), {
      retry: { maxAttempts: 5 },
    });
    for (;;) {
      try {
        const scan = await ctx.waitForEvent<{ at: string }>('scanned', {
          eventType: 'parcel_scanned',
          correlationId: tracking,
          timeout: '1d',
        });
        return { tracking, scannedAt: scan.at };
      } catch (error) {
        if (!(error instanceof WaitTimeoutError)) throw error;
        await ctx.step('chase', () => call(shop, `/parcels/${tracking}/chase`, {}));
      }
    }
  },
});
