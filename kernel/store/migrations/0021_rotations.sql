-- Rotations of secrets: each is a run of the built-in workflow centaur.rotate, and a row here that says how far it has come.
-- A row is asked for first, and a run finds it: whoever can start runs can start no rotation.
create table secret_rotations (
  rotation_id uuid primary key,
  name text not null references secrets,
  -- who asked: system, when its time had come
  actor text not null,
  driver text not null,
  -- the value that is to be replaced; null: the secret comes from a source
  from_version int,
  to_version int,
  -- asked: no run has begun it. begun: the value before is in use. active: the new one is. done: the one before is destroyed.
  -- failed: the value before stays in use. unrevoked: the one before may still be good at the service. ended: nothing was to be done
  state text not null check (state in ('asked', 'begun', 'active', 'done', 'failed', 'unrevoked', 'ended')),
  run_id uuid,
  -- a request that makes a value at the service was about to be sent: without a value behind it, nobody knows what came of it
  minting_at timestamptz,
  reason text,
  asked_at timestamptz not null default now(),
  ended_at timestamptz,
  -- of one that failed: no sooner is it tried again by the clock
  retry_at timestamptz
);
create unique index secret_rotations_open on secret_rotations (name) where state in ('asked', 'begun');
create unique index secret_rotations_run on secret_rotations (run_id);
create index secret_rotations_name on secret_rotations (name, rotation_id);

-- pending: made by a rotation and not given out yet, but known to whoever looks for secrets.
alter table secret_versions drop constraint secret_versions_state_check;
alter table secret_versions add constraint secret_versions_state_check check (state in ('pending', 'active', 'grace', 'retired'));
-- the rotation that made it, and what the service calls it
alter table secret_versions add column rotation_id uuid, add column upstream_id text;
create unique index secret_versions_pending on secret_versions (name) where state = 'pending';
