/** A process that prices what was used in DATABASE_URL: to be killed. */
import { connectStore } from '../../kernel/store/index.ts';
import { priceLate } from '../../kernel/usage/index.ts';

const store = await connectStore({ url: process.env['DATABASE_URL'] as string });
const price = { input: 1_000_000, output: 1_000_000, cacheRead: 1_000_000, cacheWrite: 1_000_000 };
console.log('started');
await priceLate(store, [{ model: 'paid', price }]);
await store.close();
