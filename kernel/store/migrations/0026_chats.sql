-- Who in a chat is whom: an account at a chat service, and the user whose it is.
create table chat_links (
  platform text not null,
  team text not null,
  external_user text not null,
  user_id uuid not null references users,
  display_name text,
  -- code: whoever holds the account has brought what the user was given; admin: an admin says so
  how text not null check (how in ('code', 'admin')),
  linked_by text not null,
  created_at timestamptz not null default now(),
  audit_id uuid not null references audit_log,
  primary key (platform, team, external_user)
);
create index chat_links_user on chat_links (user_id);
-- as questions have it of whose words they come from
create index chat_links_account on chat_links (lower(platform || ':' || team || ':' || external_user));

-- Codes by which people link themselves: a MAC of each, under a key that is not in the database. One that was used is gone.
create table chat_link_codes (
  code_mac bytea primary key,
  user_id uuid not null references users,
  platform text not null,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null
);
create index chat_link_codes_user on chat_link_codes (user_id);
create index chat_link_codes_age on chat_link_codes (expires_at);

-- Clicks that were counted, by the SHA-256 of what the service signed them with: one that comes again changes nothing. Kept a little
-- longer than a signature is good.
create table chat_interactions (
  signature bytea primary key,
  approval_id uuid not null references approvals on delete cascade,
  account text not null,
  -- to the second, by the service: one that was made before another that was counted comes too late
  made_at timestamptz not null,
  at timestamptz not null default now()
);
create index chat_interactions_age on chat_interactions (at);
create index chat_interactions_approval on chat_interactions (approval_id, account);

-- Platforms whose bots show approvals: of one that nobody has ever claimed for, nothing is written below.
create table chat_platforms (
  platform text primary key,
  -- what was decided before then is old
  since timestamptz not null default now(),
  -- up to when approvals have been looked through for those that were not seen yet
  looked_at timestamptz not null default now()
);

-- Which version of an approval is shown on a platform, and where.
create table chat_notices (
  approval_id uuid not null references approvals on delete cascade,
  platform text not null references chat_platforms,
  -- 0: none yet
  shown_version int not null default 0,
  -- the bot's own: where it is shown
  ref json,
  -- version that was handed out last, and how often it was
  claimed_version int not null default 0,
  attempt_count int not null default 0,
  lease_owner text,
  lease_expires_at timestamptz,
  next_attempt_at timestamptz not null default now(),
  last_error text,
  -- when its end was shown: some time after that it is not looked at any more
  settled_at timestamptz not null default 'infinity',
  primary key (approval_id, platform)
) with (fillfactor = 80);
create index chat_notices_open on chat_notices (platform, settled_at);
