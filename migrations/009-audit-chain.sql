-- The audit trail is numbered and chained after the commit, by one process at a time; what apps' developers did wrong; what happened, counted.

-- What the sealer adds: the number without gaps and the HMAC over the row and the one before it. What was changed, before and after, without secrets.
alter table audit_events
  add column changes jsonb,
  add column seq bigint unique,
  add column mac text;
create index audit_events_unsealed on audit_events (id) where seq is null;
create index audit_events_at on audit_events (at desc, id desc);

-- One row a batch. It stays when retention has removed the batch's rows, and then says so under its own HMAC.
create table audit_checkpoints (
  batch bigint primary key,
  first_seq bigint not null,
  last_seq bigint not null unique,
  -- Of the last row of the batch; the next row is chained to it.
  row_mac text not null,
  -- The moment of the newest event in it: so long it is kept.
  newest_at timestamptz not null,
  sealed_at timestamptz not null,
  key_version integer not null,
  -- Of the checkpoint before it; empty for the first.
  previous_mac text not null,
  -- Over all of the above.
  mac text not null,
  removed_at timestamptz,
  removed_mac text,
  check (first_seq <= last_seq),
  check ((removed_at is null) = (removed_mac is null))
);
create index audit_checkpoints_kept on audit_checkpoints (batch) where removed_at is null;

-- Where the trail ends. Its HMAC is made anew with every batch and stands nowhere else, so whoever cuts rows and checkpoints cannot make the one before.
create table audit_head (
  singleton boolean primary key default true check (singleton),
  batch bigint not null,
  seq bigint not null,
  row_mac text not null,
  checkpoint_mac text not null,
  mac text not null
);

-- The trail is only added to. Two doors: a row that is not sealed yet gets its number and its HMAC, once; and rows of a batch whose checkpoint
-- says that it was removed may go.
create or replace function audit_events_are_final() returns trigger language plpgsql as $$
begin
  if tg_op = 'UPDATE' then
    if old.seq is null and old.mac is null and new.seq is not null and new.mac is not null
      and to_jsonb(new) - 'seq' - 'mac' = to_jsonb(old) - 'seq' - 'mac' then
      return new;
    end if;
  elsif tg_op = 'DELETE' then
    if (select removed_at from audit_checkpoints where last_seq >= old.seq order by last_seq limit 1) is not null then
      return old;
    end if;
  end if;
  raise exception 'the audit trail is only ever added to';
end $$;

-- A checkpoint is only added, too. Once, it may be marked as removed: the oldest one that is kept, a month at least behind the newest.
create function audit_checkpoints_are_final() returns trigger language plpgsql as $$
begin
  if tg_op = 'UPDATE' then
    if old.removed_at is null and new.removed_at is not null
      and to_jsonb(new) - 'removed_at' - 'removed_mac' = to_jsonb(old) - 'removed_at' - 'removed_mac'
      and not exists (select from audit_checkpoints where batch < old.batch and removed_at is null)
      and old.newest_at < (select max(newest_at) from audit_checkpoints) - interval '30 days' then
      return new;
    end if;
  end if;
  raise exception 'the checkpoints of the audit trail are only ever added to';
end $$;
create trigger audit_checkpoints_final before update or delete on audit_checkpoints
  for each row execute function audit_checkpoints_are_final();
create trigger audit_checkpoints_kept before truncate on audit_checkpoints
  for each statement execute function audit_checkpoints_are_final();

-- Requests of apps that were refused, and why, for the developers of the apps. The id is the request's, which stands on the error page.
create table failures (
  id text primary key,
  at timestamptz not null,
  -- Empty when the request named no client that exists.
  client_id text not null,
  route text not null,
  error text not null,
  description text,
  cause text not null,
  -- The values that differ, cut, and without codes, tokens and secrets.
  facts jsonb not null
);
create index failures_client on failures (client_id, at desc);
create index failures_at on failures (at desc);

-- What happened, by client and hour (of UTC).
create table activity (
  hour timestamptz not null,
  client_id text not null,
  kind text not null,
  count bigint not null,
  primary key (hour, client_id, kind)
);
create index activity_client on activity (client_id, hour);
