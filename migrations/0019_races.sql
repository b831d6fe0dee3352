-- Races that a notification lost in a row: its processor's expectations of documents did not hold
-- when it was to be committed. Counted by themselves, because a claim also counts what was only
-- held, parked or put off.
alter table inbox add column races bigint not null default 0 check (races >= 0);
