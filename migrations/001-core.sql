-- What everything else stands on: the trail of who did what, clients, APIs, consents, keys, and the one-time link of the first owner.
-- Times are parameters of the statements, never the database's own clock.

create table audit_events (
  id bigint generated always as identity primary key,
  at timestamptz not null,
  name text not null,
  actor_kind text not null,
  actor_id text,
  address text,
  request_id text,
  subject_kind text,
  subject_id text,
  data jsonb not null
);
create index audit_events_subject on audit_events (subject_id, id desc) where subject_id is not null;
create index audit_events_name on audit_events (name, id desc);

create function audit_events_are_final() returns trigger language plpgsql as $$
begin
  raise exception 'the audit trail is only ever added to';
end $$;
create trigger audit_events_final before update or delete on audit_events
  for each row execute function audit_events_are_final();
create trigger audit_events_kept before truncate on audit_events
  for each statement execute function audit_events_are_final();

create table apis (
  id uuid primary key,
  identifier text not null unique,
  name text not null,
  token_lifetime_seconds integer not null,
  created_at timestamptz not null,
  updated_at timestamptz not null
);
create table api_scopes (
  api_id uuid not null references apis (id) on delete cascade,
  scope text not null,
  description text not null,
  position integer not null,
  primary key (api_id, scope)
);

create table clients (
  id text primary key,
  type text not null,
  name text not null,
  -- RFC 7591 metadata and Signet's own settings as validated documents; what is searched or joined has a column or a table.
  metadata jsonb not null,
  settings jsonb not null,
  disabled_at timestamptz,
  created_at timestamptz not null,
  updated_at timestamptz not null
);
create index clients_created on clients (created_at, id);
create table client_secrets (
  id uuid primary key,
  client_id text not null references clients (id) on delete cascade,
  secret_hash text not null,
  hint text not null,
  created_at timestamptz not null,
  expires_at timestamptz
);
create index client_secrets_client on client_secrets (client_id);
-- Which APIs a client may ask for; for a resource-server client: which API it is.
create table client_apis (
  client_id text not null references clients (id) on delete cascade,
  api_id uuid not null references apis (id) on delete cascade,
  is_default boolean not null,
  primary key (client_id, api_id)
);
create index client_apis_api on client_apis (api_id);
create unique index client_apis_one_default on client_apis (client_id) where is_default;
-- Which of the API's scopes. A scope that its API gives up is taken from every client by the database itself.
create table client_api_scopes (
  client_id text not null,
  api_id uuid not null,
  scope text not null,
  primary key (client_id, api_id, scope),
  foreign key (client_id, api_id) references client_apis (client_id, api_id) on delete cascade,
  foreign key (api_id, scope) references api_scopes (api_id, scope) on delete cascade
);
create index client_api_scopes_scope on client_api_scopes (api_id, scope);

create table consents (
  user_id uuid not null,
  client_id text not null references clients (id) on delete cascade,
  -- '' stands for OpenID scopes, otherwise the identifier of the API.
  resource text not null,
  granted text[] not null,
  refused text[] not null,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  primary key (user_id, client_id, resource)
);
create index consents_client on consents (client_id);

create table signing_keys (
  kid text primary key,
  algorithm text not null,
  public_jwk jsonb not null,
  sealed_private_jwk text not null,
  created_at timestamptz not null
);
-- Random keys of what clients and browsers hold: cookie signatures, refresh-token MACs, forms. The newest signs, all verify.
create table mac_keys (
  id text primary key,
  purpose text not null,
  version integer not null,
  sealed_key text not null,
  created_at timestamptz not null,
  unique (purpose, version)
);

create table setup_links (
  token_hash text primary key,
  created_at timestamptz not null,
  expires_at timestamptz not null
);
