//! Versions of a processor to push, and an operator who does it.

use std::time::{Duration, Instant};

use callgate_package::draft::manifest_for;
use serde_json::{Value, json};

use crate::house::{OPERATOR, plugin};

/// The plugin that all versions are of.
pub(crate) const NAME: &str = "mall/order-payment";

/// What a host allows, so that versions may be pushed.
pub(crate) const POLICY: &str =
    "[businesses.PRODUCT_ORDER.policy]\nwrite = [\"ledger\"]\ntopics = [\"order.*\"]\n";

/// A version to push.
#[derive(Clone)]
pub(crate) struct Version {
    pub(crate) number: String,
    pub(crate) component: Vec<u8>,
    pub(crate) manifest: String,
}

impl Version {
    /// The payment processor under another number of the same length; `None`, said loudly, where
    /// it is not built.
    pub(crate) fn of(number: &str) -> Option<Self> {
        Self::with(number, "")
    }

    /// The same with more in its manifest.
    pub(crate) fn with(number: &str, more: &str) -> Option<Self> {
        let built = std::fs::read(plugin("order-payment")?).expect("the component");
        let component = renumbered(&built, number);
        let draft = include_str!("../../plugins/order-payment/plugin.toml");
        let draft = draft.replace("version = \"0.1.0\"", &format!("version = \"{number}\""));
        let draft = format!("{draft}{more}");
        let manifest = manifest_for(draft.as_bytes(), &component).expect("a manifest");
        let manifest = String::from_utf8(manifest.to_bytes()).expect("text");
        Some(Self { number: number.to_owned(), component, manifest })
    }

    /// Other bytes under a number, with the manifest of the payment processor.
    pub(crate) fn made(number: &str, component: Vec<u8>) -> Self {
        let draft = include_str!("../../plugins/order-payment/plugin.toml");
        let draft = draft.replace("version = \"0.1.0\"", &format!("version = \"{number}\""));
        let manifest = manifest_for(draft.as_bytes(), &component).expect("a manifest");
        let manifest = String::from_utf8(manifest.to_bytes()).expect("text");
        Self { number: number.to_owned(), component, manifest }
    }

    /// One that runs out of fuel in every run.
    pub(crate) fn broken(number: &str) -> Option<Self> {
        Self::with(number, "[limits]\nfuel = 20000\n")
    }

    /// The body of a push.
    pub(crate) fn body(&self) -> Vec<u8> {
        let head = json!({ "manifest": self.manifest, "why": "a new version" }).to_string();
        [head.as_bytes(), b"\n", &self.component].concat()
    }
}

/// Puts another version number into a component: it stands behind the name in its data.
fn renumbered(built: &[u8], number: &str) -> Vec<u8> {
    let (from, to) = (format!("{NAME}0.1.0"), format!("{NAME}{number}"));
    assert_eq!(from.len(), to.len(), "a number of the same length");
    let windows = built.windows(from.len());
    let places: Vec<usize> = windows
        .enumerate()
        .filter(|(_, w)| *w == from.as_bytes())
        .map(|(place, _)| place)
        .collect();
    assert_eq!(places.len(), 1, "the component names itself once");
    let mut component = built.to_vec();
    component.splice(places[0]..places[0].saturating_add(to.len()), to.bytes());
    component
}

/// An operator at the private listener of a server.
#[derive(Clone)]
pub(crate) struct Operator {
    private: String,
    http: reqwest::Client,
}

impl Operator {
    pub(crate) fn at(private: &str) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
        Self { private: private.to_owned(), http }
    }

    pub(crate) async fn push(&self, version: &Version) -> (u16, Value) {
        self.post("", version.body()).await
    }

    pub(crate) async fn post(&self, act: &str, body: Vec<u8>) -> (u16, Value) {
        let url = format!("{}/operator/plugins{act}", self.private);
        let sent = self.http.post(url).bearer_auth(OPERATOR).body(body).send().await;
        let response = sent.expect("the call is answered");
        (response.status().as_u16(), response.json().await.expect("JSON"))
    }

    pub(crate) async fn list(&self) -> Value {
        let url = format!("{}/operator/plugins", self.private);
        let sent = self.http.get(url).bearer_auth(OPERATOR).send().await.expect("an answer");
        sent.json().await.expect("JSON")
    }

    /// The plugin of these stories in the list.
    pub(crate) async fn listed(&self) -> Value {
        let list = self.list().await;
        let plugins = list["plugins"].as_array().expect("plugins");
        plugins.iter().find(|one| one["name"] == NAME).cloned().unwrap_or_default()
    }

    /// Acts on what is there now.
    pub(crate) async fn act(&self, act: &str, more: &Value) -> (u16, Value) {
        let revision = self.listed().await["revision"].as_i64().unwrap_or(0);
        let mut body = json!({ "name": NAME, "why": "it was told", "revision": revision });
        let fields = more.as_object().expect("an object").clone();
        body.as_object_mut().expect("an object").extend(fields);
        self.post(&format!("/{act}"), body.to_string().into_bytes()).await
    }

    /// The same, which must succeed; tells how long it took.
    pub(crate) async fn done(&self, act: &str, more: &Value) -> (Value, Duration) {
        #[expect(clippy::disallowed_methods, reason = "it is told how long an operator waits")]
        let began = Instant::now();
        let (status, told) = self.act(act, more).await;
        assert_eq!(status, 200, "{act} {more}: {told:#}");
        (told, began.elapsed())
    }

    pub(crate) async fn pushed(&self, version: &Version) {
        let (status, told) = self.push(version).await;
        assert_eq!((status, &told["state"]), (201, &json!("new")), "{told:#}");
    }

    pub(crate) async fn activated(&self, number: &str) {
        self.done("activate", &json!({ "version": number })).await;
    }

    /// Looks until something is true of the list.
    pub(crate) async fn list_when(&self, fits: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..LOOKS {
            let list = self.list().await;
            if fits(&list) {
                return list;
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        panic!("it never became as expected: {:#}", self.list().await);
    }

    /// What was done to the plugin, newest first.
    pub(crate) async fn audit(&self) -> Vec<Value> {
        let url = format!("{}/operator/audit?target={NAME}", self.private);
        let sent = self.http.get(url).bearer_auth(OPERATOR).send().await;
        let told: Value = sent.expect("an answer").json().await.expect("JSON");
        told["audit"].as_array().expect("entries").clone()
    }
}

/// What every host of a list has in force: version of the active one, version of the canary.
pub(crate) fn in_force(list: &Value) -> Vec<(Option<String>, Option<String>)> {
    let hosts = list["hosts"].as_array().expect("hosts");
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let one = |host: &Value| {
        let plugins = host["plugins"].as_array().expect("plugins");
        let found = plugins.iter().find(|one| one["name"] == NAME).cloned().unwrap_or_default();
        (text(&found["in_force"]), text(&found["canary_in_force"]))
    };
    hosts.iter().map(one).collect()
}

/// How often a list is looked at before a story gives up.
const LOOKS: u32 = 3000;

/// The pause between two looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
