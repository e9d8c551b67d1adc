-- A run that waits out its crashes, or its retry's delay, is not brought forward by an event that comes meanwhile.
alter table workflow_runs add column held_until timestamptz;
