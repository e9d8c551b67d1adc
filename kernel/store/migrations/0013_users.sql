-- People. A name is for ever: it is the principal `user:<name>`, and the actor in the audit log; so nobody is deleted, and no name given twice.
create table users (
  user_id uuid primary key,
  name text not null unique,
  display_name text not null,
  role text not null check (role in ('viewer', 'operator', 'approver', 'admin')),
  -- in lower case; by it a provider's account finds its user, once
  email text unique,
  -- with its parameters in it; null: no password, so only by the provider
  password_hash text,
  -- until when a password counts that an admin was shown; it counts only for choosing another
  temporary_until timestamptz,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  last_sign_in_at timestamptz,
  disabled_at timestamptz
);

-- Who somebody is at a provider. Its subject, and not the address, which may be given to somebody else one day.
create table user_identities (
  issuer text not null,
  subject text not null,
  user_id uuid not null references users,
  created_at timestamptz not null,
  primary key (issuer, subject)
);
create index user_identities_user on user_identities (user_id);

-- Sessions of people. Of a token only its SHA-256 is here.
create table user_sessions (
  session_id uuid primary key,
  user_id uuid not null references users,
  token_hash bytea not null unique,
  kind text not null check (kind in ('browser', 'cli')),
  -- by what it was begun, and where from; for people who look at their sessions
  how text not null check (how in ('password', 'oidc')),
  address text,
  agent text,
  -- when password or provider last proved who it is
  proven_at timestamptz not null,
  created_at timestamptz not null,
  -- to the minute
  seen_at timestamptz not null,
  expires_at timestamptz not null,
  revoked_at timestamptz
);
create index user_sessions_user on user_sessions (user_id, created_at);
create index user_sessions_age on user_sessions (expires_at);

-- Sign-ins by the provider that are under way. What proves that we began one (verifier, nonce, the device's code) is sealed.
create table user_sign_ins (
  sign_in_id uuid primary key,
  flow text not null check (flow in ('code', 'device')),
  -- of the state of the code flow, or of what the device asks with. Taken by the first that brings it
  handle_hash bytea not null unique,
  ciphertext bytea not null,
  wrapped_key bytea not null,
  kek_id text not null,
  interval_seconds int,
  next_poll_at timestamptz,
  created_at timestamptz not null,
  expires_at timestamptz not null
);
create index user_sign_ins_age on user_sign_ins (expires_at);

-- Tries of a password, by the hash of the name, the address or both. Unlogged: it is worth nothing after a crash.
create unlogged table user_tries (
  what bytea primary key,
  tries int not null,
  since timestamptz not null
) with (fillfactor = 50);
create index user_tries_age on user_tries (since);

-- Who asked for a run: a key, a person, or whatever else was the principal. Null where the platform itself started it, or before this release.
alter table workflow_runs add column started_by text;
alter table workflow_runs_finished add column started_by text;
