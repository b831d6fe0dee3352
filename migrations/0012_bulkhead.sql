-- Bulkheads: what waits for a plugin that has enough runs under way or failed too often.

-- Exactly the held notifications, by plugin and by when they are looked at again: how many they
-- are, and which come first when the plugin can be run again. Empty while all plugins are well.
create index inbox_held on inbox (plugin, due_at_ms, received_at_ms, id)
    where due_at_ms is not null and reason_code in ('bulkhead.full', 'bulkhead.open');
