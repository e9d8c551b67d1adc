-- An event is open until it is settled. Statements that name an event by its id speak of its state and not of this, so the planner
-- cannot take this index for theirs: with a plan from when the table was empty it read all of the open ones for each.
create index agent_inbox_unsettled on agent_inbox (platform, conversation, position) include (event_id) where settled_at is null;
-- For the same reason: it finds a conversation, and cannot be walked along.
create index agent_inbox_of_conversation on agent_inbox using hash (conversation);
-- By the id first, which finds the event alone: before Postgres 17, of two columns that are looked up at once the second may be left out.
create unique index agent_inbox_by_id on agent_inbox (event_id, platform);
-- last, since nobody reads the table from here to the commit
drop index agent_inbox_open, agent_inbox_conversation;
alter table agent_inbox drop constraint agent_inbox_pkey, add constraint agent_inbox_pkey primary key using index agent_inbox_by_id;
