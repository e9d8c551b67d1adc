-- A person's words are also those by an account of theirs in a chat, and by one that they had once.

-- Every name by which whom a hold names has said something. Also of an account that is another's by now: a hold rather keeps too much.
create view held_names as
  select h.hold_id, substr(h.subject, 6) as name from data_holds h where h.released_at is null and h.subject like 'user:%'
  union
  select h.hold_id, l.platform || ':' || l.team || ':' || l.external_user from data_holds h join users u on u.name = substr(h.subject, 6)
    join chat_links l using (user_id) where h.released_at is null and h.subject like 'user:%'
  union
  select h.hold_id, l.platform || ':' || l.team || ':' || l.external_user from data_holds h join users u on u.name = substr(h.subject, 6)
    join chat_former_links l using (user_id) where h.released_at is null and h.subject like 'user:%';

create or replace view held_threads as
  select substr(h.subject, 8) as thread_key from data_holds h where h.released_at is null and h.subject like 'thread:%'
  union
  select m.thread_key from held_names n join agent_message_requests m on m.user_id = n.name
  union
  select e.thread_key from held_names n join agent_execution_requests e on e.user_id = n.name
  union
  select s.thread_key from held_names n join agent_execution_signals s on s.user_id = n.name;

create or replace view held_principals as
  select 'thread:' || thread_key as principal from held_threads
  union select 'thread:sha256-' || encode(sha256(convert_to(thread_key, 'UTF8')), 'hex') from held_threads
  union select subject from data_holds where released_at is null
  union select name from held_names
  union select 'user:' || name from held_names;
