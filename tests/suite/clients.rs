//! Clients that are not ours sign, encrypt and post; the server understands them.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::house::{House, keys};

/// A folder of a foreign client; `None`, said loudly, where it is not installed.
fn client(variable: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(variable).map(PathBuf::from);
    if folder.is_none() {
        eprintln!(
            "*** SKIPPED: no foreign client ({variable} is not set); `cargo xtask test` installs it"
        );
    }
    folder
}

/// Runs a client; each line it prints is one callback and its answer.
fn run(command: &mut Command) -> Vec<Value> {
    let output = command.output().expect("the client runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_of_a_foreign_wechat_client_are_accepted() {
    let Some(folder) = client("CALLGATE_TEST_NODE_CLIENT") else { return };
    let Some(house) = House::start() else { return };
    let registration = json!({ "amount_minor": 1999, "currency": "CNY", "state": "TO_BE_PAID" });
    for order_no in ["FOREIGN3", "FOREIGN2", "FOREIGNH"] {
        assert_eq!(house.put_order(order_no, &registration).await.0, 201);
    }
    let answers = run(Command::new("node")
        .arg(script("wechat.cjs"))
        .arg(keys().1)
        .args([house.public.as_str(), "FOREIGN3", "FOREIGN2", "FOREIGNH"])
        .env("NODE_PATH", folder.join("node_modules")));
    assert_eq!(answers.len(), 5, "{answers:?}");
    for answer in &answers {
        assert_eq!(answer["status"], 200, "{answer}");
        let body = answer["body"].as_str().expect("a body");
        assert!(body.is_empty() || body.contains("SUCCESS"), "{answer}");
    }
    for (order_no, state) in
        [("FOREIGN3", "TO_BE_DELIVERED"), ("FOREIGN2", "REFUNDED"), ("FOREIGNH", "TO_BE_DELIVERED")]
    {
        house.order_when(order_no, |order| order["state"] == state).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_of_a_foreign_alipay_client_are_accepted() {
    let Some(folder) = client("CALLGATE_TEST_PYTHON_CLIENT") else { return };
    let Some(house) = House::start() else { return };
    let registration = json!({ "amount_minor": 1999, "currency": "CNY", "state": "TO_BE_PAID" });
    assert_eq!(house.put_order("FOREIGNA", &registration).await.0, 201);
    let answers = run(Command::new("python3")
        .arg(script("alipay_notice.py"))
        .arg(keys().1)
        .args([house.public.as_str(), "FOREIGNA"])
        .env("PYTHONPATH", folder));
    assert_eq!(answers.len(), 1);
    assert_eq!((&answers[0]["status"], &answers[0]["body"]), (&json!(200), &json!("success")));
    house.order_when("FOREIGNA", |order| order["state"] == "TO_BE_DELIVERED").await;
}
