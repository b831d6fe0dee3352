//! Outgoing calls, from outside: one call a notification however often it is run again, one key,
//! and endpoints that are slow, down, too talkative or not to be reached.

use std::time::Duration;

use serde_json::{Value, json};

use crate::erp::{Erp, Field, Reply, caller_toml, databases, endpoint_toml, post};
use crate::house::callgate;

/// The configuration of a processor that sends these, and of its endpoint.
fn calling(erp: &Erp, config: &Value, more: &str) -> Option<String> {
    Some(format!("{}{}", caller_toml(config, "")?, erp.toml(more)))
}

fn keys_of(heard: &[crate::erp::Heard]) -> Vec<(String, String)> {
    heard.iter().map(|one| (one.path.clone(), one.key().to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_succeeded_is_made_once_however_often_its_run_dies() {
    for database in databases().await {
        // The first call is answered; the second hangs, and that is where the host dies.
        let erp = Erp::start_with(|heard| match heard.path.as_str() {
            "/first" => Reply::Now(201, "made".to_owned()),
            _ => Reply::Silence,
        })
        .await;
        let config = json!({ "requests": [post("/first"), post("/second")] });
        let Some(toml) = calling(&erp, &config, "timeout_ms = 5000") else { return };
        let mut field = Field::start(database, &toml, &[]);
        let order = field.pay(&json!({})).await;
        for deaths in 1..=3 {
            erp.when_heard(1 + deaths).await;
            field.kill_and_restart();
        }
        erp.set_mood(|_| Reply::Now(200, "done".to_owned()));
        assert_eq!(field.calls_when_paid(&order).await, json!(["201 made", "200 done"]));
        let about = field.about(&order, |found| found["state"] == "done").await;
        let id = about["id"].as_str().expect("an id");
        let heard = erp.heard();
        let mut expected = vec![("/first".to_owned(), format!("{id}.action.1"))];
        expected.resize(heard.len(), ("/second".to_owned(), format!("{id}.action.2")));
        assert_eq!(keys_of(&heard), expected);
        assert!(heard.len() >= 5, "{heard:#?}");
        let calls = about["calls"].as_array().expect("calls");
        assert_eq!(calls.len(), 2, "{calls:#?}");
        assert_eq!((&calls[0]["tries"], &calls[0]["status"]), (&json!(1), &json!(201)));
        assert_eq!((&calls[0]["answer"], &calls[1]["answer"]), (&json!("made"), &json!("done")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_dies_before_it_hears_the_answer_repeats_the_key() {
    for database in databases().await {
        let erp = Erp::start_with(|_| Reply::Silence).await;
        let config = json!({ "requests": [post("/orders/{order}")] });
        let Some(toml) = calling(&erp, &config, "timeout_ms = 5000") else { return };
        let mut field = Field::start(database, &toml, &[]);
        let order = field.pay(&json!({})).await;
        erp.when_heard(1).await;
        field.kill_and_restart();
        erp.set_mood(|_| Reply::status(200));
        field.calls_when_paid(&order).await;
        let heard = erp.heard();
        assert_eq!(heard.len(), 2);
        assert_eq!((heard[0].key(), &heard[0].body), (heard[1].key(), &heard[1].body));
        assert_eq!(heard[0].path, format!("/orders/{}", order.order_no));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_fails_is_the_processors_retry_with_the_same_key() {
    for database in databases().await {
        let mut answers = [503, 500, 429].into_iter();
        let erp = Erp::start_with(move |_| Reply::status(answers.next().unwrap_or(200))).await;
        let config = json!({ "requests": [post("/orders")], "after": [post("/followed")] });
        let Some(toml) = calling(&erp, &config, "") else { return };
        let field = Field::start(database, &toml, &[]);
        let order = field.pay(&json!({})).await;
        assert_eq!(field.calls_when_paid(&order).await, json!(["200 "]));
        let about = field.about(&order, |found| found["state"] == "done").await;
        let id = about["id"].as_str().expect("an id");
        let mut expected = vec![("/orders".to_owned(), format!("{id}.action.1")); 4];
        expected.push(("/followed".to_owned(), format!("{id}.after.1")));
        assert_eq!(keys_of(&erp.heard()), expected);
        assert_eq!(field.metric("callgate_calls_total{endpoint=\"erp\",class=\"2xx\"}").await, 2);
        assert_eq!(field.metric("callgate_calls_total{endpoint=\"erp\",class=\"5xx\"}").await, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_down_is_called_when_it_is_up() {
    for database in databases().await {
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = port.local_addr().expect("an address").to_string();
        drop(port);
        let config = json!({ "requests": [post("/orders")] });
        let Some(caller) = caller_toml(&config, "") else { return };
        // The circuit may open meanwhile; it asks again soon.
        let more = "circuit = { failures = 1, first_ms = 50, max_ms = 100 }";
        let toml = format!("{caller}{}", endpoint_toml(&format!("http://{address}"), more));
        let field = Field::start(database, &toml, &[]);
        let order = field.pay(&json!({})).await;
        let waits = field.about(&order, |found| found["outcome"] == "defer").await;
        assert_eq!(waits["reason_code"], "plugin.endpoint-failed", "{waits:#}");
        let error = waits["calls"][0]["error"].as_str().expect("an error");
        assert!(["calls.unreachable", "calls.circuit"].contains(&error), "{waits:#}");
        let erp = Erp::start_at(&address, |_| Reply::status(200)).await;
        field.calls_when_paid(&order).await;
        assert_eq!(erp.heard().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_endpoint_delays_nobody_who_does_not_call_it() {
    for database in databases().await {
        let erp = Erp::start_with(|_| Reply::Silence).await;
        let config = json!({ "requests": [post("/orders")] });
        // More notifications than workers hang at the endpoint or wait for it.
        let Some(toml) = calling(&erp, &config, "timeout_ms = 60000\nwait_ms = 50") else { return };
        let flags = [
            "engine.workers=24",
            "plugins.caller.limits.concurrency=24",
            "engine.retry.max_ms=60000",
            "engine.retry.first_ms=30000",
        ];
        let field = Field::start(database, &toml, &flags);
        for _ in 0..40 {
            field.pay(&json!({})).await;
        }
        let mut quiet = Vec::new();
        for _ in 0..10 {
            quiet.push(field.pay(&json!({ "quiet": true })).await);
        }
        for order in &quiet {
            assert_eq!(field.calls_when_paid(order).await, json!([]));
        }
        assert_eq!(erp.heard().len(), 16, "so many at once, and no more");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_outlasts_the_lease_is_not_taken_over() {
    for database in databases().await {
        let erp = Erp::start_with(|_| Reply::After(Duration::from_millis(2_500), 200)).await;
        let config = json!({ "requests": [post("/orders")] });
        let Some(toml) = calling(&erp, &config, "timeout_ms = 5000") else { return };
        // The lease alone is over after a second, and the other host looks for work all the time.
        let field = Field::start(database, &toml, &[]);
        let _other = field.another(&toml, &[]);
        let order = field.pay(&json!({})).await;
        field.calls_when_paid(&order).await;
        let about = field.about(&order, |found| found["state"] == "done").await;
        assert_eq!((erp.heard().len(), &about["attempts"]), (1, &json!(1)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_request_under_the_same_name_goes_to_review_and_is_never_sent() {
    for database in databases().await {
        let erp = Erp::start_with(|heard| match heard.path.as_str() {
            "/first" => Reply::status(200),
            _ => Reply::Silence,
        })
        .await;
        let mut first = post("/first");
        first["body"] = json!("attempt {attempt}");
        let config = json!({ "requests": [first, post("/second")] });
        let Some(toml) = calling(&erp, &config, "timeout_ms = 5000") else { return };
        let mut field = Field::start(database, &toml, &[]);
        let order = field.pay(&json!({})).await;
        erp.when_heard(2).await;
        field.kill_and_restart();
        let about = field.about(&order, |found| found["state"] == "review").await;
        assert_eq!(about["reason_code"], "calls.differs", "{about:#}");
        assert_eq!(erp.heard().len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_endpoint_refused_is_asked_again_when_an_operator_replays() {
    for database in databases().await {
        let erp = Erp::start_with(|_| Reply::status(401)).await;
        let config = json!({ "requests": [post("/orders")] });
        let Some(toml) = calling(&erp, &config, "") else { return };
        let field = Field::start(database, &toml, &[]);
        let order = field.pay(&json!({})).await;
        let about = field.about(&order, |found| found["state"] == "review").await;
        assert_eq!(about["reason_code"], "plugin.endpoint-refused", "{about:#}");
        erp.set_mood(|_| Reply::status(200));
        assert_eq!(field.operate(about["id"].as_str().expect("an id"), "replay").await, 200);
        field.calls_when_paid(&order).await;
        let heard = erp.heard();
        assert_eq!((heard.len(), heard[0].key()), (2, heard[1].key()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_sends_for_ever_is_stopped_by_its_quota() {
    for database in databases().await {
        let erp = Erp::start().await;
        let mut flood = post("/orders");
        flood["times"] = json!(1_000);
        let config = json!({ "requests": [flood], "tolerant": true });
        let Some(toml) = calling(&erp, &config, "") else { return };
        let field = Field::start(database, &toml, &["engine.retry.attempts_max=2"]);
        let order = field.pay(&json!({})).await;
        let about = field.about(&order, |found| found["state"] == "review").await;
        assert_eq!(about["reason_code"], "sandbox.quota", "{about:#}");
        // Its second attempt was answered from the record.
        assert_eq!((erp.heard().len(), &about["attempts"]), (20, &json!(2)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_and_requests_are_held_to_their_limits() {
    let erp = Erp::start_with(|heard| {
        let bytes = heard.path.trim_start_matches("/answer/").parse().unwrap_or(0);
        Reply::Now(200, "x".repeat(bytes))
    })
    .await;
    let mut large = post("/large");
    large["body"] = json!("x".repeat(1_000));
    let config = json!({ "tolerant": true,
        "requests": [post("/answer/100"), post("/answer/101"), large] });
    let more = "response_bytes_max = 100\nrequest_bytes_max = 200";
    let Some(toml) = calling(&erp, &config, more) else { return };
    let Some(database) = databases().await.into_iter().next() else { return };
    let field = Field::start(database, &toml, &[]);
    let order = field.pay(&json!({})).await;
    let notes = field.calls_when_paid(&order).await;
    assert_eq!(notes[0], format!("200 {}", "x".repeat(100)));
    assert_eq!(notes[1], "the answer is too large");
    assert_eq!(notes[2], "over quota: request has 1006 bytes, endpoint `erp` takes 200");
    assert_eq!(erp.heard().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_asked_reaches_nobody() {
    let erp = Erp::start().await;
    let mut requests: Vec<Value> = ["//evil.example/", "/../admin", "/%2e%2e/admin", "/a/..;/b"]
        .into_iter()
        .chain(["/a%2f..%2fb", "/%252e%252e/", "http://evil.example/", "/a\r\nhost: b", "/a%00"])
        .map(post)
        .collect();
    for (name, value) in [("Host", "evil"), ("authorization", "x"), ("X-Tenant", "other")]
        .into_iter()
        .chain([("content-length", "0"), ("connection", "close"), ("a", "b\r\nhost: c")])
    {
        let mut request = post("/orders");
        request["headers"] = json!([[name, value]]);
        requests.push(request);
    }
    let mut removing = post("/orders");
    removing["method"] = json!("DELETE");
    requests.push(removing);
    let mut elsewhere = post("/orders");
    elsewhere["endpoint"] = json!("crm");
    requests.push(elsewhere);
    let count = requests.len();
    let config = json!({ "requests": requests, "tolerant": true });
    let more = "headers = { x-tenant = \"mall\" }";
    let Some(toml) = calling(&erp, &config, more) else { return };
    let Some(database) = databases().await.into_iter().next() else { return };
    let field = Field::start(database, &toml, &[]);
    let order = field.pay(&json!({})).await;
    let notes = field.calls_when_paid(&order).await;
    let notes = notes.as_array().expect("notes");
    assert_eq!(notes.len(), count);
    for note in notes {
        let note = note.as_str().expect("a text");
        assert!(note.starts_with("invalid: ") || note.starts_with("denied: "), "{note}");
    }
    assert!(erp.heard().is_empty(), "{:#?}", erp.heard());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_is_the_hosts_and_shows_nowhere() {
    let erp = Erp::start().await;
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("erp.header");
    std::fs::write(&file, "Bearer sesame-7f3a\n").expect("a secret");
    let file = file.display().to_string();
    let config = json!({ "requests": [post("/orders")] });
    let more = format!("headers = {{ authorization_file = {file:?}, x-tenant = \"mall\" }}");
    let Some(toml) = calling(&erp, &config, &more) else { return };
    let Some(database) = databases().await.into_iter().next() else { return };
    let field = Field::start(database, &toml, &["log.filter=trace"]);
    let order = field.pay(&json!({})).await;
    field.calls_when_paid(&order).await;
    let heard = erp.when_heard(1).await;
    assert_eq!(heard[0].header("authorization"), "Bearer sesame-7f3a");
    assert_eq!(heard[0].header("x-tenant"), "mall");
    let about = field.about(&order, |found| found["state"] == "done").await;
    assert!(!about.to_string().contains("sesame"));
    assert!(!field.host.log().contains("sesame"));
}

#[test]
fn an_endpoint_in_the_house_is_refused_at_the_start_unless_allowed() {
    for (url, expected) in [
        ("https://127.0.0.1/", "not a public address"),
        ("https://localhost/", "not a public address"),
        ("https://169.254.169.254/latest", "not a public address"),
        ("http://erp.example/", "expected https"),
        ("https://user:word@erp.example/", "a user name in the URL"),
    ] {
        let folder = tempfile::TempDir::new().expect("a folder");
        let toml = format!("[endpoints.erp]\nbase_url = {url:?}\nmethods = [\"POST\"]\n");
        crate::house::write_configuration(folder.path(), &toml);
        let file = folder.path().join("callgate.toml").display().to_string();
        let output = callgate(&["check", "--config", &file]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{url} was let in");
        assert!(told.contains("endpoints.erp.base_url") && told.contains(expected), "{told}");
    }
}
