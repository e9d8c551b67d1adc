-- People who have a part in what a run does, beside whoever started it: who retried it, who asked for it again under its trigger key,
-- and of a fork those who had a part in what it is a fork of.
create table run_askers (
  run_id uuid,
  -- user:<name>: only people vote
  actor text,
  primary key (run_id, actor)
);
create index run_askers_actor on run_askers (actor);

-- Of the runs, of those that started them, and of the runs that they are forks of.
create function people_of_runs(ids uuid[]) returns table (actor text, started boolean) language sql stable as $$
  with recursive up (id) as (
    select unnest(ids)
    union
    select p.id from up cross join lateral (
      select unnest(array[r.parent_run_id, r.seed]) from workflow_runs r where r.run_id = up.id
      union all select unnest(array[f.parent_run_id, f.seed]) from workflow_runs_finished f where f.run_id = up.id) p (id)
    where p.id is not null)
  select p.actor, bool_or(p.started) from up cross join lateral (
    select r.started_by, true from workflow_runs r where r.run_id = up.id
    union all select f.started_by, true from workflow_runs_finished f where f.run_id = up.id
    union all select a.actor, false from run_askers a where a.run_id = up.id) p (actor, started)
  where p.actor like 'user:%' group by p.actor
$$;
