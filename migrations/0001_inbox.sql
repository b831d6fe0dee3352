-- Notifications, one row for each thing that a verified callback says happened.
--
-- One text for SQLite and PostgreSQL: columns are text, bigint or blob (a domain over bytea on
-- PostgreSQL), times are milliseconds since 1970, amounts are minor units, JSON is text.
-- Lengths are bounded so that no value can be too large for an index of either database.

create table inbox (
    -- A UUID of version 7: later rows sort later. The idempotency key of every run.
    id text not null primary key check (length(id) = 36),
    -- The configured channel that the callback came through.
    channel text not null check (length(channel) between 1 and 128),
    -- Who owns the order. Copied from the channel, so that a changed configuration rewrites nothing.
    business text not null check (length(business) between 1 and 128),
    -- How it is paid; picks the processor together with business, event type and state.
    scene text not null check (length(scene) between 1 and 128),
    -- The gateway's identity of the message: a repeat is counted, not stored again.
    delivery_key text not null check (length(delivery_key) between 1 and 512),
    -- Place in a combined callback, from 0; every part is a notification of its own.
    part bigint not null check (part >= 0),
    -- What happened, normalised, such as payment.succeeded.
    event_type text not null check (length(event_type) between 1 and 128),
    -- The business fact: it may advance an order once.
    meaning_key text not null check (length(meaning_key) between 1 and 512),
    -- Order number as the gateway was given it.
    order_no text check (length(order_no) between 1 and 256),
    -- The order that is spoken of: its own number once it is registered, until then order_no.
    -- Runs on one subject are one after the other.
    subject text check (length(subject) between 1 and 256),
    -- The gateway's number of the payment.
    transaction_id text,
    -- The gateway's number of the refund.
    refund_id text,
    -- The merchant's number of the refund.
    refund_no text,
    -- Who paid, as the gateway names them. Personal data: never in a log.
    payer text,
    -- What moved, in minor units.
    amount_minor bigint,
    -- Currency of amount_minor and refunded_total_minor.
    currency text check (length(currency) = 3),
    -- The order's total as the gateway has it; held against the registered amount.
    order_amount_minor bigint,
    -- Currency of order_amount_minor.
    order_currency text check (length(order_currency) = 3),
    -- Everything refunded so far, where the gateway tells that instead of one refund.
    refunded_total_minor bigint,
    -- The account field that is not the channel's, if any: kept for review, never run.
    mismatch text check (mismatch in ('merchant', 'application')),
    -- When the gateway says it happened.
    occurred_at_ms bigint,
    -- The checked plaintext as JSON: what processors read, and what a replay reads again.
    body text not null,
    -- The request headers that the channel keeps, as JSON.
    headers text not null,
    -- The callback as received, the evidence; with part 0 only, since the parts share it.
    raw blob,
    -- When the host received it. Together with id the order of arrival.
    received_at_ms bigint not null,
    -- ready: waits for a run. parked: waits for its order. after: committed, its last phase is
    -- due. done: nothing left to do. review: a person must look.
    state text not null check (state in ('ready', 'parked', 'after', 'done', 'review')),
    -- When it may be claimed; for parked rows when the wait is over. None when finished, so one
    -- small index holds exactly what is open.
    due_at_ms bigint,
    -- Until when a worker owns it. Nobody needs to clean up after a dead worker: time does.
    leased_until_ms bigint,
    -- The worker. With attempts it is the token that a settlement must show.
    lease_owner text check (length(lease_owner) between 1 and 256),
    -- Counted when claimed, not when finished: that is what ends a crash loop.
    attempts bigint not null default 0 check (attempts >= 0),
    -- How often the gateway sent it.
    seen bigint not null default 1 check (seen >= 1),
    -- When it was sent last.
    last_seen_at_ms bigint not null,
    -- Why it is where it is: a stable code, and a text for people.
    reason_code text,
    reason_text text,
    -- What the host decided last. repeated: another message with this meaning was first.
    outcome text check (outcome in ('advance', 'keep', 'park', 'retry', 'defer', 'review',
        'repeated')),
    -- JSON that a run left for its later phases.
    scratch text,
    -- The processor of the last run.
    plugin text,
    -- When it reached done or review.
    finished_at_ms bigint,
    unique (channel, delivery_key, part),
    check ((order_no is null) = (subject is null)),
    check ((currency is null) = (amount_minor is null and refunded_total_minor is null)),
    check ((order_currency is null) = (order_amount_minor is null)),
    check ((leased_until_ms is null) = (lease_owner is null)),
    check ((state in ('done', 'review')) = (finished_at_ms is not null)),
    check ((state in ('done', 'review')) = (due_at_ms is null)),
    check (finished_at_ms is null or leased_until_ms is null)
);

-- What is open, by when it is due: a claim reads this from the front, and the age of the oldest
-- open row is read from the index alone.
create index inbox_due on inbox (due_at_ms, received_at_ms, id) where due_at_ms is not null;

-- Everything about one order in order of arrival: who must run first, and what an order has heard.
create index inbox_subject on inbox (business, subject, received_at_ms, id);

-- What waits for a person; a few rows among many, so the index holds only them.
create index inbox_review on inbox (finished_at_ms, id) where state = 'review';
