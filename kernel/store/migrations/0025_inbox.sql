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
create index agent_inbox_open on agent_inbox (platform, conversation, position) include (event_id)
  where state in ('pending', 'claimed', 'retry_wait');
create index agent_inbox_conversation on agent_inbox (conversation);
create unique index agent_inbox_position on agent_inbox (position);
create index agent_inbox_over on agent_inbox (settled_at) where settled_at is not null;

-- Whoever shows a turn while it runs claims its answer from the beginning: `live` until there is one. What a consumer has noted of how
-- far it has come with showing it is for the next one.
alter table agent_final_delivery_outbox add column progress json;
create index agent_final_delivery_outbox_claim on agent_final_delivery_outbox (platform, next_attempt_at)
  where state in ('live', 'pending', 'sending', 'retry_wait');

-- A process of the release before ends a turn by an insert, and knows nothing of rows that are live: it takes the place of one.
create function agent_final_delivery_over_live() returns trigger language plpgsql as $$
declare live agent_final_delivery_outbox;
begin
  delete from agent_final_delivery_outbox where thread_key = new.thread_key and execution_id = new.execution_id and state = 'live'
    returning * into live;
  if found then
    new.progress := live.progress;
    if live.lease_expires_at > now() then
      new.state := 'sending';
      new.lease_owner := live.lease_owner;
      new.lease_expires_at := live.lease_expires_at;
      new.attempt_count := 1;
    end if;
  end if;
  return new;
end $$;
create trigger agent_final_delivery_over_live before insert on agent_final_delivery_outbox
  for each row when (new.state <> 'live') execute function agent_final_delivery_over_live();
