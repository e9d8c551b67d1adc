-- Traces: one id through a whole task. Spans are not stored: they are read from the rows that are there anyway. This adds what finds those
-- rows by their trace, and the little that was said nowhere.

-- A run that began its own trace has no trace_id: its trace is its run_id. So most runs are in neither index.
create index workflow_runs_trace on workflow_runs (trace_id, run_id) where trace_id is not null;
create index workflow_runs_finished_trace on workflow_runs_finished (trace_id, run_id) where trace_id is not null;
-- rows come in the order of their ends, so a few bytes for many pages find the latest
create index workflow_runs_finished_end on workflow_runs_finished using brin (ended_at) with (pages_per_range = 16, autosummarize = on);
-- Building it blocks appending, and so every credentialed request, for some seconds per million entries.
create index audit_log_trace on audit_log (trace_id, audit_id) where trace_id is not null;

-- Whose task a turn is part of: of the request, of the workflow that asked, or its own.
alter table agent_execution_requests add column trace_id uuid;
create index agent_execution_requests_trace on agent_execution_requests (trace_id) where trace_id is not null;

-- Runs that were taken over from a worker that died.
create table workflow_takeovers (
  run_id uuid not null,
  taken_at timestamptz not null default now(),
  -- the one that died
  worker_id int not null,
  primary key (run_id, taken_at)
);
create index workflow_takeovers_age on workflow_takeovers (taken_at);

-- How far traces have been exported: the end of the last run, and the place of the last audit entry, that a receiver has taken.
create table trace_exports (
  name text primary key,
  ended_at timestamptz not null,
  run_id uuid not null,
  audit_xid xid8 not null,
  audit_id uuid not null,
  updated_at timestamptz not null default now()
);
