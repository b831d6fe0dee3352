//! Signed plugins: from a draft over the command line into a running host, and every way to be
//! turned away.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use callgate_trigger::channel::Channel;
use callgate_trigger::message::Sending;
use serde_json::json;
use tempfile::TempDir;

use crate::house::{House, callgate, keys, now, plugin, stage, write_configuration};

/// What the policy of PRODUCT_ORDER allows.
const POLICY: &str = "write = [\"ledger\"]\ntopics = [\"order.*\"]\n";

/// A team with a component, a draft and a key, and a host with the public key.
struct Team {
    folder: TempDir,
}

impl Team {
    /// `None`, said loudly, where the processors are not built.
    fn new() -> Option<Self> {
        let component = plugin("order-payment")?;
        let folder = TempDir::new().expect("a folder");
        let team = Self { folder };
        fs::copy(component, team.file("order-payment.wasm")).expect("the component");
        let draft = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/order-payment/plugin.toml");
        fs::copy(draft, team.file("plugin.toml")).expect("the draft");
        good(&callgate(&[
            "plugin",
            "keygen",
            "--business",
            "PRODUCT_ORDER",
            "--id",
            "main",
            "--into",
            &team.path("keys"),
        ]));
        Some(team)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn path(&self, name: &str) -> String {
        self.file(name).to_string_lossy().into_owned()
    }

    fn sign(&self) -> Output {
        self.sign_as("PRODUCT_ORDER", "keys/main.key")
    }

    fn sign_as(&self, business: &str, key: &str) -> Output {
        callgate(&[
            "plugin",
            "sign",
            &self.path("plugin.toml"),
            "--component",
            &self.path("order-payment.wasm"),
            "--business",
            business,
            "--id",
            "main",
            "--key",
            &self.path(key),
        ])
    }

    fn configure(&self, policy: &str, plugin: &str) {
        write_configuration(self.folder.path(), &configuration(policy, plugin));
        let file = self.file("callgate.toml");
        let text = fs::read_to_string(&file).expect("the configuration");
        fs::write(&file, text.replace("allow_unsigned = true\n", "")).expect("the configuration");
    }

    /// What a start would say.
    fn check(&self) -> Output {
        callgate(&["check", "--config", &self.path("callgate.toml")])
    }

    /// Changes a text of a file.
    fn change(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.file(name)).expect("a text");
        assert!(text.contains(from), "{name} has no `{from}`");
        fs::write(self.file(name), text.replacen(from, to, 1)).expect("a text");
    }
}

fn configuration(policy: &str, plugin: &str) -> String {
    format!(
        "[[businesses.PRODUCT_ORDER.plugin_keys]]\nid = \"main\"\n\
         public_key_file = \"keys/main.pub\"\n[businesses.PRODUCT_ORDER.policy]\n{policy}\
         [plugins.order-payment]\nfile = \"order-payment.wasm\"\n{plugin}\n"
    )
}

/// The plugin with its manifest.
const WITH_MANIFEST: &str = "manifest = \"order-payment.manifest\"";

#[track_caller]
fn good(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn refused(output: &Output, words: &[&str]) {
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(!output.status.success(), "it was let in: {said}");
    for word in words {
        assert!(said.contains(word), "expected `{word}` in: {said}");
    }
}

#[tokio::test]
async fn a_signed_plugin_runs() {
    let Some(team) = Team::new() else { return };
    good(&team.sign());
    team.configure(POLICY, WITH_MANIFEST);
    assert!(good(&team.check()).contains("1 plugins"));
    let said = good(&callgate(&[
        "plugin",
        "verify",
        &team.path("order-payment.wasm"),
        "--config",
        &team.path("callgate.toml"),
    ]));
    assert!(said.contains("mall/order-payment 0.1.0, signed by PRODUCT_ORDER/main"), "{said}");
    let house = House::start_in(team.folder);
    let (stage, mut draw) = stage(Channel::AlipayMain);
    let purchase = stage.purchase(&mut draw);
    let order = stage.order(&purchase);
    let body = json!({ "amount_minor": order.amount.minor, "currency": "CNY",
        "state": order.state });
    assert_eq!(house.put_order(&order.order_no, &body).await.0, 201);
    let notice = stage.payment(&purchase, &mut draw);
    let message = notice.sign(keys().0, Sending::genuine(now()), &mut draw).expect("a message");
    assert_eq!(house.send(&message).await, (200, "success".to_owned()));
    house.order_when(&order.order_no, |order| order["state"] == "TO_BE_DELIVERED").await;
    assert!(!house.log().contains("not signed"), "{}", house.log());
    assert!(house.stop());
}

#[test]
fn an_unsigned_plugin_is_refused_and_told_how_to_get_in() {
    let Some(team) = Team::new() else { return };
    team.configure(POLICY, "businesses = [\"PRODUCT_ORDER\"]");
    refused(&team.check(), &["plugins.order-payment", "package.unsigned", "allow_unsigned"]);
    team.configure(POLICY, "");
    refused(&team.check(), &["plugins.order-payment.businesses", "manifest"]);
}

#[tokio::test]
async fn an_unsigned_plugin_that_is_allowed_is_warned_of_by_name() {
    let Some(house) = House::start() else { return };
    for name in ["order-payment", "order-refund"] {
        let warned = |line: &str| {
            line.contains("WARN") && line.contains("not signed") && line.contains(name)
        };
        house.log_when(|log| log.lines().any(warned)).await;
    }
    assert!(house.stop());
}

#[test]
fn a_component_that_differs_from_its_manifest_by_one_bit_is_refused() {
    let Some(team) = Team::new() else { return };
    good(&team.sign());
    team.configure(POLICY, WITH_MANIFEST);
    let file = team.file("order-payment.wasm");
    let mut bytes = fs::read(&file).expect("the component");
    *bytes.last_mut().expect("a byte") ^= 1;
    fs::write(&file, bytes).expect("the component");
    refused(&team.check(), &["package.hash", "line 2", "another build"]);
}

#[test]
fn a_manifest_that_was_changed_or_not_signed_is_refused() {
    let Some(team) = Team::new() else { return };
    good(&team.sign());
    team.configure(POLICY, WITH_MANIFEST);
    team.change("order-payment.manifest", "\"ledger\"", "\"legder\"");
    refused(&team.check(), &["order-payment.manifest", "package.signature"]);
    good(&team.sign());
    team.change("order-payment.manifest", "# signature", "# remark");
    refused(&team.check(), &["order-payment.manifest", "package.unsigned"]);
}

#[test]
fn the_key_of_another_business_opens_nothing() {
    let Some(team) = Team::new() else { return };
    good(&callgate(&[
        "plugin",
        "keygen",
        "--business",
        "OTHER",
        "--id",
        "main",
        "--into",
        &team.path("other"),
    ]));
    good(&team.sign_as("OTHER", "other/main.key"));
    let key =
        "[[businesses.OTHER.plugin_keys]]\nid = \"main\"\npublic_key_file = \"other/main.pub\"";
    team.configure(POLICY, &format!("{WITH_MANIFEST}\n{key}"));
    refused(&team.check(), &["package.other-business", "PRODUCT_ORDER", "OTHER/main"]);
    // Nor does it sign in the name of the first.
    good(&team.sign_as("PRODUCT_ORDER", "other/main.key"));
    refused(&team.check(), &["package.signature", "PRODUCT_ORDER/main"]);
}

#[test]
fn a_plugin_of_two_businesses_starts_once_both_have_signed() {
    let Some(team) = Team::new() else { return };
    let into = team.path("other");
    good(&callgate(&["plugin", "keygen", "--business", "OTHER", "--id", "b", "--into", &into]));
    let route =
        "[[routes]]\nbusiness = \"OTHER\"\nscene = \"*\"\nevent_type = \"*\"\nstate = \"\"\n";
    team.change("plugin.toml", "[[routes]]", &format!("{route}[[routes]]"));
    good(&team.sign());
    let key = "[[businesses.OTHER.plugin_keys]]\nid = \"b\"\npublic_key_file = \"other/b.pub\"\n\
        [businesses.OTHER.policy]\nwrite = [\"*\"]\ntopics = [\"*\"]";
    team.configure(POLICY, &format!("{WITH_MANIFEST}\n{key}"));
    refused(&team.check(), &["package.other-business", "OTHER", "PRODUCT_ORDER/main"]);
    let (manifest, component) =
        (team.path("order-payment.manifest"), team.path("order-payment.wasm"));
    let second = team.path("other/b.key");
    good(&callgate(&[
        "plugin",
        "sign",
        &manifest,
        "--component",
        &component,
        "--business",
        "OTHER",
        "--id",
        "b",
        "--key",
        &second,
    ]));
    good(&team.check());
}

#[test]
fn a_manifest_that_asks_for_more_than_the_policy_is_refused_with_line_and_limit() {
    let Some(team) = Team::new() else { return };
    let file = team.file("plugin.toml");
    let text = fs::read_to_string(&file).expect("the draft");
    fs::write(&file, format!("{text}\n[limits]\nfuel = 50000000\n")).expect("the draft");
    good(&team.sign());
    team.configure(POLICY, WITH_MANIFEST);
    refused(
        &team.check(),
        &[
            "package.limit",
            "line ",
            "fuel 50000000",
            "policy of PRODUCT_ORDER allows 20000000",
            "platform team",
        ],
    );
    team.configure(&format!("{POLICY}limits = {{ fuel = 50000000 }}\n"), WITH_MANIFEST);
    good(&team.check());
    team.configure("limits = { fuel = 50000000 }\n", WITH_MANIFEST);
    refused(&team.check(), &["package.grant", "ledger", "allows none"]);
}

#[test]
fn a_component_that_claims_more_than_its_manifest_is_not_signed_at_all() {
    let Some(team) = Team::new() else { return };
    team.change("plugin.toml", "scene = \"ALI_PAY\"", "scene = \"OTHER\"");
    refused(&team.sign(), &["package.descriptor", "ALI_PAY", "[[routes]]"]);
    assert!(!team.file("order-payment.manifest").exists());
}

#[test]
fn a_configuration_is_held_to_the_schema_of_the_manifest() {
    let Some(team) = Team::new() else { return };
    let file = team.file("plugin.toml");
    let text = fs::read_to_string(&file).expect("the draft");
    let schema = "[config_schema.properties.most]\ntype = \"integer\"\n";
    fs::write(&file, format!("{text}\n{schema}")).expect("the draft");
    good(&team.sign());
    team.configure(POLICY, &format!("{WITH_MANIFEST}\nconfig = {{ most = \"all\" }}"));
    refused(&team.check(), &["plugins.order-payment.config", "package.config", "config.most"]);
    team.configure(POLICY, &format!("{WITH_MANIFEST}\nconfig = {{ most = 3 }}"));
    good(&team.check());
}

#[test]
fn terms_beside_a_manifest_are_refused() {
    let Some(team) = Team::new() else { return };
    good(&team.sign());
    for term in ["businesses = [\"PRODUCT_ORDER\"]", "grants = { read = [] }", "limits.fuel = 1"] {
        team.configure(POLICY, &format!("{WITH_MANIFEST}\n{term}"));
        refused(&team.check(), &["plugins.order-payment", "beside `manifest`"]);
    }
}

#[test]
fn a_private_key_that_others_can_read_is_refused_and_never_shown() {
    let Some(team) = Team::new() else { return };
    let key = team.file("keys/main.key");
    let mode = |key: &Path| fs::metadata(key).expect("the key").permissions().mode() & 0o777;
    assert_eq!(mode(&key), 0o600);
    let secret = fs::read_to_string(&key).expect("the key");
    let secret = secret.lines().nth(1).expect("the key itself");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("the key is ours");
    let output = team.sign();
    refused(&output, &["main.key", "644", "chmod 600"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains(secret));
    // A key that is there is never written over.
    refused(
        &callgate(&[
            "plugin",
            "keygen",
            "--business",
            "PRODUCT_ORDER",
            "--id",
            "main",
            "--into",
            &team.path("keys"),
        ]),
        &["main.key", "exists"],
    );
}

#[test]
fn inspection_shows_both_files_and_what_the_host_would_say() {
    let Some(team) = Team::new() else { return };
    good(&team.sign());
    team.configure("topics = [\"*\"]\n", WITH_MANIFEST);
    let (component, manifest) =
        (team.path("order-payment.wasm"), team.path("order-payment.manifest"));
    let said = good(&callgate(&["plugin", "inspect", &component]));
    for word in [
        "mall/order-payment",
        "0.1.0",
        "callgate:processor/documents@0.1.0",
        "callgate:processor/phases@0.1.0",
        "sha256",
        "bytes",
        "TO_BE_PAID to CLOSED",
    ] {
        assert!(said.contains(word), "expected `{word}` in: {said}");
    }
    let said = good(&callgate(&["plugin", "inspect", &manifest, &component]));
    for word in ["fits", "PRODUCT_ORDER/main (not checked", "write ledger", "topic order.paid"] {
        assert!(said.contains(word), "expected `{word}` in: {said}");
    }
    let host =
        ["plugin", "inspect", &manifest, &component, "--config", &team.path("callgate.toml")];
    refused(&callgate(&host), &["PRODUCT_ORDER/main (holds)", "refused, package.grant", "ledger"]);
}

#[test]
fn a_package_is_verified_with_a_public_key_alone() {
    let Some(team) = Team::new() else { return };
    good(&team.sign());
    let verify = |key: &str| {
        callgate(&["plugin", "verify", &team.path("order-payment.wasm"), "--public-key", key])
    };
    let public = team.path("keys/main.pub");
    let said = good(&verify(&format!("PRODUCT_ORDER/main={public}")));
    assert!(said.contains("PRODUCT_ORDER/main"), "{said}");
    refused(&verify(&format!("PRODUCT_ORDER/old={public}")), &["package.unsigned", "old"]);
    refused(&verify(&public), &["BUSINESS/ID=FILE"]);
}
