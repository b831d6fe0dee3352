//! A server with all attackers and a neighbour, and what is looked at after each attack.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use callgate::inbound::tokens::hash_text;
use callgate_store::{DocumentRef, Store};
use callgate_trigger::channel::Channel;
use callgate_trigger::message::Sending;
use callgate_trigger::purchase::Purchase;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::attacks::{self, Attack, End};
use super::wrap::{Claim, component};
use crate::cluster::Cluster;
use crate::house::{House, TOKEN, keys, now, plugins_toml, stage, write_configuration};

/// The token of the attackers' business.
const EVIL_TOKEN: &str = "evil-token";

/// What a guest may keep its fellows waiting for is not what is tested here, so nothing but the
/// limit that is meant stops a guest, however busy the machine is.
const PATIENT: &str = "start_ms = 60000\nprepare_ms = 60000\nnext_state_ms = 60000\n\
    save_ms = 60000\nafter_ms = 60000\n";

/// The server, and how to look behind its wall.
struct Arena {
    house: House,
    store: Store,
    attacks: Vec<Attack>,
}

impl Arena {
    async fn start(url: Option<String>) -> Option<Self> {
        let mall = plugins_toml()?;
        let folder = TempDir::new().expect("a folder for the house");
        let url = url
            .unwrap_or_else(|| format!("sqlite://{}", folder.path().join("callgate.db").display()));
        let attacks = attacks::all();
        let mut more = format!("{mall}{}", evil_channel());
        for attack in &attacks {
            let file = folder.path().join(format!("{}.wasm", attack.name));
            fs::write(&file, guest(attack)).expect("a guest");
            more.push_str(&plugin_toml(attack));
        }
        write_configuration(folder.path(), &more);
        let flags = [
            format!("store.url={url}"),
            format!("sandbox.cache_dir={}", cache().join("code").display()),
            "sandbox.slots=8".to_owned(),
            "engine.retry.attempts_max=1".to_owned(),
            "engine.poll_ms=50".to_owned(),
            // Enough for nine lost races.
            "engine.retry.age_max_ms=2000".to_owned(),
        ];
        let house = House::open(folder, flags.to_vec());
        let settings = callgate_store::Settings { url, ..Default::default() };
        let store = Store::open(&settings).await.expect("the same database");
        Some(Self { house, store, attacks })
    }

    /// Attacks, and looks at everything that must not have changed.
    async fn strike(&self, attack: &Attack) {
        let (stage, mut draw) = stage(Channel::AlipayMain);
        let purchase = stage.purchase(&mut draw);
        let order = order_json(&purchase, &attack.name.to_uppercase(), "evil");
        let url = self.evil_url(&purchase.order_no);
        let request = self.house.http.put(&url).bearer_auth(EVIL_TOKEN).json(&order);
        let answer = request.send().await.expect("the order call is answered");
        assert_eq!(answer.status(), 201, "{}", attack.name);
        let notice = stage.payment(&purchase, &mut draw);
        let mut message =
            notice.sign(keys().0, Sending::genuine(now()), &mut draw).expect("a message");
        message.path = "/callback/evil".to_owned();
        let (heard, ()) = tokio::join!(self.house.send(&message), self.neighbour_is_served());
        assert_eq!(heard.0, 200, "{}: {}", attack.name, heard.1);
        let shown = self.decided(attack, &url).await;
        self.nothing_is_left(attack, &purchase, &shown).await;
        let alive = self.house.http.get(format!("{}/healthz", self.house.private)).send().await;
        assert_eq!(alive.expect("the server answers").status(), 200, "{}", attack.name);
    }

    /// A payment at the mall goes its way, beside whatever else happens.
    async fn neighbour_is_served(&self) {
        let (stage, mut draw) = stage(Channel::WechatV3Main);
        let purchase = stage.purchase(&mut draw);
        let body = order_json(&purchase, "TO_BE_PAID", stage.channel.name());
        assert_eq!(self.house.put_order(&purchase.order_no, &body).await.0, 201);
        let notice = stage.payment(&purchase, &mut draw);
        let message = notice.sign(keys().0, Sending::genuine(now()), &mut draw).expect("a message");
        assert_eq!(self.house.send(&message).await.0, 200);
        let paid = |order: &Value| order["state"] == "TO_BE_DELIVERED";
        let order = self.house.order_when(&purchase.order_no, paid).await;
        assert_eq!(order["events"].as_array().map(Vec::len), Some(1));
    }

    /// The attacker's order, once its notification is decided as it must be.
    async fn decided(&self, attack: &Attack, url: &str) -> Value {
        let mut shown = Value::Null;
        for _ in 0..1500 {
            let request = self.house.http.get(url).bearer_auth(EVIL_TOKEN);
            shown = request.send().await.expect("an answer").json().await.expect("JSON");
            let state = &shown["notifications"][0]["state"];
            if state == "review" || state == "done" {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let told = &shown["notifications"][0];
        let text = told["reason"].as_str().unwrap_or_default();
        let name = &attack.name;
        // "*" stands for what differs each time.
        let code = told["reason_code"].as_str().map(|code| match attack.end {
            End::Review(expected, _) if expected.ends_with('*') => {
                assert!(code.starts_with(expected.trim_end_matches('*')), "{name}: {code}");
                expected
            }
            End::Review(..) | End::Done(_) | End::Ignored(_) => code,
        });
        let found = (told["state"].as_str(), code);
        let (expected, words) = match attack.end {
            End::Review(code, words) => ((Some("review"), Some(code)), words),
            End::Done(_) => ((Some("done"), None), ""),
            End::Ignored(words) => ((Some("done"), Some("plugin.ignored")), words),
        };
        assert_eq!(found, expected, "{name}: {told:#}\n{}", self.house.log());
        assert!(text.contains(words), "{name}: expected `{words}` in `{text}`");
        shown
    }

    /// No state, no write, no event, but where the limit was obeyed.
    async fn nothing_is_left(&self, attack: &Attack, purchase: &Purchase, shown: &Value) {
        let name = &attack.name;
        let events = match attack.end {
            End::Done(events) => events,
            End::Review(..) | End::Ignored(_) => 0,
        };
        assert_eq!(shown["events"].as_array().map(Vec::len), Some(events), "{name}");
        assert_eq!(shown["state"], name.to_uppercase(), "{name}");
        assert_eq!(shown["version"], 1, "{name}");
        assert_eq!(shown["body"], json!({}), "{name}");
        let document = |collection: &str, key: &str| DocumentRef {
            collection: collection.to_owned(),
            key: key.to_owned(),
        };
        let order_no = purchase.order_no.as_str();
        for business in ["EVIL", "PRODUCT_ORDER", "OTHER"] {
            let left = [
                document("ledger", "l-1"),
                document("ledger", "fat"),
                document("ledger", "10"),
                document("vaults", "l-1"),
                document("orders", "l-1"),
                document("ledger", order_no),
            ];
            let found = self.store.documents(business, &left).await.expect("a read");
            assert!(found.iter().all(Option::is_none), "{name}: {found:?}");
        }
    }

    fn evil_url(&self, order_no: &str) -> String {
        format!("{}/orders/EVIL/{order_no}", self.house.private)
    }

    /// Every attack once, so many at once.
    async fn round(&self, at_once: usize) {
        let strikes = self.attacks.iter().map(|attack| self.strike(attack));
        futures_util::stream::iter(strikes).for_each_concurrent(at_once, |strike| strike).await;
    }

    /// A guest that makes up codes has no more series of a metric than are kept for each plugin.
    async fn labels_are_few(&self) {
        let fickle = self.attacks.iter().find(|attack| attack.name == "other-codes");
        let strikes = (0..40).map(|_| self.strike(fickle.expect("it is there")));
        futures_util::stream::iter(strikes).for_each_concurrent(8, |strike| strike).await;
        let line =
            "callgate_outcomes_total{business=\"EVIL\",outcome=\"review\",code=\"plugin.other\"}";
        assert!(self.house.metric(line).await >= 8, "the rest is counted together");
    }

    /// Memory of the server that is in use, in KiB.
    fn resident_kib(&self) -> u64 {
        let file = format!("/proc/{}/status", self.house.id());
        let status = fs::read_to_string(file).expect("the server runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
        line.split_whitespace().nth(1).expect("a number").parse().expect("KiB")
    }
}

fn order_json(purchase: &Purchase, state: &str, channel: &str) -> Value {
    json!({ "amount_minor": purchase.amount.minor, "currency": "CNY", "state": state,
        "channel": channel })
}

/// The attacker's component.
fn guest(attack: &Attack) -> Vec<u8> {
    let state = attack.name.to_uppercase();
    let name = format!("evil/{}", attack.name);
    let claim = Claim { name: &name, business: "EVIL", state: &state };
    component(&format!("{}\n{}", attack.fields, claim.describe()))
}

/// Lines of the attack come last and replace those that are the same for all.
fn plugin_toml(attack: &Attack) -> String {
    let mut lines = String::new();
    let own: Vec<&str> = attack.limits.lines().collect();
    let key = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    for line in PATIENT.lines().chain(["check_ms = 60000", "action_ms = 60000"]) {
        if !own.iter().any(|mine| key(mine) == key(line)) {
            lines.push_str(&format!("{line}\n"));
        }
    }
    format!(
        "[plugins.evil-{name}]\nfile = \"{name}.wasm\"\nbusinesses = [\"EVIL\"]\n\
         grants = {{ write = [\"ledger\"], topics = [\"order.paid\"] }}\n\
         [plugins.evil-{name}.limits]\n{lines}{}",
        attack.limits,
        name = attack.name,
    )
}

/// The attackers' business and its channel, which has the account of another.
fn evil_channel() -> String {
    let (keys, folder) = keys();
    let all = keys.channels_toml(&folder.to_string_lossy());
    let from = all.find("[channels.alipay-main]").expect("a channel of Alipay");
    let section = all[from..].split("\n\n").next().expect("its lines");
    let evil = section
        .replace("channels.alipay-main", "channels.evil")
        .replace("PRODUCT_ORDER", "EVIL")
        .replace("ALI_PAY", "ATTACK");
    let hash = hash_text(EVIL_TOKEN);
    let business = "[businesses.EVIL]\nallow_unsigned = true\n";
    format!("{business}token_sha256 = [\"{hash}\"]\n{evil}\n")
}

/// Compiled guests, shared by both databases.
fn cache() -> PathBuf {
    static CACHE: OnceLock<TempDir> = OnceLock::new();
    let folder = CACHE.get_or_init(|| TempDir::new().expect("a folder for compiled guests"));
    folder.path().to_owned()
}

async fn no_attack_harms(url: Option<String>) {
    assert_ne!(TOKEN, EVIL_TOKEN);
    let Some(arena) = Arena::start(url).await else { return };
    arena.round(1).await;
    // From here on every pool, cache and buffer has been in use.
    arena.round(8).await;
    let before = arena.resident_kib();
    for _ in 0..ROUNDS {
        arena.round(8).await;
    }
    let after = arena.resident_kib();
    let attacks = arena.attacks.len().saturating_mul(ROUNDS);
    eprintln!("{attacks} attacks: {before} KiB before, {after} KiB afterwards");
    assert!(after < before.saturating_add(GROWTH_KIB), "{before} KiB grew to {after} KiB");
    arena.labels_are_few().await;
    let log = arena.house.log();
    assert!(!log.contains("panicked"), "{log}");
    assert!(!log.contains('\u{1b}'), "a guest wrote to the terminal");
    arena.store.close().await;
    assert!(arena.house.stop(), "the server ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_attack_harms_server_or_neighbour_on_sqlite() {
    no_attack_harms(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_attack_harms_server_or_neighbour_on_postgres() {
    let Some(cluster) = Cluster::shared() else { return };
    no_attack_harms(Some(cluster.database().await)).await;
}

/// How often everything happens again once memory was looked at.
const ROUNDS: usize = 2;

/// What may come and go between two looks: each of the eight slots may keep 4 MiB, and SQLite's
/// caches fill with pages of what is stored, up to their bound. Beside PostgreSQL, where no page is
/// kept, memory stays where it is, however many rounds there are.
const GROWTH_KIB: u64 = 48 << 10;
