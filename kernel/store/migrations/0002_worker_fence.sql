-- A unique index makes `dead` a key column: setting it conflicts with the key share lock that every write of a worker
-- takes on its own row, while the renewal of its lease does not and so never waits for a flush.
create unique index workers_fence on workers (worker_id, dead);
