-- Leases of single calls of tools: while one is open, the process that serves the tool for this principal may use its secrets.
-- A row is made in the transaction of the call's audit entry and goes with its answer; its audit entries stay.
create table tool_call_leases (
  call_id uuid primary key,
  -- of the tool's process: tool:<name>
  principal text not null,
  -- whose own accounts it uses, if it does
  on_behalf_of text,
  run_id uuid,
  thread_key text,
  trace_id uuid,
  -- when the call's time is up: what is left of a process that died
  expires_at timestamptz not null,
  audit_id uuid not null references audit_log
);
create index tool_call_leases_principal on tool_call_leases (principal);

-- tool: of a process that serves a tool's calls. Its placeholders count while a call is open.
alter table leases drop constraint leases_kind_check;
alter table leases add constraint leases_kind_check check (kind in ('run', 'call', 'step', 'tool'));
