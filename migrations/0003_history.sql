-- What happened to each order: one row for each run that was committed. It has no foreign key to
-- the inbox, because it lives as long as the order and finished notifications do not.

create table history (
    id text not null primary key check (length(id) = 36),
    business text not null check (length(business) between 1 and 128),
    -- The order; empty where the notification names none, so that uniqueness below holds there too.
    order_no text not null check (length(order_no) <= 256),
    -- The notification that led here.
    notification_id text not null,
    -- The business fact it told.
    meaning_key text not null check (length(meaning_key) between 1 and 512),
    -- moved: the state changed. stayed: the state was kept, but documents or events were written.
    -- none: the run wrote nothing, so its meaning is not used up.
    effect text not null check (effect in ('moved', 'stayed', 'none')),
    -- State before and after; empty where there is no order.
    from_state text not null,
    to_state text not null,
    -- Version of the order afterwards; 0 where there is none.
    version bigint not null check (version >= 0),
    event_type text not null,
    channel text not null,
    -- Which processor decided, to the byte: the SHA-256 of its component in hex.
    plugin text,
    plugin_version text,
    component text check (length(component) = 64),
    -- Which attempt of the notification it was, and what the guest burned.
    attempt bigint not null check (attempt >= 0),
    fuel bigint check (fuel >= 0),
    at_ms bigint not null,
    check (effect <> 'moved' or length(to_state) > 0)
);

-- One meaning has an effect on an order once, whatever the code above believes.
create unique index history_once on history (business, order_no, meaning_key)
    where effect <> 'none';

-- The story of one order in time.
create index history_order on history (business, order_no, at_ms, id);
