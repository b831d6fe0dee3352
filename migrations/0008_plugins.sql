-- What processors there are, and which of them is in force: pushed once, followed by every host.

-- Component files, each once, by the SHA-256 of its bytes in hexadecimal. They stay when their
-- version is retired: history names them, and a back-test may want them.
create table components (
    sha256 text not null primary key check (length(sha256) = 64),
    bytes blob not null,
    added_at_ms bigint not null
);

-- A version of a plugin never changes: other bytes or another manifest want another number.
create table plugin_versions (
    name text not null check (length(name) between 1 and 128),
    version text not null check (length(version) between 1 and 128),
    sha256 text not null references components (sha256),
    -- Size of the component, so that a list need not read it.
    size bigint not null check (size >= 0),
    -- As it was pushed, signatures and all; the hash is of what they cover, so that the same
    -- version can be signed anew.
    manifest text not null,
    manifest_sha256 text not null check (length(manifest_sha256) = 64),
    -- The keys that signed it; empty where the configuration lets unsigned ones in.
    signed_by text not null,
    pushed_at_ms bigint not null,
    pushed_by text not null check (length(pushed_by) between 1 and 128),
    -- Since when it must not be activated any more.
    retired_at_ms bigint,
    primary key (name, version)
);

-- Every activation there was, with the configuration of its processor. Rows are only added, so
-- that a rollback finds what was in force before, however many times.
create table plugin_activations (
    id text not null primary key check (length(id) = 36),
    name text not null,
    version text not null,
    -- What the processor reads through `config`: JSON.
    config text not null,
    -- What was in force before; none where that was the host's own configuration file.
    before_id text references plugin_activations (id),
    at_ms bigint not null,
    who text not null check (length(who) between 1 and 128),
    foreign key (name, version) references plugin_versions (name, version)
);

-- One row for each plugin that was ever activated: what every host is to have in force.
create table plugin_rollouts (
    name text not null primary key check (length(name) between 1 and 128),
    -- Of the last act on this plugin: whoever acts says which one he saw.
    revision bigint not null check (revision >= 1),
    -- None: what the host's configuration file names.
    active_id text references plugin_activations (id),
    -- A version on trial beside the active one, for some of the orders.
    canary_version text,
    canary_config text,
    -- Hundredths of a percent of all orders, and a JSON list of orders by number.
    canary_parts bigint check (canary_parts between 0 and 10000),
    canary_orders text,
    -- The revision at which its runs began to be counted.
    canary_round bigint,
    canary_at_ms bigint,
    canary_who text,
    -- So many runs before it is judged, so many hundredths of a percent may fail.
    budget_runs bigint check (budget_runs >= 1),
    budget_parts bigint check (budget_parts between 0 and 10000),
    changed_at_ms bigint not null,
    foreign key (name, canary_version) references plugin_versions (name, version),
    check ((canary_version is null) = (canary_config is null)),
    check ((canary_version is null) = (canary_parts is null)),
    check ((canary_version is null) = (canary_orders is null)),
    check ((canary_version is null) = (canary_round is null)),
    check ((canary_version is null) = (canary_at_ms is null)),
    check ((canary_version is null) = (canary_who is null)),
    check ((canary_version is null) = (budget_runs is null)),
    check ((canary_version is null) = (budget_parts is null))
);

-- Grows with every change of what is to be in force: hosts look at this one number.
create table plugin_revision (
    id bigint not null primary key check (id = 1),
    revision bigint not null check (revision >= 0)
);

insert into plugin_revision (id, revision) values (1, 0);

-- Runs of a canary and of the active version beside it, minute by minute. Hosts add up what they
-- counted in steps of seconds.
create table plugin_runs (
    name text not null,
    round bigint not null,
    role text not null check (role in ('active', 'canary')),
    minute bigint not null,
    total bigint not null check (total >= 0),
    failed bigint not null check (failed >= 0),
    primary key (name, round, role, minute)
);

-- What each host has in force, as it says itself.
create table plugin_hosts (
    -- The process, and the machine that it runs on.
    host text not null primary key check (length(host) between 1 and 256),
    machine text not null,
    -- The revision that it has looked at last.
    revision bigint not null check (revision >= 0),
    -- JSON: for each plugin what is wanted, what is in force, and why they differ.
    report text not null,
    seen_at_ms bigint not null
);

-- What died without a word is forgotten after a while.
create index plugin_hosts_seen on plugin_hosts (seen_at_ms);
