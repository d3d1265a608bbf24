-- What expires, where no Redis is used: records of one token or step, refresh families, sessions and the ids that lead to them.
-- Keys are hashes of what clients hold. Every row has an end; reads pass over what has ended, and a sweep removes it in small batches.
-- Payloads are JSON in text columns: a payload may hold what jsonb refuses, above all the character NUL.
-- These tables are rewritten all the time, hence the room on their pages and the early vacuum.

create table grant_records (
  key text primary key,
  -- 0 live, 1 consumed, 2 removed: a late write brings nothing back while the row is there.
  mark smallint not null,
  payload text not null,
  grant_key text,
  user_code_key text,
  expires_at timestamptz not null
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
create index grant_records_expiry on grant_records (expires_at);
create index grant_records_grant on grant_records (grant_key) where grant_key is not null;
create index grant_records_user_code on grant_records (user_code_key) where user_code_key is not null;

create table grant_families (
  key text primary key,
  generation bigint not null,
  -- Milliseconds since 1970, newest first.
  spent_at bigint[] not null,
  payload text not null,
  expires_at timestamptz not null
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
create index grant_families_expiry on grant_families (expires_at);

create table grant_sessions (
  key text primary key,
  -- The uid and the scalars, and the account by which a session of another person is told, as JSON.
  record text not null,
  account text not null,
  -- Client ids and what the session holds for each, both as JSON in the strings of a JSON object.
  authorizations jsonb not null,
  seen_at bigint not null,
  expires_at timestamptz not null
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
create index grant_sessions_expiry on grant_sessions (expires_at);

create table grant_session_ids (
  key text primary key,
  session_key text not null,
  -- Set once the id was replaced: it answers until then, and is remembered a while longer so that nothing makes it valid again.
  answers_until timestamptz,
  expires_at timestamptz not null
) with (autovacuum_vacuum_scale_factor = 0.05);
create index grant_session_ids_session on grant_session_ids (session_key);
create index grant_session_ids_expiry on grant_session_ids (expires_at);
