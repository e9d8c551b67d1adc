-- Secrets that somebody took away from a tool, or refused to it before they were there. Neither does what it declares bring them back, nor
-- does a user's own take their place. No reference to the secret, which may come and go.
create table grant_refusals (
  principal text not null,
  secret text not null,
  created_at timestamptz not null default now(),
  audit_id uuid not null references audit_log,
  primary key (principal, secret)
);

-- what was taken away by hand before this release
insert into grant_refusals (principal, secret, audit_id)
select g.principal, g.secret, g.revoked_audit_id
from (select distinct on (principal, secret) principal, secret, revoked_audit_id from grants order by principal, secret, grant_id desc) g
join audit_log a on a.audit_id = g.revoked_audit_id
where a.action = 'grant.remove' and a.actor <> 'system:tools' and g.principal like 'tool:%' and g.principal <> 'tool:*';
