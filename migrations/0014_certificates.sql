-- What gateways sign with, where they handed it out themselves, and when they were asked for it.

create table platform_certificates (
    channel text not null check (length(channel) between 1 and 64),
    -- Upper-case hex without leading zeros.
    serial text not null check (length(serial) between 1 and 64),
    pem text not null check (length(pem) between 1 and 65536),
    valid_from_ms bigint not null,
    valid_to_ms bigint not null,
    -- When it was handed out last.
    fetched_at_ms bigint not null,
    primary key (channel, serial)
);

-- One row for each channel: whoever moves `asked_at_ms` on is the host that asks.
create table certificate_asks (
    channel text not null primary key check (length(channel) between 1 and 64),
    asked_at_ms bigint not null,
    -- When an answer came last that was believed.
    answered_at_ms bigint
);
