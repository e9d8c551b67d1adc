-- Approvals are decided by people: votes, what a gate asked of them when the question was asked, edits, and what one of them lets
-- through for a while. A later policy changes no question that is already there.
alter table approvals drop constraint approvals_state_check;
alter table approvals add constraint approvals_state_check
  check (state in ('pending', 'approved', 'denied', 'expired', 'cancelled', 'consumed'));

alter table approvals
  -- changes with every vote, edit and decision
  add column version int not null default 1,
  add column kind text not null default 'other',
  add column risk text,
  -- the gate as it was when it was asked; what was asked before there were votes is asked of the default gate
  add column terms json not null default '{"quorum":1,"approvers":[],"exclude":[],"expiresMs":86400000,"onExpiry":"deny","editable":[],"useByMs":900000,"pendingMost":10}',
  -- the thread, else the run, else the principal: what has too many questions open asks no more
  add column scope text not null default '',
  add column thread_key text,
  -- whose words, runs and rules it comes from, for the separation of duties
  add column people json not null default '{}',
  -- of a call: the request as the policy sees it and what the digest is made of, both without the arguments
  add column subject json,
  add column args json,
  -- paths of arguments that are shown to nobody
  add column sensitive json not null default '[]',
  -- SHA-256 of what was asked with the arguments that a person put in place of the caller's; `digest` stays what the caller asks with
  add column edited_args json,
  add column edited_digest bytea,
  add column edited_by text,
  -- how often the same was asked while it waited
  add column asked int not null default 1,
  add column asked_at timestamptz not null default now(),
  -- from here on those of the escalation may vote, too
  add column escalate_at timestamptz,
  add column escalated_audit_id uuid references audit_log,
  -- what is approved and not used by then is over
  add column use_by timestamptz,
  add column overridden boolean not null default false;

update approvals set use_by = decided_at + interval '15 minutes' where state = 'approved';

create index approvals_scope on approvals (scope) where state = 'pending';
create index approvals_late on approvals (expires_at) where state = 'pending';
create index approvals_escalating on approvals (escalate_at) where state = 'pending' and escalated_audit_id is null;
create index approvals_unused on approvals (use_by) where state = 'approved';

create table approval_votes (
  approval_id uuid not null references approvals,
  -- name of the user
  voter text not null,
  verdict text not null check (verdict in ('approve', 'deny', 'abstain')),
  -- of what was voted on: a vote on what was edited since does not count
  digest bytea not null,
  reason text,
  channel text not null check (channel in ('api', 'cli', 'console', 'slack')),
  -- what the voter wants to let through besides: {for, fields}
  sticky json,
  -- cast before somebody edited what is asked for: it counts no more, even if it is edited back
  void boolean not null default false,
  at timestamptz not null default now(),
  audit_id uuid not null references audit_log,
  primary key (approval_id, voter)
);

-- What a person lets through for a while without being asked again: one tool, for one caller, with these arguments.
create table approval_grants (
  grant_id uuid primary key,
  approval_id uuid not null references approvals,
  -- SHA-256 of all that an approval is bound to but the arguments: principal, tool, method, risk, user
  bound bytea not null,
  -- SHA-256 of rule, gate and what the gate asks: another gate asks anew
  terms bytea not null,
  tool text not null,
  principal text not null,
  -- of one thread or one run; neither: of any of the principal's calls
  thread_key text,
  run_id uuid,
  -- SHA-256 of all arguments, or of the named ones
  fields json,
  args bytea not null,
  granted_by text not null,
  reason text,
  used int not null default 0,
  last_used_at timestamptz,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  revoked_at timestamptz,
  revoked_by text,
  audit_id uuid not null references audit_log,
  revoked_audit_id uuid references audit_log
);
create index approval_grants_bound on approval_grants (bound) where revoked_at is null;

-- What a person changed in the arguments of a call: whoever asks again under its key hears the same.
alter table tool_calls add column edited json;
