-- Forks have a copy of what their origin did, and nothing but its seed to tell so: a legal hold on the origin keeps them, and its erasure takes them.
create index workflow_runs_seed on workflow_runs (seed) where seed is not null;
create index workflow_runs_finished_seed on workflow_runs_finished (seed) where seed is not null;

-- The runs, whatever they started, and what was forked from them, and so on. A run that was retried has its own id as its seed.
create or replace function runs_under(ids uuid[]) returns table (run_id uuid) language sql stable as $$
  with recursive under as (
    select unnest(ids) as id
    union
    select c.run_id from under join (
        select f.run_id, f.parent_run_id as origin from workflow_runs_finished f where f.parent_run_id is not null
        union all select r.run_id, r.parent_run_id from workflow_runs r where r.parent_run_id is not null
        union all select f.run_id, f.seed from workflow_runs_finished f where f.seed is not null
        union all select r.run_id, r.seed from workflow_runs r where r.seed is not null) c
      on c.origin = under.id)
  select id from under
$$;
