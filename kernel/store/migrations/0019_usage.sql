-- What models were asked for and what that cost, by turn. Written with the end of the turn, so a turn is in it once. Money is in
-- millionths of the currency that the prices are in.
create table usage (
  execution_id uuid not null,
  model text not null,
  thread_key text not null,
  harness text not null,
  -- of the run that asked for the turn
  workflow text,
  user_id text,
  input bigint not null,
  output bigint not null,
  cache_read bigint not null,
  cache_write bigint not null,
  -- as part of the output
  reasoning bigint not null,
  -- null: the model had no price
  cost_micros bigint,
  -- what the harness says that it cost; nothing is decided by it
  estimate_micros bigint,
  at timestamptz not null default now(),
  primary key (execution_id, model)
);
create index usage_at on usage (at);
create index usage_thread on usage (thread_key, at);
create index usage_unpriced on usage (at) where cost_micros is null;

-- The sums of it, by day of UTC: what budgets and figures read, whatever the number of turns.
create table usage_days (
  dimension text not null check (dimension in ('all', 'thread', 'workflow', 'user', 'model')),
  -- empty: of none; of "all", always
  key text not null,
  day date not null,
  turns int not null,
  input bigint not null,
  output bigint not null,
  cache_read bigint not null,
  cache_write bigint not null,
  reasoning bigint not null,
  cost_micros bigint not null,
  -- tokens of models without a price, which the cost lacks
  unpriced bigint not null,
  primary key (dimension, key, day)
) with (fillfactor = 50);
create index usage_days_day on usage_days (dimension, day);

-- What a turn's harness said about models: few of a turn's events.
create index agent_execution_events_usage on agent_execution_events (thread_key, execution_id) where event_kind = 'usage';
create index agent_execution_events_session on agent_execution_events (thread_key, event_id) where event_kind = 'session';

-- Answers that nobody got: few.
create index agent_final_delivery_outbox_dead on agent_final_delivery_outbox (updated_at) where state = 'dead_letter';

-- How long people took lately.
create index approvals_decided on approvals (decided_at) where decided_at is not null;

-- Texts that are not in force, and may never be.
create table policy_drafts (
  name text primary key,
  source text not null,
  digest bytea not null,
  author text not null,
  message text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  audit_id uuid not null references audit_log
);
