-- Sealed journals: when a run has ended, the audit log gets a commitment to its journal, many runs to an entry.

-- The place of a run among those that have ended, in the order of the audit log. Null: it ended before there were seals.
alter table workflow_runs_finished add column ended_xid xid8;
alter table workflow_runs_finished alter column ended_xid set default audit_xid();
create index workflow_runs_finished_ended on workflow_runs_finished (ended_xid, run_id) where ended_xid is not null;

-- How far the sealer has come: a row, locked by whoever seals.
create table journal_cursor (
  one boolean primary key default true check (one),
  last_xid xid8 not null default '0',
  last_run uuid not null default '00000000-0000-0000-0000-000000000000'
);
insert into journal_cursor default values;

-- What a seal was made of, so that a step that was changed can be named. Nothing here is believed: the entry has the root.
--   head     SHA-256 of the run's row, of its input, and of its result and error, 32 bytes each
--   members  per step, by seq: seq (4 bytes) and the SHA-256 of its row (32 bytes)
--   root     SHA-256("centaur journal 1\n" || head || members), in the entry
create table journal_seals (
  run_id uuid not null,
  attempt smallint not null,
  audit_id uuid not null,
  head bytea not null,
  members bytea not null,
  names text[] not null,
  primary key (run_id, attempt)
) partition by range (run_id);

create index audit_log_seals on audit_log (audit_id) where action = 'journal.seal';
