//! Looks at a server and its database: how long a start takes, what a look at the metrics takes, and
//! how large the database is.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use sqlx::{AnyConnection, Connection as _, Row as _};
use std::time::Instant;

use crate::house::{Database, Ground, Place, TOKEN, Who};

/// A start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    /// From the program's start until it says that it could store a callback.
    pub(crate) ready_ms: f64,
    /// A look at its metrics.
    pub(crate) metrics_ms: f64,
}

/// Starts a server, asks whether it is ready, looks at its metrics, and ends it.
pub(crate) fn start(ground: &Ground, place: &Place) -> Start {
    let begun = Instant::now();
    let served = ground.serve(Who::Callgate, place, &[]);
    let address = served.private.trim_start_matches("http://").to_owned();
    assert!(ask(&address, "/readyz").starts_with("HTTP/1.1 200"), "{}", served.log());
    let ready_ms = begun.elapsed().as_secs_f64() * 1000.0;
    let begun = Instant::now();
    let metrics = ask(&address, "/metrics");
    assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
    Start { ready_ms, metrics_ms: begun.elapsed().as_secs_f64() * 1000.0 }
}

fn ask(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {TOKEN}\r\n\
         connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Bytes of a database on disk.
pub(crate) fn bytes(ground: &Ground, on: Database, place: &Place) -> i64 {
    let sql = match on {
        Database::Sqlite => {
            "select page_count * page_size from pragma_page_count, pragma_page_size"
        }
        Database::Postgres => "select pg_database_size(current_database())",
    };
    sqlx::any::install_default_drivers();
    ground.runtime.block_on(async {
        let mut connection = AnyConnection::connect(&place.url).await.unwrap();
        let row = sqlx::query(sql).fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        row.try_get(0).unwrap()
    })
}
