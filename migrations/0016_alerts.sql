-- Alerts: what is wrong and how long, what people were told of it, and how many callbacks came.

-- One row for each condition that was raised: many hosts see the same thing, and one of them has
-- it. A row that was cleared stays for a while, so that a host which looks a moment later does not
-- raise the same thing again.
create table alerts (
    -- What it is about, such as oldest or signature:wechat-v3-main.
    condition text not null primary key check (length(condition) between 1 and 256),
    severity text not null check (severity in ('warning', 'critical')),
    -- What is seen, in figures. Never a secret, never personal data.
    summary text not null check (length(summary) between 1 and 2000),
    -- The host that sees it, and until when that is believed of a host that says nothing more.
    owner text not null check (length(owner) between 1 and 256),
    held_until_ms bigint not null,
    -- When it began, and when it had lasted long enough to be raised.
    since_ms bigint not null,
    raised_at_ms bigint not null,
    -- When people were told last, and how often.
    told_at_ms bigint not null,
    told bigint not null check (told >= 1),
    -- When it was over; none while it lasts.
    cleared_at_ms bigint
);

-- What is to be told to whom: written in the transaction that raises or clears a condition, so
-- that neither a robot that is down nor a host that dies swallows it. At most one for each
-- condition and webhook waits: the newest says it all.
create table alert_notices (
    id text not null primary key check (length(id) = 36),
    webhook text not null check (length(webhook) between 1 and 64),
    condition text not null check (length(condition) between 1 and 256),
    -- What is told, JSON.
    notice text not null,
    created_at_ms bigint not null,
    -- When it is sent; none when it was, or was given up.
    due_at_ms bigint,
    attempts bigint not null default 0 check (attempts >= 0),
    -- The host that sends it, and until when it has the right to.
    lease_owner text check (length(lease_owner) between 1 and 256),
    leased_until_ms bigint,
    -- When it was sent. Those of the last minute are what a robot's rate is counted by.
    sent_at_ms bigint,
    -- Why it failed last: a stable code, and a text for people.
    reason_code text,
    reason_text text,
    check ((lease_owner is null) = (leased_until_ms is null))
);

create index alert_notices_due on alert_notices (webhook, due_at_ms) where due_at_ms is not null;

-- One webhook's last notices, and what is old enough to be forgotten.
create index alert_notices_created on alert_notices (webhook, created_at_ms);

-- How many callbacks were stored, by channel and five minutes; the row without a channel is the
-- sum, and says that these minutes were counted. A job counts what is past: callbacks do not wait
-- for it.
create table callback_counts (
    from_ms bigint not null,
    channel text not null check (length(channel) <= 128),
    callbacks bigint not null check (callbacks >= 0),
    primary key (from_ms, channel)
);

-- Orders by when they were registered: those whose time has just passed are looked at. Nothing in
-- it ever changes, so only a registration pays for it.
create index documents_orders_created on documents (created_at_ms) where collection = 'orders';

-- Whoever changes alerts or takes notices holds this row, so that two hosts do it one after the
-- other. Its value counts the changes.
insert into counters (name, value) values ('alerts', 0);
