//! Files that hold no key, certificates that do not belong together, secrets that are none: each has a
//! reason code of its own, at the start, where it is checked and at a reload, and what works stays in use.

use std::fs;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use crate::house::{House, callgate, write_configuration};
use crate::https::authority::{Authority, tls_toml};
use crate::https::client::{Terms, notice, post, success};
use crate::reload::{folder_of, logged, operate, shown};

/// What is wrong, and what is to be said of it.
struct Mistake {
    toml: String,
    code: &'static str,
    key: &'static str,
    /// What the text says besides: what was found or expected, or what to do.
    words: &'static str,
}

/// A file with something in it; its path, quoted.
fn file(folder: &Path, name: &str, text: &str) -> String {
    fs::write(folder.join(name), text).expect("a file");
    format!("{:?}", folder.join(name).display().to_string())
}

fn listener(folder: &Path, good: &Authority) -> Vec<Mistake> {
    let other = Authority::new();
    other.signs(folder, "other", "localhost");
    good.dated(folder, ("ended", "localhost"), (2020, 2021));
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect("a file");
    fs::write(folder.join("garbage.key"), "sesame").expect("a file");
    fs::write(folder.join("garbage.pem"), read("server.pem")).expect("a file");
    fs::write(folder.join("stranger.key"), read("other.key")).expect("a file");
    fs::write(folder.join("stranger.pem"), read("server.pem")).expect("a file");
    let chain = format!("{}{}", read("server.pem"), other.pem());
    fs::write(folder.join("chain.pem"), chain).expect("a file");
    fs::write(folder.join("chain.key"), read("server.key")).expect("a file");
    let whole = read("server.pem");
    fs::write(folder.join("half.pem"), &whole[..whole.len() / 2]).expect("a file");
    fs::write(folder.join("half.key"), read("server.key")).expect("a file");
    let of = |name: &str, code, key, words| {
        let toml = tls_toml(folder, name);
        Mistake { toml, code, key, words }
    };
    vec![
        of("garbage", "config.key", "public.tls.key_file", "expected PEM"),
        of("half", "config.key", "public.tls.certificate_file", "half.pem"),
        of("stranger", "config.pair", "public.tls.key_file", "renewed without the other"),
        of(
            "chain",
            "config.chain",
            "public.tls.certificate_file",
            "expected the server's own first",
        ),
        of("ended", "config.ended", "public.tls.certificate_file", "renew it"),
        of("absent", "config.file", "public.tls.certificate_file", "cannot be read"),
    ]
}

fn outside(folder: &Path) -> Vec<Mistake> {
    let garbage = file(folder, "garbage", "sesame-sesame-sesame");
    let bell = file(folder, "bell", "Bearer sesame\u{7}");
    let whsec = format!("{:?}", crate::sinks::secret(b'a'));
    let sink = "[sinks.erp]\nkind = \"http\"\nurl = \"https://erp.example/\"\ntopics = [\"*\"]\n";
    let crm = "[endpoints.crm]\nbase_url = \"https://crm.example\"\nmethods = [\"GET\"]\n";
    let duty = "[alerts.webhooks.duty]\nkind = \"json\"\nurl = \"https://duty.example/\"\n";
    let key = |toml: String, key, words| Mistake { toml, code: "config.key", key, words };
    vec![
        key(format!("{sink}secret_file = {garbage}\n"), "sinks.erp.secret", "whsec_"),
        key(
            format!("{sink}secret = {whsec}\nca_file = {garbage}\n"),
            "sinks.erp.ca",
            "expected one at least, in PEM",
        ),
        key(format!("{crm}ca_file = {garbage}\n"), "endpoints.crm.ca", "expected one at least"),
        key(
            format!("{crm}[endpoints.crm.headers]\nauthorization_file = {bell}\n"),
            "endpoints.crm.headers",
            "`authorization` is no header that can be sent",
        ),
        key(format!("{duty}secret_file = {garbage}\n"), "alerts.webhooks.duty.secret", "whsec_"),
        key(
            format!(
                "[[businesses.PRODUCT_ORDER.status.keys]]\nid = \"k1\"\nsecret_file = {garbage}\n"
            ),
            "businesses.PRODUCT_ORDER.status.keys[0].secret",
            "expected 32 to 512 bytes",
        ),
        key(
            format!(
                "[[businesses.PRODUCT_ORDER.plugin_keys]]\nid = \"k1\"\n\
                 public_key_file = {garbage}\n"
            ),
            "businesses.PRODUCT_ORDER.plugin_keys[0].public_key",
            "expected",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_key_is_named_and_what_works_stays_in_use() {
    let (good, folder) = (Authority::new(), TempDir::new().expect("a folder"));
    good.signs(folder.path(), "server", "localhost");
    let calm = "[reload]\nwatch_ms = 0\n";
    let tls = tls_toml(folder.path(), "server");
    let own = TempDir::new().expect("a folder for the house");
    write_configuration(own.path(), &format!("{tls}{calm}"));
    let house = House::start_in(own);
    let terms = Terms::new(good.roots()).speaking(&["http/1.1"]);
    let mut all: Vec<(Mistake, &str)> =
        listener(folder.path(), &good).into_iter().map(|one| (one, "")).collect();
    all.extend(outside(folder.path()).into_iter().map(|one| (one, tls.as_str())));
    for (Mistake { toml, code, key, words }, tls) in all {
        write_configuration(&folder_of(&house), &format!("{tls}{toml}{calm}"));
        let said = operate(&house, &["reload"]);
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        let names = |text: &str| [code, key, words].iter().all(|word| text.contains(word));
        assert!(!said.status.success() && names(&text), "{code} {key}: {text}");
        logged(&house, code).await;
        let last = shown(&house, "keys").await["last_reload"].clone();
        assert_eq!((&last["code"], &last["key"]), (&json!(code), &json!(key)), "{last:#}");
        let mut stream = terms.clone().connect(&house.public).await.expect("a handshake");
        assert_eq!(post(&mut stream, &notice()).await, success(), "{code} {key}");
        let place = house.configuration().display().to_string();
        for command in ["check", "serve"] {
            // A server starts with a certificate that has ended: it has more to do.
            if (command, code) == ("serve", "config.ended") {
                continue;
            }
            let refused = callgate(&[command, "--config", &place]);
            let text = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert!(!refused.status.success() && names(&text), "{command} {key}: {text}");
            assert!(!text.contains("sesame"), "{text}");
        }
    }
    assert!(!house.log().contains("sesame"), "no secret in the log");
    write_configuration(&folder_of(&house), &format!("{tls}{calm}"));
    assert!(operate(&house, &["reload"]).status.success(), "{}", house.log());
}
