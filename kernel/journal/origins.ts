/** Who asked for a run: kept beside its row, in the statement that starts it, and told to the audit log with its end. */
import { binary } from '../store/index.ts';

interface Origin {
  readonly actor: string;
}

const companion = {
  sql: `origins as (insert into journal_origins (run_id, actor)
    select u.run_id, u.actor from unnest($::uuid[], $::text[]) u(run_id, actor) join started s on s.run_id = u.run_id)`,
  params: (rows: readonly { readonly runId: string; readonly row: Origin }[]) => [
    binary.uuidArray(rows.map(({ runId }) => runId)),
    binary.textArray(rows.map(({ row }) => row.actor)),
  ],
};

/** For `engine.start`: is there exactly when the run was started just now. */
export function originOf(actor: string): { readonly companion: typeof companion; readonly row: Origin } {
  return { companion, row: { actor } };
}
