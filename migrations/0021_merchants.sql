-- How many questions a merchant may put at the moment, on all its channels and all hosts together: a
-- bucket that fills with time. Its row is locked by who takes from it. It takes the place of
-- inquiry_rates, which is the same by channel and is read by hosts of earlier versions alone.
create table merchant_rates (
    -- As whom the gateway is asked, such as `wechat:1900000001`.
    merchant text not null primary key check (length(merchant) between 1 and 256),
    -- In parts of a question, see the code.
    level bigint not null,
    at_ms bigint not null
);
