-- What a secret is for, authenticated: HMAC over name, type, source, binding and options, under a key that the database does
-- not have. Null for rows of the release before, until its installation is opened by this one.
alter table secrets add column mac bytea;

-- What one lease did. Building it blocks appending, and so every credentialed request, for some seconds per million entries.
create index audit_log_lease on audit_log (lease_id, audit_id) where lease_id is not null;
