/** One measurement: `child.ts` ENGINE MODULE, WORKLOAD, then tells its parent the figures. The database is in DATABASE_URL. */
import type { AdapterModule } from './adapter.ts';
import { runInterrupted } from './recovery.ts';
import { FULL, QUICK, WORKLOADS } from './workloads.ts';

const [, , engine = '', workload = '', size = 'full'] = process.argv;

process.on('disconnect', () => process.exit(1));
const { create } = (await import(engine)) as AdapterModule;
const adapter = await create(process.env['DATABASE_URL'] ?? '');
const measure = WORKLOADS[workload];
if (measure === undefined) await runInterrupted(adapter, workload === 'F-restart');
else process.send?.(await measure(adapter, size === 'quick' ? QUICK : FULL), () => process.exit(0));
