-- What operators see and do: every attempt at a notification, replays, and who did what and why.

-- When an operator last had it run again. Its attempts and its age are counted from then on, and
-- the processor is told that this is a replay.
alter table inbox add column replayed_at_ms bigint;

-- Attempts that do not count: those before that, and those in which it waited for something else
-- or lost a race. `attempts` itself only grows: it is half of the token of a lease.
alter table inbox add column attempts_before bigint not null default 0
    check (attempts_before >= 0);

-- When an operator discarded it. A column of its own, so that a host which does not know it yet
-- goes on with the outcomes that it knows.
alter table inbox add column discarded_at_ms bigint;

-- Searches without an order, and replays of many, go through notifications by arrival.
create index inbox_received on inbox (received_at_ms, id);

-- The same for what waits for a person, which is what is searched for most.
create index inbox_review_received on inbox (received_at_ms, id) where state = 'review';

-- One row for each attempt that came to an end. An attempt that is missing here was begun and
-- never ended: its host died. No foreign key: retention removes both.
create table attempts (
    notification_id text not null check (length(notification_id) = 36),
    attempt bigint not null check (attempt >= 1),
    -- run: up to the commit. after: the last phase, which may follow under the same attempt.
    step text not null check (step in ('run', 'after')),
    at_ms bigint not null,
    -- From the claim to the decision, waiting for the outside included.
    duration_us bigint not null check (duration_us >= 0),
    -- What became of it: the outcome, or conflict, released, repeated where the commit had the
    -- last word; for the last phase done, retry or review.
    outcome text not null check (length(outcome) between 1 and 64),
    reason_code text,
    reason_text text,
    -- Whether the notification was live or an operator's replay.
    mode text not null check (mode in ('live', 'replay')),
    -- Which processor ran, to the byte; none where the host decided alone.
    plugin text,
    plugin_version text,
    component text check (length(component) = 64),
    fuel bigint check (fuel >= 0),
    -- JSON: a list of phases, each with its fuel and duration.
    phases text not null,
    primary key (notification_id, attempt, step)
);

-- Replays of many notifications. They are worked off in small steps; each step is one
-- transaction that moves the cursor together with the notifications, so that a host may die at
-- any point and the next one goes on behind the last step.
create table replays (
    id text not null primary key check (length(id) = 36),
    -- What is replayed, JSON.
    filter text not null,
    who text not null check (length(who) between 1 and 128),
    why text not null check (length(why) between 1 and 1000),
    rate_per_s bigint not null check (rate_per_s between 1 and 10000),
    -- How many fitted the filter at the start, replayed so far, and left out because somebody
    -- worked on them or their state had changed.
    total bigint not null check (total >= 0),
    done bigint not null check (done >= 0),
    skipped bigint not null check (skipped >= 0),
    state text not null check (state in ('running', 'cancelled', 'finished')),
    -- The last notification that was looked at, in order of arrival.
    cursor_ms bigint not null,
    cursor_id text not null,
    -- When the next step is due: this is what keeps the rate across hosts and restarts.
    next_at_ms bigint not null,
    -- Notifications that arrive later are not replayed.
    created_at_ms bigint not null,
    finished_at_ms bigint,
    check ((state = 'running') = (finished_at_ms is null))
);

create index replays_due on replays (next_at_ms, id) where state = 'running';

create index replays_created on replays (created_at_ms, id);

-- Every act of an operator. Rows are only added.
create table audit (
    id text not null primary key check (length(id) between 1 and 128),
    at_ms bigint not null,
    who text not null check (length(who) between 1 and 128),
    act text not null check (length(act) between 1 and 64),
    -- The id of a notification or of a replay of many.
    target text not null check (length(target) between 1 and 256),
    why text not null check (length(why) between 1 and 1000),
    -- What it did.
    result text not null
);

create index audit_target on audit (target, at_ms, id);

create index audit_time on audit (at_ms, id);
