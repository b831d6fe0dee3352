//! The rival: the same rows, one prepared statement each, one commit a group, and no question
//! asked.

use callgate_store::Callback;
use sqlx::{Any, AnyConnection, Connection as _};

use crate::acts::at;

/// A connection, and how many statements it was sent.
pub(crate) struct Bare {
    connection: AnyConnection,
    begin: &'static str,
    seq: i64,
    pub(crate) statements: u64,
}

impl Bare {
    pub(crate) async fn open(url: &str) -> Self {
        let mut connection = AnyConnection::connect(url).await.unwrap();
        let begin = if url.starts_with("sqlite") {
            let pragmas = "pragma journal_mode = wal; pragma synchronous = full";
            sqlx::raw_sql(pragmas).execute(&mut connection).await.unwrap();
            "begin immediate"
        } else {
            "begin"
        };
        Self { connection, begin, seq: 0, statements: 0 }
    }

    /// Names and orders, which exist before their callbacks do.
    pub(crate) async fn register(&mut self, callbacks: &[Callback]) {
        self.send(sqlx::query::<Any>(self.begin)).await;
        for callback in callbacks {
            let order_no = callback.verified.notifications()[0].order_no.clone().unwrap();
            let name = sqlx::query::<Any>(
                "insert into order_aliases (business, alias, order_no) values ($1, $2, $2)",
            );
            self.send(name.bind(callback.business.clone()).bind(order_no.clone())).await;
            let document = sqlx::query::<Any>(
                "insert into documents (business, collection, key, version, state, body, \
                 amount_minor, currency, registered, created_at_ms, updated_at_ms) \
                 values ($1, 'orders', $2, 1, 'TO_BE_PAID', '{\"items\":[1,2]}', 8800, 'CNY', \
                 '{}', $3, $3)",
            );
            let document = document.bind(callback.business.clone()).bind(order_no);
            self.send(document.bind(at(0).as_ms())).await;
        }
        self.send(sqlx::query::<Any>("commit")).await;
    }

    pub(crate) async fn accept(&mut self, callbacks: &[Callback], ids: &[String]) {
        self.send(sqlx::query::<Any>(self.begin)).await;
        for (callback, id) in callbacks.iter().zip(ids) {
            let told = &callback.verified.notifications()[0];
            let name = sqlx::query::<Any>(
                "insert into order_aliases (business, alias) values ($1, $2) \
                 on conflict do nothing",
            );
            self.send(name.bind(callback.business.clone()).bind(told.order_no.clone())).await;
            let amount = told.amount.unwrap();
            let row = sqlx::query::<Any>(
                "insert into inbox (id, channel, business, scene, delivery_key, part, event_type, \
                 meaning_key, order_no, subject, transaction_id, payer, amount_minor, currency, \
                 body, headers, raw, received_at_ms, due_at_ms, last_seen_at_ms, state) \
                 values ($1, $2, $3, $4, $5, 0, $6, $7, $8, $8, $9, $10, $11, $12, $13, $14, $15, \
                 $16, $16, $16, 'ready')",
            )
            .bind(id.clone())
            .bind(callback.channel.clone())
            .bind(callback.business.clone())
            .bind(callback.scene.clone())
            .bind(callback.verified.delivery_key().to_owned())
            .bind(told.event_type.as_str().to_owned())
            .bind(told.meaning_key.clone())
            .bind(told.order_no.clone())
            .bind(told.transaction_id.clone())
            .bind(told.payer.clone())
            .bind(amount.minor)
            .bind(amount.currency.as_str().to_owned())
            .bind(told.body.clone())
            .bind(callback.headers.clone())
            .bind(callback.raw.clone())
            .bind(at(0).as_ms());
            self.send(row).await;
        }
        self.send(sqlx::query::<Any>("commit")).await;
    }

    pub(crate) async fn settle(&mut self, callbacks: &[Callback], ids: &[String]) {
        self.send(sqlx::query::<Any>(self.begin)).await;
        for (callback, id) in callbacks.iter().zip(ids) {
            self.seq += 1;
            self.settle_one(callback, id).await;
        }
        let counter = sqlx::query::<Any>("update counters set value = $1 where name = 'outbox'");
        self.send(counter.bind(self.seq)).await;
        self.send(sqlx::query::<Any>("commit")).await;
    }

    async fn settle_one(&mut self, callback: &Callback, id: &str) {
        let told = &callback.verified.notifications()[0];
        let (business, now) = (callback.business.as_str(), at(2).as_ms());
        let order_no = told.order_no.clone().unwrap();
        let order = sqlx::query::<Any>(
            "update documents set version = version + 1, state = 'TO_BE_DELIVERED', \
             body = '{\"paid\":true}', updated_at_ms = $3 \
             where business = $1 and collection = 'orders' and key = $2 and version = 1",
        );
        self.send(order.bind(business.to_owned()).bind(order_no.clone()).bind(now)).await;
        let ledger = sqlx::query::<Any>(
            "insert into documents (business, collection, key, version, state, body, \
             created_at_ms, updated_at_ms) \
             values ($1, 'ledger', $2, 1, '', '{\"amount\":8800}', $3, $3)",
        );
        self.send(ledger.bind(business.to_owned()).bind(order_no.clone()).bind(now)).await;
        let history = sqlx::query::<Any>(
            "insert into history (id, business, order_no, notification_id, meaning_key, effect, \
             from_state, to_state, version, event_type, channel, plugin, plugin_version, \
             component, attempt, fuel, at_ms) values ($1, $2, $3, $1, $4, 'moved', 'TO_BE_PAID', \
             'TO_BE_DELIVERED', 2, $5, $6, 'shop/order-payment', '1.0.0', $7, 1, 1000, $8)",
        )
        .bind(id.to_owned())
        .bind(business.to_owned())
        .bind(order_no.clone())
        .bind(told.meaning_key.clone())
        .bind(told.event_type.as_str().to_owned())
        .bind(callback.channel.clone())
        .bind("ab".repeat(32))
        .bind(now);
        self.send(history).await;
        let attempt = sqlx::query::<Any>(
            "insert into attempts (notification_id, attempt, step, at_ms, duration_us, outcome, \
             mode, plugin, plugin_version, component, fuel, phases) values ($1, 1, 'run', $2, 0, \
             'advance', 'live', 'shop/order-payment', '1.0.0', $3, 1000, '[]')",
        );
        self.send(attempt.bind(id.to_owned()).bind(now).bind("ab".repeat(32))).await;
        let row = sqlx::query::<Any>(
            "update inbox set state = 'done', due_at_ms = null, outcome = 'advance', \
             plugin = 'shop/order-payment', attempts = 1, finished_at_ms = $2 where id = $1",
        );
        self.send(row.bind(id.to_owned()).bind(now)).await;
        let event = sqlx::query::<Any>(
            "insert into outbox (id, seq, business, topic, key, payload, headers, \
             notification_id, order_no, created_at_ms, state) values ($1, $2, $3, 'order.paid', \
             $4, '{}', '[[\"kind\",\"story\"]]', $5, $4, $6, 'ready')",
        );
        let event = event.bind(format!("{id}/save/0")).bind(self.seq).bind(business.to_owned());
        self.send(event.bind(order_no).bind(id.to_owned()).bind(now)).await;
    }

    async fn send(&mut self, query: sqlx::query::Query<'_, Any, sqlx::any::AnyArguments>) {
        self.statements += 1;
        query.execute(&mut self.connection).await.unwrap();
    }
}
