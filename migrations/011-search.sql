-- Finding apps by how their name begins, page by page in the order of the names: the id decides between two of one name.
drop index clients_by_name_prefix;
create index clients_by_name_prefix on clients (lower(name) text_pattern_ops, id);
