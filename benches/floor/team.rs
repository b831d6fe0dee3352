//! As teams write it: a pool of connections, and for each callback a transaction that stores it,
//! looks at the order, moves it and books the payment.

use std::time::Duration;

use sqlx::any::AnyPoolOptions;
use sqlx::{Any, AnyPool, AssertSqlSafe, Row as _};

use super::door::Paid;
use super::{Order, SCHEMA};

pub(super) struct Team {
    pool: AnyPool,
    begin: &'static str,
    /// PostgreSQL locks the order that it looks at; SQLite has one writer anyway.
    lock: &'static str,
}

impl Team {
    pub(super) async fn open(url: &str) -> Self {
        sqlx::any::install_default_drivers();
        let is_sqlite = url.starts_with("sqlite");
        let (connections, greeting) = if is_sqlite {
            // More than one would only wait for each other's locks.
            (1, "pragma journal_mode = wal; pragma synchronous = full")
        } else {
            (10, "set synchronous_commit = on")
        };
        let pool = AnyPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(Duration::from_secs(10))
            .after_connect(move |connection, _| {
                let greeted = sqlx::raw_sql(greeting).execute(connection);
                Box::pin(async move { greeted.await.map(drop) })
            });
        let url = if is_sqlite { format!("{url}?mode=rwc") } else { url.to_owned() };
        let pool = pool.connect(&url).await.unwrap();
        let bytes = if is_sqlite { "blob" } else { "bytea" };
        for table in SCHEMA.into_iter().chain([PAYMENTS]) {
            let table = AssertSqlSafe(table.replace("BYTES", bytes));
            sqlx::raw_sql(table).execute(&pool).await.unwrap();
        }
        let begin = if is_sqlite { "begin immediate" } else { "begin" };
        let lock = if is_sqlite { "" } else { " for update" };
        Self { pool, begin, lock }
    }

    pub(super) async fn register(&self, order: Order) {
        sqlx::query::<Any>(
            "insert into orders (order_no, state, amount_minor) values ($1, 'TO_BE_PAID', $2)",
        )
        .bind(order.order_no)
        .bind(order.amount_minor)
        .execute(&self.pool)
        .await
        .unwrap();
    }

    pub(super) async fn accept(&self, paid: Paid) {
        let mut transaction = self.pool.begin_with(self.begin).await.unwrap();
        let stored = sqlx::query::<Any>(
            "insert into callbacks (delivery_key, order_no, transaction_id, amount_minor, raw) \
             values ($1, $2, $3, $4, $5) on conflict do nothing",
        )
        .bind(&paid.delivery_key)
        .bind(&paid.order_no)
        .bind(&paid.transaction_id)
        .bind(paid.amount_minor)
        .bind(paid.raw.to_vec());
        if stored.execute(&mut *transaction).await.unwrap().rows_affected() == 1 {
            let look =
                format!("select state, amount_minor from orders where order_no = $1{}", self.lock);
            let order = sqlx::query::<Any>(AssertSqlSafe(look)).bind(&paid.order_no);
            let order = order.fetch_one(&mut *transaction).await.unwrap();
            let (state, amount): (String, i64) = (order.get(0), order.get(1));
            if state == "TO_BE_PAID" && amount == paid.amount_minor {
                sqlx::query::<Any>(
                    "update orders set state = 'TO_BE_DELIVERED' where order_no = $1",
                )
                .bind(&paid.order_no)
                .execute(&mut *transaction)
                .await
                .unwrap();
                sqlx::query::<Any>(
                    "insert into payments (transaction_id, order_no, amount_minor) \
                     values ($1, $2, $3)",
                )
                .bind(&paid.transaction_id)
                .bind(&paid.order_no)
                .bind(paid.amount_minor)
                .execute(&mut *transaction)
                .await
                .unwrap();
            }
        }
        transaction.commit().await.unwrap();
    }
}

const PAYMENTS: &str = "create table payments (transaction_id text primary key, \
    order_no text not null, amount_minor bigint not null)";
