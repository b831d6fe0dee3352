-- What a last phase is told of its commit when it runs again, after a failure or a crash: the
-- commit's own facts and not what the order has become since.

-- The entry of the history that the notification's last commit wrote. No foreign key: the
-- two rows live for different times.
alter table inbox add column history_id text check (length(history_id) = 36);

-- How many events were committed with the entry. None for entries of an older program.
alter table history add column events bigint check (events >= 0);
