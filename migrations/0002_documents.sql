-- Documents: stored things with a version. An order is a document of the collection `orders`
-- and has its terms beside its body, so that the host can check them without reading JSON.

create table documents (
    -- Businesses see only their own documents, so the business leads the key.
    business text not null check (length(business) between 1 and 128),
    -- Such as orders or ledger.
    collection text not null check (length(collection) between 1 and 128),
    -- For an order its order number.
    key text not null check (length(key) between 1 and 256),
    -- Grows by one whenever state or body are written. A run commits only on the version it read.
    version bigint not null check (version >= 1),
    -- State of the order; empty for documents without a state machine.
    state text not null check (length(state) <= 64),
    -- The content, JSON.
    body text not null,
    -- Orders: the registered total and its currency. A notification must agree with it.
    amount_minor bigint check (amount_minor >= 0),
    currency text check (length(currency) = 3),
    -- Orders: the channel it must be paid through; none where any of the business will do.
    channel text check (length(channel) between 1 and 128),
    -- Orders: the registration as it came, JSON. A second registration is compared with this, not
    -- with what the order has become since.
    registered text,
    created_at_ms bigint not null,
    updated_at_ms bigint not null,
    primary key (business, collection, key),
    check ((collection = 'orders') = (amount_minor is not null)),
    check ((collection = 'orders') = (currency is not null)),
    check ((collection = 'orders') = (registered is not null)),
    check (collection = 'orders' or channel is null),
    check (collection <> 'orders' or length(state) > 0)
);

-- The names under which notifications may speak of an order: its own number and its payment
-- numbers.
--
-- A row without order_no is a name that was heard of before its order was registered. Whoever
-- stores a notification for an unknown order and whoever registers that order both lock this row,
-- so on several hosts neither can miss the other.
create table order_aliases (
    business text not null check (length(business) between 1 and 128),
    alias text not null check (length(alias) between 1 and 256),
    -- The order, once it is registered; never changed afterwards.
    order_no text check (length(order_no) between 1 and 256),
    primary key (business, alias)
);

-- All names of one order.
create index order_aliases_order on order_aliases (business, order_no) where order_no is not null;
