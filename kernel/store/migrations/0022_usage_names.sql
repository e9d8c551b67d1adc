-- A model has two names: what was asked for, often an alias, and what the harness says that it used. A budget may have either.
alter table usage add column asked_model text not null default '';
comment on column usage.asked_model is 'empty: nobody named one';
-- What an alias was the last time.
create index usage_asked on usage (harness, asked_model, at);

-- `model` sums what was used, each token once; `model_name` what is known by a name, so a token may be there under both of its names.
alter table usage_days drop constraint usage_days_dimension_check;
alter table usage_days add constraint usage_days_dimension_check
  check (dimension in ('all', 'thread', 'workflow', 'user', 'model', 'model_name'));

-- As far back as a budget looks.
update usage u set asked_model = left(e.model, 200) from agent_execution_requests e
  where e.thread_key = u.thread_key and e.execution_id = u.execution_id and e.model is not null and u.at > now() - interval '32 days';
insert into usage_days (dimension, key, day, turns, input, output, cache_read, cache_write, reasoning, cost_micros, unpriced)
  select 'model_name', n.name, (u.at at time zone 'UTC')::date, count(distinct u.execution_id), sum(u.input), sum(u.output), sum(u.cache_read),
    sum(u.cache_write), sum(u.reasoning), coalesce(sum(u.cost_micros), 0),
    coalesce(sum(u.input + u.output + u.cache_read + u.cache_write) filter (where u.cost_micros is null), 0)
  from usage u cross join lateral (select u.model as name union select u.asked_model where u.asked_model <> '') n
  where u.at > now() - interval '32 days' group by 2, 3;
