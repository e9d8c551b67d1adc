-- The run of the workflow that asked for a turn: cancelled, it takes the turn with it.
alter table agent_execution_requests add column asked_by uuid;
create index agent_execution_requests_asked_by on agent_execution_requests (asked_by)
  where asked_by is not null and status in ('queued', 'running');
