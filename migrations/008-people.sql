-- People come and go: mails that wait to be sent, sign-ups, single-use links, known devices, sign-outs that apps must hear of.

-- A mail is written in the transaction of its cause and sent afterwards. What it says may hold a link that signs somebody in, so it is sealed,
-- and it is gone once the mail is.
create table mails (
  id uuid primary key,
  -- One cause, one mail, however often the cause is written down.
  cause text unique,
  template text not null,
  language text not null,
  recipient text not null,
  user_id uuid,
  sealed_values text,
  state text not null check (state in ('queued', 'sent', 'failed')),
  attempts integer not null default 0,
  due_at timestamptz not null,
  -- After this moment it says nothing true any more: a link has ended.
  expires_at timestamptz not null,
  sent_at timestamptz,
  error text,
  created_at timestamptz not null
);
create index mails_due on mails (due_at) where state = 'queued';
create index mails_created on mails (created_at desc, id);

-- Somebody who wants an account and has not proven the address yet. A user is made when it is proven, by the link or by the code.
create table sign_ups (
  id uuid primary key,
  email text not null,
  email_canonical text not null,
  -- The address has an account: the row is there so that nothing tells, and no code ever fits.
  is_taken boolean not null,
  password_hash text not null,
  claims jsonb not null,
  language text not null,
  token_hash text not null unique,
  sealed_code text not null,
  code_failures integer not null default 0,
  -- The browser in which it began holds the text of this hash in a cookie.
  browser_hash text not null,
  -- The authorization request that it began in, to go on with.
  interaction_uid text,
  request jsonb,
  terms jsonb,
  user_id uuid,
  created_at timestamptz not null,
  expires_at timestamptz not null,
  -- Set when the browser in which it began has been signed in by it: that happens once.
  used_at timestamptz
);
create index sign_ups_expiry on sign_ups (expires_at);

-- Single-use links in mails: recover, invite, change of address, "this was not me". A GET uses none up.
create table user_links (
  token_hash text primary key,
  kind text not null check (kind in ('recover', 'invite', 'email_change', 'not_me')),
  user_id uuid references users (id) on delete cascade,
  -- The address that an invitation or a change is about.
  email text,
  data jsonb not null default '{}',
  created_at timestamptz not null,
  expires_at timestamptz not null
);
create index user_links_user on user_links (user_id, kind);
create index user_links_expiry on user_links (expires_at);

-- Browsers that a person has signed in with, each by the hash of its cookie.
create table devices (
  user_id uuid not null references users (id) on delete cascade,
  token_hash text not null,
  user_agent text not null,
  -- The network as it is counted by the limits, not the whole address of IPv6.
  network text not null,
  created_at timestamptz not null,
  seen_at timestamptz not null,
  primary key (user_id, token_hash)
);

-- Sign-outs that an app must hear of (OpenID Connect Back-Channel Logout 1.0).
create table logout_notices (
  id uuid primary key,
  client_id text not null,
  user_id uuid not null,
  -- Of the sign-in at this client; null when every sign-in of the person has ended.
  sid text,
  state text not null check (state in ('queued', 'delivered', 'failed')),
  attempts integer not null default 0,
  due_at timestamptz not null,
  delivered_at timestamptz,
  error text,
  created_at timestamptz not null
);
create index logout_notices_due on logout_notices (due_at) where state = 'queued';
create index logout_notices_client on logout_notices (client_id, created_at desc);
create index logout_notices_user on logout_notices (user_id, created_at desc);

alter table users
  -- What the person chose for pages and mails; null: the claim `locale`, then the browser's.
  add column language text,
  -- Accepted terms: {terms, privacy, at}, the addresses as they were shown.
  add column terms jsonb,
  -- The person asked for deletion; a sign-in before this moment takes it back.
  add column delete_at timestamptz;
create index users_deletion on users (delete_at) where delete_at is not null;

-- What a person did and what was done to them stands on one page.
create index audit_events_actor on audit_events (actor_id, id desc) where actor_id is not null;
