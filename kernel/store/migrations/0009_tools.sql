-- Tools: calls under an idempotency key. A call that comes again under its key is answered, not made.
create table tool_calls (
  principal text not null,
  call_key text not null,
  call_id uuid not null,
  tool text not null,
  method text not null,
  -- SHA-256 of tool, method and arguments
  digest bytea not null,
  -- w not made yet: it is being decided on; r made, without an answer; c completed; f failed for good
  state "char" not null default 'w',
  -- of the process that makes it: while it lives, it holds an advisory lock on this
  maker int not null,
  result json,
  error json,
  created_at timestamptz not null default now(),
  ended_at timestamptz,
  primary key (principal, call_key)
);
create index tool_calls_age on tool_calls (created_at);
create sequence tool_makers as int cycle;

-- A lease of a tool's process reaches the hosts that the tool has declared, and no other: [{host, methods, paths}]. Null: what policy
-- and bindings allow.
alter table leases add column egress json;

-- Grants that follow from what a tool declares are taken back with the declaration; those that a person gave are not.
alter table grants add column declared boolean not null default false;
