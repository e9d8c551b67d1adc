-- Threads: conversations, the turns that agents take in them, and what is told of those turns.
--
-- A thread's row in sandbox_sessions carries its counters. Whoever appends an event, accepts a message or makes an
-- assignment holds that row's lock until it commits: so ids are without gaps, and become visible in their order. A reader
-- that asks for what follows the last id it saw gets exactly that.

create table sandbox_sessions (
  thread_key text primary key check (octet_length(thread_key) between 1 and 512),
  last_event bigint not null default 0,
  last_message bigint not null default 0,
  last_generation bigint not null default 0,
  title text,
  trace_id uuid not null,
  -- none, creating, running, idle, lost
  state text not null default 'none',
  sandbox_id text,
  backend text,
  -- of a local sandbox: the machine on which it is
  host text,
  harness text,
  -- the harness's own name of its session
  agent_thread_id text,
  -- how much of the sandbox's output is stored as events, in bytes
  log_offset bigint not null default 0,
  -- the last batch of events that a turn appended: tells whether a broken commit had happened
  last_append uuid,
  last_used_at timestamptz not null default now(),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
) with (fillfactor = 50);
create index sandbox_sessions_recent on sandbox_sessions (last_used_at desc, thread_key);
create index sandbox_sessions_sandbox on sandbox_sessions (host, state) where sandbox_id is not null;

create table agent_runtime_assignments (
  thread_key text not null,
  assignment_generation bigint not null,
  runtime_id uuid not null,
  harness text not null,
  engine text,
  persona_id text,
  prompt_ref text not null,
  effective_agents_md_sha256 text,
  agents_md_override text,
  state text not null default 'active',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  released_at timestamptz,
  primary key (thread_key, assignment_generation)
);
create unique index agent_runtime_assignments_active on agent_runtime_assignments (thread_key) where state = 'active';

-- Answers to spawn and release that carried an id: a second request with that id gets the first one's.
create table agent_requests (
  thread_key text not null,
  kind text not null,
  request_id text not null,
  request_hash bytea not null,
  response json not null,
  created_at timestamptz not null default now(),
  primary key (thread_key, kind, request_id)
);

create table agent_message_requests (
  thread_key text not null,
  message_id text not null,
  position bigint not null,
  assignment_generation bigint not null,
  role text not null,
  -- with attachment_ref in the place of what was large
  parts json not null,
  user_id text,
  metadata json,
  request_hash bytea not null,
  -- the turn that it is input of
  delivered_execution_id uuid,
  created_at timestamptz not null default now(),
  primary key (thread_key, message_id)
);
create unique index agent_message_requests_order on agent_message_requests (thread_key, position);
create index agent_message_requests_waiting on agent_message_requests (thread_key, position) where delivered_execution_id is null;

create table attachments (
  thread_key text not null,
  attachment_id uuid not null,
  message_id text,
  execution_id uuid,
  name text not null,
  mime_type text not null,
  size bigint not null,
  sha256 bytea not null,
  data bytea not null,
  created_at timestamptz not null default now(),
  primary key (thread_key, attachment_id)
);
-- images and archives are packed already
alter table attachments alter column data set storage external;
create index attachments_id on attachments (attachment_id);

-- A turn. The engine runs it: run_id is its run, which queues, is claimed, fenced and taken over like any other.
create table agent_execution_requests (
  thread_key text not null,
  execution_id uuid not null,
  assignment_generation bigint not null,
  execute_id text not null,
  request_hash bytea not null,
  run_id uuid,
  -- queued, running, cancel_requested; completed, failed_permanent, cancelled
  status text not null default 'queued',
  harness text not null,
  persona_id text,
  model text,
  effort text,
  platform text not null,
  delivery json not null,
  metadata json not null,
  user_id text,
  terminal_reason text,
  result_text text,
  result_json json,
  error_text text,
  usage json,
  created_at timestamptz not null default now(),
  started_at timestamptz,
  completed_at timestamptz,
  updated_at timestamptz not null default now(),
  primary key (thread_key, execution_id)
) with (fillfactor = 80);
create unique index agent_execution_requests_key on agent_execution_requests (thread_key, execute_id);
create index agent_execution_requests_id on agent_execution_requests (execution_id);
create index agent_execution_requests_order on agent_execution_requests (thread_key, created_at, execution_id);
-- turns whose start was cut off between two commits
create index agent_execution_requests_unstarted on agent_execution_requests (created_at) where run_id is null and status = 'queued';

create table agent_execution_events (
  thread_key text not null,
  event_id bigint not null,
  execution_id uuid,
  event_kind text not null,
  event_json json not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (thread_key, event_id)
);

-- Final answers that somebody is owed. A consumer claims with a lease, and says that it has delivered.
create table agent_final_delivery_outbox (
  thread_key text not null,
  execution_id uuid not null,
  platform text not null,
  delivery json not null,
  -- pending, sending, retry_wait; delivered, dead_letter
  state text not null default 'pending',
  final_payload json not null,
  attempt_count int not null default 0,
  last_attempt_at timestamptz,
  lease_owner text,
  lease_expires_at timestamptz,
  next_attempt_at timestamptz not null default now(),
  last_error text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  delivered_at timestamptz,
  primary key (thread_key, execution_id)
) with (fillfactor = 80);
create index agent_final_delivery_outbox_due on agent_final_delivery_outbox (platform, next_attempt_at)
  where state in ('pending', 'sending', 'retry_wait');
create index agent_final_delivery_outbox_id on agent_final_delivery_outbox (execution_id);

-- What a harness needs to go on in a fresh sandbox, as it was after the last turn.
create table session_snapshots (
  thread_key text primary key,
  harness text not null,
  agent_thread_id text not null,
  execution_id uuid not null,
  -- zstd of a tar
  data bytea not null,
  sha256 bytea not null,
  created_at timestamptz not null default now()
);
alter table session_snapshots alter column data set storage external;

-- What is said to a running turn: more input, answers to its questions. Whoever runs it reads them in order.
create table agent_execution_signals (
  thread_key text not null,
  execution_id uuid not null,
  signal_id text not null,
  position bigint generated always as identity,
  kind text not null,
  body json not null,
  request_hash bytea not null,
  created_at timestamptz not null default now(),
  primary key (thread_key, execution_id, signal_id)
);
