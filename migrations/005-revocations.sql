-- What was revoked, kept until the longest token that it covers has ended: the expiring store may be lost or put back to an older state, these rows are not.
create table revocations (
  kind text not null check (kind in ('grant', 'session', 'token', 'user', 'client')),
  -- SHA-256 of the id of a grant, a session or a token; the plain id of a user or a client, of whom everything made until `before` is ended.
  key text not null,
  before timestamptz not null,
  written_at timestamptz not null,
  expires_at timestamptz not null,
  primary key (kind, key)
);
-- A store that was put back to an older state needs what was written since.
create index revocations_written on revocations (written_at, kind, key);
create index revocations_expiry on revocations (expires_at);

-- The expiring store, where no Redis is used: whose a Grant is and since when, so that one statement finds it and sees whether it was cut off.
alter table grant_records
  add column user_key text,
  add column client_key text,
  -- Milliseconds since 1970.
  add column signed_in_at bigint,
  add column made_at bigint;
create index grant_records_user on grant_records (user_key, expires_at) where user_key is not null;
create index grant_records_client on grant_records (client_key, expires_at) where client_key is not null;

alter table grant_sessions
  add column user_key text,
  add column signed_in_at bigint;
create index grant_sessions_user on grant_sessions (user_key, expires_at) where user_key is not null;

-- The clients of a session. A table of its own, since a session is rewritten at every refresh; a row goes with its session.
create table grant_session_clients (
  session_key text not null references grant_sessions (key) on delete cascade,
  client_key text not null,
  primary key (session_key, client_key)
);
create index grant_session_clients_client on grant_session_clients (client_key);

-- Whatever a user or a client had until then is ended.
create table grant_cuts (
  key text primary key,
  before_ms bigint not null,
  expires_at timestamptz not null
);
create index grant_cuts_expiry on grant_cuts (expires_at);
