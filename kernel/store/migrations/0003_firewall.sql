-- The credential firewall: audit log, policy, vault and leases.
--
-- One rule holds it together: no audit row, no lease, no credential, no call. A lease refers to the audit row of its
-- creation by a foreign key that may not be null; each call that uses it commits an audit row before the credential
-- is even resolved.

-- Every entry is written once and never changed. `entry` is canonical JSON (RFC 8785 order) of all there is to say; the
-- other columns repeat parts of it to be searched by, and a verification holds them against it.
--   mac  = HMAC-SHA-256(install key, entry)          who wrote it knew a key that is not in the database
--   leaf = SHA-256(0x00 || mac || SHA-256(entry))    what the seal covers
-- The order of the log is (xid, audit_id): a sealer takes only transactions older than every open one, so that nothing
-- can appear later in what is sealed. `xid` is the number of the transaction, shifted: a server that the log was moved to
-- by a dump counts its transactions from the beginning again, and its entries must still come after the ones that are there.
create sequence audit_xid_shift minvalue 0 start 0;
create function audit_xid() returns xid8 language sql volatile as $$
  select (pg_current_xact_id()::text::bigint + (select last_value from audit_xid_shift))::text::xid8
$$;
-- every transaction before this one is over
create function audit_xmin() returns xid8 language sql stable as $$
  select (pg_snapshot_xmin(pg_current_snapshot())::text::bigint + (select last_value from audit_xid_shift))::text::xid8
$$;
-- no transaction from this one on has begun
create function audit_xmax() returns xid8 language sql stable as $$
  select (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + (select last_value from audit_xid_shift))::text::xid8
$$;
create table audit_log (
  audit_id uuid not null,
  xid xid8 not null default audit_xid(),
  action text not null,
  actor text not null,
  resource text,
  decision text,
  -- of an outcome: the entry of the intent it settles
  intent_id uuid,
  lease_id uuid,
  run_id uuid,
  thread_key text,
  trace_id uuid,
  entry text not null,
  mac bytea not null,
  leaf bytea not null,
  primary key (audit_id)
) partition by range (audit_id);
create index audit_log_order on audit_log (xid, audit_id);
create index audit_log_intent on audit_log (intent_id) where intent_id is not null;
create index audit_log_run on audit_log (run_id, audit_id) where run_id is not null;
create index audit_log_actor on audit_log (actor, audit_id);

-- Each batch seals the entries after the last one of the batch before, up to (last_xid, last_id), as the leaves of a
-- Merkle tree of RFC 6962's shape:
--   hash = SHA-256("centaur audit batch\n" || prev_hash || root || n || size || last_xid || last_id)
-- `members` keeps each entry's id (16 bytes) and leaf (32 bytes): an entry that is missing can be named, and the seal
-- still verifies when entries have been pruned.
create table audit_batches (
  n bigint primary key,
  count int not null check (count > 0),
  -- entries of the whole log up to here
  size bigint not null,
  last_xid xid8 not null,
  last_id uuid not null,
  root bytea not null,
  prev_hash bytea not null,
  hash bytea not null,
  members bytea not null,
  sealed_at timestamptz not null default clock_timestamp()
);
create index audit_batches_end on audit_batches (last_xid, last_id);
-- hashes: compressing them is work for nothing
alter table audit_batches alter column members set storage external;

-- A signed statement of how far the log had come: a C2SP signed note over origin, size and the hash of batch n.
create table audit_checkpoints (
  n bigint primary key references audit_batches,
  size bigint not null,
  note text not null,
  created_at timestamptz not null default clock_timestamp()
);

-- Keys under which what is private in entries is kept, one per subject. Destroying one erases what it covers; the entries
-- stay, and still verify.
create table audit_subjects (
  subject text primary key,
  wrapped_key bytea,
  kek_id text,
  created_at timestamptz not null default now(),
  erased_at timestamptz
);

-- Append only, for the owner too. Pruning drops whole partitions.
create function audit_refuse_change() returns trigger language plpgsql as $$
begin
  raise exception 'the audit log is append-only: % on % is refused', tg_op, tg_table_name using errcode = 'insufficient_privilege';
end $$;
create trigger audit_log_append_only before update or delete on audit_log for each row execute function audit_refuse_change();
create trigger audit_log_keep before truncate on audit_log for each statement execute function audit_refuse_change();
create trigger audit_batches_append_only before update or delete on audit_batches for each row execute function audit_refuse_change();
create trigger audit_batches_keep before truncate on audit_batches for each statement execute function audit_refuse_change();
create trigger audit_checkpoints_append_only before update or delete on audit_checkpoints for each row execute function audit_refuse_change();
create trigger audit_checkpoints_keep before truncate on audit_checkpoints for each statement execute function audit_refuse_change();

-- Keys of this installation, each sealed under the master key: 'audit.sign' (Ed25519) and 'firewall.ca' (EC P-256).
create table install_keys (
  name text primary key,
  public text not null,
  ciphertext bytea not null,
  wrapped_key bytea not null,
  kek_id text not null,
  created_at timestamptz not null default now()
);

-- `source`: {"type": "sealed"}, {"type": "env", "variable": …}, {"type": "file", "path": …} and so on.
-- `binding`: where it may go: hosts, ports, methods, paths, and the places in a request where its placeholder counts.
create table secrets (
  name text primary key,
  type text not null,
  source json not null,
  binding json not null,
  -- what its placeholders look like: a prefix, an alphabet and a length
  shape json not null,
  -- what its type needs besides the value
  options json not null,
  rotation json,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  -- when the log last said that its rotation is due
  reminded_at timestamptz,
  removed_at timestamptz,
  audit_id uuid not null references audit_log
);

-- Sealed values. AES-256-GCM under a key of its own, which is wrapped under the master key `kek_id`; name and version are
-- authenticated with it, so that rows cannot be swapped. active: given out; grace: still recognised, no longer given out.
create table secret_versions (
  name text not null references secrets,
  version int not null,
  state text not null check (state in ('active', 'grace', 'retired')),
  ciphertext bytea,
  wrapped_key bytea,
  kek_id text,
  created_at timestamptz not null default now(),
  grace_until timestamptz,
  primary key (name, version)
);
create unique index secret_versions_active on secret_versions (name) where state = 'active';

-- Who acts: 'workflow:<name>', 'thread:<key>', 'channel:<id>', 'user:<id>', 'role:<name>', 'tool:<name>'.
create table principal_roles (
  principal text not null,
  role text not null,
  created_at timestamptz not null default now(),
  audit_id uuid not null references audit_log,
  primary key (principal, role)
);

create table grants (
  grant_id uuid primary key,
  principal text not null,
  secret text not null references secrets,
  created_at timestamptz not null default now(),
  audit_id uuid not null references audit_log,
  revoked_at timestamptz,
  revoked_audit_id uuid references audit_log
);
create unique index grants_live on grants (principal, secret) where revoked_at is null;

create table leases (
  lease_id uuid primary key,
  token_hash bytea not null unique,
  kind text not null check (kind in ('run', 'call', 'step')),
  principal text not null,
  run_id uuid,
  step text,
  thread_key text,
  trace_id uuid,
  -- where it may be used from: an address or a CIDR, else from anywhere that reaches the firewall
  source inet,
  max_uses int check (max_uses > 0),
  used int not null default 0,
  expires_at timestamptz not null,
  created_at timestamptz not null default now(),
  revoked_at timestamptz,
  audit_id uuid not null references audit_log
) with (fillfactor = 80);
create index leases_principal on leases (principal, lease_id) where revoked_at is null;
create index leases_revoked on leases (revoked_at) where revoked_at is not null;
create index leases_age on leases (expires_at);

create table lease_secrets (
  lease_id uuid not null references leases on delete cascade,
  secret text not null references secrets,
  placeholder text not null,
  primary key (lease_id, secret)
);
create unique index lease_secrets_placeholder on lease_secrets (placeholder);

-- At most one version is active, and at most one is in shadow: evaluated and recorded, without effect.
create table policy_versions (
  version int generated always as identity primary key,
  digest bytea not null,
  source text not null,
  author text not null,
  message text,
  state text not null check (state in ('active', 'shadow', 'retired')),
  created_at timestamptz not null default now(),
  activated_at timestamptz,
  audit_id uuid not null references audit_log
);
create unique index policy_versions_active on policy_versions (state) where state in ('active', 'shadow');

-- Fixed windows of rules with limits.
create table policy_counters (
  rule text not null,
  key text not null,
  window_start timestamptz not null,
  used int not null,
  primary key (rule, key, window_start)
) with (fillfactor = 50);
create index policy_counters_age on policy_counters (window_start);

-- Requests that wait for a person. The decision itself comes with the approvals of the governance rooms; a row is
-- decided once.
create table approvals (
  approval_id uuid primary key,
  digest bytea not null,
  gate text not null,
  rule text not null,
  principal text not null,
  summary json not null,
  state text not null check (state in ('pending', 'approved', 'denied', 'expired', 'consumed')),
  lease_id uuid,
  run_id uuid,
  reason text,
  decided_by text,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  decided_at timestamptz,
  consumed_at timestamptz,
  audit_id uuid not null references audit_log,
  decided_audit_id uuid references audit_log
);
create index approvals_open on approvals (digest) where state in ('pending', 'approved');
create index approvals_state on approvals (state, approval_id);

-- What firewalls obey: the egress part of the configuration, newest version first.
create table firewall_configs (
  version int generated always as identity primary key,
  digest bytea not null,
  config json not null,
  created_at timestamptz not null default now(),
  audit_id uuid not null references audit_log
);

create table firewall_processes (
  process_id uuid primary key,
  host text not null,
  pid int not null,
  address text not null,
  config_version int,
  policy_version int,
  problem text,
  started_at timestamptz not null default now(),
  seen_at timestamptz not null default now()
);
