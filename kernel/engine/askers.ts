/** Who has a part in what a run does, beside whoever started it. Only people: nobody else is ever excluded from a vote. */
import { binary, type Queryable } from '../store/index.ts';
import type { Companion } from './types.ts';

const isPerson = (actor: string | null): actor is string => actor?.startsWith('user:') === true;

export async function addAsker(on: Queryable, runId: string, by: string | null): Promise<void> {
  if (isPerson(by)) await on.query('insert into run_askers (run_id, actor) values ($1, $2) on conflict do nothing', [runId, by]);
}

/** Everybody who has a part in one run has it in the other one, which need not be found by then from the first. */
export async function passAskers(on: Queryable, from: string, to: string): Promise<void> {
  await on.query('insert into run_askers (run_id, actor) select $2, actor from people_of_runs(array[$1::uuid]) on conflict do nothing', [
    from,
    to,
  ]);
}

/** The same with the start of a run. A row is the run that they are of. */
export const ASKERS: Companion<string> = {
  sql: `asked as (insert into run_askers (run_id, actor)
    select u.run_id, p.actor from unnest($::uuid[], $::uuid[]) u (run_id, asking) join started on started.run_id = u.run_id
    cross join lateral people_of_runs(array[u.asking]) p on conflict do nothing)`,
  params: (rows) => [binary.uuidArray(rows.map(({ runId }) => runId)), binary.uuidArray(rows.map(({ row }) => row))],
};

/** Before runs go by their age: what is alive and found from one of them only keeps those who had a part in it. */
export async function keepAskersOfLive(on: Queryable): Promise<void> {
  await on.query(
    `insert into run_askers (run_id, actor)
     select r.run_id, a.actor from run_askers a cross join lateral runs_under(array[a.run_id]) u join workflow_runs r on r.run_id = u.run_id
     on conflict do nothing`,
  );
}

/** Of runs that are gone. */
export async function dropAskers(on: Queryable, most: number): Promise<void> {
  await on.query(
    `delete from run_askers where ctid = any(array(
       select a.ctid from run_askers a where not exists (select from workflow_runs r where r.run_id = a.run_id)
         and not exists (select from workflow_runs_finished f where f.run_id = a.run_id) limit $1))`,
    [most],
  );
}
