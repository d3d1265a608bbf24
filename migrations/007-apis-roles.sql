-- APIs whole, and roles: named sets of scopes of APIs that users and service clients hold. Signet's own administration is one of the APIs, and the
-- built-in roles carry its scopes, so that there is no second system of permissions.
alter table apis
  add column token_format text not null default 'jwt' check (token_format in ('jwt', 'opaque')),
  add column signing_alg text not null default 'ES256' check (signing_alg in ('ES256', 'RS256', 'EdDSA')),
  -- Whether a refresh token brings new access tokens for it.
  add column allows_refresh boolean not null default true,
  -- Whether a token carries only what its holder's roles hold, too; and whether it names those roles.
  add column scopes_by_role boolean not null default false,
  add column roles_claim boolean not null default false,
  add column is_builtin boolean not null default false;
-- What a person reads, by language; `description` is for all others.
alter table api_scopes add column descriptions jsonb not null default '{}';

create table roles (
  name text primary key,
  description text not null,
  is_builtin boolean not null
);
-- A scope that its API gives up is taken from every role by the database itself.
create table role_scopes (
  role text not null references roles (name) on delete cascade,
  api_id uuid not null,
  scope text not null,
  primary key (role, api_id, scope),
  foreign key (api_id, scope) references api_scopes (api_id, scope) on delete cascade
);
create index role_scopes_scope on role_scopes (api_id, scope);

insert into roles (name, description, is_builtin) values
  ('owner', 'May do everything, and makes other owners', true),
  ('admin', 'Registers apps and APIs, looks after people', true),
  ('auditor', 'Sees everything and changes nothing', true),
  ('support', 'Helps people with their accounts', true);

insert into apis (id, identifier, name, token_lifetime_seconds, created_at, updated_at, scopes_by_role, is_builtin)
values ('00000000-0000-4000-8000-000000000001', 'urn:signet:admin', 'Administration', 600, 'epoch', 'epoch', true, true);
insert into api_scopes (api_id, scope, description, descriptions, position)
select '00000000-0000-4000-8000-000000000001', scope, english, jsonb_build_object('de', german), position
from (values
  (1, 'clients:read', 'See the registered apps', 'Registrierte Apps sehen'),
  (2, 'clients:write', 'Register and change apps', 'Apps registrieren und ändern'),
  (3, 'users:read', 'See people and their accounts', 'Personen und ihre Konten sehen'),
  (4, 'users:write', 'Create and change accounts', 'Konten anlegen und ändern'),
  (5, 'apis:read', 'See the registered APIs', 'Registrierte APIs sehen'),
  (6, 'apis:write', 'Register and change APIs', 'APIs registrieren und ändern'),
  (7, 'roles:read', 'See roles and who holds them', 'Rollen und ihre Träger sehen'),
  (8, 'roles:write', 'Change roles and give them', 'Rollen ändern und vergeben'),
  (9, 'sessions:read', 'See where people are signed in', 'Sehen, wo Personen angemeldet sind'),
  (10, 'sessions:write', 'Sign people out', 'Personen abmelden'),
  (11, 'grants:read', 'See what apps were allowed', 'Sehen, was Apps erlaubt wurde'),
  (12, 'grants:write', 'Take back what apps were allowed', 'Zurücknehmen, was Apps erlaubt wurde'),
  (13, 'consents:read', 'See consents', 'Einwilligungen sehen'),
  (14, 'consents:write', 'Withdraw consents', 'Einwilligungen widerrufen'),
  (15, 'keys:read', 'See the signing keys', 'Signaturschlüssel sehen'),
  (16, 'keys:write', 'Rotate the signing keys', 'Signaturschlüssel wechseln'),
  (17, 'mail:read', 'See sent mail', 'Versandte E-Mails sehen'),
  (18, 'mail:write', 'Send mail again', 'E-Mails erneut senden'),
  (19, 'audit:read', 'Read the audit trail', 'Das Protokoll lesen'),
  (20, 'settings:read', 'See the settings', 'Einstellungen sehen'),
  (21, 'settings:write', 'Change the settings', 'Einstellungen ändern')
) as s (position, scope, english, german);

insert into role_scopes (role, api_id, scope)
select role, api_id, scope from api_scopes cross join (values ('owner'), ('admin'), ('auditor'), ('support')) as r (role)
where api_id = '00000000-0000-4000-8000-000000000001' and case role
  when 'owner' then true
  when 'admin' then scope not in ('roles:write', 'keys:write', 'settings:write')
  when 'auditor' then scope like '%:read'
  else scope in ('users:read', 'sessions:read', 'sessions:write', 'grants:read', 'grants:write', 'consents:read', 'consents:write', 'mail:read')
end;

alter table user_roles drop constraint user_roles_role_check;
alter table user_roles add foreign key (role) references roles (name) on delete cascade;
create table client_roles (
  client_id text not null references clients (id) on delete cascade,
  role text not null references roles (name) on delete cascade,
  granted_at timestamptz not null,
  primary key (client_id, role)
);
create index client_roles_by_role on client_roles (role);

-- Every process caches who holds what. The tables tell of each change themselves, whoever made it: a role, a deleted user, a scope that an API gave up.
create function roles_changed() returns trigger language plpgsql as $$
begin
  perform pg_notify('signet', 'roles:');
  return null;
end $$;
create trigger role_scopes_changed after insert or update or delete on role_scopes for each statement execute function roles_changed();
create trigger user_roles_changed after insert or update or delete on user_roles for each statement execute function roles_changed();
create trigger client_roles_changed after insert or update or delete on client_roles for each statement execute function roles_changed();
