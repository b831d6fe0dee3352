-- Events for the world, written in the transaction that made them true. Rows are only added: how
-- far each destination has come is kept elsewhere, so that one that is down delays no other.

create table outbox (
    -- The same on every run of the notification: consumers de-duplicate on it.
    id text not null primary key check (length(id) between 1 and 256),
    -- Place in the order of commits. Events with one key leave in this order.
    seq bigint not null unique check (seq >= 1),
    business text not null check (length(business) between 1 and 128),
    topic text not null check (length(topic) between 1 and 256),
    key text not null check (length(key) <= 512),
    -- JSON.
    payload text not null,
    -- JSON, a list of pairs.
    headers text not null,
    -- The notification whose run made it, and its order if it has one.
    notification_id text not null,
    order_no text,
    created_at_ms bigint not null,
    -- ready: to be delivered.
    state text not null check (state in ('ready'))
);

-- The events of one order.
create index outbox_order on outbox (business, order_no, seq);

-- Counters that keep commit order: whoever takes numbers holds the row until its commit, so a
-- lower number is never seen after a higher one. A sequence of the database would not keep that
-- promise across hosts.
create table counters (
    name text not null primary key,
    value bigint not null check (value >= 0)
);

insert into counters (name, value) values ('outbox', 0);
