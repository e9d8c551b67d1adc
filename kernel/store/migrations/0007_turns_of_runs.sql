-- The run of the workflow that asked for a turn: cancelled, it takes the turn with it.
alter table agent_execution_requests add column asked_by uuid;
create index agent_execution_requests_asked_by on agent_execution_requests (asked_by)
  where asked_by is not null and status in ('queued', 'running');

-- Questions of a turn end with it, and each is looked for by what it is about.
create index approvals_waiting on approvals (run_id) where state = 'pending' and lease_id is null;
create index approvals_digest on approvals (digest, approval_id);
