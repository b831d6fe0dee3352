//! Front ends that wait for an order: by poll, long poll and event streams, on one host.

use std::sync::Arc;

use callgate::clock::Clock;
use callgate::config::{Config, Layers};
use callgate::server::Server;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::json;
use tempfile::TempDir;

use crate::front::SECRET;
use crate::front::{
    ORIGIN, PATIENCE, Said, Stream, answer, claims, house, look, path, purchase, register, signed,
    status_toml, token, waiting,
};
use crate::house::{House, TOKEN, now, plugins_toml, write_configuration};

fn status(id: i64, state: &str) -> Option<Said> {
    Some(Said::Status { id, state: state.to_owned() })
}

#[tokio::test]
async fn a_status_is_small_and_who_has_it_hears_so() {
    let Some(house) = house("") else { return };
    let paid = register(&house).await;
    let order_no = paid.order_no.as_str();
    let (code, tag, told) = answer(look(&house, order_no, "")).await;
    assert_eq!((code, tag.as_str()), (200, "\"1\""));
    let updated = told["updated_at_ms"].as_i64().expect("a time");
    let whole = json!({ "order_no": order_no, "state": "TO_BE_PAID", "version": 1,
        "updated_at_ms": updated });
    assert_eq!(told, whole, "nothing else is told");
    let has = |query: &str, tag: &str| look(&house, order_no, query).header("if-none-match", tag);
    for (request, status) in [
        (has("", "\"1\""), 304),
        (has("", "W/\"1\", \"9\""), 304),
        (has("", "\"0\""), 200),
        (has("?wait=20ms", "\"1\""), 304),
        (has("?wait=20ms&version=1", "\"7\""), 200),
        (look(&house, order_no, "?wait=20ms&version=1"), 200),
        (look(&house, order_no, "?wait=20s&version=0"), 200),
        (look(&house, order_no, "?wait=20s"), 200),
        (look(&house, order_no, "?_=12345"), 200),
        (
            house
                .http
                .head(format!("{}{}", house.status, path(order_no)))
                .bearer_auth(token(order_no)),
            200,
        ),
    ] {
        let (code, tag, _) = answer(request).await;
        assert_eq!((code, tag.as_str()), (status, "\"1\""));
    }
    for query in ["?wait=soon", "?version=x", "?wait=1s&wait=2s", "?version=1&version=1"] {
        let (code, _, told) = answer(look(&house, order_no, query)).await;
        assert_eq!((code, &told["error"]["code"]), (400, &json!("status.query")), "{query}");
    }
    waiting(&house, 0).await;
    assert!(house.stop(), "it ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_is_answered_by_the_change() {
    // Nobody looks for changes of other hosts here: what this host commits wakes by itself.
    let alone = "[engine]\npoll_ms = 3600000\n";
    let toml = format!("{}{alone}", status_toml("127.0.0.1:0", ORIGIN, ""));
    let Some(house) = House::start_with(&toml) else { return };
    let paid = register(&house).await;
    let polls: Vec<_> = ["?wait=20s&version=1", "?wait=20s"]
        .into_iter()
        .map(|query| look(&house, &paid.order_no, query).header("if-none-match", "\"1\""))
        .map(|request| tokio::spawn(answer(request)))
        .collect();
    waiting(&house, 2).await;
    assert_eq!(house.send(&paid.message).await.0, 200);
    for poll in polls {
        let (code, tag, told) = poll.await.expect("it ends");
        assert_eq!((code, tag.as_str()), (200, "\"2\""));
        assert_eq!((&told["state"], &told["version"]), (&json!("TO_BE_DELIVERED"), &json!(2)));
    }
    // Who comes late is answered at once.
    let (code, tag, _) = answer(look(&house, &paid.order_no, "?wait=20s&version=1")).await;
    assert_eq!((code, tag.as_str()), (200, "\"2\""));
    assert_eq!(house.metric("callgate_status_woken_total{how=\"wait\"}").await, 2);
    waiting(&house, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_tells_each_version_and_goes_on_where_it_was_cut() {
    let Some(house) = house("heartbeat_ms = 100") else { return };
    let paid = register(&house).await;
    let query = format!("?token={}", token(&paid.order_no));
    let open = || house.http.get(format!("{}{}{query}", house.status, path(&paid.order_no)));
    let mut stream = Stream::open(open()).await;
    let Some(Said::Retry(retry)) = stream.next().await else { panic!("no hint") };
    assert!((2000..=6000).contains(&retry), "{retry}");
    assert_eq!(stream.next().await, status(1, "TO_BE_PAID"));
    assert_eq!(stream.next().await, Some(Said::Beat));
    assert_eq!(house.send(&paid.message).await.0, 200);
    assert_eq!(stream.event().await, status(2, "TO_BE_DELIVERED"));
    drop(stream);
    waiting(&house, 0).await;
    // Nothing new: only signs of life until the refund.
    let mut stream = Stream::open(open().header("last-event-id", "2")).await;
    assert!(matches!(stream.next().await, Some(Said::Retry(_))));
    assert_eq!(stream.next().await, Some(Said::Beat));
    let mut late = Stream::open(open().header("last-event-id", "1")).await;
    assert_eq!(late.event().await, status(2, "TO_BE_DELIVERED"));
    assert_eq!(house.send(&paid.refund).await.0, 200);
    for stream in [&mut stream, &mut late] {
        let Some(Said::Status { id: 3.., .. }) = stream.event().await else { panic!("no event") };
    }
    assert!(!house.log().contains(&token(&paid.order_no)[..20]), "no token is logged");
    // The end of the server is the end of its streams, and they do not hold it up.
    let ended = tokio::task::spawn_blocking(move || house.stop());
    for stream in [&mut stream, &mut late] {
        assert_eq!(stream.event().await, None);
    }
    assert!(ended.await.expect("it ends"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_by_an_alias_waits_for_the_order() {
    let Some(house) = house("") else { return };
    let mut paid = purchase();
    paid.registration["aliases"] = json!(["PAY-1"]);
    assert_eq!(house.put_order(&paid.order_no, &paid.registration).await.0, 201);
    let mut stream = Stream::open(look(&house, "PAY-1", "")).await;
    assert_eq!(stream.event().await, status(1, "TO_BE_PAID"));
    waiting(&house, 1).await;
    assert_eq!(house.send(&paid.message).await.0, 200);
    assert_eq!(stream.event().await, status(2, "TO_BE_DELIVERED"));
    assert_eq!(answer(look(&house, "PAY-1", "")).await.2["order_no"], json!(paid.order_no));
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_who_wait_are_told_so_and_places_come_free() {
    let more = "waiters_max = 4\nwaiters_per_order_max = 2\nwaiters_per_token_max = 1";
    let Some(house) = house(more) else { return };
    let mut orders = Vec::new();
    for _ in 0..3 {
        orders.push(register(&house).await.order_no);
    }
    let with = |order: &str, token: String| {
        house.http.get(format!("{}{}", house.status, path(order))).bearer_auth(token)
    };
    let other = |order: &str| signed(("k1", SECRET), &claims(order, 601));
    let busy = async |request: reqwest::RequestBuilder| {
        let response = request.header("accept", "text/event-stream").send().await.expect("sent");
        assert_eq!(response.status().as_u16(), 429);
        assert_eq!(response.headers()["retry-after"], "5");
        let told: serde_json::Value = response.json().await.expect("JSON");
        assert_eq!(told["error"]["code"], "status.busy");
    };
    let first = token(&orders[0]);
    let one = Stream::open(with(&orders[0], first.clone())).await;
    busy(with(&orders[0], first.clone())).await;
    let two = Stream::open(with(&orders[0], other(&orders[0]))).await;
    busy(with(&orders[0], signed(("k1", SECRET), &claims(&orders[0], 602)))).await;
    let three = Stream::open(with(&orders[1], token(&orders[1]))).await;
    let four = Stream::open(with(&orders[1], other(&orders[1]))).await;
    busy(with(&orders[2], token(&orders[2]))).await;
    // Who does not wait is answered all the same.
    assert_eq!(answer(look(&house, &orders[2], "")).await.0, 200);
    drop((one, two, three, four));
    waiting(&house, 0).await;
    drop(Stream::open(with(&orders[2], token(&orders[2]))).await);
}

/// A server of this process, whose time is moved by hand.
async fn at_hand(more: &str) -> Option<(Server, Clock, TempDir)> {
    let clock = Clock::manual(now());
    let folder = TempDir::new().expect("a folder");
    let toml = format!("{}{}", plugins_toml()?, status_toml("127.0.0.1:0", ORIGIN, more));
    write_configuration(folder.path(), &toml);
    let file = Some(folder.path().join("callgate.toml"));
    let config = Config::load(&Layers { file, ..Layers::default() }).expect("a configuration");
    let metrics = PrometheusBuilder::new().build_recorder().handle();
    let server = Server::start(config, clock.clone(), metrics).await.expect("a server");
    Some((server, clock, folder))
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_with_their_token_or_of_age_and_polls_with_their_time() {
    let more = "stream_max_ms = 60000\nheartbeat_ms = 300000";
    let Some((server, clock, _folder)) = at_hand(more).await else { return };
    let paid = purchase();
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let url = format!("http://{}/orders/PRODUCT_ORDER/{}", server.private, paid.order_no);
    let put = http.put(&url).bearer_auth(TOKEN).json(&paid.registration).send().await;
    assert_eq!(put.expect("an answer").status(), 201);
    let address = server.status.expect("it listens");
    let ask = |query: &str, in_s: i64| {
        let token = signed(("k1", SECRET), &claims(&paid.order_no, in_s));
        http.get(format!("http://{address}{}{query}", path(&paid.order_no))).bearer_auth(token)
    };
    let mut short = Stream::open(ask("", 30)).await;
    let mut long = Stream::open(ask("", 3600)).await;
    for stream in [&mut short, &mut long] {
        assert_eq!(stream.event().await, status(1, "TO_BE_PAID"));
    }
    let poll =
        tokio::spawn(answer(ask("?wait=10s&version=1", 3600).header("if-none-match", "\"1\"")));
    let cut = tokio::spawn(answer(ask("?wait=20s&version=1", 5)));
    // Time passes for who waits; how far each of them is cannot be seen, so it passes in steps.
    let moving = tokio::spawn({
        let clock = clock.clone();
        async move {
            for _ in 0..120 {
                clock.advance_ms(1000);
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
    });
    assert_eq!(poll.await.expect("it ends").0, 304);
    assert_eq!(cut.await.expect("it ends").0, 200);
    assert_eq!(short.event().await, Some(Said::Expired));
    assert_eq!(short.event().await, None);
    assert_eq!(long.event().await, None, "of age, without a word");
    moving.await.expect("it ends");
    let (code, _, told) = answer(ask("", 30)).await;
    assert_eq!((code, &told["error"]["code"]), (401, &json!("status.token-expired")));
    tokio::time::timeout(PATIENCE, server.stop()).await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_never_read_harm_nobody() {
    let Some(house) = house("heartbeat_ms = 100") else { return };
    let paid = register(&house).await;
    let address = house.status.trim_start_matches("http://").to_owned();
    let mut silent = Vec::new();
    for number in 0..60 {
        let token = signed(("k1", SECRET), &claims(&paid.order_no, 600 + number));
        let stream = std::net::TcpStream::connect(&address).expect("a connection");
        let head = format!(
            "GET {} HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\
             authorization: Bearer {token}\r\n\r\n",
            path(&paid.order_no)
        );
        std::io::Write::write_all(&mut &stream, head.as_bytes()).expect("it is sent");
        silent.push(stream);
    }
    waiting(&house, 60).await;
    let mut stream = Stream::open(look(&house, &paid.order_no, "")).await;
    assert_eq!(stream.event().await, status(1, "TO_BE_PAID"));
    assert_eq!(house.send(&paid.message).await.0, 200);
    assert_eq!(stream.event().await, status(2, "TO_BE_DELIVERED"));
    drop(silent);
    waiting(&house, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_at_an_order_beside_its_change_misses_nothing() {
    let Some(house) = house("waiters_per_order_max = 1000") else { return };
    let house = Arc::new(house);
    for _ in 0..20 {
        let paid = register(&house).await;
        // Polls begin before, while and after the order changes; each must hear of version 2.
        let polls: Vec<_> = (0..8)
            .map(|_| tokio::spawn(answer(look(&house, &paid.order_no, "?wait=25s&version=1"))))
            .collect();
        assert_eq!(house.send(&paid.message).await.0, 200);
        for poll in polls {
            let (code, tag, _) =
                tokio::time::timeout(PATIENCE, poll).await.expect("in time").expect("it ends");
            assert_eq!((code, tag.as_str()), (200, "\"2\""));
        }
    }
}
