//! The floor's store on SQLite: one thread, prepared statements, one transaction for all that
//! waits. Write-ahead log and `synchronous = full`, as Callgate has them.

use std::sync::mpsc;

use rusqlite::{Connection, params};

use super::{Act, Asked, GROUP_MAX, SCHEMA};

/// Opens the file and starts the writer.
pub(super) fn start(url: &str) -> Box<dyn Fn(Asked) + Send + Sync> {
    let connection = Connection::open(url.strip_prefix("sqlite://").unwrap()).unwrap();
    connection.pragma_update(None, "journal_mode", "wal").unwrap();
    connection.pragma_update(None, "synchronous", "full").unwrap();
    for table in SCHEMA {
        connection.execute_batch(&table.replace("BYTES", "blob")).unwrap();
    }
    let (waiting, taken) = mpsc::channel();
    std::thread::spawn(move || work(&connection, &taken));
    Box::new(move |asked| waiting.send(asked).unwrap())
}

fn work(connection: &Connection, taken: &mpsc::Receiver<Asked>) {
    let mut register = connection
        .prepare("insert into orders (order_no, state, amount_minor) values (?, 'TO_BE_PAID', ?)")
        .unwrap();
    let mut insert = connection
        .prepare(
            "insert into callbacks (delivery_key, order_no, transaction_id, amount_minor, raw) \
             values (?, ?, ?, ?, ?) on conflict do nothing",
        )
        .unwrap();
    let mut pay = connection
        .prepare(
            "update orders set state = 'TO_BE_DELIVERED' \
             where order_no = ? and state = 'TO_BE_PAID' and amount_minor = ?",
        )
        .unwrap();
    let mut replies = Vec::with_capacity(GROUP_MAX);
    while let Ok(first) = taken.recv() {
        connection.execute_batch("begin immediate").unwrap();
        let group = std::iter::once(first).chain(taken.try_iter()).take(GROUP_MAX);
        for (act, reply) in group {
            match act {
                Act::Register(order) => {
                    register.execute(params![order.order_no, order.amount_minor]).unwrap();
                }
                Act::Accept(paid) => {
                    let row = params![
                        paid.delivery_key,
                        paid.order_no,
                        paid.transaction_id,
                        paid.amount_minor,
                        &paid.raw[..]
                    ];
                    if insert.execute(row).unwrap() == 1 {
                        pay.execute(params![paid.order_no, paid.amount_minor]).unwrap();
                    }
                }
            }
            replies.push(reply);
        }
        connection.execute_batch("commit").unwrap();
        for reply in replies.drain(..) {
            // Whoever asked may have gone.
            let _ = reply.send(());
        }
    }
}
