-- What all clients did together, by the hour: the overview reads a row for each hour and kind, however many clients there are.
create table activity_totals (
  hour timestamptz not null,
  kind text not null,
  count bigint not null,
  primary key (hour, kind)
);
insert into activity_totals (hour, kind, count) select hour, kind, sum(count) from activity group by hour, kind;
