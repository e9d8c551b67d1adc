-- An event that is sent twice under one key is one event. A key is its type's, as a trigger key is its workflow's.
create table workflow_event_keys (
  event_type text not null,
  -- of the key, which may be longer than an index takes
  key_hash bytea not null,
  -- a UUIDv7: keys are forgotten by the time in it
  event_id uuid not null,
  -- of the correlation id and the payload: the same key with others is refused
  event_hash bytea not null,
  primary key (event_type, key_hash)
);
create unique index workflow_event_keys_event on workflow_event_keys (event_id);
