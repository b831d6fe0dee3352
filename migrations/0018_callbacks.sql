-- Callbacks as received, the evidence: written once, beside the notifications that they told.
--
-- A notification's row is written four times while it is worked on. What nobody reads meanwhile
-- would be copied each time, so it stands here. Rows of older programs keep theirs in `inbox`,
-- whose columns are empty now.

create table callbacks (
    -- No foreign key: retention removes both.
    notification_id text not null primary key check (length(notification_id) = 36),
    -- The request headers that the channel keeps, as JSON.
    headers text not null,
    -- The callback as received; with part 0 only, since the parts share it.
    raw blob
);
