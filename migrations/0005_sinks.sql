-- Sinks: where events go, and how far each has come.
--
-- A row per sink and event, written with the event, would make every settlement pay for every
-- sink, and a sink that is added later would have none. So the outbox stays what it is, one row
-- an event, and a sink keeps a place in it: up to the cursor every event was delivered, is not for
-- this sink, or has a row in `deliveries`. There stand only the exceptions: what failed and is to
-- be tried again, what waits behind a failure of its key, and what was given up. A healthy sink
-- costs one update for many events, and a dead one costs nothing: its cursor stands still.
--
-- Removing old events: an event may go once its seq is not above the cursor of any sink that is
-- still configured, and no row in `deliveries` has its seq.

create table sinks (
    -- As the configuration names it.
    name text not null primary key check (length(name) between 1 and 64),
    -- Place in the outbox, see above. Never moves back.
    cursor_seq bigint not null check (cursor_seq >= 0),
    -- The host that delivers to this sink, and until when: one at a time, so that events of one
    -- key cannot overtake each other on two hosts. A dead host's sinks are free when time is up.
    lease_owner text check (length(lease_owner) between 1 and 256),
    leased_until_ms bigint,
    -- Grows when another host takes over: what an earlier owner still wants to write is refused.
    epoch bigint not null default 0 check (epoch >= 0),
    -- Grows when an operator changes rows in `deliveries`, so that the owner reads them again.
    revision bigint not null default 0 check (revision >= 0),
    created_at_ms bigint not null,
    -- When a host delivered, or tried to, last. Tells sinks that nobody has configured any more.
    updated_at_ms bigint not null,
    check ((lease_owner is null) = (leased_until_ms is null))
);

create table deliveries (
    sink text not null check (length(sink) between 1 and 64),
    -- The event, by its place in the outbox and by its id.
    seq bigint not null check (seq >= 1),
    event_id text not null check (length(event_id) between 1 and 256),
    -- waiting: to be tried. dead: given up, until an operator orders it to be sent again.
    state text not null check (state in ('waiting', 'dead')),
    -- Failed attempts that were the event's own; those of a sink that is down do not count.
    attempts bigint not null check (attempts >= 0),
    -- When it failed first; none for what only waits behind another.
    first_failed_at_ms bigint,
    -- Not tried before.
    due_at_ms bigint not null,
    -- Why it failed last: a stable code, and a text for people.
    reason_code text,
    reason_text text,
    -- When it came to its present state.
    changed_at_ms bigint not null,
    primary key (sink, seq)
);

-- What a host that takes over reads, in the order of commits.
create index deliveries_waiting on deliveries (sink, seq) where state = 'waiting';

-- What waits for a person, newest last.
create index deliveries_dead on deliveries (sink, changed_at_ms, seq) where state = 'dead';

-- One event wherever it stands, and whether an old event may be removed.
create index deliveries_seq on deliveries (seq);
