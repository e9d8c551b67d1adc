/** The audit log, sealed and signed to its end. */
import type { Sealer } from '../../kernel/audit/index.ts';
import type { Queryable } from '../../kernel/store/index.ts';
import { eventually } from './wait.ts';

/**
 * Transactions of other tests, in other databases of the server, hold a seal back: only when they are over does one take all
 * that is there. It comes last because a checkpoint signs what is sealed when it is made; a sealer in the background may
 * take what was held back without signing it, for a minute.
 */
export async function sealAll({ store, sealer }: { readonly store: Queryable; readonly sealer: Pick<Sealer, 'seal'> }): Promise<void> {
  await eventually(
    async () => {
      const { rows } = await store.query<{ held: boolean }>('select exists (select from audit_log a where a.xid >= audit_xmin()) as held');
      return rows[0]?.held === false;
    },
    { what: 'the transactions of other tests' },
  );
  await sealer.seal();
}
