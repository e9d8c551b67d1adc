-- OAuth apps: as whom this installation is known at a provider. All of it is sealed, with the client's secret: whoever writes to the
-- database must not decide where codes and tokens are sent.
create table oauth_apps (
  name text primary key,
  ciphertext bytea not null,
  wrapped_key bytea not null,
  kek_id text not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  audit_id uuid not null references audit_log
);

-- Accounts that are connected by an app, or are being connected. Their tokens are values of secrets.
create table oauth_connections (
  connection_id uuid primary key,
  app text not null,
  -- whose account it is; null: everybody's
  user_name text,
  flow text not null check (flow in ('code', 'device')),
  -- failed: it was not connected; broken: it was, and the provider refuses its tokens now; replaced: by a later one of the same user
  status text not null default 'pending' check (status in ('pending', 'connected', 'broken', 'failed', 'revoked', 'replaced')),
  -- a code that says why it failed or broke
  reason text,
  secret text not null,
  -- those that were given
  scopes json not null default '[]',
  -- when an access token ends that cannot be refreshed
  token_ends_at timestamptz,
  -- of the code flow; null once it was used
  state_hash bytea unique,
  -- while it is pending: what proves that we began it, or the device's code
  ciphertext bytea,
  wrapped_key bytea,
  kek_id text,
  interval_seconds int,
  next_poll_at timestamptz,
  -- of the attempt to connect
  expires_at timestamptz not null,
  created_by text not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  audit_id uuid not null references audit_log
);
create unique index oauth_connections_live on oauth_connections (app, coalesce(user_name, '')) where status in ('connected', 'broken');
create index oauth_connections_polled on oauth_connections (next_poll_at) where status = 'pending' and flow = 'device';
create index oauth_connections_age on oauth_connections (created_at);

-- Who said it: a turn in which two users have a word is neither's.
alter table agent_execution_signals add column user_id text;

-- Of a tool's process that serves the calls of one user: their grants count besides those of the tool.
alter table leases add column on_behalf_of text;
