//! Alerts that reach people: told once, over once, by one of many hosts, through a webhook that
//! was down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Bytes;
use axum::extract::RawQuery;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callgate_trigger::channel::Channel;
use callgate_trigger::message::{Flaw, Sending};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::watch;

use crate::cluster::Cluster;
use crate::guest_text::{PAYING, attacking, guest};
use crate::hosts::{Addresses, Host};
use crate::house::{House, OPERATOR, TOKEN, as_operator, keys, now, plugins_toml, stage};

/// One request that the robot heard.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    query: String,
    body: Value,
    taken: bool,
}

impl Heard {
    /// The turn and the condition, as plain JSON has them.
    fn told(&self) -> (&str, &str) {
        let word = |name: &str| self.body[name].as_str().unwrap_or_default();
        (word("turn"), word("condition"))
    }
}

/// A robot of one's own.
pub(crate) struct Duty {
    url: String,
    heard: Arc<watch::Sender<Vec<Heard>>>,
    down: Arc<AtomicBool>,
}

impl Duty {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url =
            format!("http://{}/hook?access_token=sesame", listener.local_addr().expect("one"));
        let heard = Arc::new(watch::Sender::new(Vec::new()));
        let down = Arc::new(AtomicBool::new(false));
        let (hears, is_down) = (Arc::clone(&heard), Arc::clone(&down));
        let answer = move |RawQuery(query): RawQuery, _: HeaderMap, body: Bytes| {
            let taken = !is_down.load(Ordering::SeqCst);
            let body = serde_json::from_slice(&body).expect("JSON");
            let one = Heard { query: query.unwrap_or_default(), body, taken };
            hears.send_modify(|all| all.push(one));
            async move { reply(taken) }
        };
        let router = axum::Router::new().route("/hook", axum::routing::post(answer));
        tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { url, heard, down }
    }

    fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// Waits until something is true of what was heard.
    async fn when(&self, what: &str, fits: impl Fn(&[Heard]) -> bool) -> Vec<Heard> {
        let mut listening = self.heard.subscribe();
        let found = tokio::time::timeout(PATIENCE, listening.wait_for(|heard| fits(heard))).await;
        let found = found.map(|found| found.expect("the robot lives").clone());
        found.unwrap_or_else(|_| panic!("never heard {what}: {:#?}", self.heard.borrow()))
    }

    /// Waits until a turn of a condition was taken, and tells every turn of it that was.
    pub(crate) async fn turns(&self, turn: &str, condition: &str) -> Vec<String> {
        let taken = |heard: &Heard| heard.taken && heard.told() == (turn, condition);
        let heard = self.when(&format!("{turn} {condition}"), |all| all.iter().any(taken)).await;
        turns_of(&heard, condition)
    }

    pub(crate) fn toml(&self, kind: &str, more: &str) -> String {
        format!(
            "[alerts]\nlook_ms = 50\nclear_ms = 300\n\
             oldest = {{ over = 1, under = 1, for_ms = 0, severity = \"critical\" }}\n\
             parked = {{ over = 1, under = 1, for_ms = 0, severity = \"warning\" }}\n\
             [alerts.webhooks.duty]\nkind = {kind:?}\nurl = {:?}\nallow_private = true\n{more}\n",
            self.url
        )
    }
}

fn reply(taken: bool) -> Response {
    match taken {
        true => axum::Json(json!({ "code": 0, "errcode": 0 })).into_response(),
        false => StatusCode::BAD_GATEWAY.into_response(),
    }
}

fn turns_of(heard: &[Heard], condition: &str) -> Vec<String> {
    let of = heard.iter().filter(|one| one.taken && one.told().1 == condition);
    of.map(|one| one.told().0.to_owned()).collect()
}

/// A signature computed here and not by the host.
fn mac(key: &[u8], text: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key");
    mac.update(text);
    STANDARD.encode(mac.finalize().into_bytes())
}

fn operate(private: &str, words: &[&str]) -> (bool, String) {
    let place = ["operate", "--url", private];
    let output = as_operator(&[&place[..], words].concat());
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).expect("text"))
}

/// What is raised at the moment.
pub(crate) async fn raised(private: &str) -> Vec<String> {
    let http = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
    let url = format!("{private}/operator/alerts");
    let answer = http.get(url).bearer_auth(OPERATOR).send().await.expect("an answer");
    let shown: Value = answer.json().await.expect("JSON");
    let list = shown["alerts"].as_array().expect("a list").iter();
    list.map(|one| one["condition"].as_str().expect("a name").to_owned()).collect()
}

/// Registers an order of a business and tells of its payment.
pub(crate) async fn pay(
    place: &Addresses,
    (business, token, state): (&str, &str, &str),
    registered: bool,
) -> String {
    let (stage, mut draw) = stage(Channel::AlipayMain);
    let purchase = stage.purchase(&mut draw);
    let http = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
    if registered {
        let amount = stage.order(&purchase).amount.minor;
        let body = json!({ "amount_minor": amount, "currency": "CNY", "state": state });
        let url = format!("{}/orders/{business}/{}", place.private, purchase.order_no);
        let sent = http.put(url).bearer_auth(token).json(&body).send().await;
        assert_eq!(sent.expect("an answer").status(), 201);
    }
    let notice = stage.payment(&purchase, &mut draw);
    let message = notice.sign(keys().0, Sending::genuine(now()), &mut draw).expect("a message");
    let mut request = http.post(format!("{}{}", place.public, message.path));
    for (name, value) in &message.headers {
        request = request.header(name, value);
    }
    let sent = request.body(message.body.clone()).send().await.expect("an answer");
    assert_eq!(sent.text().await.expect("a text"), "success");
    purchase.order_no
}

#[tokio::test(flavor = "multi_thread")]
async fn a_processor_that_is_stuck_is_told_once_and_over_once() {
    if plugins_toml().is_none() {
        return;
    }
    let folder = tempfile::TempDir::new().expect("a folder for the database");
    let url = format!("sqlite://{}", folder.path().join("callgate.db").display());
    let duty = Duty::start().await;
    let secret = crate::sinks::secret(b'q');
    let toml = |bytes: &[u8]| {
        let file = folder.path().join("guest.wasm");
        std::fs::write(&file, bytes).expect("a component");
        let robot = duty.toml("json", &format!("secret = {secret:?}"));
        format!(
            "[plugins.guest]\nfile = {:?}\nbusinesses = [\"OTHER\"]\n{robot}",
            file.display().to_string()
        )
    };
    let stuck = toml(&guest(("test/guest", "OTHER"), &attacking("loop.wat")));
    let flags = ["channels.alipay-main.business=OTHER"];
    let mut host = Host::with(&url, &stuck, &flags);
    let place = host.start();
    pay(&place, ("OTHER", "other-token", "OPEN"), true).await;
    assert_eq!(duty.turns("raised", "oldest").await, ["raised"]);
    let (good, shown) = operate(&place.private, &["alerts"]);
    assert!(good && shown.contains("oldest") && shown.contains("duty"), "{shown}");
    // Another process has it to the end: what is raised outlives who raised it.
    assert!(host.stop());
    host.configure(&toml(&guest(("test/guest", "OTHER"), PAYING)));
    let place = host.start();
    assert_eq!(duty.turns("recovered", "oldest").await, ["raised", "recovered"]);
    let (good, told) = operate(&place.private, &["alerts", "test", "duty"]);
    assert!(good, "{told}");
    let test = |one: &Heard| one.body["type"] == "callgate.alert.test";
    let heard = duty.when("a test", |all| all.iter().any(test)).await;
    assert_eq!(turns_of(&heard, "oldest"), ["raised", "recovered"]);
    assert_eq!(raised(&place.private).await, [""; 0]);
    let log = host.log();
    assert!(!log.contains("sesame") && !log.contains(&secret), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_callbacks_are_told_and_probes_of_the_gateway_are_not() {
    let duty = Duty::start().await;
    let Some(house) = House::start_with(&duty.toml("feishu", "secret = \"open\"")) else { return };
    for (channel, flaw) in
        [(Channel::WechatV3Main, Flaw::Probe), (Channel::AlipayMain, Flaw::WrongKey)]
    {
        let (stage, mut draw) = stage(channel);
        let purchase = stage.purchase(&mut draw);
        for _ in 0..25 {
            let notice = stage.payment(&purchase, &mut draw);
            let message = notice.sign(keys().0, Sending::flawed(now(), flaw), &mut draw);
            house.send(&message.expect("a message")).await;
        }
    }
    let text = |one: &Heard| one.body["content"]["text"].as_str().unwrap_or_default().to_owned();
    let forged = |one: &Heard| text(one).contains("critical: signatures:alipay-main");
    let heard = duty.when("forgeries", |all| all.iter().any(forged)).await;
    let one = heard.iter().find(|one| forged(one)).expect("heard");
    let stamp = one.body["timestamp"].as_str().expect("seconds");
    assert_eq!(one.body["sign"], mac(format!("{stamp}\nopen").as_bytes(), b"").as_str());
    assert_eq!(one.query, "access_token=sesame");
    assert_eq!(raised(&house.private).await, ["signatures:alipay-main"]);
    let count = async |name: &str, channel: &str| {
        house.metric(&format!("callgate_signature_{name}_total{{channel=\"{channel}\"}}")).await
    };
    assert_eq!(count("probes", "wechat-v3-main").await, 25);
    assert_eq!(count("failures", "wechat-v3-main").await, 0);
    assert_eq!(count("failures", "alipay-main").await, 25);
    assert!(heard.iter().all(|one| !text(one).contains("wechat-v3-main")), "{heard:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_hosts_one_tells_and_another_takes_over() {
    let Some(cluster) = Cluster::shared() else { return };
    let (url, duty) = (cluster.database().await, Duty::start().await);
    let Some(mall) = plugins_toml() else { return };
    let toml = format!("{mall}{}", duty.toml("json", ""));
    let (mut one, mut two) = (Host::with(&url, &toml, &[]), Host::with(&url, &toml, &[]));
    let (first, second) = (one.start(), two.start());
    let order_no = pay(&first, ("PRODUCT_ORDER", TOKEN, "TO_BE_PAID"), false).await;
    assert_eq!(duty.turns("raised", "parked").await, ["raised"]);
    assert_eq!(raised(&second.private).await, ["parked"]);
    // Whoever of the two had it: one is left, and has it to the end.
    one.kill();
    let body = json!({ "amount_minor": 1, "currency": "CNY", "state": "TO_BE_PAID" });
    let http = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
    let place = format!("{}/orders/PRODUCT_ORDER/{order_no}", second.private);
    let sent = http.put(place).bearer_auth(TOKEN).json(&body).send().await;
    assert_eq!(sent.expect("an answer").status(), 201);
    assert_eq!(duty.turns("recovered", "parked").await, ["raised", "recovered"]);
    assert!(two.lives());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_was_down_is_told_when_it_is_back() {
    let duty = Duty::start().await;
    duty.set_down(true);
    let more = "secret = \"SECopen\"\ntimeout_ms = 1000";
    let Some(house) = House::start_with(&duty.toml("dingtalk", more)) else { return };
    let place = Addresses { public: house.public.clone(), private: house.private.clone() };
    let order_no = pay(&place, ("PRODUCT_ORDER", TOKEN, "TO_BE_PAID"), false).await;
    let heard = duty.when("two attempts", |all| all.len() >= 2).await;
    assert!(heard.iter().all(|one| !one.taken));
    let (good, told) = operate(&house.private, &["alerts", "test", "duty"]);
    assert!(!good && told.contains("alerts.status"), "{told}");
    let (good, told) = operate(&house.private, &["alerts", "test", "nobody"]);
    assert!(!good && told.contains("no such webhook"), "{told}");
    // Nothing waits for it.
    let other = pay(&place, ("PRODUCT_ORDER", TOKEN, "TO_BE_PAID"), true).await;
    house.order_when(&other, |order| order["version"] == 2).await;
    duty.set_down(false);
    let content = |one: &Heard| one.body["text"]["content"].as_str().unwrap_or_default().to_owned();
    let parked = |one: &Heard| one.taken && content(one).contains("warning: parked");
    let heard = duty.when("the alert", |all| all.iter().any(parked)).await;
    let one = heard.iter().find(|one| parked(one)).expect("heard");
    let pairs: Vec<(String, String)> = one
        .query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| {
            let value = value.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
            (name.to_owned(), value)
        })
        .collect();
    let value = |name: &str| {
        let found = pairs.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let stamp = value("timestamp");
    assert_eq!(value("sign"), mac(b"SECopen", format!("{stamp}\nSECopen").as_bytes()));
    let body = json!({ "amount_minor": 1, "currency": "CNY", "state": "TO_BE_PAID" });
    assert_eq!(house.put_order(&order_no, &body).await.0, 201);
    let over = |one: &Heard| one.taken && content(one).contains("recovered: parked");
    let heard = duty.when("its end", |all| all.iter().any(over)).await;
    assert_eq!(heard.iter().filter(|one| parked(one)).count(), 1);
}

/// How long a story waits before it gives up.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);
