-- What is looked for by order, in fewer places.
--
-- Orders come in no order of their numbers, so that an entry in an index by order costs a page of
-- its own with every callback: read, logged, synced, copied back. What only people look at stands
-- where the writer is at work anyway.

-- An order's story is two ranges now: entries with an effect are found in history_once, and these
-- are the others.
create index history_idle on history (business, order_no) where effect = 'none';

drop index history_order;

-- The events of an order are those of its notifications, whose ids grow with time.
create index outbox_notification on outbox (notification_id);

drop index outbox_order;

-- The names of an order but its own number, under which it is found by the primary key: most orders
-- have none.
create index order_aliases_other on order_aliases (business, order_no, alias)
    where alias <> order_no;

drop index order_aliases_order;
