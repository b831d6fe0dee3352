//! A database that is held up: every gateway hears its failure answer in time, whether its callback
//! stood in the writer's line or waited in front of it, and what came is taken afterwards.

use std::time::Duration;

use callgate::clock::Stopwatch;
use callgate_trigger::channel::Channel;
use callgate_trigger::message::{Message, Sending};
use futures_util::future::join_all;
use sqlx::{AnyConnection, Connection as _};

use crate::house::{House, keys, now, stage};

/// After so long a gateway gives up waiting for an answer.
const GATEWAY: Duration = Duration::from_secs(5);

fn messages(count: usize) -> Vec<Message> {
    let (stage, mut draw) = stage(Channel::AlipayMain);
    let mut messages = Vec::with_capacity(count);
    for _ in 0..count {
        let purchase = stage.purchase(&mut draw);
        let notice = stage.payment(&purchase, &mut draw);
        messages.push(notice.sign(keys().0, Sending::genuine(now()), &mut draw).expect("signed"));
    }
    messages
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_full_is_answered_with_failure_in_time() {
    // Some twenty callbacks fit into the line, and fewer into a commit.
    let flags = ["store.queue_bytes_max=65536", "store.group_bytes_max=65536"];
    let Some(house) = House::start_set(&flags) else { return };
    let file = house.configuration().with_file_name("callgate.db");
    sqlx::any::install_default_drivers();
    let url = format!("sqlite://{}", file.display());
    let mut other = AnyConnection::connect(&url).await.expect("the database");
    sqlx::raw_sql("begin immediate").execute(&mut other).await.expect("the writer's lock");
    let messages = messages(120);
    let answers = join_all(messages.iter().map(async |message| {
        let watch = Stopwatch::start();
        (house.send(message).await, watch.elapsed())
    }));
    for ((status, body), took) in answers.await {
        assert_eq!((status, body.as_str()), (200, "fail"));
        assert!(took < GATEWAY, "{took:?}");
    }
    sqlx::raw_sql("rollback").execute(&mut other).await.expect("the lock goes");
    other.close().await.expect("it closes");
    for (status, body) in join_all(messages.iter().map(|message| house.send(message))).await {
        assert_eq!((status, body.as_str()), (200, "success"));
    }
    assert!(house.stop(), "the server ends well");
}
