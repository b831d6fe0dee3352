//! The floor's store on PostgreSQL: one connection, and one statement for all that waits, which is
//! a transaction by itself. One round trip for each group; `synchronous_commit = on`.

use sqlx::{Connection as _, PgConnection};
use tokio::sync::mpsc;

use super::{Act, Asked, GROUP_MAX, SCHEMA};

/// Connects and starts the writer.
pub(super) async fn start(url: &str) -> Box<dyn Fn(Asked) + Send + Sync> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    for table in SCHEMA {
        let table = sqlx::AssertSqlSafe(table.replace("BYTES", "bytea"));
        sqlx::raw_sql(table).execute(&mut connection).await.unwrap();
    }
    // A plan made for an empty table would scan it for ever after.
    let settings = "set enable_seqscan = off; set enable_hashjoin = off; \
                    set enable_mergejoin = off; set synchronous_commit = on";
    sqlx::raw_sql(settings).execute(&mut connection).await.unwrap();
    let (waiting, taken) = mpsc::unbounded_channel();
    tokio::spawn(work(connection, taken));
    Box::new(move |asked| waiting.send(asked).unwrap())
}

async fn work(mut connection: PgConnection, mut taken: mpsc::UnboundedReceiver<Asked>) {
    let mut asked = Vec::with_capacity(GROUP_MAX);
    while taken.recv_many(&mut asked, GROUP_MAX).await > 0 {
        let (mut orders, mut amounts) = (Vec::new(), Vec::new());
        let mut paid = Vec::with_capacity(asked.len());
        let mut replies = Vec::with_capacity(asked.len());
        for (act, reply) in asked.drain(..) {
            replies.push(reply);
            match act {
                Act::Register(order) => {
                    orders.push(order.order_no);
                    amounts.push(order.amount_minor);
                }
                Act::Accept(one) => paid.push(one),
            }
        }
        if !orders.is_empty() {
            let register = sqlx::query(REGISTER).bind(orders).bind(amounts);
            register.execute(&mut connection).await.unwrap();
        }
        if !paid.is_empty() {
            let accept = sqlx::query(ACCEPT)
                .bind(paid.iter().map(|one| one.delivery_key.as_str()).collect::<Vec<_>>())
                .bind(paid.iter().map(|one| one.order_no.as_str()).collect::<Vec<_>>())
                .bind(paid.iter().map(|one| one.transaction_id.as_str()).collect::<Vec<_>>())
                .bind(paid.iter().map(|one| one.amount_minor).collect::<Vec<_>>())
                .bind(paid.iter().map(|one| &one.raw[..]).collect::<Vec<_>>());
            accept.execute(&mut connection).await.unwrap();
        }
        for reply in replies {
            // Whoever asked may have gone.
            let _ = reply.send(());
        }
    }
}

const REGISTER: &str = "insert into orders (order_no, state, amount_minor) \
    select v.order_no, 'TO_BE_PAID', v.amount_minor \
    from unnest($1::text[], $2::bigint[]) as v(order_no, amount_minor)";

const ACCEPT: &str = "with stored as ( \
        insert into callbacks (delivery_key, order_no, transaction_id, amount_minor, raw) \
        select * from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bytea[]) \
        on conflict do nothing returning order_no, amount_minor) \
    update orders set state = 'TO_BE_DELIVERED' from stored \
    where orders.order_no = stored.order_no and orders.state = 'TO_BE_PAID' \
    and orders.amount_minor = stored.amount_minor";
