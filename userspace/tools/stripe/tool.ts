/** Stripe: customers, payments, refunds, invoices, subscriptions. See README.md. */
import { defineTool } from '@centaur/sdk';
import { hostOf } from '../_shared/rest.ts';
import { accountMethods } from './account.ts';
import { API } from './api.ts';
import { billingMethods } from './billing.ts';
import { paymentMethods } from './payments.ts';

export default defineTool({
  description: 'Stripe: customers, payments, refunds, invoices, subscriptions, products and prices, balance, events, search.',
  secrets: [
    {
      name: 'STRIPE_API_KEY',
      hosts: [hostOf(API)],
      paths: ['/v1/*'],
      match_headers: ['authorization'],
      description: 'A restricted key (rk_…) with the permissions that you want agents to have: https://dashboard.stripe.com/apikeys',
    },
  ],
  methods: { ...paymentMethods, ...billingMethods, ...accountMethods },
});
