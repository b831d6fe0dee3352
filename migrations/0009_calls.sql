-- Outgoing calls of processors: one log for each notification, in the order of the calls. A run
-- again is answered from it. No foreign key: retention removes both.

create table calls (
    notification_id text not null check (length(notification_id) = 36),
    -- How a call is known again: phase and place, such as action.1, or endpoint and the
    -- processor's own idempotency key, such as erp:ship-7.
    name text not null check (length(name) between 1 and 256),
    -- Its place in the log, from 1.
    seq bigint not null check (seq >= 1),
    phase text not null check (phase in ('action', 'after')),
    endpoint text not null check (length(endpoint) between 1 and 64),
    -- What the endpoint is sent to know a repeat by.
    idempotency_key text not null check (length(idempotency_key) between 1 and 256),
    -- Who asked last: plugin, and attempt of the notification.
    plugin text not null,
    attempt bigint not null check (attempt >= 1),
    -- What was asked. Headers and body are in the digest alone.
    method text not null check (length(method) between 1 and 16),
    path text not null check (length(path) between 1 and 4096),
    request_bytes bigint not null check (request_bytes >= 0),
    request_digest text not null check (length(request_digest) = 64),
    -- How often it was begun; also the right to end it, which a later beginning takes away.
    tries bigint not null check (tries >= 1),
    begun_at_ms bigint not null,
    -- When it ended. Null while it is under way, and where its host died: then nobody knows
    -- whether the request arrived.
    ended_at_ms bigint,
    duration_us bigint check (duration_us >= 0),
    -- The answer, where one came: status, headers as JSON, and the whole body.
    status bigint check (status between 100 and 999),
    headers text,
    body blob,
    -- Bytes that the body was allowed to have; counts where it had more.
    answer_bytes_max bigint not null check (answer_bytes_max >= 0),
    -- Why there is no whole answer: a reason code.
    error text check (length(error) between 1 and 64),
    primary key (notification_id, name),
    check (ended_at_ms is null or status is not null or error is not null),
    check (ended_at_ms is not null or (status is null and error is null))
);
