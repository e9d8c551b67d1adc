-- Data care: what must not be deleted, and what is being erased.
--
-- A subject is `thread:<key>` or `user:<name>`; a user's name is what messages and turns have as their `user_id`.

-- While a hold stands, retention and erasure leave alone what is of its subject, and no part of the audit log is dropped.
create table data_holds (
  hold_id uuid primary key,
  subject text not null,
  reason text not null,
  created_by text not null,
  created_at timestamptz not null default now(),
  audit_id uuid not null references audit_log,
  released_at timestamptz,
  released_audit_id uuid references audit_log
);
create index data_holds_live on data_holds (subject) where released_at is null;

-- Jobs: whoever finds one that runs, and that nobody works at, goes on with it. What was erased is only counted.
create table data_erasures (
  erasure_id uuid primary key,
  subject text not null,
  state text not null default 'running' check (state in ('running', 'done')),
  counts json not null default '{}',
  -- why it does not go on for now
  problem text,
  requested_by text not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  finished_at timestamptz,
  audit_id uuid not null references audit_log
);
create unique index data_erasures_running on data_erasures (subject) where state = 'running';

-- An export of the whole audit log that was read to its end: up to which batch.
create table audit_exports (
  export_id uuid primary key,
  last_batch bigint not null,
  exported_at timestamptz not null default now(),
  audit_id uuid not null references audit_log
);

-- Who has a word in a thread.
create index agent_message_requests_user on agent_message_requests (user_id, thread_key) where user_id is not null;
create index agent_execution_requests_user on agent_execution_requests (user_id, thread_key) where user_id is not null;
create index agent_execution_signals_user on agent_execution_signals (user_id, thread_key) where user_id is not null;
create index agent_execution_requests_run on agent_execution_requests (run_id) where run_id is not null;

-- Shared by whatever deletes, until its transaction ends; whoever places a hold takes the same lock alone. So what was held a
-- moment ago is not deleted a moment later.
create function lock_holds() returns void language sql volatile as $$ select pg_advisory_xact_lock_shared(7226031) $$;

create view held_threads as
  select substr(h.subject, 8) as thread_key from data_holds h where h.released_at is null and h.subject like 'thread:%'
  union
  select m.thread_key from data_holds h join agent_message_requests m on m.user_id = substr(h.subject, 6)
    where h.released_at is null and h.subject like 'user:%'
  union
  select e.thread_key from data_holds h join agent_execution_requests e on e.user_id = substr(h.subject, 6)
    where h.released_at is null and h.subject like 'user:%'
  union
  select s.thread_key from data_holds h join agent_execution_signals s on s.user_id = substr(h.subject, 6)
    where h.released_at is null and h.subject like 'user:%';

-- Whoever acted in such threads, and whom a hold names.
create view held_principals as
  select 'thread:' || thread_key as principal from held_threads
  union select 'thread:sha256-' || encode(sha256(convert_to(thread_key, 'UTF8')), 'hex') from held_threads
  union select subject from data_holds where released_at is null;

-- The runs, and whatever they started, and so on.
create index workflow_runs_finished_parent on workflow_runs_finished (parent_run_id) where parent_run_id is not null;
create function runs_under(ids uuid[]) returns table (run_id uuid) language sql stable as $$
  with recursive under as (
    select unnest(ids) as id
    union
    select c.run_id from under join (
        select f.run_id, f.parent_run_id from workflow_runs_finished f where f.parent_run_id is not null
        union all select r.run_id, r.parent_run_id from workflow_runs r where r.parent_run_id is not null) c
      on c.parent_run_id = under.id)
  select id from under
$$;

-- Runs of turns of such threads, and those that asked for such turns, with all that these started.
create view held_runs as
  select u.run_id from runs_under(array(
    select e.run_id from held_threads t join agent_execution_requests e using (thread_key) where e.run_id is not null
    union
    select e.asked_by from held_threads t join agent_execution_requests e using (thread_key) where e.asked_by is not null)) u;

-- Which runs were erased: so that those who verify the journals know why one is not there.
create index audit_log_erased_runs on audit_log (audit_id) where action = 'data.erase_runs';
