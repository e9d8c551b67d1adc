/** A worker process of the fault suite: it registers the workload, works, and tells the witness of every step it executes. */
import { connectStore } from '../../kernel/store/index.ts';
import { createEngine } from '../../kernel/engine/index.ts';
import { createRegistry } from '../support/registry.ts';
import { defineWorkload } from './workload.ts';

// a wall clock that jumps by up to an hour at any moment: nothing in the engine may lean on it
if (process.env.FAULT_CLOCK === 'jumps') {
  const real = Date.now.bind(Date);
  let offset = 0;
  setInterval(() => {
    offset = (Math.random() - 0.5) * 7_200_000;
  }, 37).unref();
  Date.now = () => real() + offset;
}

const registry = createRegistry();
defineWorkload(registry, process.env.FAULT_WITNESS as string);
const store = await connectStore({ url: process.env.DATABASE_URL as string, poolSize: 4, log: () => {} });
const engine = await createEngine({
  store,
  registry,
  leaseMs: Number(process.env.FAULT_LEASE_MS),
  residentMs: 20,
  log(entry) {
    if (entry.level === 'error') console.error(JSON.stringify(entry));
  },
});
await engine.work();
process.send?.('up');
