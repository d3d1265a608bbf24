-- Users: the people who sign in. Their e-mail address is found by its canonical form, which the program makes: lower() in SQL depends on the collation.
create table users (
  id uuid primary key,
  email text not null,
  email_canonical text not null unique,
  email_verified boolean not null default false,
  -- A PHC string of argon2id; null for a user who cannot sign in with a password.
  password_hash text,
  -- The standard claims of OpenID Connect Core section 5.1 with their names on the wire; e-mail address and update time are columns.
  claims jsonb not null default '{}',
  disabled_at timestamptz,
  created_at timestamptz not null,
  updated_at timestamptz not null
);

-- The order in which users are listed, page by page.
create index users_by_creation on users (created_at, id);
-- Searching by the beginning of the address.
create index users_by_address_prefix on users (email_canonical text_pattern_ops);

-- Built-in roles; the first one is owner.
create table user_roles (
  user_id uuid not null references users (id) on delete cascade,
  role text not null check (role in ('owner')),
  granted_at timestamptz not null,
  primary key (user_id, role)
);
create index user_roles_by_role on user_roles (role);
