//! Fills a database with finished notifications as real ones leave them: some went through the real
//! server, and every row that they left, in every table, is written again and again under other
//! names and at other times, in the order in which such rows come.

use callgate_core::time::Timestamp;
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Row as _};

use crate::house::Database;

/// Over how long the notifications came, up to now: 30 days.
const SPAN_MS: i64 = 30 * 86_400_000;

/// How many are written at once, in all tables.
const STEP: i64 = 20_000;

/// A table whose rows belong to a notification, and how they are found by its names.
struct Left {
    table: &'static str,
    found_by: &'static str,
}

/// Everything that a notification leaves.
const LEFT: [Left; 8] = [
    Left { table: "inbox", found_by: "x.id = n.old_id" },
    Left { table: "callbacks", found_by: "x.notification_id = n.old_id" },
    Left {
        table: "documents",
        found_by: "x.business = n.business and x.collection = 'orders' and x.key = n.old_order",
    },
    Left {
        table: "documents",
        found_by: "x.business = n.business and x.collection = 'ledger' and x.key = n.old_payment",
    },
    Left { table: "order_aliases", found_by: "x.business = n.business and x.alias = n.old_order" },
    Left { table: "history", found_by: "x.business = n.business and x.order_no = n.old_order" },
    Left { table: "attempts", found_by: "x.notification_id = n.old_id" },
    Left { table: "outbox", found_by: "x.business = n.business and x.order_no = n.old_order" },
];

/// What a notification is known by. Where a text of a row has one, the copy has another.
const NAMES: [&str; 5] = ["id", "order", "payment", "delivery", "step"];

/// The database that is filled, and the words in which the two differ.
struct Filling {
    connection: AnyConnection,
    database: Database,
    rows: i64,
    models: i64,
    last: Timestamp,
    /// A statement for each table, but which notifications.
    copies: Vec<String>,
}

/// Writes so many finished notifications more, modelled on those that are there.
pub(crate) async fn fill(url: &str, database: Database, (rows, last): (i64, Timestamp)) {
    sqlx::any::install_default_drivers();
    let connection = AnyConnection::connect(url).await.unwrap();
    let mut filling = Filling { connection, database, rows, models: 0, last, copies: Vec::new() };
    filling.prepare().await;
    let mut from = 0;
    while from < rows {
        let to = rows.min(from + STEP);
        filling.write(from, to).await;
        from = to;
    }
    filling.finish().await;
    filling.connection.close().await.unwrap();
}

impl Filling {
    async fn run(&mut self, sql: String) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.connection).await.unwrap();
    }

    async fn ask(&mut self, sql: String) -> i64 {
        let sql = AssertSqlSafe(sql);
        let row = sqlx::query(sql).fetch_one(&mut self.connection).await.unwrap();
        row.try_get(0).unwrap()
    }

    /// Finds the models, and what of them has to be another in a copy.
    async fn prepare(&mut self) {
        let fast = match self.database {
            Database::Sqlite => "pragma synchronous = off; pragma cache_size = -1000000",
            Database::Postgres => "set synchronous_commit = off",
        };
        self.run(fast.to_owned()).await;
        let names: String =
            NAMES.map(|name| format!(", old_{name} text, new_{name} text")).concat();
        self.run(format!(
            "create temporary table names (i bigint primary key, business text, later bigint{names})"
        ))
        .await;
        self.run(
            "create temporary table models (i bigint primary key, business text, id text, \
             order_no text, payment text, delivery text, step text, at_ms bigint)"
                .to_owned(),
        )
        .await;
        self.run(
            "insert into models select row_number() over (order by t.id) - 1, t.business, t.id, \
             t.order_no, t.transaction_id, t.delivery_key, h.id, t.received_at_ms from inbox t \
             join history h on h.business = t.business and h.order_no = t.order_no \
             where t.state = 'done' and t.transaction_id is not null"
                .to_owned(),
        )
        .await;
        self.models = self.ask("select count(*) from models".to_owned()).await;
        assert!(self.models > 0, "there are no models");
        self.name(0, self.models).await;
        for left in &LEFT {
            let copy = self.copy(left).await;
            self.copies.push(copy);
        }
    }

    /// The statement that copies what notifications left in one table.
    async fn copy(&mut self, left: &Left) -> String {
        let Left { table, found_by } = left;
        let columns = match self.database {
            Database::Sqlite => {
                format!("select name, lower(type) as type from pragma_table_info('{table}')")
            }
            Database::Postgres => format!(
                "select cast(column_name as text) as name, cast(data_type as text) as type \
                 from information_schema.columns where table_name = '{table}'"
            ),
        };
        let columns =
            sqlx::query(AssertSqlSafe(columns)).fetch_all(&mut self.connection).await.unwrap();
        let (mut written, mut values) = (Vec::new(), Vec::new());
        for column in &columns {
            let (name, kind): (String, String) =
                (column.try_get("name").unwrap(), column.try_get("type").unwrap());
            let mut value = format!("x.{name}");
            if kind == "text" {
                for what in NAMES {
                    if self.speaks(left, &name, what).await {
                        value = format!("replace({value}, n.old_{what}, n.new_{what})");
                    }
                }
            } else if name.ends_with("at_ms") {
                value = format!("{value} + n.later");
            } else if name == "seq" {
                value = format!("n.i + {} + 1", self.models);
            }
            written.push(name);
            values.push(value);
        }
        format!(
            "insert into {table} ({}) select {} from names n join {table} x on {found_by} order by n.i",
            written.join(", "),
            values.join(", ")
        )
    }

    /// Whether a column has a name of the notification in it.
    async fn speaks(&mut self, Left { table, found_by }: &Left, column: &str, what: &str) -> bool {
        let place = match self.database {
            Database::Sqlite => "instr",
            Database::Postgres => "strpos",
        };
        let sql = format!(
            "select count(*) from names n join {table} x on {found_by} \
             where {place}(x.{column}, n.old_{what}) > 0"
        );
        self.ask(sql).await > 0
    }

    /// Draws the names of the notifications from one place until before another.
    async fn name(&mut self, from: i64, to: i64) {
        let Self { rows, models, .. } = *self;
        let first = self.last.plus_ms(-SPAN_MS).as_ms();
        let sqlite = self.database == Database::Sqlite;
        let hex = |number: &str, digits: u32| match sqlite {
            true => format!("printf('%0{digits}x', {number})"),
            false => format!("lpad(to_hex({number}), {digits}, '0')"),
        };
        let digits = |number: &str, digits: u32| match sqlite {
            true => format!("printf('%0{digits}d', {number})"),
            false => format!("lpad(cast({number} as text), {digits}, '0')"),
        };
        let day = match sqlite {
            true => "strftime('%Y%m%d', ms / 1000, 'unixepoch')",
            false => "to_char(to_timestamp(ms / 1000), 'YYYYMMDD')",
        };
        // Numbers that come in no order, each once: the factors are odd, or prime to the modulus.
        let drawn = |factor: u64| format!("((i + 1) * {factor} % 281474976710656)");
        let time = hex("ms", 12);
        let uuid = |time: &str, version: &str, rest: &str| {
            let rest = hex(rest, 12);
            format!(
                "substr({time}, 1, 8) || '-' || substr({time}, 9, 4) || '-{version}-' || {rest}"
            )
        };
        let id = uuid(&time, "7000-8000", &drawn(2_654_435_761));
        let step = uuid(&time, "7000-9000", &drawn(2_246_822_519));
        let delivery = uuid(&hex(&drawn(3_266_489_917), 12), "4000-8000", &drawn(668_265_263));
        let scattered =
            digits("((i + 1) * 7_919_000_003 % 10_000_000_019)".replace('_', "").as_str(), 10);
        let count = digits("i", 10);
        let order = format!("'CG' || {day} || {scattered} || {count}");
        let payment = format!("'4200' || substr({scattered}, 1, 6) || {day} || {count}");
        let numbers = match sqlite {
            true => format!(
                "with recursive s(i) as (select {from} union all select i + 1 from s where i + 1 < {to}), "
            ),
            false => format!(
                "with s as (select i from generate_series({from}::bigint, {to}::bigint - 1) i), "
            ),
        };
        self.run(format!(
            "delete from names; insert into names {numbers} a as \
             (select i, {first} + i * {SPAN_MS} / {rows} as ms, i % {models} as model from s) \
             select a.i, m.business, a.ms - m.at_ms, m.id, a.new_id, m.order_no, a.new_order, m.payment, \
             a.new_payment, m.delivery, a.new_delivery, m.step, a.new_step from \
             (select i, ms, model, {id} as new_id, {order} as new_order, {payment} as new_payment, \
             {delivery} as new_delivery, {step} as new_step from a) a \
             join models m on m.i = a.model order by a.i"
        ))
        .await;
    }

    /// Writes what these notifications left.
    async fn write(&mut self, from: i64, to: i64) {
        self.run("begin".to_owned()).await;
        self.name(from, to).await;
        for place in 0..self.copies.len() {
            self.run(self.copies[place].clone()).await;
        }
        self.run("commit".to_owned()).await;
    }

    /// What is counted besides, and what a database does at its leisure.
    async fn finish(&mut self) {
        let Self { rows, models, last, .. } = *self;
        self.run(format!("update counters set value = {rows} + {models} where name = 'outbox'"))
            .await;
        let since = last.plus_ms(-COUNTED_MS).as_ms();
        let spans = format!(
            "select received_at_ms - received_at_ms % {COUNT_MS} as from_ms, channel from inbox \
             where received_at_ms >= {since}"
        );
        self.run(format!(
            "delete from callback_counts; insert into callback_counts (from_ms, channel, callbacks) \
             select from_ms, channel, count(*) from ({spans}) s group by from_ms, channel \
             union all select from_ms, '', count(*) from ({spans}) s group by from_ms"
        ))
        .await;
        let rest = match self.database {
            Database::Sqlite => "pragma wal_checkpoint(truncate)",
            Database::Postgres => "vacuum (analyze)",
        };
        self.run(rest.to_owned()).await;
    }
}

/// Callbacks are counted by so many milliseconds, for so long.
const COUNT_MS: i64 = 300_000;
const COUNTED_MS: i64 = 8 * 86_400_000;
