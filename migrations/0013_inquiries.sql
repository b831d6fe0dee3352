-- Questions to gateways: what became of a payment or a refund that was not heard of.

-- One row for each number that a gateway may know a payment or a refund by, and for each channel
-- that it may have been paid through. A row whose order was heard of before anybody asked is
-- removed; one that was asked about stays for a while, to be looked at.
create table inquiries (
    business text not null check (length(business) between 1 and 128),
    -- The order, by its own number.
    order_no text not null check (length(order_no) between 1 and 256),
    -- Whom to ask.
    channel text not null check (length(channel) between 1 and 128),
    -- What the gateway was given: the order's number or one of its payment numbers.
    number text not null check (length(number) between 1 and 256),
    -- The merchant's number of the refund; empty where the payment is asked about.
    refund_no text not null check (length(refund_no) <= 256),
    -- When there was something to ask about first: gaps and the end are counted from here.
    begun_at_ms bigint not null,
    -- When it is asked next; while somebody asks, when the lease ends. None when it is over, so one
    -- small index holds exactly what is open.
    due_at_ms bigint,
    -- Questions that were begun. Counted before they are sent: with lease_owner it is the token
    -- that whoever ends a question must show, and a crash cannot ask for ever.
    asked bigint not null default 0 check (asked >= 0),
    -- Of those the ones of the schedule, which the next gap depends on.
    rounds bigint not null default 0 check (rounds >= 0),
    -- When it was asked last.
    asked_at_ms bigint,
    -- The host that asks, and until when it has the right to.
    lease_owner text check (length(lease_owner) between 1 and 256),
    leased_until_ms bigint,
    -- What the last question came to: a stable code.
    last_code text check (length(last_code) between 1 and 64),
    -- When it was over.
    closed_at_ms bigint,
    primary key (business, order_no, channel, number, refund_no),
    check ((lease_owner is null) = (leased_until_ms is null)),
    check (closed_at_ms is null or due_at_ms is null)
);

-- What is open, by channel and by when it is due: a claim reads this from the front.
create index inquiries_due on inquiries (channel, due_at_ms) where due_at_ms is not null;

-- What is over, oldest first: it is removed after a while.
create index inquiries_closed on inquiries (closed_at_ms) where closed_at_ms is not null;

-- How many questions a channel may put at the moment, all hosts together: a bucket that fills with
-- time. Its row is locked by who takes from it, so that many hosts do not ask more than one may.
create table inquiry_rates (
    channel text not null primary key check (length(channel) between 1 and 128),
    -- In parts of a question, see the code.
    level bigint not null,
    at_ms bigint not null
);

-- How far orders were looked through that may be older than the wish to ask about them.
create table inquiry_sweeps (
    business text not null primary key check (length(business) between 1 and 128),
    -- Which channels were to be asked: where that changes, the look begins anew.
    wish text not null,
    -- The order after which the next page begins.
    after_key text not null check (length(after_key) <= 256),
    -- When the last page was looked at; none while there are more.
    finished_at_ms bigint
);
