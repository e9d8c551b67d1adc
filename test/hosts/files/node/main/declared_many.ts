/** Several of what there can be several of. */
import { defineWorkflow } from '@centaur/sdk';

export default defineWorkflow({
  name: 'declared_many',
  schedule: [
    { type: 'interval', seconds: 300 },
    { type: 'cron', cron: '0 * * * *' },
  ],
  webhooks: [
    { slug: 'many-1', auth: 'none' },
    { slug: 'many-2', auth: { type: 'hmac', secret_ref: 'SECRET' }, trigger_key: { type: 'header', header: 'X-Id' } },
  ],
  handler: () => null,
});
