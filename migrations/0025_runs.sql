-- Runs of the program that have begun and not ended well yet, one for each machine. A host that
-- finds its machine here at the start came down the last time.
create table runs_under_way (
    machine text not null primary key check (length(machine) between 1 and 128),
    began_at_ms bigint not null
);
