-- Who has brought a code: nobody is linked by that alone, since whoever hands codes over could name another account. Its person says yes to it.
alter table chat_link_codes
  add column team text,
  add column external_user text,
  add column display_name text,
  add column brought_by text;

-- Links that are over. Whoever asked by an account that was theirs then has asked, also when they unlink it before they vote.
create table chat_former_links (
  platform text not null,
  team text not null,
  external_user text not null,
  user_id uuid not null references users,
  ended_at timestamptz not null default now(),
  primary key (platform, team, external_user, user_id)
);
create index chat_former_links_user on chat_former_links (user_id);
create index chat_former_links_account on chat_former_links (lower(platform || ':' || team || ':' || external_user));

-- Where the cards of an approval are: [{"channel": "C1", "ts": "1700000000.000100"}]. A click elsewhere is no vote.
alter table chat_notices add column places jsonb not null default '[]';

-- What a click was refused with, for whoever hands it over once more.
alter table chat_interactions add column refusal json;
