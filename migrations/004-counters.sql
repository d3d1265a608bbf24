-- Counters of failed sign-ins and the like, where no Redis is configured. Unlogged: after a crash of the database they begin anew, and a sign-in waits for no disk.
create unlogged table counters (
  -- The hash of what is counted.
  key text primary key,
  value text not null,
  expires_at timestamptz not null
);
create index counters_by_expiry on counters (expires_at);
