-- Holds the number until the keys' own migration of this name is merged over it.
select 1;
