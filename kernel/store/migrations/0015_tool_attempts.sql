-- Of the run that makes the call: a failure that is known is not the last word for the run's next attempt.
alter table tool_calls add column attempt int not null default 1;
