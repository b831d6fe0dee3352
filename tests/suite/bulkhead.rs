//! A broken plugin with a backlog, beside a good one: the good one does not notice, and once the
//! broken one is mended its backlog is worked off, each once.

use std::sync::Arc;

use callgate_store::{Effect, InboxState, Settings, Store};
use callgate_trigger::cases::Stage;
use callgate_trigger::channel::Channel;
use callgate_trigger::draw::Draw;
use callgate_trigger::message::Sending;
use callgate_trigger::purchase::Purchase;
use serde_json::json;
use tokio::task::JoinSet;

use crate::cluster::Cluster;
use crate::guest_text::{PAYING, attacking, guest};
use crate::hosts::{Addresses, Host};
use crate::house::{OPERATOR, TOKEN, keys, now, plugins_toml, stage};
use crate::load::Load;

/// Payments of one business, through one channel.
struct Shop {
    business: &'static str,
    token: &'static str,
    stage: Stage,
    /// The state that its orders begin in, where it is not the mall's.
    begins: Option<&'static str>,
}

impl Shop {
    /// The mall, on WeChat's channel, with the processors of the mall.
    fn good() -> Self {
        let (stage, _) = stage(Channel::WechatV3Main);
        Self { business: "PRODUCT_ORDER", token: TOKEN, stage, begins: None }
    }

    /// Another business, on Alipay's channel, with a processor of its own.
    fn broken() -> Self {
        let (stage, _) = stage(Channel::AlipayMain);
        Self { business: "OTHER", token: "other-token", stage, begins: Some("OPEN") }
    }

    /// Registers an order and tells of its payment.
    async fn pay(&self, load: &Load, place: &Addresses, (seed, number): (u64, u32)) -> Purchase {
        let mut draw = Draw::branch(seed, number);
        let purchase = self.stage.purchase(&mut draw).numbered(number.into());
        let order = self.stage.order(&purchase);
        let state = self.begins.unwrap_or(order.state);
        let body = json!({ "amount_minor": order.amount.minor, "currency": "CNY",
            "state": state });
        let url = format!("{}/orders/{}/{}", place.private, self.business, order.order_no);
        let http = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
        let sent = http.put(url).bearer_auth(self.token).json(&body).send().await;
        assert_eq!(sent.expect("an answer").status(), 201);
        let notice = self.stage.payment(&purchase, &mut draw);
        let message = notice.sign(keys().0, Sending::genuine(now()), &mut draw);
        let message = message.expect("a signed message");
        // A gateway that is not heard sends again; a busy disk is no harm done by a neighbour.
        for _ in 0..TRIES {
            if load.post(place, &message).await {
                return purchase;
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        panic!("{} was never taken", purchase.order_no);
    }

    /// The same for many, side by side.
    async fn pay_many(
        self: &Arc<Self>,
        place: &Addresses,
        (seed, count): (u64, u32),
    ) -> Vec<Purchase> {
        let load = Load::new(seed, 1);
        let mut posters = JoinSet::new();
        for poster in 0..POSTERS {
            let (shop, load, place) = (Arc::clone(self), Arc::clone(&load), place.clone());
            posters.spawn(async move {
                let mut paid = Vec::new();
                let mine = (0..count).filter(|number| number % POSTERS == poster);
                for number in mine {
                    paid.push(shop.pay(&load, &place, (seed, number)).await);
                }
                paid
            });
        }
        posters.join_all().await.into_iter().flatten().collect()
    }
}

async fn open(url: &str) -> Store {
    let settings = Settings { url: url.to_owned(), ..Settings::default() };
    Store::open(&settings).await.expect("the same database")
}

/// Waits until something is true of what is stored.
async fn when<T>(mut look: impl AsyncFnMut() -> Option<T>, what: &str) -> T {
    for _ in 0..LOOKS {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    panic!("never came true: {what}");
}

/// Waits until payments are worked off, and tells the longest time from arrival to effect.
async fn effects(store: &Store, (business, state): (&str, &str), paid: &[Purchase]) -> i64 {
    let mut longest_ms = 0;
    for purchase in paid {
        let order_no = purchase.order_no.as_str();
        let look = async || {
            let view = store.order(business, order_no).await.expect("a read")?;
            let ended = view.notifications.iter().all(|one| one.state == InboxState::Done);
            (ended && !view.notifications.is_empty()).then_some(())
        };
        when(look, &format!("order {order_no} is worked off")).await;
        // Again: a look reads one thing after the other, and may have begun before the end.
        let view = store.order(business, order_no).await.expect("a read").expect("the order");
        assert_eq!(view.document.state.as_ref().map(|state| state.as_str()), Some(state));
        assert_eq!(view.document.version, 2, "written once");
        let moved = view.history.iter().filter(|entry| entry.effect == Effect::Moved);
        assert_eq!((moved.count(), view.history.len()), (1, 1), "moved once");
        for one in &view.notifications {
            let took = one.finished_at.expect("it is done").ms_since(one.received_at);
            longest_ms = longest_ms.max(took);
        }
    }
    longest_ms
}

fn plugin(host_folder: &std::path::Path, bytes: &[u8]) -> String {
    let file = host_folder.join("other.wasm");
    std::fs::write(&file, bytes).expect("a component");
    format!("[plugins.guest]\nfile = {:?}\nbusinesses = [\"OTHER\"]\n", file.display().to_string())
}

async fn a_broken_plugin_harms_no_neighbour(url: &str) {
    let flags = ["channels.alipay-main.business=OTHER", "engine.breaker.open_max_ms=2000"];
    let Some(mut host) = Host::new(url, &flags) else { return };
    let folder = tempfile::TempDir::new().expect("a folder for components");
    let mall = plugins_toml().expect("built, or there were no host");
    let broken = guest(("test/guest", "OTHER"), &attacking("loop.wat"));
    host.configure(&format!("{mall}{}", plugin(folder.path(), &broken)));
    let place = host.start();
    let (good, other) = (Arc::new(Shop::good()), Arc::new(Shop::broken()));
    let stuck = other.pay_many(&place, (1, BACKLOG)).await;
    // Right behind the backlog, and again once the circuit is open.
    let mut paid = good.pay_many(&place, (2, 40)).await;
    let store = open(url).await;
    let first_ms = effects(&store, ("PRODUCT_ORDER", "TO_BE_DELIVERED"), &paid).await;
    let shown = when(
        async || {
            let shown = get_bulkheads(&place.private).await;
            let guest = shown.into_iter().find(|one| one["plugin"] == "test/guest")?;
            let held = guest["held"].as_u64()?;
            (guest["state"] == "open" && held >= u64::from(BACKLOG) * 9 / 10).then_some(guest)
        },
        "the circuit opens and the backlog is held",
    )
    .await;
    assert!(shown["running"].as_u64() <= Some(1), "{shown}");
    paid.extend(good.pay_many(&place, (3, 40)).await);
    let second_ms = effects(&store, ("PRODUCT_ORDER", "TO_BE_DELIVERED"), &paid).await;
    eprintln!("the good ones took {first_ms} ms at most, then {second_ms} ms");
    assert!(second_ms < PATIENCE_MS, "the good ones wait for the broken one: {second_ms} ms");
    for purchase in stuck.iter().take(100) {
        let view = store.order("OTHER", &purchase.order_no).await.expect("a read");
        let view = view.expect("an order");
        assert_eq!(view.document.version, 1, "nothing of it was committed");
        for one in view.notifications {
            assert_eq!(one.state, InboxState::Ready);
            let spent = one.attempts.saturating_sub(one.attempts_before);
            assert!(spent < 12, "holding spends no attempt: {spent}");
        }
    }
    let log = host.log_when(|log| log.contains("plugin.circuit-open")).await;
    let lines = log.lines().filter(|line| line.contains("bulkhead.")).count();
    assert_eq!(lines, 0, "the log tells of changes, not of each held one");
    // Mended: the same name, another component.
    host.kill();
    let mended = guest(("test/guest", "OTHER"), PAYING);
    host.configure(&format!("{mall}{}", plugin(folder.path(), &mended)));
    host.start();
    effects(&store, ("OTHER", "PAID"), &stuck).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_plugin_harms_no_neighbour_on_sqlite() {
    let folder = tempfile::TempDir::new().expect("a folder for the database");
    let url = format!("sqlite://{}", folder.path().join("callgate.db").display());
    a_broken_plugin_harms_no_neighbour(&url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_plugin_harms_no_neighbour_on_postgres() {
    let Some(cluster) = Cluster::shared() else { return };
    a_broken_plugin_harms_no_neighbour(&cluster.database().await).await;
}

/// What the operator sees of the bulkheads.
async fn get_bulkheads(private: &str) -> Vec<serde_json::Value> {
    let http = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
    let url = format!("{private}/operator/bulkheads");
    let answer = http.get(url).bearer_auth(OPERATOR).send().await.expect("an answer");
    let shown: serde_json::Value = answer.json().await.expect("JSON");
    shown["bulkheads"].as_array().expect("a list").clone()
}

/// What waits for the broken plugin.
const BACKLOG: u32 = 2_000;

/// Who posts at once.
const POSTERS: u32 = 16;

/// A poll is a second; a debug build on a busy machine gets some more.
const PATIENCE_MS: i64 = 5_000;

/// How often a callback is sent again.
const TRIES: u32 = 20;

/// How often something is looked at before a story gives up: three minutes.
const LOOKS: u32 = 9_000;

/// The pause between two looks.
const BETWEEN_LOOKS: std::time::Duration = std::time::Duration::from_millis(20);
