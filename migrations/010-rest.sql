-- What the REST API needs: answers that are given again for the same Idempotency-Key, and searches that an index serves.

-- A row is claimed before the work and settled after it; the answer may hold a secret that was just made, so it is sealed.
create table idempotent_requests (
  -- SHA-256 of the caller, the address and the key.
  key_hash text primary key,
  -- SHA-256 of the body: the same key for something else is a mistake of the caller.
  request_hash text not null,
  status integer,
  sealed_answer text,
  created_at timestamptz not null,
  expires_at timestamptz not null
);
create index idempotent_requests_expiry on idempotent_requests (expires_at);

-- Searching people and apps by the beginning of a name. Both sides of the comparison are made small by the database, so its collation decides alike.
create index users_by_name_prefix on users (lower(claims->>'name') text_pattern_ops, id) where claims->>'name' is not null;
create index users_by_family_name_prefix on users (lower(claims->>'family_name') text_pattern_ops, id) where claims->>'family_name' is not null;
create index clients_by_name_prefix on clients (lower(name) text_pattern_ops);
-- What one request did.
create index audit_events_request on audit_events (request_id, id desc) where request_id is not null;
-- Mails of one state, the newest first.
create index mails_by_state on mails (state, created_at desc, id);
