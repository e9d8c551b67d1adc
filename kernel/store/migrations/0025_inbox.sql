-- What chat services have said, until somebody has acted on it. It is stored before the service is answered, so nothing depends on
-- the process that heard it. Events of one conversation are handed out one at a time, in the order in which they came.
create table agent_inbox (
  platform text not null,
  -- the service's own: one that is sent again is the same
  event_id text not null,
  conversation text not null,
  position bigint generated always as identity,
  -- null once it was acted on
  body json,
  -- pending, claimed, retry_wait; done, dead_letter
  state text not null default 'pending',
  attempt_count int not null default 0,
  lease_owner text,
  lease_expires_at timestamptz,
  next_attempt_at timestamptz not null default now(),
  last_error text,
  received_at timestamptz not null default now(),
  settled_at timestamptz,
  primary key (platform, event_id)
) with (fillfactor = 80);
create index agent_inbox_open on agent_inbox (platform, conversation, position) where state in ('pending', 'claimed', 'retry_wait');
create index agent_inbox_conversation on agent_inbox (conversation);
create index agent_inbox_over on agent_inbox (settled_at) where settled_at is not null;

-- Whoever shows a turn while it runs claims its answer from the beginning: `live` until there is one.
create index agent_final_delivery_outbox_live on agent_final_delivery_outbox (platform, created_at) where state = 'live';
-- What a consumer has noted of how far it has come with showing it, for the next one.
alter table agent_final_delivery_outbox add column progress json;
