-- The durable engine.
--
-- A run lives in workflow_runs while it is unfinished and moves to workflow_runs_finished when it ends, in the
-- statement that ends it. So the hot table and its indexes are as large as the live work, never as the past.
-- Finished runs, steps, attempts and events are partitioned by week on the time inside their UUIDv7 keys;
-- retention drops partitions. Every key begins with the run's id, and no foreign key crosses tables: a foreign
-- key would lock a row per step, and the same schema distributes by run id.
--
-- Status letters: q queued, r running (owned by a worker), s sleeping until wake_at, w waiting (wake_at is its
-- deadline, if it has one), x stuck;
-- and when finished: c completed, f failed, n cancelled.

-- One row per life of a worker process; an id is never used again. `dead` is the fence: every write of a worker
-- first takes a share lock on its own live row, and a takeover sets dead before it touches the runs.
create table workers (
  worker_id int generated always as identity primary key,
  dead boolean not null default false,
  lease_until timestamptz not null,
  -- pg_postmaster_start_time() at the moment its session lock was taken; null while it holds none
  session_epoch timestamptz,
  host text not null,
  pid int not null,
  started_at timestamptz not null default now(),
  ended_at timestamptz
) with (fillfactor = 50);

create table workflow_runs (
  run_id uuid primary key,
  workflow_name text not null,
  workflow_version text,
  status "char" not null,
  owner int,
  queue text not null default 'default',
  priority smallint not null default 0,
  concurrency_key text,
  -- place in the queue: runs are claimed by priority, then turn, then age. Keyed runs get a turn each behind
  -- their key's last one, so a key with a long backlog does not hold up the others
  turn bigint not null default 0,
  wake_at timestamptz,
  -- set when some run waits for this one; its end then looks for waits to wake
  watched boolean not null default false,
  attempt smallint not null default 1,
  recoveries smallint not null default 0,
  recovered_steps int not null default 0,
  parent_run_id uuid,
  trace_id uuid,
  -- what random() and uuid() are drawn from; a fork keeps its origin's
  seed uuid,
  trigger_key text,
  input json,
  error json,
  created_at timestamptz not null default now(),
  started_at timestamptz
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000,
        autovacuum_analyze_scale_factor = 0.05);

create index workflow_runs_ready on workflow_runs (queue, priority desc, turn, run_id) where status = 'q';
create index workflow_runs_timers on workflow_runs (wake_at) where status in ('s', 'w');
create index workflow_runs_owner on workflow_runs (owner) where owner is not null;
create index workflow_runs_parent on workflow_runs (parent_run_id) where parent_run_id is not null;
create index workflow_runs_keys on workflow_runs (queue, concurrency_key)
  where concurrency_key is not null and started_at is not null;

create table workflow_runs_finished (
  run_id uuid not null,
  workflow_name text not null,
  workflow_version text,
  status "char" not null,
  queue text not null,
  priority smallint not null,
  concurrency_key text,
  attempt smallint not null,
  parent_run_id uuid,
  trace_id uuid,
  seed uuid,
  trigger_key text,
  input json,
  result json,
  error json,
  created_at timestamptz not null,
  started_at timestamptz,
  ended_at timestamptz not null default now(),
  primary key (run_id)
) partition by range (run_id);
create index workflow_runs_finished_name on workflow_runs_finished (workflow_name, run_id);

-- A step's row is written when its outcome is known (one insert), or earlier when it parks: sleeps, waits and
-- retry delays are inserted as pending ('p') and updated once. Kinds: s step, t transaction, z sleep,
-- e event, c child start, w child wait, p patch. Status: p pending, o ok, e error, t timed out.
-- seq is the order in which the handler called; ord the order in which outcomes were handed to it. A replay hands
-- them out in ord order, one at a time, so Promise.race and interleaved branches run as they did.
create table workflow_steps (
  run_id uuid not null,
  seq int not null,
  ord int,
  attempt smallint not null default 1,
  attempts smallint not null default 1,
  kind "char" not null default 's',
  status "char" not null default 'o',
  name text not null,
  -- the result, or {code, message, name} of an error
  outcome json,
  -- of a parked step: what it waits for
  detail json,
  wake_at timestamptz,
  started_at timestamptz not null,
  ended_at timestamptz,
  primary key (run_id, seq)
) partition by range (run_id);

-- The attempts of a run that was retried; the current attempt is in the run's own row.
create table workflow_attempts (
  run_id uuid not null,
  attempt smallint not null,
  error json,
  started_at timestamptz,
  ended_at timestamptz not null default now(),
  primary key (run_id, attempt)
) partition by range (run_id);

create table workflow_events (
  event_id uuid not null,
  event_type text not null,
  correlation_id text not null,
  payload json,
  created_at timestamptz not null default now(),
  primary key (correlation_id, event_type, event_id)
) partition by range (event_id);

-- A claim of a run on an event, or on another run's end (event_type '$run', correlation_id that run's id).
create table workflow_waits (
  run_id uuid not null,
  seq int not null,
  event_type text not null,
  correlation_id text not null,
  primary key (run_id, seq)
) with (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);
create index workflow_waits_event on workflow_waits (correlation_id, event_type);

-- Trigger keys are unique per workflow for as long as the run they started is kept.
create table workflow_triggers (
  workflow_name text not null,
  trigger_key text not null,
  run_id uuid not null,
  input_hash bytea not null,
  created_at timestamptz not null default now(),
  primary key (workflow_name, trigger_key)
);
create index workflow_triggers_age on workflow_triggers (created_at);

-- Limits of a queue; a queue without a row has none. `turn` is the turn of the keyed run claimed last.
create table workflow_queues (
  name text primary key,
  concurrency int check (concurrency > 0),
  concurrency_per_key int check (concurrency_per_key > 0),
  rate_limit int check (rate_limit between 1 and 10000),
  rate_period_ms int check (rate_period_ms > 0),
  -- start times inside the last period, oldest first
  rate_starts timestamptz[] not null default '{}',
  turn bigint not null default 0,
  updated_at timestamptz not null default now()
) with (fillfactor = 50);

create table workflow_flows (
  queue text not null,
  concurrency_key text not null,
  turn bigint not null,
  primary key (queue, concurrency_key)
) with (fillfactor = 70);

create table workflow_schedules (
  schedule_id text primary key,
  workflow_name text not null,
  spec json not null,
  enabled boolean not null default true,
  next_at timestamptz,
  last_at timestamptz,
  last_run_id uuid,
  -- ticks passed over because the previous run was unfinished or the catch-up limit was reached
  skipped int not null default 0,
  updated_at timestamptz not null default now()
);
create index workflow_schedules_due on workflow_schedules (next_at) where enabled;

create table api_keys (
  key_id text primary key,
  name text not null,
  hash bytea not null,
  scopes text[] not null,
  created_at timestamptz not null default now(),
  last_used_at timestamptz,
  revoked_at timestamptz
);
