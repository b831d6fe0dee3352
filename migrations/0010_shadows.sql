-- What runs were told and read, so that another version can be asked what it would have done; and
-- versions that run beside the ones in force without an effect.

-- JSON: the order as the run saw it, every document that it read or found missing, the time, the
-- attempt, and a hash of what it proposed. None where recording is off, or where it would be
-- longer than the configuration allows. Emptied with the content of its notification.
alter table attempts add column inputs text;

-- A version that runs beside the one in force: the last one of each plugin, also after its end.
create table plugin_shadows (
    -- The plugin's own name, such as mall/order-payment.
    name text not null primary key check (length(name) between 1 and 128),
    version text not null,
    -- What the processor reads through `config`: JSON; none for what the version beside it reads.
    config text,
    -- Hundredths of a percent of the orders.
    parts bigint not null check (parts between 1 and 10000),
    -- Names this start: what hosts report belongs to it.
    run text not null check (length(run) = 36),
    since_ms bigint not null,
    who text not null check (length(who) between 1 and 128),
    stopped_at_ms bigint,
    foreign key (name, version) references plugin_versions (name, version)
);

-- What each host found so far, written anew every few seconds by that host alone.
create table plugin_shadow_reports (
    run text not null check (length(run) = 36),
    host text not null check (length(host) between 1 and 256),
    at_ms bigint not null,
    -- JSON: counts by kind of difference, and the last differences.
    report text not null,
    primary key (run, host)
);
