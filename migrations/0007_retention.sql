-- Retention: what finished notifications say goes to archive files, their keys stay.

-- When body, headers, raw callback, payer, scratch and reason text were archived and emptied. What
-- is left of the row is its key and its facts, so that a repeat still meets it. A row without its
-- body cannot run again, so it cannot leave the finished states either.
alter table inbox add column archived_at_ms bigint
    check (archived_at_ms is null or finished_at_ms is not null);

-- What is to be archived, oldest first: rows leave this index when they are, so it stays as small
-- as the time between a notification's end and its archiving, however long the table is.
create index inbox_archive on inbox (finished_at_ms, id)
    where state = 'done' and archived_at_ms is null;

-- Work that one host does for all: by name, until when, and who. Time frees what a dead host held.
create table leases (
    name text not null primary key check (length(name) between 1 and 128),
    owner text not null check (length(owner) between 1 and 256),
    until_ms bigint not null
);
