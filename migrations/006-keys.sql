-- The life of keys. A signing key is announced (published, not yet signing), active, retired (published), kept (for ID tokens that come back as
-- hints, unpublished), and then its row goes; a revoked one leaves its public part, so that it is never taken in again.
alter table signing_keys
  add column state text not null default 'active' check (state in ('announced', 'active', 'retired', 'kept', 'revoked')),
  add column origin text not null default 'made' check (origin in ('made', 'imported')),
  -- When an announced key may begin to sign, at the earliest.
  add column activates_at timestamptz,
  add column activated_at timestamptz,
  add column retired_at timestamptz,
  add column unpublished_at timestamptz,
  add column revoked_at timestamptz,
  -- The longest life of a token that the key may have signed: so long after its last signature it stays published.
  add column token_seconds integer not null default 86400,
  alter column sealed_private_jwk drop not null;
update signing_keys set activated_at = created_at;
alter table signing_keys
  alter column state drop default,
  alter column origin drop default,
  alter column token_seconds drop default,
  add constraint signing_keys_private check ((state = 'revoked') = (sealed_private_jwk is null));
-- Two processes that rotate at once end here, whatever else went wrong.
create unique index signing_keys_one_active on signing_keys (algorithm) where state = 'active';
create unique index signing_keys_one_announced on signing_keys (algorithm) where state = 'announced';

-- A random key is announced (known to all instances, so that they verify with it), active (it makes), retired (it verifies), and then its row goes.
alter table mac_keys
  add column state text not null default 'active' check (state in ('announced', 'active', 'retired')),
  add column activates_at timestamptz,
  add column activated_at timestamptz,
  add column retired_at timestamptz;
update mac_keys set activated_at = created_at;
alter table mac_keys alter column state drop default;
create unique index mac_keys_one_active on mac_keys (purpose) where state = 'active';
create unique index mac_keys_one_announced on mac_keys (purpose) where state = 'announced';
