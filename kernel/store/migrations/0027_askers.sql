-- Who asks, where somebody whose word counts says so: the bot of the chat, or the person's own session. Whoever else names a user is
-- believed as before: it is shown, and grants nothing.
alter table agent_message_requests add column vouched boolean not null default false;
alter table agent_execution_requests
  add column vouched boolean not null default false,
  -- the principal of the channel that the turn was asked for in
  add column channel text;
alter table agent_execution_signals add column vouched boolean not null default false;

alter table leases
  -- principals whose grants count beside that of `principal`: of who asked for the turn, and of its channel
  add column besides text[] not null default '{}',
  -- who asked for the turn that goes on, by the account in the chat, and the user that it is; and its channel
  add column account text,
  add column user_name text,
  add column channel text;
create index leases_besides on leases using gin (besides) where revoked_at is null and besides <> '{}';
