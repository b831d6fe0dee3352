//! Fills a database behind the store's back, so that it looks as after months of work.

use sqlx::{AnyConnection, AssertSqlSafe, Connection as _};

/// What is put in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fill {
    /// Notifications, orders, entries of the history, events and attempts: so many of each.
    pub(crate) rows: i64,
    /// How many of them are archived: the oldest.
    pub(crate) archived: i64,
    /// How many of them are not finished: the youngest.
    pub(crate) open: i64,
    /// When the first of them came, in milliseconds.
    pub(crate) from_ms: i64,
    /// How long after it the next one came, in milliseconds.
    pub(crate) step_ms: i64,
}

/// Fills it; takes a minute for each million rows or two.
pub(crate) async fn fill(url: &str, fill: Fill) {
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(url).await.unwrap();
    let sqlite = url.starts_with("sqlite");
    for sql in texts(fill, sqlite) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    }
    if !sqlite {
        for table in ["inbox", "documents", "order_aliases", "history", "outbox", "attempts"] {
            let sql = format!("vacuum (analyze) {table}");
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        }
    }
    connection.close().await.unwrap();
}

fn texts(fill: Fill, sqlite: bool) -> Vec<String> {
    let Fill { rows, archived, open, from_ms, step_ms } = fill;
    // The two databases have no word in common for this.
    let hex = |number: &str| {
        if sqlite {
            format!("printf('%012x', {number})")
        } else {
            format!("lpad(to_hex({number}), 12, '0')")
        }
    };
    let (time, tail) = (hex("ms"), hex("i"));
    let id =
        format!("substr({time}, 1, 8) || '-' || substr({time}, 9, 4) || '-7000-8000-' || {tail}");
    // Keys come in no order.
    let key = hex("(i * 2654435761) % 281474976710656");
    let blob = if sqlite { "zeroblob(1200)" } else { "decode(repeat('00', 1200), 'hex')" };
    let text = |bytes: u32| {
        if sqlite {
            format!("hex(zeroblob({}))", bytes / 2)
        } else {
            format!("repeat('0', {bytes})")
        }
    };
    let (first_open, body) = (rows - open, text(700));
    let numbers = if sqlite {
        format!(
            "with recursive n(i) as (select 1 union all select i + 1 from n where i < {rows}), \
             a as (select i, {from_ms} + i * {step_ms} as ms from n)"
        )
    } else {
        format!(
            "with a as (select i, {from_ms} + i * {step_ms} as ms \
             from generate_series(1::bigint, {rows}) i)"
        )
    };
    let component = "ab".repeat(32);
    vec![
        format!(
            "insert into inbox (id, channel, business, scene, delivery_key, part, event_type, \
             meaning_key, order_no, subject, transaction_id, payer, amount_minor, currency, body, \
             headers, raw, received_at_ms, state, due_at_ms, attempts, seen, last_seen_at_ms, \
             outcome, plugin, finished_at_ms, archived_at_ms) {numbers} \
             select {id}, 'wechat-main', 'PRODUCT_ORDER', 'WE_CHAT_PAY', 'old-' || {key}, 0, \
             'payment.succeeded', 'payment:' || {key}, 'old-' || i, 'old-' || i, 'tx-' || {key}, \
             case when i > {archived} then 'payer-' || i end, 8800, 'CNY', \
             case when i > {archived} then {body} else '' end, \
             case when i > {archived} then '{{}}' else '' end, \
             case when i > {archived} then {blob} end, ms, \
             case when i > {first_open} then 'ready' else 'done' end, \
             case when i > {first_open} then ms end, 1, 1, ms, \
             case when i <= {first_open} then 'advance' end, 'shop/order-payment', \
             case when i <= {first_open} then ms + 200 end, \
             case when i <= {archived} then ms + 7776000000 end from a"
        ),
        format!(
            "insert into order_aliases (business, alias, order_no) {numbers} \
             select 'PRODUCT_ORDER', 'old-' || i, 'old-' || i from a"
        ),
        format!(
            "insert into documents (business, collection, key, version, state, body, \
             amount_minor, currency, registered, created_at_ms, updated_at_ms) {numbers} \
             select 'PRODUCT_ORDER', 'orders', 'old-' || i, 2, 'TO_BE_PAID', '{{}}', 8800, \
             'CNY', '{{}}', ms, ms from a"
        ),
        format!(
            "insert into history (id, business, order_no, notification_id, meaning_key, effect, \
             from_state, to_state, version, event_type, channel, plugin, plugin_version, \
             component, attempt, fuel, at_ms, events) {numbers} \
             select {id}, 'PRODUCT_ORDER', 'old-' || i, {id}, 'payment:' || {key}, 'moved', \
             'TO_BE_PAID', 'TO_BE_DELIVERED', 2, 'payment.succeeded', 'wechat-main', \
             'shop/order-payment', '1.0.0', '{component}', 1, 1000, ms, 1 from a \
             where i <= {first_open}"
        ),
        format!(
            "insert into outbox (id, seq, business, topic, key, payload, headers, \
             notification_id, order_no, created_at_ms, state) {numbers} \
             select 'event-' || {key}, i, 'PRODUCT_ORDER', 'order.paid', 'old-' || i, {}, '[]', \
             {id}, 'old-' || i, ms, 'ready' from a where i <= {first_open}",
            text(300)
        ),
        format!("update counters set value = {rows} where name = 'outbox'"),
        format!(
            "insert into attempts (notification_id, attempt, step, at_ms, duration_us, outcome, \
             mode, plugin, plugin_version, component, fuel, phases) {numbers} \
             select {id}, 1, 'run', ms, 900, 'advance', 'live', 'shop/order-payment', '1.0.0', \
             '{component}', 1000, {} from a where i > {archived} and i <= {first_open}",
            text(300)
        ),
    ]
}
