//! Fills a database behind the store's back, so that it looks as after months of work.

use sqlx::{AnyConnection, AssertSqlSafe, Connection as _};

/// Tables that are filled.
const TABLES: [&str; 7] =
    ["inbox", "documents", "order_aliases", "history", "outbox", "attempts", "deliveries"];

/// What is put in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fill {
    /// The number of the first row.
    pub(crate) first: i64,
    /// The number of the last notification, order, entry of the history, event and attempt.
    pub(crate) rows: i64,
    /// Up to which number they are archived: the oldest.
    pub(crate) archived: i64,
    /// How many of them are not finished: the youngest.
    pub(crate) open: i64,
    /// When the one before number one would have come, in milliseconds.
    pub(crate) from_ms: i64,
    /// How long after it the next one came, in milliseconds.
    pub(crate) step_ms: i64,
    /// Whether PostgreSQL has looked at its tables since; else it takes them for small ones.
    pub(crate) analyzed: bool,
}

/// Fills it; takes a minute for each million rows or two.
pub(crate) async fn fill(url: &str, fill: Fill) {
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(url).await.unwrap();
    let sqlite = url.starts_with("sqlite");
    let words = Words::new(fill, sqlite);
    if !sqlite {
        // Stories look at the plans of the store, not at these.
        let quiet = "set auto_explain.log_min_duration = -1";
        sqlx::raw_sql(quiet).execute(&mut connection).await.unwrap();
    }
    let texts = [words.inbox()].into_iter().chain(words.orders());
    for sql in texts.chain(words.runs()).chain(words.events()) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    }
    if !sqlite && fill.analyzed {
        for table in TABLES {
            let sql = format!("vacuum (analyze) {table}");
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        }
    }
    // A backlog that came since the database looked at its tables last.
    sqlx::raw_sql(AssertSqlSafe(words.backlog())).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// The words in which the two databases differ, and the rows' own numbers.
struct Words {
    fill: Fill,
    sqlite: bool,
    /// `a(i, ms)`: number and time of every row.
    numbers: String,
    /// An id that begins with its time, as those of the store do.
    id: String,
    /// A key; keys come in no order.
    key: String,
}

impl Words {
    fn new(fill: Fill, sqlite: bool) -> Self {
        let Fill { first, rows, from_ms, step_ms, .. } = fill;
        let hex = |number: &str| {
            if sqlite {
                format!("printf('%012x', {number})")
            } else {
                format!("lpad(to_hex({number}), 12, '0')")
            }
        };
        let (time, tail) = (hex("ms"), hex("i"));
        let id = format!(
            "substr({time}, 1, 8) || '-' || substr({time}, 9, 4) || '-7000-8000-' || {tail}"
        );
        let row = format!("select i, {from_ms} + i * {step_ms} as ms from");
        let numbers = if sqlite {
            format!(
                "with recursive n(i) as (select {first} union all select i + 1 from n where i < {rows}), \
                 a as ({row} n)"
            )
        } else {
            format!("with a as ({row} generate_series({first}::bigint, {rows}) i)")
        };
        let key = hex("(i * 2654435761) % 281474976710656");
        Self { fill, sqlite, numbers, id, key }
    }

    /// A text of so many characters.
    fn text(&self, characters: u32) -> String {
        if self.sqlite {
            format!("hex(zeroblob({}))", characters / 2)
        } else {
            format!("repeat('0', {characters})")
        }
    }

    fn inbox(&self) -> String {
        let Self { fill: Fill { archived, .. }, numbers, id, key, .. } = self;
        let body = self.text(700);
        let blob = if self.sqlite { "zeroblob(1200)" } else { "decode(repeat('00', 1200), 'hex')" };
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
             'done', null, 1, 1, ms, 'advance', 'shop/order-payment', ms + 200, \
             case when i <= {archived} then ms + 7776000000 end from a"
        )
    }

    /// The youngest are not finished after all.
    fn backlog(&self) -> String {
        format!(
            "update inbox set state = 'ready', due_at_ms = received_at_ms, outcome = null, \
             finished_at_ms = null where id in \
             (select id from inbox where delivery_key like 'old-%' order by id desc limit {})",
            self.fill.open
        )
    }

    fn orders(&self) -> [String; 2] {
        let Self { numbers, .. } = self;
        [
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
        ]
    }

    /// What runs left behind.
    fn runs(&self) -> [String; 2] {
        let Self { fill: Fill { rows, archived, open, .. }, numbers, id, key, .. } = self;
        let (first_open, phases, component) = (rows - open, self.text(300), "ab".repeat(32));
        [
            format!(
                "insert into history (id, business, order_no, notification_id, meaning_key, \
                 effect, from_state, to_state, version, event_type, channel, plugin, \
                 plugin_version, component, attempt, fuel, at_ms, events) {numbers} \
                 select {id}, 'PRODUCT_ORDER', 'old-' || i, {id}, 'payment:' || {key}, 'moved', \
                 'TO_BE_PAID', 'TO_BE_DELIVERED', 2, 'payment.succeeded', 'wechat-main', \
                 'shop/order-payment', '1.0.0', '{component}', 1, 1000, ms, 1 from a \
                 where i <= {first_open}"
            ),
            format!(
                "insert into attempts (notification_id, attempt, step, at_ms, duration_us, \
                 outcome, mode, plugin, plugin_version, component, fuel, phases) {numbers} \
                 select {id}, 1, 'run', ms, 900, 'advance', 'live', 'shop/order-payment', \
                 '1.0.0', '{component}', 1000, {phases} from a \
                 where i > {archived} and i <= {first_open}"
            ),
        ]
    }

    /// Events, of which a sink did not take one in two thousand.
    fn events(&self) -> [String; 3] {
        let Self { fill: Fill { rows, open, .. }, numbers, id, key, .. } = self;
        let (first_open, payload) = (rows - open, self.text(300));
        [
            format!(
                "insert into outbox (id, seq, business, topic, key, payload, headers, \
                 notification_id, order_no, created_at_ms, state) {numbers} \
                 select 'event-' || {key}, i, 'PRODUCT_ORDER', 'order.paid', 'old-' || i, \
                 {payload}, '[]', {id}, 'old-' || i, ms, 'ready' from a where i <= {first_open}"
            ),
            format!("update counters set value = {rows} where name = 'outbox'"),
            format!(
                "insert into deliveries (sink, seq, event_id, state, attempts, due_at_ms, \
                 changed_at_ms) {numbers} select 'erp', i, 'event-' || {key}, 'dead', 1, ms, ms \
                 from a where i % 2000 = 7 and i <= {first_open}"
            ),
        ]
    }
}
